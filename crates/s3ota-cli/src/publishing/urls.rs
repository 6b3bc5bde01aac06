//! The URLs at which devices reach objects.

use std::time::Duration;

use s3ota_manifest::{HttpsUrl, ManifestDocument, Timestamp, layout};

use super::ReleaseOptions;
use crate::bucket::channel;
use crate::error::CliError;
use crate::s3::{self, Location, Store};

/// The URLs at which devices reach objects.
pub struct Urls<'a> {
    /// The bucket.
    pub store: &'a Store,
    /// How they are made.
    pub options: &'a ReleaseOptions,
}

impl Urls<'_> {
    /// A URL that works as long as anyone may read the object.
    pub async fn lasting(&self, key: &str) -> Result<String, CliError> {
        match &self.options.public_url {
            Some(base) => Ok(format!(
                "{}/{}",
                base.strip_suffix('/').unwrap_or(base),
                layout::url_path(key)
            )),
            None => Ok(over_tls(self.store.object_url(key).await?)),
        }
    }

    /// The URL for devices: pre-signed, if that is wanted.
    pub async fn for_devices(&self, key: &str) -> Result<String, CliError> {
        let Some(good_for) = self.options.presign else {
            return self.lasting(key).await;
        };
        presigned_url(self.store, key, good_for).await
    }
}

/// A pre-signed URL of an object that fits into devices.
pub async fn presigned_url(
    store: &Store,
    key: &str,
    good_for: Duration,
) -> Result<String, CliError> {
    let url = over_tls(store.presign_get(key, good_for).await?);
    HttpsUrl::parse(&url).map_err(|error| {
        CliError::new(
            "publish.presign",
            format!(
                "{error}: devices have no room for it; it has {} bytes",
                url.len()
            ),
        )
        .hint("use a shorter prefix, or credentials with a shorter session token")
    })?;
    Ok(url)
}

/// `, valid until DATE` for a URL that expires; empty for one that does not.
pub fn valid_until(url: &str) -> String {
    s3::presigned_until(url)
        .and_then(Timestamp::from_unix_seconds)
        .map_or_else(String::new, |end| format!(", valid until {end}"))
}

/// The object with the image. Its name follows from what is signed, not from the manifest's URL, which anyone could have changed who
/// can write to the bucket.
pub fn image_to_renew(
    manifest: &ManifestDocument,
    location: &Location,
) -> Result<String, CliError> {
    channel::image_key(&location.prefix, &manifest.version, manifest.sha256).ok_or_else(|| {
        CliError::new(
            "presign.nothing",
            "the manifest has no sha256, so it was not written by s3ota",
        )
        .hint("only releases made with `s3ota publish` can be renewed")
    })
}

/// Devices speak HTTPS only, so a manifest names an https URL even if the endpoint is http.
fn over_tls(url: String) -> String {
    match url.strip_prefix("http://") {
        Some(rest) => format!("https://{rest}"),
        None => url,
    }
}
