//! Legacy clients: devices in the field whose library reads another manifest. This is what they are served.
//!
//! | client | what it reads |
//! |---|---|
//! | [esp32FOTA](https://github.com/chrisjoyce911/esp32FOTA) | `type`, `version`, `url` |
//! | [ESP32-OTA-Pull](https://github.com/mikalhart/ESP32-OTA-Pull) | `Configurations`, a list of `Board`, `Version`, `URL` |
//! | [AwsS3Ota](https://github.com/electroank/AwsS3Ota) | `version`, `url` |
//!
//! A channel's manifest names the legacy clients it serves, in the field `also`; their manifests lie beside it. A command that
//! changes the channel updates them afterwards (`Channel::update_legacy`).
//!
//! None of the three supports a rollout. So their manifests name a release only while it is for everyone: a release for 5 % of
//! the devices must not reach all of theirs.

use std::collections::BTreeSet;

use clap::ValueEnum;
use s3ota_manifest::{ManifestDocument, Rollout, Version, layout};
use serde_json::{Value, json};

use crate::error::CliError;
use crate::output::Output;

/// The field of a channel's manifest that names the clients.
const FIELD: &str = "also";

/// The size of esp32FOTA's JSON document: 2048 bytes, of which an object with three members takes 48, and the names and the
/// terminators of all texts 20 (`esp32FOTA.cpp`, `JSON_FW_BUFF_SIZE`; ArduinoJson 6 on 32 bits).
const ESP32FOTA_TEXTS: usize = 2048 - 48 - 20;

/// The longest URL of an image, URL of its own manifest, and version that AwsS3Ota accepts, in bytes (`AwsS3Ota.cpp`,
/// `MAX_FIRMWARE_URL_LEN` and `MAX_VERSION_LEN`; `AwsS3Ota.h`, `_manifestUrl`; each without the terminating zero). 1.x refuses
/// what is longer; 2.0 has room for 511 bytes of an image's URL, and truncates what is longer.
const AWS_S3_OTA_IMAGE_URL: usize = 255;
const AWS_S3_OTA_MANIFEST_URL: usize = 255;
const AWS_S3_OTA_VERSION: usize = 31;

/// A legacy client that a channel serves, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum LegacyClient {
    /// chrisjoyce911/esp32FOTA; its `type` is the --board, or else the project's name
    Esp32fota,
    /// mikalhart/ESP32-OTA-Pull; its `Board` is the --board, or else left out
    Esp32OtaPull,
    /// electroank/AwsS3Ota; it reads the channel's own manifest, but ignores rollouts
    AwsS3Ota,
}

impl LegacyClient {
    /// The clients that a channel's manifest names.
    pub fn of(manifest: &ManifestDocument) -> BTreeSet<Self> {
        let names = manifest.extra.get(FIELD).and_then(Value::as_array);
        Self::named(names.into_iter().flatten().filter_map(Value::as_str))
    }

    /// The clients that these names stand for; unknown names are skipped.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<Self> {
        names
            .into_iter()
            .filter_map(|name| Self::from_str(name, false).ok())
            .collect()
    }

    /// Writes their names into a channel's manifest.
    pub fn write_down(libraries: &BTreeSet<Self>, manifest: &mut ManifestDocument) {
        if libraries.is_empty() {
            manifest.extra.remove(FIELD);
        } else {
            let names: Vec<_> = libraries.iter().map(|library| library.name()).collect();
            manifest.extra.insert(FIELD.to_owned(), json!(names));
        }
    }

    /// Its name on the command line and in keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::Esp32fota => "esp32fota",
            Self::Esp32OtaPull => "esp32-ota-pull",
            Self::AwsS3Ota => "aws-s3-ota",
        }
    }

    /// The key of its manifest.
    pub fn key(self, prefix: &str, channel: &str) -> Result<String, CliError> {
        layout::older_key(prefix, channel, self.name())
            .map_err(|error| CliError::new("s3.url", error.to_string()))
    }

    /// Its manifest for what a channel serves.
    pub fn json(self, manifest: &ManifestDocument) -> String {
        let is_kept = Self::of(manifest).contains(&self);
        let document = if is_kept && is_for_everyone(manifest) {
            self.offer(manifest)
        } else {
            self.nothing()
        };
        format!("{document:#}\n")
    }

    fn offer(self, manifest: &ManifestDocument) -> Value {
        let ManifestDocument {
            version,
            url,
            board,
            ..
        } = manifest;
        match self {
            Self::Esp32fota => {
                json!({ "type": kind(manifest), "version": version, "url": url })
            }
            Self::Esp32OtaPull => {
                let mut configuration = json!({ "Version": version, "URL": url });
                if let Some(board) = board {
                    configuration["Board"] = json!(board);
                }
                json!({ "Configurations": [configuration] })
            }
            Self::AwsS3Ota => json!({ "version": version, "url": url }),
        }
    }

    /// A document in which it finds no release.
    fn nothing(self) -> Value {
        match self {
            Self::Esp32fota => json!([]),
            Self::Esp32OtaPull => json!({ "Configurations": [] }),
            Self::AwsS3Ota => json!({}),
        }
    }

    /// What its devices would get wrong about a release that is for everyone.
    fn misreads(self, manifest: &ManifestDocument) -> Option<(String, &'static str)> {
        let ManifestDocument { version, url, .. } = manifest;
        let parsed = Version::parse(version).ok()?;
        let parts = [parsed.major(), parsed.minor(), parsed.patch()];
        let has_suffix = version.contains(['-', '+']);
        match self {
            Self::Esp32fota if has_suffix => Some((
                format!("esp32FOTA reads {version} as 0.0.0, so none of its devices takes it"),
                "for its devices, use versions of three numbers only",
            )),
            Self::Esp32fota
                if kind(manifest).len() + version.len() + url.len() > ESP32FOTA_TEXTS =>
            {
                Some((
                    format!(
                        "esp32FOTA has no room for a manifest with a URL of {} bytes",
                        url.len()
                    ),
                    "use a shorter prefix, or a URL that is not signed",
                ))
            }
            Self::Esp32OtaPull if has_suffix || parts.iter().any(|part| *part > 9) => Some((
                format!(
                    "ESP32-OTA-Pull compares versions as text, and may take {version} for older than the one before"
                ),
                "keep each part of the version below 10, without a suffix, until its devices run a firmware with s3ota",
            )),
            Self::AwsS3Ota if version.len() > AWS_S3_OTA_VERSION => Some((
                format!(
                    "AwsS3Ota 1 accepts versions of at most {AWS_S3_OTA_VERSION} bytes, and 2.0 would install {version} again and again"
                ),
                "use a shorter version",
            )),
            Self::AwsS3Ota if url.len() > AWS_S3_OTA_IMAGE_URL => Some((
                format!(
                    "AwsS3Ota 1 accepts image URLs of at most {AWS_S3_OTA_IMAGE_URL} bytes, and 2.0 of at most 511; this one has {}",
                    url.len()
                ),
                "use a shorter prefix, or a URL that is not signed",
            )),
            _ => None,
        }
    }

    /// What is wrong with the manifest URL that its devices are given.
    pub fn refuses_url(self, manifest_url: &str) -> Option<CliError> {
        let cut = self == Self::AwsS3Ota && manifest_url.len() > AWS_S3_OTA_MANIFEST_URL;
        cut.then(|| {
            let message = format!(
                "AwsS3Ota keeps {AWS_S3_OTA_MANIFEST_URL} bytes of its manifest's URL, and this one has {}",
                manifest_url.len()
            );
            CliError::new("publish.older", message)
                .hint("use a shorter prefix, or a URL that is not signed")
        })
    }
}

/// Warns about what legacy clients will make of what a channel serves from now on.
pub fn warn(manifest: &ManifestDocument, out: &Output) {
    for library in LegacyClient::of(manifest) {
        let (message, hint) = if is_for_everyone(manifest) {
            match library.misreads(manifest) {
                Some(misread) => misread,
                None => continue,
            }
        } else {
            let message = format!(
                "legacy clients with {} are offered nothing until {} is for everyone: they do not support rollouts",
                library.name(),
                manifest.version
            );
            (message, "`s3ota rollout … 100%` offers it to them")
        };
        out.warning(&CliError::new("publish.older", message).hint(hint));
    }
}

fn is_for_everyone(manifest: &ManifestDocument) -> bool {
    manifest
        .rollout
        .is_none_or(|rollout| rollout == Rollout::EVERYONE)
}

/// What esp32FOTA calls the type of the device.
fn kind(manifest: &ManifestDocument) -> &str {
    let names = [&manifest.board, &manifest.project, &manifest.chip];
    let known = names.into_iter().flatten().next();
    known.map_or("firmware", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3ota_manifest::HttpsUrl;

    fn manifest(version: &str, url: &str) -> ManifestDocument {
        let url = HttpsUrl::parse(url).unwrap();
        let mut manifest = ManifestDocument::new(&Version::parse(version).unwrap(), &url);
        manifest.project = Some("lamp".into());
        manifest
    }

    fn misreads(library: LegacyClient, version: &str, url_length: usize) -> bool {
        let url = "https://b/";
        let url = format!("{url}{}", "x".repeat(url_length - url.len()));
        library.misreads(&manifest(version, &url)).is_some()
    }

    #[test]
    fn a_channel_remembers_its_clients_and_names_none_twice() {
        let mut manifest = manifest("1.0.0", "https://b/x");
        assert_eq!(LegacyClient::of(&manifest), BTreeSet::new());
        let libraries = BTreeSet::from([LegacyClient::AwsS3Ota, LegacyClient::Esp32fota]);
        LegacyClient::write_down(&libraries, &mut manifest);
        let read = ManifestDocument::parse(manifest.to_json().unwrap().as_bytes()).unwrap();
        assert_eq!(LegacyClient::of(&read), libraries);
        LegacyClient::write_down(&BTreeSet::new(), &mut manifest);
        assert!(manifest.extra.is_empty());
        // Names that another tool or a later version wrote are skipped.
        manifest
            .extra
            .insert(FIELD.into(), json!(["aws-s3-ota", "other", 7]));
        assert_eq!(
            LegacyClient::of(&manifest),
            BTreeSet::from([LegacyClient::AwsS3Ota])
        );
    }

    #[test]
    fn each_client_has_a_key_of_its_own() {
        for library in LegacyClient::value_variants() {
            assert_eq!(
                LegacyClient::from_str(library.name(), false).as_ref(),
                Ok(library),
                "the name in keys is that of the command line"
            );
        }
        assert_eq!(
            LegacyClient::Esp32fota.key("p", "stable").unwrap(),
            "p/older/stable.esp32fota.json"
        );
        assert_eq!(
            LegacyClient::Esp32OtaPull.key("", "beta").unwrap(),
            "older/beta.esp32-ota-pull.json"
        );
    }

    #[test]
    fn what_a_client_has_no_room_for_or_misreads_is_known() {
        use LegacyClient::{AwsS3Ota, Esp32OtaPull, Esp32fota};
        for library in LegacyClient::value_variants() {
            assert!(!misreads(*library, "1.9.9", 200));
        }
        for (library, version) in [
            (Esp32OtaPull, "1.10.0"),
            (Esp32OtaPull, "1.0.0-rc.1"),
            (Esp32fota, "1.0.0-rc.1"),
            (Esp32fota, "1.0.0+b7"),
            (AwsS3Ota, "1.0.0+a-build-of-thirty-two-bytes"),
        ] {
            assert!(misreads(library, version, 200), "{library:?} {version}");
        }
        assert!(!misreads(Esp32fota, "1.10.0", 200) && !misreads(AwsS3Ota, "1.10.0", 200));
        assert!(!misreads(AwsS3Ota, "1.0.0", 255) && misreads(AwsS3Ota, "1.0.0", 256));
        // `type` and the version take 9 bytes.
        assert!(!misreads(Esp32fota, "1.0.0", 1971) && misreads(Esp32fota, "1.0.0", 1972));
        assert!(AwsS3Ota.refuses_url(&"x".repeat(255)).is_none());
        assert!(AwsS3Ota.refuses_url(&"x".repeat(256)).is_some());
        assert!(Esp32fota.refuses_url(&"x".repeat(256)).is_none());
    }
}
