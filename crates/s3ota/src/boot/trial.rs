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
use s3ota_image::partition::TABLE_OFFSET;
use s3ota_manifest::{ReleaseKey, Version};

use crate::apart::ok;
#[cfg(feature = "launch")]
use crate::boot::booted::Refusal;
use crate::boot::booted::{Boot, Booted, check_trial_boots};
use crate::boot::launch;
use crate::boot::launched::Trial;
use crate::boot::on_flash::OnFlash;
use crate::boot::otadata::{
    Boots, Otadata, PLAIN, Purpose, back_from, bootloader_of, is_trial, label, release_of,
};
use crate::boot::reset::{Bootloader, Reset};
use crate::boot::rollback_state::MinVersion;
use crate::boot::selection::{due, due_at, left_for, selected, slot_of, way_back};
use crate::device::Flash;
use crate::error::{Error, FlashFault};
use crate::flash::partitions::{Layout, Running, Slot, find_otadata};
use crate::flash::release::ReleaseId;
use crate::install::BLOCK;
use crate::install::check::read_image;
use crate::install::writer::Bootable;

/// What [`boot_guard`] is given where it is not known which partition the firmware runs from. On trial, that ends the trial.
pub const UNKNOWN_PARTITION: u32 = u32::MAX;

/// Looks after trials. Call it first in `main`, before anything that may hang or panic.
///
/// The partition table is at 0x8000; [`boot_guard_at`] looks elsewhere.
///
/// It counts the boots of a firmware on trial. When there was one too many it gives the firmware up, and the caller
/// must restart. It is asynchronous only because the flash trait is; with a blocking flash driver
/// `embassy_futures::block_on` runs it before any executor is started. So it takes the driver itself, and not flash that is shared:
/// nobody else can have it yet. Within the guard nothing is awaited, and a driver that needs another task is an error.
///
/// `running` is the flash offset of the running firmware's partition, see [`Device::running`](crate::Device::running), or
/// [`UNKNOWN_PARTITION`]. `trial_boots` is how many boots a firmware on trial has to be confirmed in, 1 to
/// [`MAX_TRIAL_BOOTS`](crate::MAX_TRIAL_BOOTS); any other number cannot be counted, so a firmware that asks for it gets no trial boot at all.
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
    let table = TABLE_OFFSET;
    guard(table, Reset::Crash, flash, running, trial_boots).map(|booted| booted.boot)
}

/// [`boot_guard`], told why the chip started.
///
/// Starts after [`Reset::PowerOn`] and [`Reset::Wake`] use up no trial boot. They have a bound of their own,
/// [`MAX_SPARED_BOOTS`](crate::MAX_SPARED_BOOTS).
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
    guard(TABLE_OFFSET, reset, flash, running, trial_boots)
}

/// [`boot_guard_after`], for a partition table that is not at 0x8000 but at the offset `table`: see
/// [`Config::partition_table`](crate::Config::partition_table).
///
/// # Errors
///
/// Those of [`boot_guard`].
pub async fn boot_guard_at<F: NorFlash>(
    table: u32,
    reset: Reset,
    flash: &mut F,
    running: u32,
    trial_boots: u8,
) -> Result<Booted, Error> {
    guard(table, reset, flash, running, trial_boots)
}

#[inline(never)]
fn guard<F: NorFlash>(
    table: u32,
    reset: Reset,
    flash: &mut F,
    running: u32,
    trial_boots: u8,
) -> Result<Booted, Error> {
    // The linker must not drop it.
    core::hint::black_box(&MARKER);
    count(table, reset, flash, running, trial_boots).or_else(|error| {
        error!("this boot cannot be counted: {}", error);
        match end_trial(table, flash) {
            Ok(true) => Ok(Booted {
                boot: Boot::GivenUp,
                bootloader: None,
            }),
            _ => Err(error),
        }
    })
}

/// What tells an image with this guard from one without: see [`FirmwareError::NoGuard`](crate::FirmwareError::NoGuard).
static MARKER: [u8; GuardMarker::LEN] =
    GuardMarker::new(GuardMarker::ESP_HAL, launch::GUARD).bytes();

/// Counts a boot, and gives up what has used up its boots.
#[inline(never)]
fn count<F: NorFlash>(
    table: u32,
    reset: Reset,
    flash: &mut F,
    running: u32,
    trial_boots: u8,
) -> Result<Booted, Error> {
    let at = running;
    let OnFlash {
        layout,
        running,
        otadata,
    } = &mut ok!(OnFlash::read(flash, table, at));
    let running = *running;
    let in_force = otadata.in_force();
    let bootloader = in_force.and_then(|(_, record)| bootloader_of(&record));
    let booted = |boot| Ok(Booted { boot, bootloader });
    let mut launches = false;
    match in_force.filter(|(_, record)| is_trial(record)) {
        None => {
            otadata.settle(flash, reset);
            // A torn record decides nothing today, and may read as sound tomorrow: it does not stay.
            let is_due = due_at(layout, otadata) == Some(at);
            if otadata.has_torn() {
                ok!(otadata.erase(flash, false));
                if !is_due {
                    warn!("an otadata record reads differently each time: it is erased");
                    return booted(Boot::GivenUp);
                }
                // Which log counts may be another one now.
                ok!(launch::find(flash, layout, otadata));
            }
            launches = otadata
                .launched()
                .is_some_and(|trial| is_due || trial.is_of(running));
            if !launches {
                return booted(Boot::Confirmed);
            }
        }
        Some((_, record)) if selected(layout, &record) != Some(running) => {
            // What the bootloader booted instead may be older than what the new image was to replace.
            let left = way_back(layout, otadata, &record).unwrap_or(running);
            debug!("the bootloader refused the new image");
            ok!(give_up(flash, layout, otadata, Some(left), true));
            return booted(if left == running {
                Boot::FellBack
            } else {
                Boot::GivenUp
            });
        }
        Some(_) => {}
    }
    let of = ok!(check_trial_boots(trial_boots));
    booted(ok!(count_boot(
        flash,
        layout,
        running,
        otadata,
        launches,
        (reset, of)
    )))
}

/// Counts a boot of the firmware on trial: of the one that runs, or of the one that it launches.
fn count_boot<F: NorFlash>(
    flash: &mut F,
    layout: &Layout,
    running: Running,
    otadata: &mut Otadata,
    launches: bool,
    (reset, of): (Reset, u8),
) -> Result<Boot, Error> {
    let launch = otadata.launched().filter(|_| launches);
    let mut boots = ok!(otadata.boots(flash, launch.map_or(0, |trial| trial.since)));
    if launch.is_some_and(|trial| trial.is_of(running)) {
        // The old firmware has counted it.
        return Ok(on_trial_by(&boots, boots.of));
    }
    boots.add(reset);
    // A boot that there is no room to count is one too many, too.
    let is_counted = !boots.is_over(of) && ok!(otadata.add_boot(flash, reset, of));
    if is_counted {
        return Ok(match launch {
            None => on_trial_by(&boots, of),
            Some(trial) => to_launch(trial.slot(layout), &boots),
        });
    }
    debug!(
        "not confirmed in {} boots: going back to the old firmware",
        of
    );
    let Some(trial) = launch else {
        let record = otadata.in_force().map(|(_, record)| record);
        let left = record.and_then(|record| way_back(layout, otadata, &record));
        ok!(give_up(flash, layout, otadata, left, boots.crashed));
        return Ok(Boot::GivenUp);
    };
    ok!(note_end(flash, otadata, trial, boots.crashed));
    Ok(Boot::FellBack)
}

/// The running firmware is to launch the one on trial.
#[cfg(feature = "launch")]
fn to_launch(slot: Option<Slot>, boots: &Boots) -> Boot {
    let boot = boots.counted.max(1);
    slot.map_or(Boot::Confirmed, |slot| Boot::Launch { slot, boot })
}

#[cfg(not(feature = "launch"))]
fn to_launch(_: Option<Slot>, _: &Boots) -> Boot {
    Boot::Confirmed
}

/// The running firmware is on trial.
fn on_trial_by(boots: &Boots, of: u8) -> Boot {
    let boot = boots.counted.max(1);
    debug!("on trial, boot {} of {}", boot, of);
    Boot::Trial { boot, of }
}

/// Says that the running firmware does not launch the new image, though [`Boot::Launch`] asked for it, and what to do
/// instead:
///
/// - [`Boot::FellBack`]: run on. The image is what is wrong, and the trial has failed.
/// - [`Boot::GivenUp`]: restart now. The bootloader boots the new image, as with
///   [`TrialMode::Switch`](crate::TrialMode::Switch): if that dies before it counts its boot, it stays.
/// - [`Boot::Confirmed`]: run on. There is nothing to launch; or flash cannot be read or written, and the trial goes on, and ends
///   after its boots.
///
/// `table` is the offset of the partition table, 0x8000 as a rule; `running` as for [`boot_guard`].
// Not asynchronous, as it is called before anything else runs, and nothing in it is awaited: see `boot_guard`.
#[cfg(feature = "launch")]
#[inline]
pub fn launch_refused<F: NorFlash>(
    table: u32,
    flash: &mut F,
    running: u32,
    refusal: Refusal,
) -> Boot {
    let Ok(OnFlash {
        running, otadata, ..
    }) = &mut OnFlash::read(flash, table, running)
    else {
        return Boot::Confirmed;
    };
    let Some(trial) = otadata.launched() else {
        return Boot::Confirmed;
    };
    match refusal {
        Refusal::Image => {
            if note_end(flash, otadata, trial, true).is_ok() {
                return Boot::FellBack;
            }
        }
        Refusal::Launcher => {
            let (slot, release) = (trial.index(), trial.release());
            if select(flash, otadata, *running, slot, &release).is_ok() {
                return Boot::GivenUp;
            }
        }
    }
    Boot::Confirmed
}

/// Ends the trial that is in force, if there is one, without counting. Whether there was one.
#[inline(never)]
fn end_trial<F: NorFlash>(table: u32, flash: &mut F) -> Result<bool, Error> {
    let layout = match Layout::read(flash, table) {
        Ok(layout) => layout,
        // The record alone can be aborted wherever the bootloader finds it.
        Err(_) => ok!(find_otadata(flash, table)),
    };
    let mut otadata = ok!(launch::read_otadata(flash, &layout));
    let Some((_, record)) = otadata.in_force().filter(|(_, record)| is_trial(record)) else {
        let trial = otadata.launched();
        if let Some(trial) = trial {
            ok!(note_end(flash, &otadata, trial, true));
        }
        return Ok(trial.is_some());
    };
    let left = way_back(&layout, &otadata, &record);
    ok!(give_up(flash, &layout, &mut otadata, left, true));
    Ok(true)
}

/// The trial of the running firmware that the one before it launched, if there is one.
fn launched(on_flash: &OnFlash) -> Option<&Trial> {
    let trial = on_flash.otadata.launched();
    trial.filter(|trial| trial.is_of(on_flash.running))
}

/// The boots of the running firmware's trial; `None` if it is on none.
pub(crate) fn boots<F: NorFlash>(
    flash: &mut F,
    on_flash: &OnFlash,
) -> Result<Option<Boots>, FlashFault> {
    let since = match launched(on_flash) {
        Some(trial) => trial.since,
        None if on_selected_trial(on_flash) => 0,
        None => return Ok(None),
    };
    on_flash.otadata.boots(flash, since).map(Some)
}

/// Where the image lies that was rolled back, so that the running firmware runs again: as long as nothing else was installed.
#[inline(never)]
pub(crate) fn rolled_back<F: NorFlash>(
    flash: &mut F,
    on_flash: &OnFlash,
) -> Result<Option<Slot>, FlashFault> {
    let OnFlash {
        layout,
        running,
        otadata,
    } = on_flash;
    let mut slot = otadata.given_up_launch().map(|trial| trial.index().into());
    let state = otadata.rollback_state(flash)?;
    for record in &otadata.records {
        if release_of(record).is_some_and(|release| state.tries(release).is_settled()) {
            slot = record.slot(layout.slot_count());
        }
    }
    let slot = slot.and_then(|slot| layout.slot(slot));
    Ok(slot.filter(|slot| Running::Slot(*slot) != *running))
}

/// Whether the running firmware is on trial: the record in force says so, or the firmware before has launched it.
pub(crate) fn on_trial(on_flash: &OnFlash) -> bool {
    on_selected_trial(on_flash) || launched(on_flash).is_some()
}

/// Whether the record in force says that the running firmware is on trial.
fn on_selected_trial(on_flash: &OnFlash) -> bool {
    in_force_for(on_flash).is_some_and(|record| is_trial(&record))
}

/// The record in force, if it selects the running firmware.
fn in_force_for(on_flash: &OnFlash) -> Option<Record> {
    let (_, record) = on_flash.otadata.in_force()?;
    Some(record).filter(|record| selected(&on_flash.layout, record) == Some(on_flash.running))
}

/// A trial that the firmware which boots launches, as the command shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaunchedTrial {
    /// Where the new image lies.
    pub slot: Slot,
    /// How many boots were counted.
    pub boots: u32,
    /// After how many it is given up; `None` before the first.
    pub of: Option<u8>,
}

/// Reads that trial from a flash, whose partition table is at `table`. `None` if there is none.
///
/// # Errors
///
/// [`Error::Flash`] and [`Error::Layout`].
pub fn read_launched_trial<F: NorFlash>(
    flash: &mut F,
    table: u32,
) -> Result<Option<LaunchedTrial>, Error> {
    let layout = Layout::read(flash, table)?;
    let otadata = launch::read_otadata(flash, &layout)?;
    let Some(trial) = otadata.launched() else {
        return Ok(None);
    };
    let boots = otadata.boots(flash, trial.since)?;
    Ok(trial.slot(&layout).map(|slot| LaunchedTrial {
        slot,
        boots: boots.counted,
        of: (boots.of > 0).then_some(boots.of),
    }))
}

/// The kind of bootloader, where the running firmware's record shows it.
pub(crate) fn bootloader(on_flash: &OnFlash) -> Option<Bootloader> {
    bootloader_of(&in_force_for(on_flash)?)
}

/// The release that is running, if this library installed it.
pub(crate) fn running_release(on_flash: &OnFlash) -> Option<ReleaseId> {
    release_of(&in_force_for(on_flash)?)
}

/// Makes sure that no record leads to the slot that an image is about to be written to. Called before it is written, where it will
/// be launched.
///
/// Otherwise a record might: one that selects the slot because the bootloader passed over what was there before; or one that was
/// given up, and of which a power cut in its erasure makes another. The image would run before it was launched.
pub(crate) fn clear_way<F: NorFlash>(flash: &mut F, on_flash: &mut OnFlash) -> Result<(), Error> {
    ensure_way_back(flash, on_flash, true)
}

/// Makes `image` the one that the next restart runs, on trial. `running` is the flash offset of the running one, which `launches`
/// it where that protects better than the bootloader.
#[inline(never)]
pub(crate) fn switch<F: NorFlash>(
    flash: &mut F,
    table: u32,
    running: u32,
    image: Bootable,
    launches: bool,
) -> Result<Slot, Error> {
    let at = running;
    let mut on_flash = ok!(OnFlash::read(flash, table, at));
    let launches = launches && bootloader(&on_flash) != Some(Bootloader::AppRollback);
    ok!(ensure_way_back(flash, &mut on_flash, false));
    let OnFlash {
        running, otadata, ..
    } = &mut on_flash;
    let running = *running;
    ok!(otadata.make_room(flash, launch::ROOM));
    let tries = ok!(otadata.rollback_state(flash)).tries(image.release);
    let stays = otadata.home();
    let begun =
        launches && launch::may_launch(&image) && ok!(launch::begin(flash, at, otadata, &image));
    if !begun {
        if launches {
            warn!("not launched: if it hangs early, only a cable helps");
        }
        let Bootable { slot, release, .. } = &image;
        ok!(select(flash, otadata, running, slot.index, release));
    }
    // Should it not come to its own end this time, it has failed. Not before the switch: the record of the trial before would
    // say so at once. The switch is made, whatever becomes of the note.
    if tries.away() > 0 {
        let _ = otadata.note(flash, stays, tries.and_again());
    }
    Ok(image.slot)
}

/// Makes the bootloader boot a new image, on trial.
fn select<F: NorFlash>(
    flash: &mut F,
    otadata: &mut Otadata,
    running: Running,
    slot: u8,
    release: &ReleaseId,
) -> Result<(), Error> {
    let back = slot_of(Some(running)).map(|slot| slot.index);
    let label = label(Purpose::Trial, back, release);
    otadata.select(flash, slot, State::New, label)
}

/// Makes sure that the running image boots again if the record about to be written is given up.
///
/// It nearly always does. The exceptions: the bootloader passed over a broken image, and the record in force still
/// selects that image's slot, which now holds the new one; or otadata is blank, and the bootloader's choice among the
/// slots would fall on the new image.
///
/// Where it `clears`, the records of releases that were given up go as well.
#[inline(never)]
fn ensure_way_back<F: NorFlash>(
    flash: &mut F,
    on_flash: &mut OnFlash,
    clears: bool,
) -> Result<(), Error> {
    let leads_back = in_force_for(on_flash).is_some();
    let otadata = &mut on_flash.otadata;
    let ensured = match on_flash.running {
        Running::Slot(_) if leads_back => Ok(()),
        Running::Slot(slot) => otadata.select(flash, slot.index, State::Valid, PLAIN),
        Running::Factory => select_factory(flash, otadata),
    };
    if clears && ensured.is_ok() {
        return otadata.erase(flash, true);
    }
    ensured
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
    if let Some(release) = &release_of(&record) {
        let _ = note_failure(flash, otadata, stays, release, crashed);
    }
    match anew {
        Some(slot) => otadata.select(flash, slot.index, State::Valid, PLAIN),
        None if left == Some(Running::Factory) => select_factory(flash, otadata),
        None => otadata.abort(flash, sector, record),
    }
}

/// Notes in the log of a sector that a release failed, or only did not reach its server. Also if that is known: the note ends a
/// trial that the old firmware launches.
fn note_failure<F: NorFlash>(
    flash: &mut F,
    otadata: &Otadata,
    sector: usize,
    release: &ReleaseId,
    crashed: bool,
) -> Result<(), FlashFault> {
    let known = otadata.rollback_state(flash)?.tries(*release);
    let tries = if crashed {
        known.and_failed()
    } else {
        known.and_away()
    };
    otadata.note(flash, sector, tries).map(drop)
}

/// Notes how a trial ended that the old firmware launches.
fn note_end<F: NorFlash>(
    flash: &mut F,
    otadata: &Otadata,
    trial: &Trial,
    crashed: bool,
) -> Result<(), FlashFault> {
    note_failure(flash, otadata, otadata.home(), &trial.release(), crashed)
}

/// Ends the running firmware's trial: from now on it is the one to go back to. `false` if it was not on trial.
pub(crate) fn confirm<F: NorFlash>(flash: &mut F, table: u32, running: u32) -> Result<bool, Error> {
    let mut on_flash = ok!(OnFlash::read(flash, table, running));
    let launched = launched(&on_flash);
    if launched.is_none() && !on_selected_trial(&on_flash) {
        return Ok(false);
    }
    let Running::Slot(slot) = on_flash.running else {
        return Ok(false);
    };
    let otadata = &on_flash.otadata;
    let in_force = otadata.in_force();
    let label = match (launched, in_force) {
        (Some(trial), _) => {
            let back = due(&on_flash.layout, otadata);
            label(Purpose::ConfirmedAfterLaunch, back, &trial.release())
        }
        (None, Some((_, trial))) => label_of_confirmed(&trial),
        (None, None) => PLAIN,
    };
    let otadata = &mut on_flash.otadata;
    if let Some((sector, trial)) = in_force
        && trial.state == State::PendingVerify
    {
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
        ok!(otadata.select(flash, slot.index, State::Valid, label));
    }
    Ok(true)
}

/// The label of the record that confirms the image which this one has on trial.
fn label_of_confirmed(trial: &Record) -> [u8; 20] {
    let purpose = match bootloader_of(trial) {
        Some(Bootloader::AppRollback) => Purpose::ConfirmedUnderRollback,
        _ => Purpose::Confirmed,
    };
    match (release_of(trial), back_from(trial)) {
        (Some(release), Some(back)) => label(purpose, back, &release),
        _ => PLAIN,
    }
}

/// Notes that this boot of the trial ended in order: the firmware runs well, and did not reach its server.
pub(crate) fn end_boot<F: NorFlash>(flash: &mut F, table: u32, running: u32) -> Result<(), Error> {
    let on_flash = ok!(OnFlash::read(flash, table, running));
    if !on_trial(&on_flash) {
        return Ok(());
    }
    ok!(on_flash.otadata.add_end(flash));
    Ok(())
}

/// Gives up the running firmware, on trial or not, and selects the one before. The caller restarts.
///
/// From a confirmed firmware the device does not roll back below the min_version that one of `keys` has set, nor to a release that
/// failed. On trial nothing stands in the way: a device that does not work is no safer.
pub(crate) async fn roll_back<F: Flash>(
    flash: &mut F,
    (table, running): (u32, u32),
    (keys, version): (&[ReleaseKey], &str),
    block: &mut [u8; BLOCK],
) -> Result<(), Error> {
    let mut chip = flash.lock().await;
    let mut on_flash = ok!(OnFlash::read(&mut *chip, table, running));
    if let Some(trial) = launched(&on_flash) {
        ok!(note_end(&mut *chip, &on_flash.otadata, trial, true));
        return Ok(());
    }
    let on_selected_trial = on_selected_trial(&on_flash);
    let running_release = running_release(&on_flash);
    let OnFlash {
        layout,
        running,
        otadata,
    } = &mut on_flash;
    let in_force = otadata.in_force();
    let left = in_force.and_then(|(_, record)| left_for(layout, &record));
    if on_selected_trial {
        let left = in_force.and_then(|(_, record)| way_back(layout, otadata, &record));
        if left.is_some() || leads_somewhere(layout, otadata) {
            return give_up(&mut *chip, layout, otadata, left, true);
        }
    }
    let Running::Slot(current) = *running else {
        return Err(Error::NothingToGoBackTo);
    };
    let state = ok!(otadata.rollback_state(&mut *chip));
    drop(chip);
    let min_version = state.min_version(keys);
    let mut before = None;
    let factory = layout.factory.is_some() && min_version == MinVersion::NONE;
    // The slot that installed it, if its record names one that still exists; otherwise any other.
    let is_left = |slot: &&Slot| left == Some(Running::Slot(**slot));
    // Nor is the new image, while a trial is open that this firmware launches: it has never been confirmed.
    let launched = otadata.launched().map(Trial::index);
    let others = || {
        layout
            .slots
            .iter()
            .rev()
            .filter(|slot| slot.index != current.index && launched != Some(slot.index))
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
                    let was_replaced = is_left(&slot) && is_older(&image, version);
                    before = Some((*slot, release, was_replaced));
                    break;
                }
            }
        }
    }
    if before.is_none() && !factory {
        return Err(Error::NothingToGoBackTo);
    }
    let flash = &mut *flash.lock().await;
    if let (Some(release), Some((sector, _))) = (&running_release, in_force) {
        ok!(note_failure(flash, otadata, sector, release, true));
    }
    let Some((slot, release, was_replaced)) = before else {
        return select_factory(flash, otadata);
    };
    // What is not known to be the one that was replaced may never have run: it is on trial.
    let (state, label) = if was_replaced {
        (State::Valid, PLAIN)
    } else {
        let label = label(Purpose::Trial, Some(current.index), &release);
        (State::New, label)
    };
    otadata.select(flash, slot.index, state, label)
}

/// Whether anything says what boots without the record in force: the other one, or a factory app.
fn leads_somewhere(layout: &Layout, otadata: &Otadata) -> bool {
    let spare = otadata.records.get(otadata.spare());
    layout.factory.is_some() || spare.is_some_and(Record::is_idf_valid)
}

/// Whether an image's own version is no lower than `min_version`.
fn is_at_least(image: &Image, min_version: MinVersion) -> bool {
    let version = version_of(image);
    version.map_or(MinVersion::NONE, |version| MinVersion::of(&version)) >= min_version
}

/// An image's own version. `None` where its descriptor does not have it, as with Arduino.
fn version_of(image: &Image) -> Option<Version<'_>> {
    let descriptor = image.descriptor.as_ref()?;
    let version = (!descriptor.is_arduino()).then(|| descriptor.version())?;
    Version::parse(version).ok()
}

/// Whether an image is known to be the one that this version has replaced. A later one is an update that lost its power before the
/// switch, and so may be one without a version of its own.
fn is_older(image: &Image, version: &str) -> bool {
    let own = version_of(image);
    match (own, Version::parse(version)) {
        (Some(own), Ok(version)) => own < version,
        _ => false,
    }
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
