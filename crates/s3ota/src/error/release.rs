//! A release that is refused.

use core::fmt;

use s3ota_manifest::SignatureError;

use super::Name;

/// Why a release with a valid manifest is not for this device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ReleaseError {
    /// The release is older than the running firmware.
    Downgrade {
        /// The running version.
        running: Name,
        /// The manifest's.
        offered: Name,
    },
    /// The release is for another board.
    Board {
        /// This device's.
        expected: Name,
        /// The manifest's.
        found: Name,
    },
    /// The release is of another project.
    Project {
        /// The running firmware's.
        expected: Name,
        /// The manifest's.
        found: Name,
    },
    /// The manifest has expired: an attacker may be holding back a newer one.
    Expired,
    /// No release key that this firmware trusts has signed it.
    Signature(SignatureError),
    /// The release is signed for another channel.
    Channel {
        /// This device's.
        expected: Name,
        /// The manifest's.
        found: Name,
    },
    /// A newer manifest by the same key was seen before: this one is a replay.
    Replayed,
    /// The release is below the min_version that a key has set for this device.
    BelowMinVersion {
        /// That version.
        min_version: Name,
        /// The manifest's.
        offered: Name,
    },
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Downgrade { running, offered } => write!(
                f,
                "the manifest offers {offered}, which is older than the running {running}: a device never downgrades by itself, publish a higher version"
            ),
            Self::Board { expected, found } => {
                write!(
                    f,
                    "the release is for the board {found}, this device is a {expected}"
                )
            }
            Self::Project { expected, found } if expected.is_empty() => write!(
                f,
                "the release is of the project {found}, this device's firmware names none: give each product a prefix of its own, or set renamed_to in a release before"
            ),
            Self::Project { expected, found } => write!(
                f,
                "the release is of the project {found}, this device runs {expected}: give each product a prefix of its own, or set renamed_to in a release before"
            ),
            Self::Expired => write!(
                f,
                "the manifest has expired: publish the release again, with a later expiry"
            ),
            Self::Signature(error) => write!(f, "{error}"),
            Self::Channel { expected, found } => write!(
                f,
                "the release is signed for the channel {found}, this device follows {expected}"
            ),
            Self::Replayed => write!(
                f,
                "the manifest is older than one this device has seen: publish the release again"
            ),
            Self::BelowMinVersion {
                min_version,
                offered,
            } => write!(
                f,
                "the manifest offers {offered}, but this device accepts no version below {min_version} any more"
            ),
        }
    }
}

impl core::error::Error for ReleaseError {}
