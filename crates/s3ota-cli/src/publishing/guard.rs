//! The image that a channel serves now, and what of it the next one must not lose.
//!
//! What the image was is read from its own bytes, which are those that the manifest names by SHA-256, and not from a field
//! beside them: such a field is not signed, and whoever writes to the bucket could take it away. Bytes can only be taken
//! away as a whole, and then it is not known that there was no guard.

use s3ota_image::app::{Image, Verifier};
use s3ota_manifest::ManifestDocument;
use sha2::{Digest, Sha256};

use crate::bucket::channel;
use crate::error::CliError;
use crate::firmware;
use crate::s3::Store;

/// The most bytes of an image: the flash of the largest chips.
const MAX_IMAGE: u32 = 32 << 20;

/// Refuses an image without a boot guard where the release before on the channel had one, unless that is wanted. What else
/// some devices would refuse after that release is returned as warnings.
pub async fn may_replace(
    image: &Image,
    before: &ManifestDocument,
    channel: &str,
    drop_guard: bool,
    store: &Store,
    prefix: &str,
) -> Result<Vec<CliError>, CliError> {
    if before.sha256.is_some_and(|sha256| sha256.0 == image.sha256) {
        return Ok(Vec::new());
    }
    let Some(key) = channel::image_key(prefix, &before.version, before.sha256) else {
        return Ok(Vec::new());
    };
    let version = &before.version;
    let loses_guard = |problem: String| {
        let error = CliError::new("publish.guard", problem);
        error.hint(
            "let the firmware call the boot guard first of all, as the examples do, and publish that; \
             if its devices shall lose the guard, say --drop-guard",
        )
    };
    let found = image_at(store, &key, before).await?;
    match found {
        Found::Image(old) => {
            if old.guard.is_some() && image.guard.is_none() && !drop_guard {
                let message = format!(
                    "the image has no boot guard, and {version} before it on the channel {channel} has one: \
                     devices with a guard refuse it, and what takes it cannot go back from it"
                );
                return Err(loses_guard(message));
            }
            Ok(firmware::remarks_on_change(image, &old))
        }
        Found::Missing if image.guard.is_none() && !drop_guard => {
            let message = format!(
                "the image has no boot guard, and it cannot be told whether {version} before it on the channel {channel} has \
                 one: s3://{}/{key} is missing, or is not what the manifest names",
                store.bucket()
            );
            Err(loses_guard(message))
        }
        Found::Missing | Found::Other => Ok(Vec::new()),
    }
}

/// The same of a release that is there already and is to be another channel's, too. Where its image is missing no device can
/// take it, and what promotes it says so.
pub async fn may_be_promoted(
    offered: &ManifestDocument,
    before: &ManifestDocument,
    channel: &str,
    drop_guard: bool,
    store: &Store,
    prefix: &str,
) -> Result<Vec<CliError>, CliError> {
    let Some(key) = channel::image_key(prefix, &offered.version, offered.sha256) else {
        return Ok(Vec::new());
    };
    match image_at(store, &key, offered).await? {
        Found::Image(image) => {
            may_replace(&image, before, channel, drop_guard, store, prefix).await
        }
        Found::Other | Found::Missing => Ok(Vec::new()),
    }
}

/// What lies where a manifest's image should.
enum Found {
    Image(Box<Image>),
    /// What the manifest names, but no image.
    Other,
    /// Nothing, or something else.
    Missing,
}

async fn image_at(
    store: &Store,
    key: &str,
    manifest: &ManifestDocument,
) -> Result<Found, CliError> {
    let size = match manifest.size {
        Some(size) => u64::from(size),
        None => store.head(key).await?.map_or(0, |head| head.size),
    };
    if size == 0 || size > MAX_IMAGE.into() {
        return Ok(Found::Missing);
    }
    let Some(bytes) = store.get_start(key, size).await? else {
        return Ok(Found::Missing);
    };
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    if manifest.sha256.is_none_or(|sha256| sha256.0 != digest) {
        return Ok(Found::Missing);
    }
    let mut verifier = Verifier::new();
    let image = verifier.update(&bytes).and_then(|()| verifier.finish());
    Ok(image.map_or(Found::Other, |image| Found::Image(Box::new(image))))
}
