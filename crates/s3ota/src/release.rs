//! The decision: is this release one for this device, now?

use core::cmp::Ordering;

use s3ota_manifest::{Manifest, Place, Version};
use sha2::{Digest, Sha256};

use crate::error::{Name, cut};
use crate::layout::Slot;
use crate::{Config, Error, FirmwareError, NoUpdate, ReleaseError};

/// What tells one release from another on a device's own flash: 12 bytes of a SHA-256.
///
/// With a hash in the manifest it is made from that: the same bytes are the same release. Without, from the version and
/// the path of the URL, so that a URL signed again, or another name for the same bucket, is no new release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReleaseId([u8; 12]);

impl ReleaseId {
    pub(crate) fn of(manifest: &Manifest<'_>) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"s3ota-release-id-v1\n");
        if let Some(sha256) = &manifest.sha256 {
            hash.update(b"sha256\n");
            hash.update(sha256.as_bytes());
        } else {
            let path = manifest.url.path_and_query();
            hash.update(b"path\n");
            hash.update(path.split('?').next().unwrap_or(path));
            hash.update(b"\n");
            // The version in its canonical form, without an allocation.
            let _ = core::fmt::write(&mut Absorb(&mut hash), format_args!("{}", manifest.version));
        }
        let digest: [u8; 32] = hash.finalize().into();
        let mut id = [0; 12];
        id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
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

/// What the device knows when it decides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    /// The release that is running, as far as otadata knows.
    pub(crate) running: Option<ReleaseId>,
    /// Whether the release offered was tried before and given up.
    pub(crate) has_failed: bool,
    /// Seconds since the epoch, if known.
    pub(crate) now: Option<u64>,
    /// Where the image would go.
    pub(crate) target: Slot,
}

/// Decides about a manifest: `Ok(None)` is to install it, `Ok(Some(_))` why there is nothing to do, and an error why
/// the release is refused.
pub(crate) fn decide(
    manifest: &Manifest<'_>,
    id: ReleaseId,
    config: &Config<'_>,
    facts: &Facts,
) -> Result<Option<NoUpdate>, Error> {
    if let Some(chip) = manifest.chip
        && chip != config.chip.name()
    {
        return Err(FirmwareError::Chip {
            expected: config.chip,
            found: cut(chip),
        }
        .into());
    }
    if let (Some(expected), Some(found)) = (config.board, manifest.board)
        && expected != found
    {
        return Err(ReleaseError::Board {
            expected: cut(expected),
            found: cut(found),
        }
        .into());
    }
    if let (Some(expires), Some(now)) = (manifest.expires, facts.now)
        && expires.unix_seconds() <= now
    {
        return Err(ReleaseError::Expired.into());
    }
    let running = Version::parse(config.version).map_err(Error::Config)?;
    match manifest.version.cmp(&running) {
        Ordering::Equal => return Ok(Some(NoUpdate::UpToDate)),
        Ordering::Less => {
            let error = ReleaseError::Downgrade {
                running: show(&running),
                offered: show(&manifest.version),
            };
            return Err(error.into());
        }
        Ordering::Greater => {}
    }
    // An image whose own idea of its version differs from the manifest's must not be installed again and again.
    if facts.running == Some(id) {
        return Ok(Some(NoUpdate::UpToDate));
    }
    if facts.has_failed {
        return Ok(Some(NoUpdate::FailedBefore));
    }
    if let Some(rollout) = manifest.rollout
        && !rollout.includes(Place::of(config.device_id.as_bytes(), manifest))
    {
        return Ok(Some(NoUpdate::NotInRollout));
    }
    if let Some(size) = manifest.size
        && size > facts.target.size
    {
        return Err(FirmwareError::TooLarge {
            size: size.into(),
            slot: facts.target.size,
        }
        .into());
    }
    Ok(None)
}

/// A version in its canonical form, cut where an error message has no room for more.
pub(crate) fn show(version: &Version<'_>) -> Name {
    let mut text = Name::new();
    let _ = core::fmt::write(&mut text, format_args!("{version}"));
    text
}
