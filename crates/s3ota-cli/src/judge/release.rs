//! Would a device take this release? Files are first put on a development server.

use std::fs;
use std::path::Path;
use std::time::Duration;

use s3ota::manifest::{MAX_DOCUMENT, Manifest, ManifestDocument, layout};
use s3ota::{Chip, Error, HttpError, NoUpdate, ReleaseKey};
use s3ota_devserver::DevServer;
use serde_json::json;

use super::artefacts::{self, Bases};
use super::doctor::warn_of_features;
use super::rehearsal::{self, Rehearsal};
use crate::error::CliError;
use crate::output::{self, Output};
use crate::s3::development::{bucket_on, start_for_now};
use crate::s3::{self, Location, Probe, Store, Upload};
use crate::text;

/// How long a URL is good for that was pre-signed for this command.
const LOOK: Duration = Duration::from_secs(15 * 60);

/// The configuration of the device.
pub struct Terms<'a> {
    /// The keys that it trusts. Without any, it checks no signature.
    pub release_keys: &'a [ReleaseKey],
    /// Its chip; by default the one that the manifest names.
    pub chip: Option<&'a str>,
    /// Its board name; by default the one that the manifest names.
    pub board: Option<&'a str>,
    /// Its channel; by default the one that the URL ends with, or that the file names.
    pub channel: Option<&'a str>,
}

/// A release to judge, and where the device finds it.
pub struct Case {
    /// The manifest.
    json: Vec<u8>,
    manifest_url: String,
    /// The channel of the device, if the URL does not name it.
    channel: Option<String>,
    /// Roots to trust besides those built in.
    roots: Vec<Vec<u8>>,
    /// Whether there is an image to check.
    has_image: bool,
    /// The server for files.
    server: Option<DevServer>,
    /// Asks for reasons that a device does not read.
    probe: Option<Probe>,
    /// The bucket, if the user has named that.
    bases: Option<Bases>,
}

impl Case {
    /// A manifest on a server.
    pub async fn at_url(
        url: &str,
        ca: Option<&Path>,
        roots: Vec<Vec<u8>>,
        has_image: bool,
    ) -> Result<Self, CliError> {
        let probe = Probe::trusting(ca)?;
        Ok(Self {
            json: probe.get(url, MAX_DOCUMENT).await?,
            manifest_url: url.to_owned(),
            channel: None,
            roots,
            has_image,
            server: None,
            probe: Some(probe),
            bases: None,
        })
    }

    /// The same with the bucket that the URL leads to.
    pub fn with_bases(self, bases: Option<Bases>) -> Self {
        Self { bases, ..self }
    }

    /// Files, on a server for them alone. The manifest's URL is not signed: it is set to where the image is now.
    pub async fn of_files(manifest: &Path, image: Option<&Path>) -> Result<Self, CliError> {
        let read = |path: &Path| fs::read(path).map_err(|error| CliError::file(path, &error));
        // As it is, since devices get it so.
        let json = read(manifest)?;
        let mut document = ManifestDocument::parse(&json).map_err(|error| {
            let refused = CliError::new(error.code(), format!("{}: {error}", manifest.display()));
            if text::decoded(json.clone()) == json {
                return refused;
            }
            refused.hint("the file begins with a byte order mark, which devices do not read: save it as UTF-8 without one")
        })?;
        let image = image.map(read).transpose()?;
        let (server, credentials) = start_for_now().await?;
        let store = bucket_on(&server, &credentials, &"s3://files".parse()?).await?;
        let url = format!("{}/files", server.endpoint_url());
        document.url = format!("{url}/image.bin");
        // They are not in the files.
        document.deltas.clear();
        document.compressed = None;
        store
            .put(
                &Upload::manifest("manifest.json", &document.to_json()?),
                |_| {},
            )
            .await?;
        if let Some(image) = &image {
            let image = Upload {
                bytes: image.clone().into(),
                content_type: layout::IMAGE_CONTENT_TYPE,
                ..Upload::manifest("image.bin", "")
            };
            store.put(&image, |_| {}).await?;
        }
        Ok(Self {
            json,
            manifest_url: format!("{url}/manifest.json"),
            // The name of the file means nothing.
            channel: document.channel,
            roots: vec![server.ca_der().to_vec()],
            has_image: image.is_some(),
            server: Some(server),
            probe: None,
            bases: None,
        })
    }

    /// Lets a device decide.
    pub async fn judge(mut self, terms: &Terms<'_>, out: &Output) -> Result<(), CliError> {
        let judged = self.play(terms, out).await;
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
        judged
    }

    /// A device's error; where a server refused, by the reason that it gives.
    async fn reason(&self, error: Error, image: &str) -> CliError {
        let said = match (&self.probe, &error) {
            (Some(probe), Error::Http(HttpError::Status { .. })) => probe.refusal(image).await,
            _ => None,
        };
        said.unwrap_or_else(|| error.into())
    }

    async fn play(&self, terms: &Terms<'_>, out: &Output) -> Result<(), CliError> {
        let mut json = self.json.clone();
        let manifest = Manifest::parse(&mut json)?;
        tell(&manifest, out);
        let name = terms.chip.or(manifest.chip).unwrap_or("esp32c3");
        let chip: Chip = name
            .parse()
            .map_err(|_| CliError::new("image.chip", format!("there is no chip called {name}")))?;
        let id = rehearsal::id_in_rollout(&manifest);
        let is_rolled_out = id.is_some();
        let device = Rehearsal {
            manifest_url: &self.manifest_url,
            device_id: id.as_deref().unwrap_or_default(),
            chip,
            project: manifest.project,
            board: terms.board.or(manifest.board),
            channel: terms.channel.or(self.channel.as_deref()),
            release_keys: terms.release_keys,
            roots: rehearsal::trusting(&self.roots)?,
            attempts: 3,
            size: manifest.size,
        };
        let nothing = match device.play(self.has_image && is_rolled_out).await? {
            Ok(nothing) => nothing,
            Err(error) => return Err(self.reason(error, manifest.url.as_str()).await),
        };
        match nothing {
            None | Some(NoUpdate::NotInRollout) => {}
            Some(reason) => {
                return Err(CliError::new(
                    "verify.nothing",
                    format!("a device would find nothing to do: {reason:?}"),
                ));
            }
        }
        let keyid = manifest
            .signature
            .filter(|_| !terms.release_keys.is_empty())
            .map(|signature| signature.keyid);
        let image = self.has_image && is_rolled_out;
        if let (Some(probe), true) = (&self.probe, image) {
            artefacts::check(&manifest, probe, self.bases.as_ref(), out).await?;
        }
        let checked = match (keyid, image) {
            (Some(key), true) => {
                format!("the signature of the key {key}, the manifest and the whole image")
            }
            (Some(key), false) => {
                format!("the signature of the key {key} and the manifest, but no image")
            }
            (None, true) => "the manifest and the whole image, but no signature".to_owned(),
            (None, false) => "the manifest, but no signature and no image".to_owned(),
        };
        out.say(output::fact("checked", 9, checked));
        if !is_rolled_out {
            out.warning(&CliError::new(
                "verify.rollout",
                "the rollout includes no device, so none would download the image yet",
            ));
        }
        // Files are on a server of our own.
        if self.server.is_none() {
            let urls = [self.manifest_url.as_str(), manifest.url.as_str()];
            warn_of_features(&urls, &self.roots, out).await?;
        }
        out.say("verified  a device would take it");
        out.event(
            "verified",
            json!({ "version": manifest.version.to_string(), "keyid": keyid, "image": image }),
        );
        Ok(())
    }
}

/// The URL at which devices find a channel's manifest: for a private bucket, one that is pre-signed for this command.
pub async fn manifest_url(
    store: &Store,
    location: &Location,
    channel: &str,
) -> Result<String, CliError> {
    let key = layout::channel_key(&location.prefix, channel)
        .map_err(|error| CliError::new("s3.url", error.to_string()).usage())?;
    let Some(object) = store.get(&key).await? else {
        let message = format!("there is no s3://{}/{key}", location.bucket);
        return Err(CliError::new("manifest.missing", message).hint(format!(
            "`s3ota status {location}` shows the channels there; name one with --channel"
        )));
    };
    let manifest = ManifestDocument::parse(&object.bytes).ok();
    match manifest.and_then(|manifest| s3::presigned_until(&manifest.url)) {
        Some(_) => store.presign_get(&key, LOOK).await,
        None => store.object_url(&key).await,
    }
}

/// Prints the fields of a manifest.
fn tell(manifest: &Manifest<'_>, out: &Output) {
    let show = |value: Option<&dyn std::fmt::Display>| value.map(ToString::to_string);
    let sha256 = manifest.sha256.map(|sha256| sha256.to_string());
    let lines = [
        ("project", manifest.project.map(str::to_owned)),
        ("chip", manifest.chip.map(str::to_owned)),
        ("board", manifest.board.map(str::to_owned)),
        ("channel", manifest.channel.map(str::to_owned)),
        (
            "rollout",
            manifest.rollout.map(|rollout| format!("{rollout}%")),
        ),
        ("size", manifest.size.map(|size| output::bytes(size.into()))),
        ("sha256", sha256.clone()),
        (
            "least",
            manifest.min_version.map(|version| version.to_string()),
        ),
        (
            "serial",
            show(manifest.serial.as_ref().map(|serial| serial as _)),
        ),
        (
            "expires",
            show(manifest.expires.as_ref().map(|expires| expires as _)),
        ),
        (
            "downgrade",
            manifest
                .downgrade
                .then(|| "devices may go back to it".to_owned()),
        ),
        (
            "signature",
            manifest
                .signature
                .map(|signature| format!("names the key {}", signature.keyid)),
        ),
    ];
    out.say(output::fact("version", 9, manifest.version));
    for (name, value) in lines {
        if let Some(value) = value {
            out.say(output::fact(name, 9, value));
        }
    }
    out.event(
        "manifest",
        json!({
            "version": manifest.version.to_string(), "project": manifest.project, "chip": manifest.chip, "board": manifest.board,
            "channel": manifest.channel, "rollout": manifest.rollout.map(|rollout| rollout.to_string()), "size": manifest.size,
            "sha256": sha256, "min_version": manifest.min_version.map(|version| version.to_string()),
            "serial": manifest.serial, "expires": manifest.expires.map(|expires| expires.to_string()),
            "downgrade": manifest.downgrade, "keyid": manifest.signature.map(|signature| signature.keyid),
            "url": manifest.url.as_str(),
        }),
    );
}
