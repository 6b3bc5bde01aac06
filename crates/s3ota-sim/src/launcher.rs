//! How a firmware launches the one that is to replace it, where [`s3ota::TrialMode::Launch`] asks for it.
//!
//! On the chip `s3ota-esp` does that, by the bootloader's rules. This one takes what the bootloader takes. What it does not
//! model: a real launcher also refuses what cannot be loaded over a running firmware.

use s3ota::Refusal;

use crate::Flash;
use crate::bootloader::{App, Apps, BootError, Silicon, load};

/// What a virtual device's firmware does when it is to launch another one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Launcher {
    /// It launches what the bootloader would boot.
    #[default]
    Able,
    /// It cannot, as where flash encryption is on.
    Unable,
}

impl Launcher {
    /// Launches the image in this slot, or says why not.
    ///
    /// # Errors
    ///
    /// Those of the partition table and of the flash.
    pub fn launch(
        self,
        table_offset: u32,
        flash: &mut Flash,
        silicon: &Silicon,
        slot: u8,
    ) -> Result<Result<App, Refusal>, BootError> {
        if self == Self::Unable {
            return Ok(Err(Refusal::Launcher));
        }
        let apps = Apps::read(flash, table_offset)?;
        let Some(partition) = apps.slots.get(usize::from(slot)) else {
            return Ok(Err(Refusal::Image));
        };
        let image = load(flash, silicon, partition)?;
        Ok(image.ok_or(Refusal::Image).map(|image| App {
            partition: *partition,
            slot: Some(slot),
            image,
        }))
    }
}
