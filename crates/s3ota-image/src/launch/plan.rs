//! Which segments go where.

use core::ops::Range;

use super::{Memory, PAGE, Refusal};
use crate::app::{Hardware, Header, Image, MAX_SEGMENTS};
use crate::bytes::u32_at;

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
/// | 1 | how many steps there are |
/// | 2… | the steps, each of [`Step::WORDS`] |
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
    /// From where to copy, a word at a time.
    pub from: u32,
    /// To where.
    pub to: u32,
    /// Where to stop. A step with `to == end` copies nothing.
    pub end: u32,
}

impl Step {
    /// Words of a step: its fields, in their order.
    pub const WORDS: usize = 6;

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
}

impl Default for Plan {
    fn default() -> Plan {
        Plan::new()
    }
}

impl Plan {
    /// Words before the steps.
    pub const HEAD: usize = 2;

    /// The most steps: one for each segment, and one for the table's last entry.
    pub const STEPS: usize = MAX_SEGMENTS as usize + 1;

    /// All words.
    pub const WORDS: usize = Plan::HEAD + Plan::STEPS * Step::WORDS;

    /// What the stub reads.
    pub const fn words(&self) -> &[u32; Plan::WORDS] {
        &self.words
    }

    /// The steps.
    pub fn steps(&self) -> impl Iterator<Item = Step> + '_ {
        let [_, count, ref steps @ ..] = self.words;
        let steps = steps.as_chunks::<{ Step::WORDS }>().0;
        steps
            .iter()
            .take(count as usize)
            .map(|&[entry, content, count, from, to, end]| Step {
                entry,
                content,
                count,
                from,
                to,
                end,
            })
    }

    /// A plan without steps.
    pub const fn new() -> Plan {
        Plan {
            words: [0; Plan::WORDS],
        }
    }

    /// Adds a step. `false` if it maps an entry to another page than one of those so far.
    fn add(&mut self, step: Step) -> bool {
        let is_map = |step: &Step| step.to == step.end;
        let page_of_first = |step: &Step| step.content.wrapping_sub(step.entry);
        let share = |other: &Step| {
            step.entry < other.entry + other.count && other.entry < step.entry + step.count
        };
        let differs = |other: Step| {
            is_map(&other) && share(&other) && page_of_first(&step) != page_of_first(&other)
        };
        if is_map(&step) && self.steps().any(differs) {
            return false;
        }
        // There is room for one for each segment, and one more.
        let [_, count, steps @ ..] = &mut self.words;
        let steps = steps.as_chunks_mut::<{ Step::WORDS }>().0;
        if let Some(place) = steps.get_mut(*count as usize) {
            *place = step.words();
            *count += 1;
        }
        true
    }
}

/// A segment's data on flash, and where they belong.
#[derive(Debug, Clone, Copy)]
struct Segment {
    at: u32,
    to: u32,
    end: u32,
}

impl Segment {
    fn is_within(&self, range: &Range<u32>) -> bool {
        self.to >= range.start && self.end <= range.end
    }

    /// On how many pages of flash it lies.
    fn pages(&self) -> u32 {
        (self.at % PAGE + (self.end - self.to)).div_ceil(PAGE)
    }
}

/// Plans to launch an image that lies at the flash offset `at`. `read` reads eight bytes from an offset. `plan` has no steps yet; it
/// is not moved, because it is large for a device.
///
/// # Errors
/// [`Refusal`]: the image must not be launched.
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
    plan.words[0] = entry;
    let mut has_entry = false;
    let mut next = at.wrapping_add(Header::LEN as u32);
    for index in 0..image.header.segment_count {
        let mut head = [0; 8];
        read(next, &mut head).map_err(|_| Refusal::Unreadable)?;
        let to = u32_at::<0, 8>(&head);
        let length = u32_at::<4, 8>(&head);
        let segment = Segment {
            at: next.wrapping_add(8),
            to,
            end: to.saturating_add(length),
        };
        next = segment.at.saturating_add(length);
        if next > memory.pages * PAGE {
            return Err(Refusal::Reach);
        }
        if let Some(step) = step(memory, &segment, conditions.woke)? {
            if !plan.add(step) {
                return Err(Refusal::Overlap);
            }
            has_entry |= (segment.to..segment.end).contains(&entry);
        }
        // "We use the MMU_LL_END_DROM_ENTRY_ID mmu entry as a map page for app to find the boot partition"
        // (`set_cache_and_start_app`).
        let last = Step {
            entry: memory.entries - 1,
            content: memory.content(segment.at),
            count: 1,
            ..Step::default()
        };
        if index == 0 && !plan.add(last) {
            return Err(Refusal::Overlap);
        }
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
        bits if 1u32.checked_shl(bits.into()) == Some(PAGE) => Ok(()),
        _ => Err(Refusal::PageSize),
    }
}

/// What is to be done for a segment. Nothing for padding, and for one that is empty or stays as it is.
fn step(memory: &Memory, segment: &Segment, woke: bool) -> Result<Option<Step>, Refusal> {
    /// "Reserved for non-loaded addresses" (`should_load`).
    const LOADED: u32 = 0x1000_0000;

    if segment.to < LOADED || segment.to == segment.end {
        return Ok(None);
    }
    let &Segment { at, to, end, .. } = segment;
    let pages = Step {
        entry: 0,
        content: memory.content(at),
        count: segment.pages(),
        ..Step::default()
    };
    // What the firmware reads from flash, through the cache.
    if memory.mapped.iter().any(|range| segment.is_within(range)) {
        let entry = to / PAGE % memory.entries;
        return if at % PAGE == to % PAGE {
            Ok(Some(Step { entry, ..pages }))
        } else {
            Err(Refusal::PageSize)
        };
    }
    if segment.is_within(&memory.rtc) {
        if woke {
            return Ok(None);
        }
    } else {
        let ram = memory.ram.iter().find(|ram| segment.is_within(&ram.at));
        let above = ram.ok_or(Refusal::Segment)?.above;
        // The mask ROM's memory begins where the bootloader's ends.
        if to.wrapping_sub(above) < memory.rom.end && end.wrapping_sub(above) > memory.loader.start
        {
            return Err(Refusal::Overlap);
        }
    }
    // What is copied to RAM: its pages are mapped from the table's first entry on. The stub copies words.
    if !(at | to | end).is_multiple_of(4) {
        return Err(Refusal::Segment);
    }
    let [first, _] = &memory.mapped;
    let from = first.start + at % PAGE;
    Ok(Some(Step {
        from,
        to,
        end,
        ..pages
    }))
}
