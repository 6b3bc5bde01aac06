//! The flash chip, for the updater and for the rest of the application.

use embedded_storage_async::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use s3ota_esp::improv::SharedFlash;
use s3ota_esp::{Flash, FlashError};

/// The updater's side of a flash that others use as well. It locks the flash for one operation at a time.
#[derive(Clone, Copy)]
pub struct UpdatersFlash {
    flash: &'static SharedFlash,
    capacity: usize,
}

impl UpdatersFlash {
    /// The updater's side of `flash`, which nobody has locked yet.
    pub fn new(flash: &'static SharedFlash, capacity: usize) -> Self {
        Self { flash, capacity }
    }
}

impl ErrorType for UpdatersFlash {
    type Error = FlashError;
}

impl ReadNorFlash for UpdatersFlash {
    const READ_SIZE: usize = Flash::READ_SIZE;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.flash.lock().await.read(offset, bytes).await
    }

    fn capacity(&self) -> usize {
        self.capacity
    }
}

impl NorFlash for UpdatersFlash {
    const WRITE_SIZE: usize = Flash::WRITE_SIZE;
    const ERASE_SIZE: usize = Flash::ERASE_SIZE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        self.flash.lock().await.erase(from, to).await
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.flash.lock().await.write(offset, bytes).await
    }
}
