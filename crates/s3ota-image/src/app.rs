//! The ESP-IDF app image, the content of an app partition.
//!
//! | bytes | part |
//! |---|---|
//! | 0..24 | [`Header`]: magic 0xE9, number of segments, chip, … |
//! | each segment | load address, length (a multiple of 4), then that many bytes |
//! | up to a multiple of 16 | padding; its last byte is the checksum: all segment bytes XORed, seed 0xEF |
//! | 32 | SHA-256 of everything before it, if the header says so |
//!
//! The first segment begins with the app [`Descriptor`]: version, project name and so on. An image that is
//! signed for Secure Boot V2 continues with 0xFF up to a multiple of 4,096 bytes and one signature sector
//! of 4,096 bytes.
//!
//! A [`Verifier`] checks all of it as the image streams by, and returns an [`Image`] as proof. [`Hardware`]
//! then tells whether the image may run on this chip, and a [`GuardMarker`] in the data whether it has a
//! boot guard. A [`VersionMarker`] names the version of an Arduino sketch, which the descriptor does not.
//!
//! Sources: ESP-IDF `components/bootloader_support/include/esp_app_format.h` (header, segments),
//! `components/esp_app_format/include/esp_app_desc.h` (descriptor),
//! `components/bootloader_support/src/esp_image_format.c` (the checks the bootloader makes), and
//! esptool's `espsecure/__init__.py` (the signature sector).

#[cfg(feature = "alloc")]
mod builder;
mod descriptor;
mod error;
mod hardware;
mod header;
mod marker;
mod signature;
mod verifier;
mod version;

#[cfg(feature = "alloc")]
pub use builder::ImageBuilder;
pub use descriptor::Descriptor;
pub use error::ImageError;
pub use hardware::{Hardware, Misfit, Revision};
pub use header::Header;
pub use marker::GuardMarker;
pub use signature::SignatureKind;
pub use verifier::{Image, Verifier};
pub use version::{TwoVersions, VersionMarker};

/// How many bytes a [`Verifier`] needs to know header and descriptor: header, first segment's header,
/// descriptor.
///
/// If it has no descriptor after that many bytes, the image has none.
pub const PREFIX_LEN: usize = Header::LEN + SEGMENT_HEADER_LEN + Descriptor::LEN;

/// The most segments an image may have (`ESP_IMAGE_MAX_SEGMENTS`).
pub const MAX_SEGMENTS: u8 = 16;

/// Bytes of the SHA-256 at the end of an image.
pub const DIGEST_LEN: usize = 32;

/// Bytes of `esp_image_segment_header_t`: load address and data length.
const SEGMENT_HEADER_LEN: usize = 8;

/// A segment must be shorter than this (`SIXTEEN_MB` in `esp_image_format.c`).
const SEGMENT_LIMIT: u32 = 0x0100_0000;

/// The checksum's initial value (`ESP_ROM_CHECKSUM_INITIAL`).
const CHECKSUM_SEED: u8 = 0xEF;

/// The checksum is the last byte of a block of this size.
const CHECKSUM_ALIGN: u32 = 16;
