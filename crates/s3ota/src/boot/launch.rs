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
//! - a record is written whose sequence is the trial's own or higher: the confirmation, or another switch;
//! - the log says behind it what became of its release;
//! - the old firmware or the new image is no longer what it was: somebody flashed by cable, or another update has begun.

use embedded_storage_async::nor_flash::NorFlash;
use s3ota_image::app::{GuardMarker, PREFIX_LEN};

use crate::apart::ok;
use crate::boot::launched::Trial;
use crate::boot::otadata::Otadata;
use crate::boot::rollback_state::TRIED;
use crate::boot::selection::due;
use crate::error::Error;
use crate::flash::access as flash;
use crate::flash::log::{Entry, Kind, Value, kind, value};
use crate::flash::partitions::{Layout, Running, Slot};
use crate::flash::release::ReleaseId;
use crate::install::writer::Bootable;

/// Whether this firmware knows of such trials. Where it does not, all of this is dead code.
pub(crate) const ON: bool = cfg!(feature = "launch");

/// The marker's version of a guard that knows of them.
pub(crate) const GUARD: u8 = if ON { GuardMarker::LAUNCHED } else { 1 };

/// There is a trial. The value: the release, the sequence of the record that will confirm it, what tells the two images from
/// others, and the slot of the new one. It begins as that of [`TRIED`] does.
const TRIAL: Kind = kind(b"test");

/// How many entries a log must have room for before a trial begins: its boots, those that do not count, and what ends it.
pub(crate) const ROOM: u32 = 64;

/// Whether an image may be launched: its guard, if it has one, must know of such trials. Otherwise it takes itself for the
/// confirmed firmware. One without a guard never confirms itself, and gives way.
pub(crate) fn may_launch(image: &Bootable) -> bool {
    let guard = image.image.guard;
    guard.is_none_or(|guard| guard.version() >= GuardMarker::LAUNCHED)
}

/// Reads otadata, with the last trial of this kind.
#[inline(never)]
pub(crate) fn read_otadata<F: NorFlash>(flash: &mut F, layout: &Layout) -> Result<Otadata, Error> {
    let mut otadata = ok!(Otadata::read(flash, layout));
    ok!(find(flash, layout, &mut otadata));
    Ok(otadata)
}

/// Finds the last trial: the log has it, no record has followed it, and both images are there as they were when it began.
fn find<F: NorFlash>(flash: &mut F, layout: &Layout, otadata: &mut Otadata) -> Result<(), Error> {
    if !ON {
        return Ok(());
    }
    let log = otadata.log(otadata.home());
    let mut noted = Noted::default();
    for index in 0..log.len() {
        if let Entry::Whole(kind @ (TRIAL | TRIED), value) = &ok!(log.get(flash, index))
            // Old firmware and new one must read the same.
            && ok!(log.is_steady(flash, index))
        {
            noted.take(index, *kind, value);
        }
    }
    let Noted {
        since: Some(since),
        value,
        has_ended,
    } = &noted
    else {
        return Ok(());
    };
    let Some((release, &[a, b, c, d, e, f, g, h, slot, ..])) = halves(value) else {
        return Ok(());
    };
    let slot = layout.slot(slot.into());
    let (Some(old), Some(slot)) = (due(layout, otadata), slot) else {
        return Ok(());
    };
    // No record has its sequence, or a higher one.
    let sequence = u32::from_le_bytes([a, b, c, d]);
    let is_ahead = |next| sequence >= next;
    if otadata.next_sequence(slot.index).is_ok_and(is_ahead)
        && ok!(print_of(flash, layout, old, slot)) == u32::from_le_bytes([e, f, g, h])
    {
        otadata.launch(Trial {
            release: ReleaseId::from_bytes(*release),
            slot,
            since: *since,
            has_ended: *has_ended,
        });
    }
    Ok(())
}

/// The last trial that the log has, as far as it was read.
#[derive(Default)]
struct Noted {
    /// Its entry.
    since: Option<u32>,
    value: Value,
    /// Another one says how it ended.
    has_ended: bool,
}

impl Noted {
    // Not inlined: the value stays a block of memory then, and is not taken to pieces.
    #[inline(never)]
    fn take(&mut self, index: u32, kind: Kind, value: &Value) {
        if kind == TRIAL {
            self.since = Some(index);
            self.value = *value;
            self.has_ended = false;
        } else if ends(value, &self.value) {
            self.has_ended = true;
        }
    }
}

/// Begins the trial of `image`. `false` if the log does not take it. `old` runs, and is what boots.
pub(crate) fn begin<F: NorFlash>(
    flash: &mut F,
    layout: &Layout,
    old: Running,
    otadata: &Otadata,
    image: &Bootable,
) -> Result<bool, Error> {
    let Bootable { slot, release, .. } = *image;
    let sequence = ok!(otadata.next_sequence(slot.index)).to_le_bytes();
    let print = ok!(print_of(flash, layout, old, slot)).to_le_bytes();
    let value = value(&[release.as_bytes(), &sequence, &print, &[slot.index]]);
    otadata.log(otadata.home()).append(flash, TRIAL, value)
}

/// Release, and what follows it.
fn halves(value: &Value) -> Option<(&[u8; 12], &[u8; 12])> {
    let (release, rest) = value.split_first_chunk()?;
    Some((release, rest.first_chunk()?))
}

/// Whether this says how the trial ended that `noted` began. An even number says that its release is tried again.
fn ends(tried: &Value, noted: &Value) -> bool {
    match (halves(tried), halves(noted)) {
        (Some((release, [tries, ..])), Some((on_trial, _))) => {
            release == on_trial && tries % 2 == 1
        }
        _ => false,
    }
}

/// What tells these two images from others: a hash over the first bytes of both, which have their headers and descriptors (32-bit
/// FNV-1a: whoever could deceive it has the flash in hand). Those of the new one are written last.
fn print_of<F: NorFlash>(
    flash: &mut F,
    layout: &Layout,
    old: Running,
    new: Slot,
) -> Result<u32, Error> {
    let mut at = match old {
        Running::Slot(slot) => slot.offset,
        Running::Factory => layout.factory.unwrap_or(0),
    };
    let mut hash = 0x811c_9dc5_u32;
    loop {
        let mut prefix = [0; PREFIX_LEN];
        ok!(flash::read(flash, at, &mut prefix));
        for byte in prefix {
            hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
        if at == new.offset {
            return Ok(hash);
        }
        at = new.offset;
    }
}
