//! Flash, for what is small: a record, an entry of a log, one sector.
//!
//! The flash trait is asynchronous, so that a driver can let other tasks run between the steps of long work. Work of
//! milliseconds is waited for on the spot instead: a future for each of some fifty accesses would cost a good deal of
//! program memory.

use embassy_futures::block_on;
use embedded_storage_async::nor_flash::NorFlash;
use s3ota_image::otadata::SECTOR_SIZE;

use crate::error::{Error, flash as flash_error};

/// Bytes that decide what boots: an otadata record, the first ones of an image.
pub(crate) const STEADY_LEN: usize = 32;

/// How often these are read, and must read the same.
const READS: u32 = 32;

/// Reads from offset `at` of the chip.
#[inline(never)]
pub(crate) fn read<F: NorFlash>(flash: &mut F, at: u32, bytes: &mut [u8]) -> Result<(), Error> {
    block_on(flash.read(at, bytes)).map_err(flash_error)
}

/// Reads bytes that decide what boots. `None` if they read differently: bits that were changing when power failed may lie
/// between 0 and 1, and read as either.
#[inline(never)]
pub(crate) fn read_steady<F: NorFlash>(
    flash: &mut F,
    at: u32,
) -> Result<Option<[u8; STEADY_LEN]>, Error> {
    let mut bytes = [0; STEADY_LEN];
    read(flash, at, &mut bytes)?;
    for _ in 1..READS {
        let mut again = [0; STEADY_LEN];
        read(flash, at, &mut again)?;
        if again != bytes {
            return Ok(None);
        }
    }
    Ok(Some(bytes))
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
