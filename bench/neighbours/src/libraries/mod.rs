//! The libraries, each through its public interface, used as in its documentation and example.

mod esp_bootloader_esp_idf;
mod esp_hal_ota;
mod s3ota;

pub use self::esp_bootloader_esp_idf::EspBootloaderEspIdf;
pub use self::esp_hal_ota::EspHalOta;
pub use self::s3ota::S3ota;

use s3ota_sim::{Bootloader, Flash};

use crate::device::Release;

/// A library's error.
pub type Refusal = String;

/// The running firmware, and its flash.
pub struct Firmware<'f> {
    pub flash: &'f mut Flash,
    /// The offset of its partition.
    pub at: u32,
    pub release: Release,
}

/// A library that updates firmware, in a firmware that uses it as intended.
pub trait Library {
    /// Name and version.
    fn name(&self) -> &'static str;

    /// Whether a firmware that is never confirmed must be rolled back.
    fn has_trial(&self, bootloader: Bootloader) -> bool;

    /// What a firmware does first at each start. `true` if it must restart.
    fn start(&self, firmware: &mut Firmware<'_>) -> Result<bool, Refusal>;

    /// The firmware confirms itself.
    fn confirm(&self, firmware: &mut Firmware<'_>) -> Result<(), Refusal>;

    /// The firmware, which is on trial, gives itself up.
    fn reject(&self, firmware: &mut Firmware<'_>) -> Result<(), Refusal>;

    /// Installs a release and selects it.
    fn update(&self, firmware: &mut Firmware<'_>, to: Release) -> Result<(), Refusal>;
}

/// The text of an error.
fn refusal(error: impl std::fmt::Debug) -> Refusal {
    format!("error {error:?}")
}
