//! What a manifest says, and whether a device will believe it.

use s3ota::ReleaseKey;
use s3ota_manifest::{Manifest, ManifestError, Rollout, SignatureError, UrlError};

use super::address::{display, hours, now};
use super::finding::Report;

const SUBJECT: &str = "manifest";

/// A manifest that expires sooner than this, in seconds, is worth a warning.
const SOON: u64 = 7 * 24 * 60 * 60;

/// A release, as far as the image must agree with it.
pub struct Release {
    /// The document it was read from.
    pub document: Vec<u8>,
    /// Its version, in canonical form.
    pub version: String,
    /// Where the image lies.
    pub url: String,
    /// Bytes of the image.
    pub size: Option<u32>,
    /// The image's SHA-256.
    pub sha256: Option<[u8; 32]>,
    /// The chip's name.
    pub chip: Option<String>,
    /// The board's name.
    pub board: Option<String>,
}

/// Examines a manifest; `None` where there is none.
pub fn examine(
    report: &mut Report,
    url: &str,
    document: Vec<u8>,
    keys: &[ReleaseKey],
) -> Option<Release> {
    let mut buffer = document.clone();
    let manifest = match Manifest::parse(&mut buffer) {
        Ok(manifest) => manifest,
        Err(error) => {
            let fix = match error {
                ManifestError::TooLarge => {
                    "keep notes and fields of your own short: a device has 8 KiB for all of it"
                }
                ManifestError::ByteOrderMark | ManifestError::Utf8 { .. } => {
                    "save it as UTF-8 without a byte order mark"
                }
                ManifestError::NotAnObject => {
                    "is this the URL of a manifest? what is there is no JSON object"
                }
                ManifestError::Url(UrlError::Http | UrlError::NotHttps) => {
                    "let `url` begin with https://: no device downloads a firmware over http"
                }
                ManifestError::DuplicateKey(_) => "write each field once",
                _ => {
                    "publish the release again with `s3ota publish`, or correct the manifest by hand"
                }
            };
            report.fault(SUBJECT, error.code(), error.to_string(), fix);
            return None;
        }
    };
    report.good(SUBJECT, format!("it releases {}", manifest.version));

    examine_signature(report, url, &manifest, keys);
    if let Some(expires) = manifest.expires {
        let ends = expires.unix_seconds();
        match ends.checked_sub(now()) {
            None | Some(0) => report.fault(
                SUBJECT,
                "release.expired",
                format!("the manifest expired on {}: a device that knows the time takes it for one that was held back", display(ends)),
                "publish the release again, with a later expiry",
            ),
            Some(left) if left < SOON => report.warning(
                SUBJECT,
                "release.expires",
                format!("the manifest expires in {}, on {}", hours(left), display(ends)),
                "publish the release again before that, and let a job do so",
            ),
            Some(_) => report.good(SUBJECT, format!("it is good until {}", display(ends))),
        }
    }
    if manifest.sha256.is_none() || manifest.size.is_none() {
        report.warning(
            SUBJECT,
            "manifest.digest",
            "it says no size or no SHA-256: a device that was cut off starts anew, and takes any image under the URL for the release",
            "publish with `s3ota publish`, or add the fields `size` and `sha256`",
        );
    }
    if manifest.chip.is_none() {
        report.warning(
            SUBJECT,
            "manifest.chip",
            "it names no chip: another kind of device finds out only from the image's first bytes",
            "publish with `s3ota publish`, or add a field like \"chip\": \"esp32c3\"",
        );
    }
    let everyone = Rollout::from_percent(100).ok();
    match manifest.rollout {
        Some(rollout) if rollout.to_string() == "0" => report.warning(
            SUBJECT,
            "release.rollout",
            "the release is rolled out to nobody: `rollout` is 0",
            "raise `rollout` when it shall go out",
        ),
        Some(rollout) if Some(rollout) != everyone => {
            report.note(
                SUBJECT,
                format!("{rollout} percent of the devices take it for now"),
            );
        }
        _ => {}
    }
    let release = Release {
        version: manifest.version.to_string(),
        url: manifest.url.as_str().to_owned(),
        size: manifest.size,
        sha256: manifest.sha256.map(|sha256| sha256.0),
        chip: manifest.chip.map(str::to_owned),
        board: manifest.board.map(str::to_owned),
        document,
    };
    Some(release)
}

fn examine_signature(report: &mut Report, url: &str, manifest: &Manifest<'_>, keys: &[ReleaseKey]) {
    if keys.is_empty() {
        return match manifest.signature {
            Some(signature) => report.note(
                SUBJECT,
                format!(
                    "it carries a signature by {}, not verified: give --release-key",
                    signature.keyid
                ),
            ),
            None => report.note(
                SUBJECT,
                "it is not signed: who may write to the bucket may release",
            ),
        };
    }
    match manifest.verify(keys) {
        Ok(id) => {
            report.good(SUBJECT, format!("the key {id} signed it"));
            let path = url.split(['?', '#']).next().unwrap_or(url);
            let followed = path
                .rsplit('/')
                .next()
                .and_then(|name| name.strip_suffix(".json"));
            if let (Some(followed), Some(channel)) = (followed, manifest.channel)
                && followed != channel
            {
                report.fault(
                    SUBJECT,
                    "release.channel",
                    format!("it is signed for the channel {channel}, and lies where devices of the channel {followed} look"),
                    format!("publish the release on {followed}, signed for it, or let the devices follow {channel}"),
                );
            }
        }
        Err(error) => {
            let fix = match error {
                SignatureError::Missing => {
                    "publish the release signed, with a key that devices have"
                }
                SignatureError::UnknownKey => {
                    "sign with a key that devices have, or give the right one with --release-key"
                }
                SignatureError::NoImage => "publish it with size and sha256, and sign that",
                _ => "sign the release again: something in it was changed after it was signed",
            };
            report.fault(SUBJECT, "release.signature", error.to_string(), fix);
        }
    }
}
