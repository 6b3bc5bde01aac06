//! Which segments go where.

use core::ops::Range;

use super::{Memory, PAGE, Refusal};
use crate::app::{Hardware, Header, Image, MAX_SEGMENTS};

/// What is known about the chip that launches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions<'a> {
    /// Its eFuses.
    pub hardware: &'a Hardware,
    /// Secure Boot is on, or flash encryption.
    pub is_protected: bool,
    /// The chip woke from deep sleep: what is in RTC memory stays, as under the bootloader (`should_load`).
    pub woke: bool,
}

/// The steps of a launch, for the stub on the chip, which reads them from memory as they lie here, and takes one after the other.
///
/// Each segment has two, of which at most one is needed: 0 to 15 copy what belongs in RAM. Step 16 clears the cache's table. Then 17 to
/// 32 map what is read from flash, and 33 the table's last entry. Steps that are not needed are zero, and do nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[repr(C)]
pub struct Plan {
    /// The address of the image's first instruction.
    pub first_instruction: u32,
    /// The steps.
    pub steps: [Step; Plan::STEPS],
}

/// One step: set entries of the cache's table, and perhaps copy from the pages of flash that they map.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Step {
    /// The first entry to be set.
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
    /// A step that does nothing.
    pub const NONE: Step = Step {
        entry: 0,
        content: 0,
        count: 0,
        from: 0,
        to: 0,
        end: 0,
    };
}

impl Default for Plan {
    fn default() -> Plan {
        Plan::new()
    }
}

impl Plan {
    /// How many steps there are, with those that do nothing.
    pub const STEPS: usize = Plan::MAPS + MAX_SEGMENTS as usize + 1;

    /// The step that clears the table.
    const CLEARS: usize = MAX_SEGMENTS as usize;
    /// The first of those that map.
    const MAPS: usize = Plan::CLEARS + 1;

    /// A plan without steps.
    pub const fn new() -> Plan {
        Plan {
            first_instruction: 0,
            steps: [Step::NONE; _],
        }
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
    conditions: &Conditions<'_>,
    image: &Image,
    at: u32,
    mut read: impl FnMut(u32, &mut [u8; 8]) -> Result<(), E>,
    plan: &mut Plan,
) -> Result<(), Refusal> {
    check(memory, conditions, image)?;
    plan.first_instruction = image.header.entry;
    let mut next = at.wrapping_add(Header::LEN as u32);
    let (copies, maps) = plan.steps.split_at_mut(Plan::MAPS);
    if let [.., clears] = copies {
        clears.content = memory.invalid;
        clears.count = memory.entries;
    }
    // "We use the MMU_LL_END_DROM_ENTRY_ID mmu entry as a map page for app to find the boot partition"
    // (`set_cache_and_start_app`): the page on which the first segment's data begin.
    if let [.., last] = maps {
        last.entry = memory.entries - 1;
        last.content = memory.content(next.wrapping_add(8));
        last.count = 1;
    }
    // An image that was verified has no more segments than there are steps for.
    let places = copies.iter_mut().zip(maps);
    for (copy, map) in places.take(image.header.segment_count.into()) {
        let mut head = [0; 8];
        read(next, &mut head).map_err(|_| Refusal::Unreadable)?;
        let head = u64::from_le_bytes(head);
        let (to, length) = (head as u32, (head >> 32) as u32);
        let at = next.wrapping_add(8);
        next = at.wrapping_add(length);
        let mut step = Step {
            content: memory.content(at),
            to,
            end: to.saturating_add(length),
            ..Step::NONE
        };
        if place(memory, &mut step, at, conditions.woke)? {
            *if step.from == 0 { map } else { copy } = step;
        }
    }
    Ok(())
}

/// What can be said without the segments.
fn check(memory: &Memory, conditions: &Conditions<'_>, image: &Image) -> Result<(), Refusal> {
    if conditions.is_protected {
        return Err(Refusal::Protected);
    }
    let descriptor = image.descriptor.as_ref();
    if image.header.chip_id != memory.chip.id()
        || conditions
            .hardware
            .accepts(&image.header, descriptor)
            .is_err()
    {
        return Err(Refusal::Misfit);
    }
    // Images of older ESP-IDF versions do not say. Then the segments must do.
    match descriptor.map_or(0, |descriptor| descriptor.mmu_page_size) {
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
    let is_within = |place: &Range<u32>| to >= place.start && end <= place.end;
    let [first_mapped, ..] = memory.places;
    let Some(place) = memory.places.iter().position(is_within) else {
        return Err(Refusal::Segment);
    };
    // What the firmware reads from flash, through the cache.
    if place < Memory::COPIED {
        if at % PAGE != to % PAGE {
            return Err(Refusal::PageSize);
        }
        step.entry = to / PAGE % memory.entries;
    } else {
        if woke && place == Memory::RTC {
            return Ok(false);
        }
        // What is copied to RAM: its pages are mapped from the table's first entry on. The stub copies words, as which a verified
        // image has it.
        if !to.is_multiple_of(4) {
            return Err(Refusal::Segment);
        }
        step.from = first_mapped.start + at % PAGE;
    }
    // On how many pages of flash it lies.
    step.count = (at % PAGE + (end - to) - 1) / PAGE + 1;
    Ok(true)
}
