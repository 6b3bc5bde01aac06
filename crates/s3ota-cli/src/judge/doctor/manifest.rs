//! The contents of a manifest, and whether devices will accept it.

use s3ota::ReleaseKey;
use s3ota_manifest::{Manifest, ManifestError, Rollout, SignatureError, UrlError};

use super::address::display;
use super::finding::Report;
use crate::clock;
use crate::output;

const SUBJECT: &str = "manifest";

/// Warn of an expiry nearer than this, in seconds.
const SOON: u64 = 7 * 24 * 60 * 60;

/// A release, as far as the image must match it.
pub struct Release {
    /// The document it was read from.
    pub document: Vec<u8>,
    /// Its version, in canonical form.
    pub version: String,
    /// The URL of the image.
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

/// Checks a manifest; `None` if there is none.
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
                    "keep notes and your own fields short: a device has 8 KiB for all of it"
                }
                ManifestError::ByteOrderMark | ManifestError::Utf8 { .. } => {
                    "save it as UTF-8 without a byte order mark"
                }
                ManifestError::NotAnObject => {
                    "is this the URL of a manifest? the document is not a JSON object"
                }
                ManifestError::Url(UrlError::Http | UrlError::NotHttps) => {
                    "make `url` begin with https://: no device downloads a firmware over http"
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
        match ends.checked_sub(clock::now()) {
            None | Some(0) => report.fault(
                SUBJECT,
                "release.expired",
                format!(
                    "the manifest expired on {}: a device that knows the date refuses it",
                    display(ends)
                ),
                "publish the same firmware again, with a later --expires",
            ),
            Some(left) if left < SOON => report.warning(
                SUBJECT,
                "release.expires",
                format!(
                    "the manifest expires in {}, on {}",
                    clock::span(left),
                    display(ends)
                ),
                match manifest.signature {
                    Some(_) => {
                        "sign it again before that: `s3ota sign s3://BUCKET/PREFIX --channel NAME --key KEY --expires 90d`"
                    }
                    None => "publish the same firmware again before that, with a later --expires",
                },
            ),
            Some(_) => report.good(SUBJECT, format!("it is valid until {}", display(ends))),
        }
    }
    if manifest.sha256.is_none() || manifest.size.is_none() {
        report.warning(
            SUBJECT,
            "manifest.digest",
            "it has no size or no SHA-256: an interrupted download starts from the beginning, and any image at the URL is taken for the release",
            "publish with `s3ota publish`, or add the fields `size` and `sha256`",
        );
    }
    if manifest.chip.is_none() {
        report.warning(
            SUBJECT,
            "manifest.chip",
            "it names no chip: a device of another kind notices only from the image's first bytes",
            "publish with `s3ota publish`, or add a field like \"chip\": \"esp32c3\"",
        );
    }
    note_artefacts(report, &manifest);
    let everyone = Rollout::from_percent(100).ok();
    match manifest.rollout {
        Some(rollout) if rollout.to_string() == "0" => report.warning(
            SUBJECT,
            "release.rollout",
            "the rollout includes nobody: `rollout` is 0",
            "raise `rollout` to release it",
        ),
        Some(rollout) if Some(rollout) != everyone => {
            report.note(
                SUBJECT,
                format!("the rollout includes {rollout} percent of the devices now"),
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

/// What a device with the feature `delta` fetches.
fn note_artefacts(report: &mut Report, manifest: &Manifest<'_>) {
    let mut ways: Vec<_> = manifest
        .deltas()
        .map(|delta| {
            let size = output::bytes(delta.artefact.size.into());
            format!("{size} from {}", delta.from)
        })
        .collect();
    if let Some(compressed) = manifest.compressed() {
        let size = output::bytes(compressed.size.into());
        ways.push(format!("{size} from any other version"));
    }
    if !ways.is_empty() {
        report.note(
            SUBJECT,
            format!(
                "a device with the feature `delta` fetches {}; `s3ota verify` decodes them",
                ways.join(", ")
            ),
        );
    }
}

fn examine_signature(report: &mut Report, url: &str, manifest: &Manifest<'_>, keys: &[ReleaseKey]) {
    if keys.is_empty() {
        return match manifest.signature {
            Some(signature) => report.note(
                SUBJECT,
                format!(
                    "it has a signature by the key {}, which is not verified: give --release-key",
                    signature.keyid
                ),
            ),
            None => report.note(
                SUBJECT,
                "it is not signed: anyone who can write to the bucket can release",
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
                    format!("it is signed for the channel {channel}, but lies where devices of the channel {followed} look"),
                    format!("publish the release on {followed}, signed for it, or configure the devices for {channel}"),
                );
            }
        }
        Err(error) => {
            let fix = match error {
                SignatureError::Missing => {
                    "publish the release signed, with a key that devices trust"
                }
                SignatureError::UnknownKey => {
                    "sign with a key that devices trust, or give the right one with --release-key"
                }
                SignatureError::NoImage => "publish it with size and sha256, and sign that",
                _ => "sign the release again: something in it was changed after it was signed",
            };
            report.fault(SUBJECT, "release.signature", error.to_string(), fix);
        }
    }
}
