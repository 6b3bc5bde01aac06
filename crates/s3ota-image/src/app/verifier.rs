//! Checks an app image as it streams by.

use sha2::{Digest, Sha256};

use super::{
    CHECKSUM_ALIGN, CHECKSUM_SEED, DIGEST_LEN, Descriptor, GuardMarker, Header, ImageError,
    SEGMENT_HEADER_LEN, SEGMENT_LIMIT, SignatureKind,
    marker::Scanner,
    signature::{SIGNATURE_MAGIC, SIGNATURE_SECTOR},
};
use crate::{Chip, bytes::u32_at};

/// Checks an app image that it is fed in pieces of any size. It keeps less than 1 KiB of it.
///
/// Like `image_load` in ESP-IDF's `components/bootloader_support/src/esp_image_format.c` it checks magic,
/// segment count, each segment's length, each mapped segment's offset within its page, checksum, and the
/// appended SHA-256. Beyond that, the image must have this SHA-256, and only a Secure Boot V2 signature
/// sector may follow it (its form is checked, its signature is not).
///
/// Not checked, although a bootloader refuses it: a segment that would be copied over the bootloader itself
/// or to where there is no RAM (`verify_load_addresses`; that depends on chip and bootloader); offsets
/// within pages larger than the smallest ones, of the first segment and, if the descriptor does not tell
/// the page size, of all segments; and a page size that a bootloader before ESP-IDF 5.4 was not built for.
///
/// How the bytes are split never changes the result. An error is reported as soon as the bytes show it, and
/// from then on by every call.
///
/// The descriptor is optional here; see [`Image::descriptor`]. Whether chip, revision and version suit the
/// device is for the caller to check, as soon as [`header`](Verifier::header) and
/// [`descriptor`](Verifier::descriptor) are known.
///
/// ```
/// use s3ota_image::app;
///
/// # let image = include_bytes!("../../tests/fixtures/hello-esp32c6-1.0.0.bin");
/// let (prefix, rest) = image.split_at(app::PREFIX_LEN);
/// let mut verifier = app::Verifier::new();
/// verifier.update(prefix)?;
/// assert_eq!(verifier.header().and_then(|h| h.chip()).map(|c| c.name()), Some("esp32c6"));
/// assert_eq!(verifier.descriptor().map(|d| d.version()), Some("1.0.0"));
/// verifier.update(rest)?;
/// assert_eq!(verifier.finish()?.length as usize, image.len());
/// # Ok::<(), s3ota_image::ImageError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Verifier {
    stage: Stage,
    /// Whatever follows the image is not part of it.
    in_slot: bool,
    /// Bytes taken. Stops at the first error.
    position: u32,
    /// All bytes fed.
    hasher: Sha256,
    /// All segment bytes.
    checksum: u8,
    stored_checksum: u8,
    header: Option<Header>,
    scanner: Scanner,
    signature: Option<SignatureKind>,
    /// The SHA-256 before the one that the image has.
    digest: [u8; DIGEST_LEN],
    image_length: u32,
    /// The record that `stage` waits for, and the descriptor.
    records: Records,
    filled: usize,
}

/// The memory of the record that is collected, and of the descriptor: one of the two is large.
#[derive(Debug, Clone)]
enum Records {
    /// Room for any record, the descriptor's included.
    Any([u8; Descriptor::LEN]),
    /// The descriptor, and room for those behind it.
    Behind(Descriptor, [u8; DIGEST_LEN]),
}

impl Records {
    fn room(&mut self) -> &mut [u8] {
        match self {
            Self::Any(room) => room,
            Self::Behind(_, room) => room,
        }
    }

    fn descriptor(&self) -> Option<&Descriptor> {
        match self {
            Self::Any(_) => None,
            Self::Behind(descriptor, _) => Some(descriptor),
        }
    }
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Header,
    SegmentHeader {
        index: u8,
    },
    /// The first 256 bytes of the first segment's data.
    Descriptor {
        data_left: u32,
    },
    Data {
        index: u8,
        left: u32,
    },
    /// Padding that ends with the checksum.
    Padding {
        left: u32,
    },
    Digest,
    /// The image is complete.
    End,
    /// 0xFF before a signature sector.
    SignaturePadding {
        left: u32,
    },
    Signature {
        left: u32,
    },
    /// Image and signature are complete.
    SignatureEnd,
    Failed(ImageError),
}

impl Default for Verifier {
    fn default() -> Self {
        Verifier::new()
    }
}

impl Verifier {
    /// A verifier that has seen nothing.
    pub fn new() -> Verifier {
        Verifier::begin(false)
    }

    // In one place: it takes 150 bytes of a device's flash.
    #[inline(never)]
    fn begin(in_slot: bool) -> Verifier {
        Verifier {
            stage: Stage::Header,
            in_slot,
            position: 0,
            hasher: Sha256::new(),
            checksum: CHECKSUM_SEED,
            stored_checksum: 0,
            header: None,
            scanner: Scanner::new(),
            signature: None,
            digest: [0; DIGEST_LEN],
            image_length: 0,
            records: Records::Any([0; Descriptor::LEN]),
            filled: 0,
        }
    }

    /// A verifier for an image in a partition, where anything may follow it.
    ///
    /// It ignores what follows the image's digest: feed it the partition until
    /// [`is_complete`](Verifier::is_complete). [`Image::length`] is then the length up to there.
    pub fn in_slot() -> Verifier {
        Verifier::begin(true)
    }

    /// Whether the image has been seen up to the end of its digest.
    pub fn is_complete(&self) -> bool {
        matches!(self.stage, Stage::End | Stage::SignatureEnd)
    }

    /// Takes the next bytes of the image.
    ///
    /// # Errors
    /// The first problem found; every later call returns it again.
    pub fn update(&mut self, mut bytes: &[u8]) -> Result<(), ImageError> {
        loop {
            if let Stage::Failed(error) = self.stage {
                return Err(error);
            }
            if bytes.is_empty() || (self.in_slot && self.is_complete()) {
                return Ok(());
            }
            if let Err(error) = self.step(&mut bytes) {
                self.stage = Stage::Failed(error);
            }
        }
    }

    /// [`update`](Verifier::update), for who reads an image to its end: whether it takes more. It does not once the image is complete,
    /// nor after an error, which [`finish`](Verifier::finish) returns.
    // In one place: firmware reads its own image, those that it was replaced by, and one that it launches.
    #[inline(never)]
    pub fn takes_more(&mut self, bytes: &[u8]) -> bool {
        self.update(bytes).is_ok() && !self.is_complete()
    }

    /// The header, once its 24 bytes have been seen.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// The app descriptor, once seen. If there is none after [`PREFIX_LEN`](super::PREFIX_LEN) bytes, the image
    /// has none.
    pub fn descriptor(&self) -> Option<&Descriptor> {
        self.records.descriptor()
    }

    /// The boot guard's marker, once seen. It may be anywhere in the image: if there is none when the image
    /// [is complete](Verifier::is_complete), it has none.
    pub fn guard(&self) -> Option<GuardMarker> {
        self.scanner.found()
    }

    /// Bytes taken so far. Stops at the first error.
    pub fn position(&self) -> u32 {
        self.position
    }

    /// The SHA-256 of the bytes taken so far.
    pub fn digest(&self) -> [u8; DIGEST_LEN] {
        self.hasher.clone().finalize().into()
    }

    /// The proof that the image is complete and intact.
    ///
    /// # Errors
    /// Those that [`update`](Verifier::update) reported, [`ImageError::Truncated`] if the image is not
    /// complete, [`ImageError::NoDigest`] if it has no SHA-256.
    pub fn finish(self) -> Result<Image, ImageError> {
        let needed = match self.stage {
            Stage::Failed(error) => return Err(error),
            Stage::End | Stage::SignatureEnd => 0,
            // Padding alone is not a signature.
            Stage::SignaturePadding { .. } => {
                return Err(ImageError::TrailingData {
                    image_length: self.image_length,
                });
            }
            Stage::Header => missing(Header::LEN, self.filled),
            Stage::SegmentHeader { .. } => missing(SEGMENT_HEADER_LEN, self.filled),
            Stage::Descriptor { data_left } => data_left,
            Stage::Data { left, .. } | Stage::Padding { left } | Stage::Signature { left } => left,
            Stage::Digest => missing(DIGEST_LEN, self.filled),
        };
        if needed > 0 {
            return Err(ImageError::Truncated {
                length: self.position,
                needed: self.position.saturating_add(needed),
            });
        }
        // A complete image has a header, but the type system does not know that.
        let Some(header) = self.header else {
            return Err(ImageError::Truncated {
                length: self.position,
                needed: Header::LEN as u32,
            });
        };
        if !header.has_digest() {
            return Err(ImageError::NoDigest);
        }
        Ok(Image {
            header,
            descriptor: match self.records {
                Records::Any(_) => None,
                Records::Behind(descriptor, _) => Some(descriptor),
            },
            length: self.position,
            image_length: self.image_length,
            sha256: self.hasher.finalize().into(),
            digest: self.digest,
            signed: self.signature.is_some(),
            signature: self.signature,
            guard: self.scanner.found(),
        })
    }

    /// Takes bytes of one stage off the front of `bytes`, which is not empty.
    fn step(&mut self, bytes: &mut &[u8]) -> Result<(), ImageError> {
        match self.stage {
            Stage::Header => {
                // Refuse at the first byte: to recognise a web page, no one has to wait for 24.
                if let (0, Some(&first_byte)) = (self.filled, bytes.first())
                    && first_byte != Header::MAGIC
                {
                    return Err(ImageError::NotAnImage { first_byte });
                }
                if let Some(record) = self.collect::<{ Header::LEN }>(bytes) {
                    self.header = Some(Header::parse(&record)?);
                    self.stage = Stage::SegmentHeader { index: 0 };
                }
            }
            Stage::SegmentHeader { index } => {
                if let Some(record) = self.collect::<SEGMENT_HEADER_LEN>(bytes) {
                    let address = u32_at::<0, SEGMENT_HEADER_LEN>(&record);
                    let length = u32_at::<4, SEGMENT_HEADER_LEN>(&record);
                    if !length.is_multiple_of(4) || length >= SEGMENT_LIMIT {
                        return Err(ImageError::SegmentSize { index, length });
                    }
                    self.check_address(index, address)?;
                    self.stage = if index == 0 && length >= Descriptor::LEN as u32 {
                        Stage::Descriptor { data_left: length }
                    } else {
                        self.after_data(index, length)
                    };
                }
            }
            Stage::Descriptor { data_left } => {
                let before = bytes.len();
                let record = self.collect::<{ Descriptor::LEN }>(bytes);
                let taken = before.saturating_sub(bytes.len()) as u32;
                let left = data_left.saturating_sub(taken);
                self.stage = match record {
                    None => Stage::Descriptor { data_left: left },
                    Some(record) => {
                        self.see_data(&record);
                        if let Some(descriptor) = Descriptor::parse(&record) {
                            self.records = Records::Behind(descriptor, [0; DIGEST_LEN]);
                        }
                        self.after_data(0, left)
                    }
                };
            }
            Stage::Data { index, left } => {
                let data = self.take(bytes, left);
                self.see_data(data);
                self.stage = self.after_data(index, left.saturating_sub(data.len() as u32));
            }
            Stage::Padding { left } => {
                let padding = self.take(bytes, left);
                let left = left.saturating_sub(padding.len() as u32);
                if left > 0 {
                    self.stage = Stage::Padding { left };
                } else {
                    self.stored_checksum = padding.last().copied().unwrap_or_default();
                    self.end_of_checksum()?;
                }
            }
            Stage::Digest => {
                if let Some(digest) = self.collect::<DIGEST_LEN>(bytes) {
                    if digest != self.digest {
                        return Err(ImageError::Digest);
                    }
                    self.check_checksum()?;
                    self.image_length = self.position;
                    self.stage = Stage::End;
                }
            }
            Stage::End => {
                if self.header.is_some_and(|header| !header.has_digest()) {
                    return Err(ImageError::NoDigest);
                }
                self.stage = match to_boundary(self.position, SIGNATURE_SECTOR) {
                    0 => Stage::Signature {
                        left: SIGNATURE_SECTOR,
                    },
                    left => Stage::SignaturePadding { left },
                };
            }
            Stage::SignaturePadding { left } => {
                let padding = self.take(bytes, left);
                if padding.iter().any(|byte| *byte != 0xFF) {
                    return Err(self.trailing_data());
                }
                self.stage = match left.saturating_sub(padding.len() as u32) {
                    0 => Stage::Signature {
                        left: SIGNATURE_SECTOR,
                    },
                    left => Stage::SignaturePadding { left },
                };
            }
            Stage::Signature { left } => {
                // Magic and version are taken one byte at a time, the rest at once.
                let sector = match SIGNATURE_SECTOR.saturating_sub(left) {
                    0 => {
                        let magic = self.take(bytes, 1);
                        if magic != [SIGNATURE_MAGIC] {
                            return Err(self.trailing_data());
                        }
                        magic
                    }
                    1 => {
                        let version = self.take(bytes, 1);
                        let kind = version.first().copied();
                        self.signature = kind.and_then(SignatureKind::from_version);
                        if self.signature.is_none() {
                            return Err(self.trailing_data());
                        }
                        version
                    }
                    _ => self.take(bytes, left),
                };
                self.stage = match left.saturating_sub(sector.len() as u32) {
                    0 => Stage::SignatureEnd,
                    left => Stage::Signature { left },
                };
            }
            Stage::SignatureEnd => return Err(self.trailing_data()),
            Stage::Failed(error) => return Err(error),
        }
        Ok(())
    }

    /// Takes segment data into account. Each byte once.
    #[inline(never)]
    fn see_data(&mut self, data: &[u8]) {
        self.checksum ^= xor(data);
        self.scanner.update(data);
    }

    /// Checks the address of a segment whose data comes next, by `verify_segment_header` of
    /// `esp_image_format.c`: what is mapped from flash has the same offset within its page there and in
    /// memory. (An app partition begins on a page.)
    fn check_address(&self, index: u8, address: u32) -> Result<(), ImageError> {
        let Some(Header { chip_id, .. }) = self.header else {
            return Ok(());
        };
        // From `SOC_DROM_LOW` to `SOC_DROM_HIGH` and from `SOC_IROM_LOW` to `SOC_IROM_HIGH` of
        // `components/soc/*/include/soc/soc.h`. Some chips have smaller windows than these: a bootloader
        // refuses what is in the rest anyway.
        const ESP32: u16 = Chip::Esp32.id();
        const ESP32S2: u16 = Chip::Esp32S2.id();
        const ESP32P4: u16 = Chip::Esp32P4.id();
        let is_mapped = match chip_id {
            ESP32 => matches!(address, 0x3F40_0000..0x3F80_0000 | 0x400D_0000..0x4040_0000),
            ESP32S2 => matches!(address, 0x3F00_0000..0x3FF8_0000 | 0x4008_0000..0x4080_0000),
            ESP32P4 => matches!(address, 0x4000_0000..0x4400_0000),
            5..=23 => matches!(address, 0x3C00_0000..0x3E00_0000 | 0x4200_0000..0x4400_0000),
            _ => false,
        };
        // The descriptor tells the page size, as a power of two. Before it is known, and if ESP-IDF was too old
        // to write it, it is at least 8 KiB (`MMU_PAGE_SIZE_MIN` of `hal/mmu_types.h`).
        let descriptor = self.descriptor();
        let page_bits = match descriptor.map_or(0, |descriptor| descriptor.mmu_page_size) {
            bits @ 13..=16 => bits,
            _ => 13,
        };
        if is_mapped && (address ^ self.position) << (32 - page_bits) != 0 {
            return Err(ImageError::SegmentAddress { index, address });
        }
        Ok(())
    }

    /// The stage with `left` bytes of segment `index` to come.
    fn after_data(&self, index: u8, left: u32) -> Stage {
        let segments = self.header.map_or(0, |header| header.segment_count);
        let next = index.saturating_add(1);
        if left > 0 {
            Stage::Data { index, left }
        } else if next < segments {
            Stage::SegmentHeader { index: next }
        } else {
            // At least one byte, for the checksum, up to a full block.
            let left = CHECKSUM_ALIGN.saturating_sub(self.position % CHECKSUM_ALIGN);
            Stage::Padding { left }
        }
    }

    /// The checksum has been read. Is there a digest?
    fn end_of_checksum(&mut self) -> Result<(), ImageError> {
        if self.header.is_some_and(|header| header.has_digest()) {
            self.digest = self.hasher.clone().finalize().into();
            self.stage = Stage::Digest;
        } else {
            self.check_checksum()?;
            self.image_length = self.position;
            self.stage = Stage::End;
        }
        Ok(())
    }

    fn check_checksum(&self) -> Result<(), ImageError> {
        if self.checksum == self.stored_checksum {
            Ok(())
        } else {
            Err(ImageError::Checksum {
                computed: self.checksum,
                stored: self.stored_checksum,
            })
        }
    }

    fn trailing_data(&self) -> ImageError {
        ImageError::TrailingData {
            image_length: self.image_length,
        }
    }

    /// Takes up to `most` bytes off the front of `bytes`.
    fn take<'b>(&mut self, bytes: &mut &'b [u8], most: u32) -> &'b [u8] {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let (taken, rest) = bytes.split_at(most.min(bytes.len()));
        *bytes = rest;
        self.hasher.update(taken);
        // At most 16 segments of 16 MiB: the stages end long before this saturates.
        self.position = self.position.saturating_add(taken.len() as u32);
        taken
    }

    /// Takes bytes until there are `N`, and then returns them once.
    fn collect<const N: usize>(&mut self, bytes: &mut &[u8]) -> Option<[u8; N]> {
        let taken = self.take(bytes, missing(N, self.filled));
        let filled = self.filled.saturating_add(taken.len());
        self.records
            .room()
            .get_mut(self.filled..filled)?
            .copy_from_slice(taken);
        self.filled = filled;
        if filled < N {
            return None;
        }
        self.filled = 0;
        self.records.room().first_chunk::<N>().copied()
    }
}

/// A complete, intact app image, as a [`Verifier`] has seen it. Nothing else can make one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Image {
    /// The image header.
    pub header: Header,
    /// The app descriptor. `None` if the image has none.
    ///
    /// Do not run an image without one. On every chip but the ESP32, newer bootloaders read the eFuse limits
    /// from its offset without checking its magic; and a bootloader built with
    /// `CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK` aborts at every start if the magic is missing
    /// (`process_segment_data`, `process_esp_app_desc_data` in `esp_image_format.c`).
    pub descriptor: Option<Descriptor>,
    /// Bytes in total: what has to fit a slot.
    pub length: u32,
    /// Bytes up to the end of the image's own SHA-256. Less than `length` only if a signature follows.
    pub image_length: u32,
    /// SHA-256 of all bytes: the file's hash.
    pub sha256: [u8; 32],
    /// The SHA-256 in the image, of everything before it.
    pub digest: [u8; DIGEST_LEN],
    /// Whether a Secure Boot V2 signature sector follows. The signature has not been checked.
    ///
    /// A verifier for an image [in a slot](Verifier::in_slot) ignores it.
    pub signed: bool,
    /// The kind of that signature.
    pub signature: Option<SignatureKind>,
    /// The boot guard that the image claims to have.
    pub guard: Option<GuardMarker>,
}

impl Image {
    /// Where a signature sector would begin, in bytes from the image's start.
    ///
    /// For an image in a slot: read four bytes there and pass them to [`SignatureKind::parse`].
    pub fn signature_offset(&self) -> u32 {
        let padding = to_boundary(self.image_length, SIGNATURE_SECTOR);
        self.image_length.saturating_add(padding)
    }
}

fn xor(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum ^ byte)
}

/// Bytes missing to `length` after `filled`.
fn missing(length: usize, filled: usize) -> u32 {
    length.saturating_sub(filled) as u32
}

/// Bytes from `position` to the next multiple of `align`.
fn to_boundary(position: u32, align: u32) -> u32 {
    match position % align {
        0 => 0,
        past => align.saturating_sub(past),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_takes_less_than_one_kib() {
        assert!(size_of::<Verifier>() < 1024, "{}", size_of::<Verifier>());
    }
}
