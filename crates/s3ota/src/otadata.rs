//! The two otadata records as this library keeps them: one whole record a write, a mark on those it wrote, and a small
//! log behind each.
//!
//! A sector of otadata holds one 32-byte record, which the bootloader reads, and 4,064 bytes nobody reads. Behind the
//! record, from offset 64 on, this library keeps a log of 32-byte entries that are only ever appended:
//!
//! ```text
//! 0x000  record           sequence, label (our mark and the release's id), state, CRC
//! 0x040  entry            "a boot of the image on trial" or "this release has failed"
//! 0x060  entry            …
//! ```
//!
//! So counting the boots of a trial needs no erase: the record in force is never put at risk by a boot. A new record,
//! and the bootloader's own changes, erase the sector and with it the log.

use embedded_storage_async::nor_flash::NorFlash;
use s3ota_image::otadata::{RECORD_LEN, Record, SECTOR_SIZE, State, active, next_sequence};

use crate::Error;
use crate::error::flash as flash_error;
use crate::layout::Layout;
use crate::release::ReleaseId;

/// What begins the label of a record this library wrote, with the version of this format.
const MARK: [u8; 8] = *b"s3ota\x01\xff\xff";

/// Where the log begins in a sector.
const LOG_START: u32 = 64;
/// The length of a log entry, in bytes. Flash encryption writes in such units.
const ENTRY_LEN: usize = 32;
/// Entries in one log.
const ENTRIES: u32 = (SECTOR_SIZE - LOG_START) / ENTRY_LEN as u32;

const BOOTED: [u8; 8] = *b"booted\xff\xff";
const FAILED: [u8; 8] = *b"failed\xff\xff";

/// The label of a record for `release`.
pub(crate) fn label(release: ReleaseId) -> [u8; 20] {
    let mut label = [0xff; 20];
    let parts = MARK.iter().chain(release.as_bytes());
    label
        .iter_mut()
        .zip(parts)
        .for_each(|(to, from)| *to = *from);
    label
}

/// The release a record was written for, if this library wrote it.
pub(crate) fn release_of(record: &Record) -> Option<ReleaseId> {
    let release = record.label.strip_prefix(&MARK)?;
    Some(ReleaseId::from_bytes(*release.first_chunk()?))
}

/// Whether the image a record selects is on trial.
///
/// `PendingVerify` is what a bootloader with app rollback makes of New. A state that is none, or none yet, in a record
/// that is not blank behind its sequence is one of ours that was torn while it was written: a trial too.
pub(crate) fn is_trial(record: &Record) -> bool {
    let ours = record.label != [0xff; 20];
    match record.state {
        State::Valid | State::Invalid | State::Aborted => false,
        State::PendingVerify => true,
        State::New | State::Undefined | State::Other(_) => ours,
    }
}

/// Both records, as they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Otadata {
    pub(crate) records: [Record; 2],
    start: u32,
    slot_count: u32,
}

impl Otadata {
    pub(crate) async fn read<F: NorFlash>(flash: &mut F, layout: &Layout) -> Result<Self, Error> {
        let mut records = [Record::ERASED; 2];
        for (sector, record) in [0, SECTOR_SIZE].into_iter().zip(&mut records) {
            let mut bytes = [0; RECORD_LEN];
            flash
                .read(layout.otadata + sector, &mut bytes)
                .await
                .map_err(flash_error)?;
            *record = Record::parse(&bytes);
        }
        Ok(Self {
            records,
            start: layout.otadata,
            slot_count: layout.slot_count(),
        })
    }

    /// The record in force and its sector, 0 or 1.
    pub(crate) fn in_force(&self) -> Option<(usize, Record)> {
        let sector = active(&self.records)?;
        Some((sector, *self.records.get(sector)?))
    }

    /// The sector a new record goes to: the one that is not in force.
    pub(crate) fn spare(&self) -> usize {
        match active(&self.records) {
            Some(0) => 1,
            _ => 0,
        }
    }

    /// A record that will be in force once it is written, and selects `slot`.
    pub(crate) fn successor(
        &self,
        slot: u8,
        state: State,
        label: [u8; 20],
    ) -> Result<Record, Error> {
        let newest = self
            .records
            .iter()
            .filter(|record| record.crc_matches())
            .map(|record| record.sequence)
            .max();
        // 2^32 updates are not made; a sequence that high was written by no one in their right mind.
        let sequence = next_sequence(newest.unwrap_or(0), slot.into(), self.slot_count)
            .ok_or(Error::Layout(crate::layout::LayoutError::NoOtadata))?;
        Ok(Record::new(sequence, state, label))
    }

    /// Writes one whole record: erase, program, read back.
    pub(crate) async fn write<F: NorFlash>(
        &mut self,
        flash: &mut F,
        sector: usize,
        record: Record,
    ) -> Result<(), Error> {
        let at = self.sector(sector);
        let bytes = record.emit();
        flash
            .erase(at, at + SECTOR_SIZE)
            .await
            .map_err(flash_error)?;
        flash.write(at, &bytes).await.map_err(flash_error)?;
        let mut back = [0; RECORD_LEN];
        flash.read(at, &mut back).await.map_err(flash_error)?;
        if back != bytes {
            return Err(crate::FirmwareError::ReadBack.into());
        }
        if let Some(slot) = self.records.get_mut(sector) {
            *slot = record;
        }
        Ok(())
    }

    /// Gives up what `record`, which lies in `sector`, selects: the same record, as Aborted, in its place.
    pub(crate) async fn abort<F: NorFlash>(
        &mut self,
        flash: &mut F,
        sector: usize,
        record: Record,
    ) -> Result<(), Error> {
        let aborted = Record {
            state: State::Aborted,
            ..record
        };
        self.write(flash, sector, aborted).await
    }

    /// How many boots the log behind a record has counted. An entry that was torn counts.
    pub(crate) async fn boots<F: NorFlash>(
        &self,
        flash: &mut F,
        sector: usize,
    ) -> Result<u32, Error> {
        let mut boots = 0;
        for index in 0..ENTRIES {
            match self.entry(flash, sector, index).await? {
                None => break,
                Some(entry) if entry.starts_with(&FAILED) => {}
                Some(_) => boots += 1,
            }
        }
        Ok(boots)
    }

    /// Counts a boot.
    pub(crate) async fn add_boot<F: NorFlash>(
        &self,
        flash: &mut F,
        sector: usize,
    ) -> Result<(), Error> {
        self.append(flash, sector, BOOTED, &[]).await
    }

    /// Notes behind the record in `sector` that `release` was tried and failed.
    pub(crate) async fn add_failure<F: NorFlash>(
        &self,
        flash: &mut F,
        sector: usize,
        release: ReleaseId,
    ) -> Result<(), Error> {
        self.append(flash, sector, FAILED, release.as_bytes()).await
    }

    /// Whether `release` was tried on this device and given up. Not to be asked of the running release: where a
    /// bootloader has app rollback, the record of its trial ends as Aborted though it was confirmed in the other.
    pub(crate) async fn has_failed<F: NorFlash>(
        &self,
        flash: &mut F,
        release: ReleaseId,
    ) -> Result<bool, Error> {
        for (sector, record) in self.records.iter().enumerate() {
            if record.is_idf_invalid() && release_of(record) == Some(release) {
                return Ok(true);
            }
            for index in 0..ENTRIES {
                match self.entry(flash, sector, index).await? {
                    None => break,
                    Some(entry) => {
                        let noted = entry.strip_prefix(&FAILED);
                        if noted.is_some_and(|noted| noted.starts_with(release.as_bytes())) {
                            return Ok(true);
                        }
                    }
                }
            }
        }
        Ok(false)
    }

    async fn append<F: NorFlash>(
        &self,
        flash: &mut F,
        sector: usize,
        kind: [u8; 8],
        value: &[u8],
    ) -> Result<(), Error> {
        let mut entry = [0xff; ENTRY_LEN];
        entry
            .iter_mut()
            .zip(kind.iter().chain(value))
            .for_each(|(to, from)| *to = *from);
        for index in 0..ENTRIES {
            if self.entry(flash, sector, index).await?.is_none() {
                let at = self.sector(sector) + LOG_START + index * ENTRY_LEN as u32;
                return flash.write(at, &entry).await.map_err(flash_error);
            }
        }
        // A full log is no reason to stop: what it would have said only spares a second try.
        log::warn!("the log behind otadata record {sector} is full");
        Ok(())
    }

    /// The entry with this index, `None` if it is blank.
    async fn entry<F: NorFlash>(
        &self,
        flash: &mut F,
        sector: usize,
        index: u32,
    ) -> Result<Option<[u8; ENTRY_LEN]>, Error> {
        let mut entry = [0; ENTRY_LEN];
        let at = self.sector(sector) + LOG_START + index * ENTRY_LEN as u32;
        flash.read(at, &mut entry).await.map_err(flash_error)?;
        Ok((entry != [0xff; ENTRY_LEN]).then_some(entry))
    }

    fn sector(&self, sector: usize) -> u32 {
        if sector == 0 {
            self.start
        } else {
            self.start + SECTOR_SIZE
        }
    }
}
