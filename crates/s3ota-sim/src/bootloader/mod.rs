//! The second-stage bootloader of ESP-IDF: which app it boots, and what it writes to otadata on the way.
//!
//! Written from ESP-IDF, `components/bootloader_support/src/`; each function here names the one there that it follows.
//! The rules have been the same from v4.0 to v5.5. Left out are anti-rollback by eFuse, the test app, waking from deep
//! sleep, factory reset by a pin, and secure boot.
//!
//! | here | ESP-IDF |
//! |---|---|
//! | [`Bootloader::boot`] | `call_start_cpu0` and `select_partition_number` (`subproject/main/bootloader_start.c`) |
//! | `Apps::read` | `bootloader_utility_load_partition_table` (`bootloader_utility.c`) |
//! | `otadata::select` | `bootloader_utility_get_selected_boot_partition` (`bootloader_utility.c`) |
//! | [`Record`](s3ota_image::otadata::Record)'s own rules | `bootloader_common_ota_select_*` (`bootloader_common_loader.c`) |
//! | `load_boot_image` | `bootloader_utility_load_boot_image` (`bootloader_utility.c`) |
//! | `load` | `try_load_partition`; the image's own checks are `esp_image_format.c` |
//!
//! What an app does through ESP-IDF's `esp_ota_ops.c` is no part of it.

mod otadata;

use std::fmt;

use s3ota_image::app::{Image, Verifier};
use s3ota_image::otadata::SECTOR_SIZE;
use s3ota_image::partition::{Partition, PartitionError, PartitionTable, TABLE_OFFSET};

use crate::{Flash, FlashError};
use otadata::Start;

/// An ESP-IDF bootloader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
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
    /// The otadata partition has less than two sectors: the bootloader resets, again and again.
    OtadataTooSmall,
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
            Self::OtadataTooSmall => write!(f, "the otadata partition has less than 0x2000 bytes"),
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

/// What the bootloader reads from the partition table (`bootloader_state_t`).
struct Apps {
    factory: Option<Partition>,
    slots: Vec<Partition>,
    otadata: Option<Partition>,
}

impl Bootloader {
    /// Boots: decides, writes what the bootloader would write, and returns the app it jumps to.
    ///
    /// # Errors
    ///
    /// [`BootError::NoBootableApp`] is a device that needs a cable. [`FlashError::NoPower`] is none: power failed while
    /// the bootloader wrote.
    pub fn boot(&self, flash: &mut Flash) -> Result<App, BootError> {
        let apps = Apps::read(flash)?;
        let start = otadata::select(*self, flash, &apps)?;
        load_boot_image(flash, &apps, start)
    }
}

impl Apps {
    fn read(flash: &mut Flash) -> Result<Self, BootError> {
        let mut bytes = [0; 0xc00];
        flash.read_now(TABLE_OFFSET, &mut bytes)?;
        let table = PartitionTable::parse(&bytes).map_err(BootError::Table)?;
        Ok(Self {
            factory: table.factory(),
            slots: table.ota_slots().collect(),
            otadata: table.otadata(),
        })
    }
}

/// Boots the first app that is whole: backwards from where otadata says down to the factory app, then forwards over the
/// slots that are left.
fn load_boot_image(flash: &mut Flash, apps: &Apps, start: Start) -> Result<App, BootError> {
    let count = apps.slots.len();
    let (backwards, forwards) = match start.slot {
        Some(slot) => (0..count.min(slot + 1), slot + 1..count),
        None => (0..0, 0..count),
    };
    let order = (backwards.rev().map(Some))
        .chain([None])
        .chain(forwards.map(Some));
    for slot in order {
        let partition = match slot {
            Some(slot) => apps.slots.get(slot),
            None => apps.factory.as_ref(),
        };
        let Some(partition) = partition else { continue };
        let Some(image) = load(flash, partition)? else {
            continue;
        };
        if let (Some(slot), true) = (slot, start.otadata_is_initial) {
            otadata::write_first(flash, apps, slot)?;
        }
        return Ok(App {
            partition: *partition,
            slot: slot.map(|slot| slot as u8),
            image,
        });
    }
    Err(BootError::NoBootableApp)
}

/// The image in a partition, if it is whole and valid.
fn load(flash: &mut Flash, partition: &Partition) -> Result<Option<Image>, FlashError> {
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

#[cfg(test)]
mod tests;
