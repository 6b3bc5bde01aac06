//! The contract in the bucket: what an s3ota publisher writes and a device reads.
//!
//! A *manifest* is a small JSON document that names a release. Two fields are enough, and any tool
//! or a text editor can make it; everything else is optional. [`Manifest::parse`] reads it on the
//! device without any allocation: strings are unescaped in place, in the buffer the document was
//! downloaded into, and the manifest borrows from that buffer.
//!
//! ```
//! use s3ota_manifest::{Manifest, Version};
//!
//! let mut document = *br#"{"version": "v1.10", "url": "https://bucket.s3.eu-west-1.amazonaws.com/app.bin"}"#;
//! let manifest = Manifest::parse(&mut document)?;
//!
//! assert!(manifest.version > Version::parse("1.9.3")?); // numbers, not strings
//! assert_eq!(manifest.url.host(), "bucket.s3.eu-west-1.amazonaws.com");
//! assert_eq!(manifest.url.path_and_query(), "/app.bin");
//! # Ok::<(), s3ota_manifest::ManifestError>(())
//! ```
//!
//! The parts, one subject a module:
//!
//! - [`Manifest`]: the fields, and the limits a document must keep. [`ManifestError`] names what is wrong.
//! - [`Version`]: semantic versions and their order, with the tolerance that hand-written ones need.
//! - [`HttpsUrl`]: where the image lies. There is no type for an `http://` URL.
//! - [`Rollout`] and [`Place`]: which devices a staged release reaches.
//! - [`Timestamp`]: when a manifest expires.
//! - [`Manifest::write_statement`]: the *release statement*, the bytes that a [`Signature`] signs.
//! - [`Manifest::verify`] and [`ReleaseKey`]: who signed it.
//! - `ManifestDocument` and `layout` (feature `alloc`): the publisher's side, writing manifests and
//!   naming the objects in the bucket.
//!
//! # What the reader refuses
//!
//! A manifest decides what runs, so no two readers may understand it differently. The reader is strict
//! about RFC 8259 and refuses what the RFC leaves open: a known key that appears twice (escaped or not:
//! `"ver\u0073ion"`), a byte order mark, anything after the document, lone surrogates, nesting deeper
//! than [`MAX_DEPTH`]. It does not recurse, so no document can exhaust the stack. Unknown fields are
//! skipped, whatever their shape, but they must be valid JSON too. No input makes it panic.

#![no_std]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

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
#[cfg(feature = "alloc")]
mod write;

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
pub use write::{ManifestDocument, SignatureDocument};
