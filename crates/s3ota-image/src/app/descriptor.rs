//! The app descriptor: version, project and build of an app.

use core::fmt;

use crate::bytes::{c_buffer, c_str, field, put, u16_at, u32_at};

/// The app descriptor, `esp_app_desc_t` of ESP-IDF
/// `components/esp_app_format/include/esp_app_desc.h`: 256 bytes at the start of the first
/// segment's data.
///
/// | bytes | field |
/// |---|---|
/// | 0..4 | magic 0xABCD5432 |
/// | 4..8 | secure version |
/// | 16..48 | version |
/// | 48..80 | project name |
/// | 80..96 | time of build |
/// | 96..112 | date of build |
/// | 112..144 | ESP-IDF version |
/// | 144..176 | SHA-256 of the ELF file |
/// | 176..178, 178..180 | minimum and maximum eFuse block revision |
/// | 180 | MMU page size, as a power of two |
///
/// Texts are NUL-terminated UTF-8 in fixed buffers. A text that is not UTF-8 reads as empty, so it matches
/// nothing. Parsing drops reserved bytes; they are emitted as 0.
#[derive(Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// `secure_version`: the anti-rollback counter.
    pub secure_version: u32,
    /// SHA-256 of the ELF file the image was made from; all 0 if the build tool omits it.
    pub app_elf_sha256: [u8; 32],
    /// The minimum eFuse block revision, major * 100 + minor. 0 in images of older ESP-IDF versions.
    pub min_efuse_block_revision: u16,
    /// The maximum eFuse block revision, major * 100 + minor. 0 and 65535 mean none.
    pub max_efuse_block_revision: u16,
    /// MMU page size as a power of two (16: 64 KiB). 0 in images of older ESP-IDF versions.
    pub mmu_page_size: u8,
    version: [u8; 32],
    project_name: [u8; 32],
    time: [u8; 16],
    date: [u8; 16],
    idf_version: [u8; 32],
}

impl Descriptor {
    /// Bytes of a descriptor.
    pub const LEN: usize = 256;
    /// The first four bytes, little-endian (`ESP_APP_DESC_MAGIC_WORD`).
    pub const MAGIC: u32 = 0xABCD_5432;
    /// The most bytes of a [`version`](Descriptor::version) or
    /// [`project_name`](Descriptor::project_name): the NUL takes one of 32.
    pub const TEXT_MAX: usize = 31;

    /// A descriptor with nothing but these. `None` if a text is longer than
    /// [`TEXT_MAX`](Descriptor::TEXT_MAX) bytes or contains a NUL.
    pub fn new(version: &str, project_name: &str) -> Option<Descriptor> {
        if version.len() > Descriptor::TEXT_MAX || project_name.len() > Descriptor::TEXT_MAX {
            return None;
        }
        Some(Descriptor {
            secure_version: 0,
            app_elf_sha256: [0; 32],
            min_efuse_block_revision: 0,
            max_efuse_block_revision: u16::MAX,
            mmu_page_size: 16,
            version: c_buffer(version)?,
            project_name: c_buffer(project_name)?,
            time: [0; 16],
            date: [0; 16],
            idf_version: [0; 32],
        })
    }

    /// Parses a descriptor. `None` if the bytes do not begin with the magic.
    pub fn parse(bytes: &[u8; Descriptor::LEN]) -> Option<Descriptor> {
        const LEN: usize = Descriptor::LEN;
        if u32_at::<0, LEN>(bytes) != Descriptor::MAGIC {
            return None;
        }
        Some(Descriptor {
            secure_version: u32_at::<4, LEN>(bytes),
            version: field::<16, 32, LEN>(bytes),
            project_name: field::<48, 32, LEN>(bytes),
            time: field::<80, 16, LEN>(bytes),
            date: field::<96, 16, LEN>(bytes),
            idf_version: field::<112, 32, LEN>(bytes),
            app_elf_sha256: field::<144, 32, LEN>(bytes),
            min_efuse_block_revision: u16_at::<176, LEN>(bytes),
            max_efuse_block_revision: u16_at::<178, LEN>(bytes),
            mmu_page_size: bytes[180],
        })
    }

    /// The bytes of this descriptor.
    pub fn emit(&self) -> [u8; Descriptor::LEN] {
        const LEN: usize = Descriptor::LEN;
        let mut bytes = [0; LEN];
        put::<0, 4, LEN>(&mut bytes, Descriptor::MAGIC.to_le_bytes());
        put::<4, 4, LEN>(&mut bytes, self.secure_version.to_le_bytes());
        put::<16, 32, LEN>(&mut bytes, self.version);
        put::<48, 32, LEN>(&mut bytes, self.project_name);
        put::<80, 16, LEN>(&mut bytes, self.time);
        put::<96, 16, LEN>(&mut bytes, self.date);
        put::<112, 32, LEN>(&mut bytes, self.idf_version);
        put::<144, 32, LEN>(&mut bytes, self.app_elf_sha256);
        put::<176, 2, LEN>(&mut bytes, self.min_efuse_block_revision.to_le_bytes());
        put::<178, 2, LEN>(&mut bytes, self.max_efuse_block_revision.to_le_bytes());
        bytes[180] = self.mmu_page_size;
        bytes
    }

    /// The app's version, such as `1.2.0`.
    ///
    /// Not the sketch's version in an Arduino build: see [`is_arduino`](Descriptor::is_arduino).
    pub fn version(&self) -> &str {
        c_str(&self.version)
    }

    /// The project's name.
    pub fn project_name(&self) -> &str {
        c_str(&self.project_name)
    }

    /// Time of the build, in whatever format the build tool uses.
    pub fn time(&self) -> &str {
        c_str(&self.time)
    }

    /// Date of the build, in whatever format the build tool uses.
    pub fn date(&self) -> &str {
        c_str(&self.date)
    }

    /// Version of ESP-IDF the app was built with. esp-hal writes `0.0.0` or similar.
    pub fn idf_version(&self) -> &str {
        c_str(&self.idf_version)
    }

    /// Whether the Arduino core built this image.
    ///
    /// Its libraries come prebuilt from the project `arduino-lib-builder`, and the descriptor with them. The
    /// version is that project's or the core's, never the sketch's, and must not be compared with a
    /// release's. A [`VersionMarker`](super::VersionMarker) may name the sketch's.
    pub fn is_arduino(&self) -> bool {
        self.project_name() == "arduino-lib-builder"
    }
}

impl fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Descriptor")
            .field("version", &self.version())
            .field("project_name", &self.project_name())
            .field("time", &self.time())
            .field("date", &self.date())
            .field("idf_version", &self.idf_version())
            .field("secure_version", &self.secure_version)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: &[u8; 76848] = include_bytes!("../../tests/fixtures/hello-esp32c3-1.0.0.bin");

    fn real() -> [u8; Descriptor::LEN] {
        field::<32, { Descriptor::LEN }, 76848>(IMAGE)
    }

    #[test]
    fn a_real_descriptor_says_what_esptool_says() {
        let descriptor = Descriptor::parse(&real()).unwrap();
        assert_eq!(descriptor.version(), "1.0.0");
        assert_eq!(descriptor.project_name(), "s3ota-hello");
        assert_eq!(descriptor.date(), "2026-01-01");
        assert_eq!(descriptor.time(), "00:00:00");
        assert_eq!(descriptor.idf_version(), "0.0.0");
        assert_eq!(descriptor.secure_version, 0);
        assert_eq!(descriptor.min_efuse_block_revision, 0);
        assert_eq!(descriptor.max_efuse_block_revision, 65535);
        assert_eq!(descriptor.mmu_page_size, 16);
        assert_eq!(
            descriptor.app_elf_sha256[..4],
            [0xF7, 0x4E, 0x47, 0xF6],
            "esptool prints f74e47f6…"
        );
        assert!(!descriptor.is_arduino());
    }

    #[test]
    fn what_is_parsed_is_emitted_to_the_byte() {
        assert_eq!(Descriptor::parse(&real()).unwrap().emit(), real());
    }

    #[test]
    fn what_is_constructed_is_parsed_to_the_same() {
        let descriptor = Descriptor::new("1.2.0-rc.1", "kettle").unwrap();
        assert_eq!(Descriptor::parse(&descriptor.emit()), Some(descriptor));
    }

    #[test]
    fn other_bytes_are_no_descriptor() {
        assert_eq!(Descriptor::parse(&[0xFF; Descriptor::LEN]), None);
        assert_eq!(Descriptor::parse(&[0; Descriptor::LEN]), None);
    }

    #[test]
    fn a_text_that_fills_its_buffer_is_read_whole() {
        let mut bytes = real();
        bytes[16..48].copy_from_slice(b"12345678901234567890123456789012");
        let descriptor = Descriptor::parse(&bytes).unwrap();
        assert_eq!(descriptor.version(), "12345678901234567890123456789012");
        assert_eq!(descriptor.emit(), bytes);
    }

    #[test]
    fn a_text_that_is_not_utf8_reads_as_empty() {
        let mut bytes = real();
        bytes[16] = 0xFF;
        assert_eq!(Descriptor::parse(&bytes).unwrap().version(), "");
    }

    #[test]
    fn a_text_too_long_or_with_a_nul_cannot_be_constructed() {
        let longest = "1234567890123456789012345678901";
        assert!(Descriptor::new(longest, longest).is_some());
        assert_eq!(
            Descriptor::new("12345678901234567890123456789012", "x"),
            None
        );
        assert_eq!(
            Descriptor::new("1.0.0", "12345678901234567890123456789012"),
            None
        );
        assert_eq!(Descriptor::new("1.0\0", "x"), None);
    }

    #[test]
    fn an_arduino_build_is_recognised() {
        let descriptor = Descriptor::new("esp-idf: v4.4.7 38eeba213a", "arduino-lib-builder");
        assert!(descriptor.unwrap().is_arduino());
    }
}
