//! What this device is: its chip and its id.

use core::fmt::Write;

use s3ota::{Chip, Config};

use crate::BUILT_AT;

/// The chip this is built for, by the crate's feature.
pub const CHIP: Chip = chip();

/// Twelve hexadecimal digits.
pub type DeviceId = heapless::String<12>;

/// The device's id: the MAC address from its eFuses, such as `a0b1c2d3e4f5`. Every chip has its own from the factory.
pub fn device_id() -> DeviceId {
    let mut id = DeviceId::new();
    for byte in esp_hal::efuse::base_mac_address().as_bytes() {
        // Cannot fail: six bytes are twelve digits.
        let _ = write!(id, "{byte:02x}");
    }
    id
}

/// A configuration of the updater with the chip and the build time filled in.
///
/// `version` is the program's: `env!("CARGO_PKG_VERSION")`, which `esp_app_desc!()` puts into the image as well.
pub fn config<'a>(manifest_url: &'a str, version: &'a str, device_id: &'a str) -> Config<'a> {
    Config {
        built_at: BUILT_AT,
        ..Config::new(manifest_url, version, CHIP, device_id)
    }
}

const fn chip() -> Chip {
    #[cfg(feature = "esp32")]
    return Chip::Esp32;
    #[cfg(feature = "esp32s2")]
    return Chip::Esp32S2;
    #[cfg(feature = "esp32s3")]
    return Chip::Esp32S3;
    #[cfg(feature = "esp32c2")]
    return Chip::Esp32C2;
    #[cfg(feature = "esp32c3")]
    return Chip::Esp32C3;
    #[cfg(feature = "esp32c5")]
    return Chip::Esp32C5;
    #[cfg(feature = "esp32c6")]
    return Chip::Esp32C6;
    #[cfg(feature = "esp32h2")]
    return Chip::Esp32H2;
}
