//! `esp-hal-ota`, as its README and its example use it.

use esp_hal_ota::{Error, Ota};
use esp_rom_sys::rom::crc::crc32_le;
use esp_storage::FlashStorage;
use s3ota_sim::Bootloader;

use super::{Firmware, Library, Refusal, refusal};
use crate::device::Release;
use crate::mmu::Mmu;

/// Bytes its README writes at once.
const CHUNK: usize = 4096;

/// The library.
pub struct EspHalOta {
    pub mmu: Mmu,
}

impl EspHalOta {
    /// An updater, for as long as it takes.
    fn with(
        &self,
        firmware: &mut Firmware<'_>,
        act: impl FnOnce(&mut Ota<FlashStorage<'_>>) -> Result<(), Error>,
    ) -> Result<(), Refusal> {
        self.mmu.run_from(firmware.at);
        Ota::new(FlashStorage::new(firmware.flash))
            .and_then(|mut ota| act(&mut ota))
            .map_err(refusal)
    }
}

impl Library for EspHalOta {
    fn name(&self) -> &'static str {
        "esp-hal-ota 0.7.2"
    }

    fn has_trial(&self, bootloader: Bootloader) -> bool {
        bootloader.app_rollback
    }

    fn start(&self, _: &mut Firmware<'_>) -> Result<bool, Refusal> {
        Ok(false)
    }

    fn confirm(&self, firmware: &mut Firmware<'_>) -> Result<(), Refusal> {
        // "do not unwrap here if using factory/test partition", says the example.
        let _ = self.with(firmware, |ota| ota.mark_app_valid());
        Ok(())
    }

    fn reject(&self, firmware: &mut Firmware<'_>) -> Result<(), Refusal> {
        self.with(firmware, |ota| ota.mark_app_invalid())
    }

    fn update(&self, firmware: &mut Firmware<'_>, to: Release) -> Result<(), Refusal> {
        let image = to.image();
        self.with(firmware, |ota| {
            ota.begin(image.len() as u32, crc32_le(0, image))?;
            for chunk in image.chunks(CHUNK) {
                ota.write(chunk)?;
            }
            ota.finish(true)
        })
    }
}
