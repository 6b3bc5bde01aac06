//! What the bootloader reads from otadata, and what it writes to it.
//!
//! Every write is an erase and a program of the record's own sector, in place: power may fail between them, and in
//! them.

use s3ota_image::otadata::{RECORD_LEN, Record, SECTOR_SIZE, State, active};

use super::{Apps, BootError, Bootloader, Silicon};
use crate::{Flash, FlashError};

/// Where the bootloader starts to look for an app.
pub(super) struct Start {
    /// A slot, or the factory app.
    pub(super) slot: Option<usize>,
    /// Neither record was ever written, and there is no factory app (`ota_has_initial_contents`).
    pub(super) otadata_is_initial: bool,
}

impl Start {
    const FACTORY: Self = Self {
        slot: None,
        otadata_is_initial: false,
    };
}

/// `bootloader_utility_get_selected_boot_partition`, with both settings of `CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE` and of
/// `CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK`.
pub(super) fn select(
    bootloader: Bootloader,
    flash: &mut Flash,
    silicon: &mut Silicon,
    apps: &Apps,
) -> Result<Start, BootError> {
    let Some(otadata) = apps.otadata else {
        return Ok(Start::FACTORY);
    };
    if otadata.size < 2 * SECTOR_SIZE {
        return Err(BootError::OtadataTooSmall);
    }
    let sectors = [otadata.offset, otadata.offset + SECTOR_SIZE];
    let mut records = [Record::ERASED; 2];
    for (record, at) in records.iter_mut().zip(sectors) {
        let mut bytes = [0; RECORD_LEN];
        flash.read_now(at, &mut bytes)?;
        *record = Record::parse(&bytes);
    }
    if bootloader.app_rollback {
        // Whether in force or not, and whatever the CRC.
        for (record, at) in records.iter_mut().zip(sectors) {
            if record.state == State::PendingVerify {
                record.state = State::Aborted;
                write(flash, at, record)?;
            }
        }
    }
    let slots = apps.slots.len() as u32;
    let initial = |record: &Record| record.sequence == u32::MAX || !record.crc_matches();
    let otadata_is_initial = records.iter().all(initial);
    let in_force = if silicon.hardware.secure_version.is_some() {
        if otadata_is_initial {
            return Ok(Start {
                otadata_is_initial,
                ..Start::FACTORY
            });
        }
        // `get_active_otadata_with_check_anti_rollback`: a record that names an app with a lower secure version is ignored.
        let mut known = [Record::ERASED; 2];
        for (known, record) in known.iter_mut().zip(&records) {
            let slot = record.slot(slots).map(|slot| slot as usize);
            if let Some(partition) = slot.and_then(|slot| apps.slots.get(slot))
                && silicon.is_no_rollback(flash, partition)?
            {
                *known = *record;
            }
        }
        active(&known)
    } else {
        if records.iter().all(Record::is_idf_invalid) || apps.slots.is_empty() {
            if apps.factory.is_some() {
                return Ok(Start::FACTORY);
            }
            return Ok(Start {
                slot: Some(0),
                otadata_is_initial,
            });
        }
        active(&records)
    };
    // Torn records are neither valid nor invalid: then the factory app is tried first, and every slot after it.
    let Some(in_force) = in_force else {
        return Ok(Start::FACTORY);
    };
    let record = &mut records[in_force];
    if bootloader.app_rollback && record.state == State::New {
        record.state = State::PendingVerify;
        write(flash, sectors[in_force], record)?;
    }
    let slot = record.slot(slots).map(|slot| slot as usize);
    if record.state == State::Valid
        && let Some(partition) = slot.and_then(|slot| apps.slots.get(slot))
    {
        silicon.burn_secure_version(flash, partition)?;
    }
    Ok(Start {
        slot,
        otadata_is_initial: false,
    })
}

/// `set_actual_ota_seq`: the very first record, for the slot that boots.
pub(super) fn write_first(flash: &mut Flash, apps: &Apps, slot: usize) -> Result<(), FlashError> {
    let Some(otadata) = apps.otadata else {
        return Ok(());
    };
    let record = Record::new(slot as u32 + 1, State::Valid, [0xff; 20]);
    write(flash, otadata.offset, &record)
}

/// `write_otadata`: the bootloader erases the sector and writes the 32 bytes.
fn write(flash: &mut Flash, at: u32, record: &Record) -> Result<(), FlashError> {
    flash.erase_now(at, at + SECTOR_SIZE)?;
    flash.program_now(at, &record.emit())
}
