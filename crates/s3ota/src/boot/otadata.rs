//! The two otadata records as this library keeps them: one whole record a write, a mark on those it wrote, and a small
//! log behind each.
//!
//! A sector of otadata holds one 32-byte record, which the bootloader reads, and 4,064 bytes nobody reads. Behind the
//! record, from offset 64 on, this library keeps a [log](crate::flash::log) that is only ever appended to:
//!
//! ```text
//! 0x000  record           sequence, label (our mark, what for, the way back, the release), state, CRC
//! 0x040  log entry        "a boot of the image on trial", "that boot ended in order", or what is remembered
//! 0x060  log entry        …
//! ```
//!
//! So counting the boots of a trial needs no erase: the record in force is never put at risk by a boot. A new record,
//! and the bootloader's own changes, erase the sector and with it the log. What must outlive that, the
//! [`RollbackState`], is kept in both logs: what keys have said, and which releases have failed.

use embedded_storage_async::nor_flash::NorFlash;
use s3ota_image::otadata::{RECORD_LEN, Record, SECTOR_SIZE, State, active, next_sequence};
use s3ota_manifest::user_agent;

use crate::apart::ok;
use crate::boot::booted::MAX_SPARED_BOOTS;
use crate::boot::launched::Trial;
use crate::boot::reset::{Bootloader, Reset};
use crate::boot::rollback_state::{Claim, RollbackState, Tries};
use crate::bytes;
use crate::error::{Error, FirmwareError, FlashFault, LayoutError};
use crate::flash::access as flash;
use crate::flash::log::{Entry, Kind, Log, kind, value};
use crate::flash::partitions::Layout;
use crate::flash::release::ReleaseId;

/// What begins the label of a record this library wrote, with the version of this format.
///
/// Behind it: the [`Purpose`], the slot to go back to, the [`ReleaseId`].
const MARK: [u8; 6] = *b"s3ota\x01";

/// What a record of this library is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Purpose {
    /// The image is on trial.
    Trial = b'T',
    /// The image has been confirmed.
    Confirmed = b'C',
    /// The image has been confirmed, under a bootloader that does app rollback.
    ConfirmedUnderRollback = b'R',
    /// The image has been confirmed after a trial that the old firmware launched, which shows nothing of the bootloader.
    ConfirmedAfterLaunch = b'L',
}

/// No slot: the factory app.
const NO_SLOT: u8 = 0xff;

/// The label of records that say nothing but which slot to boot, as cables and other tools write them.
pub(crate) const PLAIN: [u8; 20] = [0xff; 20];

/// How many notes a trial may add to the log that stays.
pub(crate) const NOTES: u32 = 8;

/// Where the log begins in a sector.
const LOG_START: u32 = 64;

/// A record begins with its sequence.
const SEQUENCE_LEN: usize = 4;

/// A boot of the image on trial. The value: why the chip started, and how many boots a trial has.
const BOOTED: Kind = kind(b"boot");
/// The boot before this entry ended in order: its firmware ran well, but did not reach its server.
const ENDED: Kind = kind(b"away");

/// The label of a record for `release`, and the slot that is left for it.
#[inline(never)]
pub(crate) fn label(purpose: Purpose, back: Option<u8>, release: &ReleaseId) -> [u8; 20] {
    let mut label = PLAIN;
    let middle = [purpose as u8, back.unwrap_or(NO_SLOT)];
    bytes::copy(&[&MARK, &middle, release.as_bytes()], &mut label);
    label
}

/// Purpose, slot to go back to, and release.
type Parts = (u8, u8, ReleaseId);

/// What a record's label says, if this library wrote it.
fn parts(record: &Record) -> Option<Parts> {
    let &[purpose, back, ref release @ ..] =
        record.label.strip_prefix(&MARK)?.first_chunk::<14>()?;
    Some((purpose, back, ReleaseId::from_bytes(*release)))
}

/// The release a record was written for, if this library wrote it.
pub(crate) fn release_of(record: &Record) -> Option<ReleaseId> {
    parts(record).map(|(_, _, release)| release)
}

/// The slot that was left for the one this record selects, if this library wrote it: `Some(None)` is the factory app.
pub(crate) fn back_from(record: &Record) -> Option<Option<u8>> {
    parts(record).map(|(_, back, _)| Some(back).filter(|&back| back != NO_SLOT))
}

/// Whether the image a record selects is on trial.
///
/// What counts is the label: the state of a record that was being erased when the power failed may read as anything. A
/// label is complete wherever the sequence is, and no bits that erasing sets make a confirmation out of a trial. A
/// label that says nothing is a cable's, or another tool's. `PendingVerify` is a trial whatever the label says: a
/// bootloader with app rollback goes back from it at the next boot, and has made it of a New that may once have been
/// more.
pub(crate) fn is_trial(record: &Record) -> bool {
    if record.is_idf_invalid() {
        return false;
    }
    let confirmed = match parts(record) {
        Some((purpose, ..)) => is_confirmed(purpose),
        None => record.label == PLAIN,
    };
    !confirmed || record.state == State::PendingVerify
}

fn is_confirmed(purpose: u8) -> bool {
    purpose == Purpose::Confirmed as u8
        || purpose == Purpose::ConfirmedUnderRollback as u8
        || purpose == Purpose::ConfirmedAfterLaunch as u8
}

/// What a record that this library wrote, and the chip has booted by, says of the bootloader: one that does app
/// rollback has made PendingVerify of a trial's New.
pub(crate) fn bootloader_of(record: &Record) -> Option<Bootloader> {
    let (purpose, ..) = parts(record)?;
    if purpose == Purpose::ConfirmedAfterLaunch as u8 {
        return None;
    }
    Some(
        if record.state == State::PendingVerify || purpose == Purpose::ConfirmedUnderRollback as u8
        {
            Bootloader::AppRollback
        } else {
            Bootloader::Plain
        },
    )
}

/// What a record counts as that reads differently each time: torn.
const UNSTEADY: Record = Record {
    crc: 0,
    ..Record::new(0, State::Undefined, PLAIN)
};

/// Reads the record at an offset.
#[inline(never)]
fn read_record<F: NorFlash>(flash: &mut F, at: u32) -> Result<Record, FlashFault> {
    let bytes = flash::read_steady(flash, at)?;
    Ok(bytes.map_or(UNSTEADY, |bytes| Record::parse(&bytes)))
}

/// Whether power failed while this was written or erased.
fn is_torn(record: &Record) -> bool {
    !record.is_idf_invalid() && !record.crc_matches()
}

/// The boots of a trial so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Boots {
    /// Those that count: the firmware before, or this one, came to an end by itself.
    pub(crate) counted: u32,
    /// Those that do not count against the firmware: the power came on, or the chip woke.
    pub(crate) spared: u32,
    /// The firmware crashed: a boot that counts follows one that did not end in order.
    pub(crate) crashed: bool,
    /// The last boot did not end in order, as far as is known.
    runs: bool,
    /// After how many it is given up, by the firmware that counted the last one.
    pub(crate) of: u8,
}

impl Boots {
    /// Takes in one more.
    pub(crate) fn add(&mut self, reset: Reset) {
        if reset == Reset::Crash {
            self.counted = self.counted.saturating_add(1);
            self.crashed |= self.runs;
        } else {
            self.spared = self.spared.saturating_add(1);
        }
        self.runs = true;
    }

    /// Takes in what the log says.
    ///
    /// An entry that was torn is one of a boot that lost its power while it was counted.
    fn take(&mut self, entry: &Entry) {
        match entry {
            Entry::Whole(BOOTED, value) => {
                let [reset, of, ..] = *value;
                self.add(Reset::from_byte(Some(reset)));
                self.of = of;
            }
            Entry::Whole(ENDED, _) => self.runs = false,
            Entry::Torn => self.spared = self.spared.saturating_add(1),
            Entry::Whole(..) | Entry::Blank => {}
        }
    }

    /// The boots as the User-Agent tells them; `None` where nobody has counted them.
    pub(crate) fn told(&self) -> Option<user_agent::Boots> {
        let counted = u8::try_from(self.counted.max(1)).unwrap_or(u8::MAX);
        let boots = user_agent::Boots {
            boot: counted,
            of: self.of,
        };
        Some(boots).filter(|boots| boots.of > 0)
    }

    /// Whether a trial of so many boots is over.
    pub(crate) fn is_over(&self, of: u8) -> bool {
        self.counted > u32::from(of) || self.spared > MAX_SPARED_BOOTS
    }
}

/// Both records, as they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Otadata {
    pub(crate) records: [Record; 2],
    start: u32,
    slot_count: u32,
    #[cfg(feature = "launch")]
    launched: Option<Trial>,
}

impl Otadata {
    /// Reads the records. [`launch::read_otadata`](super::launch::read_otadata) also looks for a trial that is launched.
    pub(crate) fn read<F: NorFlash>(flash: &mut F, layout: &Layout) -> Result<Self, FlashFault> {
        let second = layout.otadata + SECTOR_SIZE;
        Ok(Self {
            records: [
                read_record(flash, layout.otadata)?,
                read_record(flash, second)?,
            ],
            start: layout.otadata,
            slot_count: layout.slot_count(),
            #[cfg(feature = "launch")]
            launched: None,
        })
    }

    /// Where the last trial that was launched is noted, open or not. `None` where this firmware knows of no such trials.
    pub(crate) fn last_launched_mut(&mut self) -> Option<&mut Option<Trial>> {
        #[cfg(feature = "launch")]
        return Some(&mut self.launched);
        #[cfg(not(feature = "launch"))]
        None
    }

    /// The trial that the firmware which boots launches, as it was when this was read.
    pub(crate) fn launched(&self) -> Option<&Trial> {
        self.last_launched().filter(|trial| !trial.has_ended)
    }

    /// The trial whose launches came to nothing.
    pub(crate) fn given_up_launch(&self) -> Option<&Trial> {
        self.last_launched().filter(|trial| trial.has_ended)
    }

    #[cfg(feature = "launch")]
    pub(crate) fn last_launched(&self) -> Option<&Trial> {
        self.launched.as_ref()
    }

    /// There is none: this firmware knows of no such trials.
    #[cfg(not(feature = "launch"))]
    pub(crate) fn last_launched(&self) -> Option<&Trial> {
        None
    }

    /// The record in force and its sector, 0 or 1.
    pub(crate) fn in_force(&self) -> Option<(usize, Record)> {
        let sector = active(&self.records)?;
        Some((sector, *self.records.get(sector)?))
    }

    /// The sector a new record goes to: the one that is not in force. If none is, a torn one does not stay.
    pub(crate) fn spare(&self) -> usize {
        match active(&self.records) {
            Some(0) => 1,
            Some(_) => 0,
            None => {
                let [first, second] = &self.records;
                usize::from(!is_torn(first) && is_torn(second))
            }
        }
    }

    /// The sector whose log stays when a new record is written: that of the record in force.
    pub(crate) fn home(&self) -> usize {
        1 - self.spare()
    }

    /// Whether a record is torn.
    pub(crate) fn has_torn(&self) -> bool {
        self.records.iter().any(is_torn)
    }

    /// Erases records: those of releases that were `given_up`, or those that are torn. What became of a release is remembered.
    #[inline(never)]
    pub(crate) fn erase<F: NorFlash>(
        &mut self,
        flash: &mut F,
        given_up: bool,
    ) -> Result<(), Error> {
        for sector in 0..self.records.len() {
            if let Some(record) = self.records.get(sector)
                && match given_up {
                    true => self.given_up(record).is_some(),
                    false => is_torn(record),
                }
            {
                ok!(self.write(flash, sector, Record::ERASED));
            }
        }
        Ok(())
    }

    /// Writes a record that selects `slot`, and is in force once it is whole.
    #[inline(never)]
    pub(crate) fn select<F: NorFlash>(
        &mut self,
        flash: &mut F,
        slot: u8,
        state: State,
        label: [u8; 20],
    ) -> Result<(), Error> {
        // 2^32 updates are not made; a sequence that high was written by no one in their right mind.
        let Some(sequence) = self.next_sequence(slot) else {
            return Err(LayoutError::NoOtadata.into());
        };
        let record = Record::new(sequence, state, label);
        self.write(flash, self.spare(), record)
    }

    /// The sequence of the next record for `slot`. `None` if there is no such slot, and where the sequences are used up.
    pub(crate) fn next_sequence(&self, slot: u8) -> Option<u32> {
        next_sequence(self.newest_sequence(), slot.into(), self.slot_count)
    }

    /// The highest sequence of a record that is not torn, whatever became of it. 0 if there is none.
    pub(crate) fn newest_sequence(&self) -> u32 {
        let mut newest = 0;
        for record in &self.records {
            // Not an erased one, should the CRC behind it be right for it.
            if record.crc_matches() && record.sequence != u32::MAX {
                newest = record.sequence.max(newest);
            }
        }
        newest
    }

    /// Writes one whole record: erase, program, read back.
    ///
    /// The sequence is programmed last, because the record's CRC covers nothing else: no record is in force before its
    /// state and label are complete. (Encrypted flash takes all of it at once, and a torn block deciphers to noise.)
    pub(crate) fn write<F: NorFlash>(
        &mut self,
        flash: &mut F,
        sector: usize,
        record: Record,
    ) -> Result<(), Error> {
        let at = self.sector(sector);
        let bytes = record.emit();
        let state = self.rollback_state(flash)?;
        flash::erase_sector(flash, at)?;
        for (kind, value) in state.entries() {
            self.log(sector).append(flash, kind, value)?;
        }
        let (sequence, rest) = if F::WRITE_SIZE <= SEQUENCE_LEN {
            bytes.split_at(SEQUENCE_LEN)
        } else {
            bytes.split_at(0)
        };
        let behind = at + sequence.len() as u32;
        flash::write(flash, behind, rest)?;
        flash::write(flash, at, sequence)?;
        let mut back = [0; RECORD_LEN];
        flash::read(flash, at, &mut back)?;
        if back != bytes {
            return Err(FirmwareError::ReadBack.into());
        }
        if let Some(slot) = self.records.get_mut(sector) {
            *slot = record;
        }
        Ok(())
    }

    /// Gives up what `record`, which lies in `sector`, selects: the same record, as Aborted, in its place.
    pub(crate) fn abort<F: NorFlash>(
        &mut self,
        flash: &mut F,
        sector: usize,
        record: Record,
    ) -> Result<(), Error> {
        let aborted = Record {
            state: State::Aborted,
            ..record
        };
        self.write(flash, sector, aborted)
    }

    /// What the log behind the record in force says of a trial's boots, from this entry on.
    #[inline(never)]
    pub(crate) fn boots<F: NorFlash>(&self, flash: &mut F, from: u32) -> Result<Boots, FlashFault> {
        let mut boots = Boots::default();
        let mut written = self.home_log().written(from);
        while written.next(flash)? {
            boots.take(&written.entry);
        }
        Ok(boots)
    }

    /// Counts a boot of a trial that has so many. `false` if there is no room for it, or the flash does not take it.
    ///
    /// What ends a trial may need room behind it.
    pub(crate) fn add_boot<F: NorFlash>(
        &self,
        flash: &mut F,
        reset: Reset,
        of: u8,
    ) -> Result<bool, FlashFault> {
        let value = value(&[&[reset.as_byte(), of]]);
        self.home_log().without(NOTES).append(flash, BOOTED, value)
    }

    /// Notes behind the record in force that this boot of the trial ended in order.
    ///
    /// A bootloader with app rollback erases that note along with the trial's record, so there the other sector gets one.
    pub(crate) fn add_end<F: NorFlash>(&self, flash: &mut F) -> Result<(), FlashFault> {
        if let Some((_, record)) = self.in_force()
            && record.state == State::PendingVerify
            && let Some(release) = release_of(&record)
        {
            let tries = self.rollback_state(flash)?.tries(release);
            self.note(flash, self.spare(), tries.and_away())?;
        }
        self.home_log().append(flash, ENDED, value(&[]))?;
        Ok(())
    }

    /// Notes in the log of one sector what became of a release. `false` if there is no room for it.
    ///
    /// A log that is full is no reason to stop: what it would have said only spares another try.
    pub(crate) fn note<F: NorFlash>(
        &self,
        flash: &mut F,
        sector: usize,
        tries: Tries,
    ) -> Result<bool, FlashFault> {
        let (kind, value) = tries.entry();
        self.log(sector).append(flash, kind, value)
    }

    /// The release that a record says was given up.
    ///
    /// Where a bootloader has app rollback, the record of a trial may end as Aborted though the release was confirmed in
    /// the other: that one did not fail. And a sequence that is missing says nothing: such a record was torn before it was
    /// in force.
    fn given_up(&self, record: &Record) -> Option<ReleaseId> {
        let given_up = matches!(record.state, State::Invalid | State::Aborted);
        let confirmed = self.in_force().and_then(|(_, record)| release_of(&record));
        release_of(record)
            .filter(|_| given_up && record.crc_matches())
            .filter(|&release| confirmed != Some(release))
    }

    /// Notes how the trial ended that a bootloader with app rollback gave up by itself. Why the chip started says it: after a
    /// crash the release has failed; where power came back, or the chip woke, it is tried again.
    pub(crate) fn settle<F: NorFlash>(&self, flash: &mut F, reset: Reset) {
        for (sector, record) in self.records.iter().enumerate() {
            let Some(release) = self.given_up(record) else {
                continue;
            };
            let Ok(known) = self.noted(flash).map(|noted| noted.tries(release)) else {
                continue;
            };
            if !known.is_settled() {
                let ended = match reset {
                    Reset::Crash => known.and_failed(),
                    Reset::PowerOn | Reset::Wake => known.and_away(),
                };
                // What cannot be noted counts as a crash, as the record alone says.
                let _ = self.note(flash, 1 - sector, ended);
            }
        }
    }

    /// Makes sure that there is room for so many entries behind the record in force.
    pub(crate) fn make_room<F: NorFlash>(
        &mut self,
        flash: &mut F,
        entries: u32,
    ) -> Result<(), Error> {
        if !self.has_room(flash, entries)? {
            self.renew(flash, self.home())?;
        }
        Ok(())
    }

    /// Whether there is room for so many entries behind the record in force.
    fn has_room<F: NorFlash>(&self, flash: &mut F, entries: u32) -> Result<bool, FlashFault> {
        Ok(self.home_log().room(flash)? >= entries)
    }

    /// What this device remembers.
    pub(crate) fn rollback_state<F: NorFlash>(
        &self,
        flash: &mut F,
    ) -> Result<RollbackState, FlashFault> {
        let mut state = self.noted(flash)?;
        // A bootloader with app rollback gives up by itself and records nothing; nor has the guard yet.
        for record in &self.records {
            if let Some(release) = self.given_up(record) {
                state.gave_up(release);
            }
        }
        Ok(state)
    }

    /// What of it is noted in the logs.
    #[inline(never)]
    fn noted<F: NorFlash>(&self, flash: &mut F) -> Result<RollbackState, FlashFault> {
        let mut state = RollbackState::default();
        // Notes go to the record that stays. What it has is the newest, and comes last: nothing older may push it out.
        let newest = match self.in_force() {
            Some((sector, record)) if !is_trial(&record) => sector,
            _ => self.spare(),
        };
        for sector in [1 - newest, newest] {
            let mut written = self.log(sector).written(0);
            while written.next(flash)? {
                if let Entry::Whole(kind, value) = &written.entry {
                    state.take(*kind, value);
                }
            }
        }
        Ok(state)
    }

    /// Remembers what it did not know yet.
    ///
    /// It is written to both sectors, so that it outlives the erase of either; first to the one that the next record
    /// leaves alone. Not to be called on trial.
    #[inline(never)]
    pub(crate) fn remember<F: NorFlash>(
        &mut self,
        flash: &mut F,
        mut state: RollbackState,
        news: impl IntoIterator<Item = Claim>,
    ) -> Result<(), Error> {
        for (kind, value) in news.into_iter().map(|claim| claim.entry()) {
            if !state.take(kind, &value) {
                continue;
            }
            let spare = self.spare();
            for sector in [1 - spare, spare] {
                if !self.log(sector).append(flash, kind, value)? {
                    self.renew(flash, sector)?;
                }
            }
        }
        Ok(())
    }

    /// Makes room behind a record: writes it anew, or, as nothing is ever done to the one in force, its successor.
    fn renew<F: NorFlash>(&mut self, flash: &mut F, sector: usize) -> Result<(), Error> {
        info!("a log in otadata is full: begun anew");
        let record = *self.records.get(sector).ok_or(LayoutError::NoOtadata)?;
        let in_force = self.in_force().is_some_and(|(at, _)| at == sector);
        match record.slot(self.slot_count) {
            Some(slot) if in_force => {
                let slot = u8::try_from(slot).map_err(|_| LayoutError::NoOtadata)?;
                self.select(flash, slot, State::Valid, record.label)
            }
            _ => self.write(flash, sector, record),
        }
    }

    /// The log behind the record in force.
    #[inline(never)]
    pub(crate) fn home_log(&self) -> Log {
        self.log(self.home())
    }

    /// The log behind a record.
    fn log(&self, sector: usize) -> Log {
        Log::new(self.sector(sector) + LOG_START, SECTOR_SIZE - LOG_START)
    }

    fn sector(&self, sector: usize) -> u32 {
        if sector == 0 {
            self.start
        } else {
            self.start + SECTOR_SIZE
        }
    }
}
