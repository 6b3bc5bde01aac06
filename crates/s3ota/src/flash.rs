//! Flash, for what is small: a record, an entry of a log, one sector.
//!
//! The flash trait is asynchronous, so that a driver can let other tasks run between the steps of long work. Work of
//! milliseconds is waited for on the spot instead: a future for each of some fifty accesses would cost a good deal of
//! program memory.

use embassy_futures::block_on;
use embedded_storage_async::nor_flash::NorFlash;
use s3ota_image::otadata::SECTOR_SIZE;

use crate::Error;
use crate::error::flash as flash_error;

/// Reads from offset `at` of the chip.
#[inline(never)]
pub(crate) fn read<F: NorFlash>(flash: &mut F, at: u32, bytes: &mut [u8]) -> Result<(), Error> {
    block_on(flash.read(at, bytes)).map_err(flash_error)
}

/// Writes to offset `at` of the chip.
#[inline(never)]
pub(crate) fn write<F: NorFlash>(flash: &mut F, at: u32, bytes: &[u8]) -> Result<(), Error> {
    block_on(flash.write(at, bytes)).map_err(flash_error)
}

/// Erases the sector at offset `at` of the chip.
#[inline(never)]
pub(crate) fn erase_sector<F: NorFlash>(flash: &mut F, at: u32) -> Result<(), Error> {
    block_on(flash.erase(at, at + SECTOR_SIZE)).map_err(flash_error)
}
