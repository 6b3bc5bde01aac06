//! `esp-bootloader-esp-idf`, as esp-hal's example uses it (`examples/ota/update/src/main.rs`).

use esp_bootloader_esp_idf::ota::OtaImageState;
use esp_bootloader_esp_idf::ota_updater::OtaUpdater;
use esp_bootloader_esp_idf::partitions::{Error, PARTITION_TABLE_MAX_LEN};
use esp_storage::FlashStorage;
use s3ota_sim::Bootloader;

use super::{Firmware, Library, Refusal, refusal};
use crate::device::{Release, slot_at};
use crate::mmu::Mmu;

/// Bytes the example writes at once.
const CHUNK: usize = 4096;

/// The library.
pub struct EspBootloaderEspIdf {
    pub mmu: Mmu,
    /// Whether a firmware resets otadata at its start when the library cannot read it. The example does.
    pub resets: bool,
}

impl EspBootloaderEspIdf {
    /// An updater, for as long as it takes.
    fn with<T>(
        &self,
        firmware: &mut Firmware<'_>,
        act: impl FnOnce(&mut OtaUpdater<'_, '_>) -> Result<T, Error>,
    ) -> Result<T, Refusal> {
        self.mmu.run_from(firmware.at);
        let mut flash = FlashStorage::new(firmware.flash);
        let mut table = [0; PARTITION_TABLE_MAX_LEN];
        OtaUpdater::new(&mut flash, &mut table)
            .and_then(|mut ota| act(&mut ota))
            .map_err(refusal)
    }
}

impl Library for EspBootloaderEspIdf {
    fn name(&self) -> &'static str {
        match self.resets {
            true => "esp-bootloader-esp-idf 0.6.0, as its example",
            false => "the same, without `reset_data`",
        }
    }

    fn has_trial(&self, bootloader: Bootloader) -> bool {
        bootloader.app_rollback
    }

    fn start(&self, firmware: &mut Firmware<'_>) -> Result<bool, Refusal> {
        if self.resets {
            self.with(firmware, |ota| match ota.selected_partition() {
                Ok(_) => Ok(()),
                Err(_) => ota.reset_data(),
            })?;
        }
        Ok(false)
    }

    fn confirm(&self, firmware: &mut Firmware<'_>) -> Result<(), Refusal> {
        self.with(firmware, |ota| match ota.current_ota_state() {
            Ok(OtaImageState::New | OtaImageState::PendingVerify) => {
                ota.set_current_ota_state(OtaImageState::Valid)
            }
            _ => Ok(()),
        })
    }

    fn reject(&self, firmware: &mut Firmware<'_>) -> Result<(), Refusal> {
        self.with(firmware, |ota| {
            ota.set_current_ota_state(OtaImageState::Invalid)
        })
    }

    fn update(&self, firmware: &mut Firmware<'_>, to: Release) -> Result<(), Refusal> {
        let running = slot_at(firmware.at);
        self.with(firmware, |ota| {
            let (mut partition, slot) = ota.next_partition()?;
            if running.is_some_and(|running| slot as u8 == 0x10 + running) {
                return Ok(Err("it would overwrite the firmware that runs".to_owned()));
            }
            for (at, chunk) in (0..).step_by(CHUNK).zip(to.image().chunks(CHUNK)) {
                partition.write(at, chunk)?;
            }
            ota.activate_next_partition()?;
            ota.set_current_ota_state(OtaImageState::New)?;
            Ok(Ok(()))
        })?
    }
}
