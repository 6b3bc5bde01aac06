//! `s3ota doctor`: looks at a bucket the way a device will, and says what it would stumble over and how to mend it.
//!
//! | file | what it looks at |
//! |---|---|
//! | `address.rs` | URLs before anyone is asked: https, the host's name, how long a pre-signed one is good for |
//! | `client.rs` | fetches over the device's own TLS client, and keeps the whole answer |
//! | `answer.rs` | names, TLS, status, redirects, headers |
//! | `manifest.rs` | the manifest: can it be read, will it be believed |
//! | `image.rs` | the image: is it what the manifest says, can a cut-off download go on |
//! | `rehearsal.rs` | a virtual device installs the release, by the code that runs on the chip |
//!
//! What is found goes to the `Report` in `finding.rs`.

mod address;
mod answer;
mod args;
mod client;
mod finding;
mod image;
mod manifest;
mod rehearsal;

use std::time::Duration;

use s3ota::ReleaseKey;
use s3ota_manifest::{MAX_DOCUMENT, ManifestDocument, Version, layout};
use serde_json::json;

use self::answer::Advice;
pub use self::args::DoctorArgs;
use self::client::Client;
use self::finding::Report;
use crate::certificates;
use crate::error::CliError;
use crate::keys;
use crate::output::Output;
use crate::s3::{Location, Store};

/// How long the URL is good for that is signed for looking into a private bucket.
const LOOK: Duration = Duration::from_secs(15 * 60);

/// Examines what the command line names. It fails if something would stop a device.
pub async fn run(args: DoctorArgs, out: &Output) -> Result<(), CliError> {
    let roots = match &args.s3.aws.ca {
        Some(path) if !path.as_os_str().is_empty() => certificates::read(path)?,
        _ => Vec::new(),
    };
    let keys = args.release_keys.iter().map(|path| keys::read_public(path));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    let mut patient = Patient {
        client: Client::new(roots)?,
        keys,
        board: args.board.clone(),
        report: Report::new(*out),
    };
    if args.target.starts_with("s3://") {
        let location = args.target.parse().map_err(CliError::usage)?;
        patient.examine_bucket(&args, &location).await?;
    } else {
        let advice = Advice::for_url(&args.target);
        patient.examine_url(&args.target, &advice, None).await?;
    }
    patient.report.conclude()
}

/// What is examined, and with what.
struct Patient {
    client: Client,
    /// Who may release, as the devices know them.
    keys: Vec<ReleaseKey>,
    /// The devices' board name.
    board: Option<String>,
    report: Report,
}

impl Patient {
    /// Finds out which URL the devices of a channel are given, and examines that.
    async fn examine_bucket(
        &mut self,
        args: &DoctorArgs,
        location: &Location,
    ) -> Result<(), CliError> {
        let report = &mut self.report;
        let elsewhere = args.s3.endpoint_url.is_some() || args.public_url.is_some();
        if location.bucket.contains('.') && !elsewhere {
            address::report_dots(report, "bucket", &location.bucket);
            return Ok(());
        }
        let key = layout::channel_key(&location.prefix, &args.channel)
            .map_err(|error| CliError::new("s3.url", error.to_string()).usage())?;
        let store = Store::connect(&args.s3, location, None).await?;
        let Some(object) = store.get(&key).await? else {
            let message = format!("there is no s3://{}/{key}", location.bucket);
            let fix = format!(
                "publish a release with `s3ota publish FIRMWARE {location} --channel {}`, or look at the prefix and --channel",
                args.channel
            );
            report.fault("bucket", "manifest.missing", message, fix);
            return Ok(());
        };
        report.good("bucket", format!("s3://{}/{key} is there", location.bucket));

        let manifest = ManifestDocument::parse(&object.bytes).ok();
        let is_presigned = manifest
            .as_ref()
            .is_some_and(|manifest| address::expiry(&manifest.url).is_some());
        let url = match &args.public_url {
            Some(base) => format!(
                "{}/{}",
                base.strip_suffix('/').unwrap_or(base),
                layout::url_path(&key)
            ),
            None if is_presigned => {
                report.note(
                    "bucket",
                    "the release is for a private bucket: looked at through a URL that is signed now. \
                     Of the devices' own URL say `s3ota doctor URL` how long it is good for",
                );
                store.presign_get(&key, LOOK).await?
            }
            None => store.object_url(&key).await?,
        };
        // S3 says 403, and not 404, to those who may not list the bucket. With credentials the two can be told apart.
        if let Some(image) = manifest.and_then(|manifest| image_key(&manifest, location))
            && store.head(&image).await?.is_none()
        {
            let message = format!(
                "the manifest names s3://{}/{image}, which is not there",
                location.bucket
            );
            report.fault(
                "image",
                "http.missing",
                message,
                "publish the release again",
            );
            return Ok(());
        }
        let advice = Advice::for_bucket(&store, location);
        self.examine_url(&url, &advice, Some(&object.bytes)).await
    }

    /// Examines what a device that is given this URL meets. `stored` is what the bucket holds under it, if that is known.
    async fn examine_url(
        &mut self,
        url: &str,
        advice: &Advice,
        stored: Option<&[u8]>,
    ) -> Result<(), CliError> {
        let report = &mut self.report;
        report.look_at("manifest", url);
        if !address::examine(report, "manifest", url) {
            return Ok(());
        }
        let Some(fetched) = answer::fetch(
            &mut self.client,
            report,
            "manifest",
            url,
            advice,
            MAX_DOCUMENT,
        )
        .await
        else {
            return Ok(());
        };
        answer::examine_manifest(&mut self.client, report, &fetched).await;
        if stored.is_some_and(|stored| stored != fetched.answer.body) {
            report.warning(
                "manifest",
                "http.stale",
                "devices are served another manifest than the bucket holds now",
                "wait as long as the cache in between keeps it, or invalidate it there",
            );
        }
        let Some(release) = manifest::examine(report, url, fetched.answer.body, &self.keys) else {
            return Ok(());
        };
        report.look_at("image", &release.url);
        if !address::examine(report, "image", &release.url) {
            return Ok(());
        }
        let kind = image::examine(&mut self.client, report, &release, advice).await;
        // A device says no more than its first trouble, and all of it has been said.
        if let Some(kind) = kind
            && !report.has_faults()
        {
            let board = self.board.as_deref().or(release.board.as_deref());
            let device = rehearsal::Device {
                url,
                kind,
                board,
                roots: self.client.roots(),
                keys: &self.keys,
            };
            rehearsal::play(report, &release, device).await?;
        }
        Ok(())
    }
}

/// The key of a release's image, where it lies in this bucket under the name the publisher gives it.
fn image_key(manifest: &ManifestDocument, location: &Location) -> Option<String> {
    let version = Version::parse(&manifest.version).ok()?;
    let key = layout::image_key(&location.prefix, &version, &manifest.sha256?).ok()?;
    let path = manifest.url.split('?').next()?;
    path.ends_with(&format!("/{}", layout::url_path(&key)))
        .then_some(key)
}

impl Report {
    /// Says what is looked at now.
    fn look_at(&self, what: &'static str, url: &str) {
        let shown = url.split('?').next().unwrap_or(url);
        self.out().heading(format_args!("{what}  {shown}"));
        self.out()
            .event("examining", json!({ "what": what, "url": url }));
    }
}
