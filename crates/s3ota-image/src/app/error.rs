//! Why bytes are not an app image.

use core::fmt;

use super::{Header, MAX_SEGMENTS, SEGMENT_LIMIT};

/// Why bytes are not a whole, intact app image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ImageError {
    /// The first byte is not the magic 0xE9.
    NotAnImage {
        /// What stands there instead.
        first_byte: u8,
    },
    /// The header counts no segments, or more than [`MAX_SEGMENTS`].
    Segments {
        /// The number in the header.
        count: u8,
    },
    /// A segment's length is not a multiple of 4, or is 16 MiB or more.
    SegmentSize {
        /// Which segment, counted from 0.
        index: u8,
        /// Its length in bytes, as its header says.
        length: u32,
    },
    /// A segment that the chip maps from flash has different offsets within its page in memory and in the
    /// image.
    SegmentAddress {
        /// Which segment, counted from 0.
        index: u8,
        /// Its address in memory, as its header says.
        address: u32,
    },
    /// The bytes end before the image does.
    Truncated {
        /// Bytes there were.
        length: u32,
        /// Bytes there should have been, at least.
        needed: u32,
    },
    /// The checksum does not match the segments.
    ///
    /// If the digest does not match either, [`Digest`](ImageError::Digest) is reported instead: it is the
    /// stronger evidence.
    Checksum {
        /// Computed from the segments.
        computed: u8,
        /// Found in the image.
        stored: u8,
    },
    /// The SHA-256 at the end of the image does not match the image.
    Digest,
    /// The image carries no SHA-256 of its own (`hash_appended` is 0 in the header).
    NoDigest,
    /// The image is followed by bytes that are not a Secure Boot V2 signature.
    TrailingData {
        /// Where the image ends, in bytes.
        image_length: u32,
    },
}

impl ImageError {
    /// A stable dotted code for programs: `image.invalid` if the structure is wrong, `image.digest` if
    /// checksum or digest do not match or are missing, `image.size` if bytes are missing or left over.
    pub const fn code(&self) -> &'static str {
        match self {
            ImageError::NotAnImage { .. }
            | ImageError::Segments { .. }
            | ImageError::SegmentSize { .. }
            | ImageError::SegmentAddress { .. } => "image.invalid",
            ImageError::Checksum { .. } | ImageError::Digest | ImageError::NoDigest => {
                "image.digest"
            }
            ImageError::Truncated { .. } | ImageError::TrailingData { .. } => "image.size",
        }
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ImageError::NotAnImage { first_byte } => write!(
                f,
                "this is not an ESP32 app image: it begins with 0x{first_byte:02X}, not with 0x{:02X}; \
                 make one with `espflash save-image` or `esptool elf2image`",
                Header::MAGIC,
            ),
            ImageError::Segments { count } => write!(
                f,
                "the image header counts {count} segments, 1 to {MAX_SEGMENTS} are possible; \
                 the file is damaged or is not an app image",
            ),
            ImageError::SegmentSize { index, length } => write!(
                f,
                "segment {index} of the image is {length} bytes long, which is not a multiple of 4 \
                 below {SEGMENT_LIMIT}; the file is damaged",
            ),
            ImageError::SegmentAddress { index, address } => write!(
                f,
                "segment {index} of the image is to lie at 0x{address:X}, where flash pages cannot put it; \
                 build the image with `espflash save-image` or `esptool elf2image`",
            ),
            ImageError::Truncated { length, needed } => write!(
                f,
                "the image ends after {length} bytes where at least {needed} are needed; \
                 the file or the download is incomplete, fetch it again",
            ),
            ImageError::Checksum { computed, stored } => write!(
                f,
                "the image's checksum is 0x{stored:02X} but its segments add up to 0x{computed:02X}; \
                 the file is damaged, build or fetch it again",
            ),
            ImageError::Digest => f.write_str(
                "the SHA-256 at the image's end does not match the image; \
                 the file is damaged, build or fetch it again",
            ),
            ImageError::NoDigest => f.write_str(
                "the image carries no SHA-256 of its own, so nobody could tell a damaged copy; \
                 build it with `espflash save-image`, \
                 or with `esptool elf2image` without `--dont-append-digest`",
            ),
            ImageError::TrailingData { image_length } => write!(
                f,
                "the image ends after {image_length} bytes but the file goes on, \
                 with something that is no Secure Boot V2 signature; \
                 give the app image alone, not a merged flash image",
            ),
        }
    }
}

impl core::error::Error for ImageError {}
