//! ESP-IDF's second-stage bootloader: which app it boots, and what it writes to otadata.
//!
//! It is written after ESP-IDF, `components/bootloader_support/src/`; each function names the one that it follows. The rules
//! for otadata have been the same from v4.0 to v6.0; an image's requirements on the chip are checked as in v5.1 and later,
//! with the page sizes of v5.4 and later.
//!
//! | here | ESP-IDF |
//! |---|---|
//! | [`Bootloader::boot_on`] | `call_start_cpu0` and `select_partition_number` (`subproject/main/bootloader_start.c`) |
//! | `Apps::read` | `bootloader_utility_load_partition_table` (`bootloader_utility.c`) |
//! | `otadata::select` | `bootloader_utility_get_selected_boot_partition` (`bootloader_utility.c`) |
//! | [`Record`](s3ota_image::otadata::Record)'s own rules | `bootloader_common_ota_select_*` (`bootloader_common_loader.c`) |
//! | `load_boot_image` | `bootloader_utility_load_boot_image` (`bootloader_utility.c`) |
//! | `load` | `try_load_partition`; the image's own checks are `esp_image_format.c` |
//! | [`Silicon`] | chip, revisions, anti-rollback, where segments lie: `esp_image_format.c`, `bootloader_common_loader.c`, `bootloader_utility.c` |
//!
//! What a real bootloader does and this one does not:
//!
//! - It refuses a segment that would be copied to where there is no RAM, or over itself (`verify_load_addresses`).
//! - It may check Secure Boot signatures, and encrypts flash at the first start. Here signatures are ignored, and an
//!   [encrypted flash](crate::Flash::encrypted) has been encrypted before.
//! - It boots an image without an appended SHA-256, and with anything after its end. Here an image must pass
//!   [`Verifier`], which requires the SHA-256; the library installs no other.
//! - It may be configured to skip the checks: when waking from deep sleep, at power-on, or always
//!   (`CONFIG_BOOTLOADER_SKIP_VALIDATE_*`); and it skips them while a debugger is attached.
//! - Since v5.4 it refuses any image without an app description on the C2, C6, C61 and H2; after v6.1, on all chips, a first
//!   segment that is too short for one.
//! - It boots a test app, or the factory app after erasing data, if a pin is held (`CONFIG_BOOTLOADER_APP_TEST`,
//!   `CONFIG_BOOTLOADER_FACTORY_RESET`), and a test app if nothing else boots.
//! - It starts a watchdog that restarts the chip unless the app takes it over; and if nothing boots, it restarts in a loop.
//!   Here that is a [`BootError`].
//! - It checks flash and chip against ROM and eFuses, and its own revision; there may be another one in a recovery partition;
//!   and a vendor's may have hooks that do anything.
//!
//! What an app does through ESP-IDF's `esp_ota_ops.c` is not part of it.

mod image;
mod otadata;

use std::fmt;

use s3ota_image::app::{Image, Verifier};
use s3ota_image::otadata::SECTOR_SIZE;
use s3ota_image::partition::{Partition, PartitionError, PartitionTable, TABLE_OFFSET};

use crate::{Flash, FlashError};
pub use image::Silicon;
use otadata::Start;

/// An ESP-IDF bootloader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Bootloader {
    /// Built with `CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE`. The bootloaders in espflash are not.
    pub app_rollback: bool,
}

/// An app that the bootloader found valid and jumped to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its partition.
    pub partition: Partition,
    /// Its slot, 0 for `ota_0`; `None` for the factory app.
    pub slot: Option<u8>,
    /// The image.
    pub image: Image,
}

/// Why nothing boots: the device is a brick.
#[derive(Debug)]
pub enum BootError {
    /// There is no valid partition table.
    Table {
        /// Where it should be.
        offset: u32,
        /// What is wrong.
        error: PartitionError,
    },
    /// The otadata partition has less than two sectors: the bootloader resets in a loop.
    OtadataTooSmall,
    /// No app partition contains a complete, valid image.
    NoBootableApp,
    /// The flash cannot be accessed.
    Flash(FlashError),
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table { offset, error } => {
                write!(f, "no valid partition table at {offset:#x}: {error}")
            }
            Self::OtadataTooSmall => write!(f, "the otadata partition has less than 0x2000 bytes"),
            Self::NoBootableApp => write!(f, "no app partition contains a valid image"),
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
pub(crate) struct Apps {
    factory: Option<Partition>,
    pub(crate) slots: Vec<Partition>,
    otadata: Option<Partition>,
}

impl Bootloader {
    /// Boots on a chip of which nothing is known, so no image is refused because of the chip: see
    /// [`boot_on`](Bootloader::boot_on).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn boot(&self, flash: &mut Flash) -> Result<App, BootError> {
        self.boot_on(flash, &mut Silicon::default())
    }

    /// Boots: decides, writes what the bootloader would write, and returns the app that it jumps to. It may burn the secure
    /// version of a confirmed app into the chip's eFuses.
    ///
    /// # Errors
    ///
    /// After [`BootError::NoBootableApp`] the device needs a cable; not after [`FlashError::NoPower`]: power failed while the
    /// bootloader wrote.
    pub fn boot_on(&self, flash: &mut Flash, silicon: &mut Silicon) -> Result<App, BootError> {
        self.boot_at(TABLE_OFFSET, flash, silicon)
    }

    /// The same for a bootloader built for a partition table at this offset (`CONFIG_PARTITION_TABLE_OFFSET`).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn boot_at(
        &self,
        table_offset: u32,
        flash: &mut Flash,
        silicon: &mut Silicon,
    ) -> Result<App, BootError> {
        let apps = Apps::read(flash, table_offset)?;
        let start = otadata::select(*self, flash, silicon, &apps)?;
        load_boot_image(flash, silicon, &apps, start)
    }
}

impl Apps {
    pub(crate) fn read(flash: &mut Flash, offset: u32) -> Result<Self, BootError> {
        let mut bytes = [0; 0xc00];
        flash.read_now(offset, &mut bytes)?;
        let table = PartitionTable::parse_at(&bytes, offset)
            .map_err(|error| BootError::Table { offset, error })?;
        Ok(Self {
            factory: table.factory(),
            slots: table.ota_slots().collect(),
            otadata: table.otadata(),
        })
    }
}

/// Boots the first valid app: backwards from otadata's choice to the factory app, then forwards over the remaining slots.
fn load_boot_image(
    flash: &mut Flash,
    silicon: &mut Silicon,
    apps: &Apps,
    start: Start,
) -> Result<App, BootError> {
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
        let Some(image) = load(flash, silicon, partition)? else {
            continue;
        };
        if let (Some(slot), true) = (slot, start.otadata_is_initial) {
            otadata::write_first(flash, apps, slot)?;
            silicon.burn_secure_version(flash, partition)?;
        }
        return Ok(App {
            partition: *partition,
            slot: slot.map(|slot| slot as u8),
            image,
        });
    }
    Err(BootError::NoBootableApp)
}

/// The image in a partition, if it is complete and valid and may run on this chip.
pub(crate) fn load(
    flash: &mut Flash,
    silicon: &Silicon,
    partition: &Partition,
) -> Result<Option<Image>, FlashError> {
    if !silicon.is_no_rollback(flash, partition)? {
        return Ok(None);
    }
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
    let Ok(image) = verifier.finish() else {
        return Ok(None);
    };
    Ok(silicon.takes(flash, partition)?.then_some(image))
}

#[cfg(test)]
mod tests;
