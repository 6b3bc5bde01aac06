//! Why an image is not launched.

use core::fmt;

/// Why an image is not launched. The bootloader may take it nevertheless.
///
/// A device logs its [`number`](Refusal::number). What the image has, `s3ota inspect` of it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Refusal {
    /// The image is damaged, as its [`Verifier`](crate::app::Verifier) has found. [`plan`](super::plan) gets no such image.
    Image,
    /// The image is for another chip.
    Chip,
    /// The bootloader would refuse the image on this chip, too: a [`Misfit`](crate::app::Misfit).
    Misfit,
    /// The flash cannot be read.
    Unreadable,
    /// The chip has Secure Boot on. Its bootloader checks a signature, and a launch would go around that.
    SecureBoot,
    /// The chip has flash encryption on. What is read of an image without the cache is not what the image says.
    FlashEncryption,
    /// The image has no app descriptor.
    NoDescriptor,
    /// The image is built for other pages of flash than those of 64 KiB, or lies across them.
    PageSize,
    /// A segment is for no memory that this chip has, such as PSRAM.
    Segment,
    /// A segment is for memory that the bootloader or the mask ROM has, or another one has its entry in the cache's table.
    Overlap,
    /// The image lies beyond the flash that this chip can map.
    Reach,
    /// The image's first instruction is in none of its segments.
    Entry,
}

/// By the number of a refusal. A table by hand: where a `match` has the texts, the compiler makes one, which esp-hal's linker
/// scripts put into RAM.
static REASONS: [&str; 12] = [
    "it is damaged",
    "it is for another chip",
    "the eFuses forbid it",
    "flash cannot be read",
    "Secure Boot is on",
    "flash encryption is on",
    "it has no descriptor",
    "its pages are not 64 KiB",
    "a segment has no memory",
    "a segment's memory is taken",
    "it lies too far up",
    "it has no entry",
];

impl Refusal {
    /// Whether the bootloader would not start the image either. Otherwise it may.
    pub const fn is_of_image(self) -> bool {
        matches!(self, Refusal::Image | Refusal::Chip | Refusal::Misfit)
    }

    /// The number by which a device logs it, from 1 in the order of this type: the words would take 350 bytes of its flash.
    pub const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The reason in a few words.
    pub const fn reason(self) -> &'static str {
        REASONS[self as usize]
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl core::error::Error for Refusal {}
