//! Builds app images without a compiler.

use alloc::{string::String, vec::Vec};

use sha2::{Digest, Sha256};

use super::{
    CHECKSUM_ALIGN, CHECKSUM_SEED, Descriptor, GuardMarker, Header, MAX_SEGMENTS,
    SEGMENT_HEADER_LEN, SignatureKind, signature::SIGNATURE_SECTOR,
};
use crate::Chip;

/// Builds app images for virtual devices and tests. They are valid in every respect, except that no chip can
/// run them.
///
/// The image has as many segments as its payload needs, a descriptor, the marker of a boot guard (the
/// virtual device's), a checksum and a digest; `esptool image-info` calls it valid. It is mapped to the
/// chip's data ROM window, so the bootloader's rules for mapped segments apply.
///
/// ```
/// use s3ota_image::{Chip, app};
///
/// let bytes = app::ImageBuilder::new(Chip::Esp32C3, "1.2.0")
///     .project_name("kettle")
///     .length(100_000)
///     .build();
///
/// let mut verifier = app::Verifier::new();
/// verifier.update(&bytes)?;
/// let image = verifier.finish()?;
/// assert_eq!(image.length, 100_000);
/// assert_eq!(image.descriptor.as_ref().map(|d| d.version()), Some("1.2.0"));
/// # Ok::<(), s3ota_image::ImageError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ImageBuilder {
    chip_id: u16,
    load_base: u32,
    version: String,
    project_name: String,
    revisions: (u16, u16),
    block_revisions: (u16, u16),
    secure_version: u32,
    guard: Option<GuardMarker>,
    signature: Option<SignatureKind>,
    payload: Payload,
    with_descriptor: bool,
    with_digest: bool,
}

#[derive(Debug, Clone)]
enum Payload {
    Bytes(Vec<u8>),
    /// Made up so that the whole image has this length.
    UpTo(usize),
}

impl ImageBuilder {
    /// An image of a few hundred bytes. A version longer than 31 bytes is truncated, as in ESP-IDF's build.
    pub fn new(chip: Chip, version: &str) -> ImageBuilder {
        ImageBuilder {
            chip_id: chip.id(),
            load_base: data_window(chip),
            version: version.into(),
            project_name: "s3ota-virtual".into(),
            revisions: (0, u16::MAX),
            block_revisions: (0, u16::MAX),
            secure_version: 0,
            guard: Some(GuardMarker::new(
                GuardMarker::VIRTUAL,
                GuardMarker::LAUNCHED,
            )),
            signature: None,
            payload: Payload::Bytes(Vec::new()),
            with_descriptor: true,
            with_digest: true,
        }
    }

    /// The project name in the descriptor, truncated to 31 bytes. `arduino-lib-builder` makes the image look
    /// like an Arduino build.
    pub fn project_name(mut self, name: &str) -> ImageBuilder {
        self.project_name = name.into();
        self
    }

    /// The minimum and maximum chip revision, major * 100 + minor. The default is any.
    pub fn revisions(mut self, min: u16, max: u16) -> ImageBuilder {
        self.revisions = (min, max);
        self
    }

    /// The minimum and maximum eFuse block revision, major * 100 + minor. The default is any.
    pub fn block_revisions(mut self, min: u16, max: u16) -> ImageBuilder {
        self.block_revisions = (min, max);
        self
    }

    /// The secure version in the descriptor. The default is 0.
    pub fn secure_version(mut self, version: u32) -> ImageBuilder {
        self.secure_version = version;
        self
    }

    /// The marker of a boot guard other than the virtual device's. It is in reserved bytes of the descriptor, or
    /// at the end of the data if there is no descriptor.
    pub fn guard(mut self, marker: GuardMarker) -> ImageBuilder {
        self.guard = Some(marker);
        self
    }

    /// Omits the marker of the boot guard: a firmware that cannot roll back.
    pub fn without_guard(mut self) -> ImageBuilder {
        self.guard = None;
        self
    }

    /// Adds a well-formed Secure Boot V2 signature sector that no key made.
    pub fn signature(mut self, kind: SignatureKind) -> ImageBuilder {
        self.signature = Some(kind);
        self
    }

    /// The bytes after the descriptor, padded with zeros to a multiple of 4. The default is none.
    pub fn payload(mut self, payload: &[u8]) -> ImageBuilder {
        self.payload = Payload::Bytes(payload.into());
        self
    }

    /// Fills the image to `bytes` in total, rounded up to a multiple of 16, with bytes that do not repeat and
    /// do not compress. They depend on version and project name: two versions of the same length differ
    /// everywhere.
    ///
    /// At least what the descriptor needs, at most what 16 segments can contain. A
    /// [`signature`](ImageBuilder::signature) is not counted.
    pub fn length(mut self, bytes: usize) -> ImageBuilder {
        self.payload = Payload::UpTo(bytes);
        self
    }

    /// Omits the descriptor. A device cannot tell the version of such an image.
    pub fn without_descriptor(mut self) -> ImageBuilder {
        self.with_descriptor = false;
        self
    }

    /// Omits the digest, as `esptool elf2image --dont-append-digest` does. A
    /// [`Verifier`](super::Verifier) refuses such an image.
    pub fn without_digest(mut self) -> ImageBuilder {
        self.with_digest = false;
        self
    }

    /// The image's bytes.
    pub fn build(&self) -> Vec<u8> {
        let mut data = Vec::new();
        if self.with_descriptor {
            let descriptor = Descriptor::new(cut(&self.version), cut(&self.project_name));
            let bytes = descriptor.map(|mut descriptor| {
                descriptor.secure_version = self.secure_version;
                descriptor.min_efuse_block_revision = self.block_revisions.0;
                descriptor.max_efuse_block_revision = self.block_revisions.1;
                descriptor.emit()
            });
            let mut bytes = bytes.unwrap_or([0; Descriptor::LEN]);
            if let Some(marker) = self.guard {
                bytes[RESERVED..RESERVED + GuardMarker::LEN].copy_from_slice(&marker.bytes());
            }
            data.extend(bytes);
        }
        match &self.payload {
            Payload::Bytes(bytes) => data.extend(bytes),
            Payload::UpTo(length) => self.fill(&mut data, *length),
        }
        data.resize(data.len().next_multiple_of(4), 0);
        if let Some(marker) = self.guard.filter(|_| !self.with_descriptor) {
            data.extend(marker.bytes());
        }
        data.truncate(SEGMENT_CHUNK * usize::from(MAX_SEGMENTS));
        let mut image = self.assemble(&data);
        if let Some(kind) = self.signature {
            let sector = image.len().next_multiple_of(SIGNATURE_SECTOR as usize);
            image.resize(sector, 0xFF);
            image.extend(kind.first_bytes());
            image.resize(sector + SIGNATURE_SECTOR as usize, 0xFF);
        }
        image
    }

    /// Segment data that makes the image `length` bytes long.
    fn fill(&self, data: &mut Vec<u8>, length: usize) {
        let length = length.next_multiple_of(CHECKSUM_ALIGN as usize);
        let digest = if self.with_digest {
            super::DIGEST_LEN
        } else {
            0
        };
        // Take off what is not segment data; 4 bytes are left for the checksum.
        let body = length.saturating_sub(Header::LEN + digest + 4);
        let headers = body.div_ceil(SEGMENT_CHUNK + SEGMENT_HEADER_LEN).max(1);
        let marker = match self.guard {
            Some(_) if !self.with_descriptor => GuardMarker::LEN,
            _ => 0,
        };
        let room = body.saturating_sub(headers * SEGMENT_HEADER_LEN + marker);
        // A length below the descriptor's keeps the descriptor.
        let least = data.len().max(4);

        let seed = Sha256::new()
            .chain_update(&self.version)
            .chain_update([0])
            .chain_update(&self.project_name)
            .finalize();
        for counter in 0u64.. {
            if data.len() >= room {
                break;
            }
            let block = Sha256::new()
                .chain_update(seed)
                .chain_update(counter.to_le_bytes())
                .finalize();
            data.extend(block);
        }
        data.truncate(room.max(least));
    }

    fn assemble(&self, data: &[u8]) -> Vec<u8> {
        let segments: Vec<&[u8]> = match data.chunks(SEGMENT_CHUNK).collect::<Vec<_>>() {
            none if none.is_empty() => alloc::vec![data],
            some => some,
        };
        let header = Header {
            segment_count: segments.len() as u8,
            spi_mode: 2,              // DIO
            spi_size_and_speed: 0x20, // 4 MB, half the clock
            entry: self.load_base,
            wp_pin: 0xEE,
            spi_pin_drive: [0; 3],
            chip_id: self.chip_id,
            min_revision_legacy: 0,
            min_revision: self.revisions.0,
            max_revision: self.revisions.1,
            reserved: [0; 4],
            hash_appended: u8::from(self.with_digest),
        };
        let mut image = Vec::from(header.emit());
        let mut checksum = CHECKSUM_SEED;
        for segment in segments {
            // Mapped segments lie at the same place in their 64 KiB page in flash and memory.
            let offset = (image.len() + SEGMENT_HEADER_LEN) as u32;
            image.extend((self.load_base + offset).to_le_bytes());
            image.extend((segment.len() as u32).to_le_bytes());
            image.extend(segment);
            checksum = segment.iter().fold(checksum, |sum, byte| sum ^ byte);
        }
        let block_end = (image.len() + 1).next_multiple_of(CHECKSUM_ALIGN as usize);
        image.resize(block_end - 1, 0);
        image.push(checksum);
        if self.with_digest {
            let digest = Sha256::digest(&image);
            image.extend(digest);
        }
        image
    }
}

/// Where `esp_app_desc_t` has nothing but reserved bytes, up to its end (`reserv2`).
const RESERVED: usize = 184;

/// Most bytes of a segment made here.
const SEGMENT_CHUNK: usize = 8 * 1024 * 1024;

/// Where the chip sees read-only data of the flash (`DROM_MAP_START` in esptool's
/// `esptool/targets/`).
fn data_window(chip: Chip) -> u32 {
    match chip {
        Chip::Esp32 => 0x3F40_0000,
        Chip::Esp32S2 => 0x3F00_0000,
        Chip::Esp32S3 | Chip::Esp32C2 | Chip::Esp32C3 => 0x3C00_0000,
        Chip::Esp32C6 | Chip::Esp32H2 => 0x4280_0000,
        Chip::Esp32C5 | Chip::Esp32C61 => 0x4200_0000,
        Chip::Esp32P4 => 0x4000_0000,
    }
}

/// As much of a text as a descriptor holds.
fn cut(text: &str) -> &str {
    let text = text.split('\0').next().unwrap_or_default();
    &text[..text.floor_char_boundary(Descriptor::TEXT_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{Image, ImageError, Verifier};

    fn verify(bytes: &[u8]) -> Result<Image, ImageError> {
        let mut verifier = Verifier::new();
        verifier.update(bytes)?;
        verifier.finish()
    }

    #[test]
    fn an_image_for_every_chip_is_valid() {
        for chip in Chip::ALL {
            let image = verify(&ImageBuilder::new(chip, "1.0.0").build()).unwrap();
            assert_eq!(image.header.chip(), Some(chip));
            assert_eq!(image.descriptor.unwrap().version(), "1.0.0");
        }
    }

    #[test]
    fn the_length_is_met_to_the_byte() {
        for wanted in (352..2000).step_by(16).chain([65_536, 1_000_000]) {
            let bytes = ImageBuilder::new(Chip::Esp32C6, "1").length(wanted).build();
            assert_eq!(bytes.len(), wanted);
            assert_eq!(verify(&bytes).unwrap().length as usize, wanted);
        }
        let rounded = ImageBuilder::new(Chip::Esp32C6, "1").length(70_001);
        assert_eq!(rounded.build().len(), 70_016);
    }

    #[test]
    fn a_length_too_small_gives_the_smallest_image() {
        let smallest = ImageBuilder::new(Chip::Esp32, "1").build();
        let bytes = ImageBuilder::new(Chip::Esp32, "1").length(0).build();
        assert_eq!(bytes.len(), smallest.len());
        assert!(verify(&bytes).unwrap().descriptor.is_some());
    }

    #[test]
    fn a_large_image_has_several_segments() {
        let wanted = 16 * 1024 * 1024;
        let bytes = ImageBuilder::new(Chip::Esp32S3, "1").length(wanted).build();
        assert_eq!(bytes.len(), wanted);
        assert_eq!(verify(&bytes).unwrap().header.segment_count, 2);
    }

    #[test]
    fn segments_lie_at_the_same_place_in_their_page_in_flash_and_memory() {
        let bytes = ImageBuilder::new(Chip::Esp32S3, "1")
            .length(9 << 20)
            .build();
        for offset in [24, 32 + SEGMENT_CHUNK] {
            let load = u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap());
            assert_eq!(load as usize % 0x1_0000, (offset + 8) % 0x1_0000);
            assert_eq!(load >> 24, 0x3C, "in the data window");
        }
    }

    #[test]
    fn two_versions_differ_all_over() {
        let old = ImageBuilder::new(Chip::Esp32C3, "1.0.0")
            .length(50_000)
            .build();
        let new = ImageBuilder::new(Chip::Esp32C3, "1.1.0")
            .length(50_000)
            .build();
        let same = old.iter().zip(&new).filter(|(a, b)| a == b).count();
        assert!(same < old.len() / 50, "{same} of {} bytes", old.len());
        assert_eq!(
            new,
            ImageBuilder::new(Chip::Esp32C3, "1.1.0")
                .length(50_000)
                .build()
        );
    }

    #[test]
    fn a_payload_is_carried_as_it_is() {
        let bytes = ImageBuilder::new(Chip::Esp32C3, "1")
            .payload(b"kettle")
            .build();
        assert_eq!(&bytes[288..296], b"kettle\0\0");
        verify(&bytes).unwrap();
    }

    #[test]
    fn a_long_version_is_cut_between_characters() {
        let bytes = ImageBuilder::new(Chip::Esp32C3, "123456789012345678901234567890é").build();
        let version = "123456789012345678901234567890";
        assert_eq!(
            verify(&bytes).unwrap().descriptor.unwrap().version(),
            version
        );
    }

    #[test]
    fn an_image_has_a_guard_unless_it_is_left_out() {
        for builder in [
            ImageBuilder::new(Chip::Esp32C3, "1").payload(b"kettle"),
            ImageBuilder::new(Chip::Esp32C3, "1").length(0),
            ImageBuilder::new(Chip::Esp32C3, "1").length(50_000),
            ImageBuilder::new(Chip::Esp32C3, "1").without_descriptor(),
            ImageBuilder::new(Chip::Esp32C3, "1")
                .without_descriptor()
                .length(50_000),
        ] {
            let guard = |builder: &ImageBuilder| verify(&builder.build()).unwrap().guard;
            let virtual_one = GuardMarker::new(GuardMarker::VIRTUAL, GuardMarker::LAUNCHED);
            assert_eq!(guard(&builder), Some(virtual_one));
            let other = GuardMarker::new(GuardMarker::ESP_HAL, 7);
            assert_eq!(guard(&builder.clone().guard(other)), Some(other));
            assert_eq!(guard(&builder.without_guard()), None);
        }
    }

    #[test]
    fn descriptor_and_digest_can_be_left_out() {
        let builder = ImageBuilder::new(Chip::Esp32C3, "1").without_descriptor();
        assert_eq!(verify(&builder.build()).unwrap().descriptor, None);
        assert_eq!(
            verify(&builder.without_digest().build()),
            Err(ImageError::NoDigest)
        );
    }
}
