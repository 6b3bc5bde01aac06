//! Where the running firmware lies on flash.

use core::fmt;

use esp_bootloader_esp_idf::partitions::{PARTITION_TABLE_MAX_LEN, read_partition_table};

use crate::Flash;

/// The flash offset, in bytes, of the partition the running firmware was booted from.
///
/// It comes from the hardware: the first entry of the flash cache's mapping (MMU) leads to the first 64 KiB page of the
/// running image, which is where its partition begins, because app partitions are aligned to 64 KiB and the image's
/// first segment is the one mapped first (ESP-IDF, `bootloader_utility.c`, `set_cache_and_start_app`). What otadata
/// selects is not asked: the bootloader may have passed over that image.
///
/// The register is read by `PartitionTable::booted_partition` of esp-bootloader-esp-idf, which knows it for every chip.
/// It looks at 8 bits of the entry, which is 16 MB of flash; for larger chips see [`RunningError::LargeFlash`].
///
/// # Errors
///
/// [`RunningError`]. Nothing is updated then: without knowing what runs, it might be overwritten.
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
    // Beyond 16 MB an offset would be taken for the one 16 MB below.
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

/// Why it is not known what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunningError {
    /// The partition table cannot be read.
    PartitionTable,
    /// The running firmware lies in none of the partitions.
    NotInTable,
    /// An app partition lies beyond 16 MB, where the mapping is read ambiguously.
    LargeFlash,
}

impl fmt::Display for RunningError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PartitionTable => {
                "there is no partition table at 0x8000: flash the board once by cable, with one that has two OTA slots"
            }
            Self::NotInTable => {
                "the running firmware lies in no partition of the table: flash firmware and table together, by cable"
            }
            Self::LargeFlash => {
                "an app partition lies beyond 16 MB of flash, which is not supported: move it below"
            }
        })
    }
}

impl core::error::Error for RunningError {}
