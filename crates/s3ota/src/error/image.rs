//! An image that is refused.

use core::fmt;

use s3ota_image::app::Misfit;
use s3ota_image::{Chip, ImageError};

use super::Name;

/// Why an image is not installed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum FirmwareError {
    /// The image is for another chip.
    Chip {
        /// This device's.
        expected: Chip,
        /// What the manifest or the image names.
        found: Name,
    },
    /// The image does not fit every slot: where it fits only one, no other of its size could follow.
    TooLarge {
        /// Bytes of the image, as far as known.
        size: u64,
        /// Bytes of the smallest slot.
        slot: u32,
    },
    /// The image does not have the size in the manifest.
    Size {
        /// Bytes by the manifest.
        expected: u32,
        /// Bytes by the server or as received.
        found: u64,
    },
    /// The image does not have the SHA-256 in the manifest.
    Sha256,
    /// The version in the image's descriptor is not the manifest's.
    Version {
        /// By the manifest.
        expected: Name,
        /// By the descriptor inside the image.
        found: Name,
    },
    /// The image is of another project.
    Project {
        /// By the manifest, or else the running firmware's.
        expected: Name,
        /// By the descriptor inside the image.
        found: Name,
    },
    /// The image has no app descriptor. Newer bootloaders take what lies in its place for one.
    NoDescriptor,
    /// The bootloader would refuse the image on this chip.
    Misfit(Misfit),
    /// The image has no boot guard, and the running one has: the device could not roll back from it.
    NoGuard,
    /// The image is not signed for Secure Boot as the one that runs is: the bootloader would refuse it.
    SecureBoot,
    /// The image is broken.
    Invalid(ImageError),
    /// A delta or a compressed image is refused. It ends no update: the image itself is fetched then.
    #[cfg(feature = "delta")]
    Artefact,
    /// What lies on flash after writing is not what was written: the flash is worn or failing.
    ReadBack,
}

impl fmt::Display for FirmwareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chip { expected, found } => {
                write!(
                    f,
                    "the image is for {found}, this device is an {}",
                    expected.name()
                )
            }
            Self::TooLarge { size, slot } => write!(
                f,
                "the image has {size} bytes, but the smallest slot holds {slot}: make the firmware smaller or the slots larger"
            ),
            Self::Size { expected, found } => {
                write!(
                    f,
                    "the manifest says the image has {expected} bytes, the server has {found}: publish it again"
                )
            }
            Self::Sha256 => {
                write!(
                    f,
                    "the image's SHA-256 is not the manifest's: it was changed or damaged, publish it again"
                )
            }
            Self::Version { expected, found } => write!(
                f,
                "the manifest says {expected}, but the image calls itself {found}: publish the image that belongs to this version"
            ),
            Self::Project { expected, found } if found.is_empty() => write!(
                f,
                "the image names no project, and is not of {expected}: publish the right image, or build it with the project's name"
            ),
            Self::Project { expected, found } => write!(
                f,
                "the image is of the project {found}, not of {expected}: publish the right image, or set renamed_to in a release before"
            ),
            Self::NoDescriptor => write!(
                f,
                "the image has no app descriptor: build it with ESP-IDF, Arduino or esp-bootloader-esp-idf's esp_app_desc!()"
            ),
            // What does not fit is in its code; the numbers would take program memory that the command on the host has.
            Self::Misfit(_) => write!(
                f,
                "the bootloader would refuse the image on this chip: `s3ota inspect` of the image says what it needs"
            ),
            Self::NoGuard => write!(
                f,
                "the image has no boot guard, so a device could not roll back from it: call the guard first in main"
            ),
            Self::SecureBoot => write!(
                f,
                "the image is not signed for Secure Boot as the running one is: sign it with espsecure"
            ),
            Self::Invalid(error) => write!(f, "{error}"),
            #[cfg(feature = "delta")]
            Self::Artefact => write!(
                f,
                "the delta or compressed image is refused: the image itself is fetched"
            ),
            Self::ReadBack => write!(
                f,
                "the image reads back differently from flash: the flash chip may be worn out"
            ),
        }
    }
}

impl core::error::Error for FirmwareError {}
