//! The two bootloaders in the field: without app rollback, which is espflash's, and with it.

use std::path::{Path, PathBuf};
use std::{env, fs};

use s3ota_image::partition::{PartitionTable, TABLE_OFFSET};

use crate::{Result, paths};

/// Where the bootloader with app rollback is.
const VARIABLE: &str = "S3OTA_BOOTLOADER_APP_ROLLBACK";

/// The message if there is none.
pub const SKIPPED: &str = "skipped: what a bootloader with app rollback does. espflash brings none: build any ESP-IDF \
     project for the esp32c3 with CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE=y, and name its build/bootloader/bootloader.bin in \
     S3OTA_BOOTLOADER_APP_ROLLBACK";

/// A device's second-stage bootloader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bootloader {
    /// espflash's: `CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE` is not set.
    Stock,
    /// One that turns New into PendingVerify, and aborts what is PendingVerify at the next boot.
    AppRollback,
}

impl std::fmt::Display for Bootloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stock => "without app rollback",
            Self::AppRollback => "with app rollback",
        })
    }
}

impl Bootloader {
    /// A file's name for a flash with it.
    pub fn flash(self, dir: &Path, name: &str) -> PathBuf {
        dir.join(match self {
            Self::Stock => format!("{name}.bin"),
            Self::AppRollback => format!("{name}-app-rollback.bin"),
        })
    }
}

/// The bootloader with app rollback, if one is given.
pub fn app_rollback() -> Result<Option<Vec<u8>>> {
    let Some(path) = env::var_os(VARIABLE).map(PathBuf::from) else {
        return Ok(None);
    };
    let bytes = fs::read(&path).map_err(|error| paths::about(&path, &error))?;
    check(&bytes).map_err(|problem| format!("{VARIABLE} is {}: {problem}", path.display()))?;
    Ok(Some(bytes))
}

/// Whether it may be a bootloader for this chip. Whether it has app rollback shows when it boots.
fn check(bootloader: &[u8]) -> Result<()> {
    const MAGIC: u8 = 0xe9;
    const CHIP_ID: std::ops::Range<usize> = 12..14;
    const ESP32C3: [u8; 2] = [5, 0];
    if bootloader.first() != Some(&MAGIC) || bootloader.get(CHIP_ID) != Some(&ESP32C3) {
        return Err("no image for the esp32c3".to_owned());
    }
    if bootloader.len() > TABLE_OFFSET as usize {
        return Err("too long for what is in front of the partition table".to_owned());
    }
    Ok(())
}

/// Replaces the bootloader on a flash.
pub fn replace(flash: &mut [u8], bootloader: &[u8]) {
    let (front, _) = flash.split_at_mut(TABLE_OFFSET as usize);
    front.fill(0xff);
    front[..bootloader.len()].copy_from_slice(bootloader);
}

/// The partition table of a flash.
pub fn table(flash: &[u8]) -> Result<PartitionTable<'_>> {
    let table = flash
        .get(TABLE_OFFSET as usize..)
        .ok_or("a flash without a partition table")?;
    PartitionTable::parse(table).map_err(|error| error.to_string())
}

/// What is in otadata on a flash.
pub fn otadata(flash: &[u8]) -> Result<&[u8]> {
    let partition = table(flash)?.otadata().ok_or("there is no otadata")?;
    let at = partition.offset as usize;
    flash
        .get(at..at + partition.size as usize)
        .ok_or_else(|| "otadata is not on the flash".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bootloader_of_another_chip_or_none_is_refused() {
        let mut image = vec![0xff; 0x4000];
        assert!(check(&image).unwrap_err().contains("esp32c3"));
        image[0] = 0xe9;
        image[12..14].copy_from_slice(&[5, 0]);
        assert_eq!(check(&image), Ok(()));
        image[12] = 13;
        assert!(check(&image).unwrap_err().contains("esp32c3"));
        image[12] = 5;
        image.resize(0x8001, 0xff);
        assert!(check(&image).unwrap_err().contains("too long"));
        assert!(check(&[]).is_err());
    }

    #[test]
    fn another_bootloader_leaves_partition_table_and_apps_as_they_are() {
        let mut flash: Vec<u8> = (0..0x10000).map(|n| n as u8).collect();
        let before = flash.clone();
        replace(&mut flash, &[0xe9, 1, 2]);
        assert_eq!(flash[..4], [0xe9, 1, 2, 0xff]);
        assert_eq!(flash[0x7fff], 0xff);
        assert_eq!(flash[0x8000..], before[0x8000..]);
    }
}
