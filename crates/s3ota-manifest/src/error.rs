//! Why a document is not a manifest.

use core::fmt;

#[cfg(feature = "alloc")]
use crate::artefacts::MAX_DELTAS;
use crate::json::MAX_DEPTH;
use crate::manifest::MAX_DOCUMENT;
use crate::{RolloutError, TimestampError, UrlError, VersionError};

/// Why a document is not a manifest: what is wrong and where.
///
/// Positions (`at`) are byte offsets from the start of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ManifestError {
    /// The document is longer than [`MAX_DOCUMENT`] bytes.
    TooLarge,
    /// The document begins with a UTF-8 byte order mark, which RFC 8259, section 8.1, forbids.
    ByteOrderMark,
    /// The document is not valid UTF-8.
    Utf8 {
        /// Where the first wrong byte is.
        at: usize,
    },
    /// The document is not a JSON object. A server's error page ends up here.
    NotAnObject,
    /// The document is not valid JSON (RFC 8259).
    Syntax {
        /// Where reading stopped.
        at: usize,
        /// What should have been there.
        expected: &'static str,
    },
    /// The document ends before it is complete.
    Truncated,
    /// Something other than white space follows the document.
    TrailingGarbage {
        /// Where it begins.
        at: usize,
    },
    /// Objects and arrays are nested deeper than [`MAX_DEPTH`].
    TooDeep {
        /// Where the limit was passed.
        at: usize,
    },
    /// A field appears twice. Readers disagree on which one counts, so neither does.
    DuplicateKey(&'static str),
    /// A required field is missing.
    MissingField(&'static str),
    /// A field has the wrong JSON type. `null` is not the same as absent.
    WrongType {
        /// The field's name.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// A text field is empty, too long, or contains a control character.
    Text {
        /// The field's name.
        field: &'static str,
        /// What is wrong with the text.
        problem: TextProblem,
    },
    /// `version` is not a version.
    Version(VersionError),
    /// `min_version` is not a version.
    MinVersion(VersionError),
    /// `serial` is not a whole number from 0 to 18,446,744,073,709,551,615.
    Serial,
    /// `url` is not a usable https URL.
    Url(UrlError),
    /// `size` is not a whole number of bytes from 1 to 4,294,967,295.
    Size,
    /// `sha256` is not 64 hex digits.
    Sha256,
    /// `rollout` is not a percentage.
    Rollout(RolloutError),
    /// `expires` is not an RFC 3339 date and time.
    Expires(TimestampError),
    /// There are more `deltas` than a device reads. Only a publisher is told: a device skips them.
    #[cfg(feature = "alloc")]
    TooManyDeltas,
    /// An entry of `deltas`, or `compressed`, has a member that a device cannot read. Only a publisher is told: a device skips
    /// the entry.
    #[cfg(feature = "alloc")]
    Artefact {
        /// Which of the two.
        field: &'static str,
        /// The member.
        member: &'static str,
    },
}

/// What is wrong with a text field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TextProblem {
    /// It is empty. Leave the field out instead.
    Empty,
    /// It is too long.
    TooLong {
        /// The most bytes of UTF-8 it may have.
        limit: usize,
    },
    /// It contains a control character, such as a line break. The release statement has one line per field.
    ControlCharacter,
}

impl ManifestError {
    /// A stable code for programs: `manifest.url` if the URL is at fault, otherwise `manifest.invalid`.
    pub const fn code(&self) -> &'static str {
        match self {
            ManifestError::Url(_) => "manifest.url",
            _ => "manifest.invalid",
        }
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ManifestError::TooLarge => write!(
                f,
                "the manifest is longer than {MAX_DOCUMENT} bytes; shorten its notes or move them elsewhere"
            ),
            ManifestError::ByteOrderMark => f.write_str(
                "the manifest begins with a byte order mark; save it as UTF-8 without BOM",
            ),
            ManifestError::Utf8 { at } => {
                write!(f, "the manifest is not UTF-8 at byte {at}; save it as UTF-8")
            }
            ManifestError::NotAnObject => f.write_str(
                "the manifest is not a JSON object: it does not begin with `{`; check that its URL serves the manifest and not an error page",
            ),
            ManifestError::Syntax { at, expected } => {
                write!(f, "the manifest is not valid JSON at byte {at}: expected {expected}")
            }
            ManifestError::Truncated => f.write_str(
                "the manifest ends before it is complete; fetch or upload it again",
            ),
            ManifestError::TrailingGarbage { at } => write!(
                f,
                "something follows the manifest at byte {at}; it must be one JSON object and nothing else"
            ),
            ManifestError::TooDeep { at } => write!(
                f,
                "the manifest is nested deeper than {MAX_DEPTH} levels at byte {at}; flatten its extra fields"
            ),
            ManifestError::DuplicateKey(key) => {
                write!(f, "the manifest has `{key}` twice; remove one of them")
            }
            ManifestError::MissingField(field) => {
                write!(f, "the manifest has no `{field}`; add it")
            }
            ManifestError::WrongType { field, expected } => {
                write!(f, "the manifest's `{field}` must be {expected}")
            }
            ManifestError::Text { field, problem } => {
                write!(f, "the manifest's `{field}` {problem}")
            }
            ManifestError::Version(error) => write!(f, "the manifest's `version`: {error}"),
            ManifestError::MinVersion(error) => {
                write!(f, "the manifest's `min_version`: {error}")
            }
            ManifestError::Serial => write!(
                f,
                "the manifest's `serial` must be a whole number from 0 to {}",
                u64::MAX
            ),
            ManifestError::Url(error) => write!(f, "the manifest's `url`: {error}"),
            ManifestError::Size => write!(
                f,
                "the manifest's `size` must be the image's size in bytes, a whole number from 1 to {}",
                u32::MAX
            ),
            ManifestError::Sha256 => {
                write!(f, "the manifest's `sha256`: {}", crate::Sha256Error)
            }
            ManifestError::Rollout(error) => write!(f, "the manifest's `rollout`: {error}"),
            ManifestError::Expires(error) => write!(f, "the manifest's `expires`: {error}"),
            #[cfg(feature = "alloc")]
            ManifestError::TooManyDeltas => write!(
                f,
                "the manifest has more than {MAX_DELTAS} `deltas`; leave out those for the oldest versions"
            ),
            #[cfg(feature = "alloc")]
            ManifestError::Artefact { field, member } => write!(
                f,
                "no device can read the `{member}` of the manifest's `{field}`; correct it, or leave that entry out"
            ),
        }
    }
}

impl fmt::Display for TextProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TextProblem::Empty => f.write_str("is empty; fill it in or leave the field out"),
            TextProblem::TooLong { limit } => {
                write!(f, "is longer than {limit} bytes; shorten it")
            }
            TextProblem::ControlCharacter => {
                f.write_str("contains a control character, such as a line break; remove it")
            }
        }
    }
}

impl core::error::Error for ManifestError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            ManifestError::Version(error) => Some(error),
            ManifestError::Url(error) => Some(error),
            ManifestError::Rollout(error) => Some(error),
            ManifestError::Expires(error) => Some(error),
            _ => None,
        }
    }
}

impl From<VersionError> for ManifestError {
    fn from(error: VersionError) -> Self {
        ManifestError::Version(error)
    }
}

impl From<UrlError> for ManifestError {
    fn from(error: UrlError) -> Self {
        ManifestError::Url(error)
    }
}
