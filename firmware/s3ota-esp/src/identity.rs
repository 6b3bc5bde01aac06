//! The device's chip and id.

use core::fmt::Write;

use esp_hal::efuse::{self, EfuseField};
use s3ota::{Chip, Config};
use s3ota_image::app::Hardware;

use crate::{BUILT_AT, TABLE_OFFSET};

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
    fuses().0
}

/// The same, and whether Secure Boot is on: what a launch must know, as far as these eFuses say.
#[inline(never)]
pub(crate) fn fuses() -> (Hardware, bool) {
    // Read in a loop: esp-hal's function is inlined wherever it is called, 100 bytes each time.
    let mut values = [0_u32; FIELDS.len()];
    for (value, field) in values.iter_mut().zip(&FIELDS) {
        *value = efuse::read_field_le(*field);
    }
    with(values)
}

/// Secure version. The ESP32's eFuse block has no revision, and nothing makes it accept images for older revisions.
#[cfg(feature = "esp32")]
static FIELDS: [EfuseField; 1] = [efuse::SECURE_VERSION];

#[cfg(feature = "esp32")]
fn with([secure_version]: [u32; 1]) -> (Hardware, bool) {
    // Nobody asks for the second: the launcher is for other chips.
    (known(secure_version), false)
}

/// Secure version; the eFuse block's revision; whether the chip accepts images for older revisions of itself, and of that block;
/// whether Secure Boot is on.
#[cfg(not(feature = "esp32"))]
static FIELDS: [EfuseField; 6] = [
    efuse::SECURE_VERSION,
    efuse::BLK_VERSION_MAJOR,
    efuse::BLK_VERSION_MINOR,
    efuse::DISABLE_WAFER_VERSION_MAJOR,
    efuse::DISABLE_BLK_VERSION_MAJOR,
    efuse::SECURE_BOOT_EN,
];

#[cfg(not(feature = "esp32"))]
fn with(values: [u32; 6]) -> (Hardware, bool) {
    let [
        secure_version,
        major,
        minor,
        any_max,
        any_max_block,
        secure_boot,
    ] = values;
    let hardware = Hardware {
        block_revision: Some((major * 100 + minor) as u16),
        any_max_revision: any_max != 0,
        any_max_block_revision: any_max_block != 0,
        ..known(secure_version)
    };
    (hardware, secure_boot != 0)
}

/// What is known on every chip.
fn known(secure_version: u32) -> Hardware {
    Hardware {
        revision: Some(efuse::chip_revision().combined()),
        // Bits are burnt only if a bootloader does anti-rollback; otherwise there are none, and any version will do
        // (ESP-IDF, `esp_efuse_read_secure_version`).
        secure_version: Some(secure_version.count_ones()),
        ..Hardware::default()
    }
}

/// An updater's configuration, with chip, eFuses, build time and the partition table's offset filled in; and, with the feature
/// `launch`, `TrialMode::Launch`.
///
/// `version` is the program's: `env!("CARGO_PKG_VERSION")`, which `esp_app_desc!()` also puts into the image.
#[inline(never)]
pub fn config<'a>(manifest_url: &'a str, version: &'a str, device_id: &'a str) -> Config<'a> {
    Config {
        built_at: BUILT_AT,
        hardware: hardware(),
        partition_table: TABLE_OFFSET,
        #[cfg(feature = "launch")]
        trial_mode: s3ota::TrialMode::Launch,
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
