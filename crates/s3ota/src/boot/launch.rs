//! Trials that the old firmware launches.
//!
//! Where a bootloader has no app rollback, a record that selects the new image selects it for good, unless that image counts
//! its own boots. So here no record selects it. otadata goes on naming the old, confirmed firmware, and the log behind the
//! record in force says that there is a trial:
//!
//! ```text
//!            begin              the old firmware's guard           confirm, by the new one
//!  Bootable ───────► a trial ──► counts 1, 2, … N, and launches ──► a Valid record, the first for the new slot
//!                    record              │ once more, or roll_back
//!                                        └──────────► "it failed", behind the trial record
//! ```
//!
//! Each arrow is one entry of the log or one record, whole or absent. Whatever becomes of the new image, the bootloader boots
//! the old one. The new one counts nothing.
//!
//! A trial is open until
//!
//! - a record is written: the confirmation, or another switch;
//! - the log says behind it what became of its release;
//! - the old firmware or the new image is no longer what it was: somebody flashed by cable, or another update has begun.

use embedded_storage_async::nor_flash::NorFlash;
use s3ota_image::app::{GuardMarker, PREFIX_LEN};

use crate::boot::launched::{Noted, Trial};
use crate::boot::otadata::{NOTES, Otadata};
use crate::boot::rollback_state::TRIED;
use crate::boot::selection::due_at;
use crate::error::FlashFault;
use crate::flash::access as flash;
use crate::flash::log::{Entry, Kind, kind, value};
use crate::flash::partitions::Layout;
use crate::install::writer::Bootable;

/// Whether this firmware knows of such trials. Where it does not, all of this is dead code.
pub(crate) const ON: bool = cfg!(feature = "launch");

/// The marker's version of a guard that knows of them.
pub(crate) const GUARD: u8 = if ON { GuardMarker::LAUNCHED } else { 1 };

/// There is a trial. The value: the release, the highest sequence that a record had when it began, what tells the two images from
/// others, and the slot of the new one. It begins as that of [`TRIED`] does.
const TRIAL: Kind = kind(b"test");

/// How many entries a log must have room for before a trial begins: its boots, those that do not count, and what ends it; or only
/// the notes of a trial that the bootloader boots, whose boots have a log of their own.
pub(crate) const ROOM: u32 = if ON { 64 } else { NOTES };

/// Whether an image may be launched: its guard, if it has one, must know of such trials. Otherwise it takes itself for the
/// confirmed firmware. One without a guard never confirms itself, and gives way.
pub(crate) fn may_launch(image: &Bootable) -> bool {
    let guard = image.image.guard;
    guard.is_none_or(|guard| guard.version() >= GuardMarker::LAUNCHED)
}

/// Reads otadata, with the last trial of this kind.
#[inline(never)]
pub(crate) fn read_otadata<F: NorFlash>(
    flash: &mut F,
    layout: &Layout,
) -> Result<Otadata, FlashFault> {
    let mut otadata = Otadata::read(flash, layout)?;
    find(flash, layout, &mut otadata)?;
    Ok(otadata)
}

/// Finds the last trial: the log has it, no record has followed it, and both images are there as they were when it began.
#[inline(never)]
pub(crate) fn find<F: NorFlash>(
    flash: &mut F,
    layout: &Layout,
    otadata: &mut Otadata,
) -> Result<(), FlashFault> {
    let Some(last) = otadata.last_launched_mut() else {
        return Ok(());
    };
    *last = None;
    let mut written = otadata.home_log().written(0);
    while written.next(flash)? {
        if let Entry::Whole(TRIAL | TRIED, _) = &written.entry
            // Old firmware and new one must read the same.
            && written.is_steady(flash)?
            && let Some(last) = otadata.last_launched_mut()
        {
            take(last, &written.entry, written.end);
        }
    }
    if let Some(trial) = otadata.last_launched()
        && !is_open(flash, layout, otadata, trial)?
        && let Some(last) = otadata.last_launched_mut()
    {
        *last = None;
    }
    Ok(())
}

/// Whether no record has followed a trial, and both images are there as they were when it began.
fn is_open<F: NorFlash>(
    flash: &mut F,
    layout: &Layout,
    otadata: &Otadata,
    trial: &Trial,
) -> Result<bool, FlashFault> {
    if let (Some(old), Some(new)) = (due_at(layout, otadata), trial.slot(layout))
        && otadata.newest_sequence() <= trial.newest_sequence()
    {
        let mut print = 0;
        print_of(flash, old, new.offset, &mut print)?;
        return Ok(print == trial.print());
    }
    Ok(false)
}

/// Takes in another entry.
// With all of the entry: so its value stays a block of words.
fn take(last: &mut Option<Trial>, entry: &Entry, end: u32) {
    match entry {
        Entry::Whole(TRIAL, value) => {
            *last = Some(Trial {
                noted: Noted(*value),
                since: end,
                has_ended: false,
            });
        }
        Entry::Whole(_, value) => {
            if let Some(trial) = last
                && trial.is_ended_by(value)
            {
                trial.has_ended = true;
            }
        }
        Entry::Blank | Entry::Torn => {}
    }
}

/// Begins the trial of `image`. `false` if the log does not take it. What lies at the flash offset `old` runs, and is what boots.
pub(crate) fn begin<F: NorFlash>(
    flash: &mut F,
    old: u32,
    otadata: &Otadata,
    image: &Bootable,
) -> Result<bool, FlashFault> {
    let Bootable { slot, release, .. } = image;
    let newest = otadata.newest_sequence();
    let mut print = 0;
    print_of(flash, old, slot.offset, &mut print)?;
    // The one, then the other.
    let both = u64::from(newest) | u64::from(print) << 32;
    let value = value(&[release.as_bytes(), &both.to_le_bytes(), &[slot.index]]);
    otadata.home_log().append(flash, TRIAL, value)
}

/// What tells these two images from others: a hash over the first bytes of both, which have their headers and descriptors (32-bit
/// FNV-1a: whoever could deceive it has the flash in hand). Those of the new one are written last.
fn print_of<F: NorFlash>(
    flash: &mut F,
    old: u32,
    new: u32,
    hash: &mut u32,
) -> Result<(), FlashFault> {
    *hash = 0x811c_9dc5;
    let mut at = old;
    loop {
        let mut prefix = [0; PREFIX_LEN];
        flash::read(flash, at, &mut prefix)?;
        for byte in &prefix {
            *hash = (*hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
        if at == new {
            return Ok(());
        }
        at = new;
    }
}
