//! The device's chip and id.

use core::fmt::Write;

use esp_hal::efuse;
use s3ota::{Chip, Config};
use s3ota_image::app::Hardware;

use crate::BUILT_AT;

/// The chip that this is built for, by the crate's feature.
pub const CHIP: Chip = chip();

/// Twelve hexadecimal digits.
pub type DeviceId = heapless::String<12>;

/// The device's id: the MAC address from its eFuses, such as `a0b1c2d3e4f5`. Every chip has its own from the factory.
pub fn device_id() -> DeviceId {
    let mut id = DeviceId::new();
    for byte in efuse::base_mac_address().as_bytes() {
        // Cannot fail: six bytes are twelve digits.
        let _ = write!(id, "{byte:02x}");
    }
    id
}

/// The chip's eFuses: revisions, and the minimum secure version. An image that the bootloader would refuse on this chip is
/// refused before it is fetched.
pub fn hardware() -> Hardware {
    Hardware {
        revision: Some(efuse::chip_revision().combined()),
        block_revision: block_revision(),
        // Bits are burnt only if a bootloader does anti-rollback; otherwise there are none, and any version will do
        // (ESP-IDF, `esp_efuse_read_secure_version`).
        secure_version: Some(efuse::read_field_le::<u32>(efuse::SECURE_VERSION).count_ones()),
        ..any_newer()
    }
}

/// The ESP32's block has no revision.
#[cfg(feature = "esp32")]
fn block_revision() -> Option<u16> {
    None
}

#[cfg(not(feature = "esp32"))]
fn block_revision() -> Option<u16> {
    let [major, minor] = [efuse::BLK_VERSION_MAJOR, efuse::BLK_VERSION_MINOR]
        .map(|field| u16::from(efuse::read_field_le::<u8>(field)));
    Some(major * 100 + minor)
}

/// Whether eFuses make the chip accept images for older revisions. Not on the ESP32.
#[cfg(feature = "esp32")]
fn any_newer() -> Hardware {
    Hardware::default()
}

#[cfg(not(feature = "esp32"))]
fn any_newer() -> Hardware {
    Hardware {
        any_max_revision: efuse::read_bit(efuse::DISABLE_WAFER_VERSION_MAJOR),
        any_max_block_revision: efuse::read_bit(efuse::DISABLE_BLK_VERSION_MAJOR),
        ..Hardware::default()
    }
}

/// An updater's configuration, with chip, eFuses and build time filled in.
///
/// `version` is the program's: `env!("CARGO_PKG_VERSION")`, which `esp_app_desc!()` also puts into the image.
#[inline(never)]
pub fn config<'a>(manifest_url: &'a str, version: &'a str, device_id: &'a str) -> Config<'a> {
    Config {
        built_at: BUILT_AT,
        hardware: hardware(),
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
