//! Why an artefact is refused.

use core::fmt;

/// Why an artefact is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Refused {
    /// It does not begin as an artefact does.
    NotAnArtefact,
    /// It is of another version of the format.
    Version(u8),
    /// Its header contradicts itself.
    Header,
    /// It ends before the result is whole.
    Truncated,
    /// It needs another base: one of another size.
    Base {
        /// Bytes of the base that it needs.
        needed: u32,
        /// Bytes of the base that is there.
        found: u32,
    },
    /// The base, or the result so far, could not be read in full.
    Short,
    /// What it says of blocks or segments cannot be.
    Malformed,
    /// The result is not what the header promises.
    Digest,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::NotAnArtefact => f.write_str("not a delta or compressed image"),
            Refused::Version(version) => write!(
                f,
                "format {version}, but this version of s3ota reads format {}",
                crate::VERSION
            ),
            Refused::Header => f.write_str("the header contradicts itself"),
            Refused::Truncated => f.write_str("it ends before the image is complete"),
            Refused::Base { needed, found } => {
                write!(
                    f,
                    "it applies to an image of {needed} bytes, not of {found}"
                )
            }
            Refused::Short => f.write_str("the image it applies to could not be read in full"),
            Refused::Malformed => f.write_str("it describes an image that cannot exist"),
            Refused::Digest => f.write_str("the result is not the promised image"),
        }
    }
}

impl core::error::Error for Refused {}
