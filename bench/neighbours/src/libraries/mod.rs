//! The libraries, each through its own public interface and as its own documentation and example use it.

mod esp_bootloader_esp_idf;
mod esp_hal_ota;
mod s3ota;

pub use self::esp_bootloader_esp_idf::EspBootloaderEspIdf;
pub use self::esp_hal_ota::EspHalOta;
pub use self::s3ota::S3ota;

use s3ota_sim::{Bootloader, Flash};

use crate::device::Release;

/// What a library says that did not do what it was asked for.
pub type Refusal = String;

/// The firmware that runs, and the flash it can get at.
pub struct Firmware<'f> {
    pub flash: &'f mut Flash,
    /// The offset of its partition.
    pub at: u32,
    pub release: Release,
}

/// A library that updates firmware, in the hands of a firmware that uses it as it is meant to be used.
pub trait Library {
    /// Name and version.
    fn name(&self) -> &'static str;

    /// Whether a firmware nobody confirms is to give way to the one before.
    fn has_trial(&self, bootloader: Bootloader) -> bool;

    /// What a firmware does first at each start. `true` if it is to restart.
    fn start(&self, firmware: &mut Firmware<'_>) -> Result<bool, Refusal>;

    /// The firmware is content with itself.
    fn confirm(&self, firmware: &mut Firmware<'_>) -> Result<(), Refusal>;

    /// The firmware, which is on trial, gives itself up.
    fn reject(&self, firmware: &mut Firmware<'_>) -> Result<(), Refusal>;

    /// Installs a release, and selects it.
    fn update(&self, firmware: &mut Firmware<'_>, to: Release) -> Result<(), Refusal>;
}

/// The words of an error.
fn refusal(error: impl std::fmt::Debug) -> Refusal {
    format!("error {error:?}")
}
