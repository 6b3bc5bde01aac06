//! Checks a bucket the way a device will see it, and says what would stop one and how to fix it.
//!
//! | file | what it checks |
//! |---|---|
//! | `address.rs` | URLs before any request: https, the host's name, the expiry of a pre-signed one |
//! | `client.rs` | downloads with the device's own TLS and HTTP clients, and keeps the whole answer |
//! | `answer.rs` | names, TLS, status, redirects, headers |
//! | `manifest.rs` | the manifest: can it be read, will devices accept it |
//! | `image.rs` | the image: is it what the manifest says, can an interrupted download resume |
//! | `logs.rs` | the access log: is it on, does it arrive |
//! | `features.rs` | the features that a firmware needs for the servers' certificates |
//!
//! At the end the virtual device in `judge/rehearsal.rs` installs the release. Findings go to the `Report` in `finding.rs`.

mod address;
mod answer;
mod client;
mod features;
mod finding;
mod image;
mod logs;
mod manifest;

use std::time::Duration;

use s3ota::ReleaseKey;
use s3ota_manifest::{MAX_DOCUMENT, Manifest, ManifestDocument, Version, layout};
use serde_json::json;

use self::answer::Advice;
use self::client::Client;
pub use self::features::warn as warn_of_features;
use self::finding::Report;
use self::image::Kind;
use self::manifest::Release;
use super::rehearsal::{self, Rehearsal};
use crate::bucket::channel;
use crate::error::CliError;
use crate::output::Output;
use crate::s3::{Location, S3Args, Store, presigned_until};

/// The subject of findings about the device.
const DEVICE: &str = "device";

/// The lifetime of the URL that is pre-signed to check a private bucket.
const LOOK: Duration = Duration::from_secs(15 * 60);

/// An examination: as which device, and its report.
pub struct Examination {
    client: Client,
    /// The release keys that devices have.
    keys: Vec<ReleaseKey>,
    /// The devices' board name.
    board: Option<String>,
    report: Report,
}

/// A channel in a bucket.
pub struct Target<'a> {
    /// Where the releases are.
    pub location: &'a Location,
    /// The channel.
    pub channel: &'a str,
    /// Where devices reach the bucket, if not at the S3 service itself.
    pub public_url: Option<&'a str>,
    /// The S3 service and the credentials.
    pub s3: &'a S3Args,
}

impl Examination {
    /// An examination as a device with these roots, keys and board.
    pub fn new(
        roots: Vec<Vec<u8>>,
        keys: Vec<ReleaseKey>,
        board: Option<String>,
        out: &Output,
    ) -> Result<Self, CliError> {
        Ok(Self {
            client: Client::new(roots)?,
            keys,
            board,
            report: Report::new(*out),
        })
    }

    /// Examines the URL of a manifest. Fails if something would stop a device.
    pub async fn of_url(mut self, url: &str) -> Result<(), CliError> {
        let advice = Advice::for_url(url);
        self.examine_url(url, &advice, None).await?;
        self.report.conclude()
    }

    /// Examines a channel in a bucket. Fails if something would stop a device.
    pub async fn of_bucket(mut self, target: &Target<'_>) -> Result<(), CliError> {
        self.examine_bucket(target).await?;
        self.report.conclude()
    }

    /// Finds the URL that the devices of a channel are given, and examines it.
    async fn examine_bucket(&mut self, target: &Target<'_>) -> Result<(), CliError> {
        let Target {
            location,
            channel,
            public_url,
            s3,
        } = target;
        let report = &mut self.report;
        let elsewhere = s3.endpoint_url.is_some() || public_url.is_some();
        if location.bucket.contains('.') && !elsewhere {
            address::report_dots(report, "bucket", &location.bucket);
            return Ok(());
        }
        let key = layout::channel_key(&location.prefix, channel)
            .map_err(|error| CliError::new("s3.url", error.to_string()).usage())?;
        let store = Store::connect(s3, location, None).await?;
        let Some(object) = store.get(&key).await? else {
            let message = format!("there is no s3://{}/{key}", location.bucket);
            let fix = format!(
                "publish a release with `s3ota publish FIRMWARE {location} --channel {channel}`, or check the prefix and --channel"
            );
            report.fault("bucket", "manifest.missing", message, fix);
            return Ok(());
        };
        report.good("bucket", format!("s3://{}/{key} exists", location.bucket));
        logs::examine(report, &store, location).await;

        let manifest = ManifestDocument::parse(&object.bytes).ok();
        let is_presigned = manifest
            .as_ref()
            .is_some_and(|manifest| presigned_until(&manifest.url).is_some());
        let url = match public_url {
            Some(base) => format!(
                "{}/{}",
                base.strip_suffix('/').unwrap_or(base),
                layout::url_path(&key)
            ),
            None if is_presigned => {
                report.note(
                    "bucket",
                    "the release is for a private bucket: checked with a URL that is pre-signed now. `s3ota doctor URL` with the devices' own \
                     URL shows when that expires",
                );
                store.presign_get(&key, LOOK).await?
            }
            None => store.object_url(&key).await?,
        };
        // Without permission to list the bucket, S3 says 403, not 404. With credentials the two can be told apart.
        if let Some(manifest) = manifest
            && let Some(image) = image_key(&manifest, location)
            && let Some(lack) = channel::lack_of(&store, &manifest.version, &image).await?
        {
            let code = match lack.code {
                "release.image" => "http.missing",
                code => code,
            };
            let fix = lack.hint.unwrap_or_default();
            report.fault("image", code, lack.message, fix);
            return Ok(());
        }
        let advice = Advice::for_bucket(&store, location, *public_url, is_presigned);
        self.examine_url(&url, &advice, Some(&object.bytes)).await
    }

    /// Examines what a device with this URL meets. `stored` is what the bucket holds there, if that is known.
    async fn examine_url(
        &mut self,
        url: &str,
        advice: &Advice,
        stored: Option<&[u8]>,
    ) -> Result<(), CliError> {
        let release = self.examine_release(url, advice, stored).await;
        let image = release.as_ref().map(|(_, kind)| kind.image.as_slice());
        features::examine(&self.client, &mut self.report, image);
        // A device reports only its first problem, and all of them have been reported.
        if let Some((release, kind)) = release
            && !self.report.has_faults()
        {
            self.rehearse(url, &release, &kind).await?;
        }
        Ok(())
    }

    /// Examines manifest and image. Returns them if a device could take them as they are.
    async fn examine_release(
        &mut self,
        url: &str,
        advice: &Advice,
        stored: Option<&[u8]>,
    ) -> Option<(Release, Kind)> {
        let report = &mut self.report;
        report.look_at("manifest", url);
        let is_own = advice.url_is_own;
        if !address::examine(report, "manifest", url, is_own) {
            return None;
        }
        let fetched = answer::fetch(
            &mut self.client,
            report,
            "manifest",
            url,
            advice,
            MAX_DOCUMENT,
        )
        .await?;
        answer::examine_manifest(&mut self.client, report, &fetched).await;
        if stored.is_some_and(|stored| stored != fetched.answer.body) {
            report.warning(
                "manifest",
                "http.stale",
                "devices are served another manifest than the bucket holds now",
                "wait until the cache in between expires, or invalidate it",
            );
        }
        let release = manifest::examine(report, url, fetched.answer.body, &self.keys)?;
        report.look_at("image", &release.url);
        if !address::examine(report, "image", &release.url, false) {
            return None;
        }
        let kind = image::examine(&mut self.client, report, &release, advice).await?;
        Some((release, kind))
    }

    /// Lets a virtual device install the release.
    async fn rehearse(
        &mut self,
        url: &str,
        release: &Release,
        kind: &Kind,
    ) -> Result<(), CliError> {
        let report = &mut self.report;
        let mut document = release.document.clone();
        let manifest = Manifest::parse(&mut document)?;
        let Some(device_id) = rehearsal::id_in_rollout(&manifest) else {
            report.note(DEVICE, "the rollout includes no device yet");
            return Ok(());
        };
        let out = *report.out();
        out.heading(format_args!(
            "device  a virtual {} with a firmware older than any release",
            kind.chip
        ));
        let device = Rehearsal {
            manifest_url: url,
            device_id: &device_id,
            chip: kind.chip,
            project: kind.project.as_deref(),
            board: self.board.as_deref().or(release.board.as_deref()),
            channel: None,
            release_keys: &self.keys,
            roots: self.client.roots(),
            attempts: 1,
            size: release.size,
        };
        match device.play(true).await? {
            Ok(None) => report.good(
                DEVICE,
                format!(
                    "it downloads {}, checks it, writes it, and would restart into it",
                    release.version
                ),
            ),
            Ok(Some(_)) => report.note(DEVICE, "it finds nothing to do"),
            Err(error) => report.fault(
                DEVICE,
                error.code(),
                error.to_string(),
                "fix what the device reports; `s3ota device run` shows it step by step",
            ),
        }
        Ok(())
    }
}

/// The key of a release's image, if it is in this bucket under the name that the publisher gives it.
fn image_key(manifest: &ManifestDocument, location: &Location) -> Option<String> {
    let version = Version::parse(&manifest.version).ok()?;
    let key = layout::image_key(&location.prefix, &version, &manifest.sha256?).ok()?;
    let path = manifest.url.split('?').next()?;
    path.ends_with(&format!("/{}", layout::url_path(&key)))
        .then_some(key)
}

impl Report {
    /// Announces what is checked next.
    fn look_at(&self, what: &'static str, url: &str) {
        let shown = url.split('?').next().unwrap_or(url);
        self.out().heading(format_args!("{what}  {shown}"));
        self.out()
            .event("examining", json!({ "what": what, "url": url }));
    }
}
