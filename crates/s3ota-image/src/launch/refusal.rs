//! Why an image is not launched.

use core::fmt;

/// Why an image is not launched. The bootloader may take it nevertheless.
///
/// A device shows its [`number`](Refusal::number). What the image has, `s3ota inspect` of it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Refusal {
    /// The image is damaged, as its [`Verifier`](crate::app::Verifier) has found. [`plan`](super::plan) gets no such image.
    Image,
    /// The bootloader would refuse the image on this chip, too: it is for another one, or there is a [`Misfit`](crate::app::Misfit).
    Misfit,
    /// The flash cannot be read.
    Unreadable,
    /// The chip has Secure Boot on, whose bootloader checks a signature, and a launch would go around that; or flash encryption, with
    /// which what is read of an image without the cache is not what the image says.
    Protected,
    /// The image is built for other pages of flash than those of 64 KiB, or lies across them.
    PageSize,
    /// A segment is for no memory that this chip has, such as PSRAM, or for memory that the bootloader or the mask ROM needs.
    Segment,
}

/// By the number of a refusal. A table by hand: where a `match` has the texts, the compiler makes one, which esp-hal's linker
/// scripts put into RAM.
static REASONS: [&str; 6] = [
    "it is damaged",
    "it is not for this chip",
    "flash cannot be read",
    "Secure Boot or flash encryption is on",
    "its pages are not 64 KiB",
    "a segment has no free memory",
];

impl Refusal {
    /// Whether the bootloader would not start the image either. Otherwise it may.
    pub const fn is_of_image(self) -> bool {
        matches!(self, Refusal::Image | Refusal::Misfit)
    }

    /// The number by which a device shows it, from 1 in the order of this type: the words would take 150 bytes of its flash.
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
