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

use embedded_storage_async::nor_flash::NorFlash;
use s3ota_image::app::{Image, Verifier};
use s3ota_image::otadata::{Record, State};
use s3ota_manifest::{ReleaseKey, Version};

use crate::error::flash as flash_error;
use crate::layout::{Layout, Running, Slot};
use crate::memory::Floor;
use crate::otadata::{Otadata, PLAIN, Purpose, back_from, is_trial, label, release_of};
use crate::release::ReleaseId;
use crate::slot::{BLOCK, Bootable};
use crate::{Error, layout::LayoutError};

/// How often a firmware may boot without being confirmed, unless configured otherwise.
pub const DEFAULT_TRIAL_BOOTS: u8 = 3;

/// How the running firmware stands, as [`boot_guard`] finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// It is the confirmed one, or one that was never on trial (flashed by cable).
    Confirmed,
    /// It is on trial: [`confirm`](crate::Updater::confirm) it once it has shown that it works.
    Trial {
        /// Which boot this is, from 1.
        boot: u32,
        /// After how many boots without confirmation it is given up.
        of: u8,
    },
    /// The bootloader refused the new image and booted this one instead.
    FellBack,
    /// It was on trial, has used up its boots, and is given up; or the record that led to it does not hold, because power
    /// failed in it. **Restart now**: the old image will run.
    GivenUp,
}

/// Looks after trials: the very first thing `main` calls, before anything that may hang or panic.
///
/// It counts the boots of a firmware on trial. When there was one too many it gives the firmware up, and the caller
/// must restart. It is asynchronous only because the flash trait is; with a blocking flash driver
/// `embassy_futures::block_on` runs it before any executor is started.
///
/// `running` is the flash offset of the running firmware's partition, see [`Device::running`](crate::Device::running);
/// `trial_boots` is at least 1.
///
/// # Errors
///
/// [`Error::Flash`] and [`Error::Layout`]. Go on booting then: the guard has changed nothing.
pub async fn boot_guard<F: NorFlash>(
    flash: &mut F,
    running: u32,
    trial_boots: u8,
) -> Result<Boot, Error> {
    guard(flash, running, trial_boots)
}

#[inline(never)]
fn guard<F: NorFlash>(flash: &mut F, running: u32, trial_boots: u8) -> Result<Boot, Error> {
    let layout = Layout::read(flash)?;
    let running = layout.running(running)?;
    let mut otadata = Otadata::read(flash, &layout)?;
    let Some((sector, record)) = otadata.in_force().filter(|(_, record)| is_trial(record)) else {
        // A torn record decides nothing today, and may read as sound tomorrow: it does not stay.
        let strayed = due(&layout, &otadata) != Some(running);
        let torn = otadata.erase_torn(flash)?;
        if strayed && torn {
            log::warn!("an otadata record reads differently each time: it is erased");
            return Ok(Boot::GivenUp);
        }
        return Ok(Boot::Confirmed);
    };
    if selected(&layout, &record) != Some(running) {
        log::warn!("the bootloader refused the new image: going on with this one");
        give_up(flash, &layout, &mut otadata, Some(running))?;
        return Ok(Boot::FellBack);
    }
    let boot = otadata.boots(flash, sector)?.saturating_add(1);
    let of = trial_boots.max(1);
    if boot > u32::from(of) {
        log::error!("not confirmed in {of} boots: going back to the old firmware");
        give_up(flash, &layout, &mut otadata, None)?;
        return Ok(Boot::GivenUp);
    }
    otadata.add_boot(flash, sector)?;
    log::info!("on trial, boot {boot} of {of}");
    Ok(Boot::Trial { boot, of })
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

/// The slot that was left for the one a record selects, as far as it says so.
fn way_back(layout: &Layout, record: &Record) -> Option<Slot> {
    let slot = layout.slot(back_from(record)?.into())?;
    Some(slot).filter(|slot| selected(layout, record) != Some(Running::Slot(*slot)))
}

/// Whether the running firmware is on trial.
pub(crate) fn on_trial(layout: &Layout, running: Running, otadata: &Otadata) -> bool {
    otadata
        .in_force()
        .is_some_and(|(_, record)| is_trial(&record) && selected(layout, &record) == Some(running))
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

/// Makes `image` the one the next restart boots, on trial.
#[inline(never)]
pub(crate) fn switch<F: NorFlash>(
    flash: &mut F,
    layout: &Layout,
    running: Running,
    image: Bootable,
) -> Result<Slot, Error> {
    let mut otadata = Otadata::read(flash, layout)?;
    ensure_way_back(flash, layout, running, &mut otadata)?;
    let back = match running {
        Running::Slot(slot) => Some(slot.index),
        Running::Factory => None,
    };
    let label = label(Purpose::Trial, back, image.release);
    let record = otadata.successor(image.slot.index, State::New, label)?;
    otadata.write(flash, otadata.spare(), record)?;
    Ok(image.slot)
}

/// Makes sure that the running image boots again should the record about to be written be given up.
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
                let record = otadata.successor(slot.index, State::Valid, PLAIN)?;
                otadata.write(flash, otadata.spare(), record)?;
            }
        }
        // Without a valid record the bootloader boots the factory app.
        Running::Factory => {
            if let Some((sector, record)) = in_force {
                otadata.abort(flash, sector, record)?;
            }
        }
    }
    Ok(())
}

/// Gives the image on trial up and goes back to `to`, or to what the trial's record names as left for it.
///
/// Usually the other record selects that slot, and it is enough to make the one in force Aborted; should power fail
/// meanwhile, a torn record decides nothing and the other does. Where a confirmation that was cut off has erased the
/// other record, it is written anew, as a successor, and the one in force need not be touched.
#[inline(never)]
fn give_up<F: NorFlash>(
    flash: &mut F,
    layout: &Layout,
    otadata: &mut Otadata,
    to: Option<Running>,
) -> Result<(), Error> {
    let Some((sector, record)) = otadata.in_force() else {
        return Ok(());
    };
    let back = match to {
        Some(Running::Slot(slot)) => Some(slot),
        Some(Running::Factory) => None,
        None => way_back(layout, &record),
    };
    let spare = otadata.spare();
    let other = otadata
        .records
        .get(spare)
        .filter(|other| other.is_idf_valid() && !is_trial(other));
    let leads_back = other.and_then(|other| selected(layout, other)) == back.map(Running::Slot);
    // The note comes first, behind the record that stays: should power fail while the other is rewritten, the release
    // is still known to have failed.
    let stays = if leads_back { spare } else { sector };
    if let Some(release) = release_of(&record)
        && !otadata.has_failed(flash, release)?
    {
        otadata.add_failure(flash, stays, release)?;
    }
    match back {
        Some(slot) if !leads_back => {
            let record = otadata.successor(slot.index, State::Valid, PLAIN)?;
            otadata.write(flash, spare, record)
        }
        _ => otadata.abort(flash, sector, record),
    }
}

/// Ends the running firmware's trial: from now on it is the one to go back to. `false` if it was not on trial.
pub(crate) fn confirm<F: NorFlash>(
    flash: &mut F,
    layout: &Layout,
    running: Running,
) -> Result<bool, Error> {
    let mut otadata = Otadata::read(flash, layout)?;
    if !on_trial(layout, running, &otadata) {
        return Ok(false);
    }
    let (Some((sector, trial)), Running::Slot(slot)) = (otadata.in_force(), running) else {
        return Ok(false);
    };
    let label = match release_of(&trial) {
        Some(release) => label(Purpose::Confirmed, back_from(&trial), release),
        None => PLAIN,
    };
    if trial.state == State::PendingVerify {
        // This bootloader aborts what is pending at the next boot: the other record must stay, for it decides if
        // power fails now.
        let record = Record {
            state: State::Valid,
            label,
            ..trial
        };
        otadata.write(flash, sector, record)?;
    } else {
        // Into the other sector, with a higher sequence: until it is whole, the trial goes on.
        let record = otadata.successor(slot.index, State::Valid, label)?;
        otadata.write(flash, otadata.spare(), record)?;
    }
    Ok(true)
}

/// Gives the running firmware up, on trial or not, and selects the one before. The caller restarts.
///
/// A firmware that was confirmed is not left for one below the floor that one of `keys` has set. On trial nothing stands in
/// the way: a device that does not work is no safer.
pub(crate) async fn roll_back<F: NorFlash>(
    flash: &mut F,
    layout: &Layout,
    running: Running,
    keys: &[ReleaseKey],
    block: &mut [u8; BLOCK],
) -> Result<(), Error> {
    let mut otadata = Otadata::read(flash, layout)?;
    if on_trial(layout, running, &otadata) && leads_somewhere(layout, &otadata) {
        return give_up(flash, layout, &mut otadata, None);
    }
    let Running::Slot(current) = running else {
        return Err(Error::NothingToGoBackTo);
    };
    let mut others = layout
        .slots
        .iter()
        .rev()
        .filter(|slot| slot.index != current.index);
    let floor = otadata.memory(flash)?.floor(keys);
    let mut previous = None;
    for slot in others.by_ref() {
        if let Some(image) = image_in(flash, *slot, block).await?
            && is_at_least(&image, floor)
        {
            previous = Some(*slot);
            break;
        }
    }
    let failed = running_release(layout, running, &otadata);
    if let (Some(release), Some((sector, _))) = (failed, otadata.in_force()) {
        otadata.add_failure(flash, sector, release)?;
    }
    match previous {
        Some(slot) => {
            let record = otadata.successor(slot.index, State::Valid, PLAIN)?;
            otadata.write(flash, otadata.spare(), record)
        }
        None if layout.factory.is_some() && floor == Floor::NONE => {
            // With both records aborted the bootloader boots the factory app.
            for sector in [otadata.spare(), 1 - otadata.spare()] {
                let record = otadata
                    .records
                    .get(sector)
                    .copied()
                    .ok_or(LayoutError::NoOtadata)?;
                if record.is_idf_valid() {
                    otadata.abort(flash, sector, record)?;
                }
            }
            Ok(())
        }
        None => Err(Error::NothingToGoBackTo),
    }
}

/// Whether anything says what boots without the record in force: itself, the other one, or a factory app.
fn leads_somewhere(layout: &Layout, otadata: &Otadata) -> bool {
    let in_force = otadata.in_force();
    let spare = otadata.records.get(otadata.spare());
    layout.factory.is_some()
        || in_force.is_some_and(|(_, record)| way_back(layout, &record).is_some())
        || spare.is_some_and(Record::is_idf_valid)
}

/// Whether an image's own version is no lower than `floor`.
fn is_at_least(image: &Image, floor: Floor) -> bool {
    let descriptor = image
        .descriptor
        .as_ref()
        .filter(|descriptor| !descriptor.is_arduino());
    let version = descriptor.and_then(|descriptor| Version::parse(descriptor.version()).ok());
    version.map_or(Floor::NONE, |version| Floor::of(&version)) >= floor
}

/// The image in a slot, if it is whole and passes its own checks.
async fn image_in<F: NorFlash>(
    flash: &mut F,
    slot: Slot,
    block: &mut [u8; BLOCK],
) -> Result<Option<Image>, Error> {
    let mut verifier = Verifier::in_slot();
    for at in (slot.offset..slot.offset.saturating_add(slot.size)).step_by(BLOCK) {
        flash.read(at, block).await.map_err(flash_error)?;
        if verifier.update(block).is_err() {
            return Ok(None);
        }
        if verifier.is_complete() {
            break;
        }
    }
    Ok(verifier.finish().ok())
}
