#![doc = include_str!("../README.md")]
#![no_std]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(feature = "delta")]
mod artefacts;
mod digest;
mod error;
mod json;
mod manifest;
mod rollout;
mod signature;
mod statement;
mod timestamp;
mod url;
mod version;

#[cfg(feature = "alloc")]
pub mod layout;
pub mod user_agent;
#[cfg(feature = "alloc")]
mod write;

#[cfg(feature = "delta")]
pub use artefacts::{Artefact, Delta, MAX_DELTAS};
pub use digest::{Sha256Digest, Sha256Error};
pub use error::{ManifestError, TextProblem};
pub use json::MAX_DEPTH;
pub use manifest::{
    MAX_BOARD, MAX_CHANNEL, MAX_CHIP, MAX_DOCUMENT, MAX_KEYID, MAX_PROJECT, MAX_SIGNATURE,
    Manifest, Signature,
};
pub use rollout::{Place, Rollout, RolloutError};
pub use signature::{KeyId, ReleaseKey, SignatureError};
pub use statement::STATEMENT_HEADER;
pub use timestamp::{Timestamp, TimestampError};
pub use url::{HttpsUrl, MAX_URL, UrlError};
pub use version::{MAX_VERSION, Version, VersionError};
#[cfg(feature = "alloc")]
pub use write::{ArtefactDocument, DeltaDocument, ManifestDocument, SignatureDocument};
