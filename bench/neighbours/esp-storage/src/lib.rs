//! In place of esp-storage on the host: the part of its interface that `esp-bootloader-esp-idf` and `esp-hal-ota` use,
//! over the simulated flash.
//!
//! What it does to flash is what esp-storage 0.10 does (`src/storage.rs`, `src/nor_flash.rs`): a write reads the sector,
//! erases it, and programs all of it again. [`RmwNorFlashStorage`] of embedded-storage does the same, so it is used.

#![forbid(unsafe_code)]

use embassy_futures::block_on;
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash, RmwNorFlashStorage};
use embedded_storage::nor_flash::{NorFlashError, NorFlashErrorKind};
use embedded_storage::{ReadStorage, Storage};
use embedded_storage_async::nor_flash::{NorFlash as AsyncNorFlash, ReadNorFlash as AsyncRead};
use s3ota_sim::Flash;

/// The flash chip.
#[derive(Debug)]
pub struct FlashStorage<'d>(&'d mut Flash);

/// An access the chip refused.
#[derive(Debug)]
pub struct FlashStorageError(pub s3ota_sim::FlashError);

/// Whether the chip was set up to encrypt its flash. It was not.
pub fn flash_encryption() -> bool {
    false
}

impl<'d> FlashStorage<'d> {
    /// Bytes of a sector.
    pub const SECTOR_SIZE: u32 = 4096;

    /// Takes the chip.
    pub fn new(flash: &'d mut Flash) -> Self {
        Self(flash)
    }

    /// Reads.
    pub fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashStorageError> {
        Blocking(self.0).read(offset, bytes)
    }

    /// Writes: each sector is read, erased and programmed again.
    pub fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashStorageError> {
        let mut sector = [0; Self::SECTOR_SIZE as usize];
        RmwNorFlashStorage::new(Blocking(self.0), &mut sector).write(offset, bytes)
    }

    /// Erases sectors.
    pub fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashStorageError> {
        Blocking(self.0).erase(from, to)
    }

    /// Reads decrypted. Nothing is encrypted.
    pub fn read_encrypted(
        &mut self,
        offset: u32,
        bytes: &mut [u8],
    ) -> Result<(), FlashStorageError> {
        self.read(offset, bytes)
    }

    /// Writes encrypted. Nothing is encrypted.
    pub fn write_encrypted(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashStorageError> {
        self.write(offset, bytes)
    }
}

impl ReadStorage for FlashStorage<'_> {
    type Error = FlashStorageError;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashStorageError> {
        FlashStorage::read(self, offset, bytes)
    }

    fn capacity(&self) -> usize {
        AsyncRead::capacity(&*self.0)
    }
}

impl Storage for FlashStorage<'_> {
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashStorageError> {
        FlashStorage::write(self, offset, bytes)
    }
}

/// The simulated flash behind the traits that do not wait.
struct Blocking<'f>(&'f mut Flash);

impl NorFlashError for FlashStorageError {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl ErrorType for Blocking<'_> {
    type Error = FlashStorageError;
}

impl ReadNorFlash for Blocking<'_> {
    const READ_SIZE: usize = <Flash as AsyncRead>::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashStorageError> {
        block_on(AsyncRead::read(self.0, offset, bytes)).map_err(FlashStorageError)
    }

    fn capacity(&self) -> usize {
        AsyncRead::capacity(&*self.0)
    }
}

impl NorFlash for Blocking<'_> {
    const WRITE_SIZE: usize = <Flash as AsyncNorFlash>::WRITE_SIZE;
    const ERASE_SIZE: usize = <Flash as AsyncNorFlash>::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashStorageError> {
        block_on(AsyncNorFlash::erase(self.0, from, to)).map_err(FlashStorageError)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashStorageError> {
        block_on(AsyncNorFlash::write(self.0, offset, bytes)).map_err(FlashStorageError)
    }
}
