//! The second-stage bootloader of ESP-IDF: which app it boots, and what it writes to otadata on the way.
//!
//! Written from `components/bootloader_support/src/bootloader_utility.c`
//! (`bootloader_utility_get_selected_boot_partition`, `bootloader_utility_load_boot_image`, `set_actual_ota_seq`) and
//! `bootloader_common_loader.c`. Anti-rollback by eFuse, the test app and secure boot are left out.

use std::fmt;

use s3ota_image::app::{Image, Verifier};
use s3ota_image::otadata::{RECORD_LEN, Record, SECTOR_SIZE, State, active};
use s3ota_image::partition::{Partition, PartitionError, PartitionTable, TABLE_OFFSET};

use crate::{Flash, FlashError};

/// An ESP-IDF bootloader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bootloader {
    /// Built with `CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE`, which the bootloaders that espflash brings are not.
    pub app_rollback: bool,
}

/// An app the bootloader found good and jumped to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// The partition it lies in.
    pub partition: Partition,
    /// Its slot, 0 for `ota_0`; `None` for the factory app.
    pub slot: Option<u8>,
    /// The image.
    pub image: Image,
}

/// Why nothing boots: what a person would call a brick.
#[derive(Debug)]
pub enum BootError {
    /// There is no valid partition table.
    Table(PartitionError),
    /// No app partition holds a whole, valid image.
    NoBootableApp,
    /// The flash cannot be accessed.
    Flash(FlashError),
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(error) => {
                write!(f, "no valid partition table at {TABLE_OFFSET:#x}: {error}")
            }
            Self::NoBootableApp => write!(f, "no app partition holds a valid image"),
            Self::Flash(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for BootError {}

impl From<FlashError> for BootError {
    fn from(error: FlashError) -> Self {
        Self::Flash(error)
    }
}

/// What the bootloader reads from the partition table.
struct Apps {
    factory: Option<Partition>,
    slots: Vec<Partition>,
    otadata: Option<u32>,
}

impl Bootloader {
    /// Boots: decides, writes what the bootloader would write, and returns the app it jumps to.
    ///
    /// # Errors
    ///
    /// [`BootError::NoBootableApp`] is a device that needs a cable.
    pub fn boot(&self, flash: &mut Flash) -> Result<App, BootError> {
        let apps = Apps::read(flash)?;
        let choice = self.choose(flash, &apps)?;

        // Backwards from the chosen one down to the factory app, then forwards over the remaining slots.
        let backwards = choice
            .index
            .map(|index| (0..=index).rev())
            .into_iter()
            .flatten()
            .map(Some)
            .chain([None]);
        let first_left = choice.index.map_or(0, |index| index + 1);
        let forwards = (first_left..apps.slots.len()).map(Some);
        for index in backwards.chain(forwards) {
            let partition = match index {
                Some(index) => apps.slots.get(index),
                None => apps.factory.as_ref(),
            };
            let Some(partition) = partition else { continue };
            let Some(image) = load(flash, partition)? else {
                continue;
            };
            if let (Some(index), true, Some(otadata)) =
                (index, choice.otadata_is_initial, apps.otadata)
            {
                let record = Record::new(index as u32 + 1, State::Valid, [0xff; 20]);
                write_record(flash, otadata, &record)?;
            }
            return Ok(App {
                partition: *partition,
                slot: index.map(|index| index as u8),
                image,
            });
        }
        Err(BootError::NoBootableApp)
    }

    fn choose(&self, flash: &mut Flash, apps: &Apps) -> Result<Choice, BootError> {
        let factory_first = Choice {
            index: None,
            otadata_is_initial: false,
        };
        let Some(otadata) = apps.otadata else {
            return Ok(factory_first);
        };
        let mut records = [Record::ERASED; 2];
        for (at, record) in [otadata, otadata + SECTOR_SIZE]
            .into_iter()
            .zip(&mut records)
        {
            let mut bytes = [0; RECORD_LEN];
            flash.read_now(at, &mut bytes)?;
            *record = Record::parse(&bytes);
            if self.app_rollback && record.state == State::PendingVerify {
                record.state = State::Aborted;
                write_record(flash, at, record)?;
            }
        }
        if records.iter().all(Record::is_idf_invalid) || apps.slots.is_empty() {
            if apps.factory.is_some() {
                return Ok(factory_first);
            }
            let initial = |record: &Record| record.sequence == u32::MAX || !record.crc_matches();
            return Ok(Choice {
                index: Some(0),
                otadata_is_initial: records.iter().all(initial),
            });
        }
        // Torn records are neither valid nor invalid: then the factory app is tried first, and after it every slot.
        let Some(sector) = active(&records) else {
            return Ok(factory_first);
        };
        let record = &mut records[sector];
        if self.app_rollback && record.state == State::New {
            record.state = State::PendingVerify;
            write_record(flash, otadata + sector as u32 * SECTOR_SIZE, record)?;
        }
        let index = record
            .slot(apps.slots.len() as u32)
            .map(|slot| slot as usize);
        Ok(Choice {
            index,
            otadata_is_initial: false,
        })
    }
}

/// Where the bootloader begins to look: at a slot, or at the factory app.
struct Choice {
    index: Option<usize>,
    otadata_is_initial: bool,
}

impl Apps {
    fn read(flash: &Flash) -> Result<Self, BootError> {
        let mut bytes = [0; 0xc00];
        flash.read_now(TABLE_OFFSET, &mut bytes)?;
        let table = PartitionTable::parse(&bytes).map_err(BootError::Table)?;
        let otadata = table
            .otadata()
            .filter(|partition| partition.size >= 2 * SECTOR_SIZE);
        Ok(Self {
            factory: table.factory(),
            slots: table.ota_slots().collect(),
            otadata: otadata.map(|partition| partition.offset),
        })
    }
}

/// The image in a partition, if it is whole and valid.
fn load(flash: &Flash, partition: &Partition) -> Result<Option<Image>, FlashError> {
    let mut verifier = Verifier::in_slot();
    let mut block = [0; SECTOR_SIZE as usize];
    for at in (partition.offset..partition.offset + partition.size).step_by(block.len()) {
        flash.read_now(at, &mut block)?;
        if verifier.update(&block).is_err() {
            return Ok(None);
        }
        if verifier.is_complete() {
            break;
        }
    }
    Ok(verifier.finish().ok())
}

/// `write_otadata`: the bootloader erases the sector and writes the 32 bytes.
fn write_record(flash: &mut Flash, at: u32, record: &Record) -> Result<(), FlashError> {
    flash.erase_now(at, at + SECTOR_SIZE)?;
    flash.program_now(at, &record.emit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3ota_image::Chip;
    use s3ota_image::app::ImageBuilder;

    const SLOTS: &str = "
        otadata, data, ota,     0xd000,   0x2000
        ota_0,   app,  ota_0,   0x10000,  0x10000
        ota_1,   app,  ota_1,   0x20000,  0x10000
        ota_2,   app,  ota_2,   0x30000,  0x10000
    ";
    const FACTORY: &str = "factory, app, factory, 0x40000, 0x10000\n";

    /// A flash with these records, and whole images in the slots named.
    fn flash(factory: bool, records: [Record; 2], images: &[u32]) -> Flash {
        let csv = if factory {
            format!("{SLOTS}{FACTORY}")
        } else {
            SLOTS.to_owned()
        };
        let image = ImageBuilder::new(Chip::Esp32C3, "1.0.0").build();
        let mut bytes = crate::Setup::from_csv(&csv).unwrap().flash(&image).unwrap();
        for slot in 0..3u32 {
            let at = 0x10000 + slot as usize * 0x10000;
            let held: &[u8] = if images.contains(&slot) {
                &image
            } else {
                &[0xff; 64]
            };
            bytes[at..at + held.len()].copy_from_slice(held);
        }
        for (at, record) in [0xd000, 0xe000].into_iter().zip(records) {
            bytes[at..at + RECORD_LEN].copy_from_slice(&record.emit());
        }
        Flash::in_memory(bytes)
    }

    fn record(sequence: u32, state: State) -> Record {
        Record::new(sequence, state, [0xff; 20])
    }

    fn torn(sequence: u32, state: State) -> Record {
        Record {
            crc: 0,
            ..record(sequence, state)
        }
    }

    /// What boots: `Some(None)` is the factory app.
    fn boots(flash: &mut Flash) -> Option<Option<u8>> {
        Bootloader::default().boot(flash).ok().map(|app| app.slot)
    }

    const ALL: &[u32] = &[0, 1, 2];
    const BLANK: Record = Record::ERASED;

    #[test]
    fn the_valid_record_with_the_higher_sequence_decides() {
        use State::*;
        let table = [
            ([record(1, Valid), record(2, Valid)], Some(1)),
            ([record(5, Valid), record(4, Valid)], Some(1)),
            ([record(3, New), BLANK], Some(2)),
            ([record(1, Valid), record(2, Undefined)], Some(1)),
            ([record(1, Valid), record(2, PendingVerify)], Some(1)),
            ([record(1, Valid), record(2, Aborted)], Some(0)),
            ([record(1, Valid), record(2, Invalid)], Some(0)),
            ([record(1, Valid), torn(2, New)], Some(0)),
            ([torn(1, New), record(7, Other(77))], Some(0)),
        ];
        for (records, slot) in table {
            assert_eq!(
                boots(&mut flash(true, records, ALL)),
                Some(slot),
                "{records:?}"
            );
            assert_eq!(
                boots(&mut flash(false, records, ALL)),
                Some(slot),
                "{records:?}"
            );
        }
    }

    #[test]
    fn without_a_usable_record_it_is_the_factory_app_or_the_first_slot() {
        use State::*;
        for records in [
            [BLANK, BLANK],
            [record(2, Aborted), BLANK],
            [record(2, Invalid), record(3, Aborted)],
            // Neither valid nor invalid: "factory, else all slots in turn" comes to the same first choice.
            [torn(2, New), BLANK],
            [torn(2, New), torn(3, Valid)],
        ] {
            assert_eq!(
                boots(&mut flash(true, records, ALL)),
                Some(None),
                "{records:?}"
            );
            assert_eq!(
                boots(&mut flash(false, records, ALL)),
                Some(Some(0)),
                "{records:?}"
            );
        }
    }

    #[test]
    fn an_image_that_fails_its_checks_makes_it_try_the_lower_ones_then_the_higher() {
        let records = [record(2, State::Valid), BLANK];
        assert_eq!(boots(&mut flash(false, records, &[0, 2])), Some(Some(0)));
        assert_eq!(boots(&mut flash(false, records, &[2])), Some(Some(2)));
        assert_eq!(boots(&mut flash(true, records, &[2])), Some(None));
        assert_eq!(boots(&mut flash(false, records, &[])), None);
    }

    #[test]
    fn blank_otadata_without_a_factory_app_gets_its_first_record() {
        let mut flash = flash(false, [BLANK, BLANK], &[1]);
        assert_eq!(boots(&mut flash), Some(Some(1)));
        let mut bytes = [0; RECORD_LEN];
        flash.read_now(0xd000, &mut bytes).unwrap();
        assert_eq!(Record::parse(&bytes), record(2, State::Valid));
    }

    #[test]
    fn with_app_rollback_new_becomes_pending_and_pending_aborted() {
        let rollback = Bootloader { app_rollback: true };
        let mut flash = flash(false, [record(1, State::Valid), record(2, State::New)], ALL);
        let state = |flash: &Flash| {
            let mut bytes = [0; RECORD_LEN];
            flash.read_now(0xe000, &mut bytes).unwrap();
            Record::parse(&bytes).state
        };
        assert_eq!(rollback.boot(&mut flash).unwrap().slot, Some(1));
        assert_eq!(state(&flash), State::PendingVerify);
        assert_eq!(rollback.boot(&mut flash).unwrap().slot, Some(0));
        assert_eq!(state(&flash), State::Aborted);
        assert_eq!(rollback.boot(&mut flash).unwrap().slot, Some(0));
    }
}
