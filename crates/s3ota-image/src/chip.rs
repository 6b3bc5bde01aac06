//! The chips an app image can be built for.

use core::{fmt, str::FromStr};

/// A chip of the ESP32 family that ESP-IDF builds app images for.
///
/// Numbers from ESP-IDF `components/bootloader_support/include/esp_app_format.h`
/// (`esp_chip_id_t`); the newer chips' numbers are also esptool's `IMAGE_CHIP_ID`.
///
/// ```
/// use s3ota_image::Chip;
///
/// assert_eq!(Chip::Esp32C3.id(), 5);
/// assert_eq!(Chip::from_id(5), Some(Chip::Esp32C3));
/// assert_eq!("esp32c3".parse(), Ok(Chip::Esp32C3));
/// assert_eq!(Chip::Esp32C3.name(), "esp32c3");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Chip {
    /// ESP32 (Xtensa).
    Esp32,
    /// ESP32-S2 (Xtensa).
    Esp32S2,
    /// ESP32-S3 (Xtensa).
    Esp32S3,
    /// ESP32-C2, also sold as ESP8684 (RISC-V).
    Esp32C2,
    /// ESP32-C3 (RISC-V).
    Esp32C3,
    /// ESP32-C5 (RISC-V).
    Esp32C5,
    /// ESP32-C6 (RISC-V).
    Esp32C6,
    /// ESP32-C61 (RISC-V).
    Esp32C61,
    /// ESP32-H2 (RISC-V).
    Esp32H2,
    /// ESP32-P4 (RISC-V).
    Esp32P4,
}

impl Chip {
    /// Every chip known here.
    pub const ALL: [Chip; 10] = [
        Chip::Esp32,
        Chip::Esp32S2,
        Chip::Esp32S3,
        Chip::Esp32C2,
        Chip::Esp32C3,
        Chip::Esp32C5,
        Chip::Esp32C6,
        Chip::Esp32C61,
        Chip::Esp32H2,
        Chip::Esp32P4,
    ];

    /// The number in the image header's `chip_id`.
    pub const fn id(self) -> u16 {
        match self {
            Chip::Esp32 => 0,
            Chip::Esp32S2 => 2,
            Chip::Esp32C3 => 5,
            Chip::Esp32S3 => 9,
            Chip::Esp32C2 => 12,
            Chip::Esp32C6 => 13,
            Chip::Esp32H2 => 16,
            Chip::Esp32P4 => 18,
            Chip::Esp32C61 => 20,
            Chip::Esp32C5 => 23,
        }
    }

    /// The chip with this number, or `None` where no chip known here has it.
    pub fn from_id(id: u16) -> Option<Chip> {
        Chip::ALL.into_iter().find(|chip| chip.id() == id)
    }

    /// The offset on flash at which the chip's ROM looks for the bootloader (`BOOTLOADER_FLASH_OFFSET` in
    /// esptool's `targets/`).
    pub const fn bootloader_offset(self) -> u32 {
        match self {
            Chip::Esp32 | Chip::Esp32S2 => 0x1000,
            Chip::Esp32C5 | Chip::Esp32P4 => 0x2000,
            _ => 0,
        }
    }

    /// The name as esptool, espflash and ESP-IDF's targets write it: `esp32c3`.
    pub const fn name(self) -> &'static str {
        match self {
            Chip::Esp32 => "esp32",
            Chip::Esp32S2 => "esp32s2",
            Chip::Esp32S3 => "esp32s3",
            Chip::Esp32C2 => "esp32c2",
            Chip::Esp32C3 => "esp32c3",
            Chip::Esp32C5 => "esp32c5",
            Chip::Esp32C6 => "esp32c6",
            Chip::Esp32C61 => "esp32c61",
            Chip::Esp32H2 => "esp32h2",
            Chip::Esp32P4 => "esp32p4",
        }
    }

    /// The name as its maker, and clients of Improv and ESP Web Tools, write it: `ESP32-C3`.
    pub const fn family(self) -> &'static str {
        match self {
            Chip::Esp32 => "ESP32",
            Chip::Esp32S2 => "ESP32-S2",
            Chip::Esp32S3 => "ESP32-S3",
            Chip::Esp32C2 => "ESP32-C2",
            Chip::Esp32C3 => "ESP32-C3",
            Chip::Esp32C5 => "ESP32-C5",
            Chip::Esp32C6 => "ESP32-C6",
            Chip::Esp32C61 => "ESP32-C61",
            Chip::Esp32H2 => "ESP32-H2",
            Chip::Esp32P4 => "ESP32-P4",
        }
    }

    /// The chip with exactly this [`name`](Chip::name), or `None`.
    pub fn from_name(name: &str) -> Option<Chip> {
        Chip::ALL.into_iter().find(|chip| chip.name() == name)
    }
}

impl fmt::Display for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Chip {
    type Err = UnknownChip;

    fn from_str(name: &str) -> Result<Self, UnknownChip> {
        Chip::from_name(name).ok_or(UnknownChip)
    }
}

/// The text is not the name of a chip known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct UnknownChip;

impl fmt::Display for UnknownChip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such chip; known are")?;
        for (i, chip) in Chip::ALL.into_iter().enumerate() {
            write!(f, "{} {chip}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownChip {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chip_is_found_by_its_number_and_by_its_name() {
        for chip in Chip::ALL {
            assert_eq!(Chip::from_id(chip.id()), Some(chip));
            assert_eq!(chip.name().parse(), Ok(chip));
            let family = chip.family().replace('-', "").to_ascii_lowercase();
            assert_eq!(family, chip.name());
        }
    }

    #[test]
    fn an_unknown_number_or_name_is_none() {
        assert_eq!(Chip::from_id(0xFFFF), None);
        assert_eq!(Chip::from_id(1), None);
        assert_eq!(Chip::from_name("ESP32-C3"), None);
        assert_eq!("esp8266".parse::<Chip>(), Err(UnknownChip));
    }
}
