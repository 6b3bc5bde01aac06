//! The image that a channel serves now, and what the next one must not lose.
//!
//! The facts about that image are read from its own bytes, which the manifest names by SHA-256, and not from a field beside them:
//! such a field is not signed, and an attacker who can write to the bucket could remove it. The bytes can only be removed as a
//! whole, and then nobody can claim that there was no guard.

use s3ota_image::app::Image;
use s3ota_manifest::ManifestDocument;
use sha2::{Digest, Sha256};

use crate::bucket::channel;
use crate::error::CliError;
use crate::firmware;
use crate::s3::{self, Archived, Store};

/// Refuses an image without a boot guard where the release before on the channel had one, unless that is wanted. Returns warnings
/// about anything else that some devices would refuse after that release.
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
            "call the boot guard first thing in the firmware, as the examples do, and publish that; \
             if the devices are meant to lose the guard, use --drop-guard",
        )
    };
    let found = image_at(store, &key, before).await?;
    match found {
        Found::Image(old) => {
            if old.guard.is_some() && image.guard.is_none() && !drop_guard {
                let message = format!(
                    "the image has no boot guard, but {version} before it on the channel {channel} has one: \
                     devices with a guard refuse it, and others cannot roll back from it"
                );
                return Err(loses_guard(message));
            }
            Ok(firmware::remarks_on_change(image, &old))
        }
        Found::Archived(archived) if image.guard.is_none() && !drop_guard => {
            let what = format!(
                "the image has no boot guard, and whether {version} before it on the channel {channel} has one is not known: the image of \
                 {version}"
            );
            let error = store.archived(&what, &key, &archived).await;
            Err(error.hint(
                "call the boot guard first thing in the firmware, as the examples do, and publish that. To compare with the image before, \
                 publish that one again under its version, or restore it: `aws s3api restore-object`",
            ))
        }
        Found::Missing if image.guard.is_none() && !drop_guard => {
            let message = format!(
                "the image has no boot guard, and whether {version} before it on the channel {channel} has one is not known: \
                 s3://{}/{key} is missing, or is not what the manifest names",
                store.bucket()
            );
            Err(loses_guard(message))
        }
        Found::Missing | Found::Archived(_) | Found::Other => Ok(Vec::new()),
    }
}

/// The same for an existing release that is to be released on another channel, too. If its image is missing, no device can take it,
/// and the promotion reports that.
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
        Found::Other | Found::Archived(_) | Found::Missing => Ok(Vec::new()),
    }
}

/// What is where a manifest's image should be.
enum Found {
    Image(Box<Image>),
    /// What the manifest names, but not an image.
    Other,
    /// An object that nobody can read.
    Archived(Archived),
    /// Nothing, or something else.
    Missing,
}

async fn image_at(
    store: &Store,
    key: &str,
    manifest: &ManifestDocument,
) -> Result<Found, CliError> {
    let head = match store.find(key).await? {
        s3::Found::Object(head) => head,
        s3::Found::Archived(archived, _) => return Ok(Found::Archived(archived)),
        s3::Found::Nothing => return Ok(Found::Missing),
    };
    let size = manifest.size.map_or(head.size, u64::from);
    if size == 0 || size > firmware::MAX_IMAGE.into() {
        return Ok(Found::Missing);
    }
    let Some(bytes) = store.get_start(key, size).await? else {
        return Ok(Found::Missing);
    };
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    if manifest.sha256.is_none_or(|sha256| sha256.0 != digest) {
        return Ok(Found::Missing);
    }
    let image = firmware::verify(&bytes);
    Ok(image.map_or(Found::Other, |image| Found::Image(Box::new(image))))
}
