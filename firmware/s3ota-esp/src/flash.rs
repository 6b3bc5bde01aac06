//! The flash chip, behind the library's trait.

use core::fmt;

use embassy_futures::yield_now;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embedded_storage_async::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use esp_hal::peripherals::FLASH;
use esp_storage::{FlashStorage, FlashStorageError};

/// What guards flash that is shared: a mutex for tasks on both cores, and for interrupt executors.
pub(crate) type Lock = CriticalSectionRawMutex;

/// The flash chip, for the application and the updater: see [`Board::share_flash`](crate::Board::share_flash).
pub type SharedFlash = s3ota::device::SharedFlash<'static, Lock, Flash>;

/// How much is written at once: four pages, about 2 ms.
const WRITE_STEP: usize = 1024;

/// How much is read at once.
const READ_STEP: usize = 4096;

/// The whole flash chip: offset 0 is the chip's.
///
/// Interrupts are off while the chip is busy, because code runs from it, too. So the work is done in steps, and other tasks run
/// between them. A step reads 4 KiB, writes 1 KiB (about 2 ms), or erases 4 KiB (about 45 ms), or 64 KiB if all of an aligned
/// block is erased (about 150 ms, five times as fast per byte). The times are typical values from datasheets. On chips with two
/// cores the other core is parked during a step.
#[derive(Debug)]
pub struct Flash {
    storage: FlashStorage<'static>,
}

impl Flash {
    /// The flash chip.
    pub fn new(peripheral: FLASH<'static>) -> Self {
        let storage = FlashStorage::new(peripheral);
        #[cfg(any(feature = "esp32", feature = "esp32s3"))]
        let storage = storage.multicore_auto_park();
        Self { storage }
    }

    /// One step of the driver.
    ///
    /// On chips with two cores the driver parks the other core during a write, with interrupts on, wherever that core happens to be
    /// (esp-storage 0.10, `MultiCoreStrategy::with`). If it holds the scheduler's lock, the next switch of tasks on this core waits for
    /// ever. In a critical section this core switches no tasks, and the other core holds no critical section's lock. Reads park
    /// nothing, and follow the same rule.
    fn step<T>(
        &mut self,
        act: impl FnOnce(&mut FlashStorage<'static>) -> Result<T, FlashStorageError>,
    ) -> Result<T, FlashError> {
        #[cfg(any(feature = "esp32", feature = "esp32s3"))]
        return Ok(critical_section::with(|_| act(&mut self.storage))?);
        #[cfg(not(any(feature = "esp32", feature = "esp32s3")))]
        Ok(act(&mut self.storage)?)
    }

    /// Reads without letting other tasks run.
    pub(crate) fn read_now(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.step(|storage| storage.read_nor(offset, bytes))
    }

    /// The driver underneath, for partitions of your own. Otadata and the slots belong to the library.
    pub fn storage(&mut self) -> &mut FlashStorage<'static> {
        &mut self.storage
    }
}

impl ErrorType for Flash {
    type Error = FlashError;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = FlashStorage::READ_SIZE;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        let mut at = offset;
        for chunk in bytes.chunks_mut(READ_STEP) {
            self.step(|storage| storage.read_nor(at, chunk))?;
            at = after(at, chunk.len())?;
            yield_now().await;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.storage.capacity()
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = FlashStorage::WRITE_SIZE;
    const ERASE_SIZE: usize = FlashStorage::ERASE_SIZE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        let sector = FlashStorage::SECTOR_SIZE;
        let block = FlashStorage::BLOCK_SIZE;
        if to < from {
            return Err(FlashStorageError::OutOfBounds.into());
        }
        if !from.is_multiple_of(sector) || !to.is_multiple_of(sector) {
            return Err(FlashStorageError::NotAligned.into());
        }
        if usize::try_from(to).map_or(true, |to| to > self.storage.capacity()) {
            return Err(FlashStorageError::OutOfBounds.into());
        }
        let mut at = from;
        while at < to {
            // esp-storage erases an aligned 64 KiB with the ROM's block erase (`FlashStorage::erase`).
            let whole_block = at.is_multiple_of(block) && to - at >= block;
            let end = at.saturating_add(if whole_block { block } else { sector });
            self.step(|storage| storage.erase(at, end))?;
            at = end;
            yield_now().await;
        }
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let mut at = offset;
        for chunk in bytes.chunks(WRITE_STEP) {
            self.step(|storage| storage.write_nor(at, chunk))?;
            at = after(at, chunk.len())?;
            yield_now().await;
        }
        Ok(())
    }
}

fn after(at: u32, length: usize) -> Result<u32, FlashError> {
    u32::try_from(length)
        .ok()
        .and_then(|length| at.checked_add(length))
        .ok_or(FlashError(FlashStorageError::OutOfBounds))
}

/// An error of esp-storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlashError(pub FlashStorageError);

#[cfg(feature = "defmt")]
impl defmt::Format for FlashError {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{}", defmt::Debug2Format(&self.0));
    }
}

impl From<FlashStorageError> for FlashError {
    fn from(error: FlashStorageError) -> Self {
        Self(error)
    }
}

impl NorFlashError for FlashError {
    fn kind(&self) -> NorFlashErrorKind {
        match self.0 {
            FlashStorageError::NotAligned => NorFlashErrorKind::NotAligned,
            FlashStorageError::OutOfBounds => NorFlashErrorKind::OutOfBounds,
            _ => NorFlashErrorKind::Other,
        }
    }
}

impl fmt::Display for FlashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the flash chip cannot be read or written ({:?})", self.0)
    }
}

impl core::error::Error for FlashError {}
