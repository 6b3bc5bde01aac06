//! Which segments go where.

use core::ops::Range;

use super::{Memory, PAGE, Refusal};
use crate::app::{Hardware, Header, Image, MAX_SEGMENTS};

/// What is known about the chip that launches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Its eFuses.
    pub hardware: Hardware,
    /// Secure Boot is on.
    pub secure_boot: bool,
    /// Flash encryption is on.
    pub flash_encryption: bool,
    /// The chip woke from deep sleep: what is in RTC memory stays, as under the bootloader (`should_load`).
    pub woke: bool,
}

/// The steps of a launch, for the stub on the chip.
///
/// | words | |
/// |---|---|
/// | 0 | the address of the image's first instruction |
/// | 1… | the steps, each of [`Step::WORDS`]; one that sets no entries ends them |
///
/// The stub takes all steps that copy. Then it clears the cache's table, and takes all that do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    words: [u32; Plan::WORDS],
}

/// One step: map pages of flash, and perhaps copy from there to RAM.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Step {
    /// The first entry of the cache's table to be set.
    pub entry: u32,
    /// Its content. That of each next one is higher by one.
    pub content: u32,
    /// How many entries.
    pub count: u32,
    /// From where to copy, a word at a time. 0: this step copies nothing.
    pub from: u32,
    /// To where.
    pub to: u32,
    /// Where to stop.
    pub end: u32,
}

impl Step {
    /// Words of a step: its fields, in their order.
    pub const WORDS: usize = 6;

    const fn of([entry, content, count, from, to, end]: [u32; Step::WORDS]) -> Step {
        Step {
            entry,
            content,
            count,
            from,
            to,
            end,
        }
    }

    const fn words(self) -> [u32; Step::WORDS] {
        [
            self.entry,
            self.content,
            self.count,
            self.from,
            self.to,
            self.end,
        ]
    }

    /// Whether both map the same entry of the table, for good, to different pages.
    fn differs(&self, other: &Step) -> bool {
        let page_of_first = |step: &Step| step.content.wrapping_sub(step.entry);
        self.from | other.from == 0
            && self.entry < other.entry + other.count
            && other.entry < self.entry + self.count
            && page_of_first(self) != page_of_first(other)
    }
}

impl Default for Plan {
    fn default() -> Plan {
        Plan::new()
    }
}

impl Plan {
    /// Words before the steps.
    pub const HEAD: usize = 1;

    /// The most steps: one for each segment, and one for the table's last entry.
    pub const STEPS: usize = MAX_SEGMENTS as usize + 1;

    /// All words: there is always a step that ends the others.
    pub const WORDS: usize = Plan::HEAD + (Plan::STEPS + 1) * Step::WORDS;

    /// What the stub reads.
    pub const fn words(&self) -> &[u32; Plan::WORDS] {
        &self.words
    }

    /// The steps.
    pub fn steps(&self) -> impl Iterator<Item = Step> + '_ {
        let [_, ref steps @ ..] = self.words;
        let steps = steps.as_chunks().0.iter();
        steps
            .map(|words| Step::of(*words))
            .take_while(|step| step.count > 0)
    }

    /// A plan without steps.
    pub const fn new() -> Plan {
        Plan {
            words: [0; Plan::WORDS],
        }
    }

    /// Adds a step. `false` if it maps an entry to another page than one of those so far.
    fn add(&mut self, step: &Step) -> bool {
        let [_, steps @ ..] = &mut self.words;
        for place in steps.as_chunks_mut().0 {
            let other = Step::of(*place);
            if other.count == 0 {
                *place = step.words();
                return true;
            }
            if step.differs(&other) {
                break;
            }
        }
        false
    }
}

/// Plans to launch an image that lies at the flash offset `at`. `read` reads eight bytes from an offset. `plan` has no steps yet; it
/// is not moved, because it is large for a device.
///
/// # Errors
/// [`Refusal`]: the image must not be launched.
#[inline(always)]
pub fn plan<E>(
    memory: &Memory,
    conditions: &Conditions,
    image: &Image,
    at: u32,
    mut read: impl FnMut(u32, &mut [u8; 8]) -> Result<(), E>,
    plan: &mut Plan,
) -> Result<(), Refusal> {
    check(memory, conditions, image)?;
    let entry = image.header.entry;
    let mut next = at.wrapping_add(Header::LEN as u32);
    // "We use the MMU_LL_END_DROM_ENTRY_ID mmu entry as a map page for app to find the boot partition"
    // (`set_cache_and_start_app`): the page on which the first segment's data begin.
    let last = memory.content(next.wrapping_add(8));
    let [first_instruction, last_entry, last_content, last_count, ..] = &mut plan.words;
    *first_instruction = entry;
    *last_entry = memory.entries - 1;
    *last_content = last;
    *last_count = 1;
    let mut has_entry = false;
    for _ in 0..image.header.segment_count {
        let mut head = [0; 8];
        read(next, &mut head).map_err(|_| Refusal::Unreadable)?;
        let head = u64::from_le_bytes(head);
        let (to, length) = (head as u32, (head >> 32) as u32);
        let at = next.wrapping_add(8);
        next = at.saturating_add(length);
        if next > memory.pages * PAGE {
            return Err(Refusal::Reach);
        }
        let mut step = Step {
            entry: 0,
            content: memory.content(at),
            count: 0,
            from: 0,
            to,
            end: to.saturating_add(length),
        };
        if !place(memory, &mut step, at, conditions.woke)? {
            continue;
        }
        if !plan.add(&step) {
            return Err(Refusal::Overlap);
        }
        has_entry |= entry.wrapping_sub(to) < step.end - to;
    }
    if !has_entry {
        return Err(Refusal::Entry);
    }
    Ok(())
}

/// What can be said without the segments.
fn check(memory: &Memory, conditions: &Conditions, image: &Image) -> Result<(), Refusal> {
    if conditions.secure_boot {
        return Err(Refusal::SecureBoot);
    }
    if conditions.flash_encryption {
        return Err(Refusal::FlashEncryption);
    }
    if image.header.chip_id != memory.chip.id() {
        return Err(Refusal::Chip);
    }
    let descriptor = image.descriptor.as_ref();
    let descriptor = descriptor.ok_or(Refusal::NoDescriptor)?;
    let fits = conditions.hardware.accepts(&image.header, Some(descriptor));
    fits.map_err(|_| Refusal::Misfit)?;
    // Images of older ESP-IDF versions do not say. Then the segments must do.
    match descriptor.mmu_page_size {
        0 => Ok(()),
        bits if u32::from(bits) == PAGE.ilog2() => Ok(()),
        _ => Err(Refusal::PageSize),
    }
}

/// Completes the step for a segment whose data lie at the flash offset `at`. `false` if nothing is to be done: for padding, and for one
/// that is empty or stays as it is.
#[inline(always)]
fn place(memory: &Memory, step: &mut Step, at: u32, woke: bool) -> Result<bool, Refusal> {
    /// "Reserved for non-loaded addresses" (`should_load`).
    const LOADED: u32 = 0x1000_0000;

    let &mut Step { to, end, .. } = step;
    if to < LOADED || to == end {
        return Ok(false);
    }
    let is_within = |range: &Range<u32>| to >= range.start && end <= range.end;
    let [first, second] = &memory.mapped;
    // What the firmware reads from flash, through the cache.
    if is_within(first) || is_within(second) {
        if at % PAGE != to % PAGE {
            return Err(Refusal::PageSize);
        }
        step.entry = to / PAGE % memory.entries;
    } else {
        if is_within(&memory.rtc) {
            if woke {
                return Ok(false);
            }
        } else {
            let [first, second] = &memory.ram;
            // The mask ROM's memory begins where the bootloader's ends, and is the last.
            let free = if is_within(&first.at) {
                memory.loader.start + first.above
            } else if is_within(&second.at) {
                memory.loader.start + second.above
            } else {
                return Err(Refusal::Segment);
            };
            if end > free {
                return Err(Refusal::Overlap);
            }
        }
        // What is copied to RAM: its pages are mapped from the table's first entry on. The stub copies words.
        if !(at | to | end).is_multiple_of(4) {
            return Err(Refusal::Segment);
        }
        step.from = first.start + at % PAGE;
    }
    // On how many pages of flash it lies.
    step.count = (at % PAGE + (end - to) - 1) / PAGE + 1;
    Ok(true)
}
