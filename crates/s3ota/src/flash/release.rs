//! The name of a release on the device's own flash.

use s3ota_manifest::Manifest;
use sha2::{Digest, Sha256};

use crate::bytes;

/// What tells one release from another on a device's own flash: 12 bytes of a SHA-256.
///
/// With a hash in the manifest it is made from that: the same bytes are the same release. Without, from the version and
/// the path of the URL, so that a URL signed again, or another name for the same bucket, is no new release.
// Aligned, because it is copied often: three words instead of twelve bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(4))]
pub(crate) struct ReleaseId([u8; 12]);

impl ReleaseId {
    #[inline(never)]
    pub(crate) fn of(manifest: &Manifest<'_>) -> Self {
        if let Some(sha256) = &manifest.sha256 {
            return Self::of_bytes(sha256.as_bytes());
        }
        let mut hash = Sha256::new();
        let path = manifest.url.path_and_query();
        hash.update(b"s3ota-release-id-v1\npath\n");
        hash.update(path.split('?').next().unwrap_or(path));
        hash.update(b"\n");
        // The version in its canonical form, without an allocation.
        let _ = core::fmt::write(&mut Absorb(&mut hash), format_args!("{}", manifest.version));
        Self::cut(hash)
    }

    /// The release of the image with this SHA-256, where its manifest has that.
    #[inline(never)]
    pub(crate) fn of_bytes(sha256: &[u8; 32]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"s3ota-release-id-v1\nsha256\n");
        hash.update(sha256);
        Self::cut(hash)
    }

    fn cut(hash: Sha256) -> Self {
        let digest: [u8; 32] = hash.finalize().into();
        let mut id = [0; 12];
        bytes::copy(&[&digest], &mut id);
        Self(id)
    }

    pub(crate) fn from_bytes(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 12] {
        &self.0
    }
}

/// Lets formatted text run into a hash.
struct Absorb<'a>(&'a mut Sha256);

impl core::fmt::Write for Absorb<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0.update(text);
        Ok(())
    }
}
