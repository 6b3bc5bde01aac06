//! The running firmware's partition.

use core::fmt;

use s3ota_image::partition::{MAX_LEN, PartitionTable};

use crate::{Flash, TABLE_OFFSET, early};

/// Where an image has its app descriptor: behind its header and that of its first segment.
const DESCRIPTOR_AT: u32 = 24 + 8;

/// Bytes of an app descriptor (ESP-IDF, `esp_app_desc_t`).
pub(crate) const DESCRIPTOR_LEN: usize = 256;

/// The flash offset, in bytes, of the partition the running firmware was booted from.
///
/// It comes from the hardware: the first entry of the flash cache's mapping (MMU) is the first 64 KiB page of the running
/// image. That is the start of its partition, because app partitions are aligned to 64 KiB and the image's first segment is
/// mapped first (ESP-IDF, `bootloader_utility.c`, `set_cache_and_start_app`). Otadata does not tell: the bootloader may have
/// skipped the image that it selects.
///
/// The mapping is not trusted alone. The partition must hold the app descriptor that the running firmware has in memory, so a
/// register that reads otherwise than expected, or another page size, leads to an error and not to the wrong slot.
///
/// 8 bits of the entry are used, enough for 16 MB of flash; for larger chips see [`RunningError::LargeFlash`].
///
/// # Errors
///
/// [`RunningError`]. Then there are no updates: they might overwrite the running firmware.
#[inline(never)]
pub fn running_partition(flash: &mut Flash) -> Result<u32, RunningError> {
    const {
        assert!(
            esp_bootloader_esp_idf::MMU_PAGE_SIZE == 64 * 1024,
            "s3ota-esp needs MMU pages of 64 KiB"
        );
    }
    const REACH: usize = 256 * 64 * 1024;

    let capacity = flash.storage().capacity();
    if capacity == 0 {
        return Err(RunningError::UnknownFlash);
    }
    let mut bytes = [0; MAX_LEN];
    let read = flash.read_now(TABLE_OFFSET, &mut bytes);
    let table = read.ok().and_then(|()| PartitionTable::parse(&bytes).ok());
    let table = table.ok_or(RunningError::PartitionTable)?;
    let mapped = early::mapped();
    let mut found = false;
    for app in table.entries().filter(|entry| entry.kind.is_app()) {
        // An offset beyond 16 MB would be mistaken for the one 16 MB below.
        if capacity > REACH && app.end().is_none_or(|end| end as usize > REACH) {
            return Err(RunningError::LargeFlash);
        }
        found |= app.offset == mapped;
    }
    if !found {
        return Err(RunningError::NotInTable);
    }
    let (there, _) = bytes.split_at_mut(DESCRIPTOR_LEN);
    let read = flash.read_now(mapped.saturating_add(DESCRIPTOR_AT), there);
    if read.is_err() || !early::is_own_descriptor(there) {
        return Err(RunningError::OtherFirmware { offset: mapped });
    }
    Ok(mapped)
}

/// Why the running partition is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RunningError {
    /// The partition table cannot be read.
    PartitionTable,
    /// The running firmware is in none of the partitions.
    NotInTable,
    /// The partition that the hardware names holds another firmware than the running one.
    OtherFirmware {
        /// Where that partition begins.
        offset: u32,
    },
    /// An app partition is beyond 16 MB, where the mapping is ambiguous.
    LargeFlash,
    /// esp-storage does not know the flash chip's size.
    UnknownFlash,
}

impl fmt::Display for RunningError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PartitionTable => {
                return write!(
                    f,
                    "there is no valid partition table at {TABLE_OFFSET:#x}: flash the board once by cable, with a table that has two OTA slots"
                );
            }
            Self::NotInTable => {
                "the running firmware is in none of the table's partitions: flash firmware and table together, by cable"
            }
            Self::OtherFirmware { offset } => {
                return write!(
                    f,
                    "the chip seems to run from {offset:#x}, but another firmware is there: please report this, with the chip's revision"
                );
            }
            Self::LargeFlash => {
                "an app partition is beyond 16 MB of flash, which is not supported: move it below"
            }
            Self::UnknownFlash => {
                "esp-storage does not recognise the flash chip: please report what `espflash board-info` says of it"
            }
        })
    }
}

impl core::error::Error for RunningError {}
