//! The first 24 bytes of an app image.

use super::{Hardware, ImageError, MAX_SEGMENTS};
use crate::{
    Chip,
    bytes::{field, put, u16_at, u32_at},
};

/// The image header, `esp_image_header_t` of ESP-IDF
/// `components/bootloader_support/include/esp_app_format.h`.
///
/// | byte | field |
/// |---|---|
/// | 0 | magic 0xE9 |
/// | 1 | segment count |
/// | 2 | SPI mode |
/// | 3 | flash size (high four bits), SPI speed (low four bits) |
/// | 4..8 | entry address |
/// | 8 | WP pin |
/// | 9..12 | SPI pin drive |
/// | 12..14 | chip id |
/// | 14 | minimum revision, the older field |
/// | 15..17 | minimum revision |
/// | 17..19 | maximum revision |
/// | 19..23 | reserved |
/// | 23 | hash appended |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// How many segments follow: 1 to [`MAX_SEGMENTS`].
    pub segment_count: u8,
    /// Flash read mode (`esp_image_spi_mode_t`).
    pub spi_mode: u8,
    /// Flash size (`esp_image_flash_size_t`) in the high four bits, flash frequency
    /// (`esp_image_spi_freq_t`) in the low four.
    pub spi_size_and_speed: u8,
    /// Where execution starts.
    pub entry: u32,
    /// Flash WP pin, or 0xEE if the bootloader is not to use it.
    pub wp_pin: u8,
    /// Drive settings of the flash pins.
    pub spi_pin_drive: [u8; 3],
    /// The chip the image was built for, as a number. See [`chip`](Header::chip).
    pub chip_id: u16,
    /// The minimum chip revision, as older bootloaders read it.
    pub min_revision_legacy: u8,
    /// The minimum chip revision, major * 100 + minor.
    pub min_revision: u16,
    /// The maximum chip revision, major * 100 + minor. 0 and 65535 mean none.
    pub max_revision: u16,
    /// Not used by ESP-IDF.
    pub reserved: [u8; 4],
    /// Not 0: a SHA-256 follows the checksum.
    pub hash_appended: u8,
}

impl Header {
    /// Bytes of a header.
    pub const LEN: usize = 24;
    /// The first byte of every image (`ESP_IMAGE_HEADER_MAGIC`).
    pub const MAGIC: u8 = 0xE9;

    /// Reads a header.
    ///
    /// # Errors
    /// [`ImageError::NotAnImage`] for a wrong first byte, [`ImageError::Segments`] for an invalid segment
    /// count.
    pub fn parse(bytes: &[u8; Header::LEN]) -> Result<Header, ImageError> {
        const LEN: usize = Header::LEN;
        if bytes[0] != Header::MAGIC {
            return Err(ImageError::NotAnImage {
                first_byte: bytes[0],
            });
        }
        if !(1..=MAX_SEGMENTS).contains(&bytes[1]) {
            return Err(ImageError::Segments { count: bytes[1] });
        }
        Ok(Header {
            segment_count: bytes[1],
            spi_mode: bytes[2],
            spi_size_and_speed: bytes[3],
            entry: u32_at::<4, LEN>(bytes),
            wp_pin: bytes[8],
            spi_pin_drive: field::<9, 3, LEN>(bytes),
            chip_id: u16_at::<12, LEN>(bytes),
            min_revision_legacy: bytes[14],
            min_revision: u16_at::<15, LEN>(bytes),
            max_revision: u16_at::<17, LEN>(bytes),
            reserved: field::<19, 4, LEN>(bytes),
            hash_appended: bytes[23],
        })
    }

    /// The bytes of this header.
    pub fn emit(&self) -> [u8; Header::LEN] {
        const LEN: usize = Header::LEN;
        let mut bytes = [0; LEN];
        bytes[0] = Header::MAGIC;
        bytes[1] = self.segment_count;
        bytes[2] = self.spi_mode;
        bytes[3] = self.spi_size_and_speed;
        put::<4, 4, LEN>(&mut bytes, self.entry.to_le_bytes());
        bytes[8] = self.wp_pin;
        put::<9, 3, LEN>(&mut bytes, self.spi_pin_drive);
        put::<12, 2, LEN>(&mut bytes, self.chip_id.to_le_bytes());
        bytes[14] = self.min_revision_legacy;
        put::<15, 2, LEN>(&mut bytes, self.min_revision.to_le_bytes());
        put::<17, 2, LEN>(&mut bytes, self.max_revision.to_le_bytes());
        put::<19, 4, LEN>(&mut bytes, self.reserved);
        bytes[23] = self.hash_appended;
        bytes
    }

    /// The chip the image was built for. `None` if its number is unknown.
    pub fn chip(&self) -> Option<Chip> {
        Chip::from_id(self.chip_id)
    }

    /// Whether the image carries its own SHA-256.
    pub fn has_digest(&self) -> bool {
        self.hash_appended != 0
    }

    /// Whether a chip of this revision (major * 100 + minor) may run the image, by the rules of
    /// [`Hardware::accepts`].
    ///
    /// If a chip's eFuses lift the maximum, this is stricter than the bootloader.
    pub fn runs_on_revision(&self, revision: u16) -> bool {
        let chip = Hardware {
            revision: Some(revision),
            ..Hardware::default()
        };
        chip.accepts(self, None).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: &[u8; 76848] = include_bytes!("../../tests/fixtures/hello-esp32c3-1.0.0.bin");

    fn header() -> [u8; Header::LEN] {
        field::<0, { Header::LEN }, 76848>(IMAGE)
    }

    #[test]
    fn a_real_header_says_what_esptool_says() {
        let header = Header::parse(&header()).unwrap();
        assert_eq!(header.segment_count, 5);
        assert_eq!(header.chip(), Some(Chip::Esp32C3));
        assert_eq!(header.entry, 0x4201_0072);
        assert_eq!(header.wp_pin, 0xEE);
        assert_eq!(header.spi_mode, 2); // DIO
        assert_eq!(header.spi_size_and_speed >> 4, 2); // 4 MB
        assert_eq!(header.min_revision_legacy, 3);
        assert_eq!(header.min_revision, 0);
        assert_eq!(header.max_revision, 199);
        assert!(header.has_digest());
    }

    #[test]
    fn what_is_parsed_is_emitted_to_the_byte() {
        assert_eq!(Header::parse(&header()).unwrap().emit(), header());
        let every_byte_different: [u8; Header::LEN] = core::array::from_fn(|i| match i {
            0 => Header::MAGIC,
            i => i as u8 % 16 + 1,
        });
        let parsed = Header::parse(&every_byte_different).unwrap();
        assert_eq!(parsed.emit(), every_byte_different);
    }

    #[test]
    fn text_is_not_an_image() {
        let error = Header::parse(b"<!DOCTYPE html><html><he").unwrap_err();
        assert_eq!(error, ImageError::NotAnImage { first_byte: b'<' });
        assert_eq!(error.code(), "image.invalid");
    }

    #[test]
    fn one_to_sixteen_segments_are_possible() {
        for count in 0..=u8::MAX {
            let mut bytes = header();
            bytes[1] = count;
            let possible = (1..=16).contains(&count);
            assert_eq!(Header::parse(&bytes).is_ok(), possible, "{count}");
        }
    }

    #[test]
    fn the_revision_rule_is_the_bootloaders() {
        let between = Header {
            min_revision: 3,
            max_revision: 199,
            ..Header::parse(&header()).unwrap()
        };
        assert!(!between.runs_on_revision(2));
        assert!(between.runs_on_revision(3));
        assert!(between.runs_on_revision(199));
        assert!(!between.runs_on_revision(200));
        for no_maximum in [0, u16::MAX] {
            let open = Header {
                max_revision: no_maximum,
                ..between
            };
            assert!(open.runs_on_revision(u16::MAX));
        }
    }
}
