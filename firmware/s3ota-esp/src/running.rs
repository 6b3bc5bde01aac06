//! The running firmware's partition.

use core::fmt;

use esp_bootloader_esp_idf::partitions::{PARTITION_TABLE_MAX_LEN, read_partition_table};

use crate::Flash;

/// The flash offset, in bytes, of the partition the running firmware was booted from.
///
/// It comes from the hardware: the first entry of the flash cache's mapping (MMU) is the first 64 KiB page of the running
/// image. That is the start of its partition, because app partitions are aligned to 64 KiB and the image's first segment is
/// mapped first (ESP-IDF, `bootloader_utility.c`, `set_cache_and_start_app`). Otadata does not tell: the bootloader may have
/// skipped the image that it selects.
///
/// `PartitionTable::booted_partition` of esp-bootloader-esp-idf reads the register, on every chip. It uses 8 bits of the entry,
/// enough for 16 MB of flash; for larger chips see [`RunningError::LargeFlash`].
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
    const REACH: u32 = 256 * 64 * 1024;

    let large = flash.storage().capacity() > REACH as usize;
    let mut buffer = [0; PARTITION_TABLE_MAX_LEN];
    let table = read_partition_table(flash.storage(), &mut buffer)
        .map_err(|_| RunningError::PartitionTable)?;
    // An offset beyond 16 MB would be mistaken for the one 16 MB below.
    if large
        && table
            .iter()
            .any(|entry| entry.offset().saturating_add(entry.len()) > REACH && is_app(&entry))
    {
        return Err(RunningError::LargeFlash);
    }
    match table.booted_partition() {
        Ok(Some(entry)) => Ok(entry.offset()),
        Ok(None) => Err(RunningError::NotInTable),
        Err(_) => Err(RunningError::PartitionTable),
    }
}

fn is_app(entry: &esp_bootloader_esp_idf::partitions::PartitionEntry) -> bool {
    // Type 0 is "app" (ESP-IDF, `esp_flash_partitions.h`).
    entry.raw_type() == 0
}

/// Why the running partition is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum RunningError {
    /// The partition table cannot be read.
    PartitionTable,
    /// The running firmware is in none of the partitions.
    NotInTable,
    /// An app partition is beyond 16 MB, where the mapping is ambiguous.
    LargeFlash,
}

impl fmt::Display for RunningError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PartitionTable => {
                "there is no partition table at 0x8000: flash the board once by cable, with a table that has two OTA slots"
            }
            Self::NotInTable => {
                "the running firmware is in none of the table's partitions: flash firmware and table together, by cable"
            }
            Self::LargeFlash => {
                "an app partition is beyond 16 MB of flash, which is not supported: move it below"
            }
        })
    }
}

impl core::error::Error for RunningError {}
