//! Switching to an image, its trial, and the way back.
//!
//! ```text
//!            switch             guard at each boot            confirm
//!  Bootable ────────► New ────► counts 1, 2, … N ───────────► Valid, in the other sector
//!                                     │ once more, or roll_back
//!                                     └────────────► Aborted: the next restart boots the old image
//! ```
//!
//! Each arrow is one record written whole. Before it is written the old state is in force, after it the new one, and a
//! record torn on the way counts as none: the other one decides.
//!
//! A boot that cannot be counted is used up: any error in the guard while a trial is in force ends the trial.

use embedded_storage_async::nor_flash::NorFlash;
use s3ota_image::app::{GuardMarker, Image};
use s3ota_image::otadata::{Record, State};
use s3ota_manifest::{ReleaseKey, Version};

use crate::apart::ok;
use crate::boot::otadata::{
    Otadata, PLAIN, Purpose, back_from, bootloader_of, is_trial, label, release_of,
};
use crate::boot::reset::{Bootloader, Reset};
use crate::boot::rollback_state::MinVersion;
use crate::device::Flash;
use crate::error::Error;
use crate::flash::partitions::{Layout, Running, Slot, find_otadata};
use crate::flash::release::ReleaseId;
use crate::install::BLOCK;
use crate::install::check::read_image;
use crate::install::writer::Bootable;

/// How many boots a firmware on trial has to be confirmed in, unless configured otherwise.
pub const DEFAULT_TRIAL_BOOTS: u8 = 3;

/// The most trial boots that can be counted: a sector of otadata has room for about as many.
pub const MAX_TRIAL_BOOTS: u8 = 100;

const _: () = assert!(MAX_TRIAL_BOOTS == 100, "the error says so");

/// How often a firmware on trial may start after the power came on or the chip woke, before it is given up.
///
/// These starts do not count as trial boots: they say nothing against the firmware. They have a bound all the same, for a
/// trial must end.
pub const MAX_SPARED_BOOTS: u32 = 50;

/// What [`boot_guard`] is given where it is not known which partition the firmware runs from. On trial, that ends the trial.
pub const UNKNOWN_PARTITION: u32 = u32::MAX;

/// How the running firmware stands, as [`boot_guard`] finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Boot {
    /// It is the confirmed one, or one that was never on trial (flashed by cable).
    Confirmed,
    /// It is on trial: [`confirm`](crate::Updater::confirm) it once it has shown that it works.
    Trial {
        /// Which boot this is, from 1. Starts that do not [count](Reset) have the number of the boot before.
        boot: u32,
        /// After how many boots without confirmation it is given up.
        of: u8,
    },
    /// The bootloader refused the new image and booted this one, which the new one was to replace.
    FellBack,
    /// It was on trial, has used up its boots, and is given up; or it is not what should run: the bootloader refused the new
    /// image and booted another one than that was to replace; or the record that led to it does not hold, because power
    /// failed in it. **Restart now**: the right image will run.
    GivenUp,
}

/// What [`boot_guard_after`] finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Booted {
    /// How the running firmware stands.
    pub boot: Boot,
    /// The kind of bootloader. `None` where no trial has shown it yet.
    pub bootloader: Option<Bootloader>,
}

/// Looks after trials. Call it first in `main`, before anything that may hang or panic.
///
/// It counts the boots of a firmware on trial. When there was one too many it gives the firmware up, and the caller
/// must restart. It is asynchronous only because the flash trait is; with a blocking flash driver
/// `embassy_futures::block_on` runs it before any executor is started.
///
/// `running` is the flash offset of the running firmware's partition, see [`Device::running`](crate::Device::running), or
/// [`UNKNOWN_PARTITION`]. `trial_boots` is how many boots a firmware on trial has to be confirmed in, 1 to
/// [`MAX_TRIAL_BOOTS`]; any other number cannot be counted, so a firmware that asks for it gets no trial boot at all.
///
/// Every boot counts here. [`boot_guard_after`] is told why the chip started, and counts only what speaks against the
/// firmware.
///
/// # Errors
///
/// [`Error::Flash`], [`Error::Layout`] and [`Error::TrialBoots`]. While a trial is in force an error ends it, and the
/// result is [`Boot::GivenUp`]: a boot that cannot be counted is a used-up boot. So an error means that none is in force, or
/// that flash can neither be read nor written. Do not take it for [`Boot::Confirmed`]: run on if you must, with a watchdog
/// armed, and restart after a while.
pub async fn boot_guard<F: NorFlash>(
    flash: &mut F,
    running: u32,
    trial_boots: u8,
) -> Result<Boot, Error> {
    guard(Reset::Crash, flash, running, trial_boots).map(|booted| booted.boot)
}

/// [`boot_guard`], told why the chip started.
///
/// Starts after [`Reset::PowerOn`] and [`Reset::Wake`] use up no trial boot. They have a bound of their own,
/// [`MAX_SPARED_BOOTS`].
///
/// # Errors
///
/// Those of [`boot_guard`].
pub async fn boot_guard_after<F: NorFlash>(
    reset: Reset,
    flash: &mut F,
    running: u32,
    trial_boots: u8,
) -> Result<Booted, Error> {
    guard(reset, flash, running, trial_boots)
}

#[inline(never)]
fn guard<F: NorFlash>(
    reset: Reset,
    flash: &mut F,
    running: u32,
    trial_boots: u8,
) -> Result<Booted, Error> {
    // The linker must not drop it.
    core::hint::black_box(&MARKER);
    count(reset, flash, running, trial_boots).or_else(|error| {
        error!("this boot cannot be counted: {}", error);
        match end_trial(flash) {
            Ok(true) => Ok(Booted {
                boot: Boot::GivenUp,
                bootloader: None,
            }),
            _ => Err(error),
        }
    })
}

/// What tells an image with this guard from one without: see [`FirmwareError::NoGuard`](crate::FirmwareError::NoGuard).
static MARKER: [u8; GuardMarker::LEN] = GuardMarker::new(GuardMarker::ESP_HAL, 1).bytes();

/// Counts a boot, and gives up what has used up its boots.
#[inline(never)]
fn count<F: NorFlash>(
    reset: Reset,
    flash: &mut F,
    running: u32,
    trial_boots: u8,
) -> Result<Booted, Error> {
    let layout = ok!(Layout::read(flash));
    let running = ok!(layout.running(running));
    let mut otadata = ok!(Otadata::read(flash, &layout));
    let in_force = otadata.in_force();
    let bootloader = in_force.and_then(|(_, record)| bootloader_of(&record));
    let booted = |boot| Ok(Booted { boot, bootloader });
    let Some((sector, record)) = in_force.filter(|(_, record)| is_trial(record)) else {
        otadata.settle(flash, reset);
        // A torn record decides nothing today, and may read as sound tomorrow: it does not stay.
        let strayed = due(&layout, &otadata) != Some(running);
        let torn = ok!(otadata.erase_torn(flash));
        if strayed && torn {
            warn!("an otadata record reads differently each time: it is erased");
            return booted(Boot::GivenUp);
        }
        return booted(Boot::Confirmed);
    };
    if selected(&layout, &record) != Some(running) {
        // What the bootloader booted instead may be older than what the new image was to replace.
        let left = way_back(&layout, &otadata, &record).unwrap_or(running);
        warn!("the bootloader refused the new image");
        ok!(give_up(flash, &layout, &mut otadata, Some(left), true));
        return booted(if left == running {
            Boot::FellBack
        } else {
            Boot::GivenUp
        });
    }
    let of = trial_boots;
    if !(1..=MAX_TRIAL_BOOTS).contains(&of) {
        return Err(Error::TrialBoots(of));
    }
    let mut boots = ok!(otadata.boots(flash, sector));
    boots.add(reset);
    let is_over = boots.counted > u32::from(of) || boots.spared > MAX_SPARED_BOOTS;
    // A boot that there is no room to count is one too many, too.
    if is_over || !ok!(otadata.add_boot(flash, sector, reset)) {
        error!(
            "not confirmed in {} boots: going back to the old firmware",
            of
        );
        let left = way_back(&layout, &otadata, &record);
        ok!(give_up(flash, &layout, &mut otadata, left, boots.crashed));
        return booted(Boot::GivenUp);
    }
    let boot = boots.counted.max(1);
    info!("on trial, boot {} of {}", boot, of);
    booted(Boot::Trial { boot, of })
}

/// Ends the trial that is in force, if there is one, without counting. Whether there was one.
#[inline(never)]
fn end_trial<F: NorFlash>(flash: &mut F) -> Result<bool, Error> {
    let layout = match Layout::read(flash) {
        Ok(layout) => layout,
        // The record alone can be aborted wherever the bootloader finds it.
        Err(_) => ok!(find_otadata(flash)),
    };
    let mut otadata = ok!(Otadata::read(flash, &layout));
    let Some((_, record)) = otadata.in_force().filter(|(_, record)| is_trial(record)) else {
        return Ok(false);
    };
    let left = way_back(&layout, &otadata, &record);
    ok!(give_up(flash, &layout, &mut otadata, left, true));
    Ok(true)
}

/// What a record selects.
fn selected(layout: &Layout, record: &Record) -> Option<Running> {
    layout
        .slot(record.slot(layout.slot_count())?)
        .map(Running::Slot)
}

/// What the bootloader tries first.
fn due(layout: &Layout, otadata: &Otadata) -> Option<Running> {
    match otadata.in_force() {
        Some((_, record)) => selected(layout, &record),
        None if layout.factory.is_some() => Some(Running::Factory),
        None => layout.slot(0).map(Running::Slot),
    }
}

/// What ran before the image that a record selects, if the record says.
fn left_for(layout: &Layout, record: &Record) -> Option<Running> {
    let left = match back_from(record)? {
        Some(slot) => layout.slot(slot.into()).map(Running::Slot),
        None => layout.factory.map(|_| Running::Factory),
    };
    left.filter(|left| selected(layout, record) != Some(*left))
}

/// Where to roll back to from the image that the record of a trial selects.
///
/// The other record says so, unless a confirmation that was cut off has erased it: a switch makes sure of that. It comes first,
/// because a CRC covers no label: where power failed while the trial's record was erased, its label may have changed.
fn way_back(layout: &Layout, otadata: &Otadata, record: &Record) -> Option<Running> {
    let other = otadata.records.get(otadata.spare());
    let other = other.filter(|other| other.is_idf_valid() && !is_trial(other));
    other
        .and_then(|other| selected(layout, other))
        .filter(|other| selected(layout, record) != Some(*other))
        .or_else(|| left_for(layout, record))
}

/// Whether the running firmware is on trial.
pub(crate) fn on_trial(layout: &Layout, running: Running, otadata: &Otadata) -> bool {
    otadata
        .in_force()
        .is_some_and(|(_, record)| is_trial(&record) && selected(layout, &record) == Some(running))
}

/// The kind of bootloader, where the running firmware's record shows it.
pub(crate) fn bootloader(
    layout: &Layout,
    running: Running,
    otadata: &Otadata,
) -> Option<Bootloader> {
    let (_, record) = otadata.in_force()?;
    bootloader_of(&record).filter(|_| selected(layout, &record) == Some(running))
}

/// The release that is running, if this library installed it.
pub(crate) fn running_release(
    layout: &Layout,
    running: Running,
    otadata: &Otadata,
) -> Option<ReleaseId> {
    let (_, record) = otadata.in_force()?;
    release_of(&record).filter(|_| selected(layout, &record) == Some(running))
}

/// Makes `image` the one the next restart boots, on trial. `running` is the flash offset of the running one.
#[inline(never)]
pub(crate) fn switch<F: NorFlash>(
    flash: &mut F,
    running: u32,
    image: Bootable,
) -> Result<Slot, Error> {
    let layout = ok!(Layout::read(flash));
    let running = ok!(layout.running(running));
    let mut otadata = ok!(Otadata::read(flash, &layout));
    ok!(ensure_way_back(flash, &layout, running, &mut otadata));
    ok!(otadata.make_room(flash));
    let tries = ok!(otadata.rollback_state(flash)).tries(image.release);
    let back = slot_of(Some(running)).map(|slot| slot.index);
    let label = label(Purpose::Trial, back, image.release);
    let record = ok!(otadata.successor(image.slot.index, State::New, label));
    ok!(otadata.write(flash, otadata.spare(), record));
    // Should it not come to its own end this time, it has failed. Not before the switch: the record of the trial before would
    // say so at once. The switch is made, whatever becomes of the note.
    if tries.away() > 0 {
        let _ = otadata.note(flash, otadata.spare(), tries.and_again());
    }
    Ok(image.slot)
}

/// Makes sure that the running image boots again if the record about to be written is given up.
///
/// It nearly always does. The exceptions: the bootloader passed over a broken image, and the record in force still
/// selects that image's slot, which now holds the new one; or otadata is blank, and the bootloader's choice among the
/// slots would fall on the new image.
fn ensure_way_back<F: NorFlash>(
    flash: &mut F,
    layout: &Layout,
    running: Running,
    otadata: &mut Otadata,
) -> Result<(), Error> {
    let in_force = otadata.in_force();
    match running {
        Running::Slot(slot) => {
            let leads_back =
                in_force.is_some_and(|(_, record)| selected(layout, &record) == Some(running));
            if !leads_back {
                let record = ok!(otadata.successor(slot.index, State::Valid, PLAIN));
                ok!(otadata.write(flash, otadata.spare(), record));
            }
        }
        Running::Factory => ok!(select_factory(flash, otadata)),
    }
    Ok(())
}

/// Makes the factory app the one that boots: the bootloader boots it where no record is valid.
fn select_factory<F: NorFlash>(flash: &mut F, otadata: &mut Otadata) -> Result<(), Error> {
    // The one in force goes last: should power fail before, it still decides.
    for sector in [otadata.spare(), 1 - otadata.spare()] {
        if let Some(mut record) = otadata.records.get(sector).copied()
            && record.is_idf_valid()
        {
            // A release that was confirmed has not failed because its record goes.
            if !is_trial(&record) {
                record.label = PLAIN;
            }
            ok!(otadata.abort(flash, sector, record));
        }
    }
    Ok(())
}

/// Gives up the image on trial and rolls back to `left`; if that is not known, to what boots without it.
///
/// Usually the other record selects that slot, and it is enough to make the one in force Aborted; should power fail
/// meanwhile, a torn record decides nothing and the other does. Where a confirmation that was cut off has erased the
/// other record, it is written anew, as a successor, and the one in force need not be touched.
///
/// Unless the image has `crashed`, it only did not reach its server, and is tried again later.
#[inline(never)]
fn give_up<F: NorFlash>(
    flash: &mut F,
    layout: &Layout,
    otadata: &mut Otadata,
    left: Option<Running>,
    crashed: bool,
) -> Result<(), Error> {
    let Some((sector, record)) = otadata.in_force() else {
        return Ok(());
    };
    let spare = otadata.spare();
    let other = otadata
        .records
        .get(spare)
        .filter(|other| other.is_idf_valid() && !is_trial(other));
    let leads_back = other.and_then(|other| selected(layout, other)) == left;
    let anew = slot_of(left).filter(|_| !leads_back);
    // The note comes first, behind the record that stays: should power fail while the other is rewritten, the release
    // is still known to have failed. Giving it up does not wait for a note that cannot be written.
    let stays = if anew.is_none() { spare } else { sector };
    if let Some(release) = release_of(&record) {
        let _ = note_failure(flash, otadata, stays, release, crashed);
    }
    match anew {
        Some(slot) => {
            let record = ok!(otadata.successor(slot.index, State::Valid, PLAIN));
            otadata.write(flash, spare, record)
        }
        None if left == Some(Running::Factory) => select_factory(flash, otadata),
        None => otadata.abort(flash, sector, record),
    }
}

/// Notes in the log of a sector that a release failed, or only did not reach its server, unless that is noted already.
fn note_failure<F: NorFlash>(
    flash: &mut F,
    otadata: &Otadata,
    sector: usize,
    release: ReleaseId,
    crashed: bool,
) -> Result<(), Error> {
    let known = ok!(otadata.rollback_state(flash)).tries(release);
    let tries = if crashed {
        known.and_failed()
    } else {
        known.and_away()
    };
    if tries == known {
        return Ok(());
    }
    otadata.note(flash, sector, tries)
}

fn slot_of(running: Option<Running>) -> Option<Slot> {
    match running {
        Some(Running::Slot(slot)) => Some(slot),
        Some(Running::Factory) | None => None,
    }
}

/// Ends the running firmware's trial: from now on it is the one to go back to. `false` if it was not on trial.
pub(crate) fn confirm<F: NorFlash>(
    flash: &mut F,
    layout: &Layout,
    running: Running,
) -> Result<bool, Error> {
    let mut otadata = ok!(Otadata::read(flash, layout));
    if !on_trial(layout, running, &otadata) {
        return Ok(false);
    }
    let (Some((sector, trial)), Running::Slot(slot)) = (otadata.in_force(), running) else {
        return Ok(false);
    };
    let purpose = match bootloader_of(&trial) {
        Some(Bootloader::AppRollback) => Purpose::ConfirmedUnderRollback,
        _ => Purpose::Confirmed,
    };
    let label = match (release_of(&trial), back_from(&trial)) {
        (Some(release), Some(back)) => label(purpose, back, release),
        _ => PLAIN,
    };
    if trial.state == State::PendingVerify {
        // This bootloader aborts what is pending at the next boot: the other record must stay, for it decides if
        // power fails now.
        let record = Record {
            state: State::Valid,
            label,
            ..trial
        };
        ok!(otadata.write(flash, sector, record));
    } else {
        // Into the other sector, with a higher sequence: until it is whole, the trial goes on.
        let record = ok!(otadata.successor(slot.index, State::Valid, label));
        ok!(otadata.write(flash, otadata.spare(), record));
    }
    Ok(true)
}

/// Notes that this boot of the trial ended in order: the firmware runs well, and did not reach its server.
pub(crate) fn end_boot<F: NorFlash>(
    flash: &mut F,
    layout: &Layout,
    running: Running,
) -> Result<(), Error> {
    let otadata = ok!(Otadata::read(flash, layout));
    match otadata.in_force() {
        Some((sector, record)) if on_trial(layout, running, &otadata) => {
            otadata.add_end(flash, sector, &record)
        }
        _ => Ok(()),
    }
}

/// Gives up the running firmware, on trial or not, and selects the one before. The caller restarts.
///
/// From a confirmed firmware the device does not roll back below the min_version that one of `keys` has set, nor to a release that
/// failed. On trial nothing stands in the way: a device that does not work is no safer.
pub(crate) async fn roll_back<F: Flash>(
    flash: &mut F,
    layout: &Layout,
    running: Running,
    keys: &[ReleaseKey],
    block: &mut [u8; BLOCK],
) -> Result<(), Error> {
    let mut chip = flash.lock().await;
    let mut otadata = ok!(Otadata::read(&mut *chip, layout));
    let in_force = otadata.in_force();
    let left = in_force.and_then(|(_, record)| left_for(layout, &record));
    if on_trial(layout, running, &otadata) {
        let left = in_force.and_then(|(_, record)| way_back(layout, &otadata, &record));
        if left.is_some() || leads_somewhere(layout, &otadata) {
            return give_up(&mut *chip, layout, &mut otadata, left, true);
        }
    }
    let Running::Slot(current) = running else {
        return Err(Error::NothingToGoBackTo);
    };
    let state = ok!(otadata.rollback_state(&mut *chip));
    drop(chip);
    let min_version = state.min_version(keys);
    let mut before = None;
    let factory = layout.factory.is_some() && min_version == MinVersion::NONE;
    // The slot that installed it, if its record names one that still exists; otherwise any other.
    let is_left = |slot: &&Slot| left == Some(Running::Slot(**slot));
    let others = || {
        layout
            .slots
            .iter()
            .rev()
            .filter(|slot| slot.index != current.index)
    };
    if !(factory && left == Some(Running::Factory)) {
        for slot in others()
            .filter(is_left)
            .chain(others().filter(|slot| !is_left(slot)))
        {
            if let Some(image) = ok!(image_in(flash, *slot, block).await) {
                let release = ReleaseId::of_bytes(&image.sha256);
                // One that was tried and is not confirmed is none to go back to.
                if state.tries(release).is_untried() && is_at_least(&image, min_version) {
                    before = Some((*slot, release));
                    break;
                }
            }
        }
    }
    if before.is_none() && !factory {
        return Err(Error::NothingToGoBackTo);
    }
    let flash = &mut *flash.lock().await;
    if let (Some(release), Some((sector, _))) =
        (running_release(layout, running, &otadata), in_force)
    {
        ok!(note_failure(flash, &otadata, sector, release, true));
    }
    match before {
        Some((slot, release)) => {
            // What is not known to be the one that was replaced may never have run: it is on trial.
            let (state, label) = if left == Some(Running::Slot(slot)) {
                (State::Valid, PLAIN)
            } else {
                (
                    State::New,
                    label(Purpose::Trial, Some(current.index), release),
                )
            };
            let record = ok!(otadata.successor(slot.index, state, label));
            otadata.write(flash, otadata.spare(), record)
        }
        None => select_factory(flash, &mut otadata),
    }
}

/// Whether anything says what boots without the record in force: the other one, or a factory app.
fn leads_somewhere(layout: &Layout, otadata: &Otadata) -> bool {
    let spare = otadata.records.get(otadata.spare());
    layout.factory.is_some() || spare.is_some_and(Record::is_idf_valid)
}

/// Whether an image's own version is no lower than `min_version`.
fn is_at_least(image: &Image, min_version: MinVersion) -> bool {
    let descriptor = image
        .descriptor
        .as_ref()
        .filter(|descriptor| !descriptor.is_arduino());
    let version = descriptor.and_then(|descriptor| Version::parse(descriptor.version()).ok());
    version.map_or(MinVersion::NONE, |version| MinVersion::of(&version)) >= min_version
}

/// The image in a slot, if it is whole and passes its own checks.
async fn image_in<F: Flash>(
    flash: &mut F,
    slot: Slot,
    block: &mut [u8; BLOCK],
) -> Result<Option<Image>, Error> {
    let end = slot.offset.saturating_add(slot.size);
    let image = ok!(read_image(flash, slot.offset, end, block).await);
    Ok(image.finish().ok())
}
