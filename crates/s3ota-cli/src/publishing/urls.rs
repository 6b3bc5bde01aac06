//! The URLs at which devices reach objects.

use std::mem;
use std::time::Duration;

use s3ota_manifest::{ArtefactDocument, HttpsUrl, ManifestDocument, Timestamp, layout};

use super::ReleaseOptions;
use crate::bucket::{artefacts, channel};
use crate::error::CliError;
use crate::s3::{self, Location, Store};

/// The URLs at which devices reach objects.
pub struct Urls<'a> {
    store: &'a Store,
    presign: Option<Duration>,
    public_url: Option<String>,
}

impl<'a> Urls<'a> {
    /// Those of a release.
    pub fn of(store: &'a Store, options: &ReleaseOptions) -> Self {
        Self {
            store,
            presign: options.presign,
            public_url: options.public_url.clone(),
        }
    }

    /// Those of a release whose image, the object `key`, has this URL.
    pub fn like(store: &'a Store, presign: Option<Duration>, url: &str, key: &str) -> Self {
        let place = url.strip_suffix(&format!("/{}", layout::url_path(key)));
        Self {
            store,
            presign,
            public_url: place.map(str::to_owned),
        }
    }

    /// A URL that works as long as anyone may read the object.
    pub async fn lasting(&self, key: &str) -> Result<String, CliError> {
        match &self.public_url {
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
        let Some(good_for) = self.presign else {
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

/// Gives the artefacts of a manifest fresh pre-signed URLs. Those that are not ours, or whose URL would not fit, are left out: no
/// device needs them.
pub async fn presign_artefacts(
    store: &Store,
    prefix: &str,
    manifest: &mut ManifestDocument,
    good_for: Duration,
) {
    let version = manifest.version.clone();
    for mut delta in mem::take(&mut manifest.deltas) {
        if let Some(url) = fresh(store, prefix, &version, &delta.artefact, good_for).await {
            delta.artefact.url = url;
            manifest.deltas.push(delta);
        }
    }
    if let Some(mut compressed) = manifest.compressed.take()
        && let Some(url) = fresh(store, prefix, &version, &compressed, good_for).await
    {
        compressed.url = url;
        manifest.compressed = Some(compressed);
    }
    artefacts::fit(manifest);
}

async fn fresh(
    store: &Store,
    prefix: &str,
    version: &str,
    artefact: &ArtefactDocument,
    good_for: Duration,
) -> Option<String> {
    let key = artefacts::key(prefix, version, artefact)?;
    presigned_url(store, &key, good_for).await.ok()
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
