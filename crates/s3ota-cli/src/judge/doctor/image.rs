//! Whether the image is what the manifest says, and whether an interrupted download can resume.

use s3ota::Chip;
use s3ota::http::{Part, Want, is_the_part};
use s3ota_image::ImageError;
use s3ota_image::app::Image;
use s3ota_manifest::{HttpsUrl, Version};
use sha2::{Digest, Sha256};

use super::answer::{Advice, Fetched, examine_encoding, fetch, report_trouble};
use super::client::Client;
use super::finding::Report;
use super::manifest::Release;
use crate::firmware::{self, OwnVersion};
use crate::output;

const SUBJECT: &str = "image";

/// The slots of the usual partition table for 4 MB of flash.
const USUAL_SLOT: u32 = 0x1F_0000;

/// An image, and what it is for.
pub struct Kind {
    /// The chip.
    pub chip: Chip,
    /// The project's name, as the image has it.
    pub project: Option<String>,
    /// The image itself.
    pub image: Vec<u8>,
}

/// Checks the image of a release. Returns what it is for, if a device could take it.
pub async fn examine(
    client: &mut Client,
    report: &mut Report,
    release: &Release,
    advice: &Advice,
) -> Option<Kind> {
    let fetched = fetch(
        client,
        report,
        SUBJECT,
        &release.url,
        advice,
        firmware::MAX_IMAGE as usize,
    )
    .await?;
    examine_encoding(report, SUBJECT, &fetched.answer);
    let content_type = fetched.answer.field("content-type").unwrap_or_default();
    if content_type.starts_with("text/") {
        let message = format!(
            "its Content-Type is `{content_type}`: proxies may change what they take for text"
        );
        let fix = "publish with s3ota, which sets application/octet-stream";
        report.warning(SUBJECT, "http.type", message, fix);
    }
    let same = examine_bytes(report, release, &fetched.answer.body);
    examine_range(client, report, &fetched).await;
    let image = match firmware::verify(&fetched.answer.body) {
        Ok(image) => image,
        Err(error) => {
            let fix = match error {
                ImageError::NotAnImage { .. } => {
                    "make `url` lead to an app image: the output of `s3ota publish`, `espflash save-image` or `idf.py build`"
                }
                // It was changed after it was published, which has been reported.
                _ if !same => "upload the image again, as it was when the release was made",
                _ => "build the image again, and publish that",
            };
            report.fault(SUBJECT, error.code(), error.to_string(), fix);
            return None;
        }
    };
    examine_descriptor(report, release, &image, &fetched.answer.body);
    examine_fitness(report, &image);
    let descriptor = image.descriptor.as_ref();
    Some(Kind {
        chip: examine_chip(report, release, &image)?,
        project: descriptor.map(|descriptor| descriptor.project_name().to_owned()),
        image: fetched.answer.body,
    })
}

/// Whether these are the bytes that the manifest names.
fn examine_bytes(report: &mut Report, release: &Release, bytes: &[u8]) -> bool {
    let again = "publish the release again: manifest and image are not of the same build";
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let mut same = true;
    if let Some(expected) = release.size
        && u64::from(expected) != size
    {
        let message = format!("it has {size} bytes, but the manifest says {expected}");
        report.fault(SUBJECT, "image.size", message, again);
        same = false;
    }
    if let Some(expected) = release.sha256 {
        let found: [u8; 32] = Sha256::digest(bytes).into();
        if found == expected {
            report.good(SUBJECT, "its SHA-256 is the manifest's");
        } else if same {
            let message = format!(
                "its SHA-256 is {}…, but the manifest says {}…",
                output::hex(&found[..6]),
                output::hex(&expected[..6])
            );
            report.fault(SUBJECT, "image.digest", message, again);
            same = false;
        }
    }
    if size > u64::from(USUAL_SLOT) {
        report.note(
            SUBJECT,
            format!(
                "it has {}, more than the {} of a slot with the usual table for 4 MB of flash",
                output::bytes(size),
                output::bytes(USUAL_SLOT.into())
            ),
        );
    }
    same
}

fn examine_descriptor(report: &mut Report, release: &Release, image: &Image, bytes: &[u8]) {
    if image.descriptor.is_none() {
        let message = "it has no app descriptor, and no device installs such an image";
        let fix = "in Rust, add `esp_bootloader_esp_idf::esp_app_desc!()` to the firmware";
        return report.fault(SUBJECT, "image.invalid", message, fix);
    }
    let named = Version::parse(&release.version);
    match (OwnVersion::of(image, bytes), named) {
        (Ok(own), Ok(named)) if Version::parse(&own.text).is_ok_and(|own| own != named) => {
            let own = own.text;
            let message = format!(
                "it calls itself {own}, but the manifest calls it {named}: devices refuse it, or they would install it again and again"
            );
            let fix = format!("publish it as {own}, or build the firmware as {named}");
            report.fault(SUBJECT, "image.version", message, fix);
        }
        (Ok(own), _) => report.good(
            SUBJECT,
            format!("it is intact, and calls itself {}", own.text),
        ),
        (Err(unnamed), Ok(named)) if !unnamed.may_be(&named) => {
            report.fault(SUBJECT, "image.version", unnamed.problem, unnamed.hint);
        }
        (Err(unnamed), _) => report.note(SUBJECT, unnamed.problem),
    }
}

/// Checks which chips it runs on, and whether a device can roll back from it.
fn examine_fitness(report: &mut Report, image: &Image) {
    for remark in firmware::remarks(image) {
        let fix = remark.hint.unwrap_or_default();
        report.warning(SUBJECT, remark.code, remark.message, fix);
    }
    if let Some(guard) = image.guard {
        let kind = guard.kind_name().unwrap_or("an unknown kind");
        let message = format!("it has a boot guard ({kind}): if it fails, a device rolls back");
        report.good(SUBJECT, message);
    }
    let limits = firmware::revisions(image.header.min_revision, image.header.max_revision);
    report.note(SUBJECT, format!("it runs on chips of {limits}"));
    if let Some(kind) = image.signature {
        report.note(
            SUBJECT,
            format!("it is signed for Secure Boot with {kind}, which is not checked here"),
        );
    }
}

fn examine_chip(report: &mut Report, release: &Release, image: &Image) -> Option<Chip> {
    let Some(chip) = image.header.chip() else {
        let message = format!("it is for an unknown chip, number {}", image.header.chip_id);
        let fix = "build it for an ESP32, or check with a newer s3ota";
        report.fault(SUBJECT, "image.chip", message, fix);
        return None;
    };
    if let Some(named) = &release.chip
        && named != chip.name()
    {
        let message =
            format!("it is for the {chip}, but the manifest says {named}: no device takes it");
        let fix =
            "publish the firmware of this chip; use one prefix for each product and kind of chip";
        report.fault(SUBJECT, "image.chip", message, fix);
        return None;
    }
    report.good(SUBJECT, format!("it is for the {chip}"));
    Some(chip)
}

/// Whether a download that was interrupted half-way can resume there.
async fn examine_range(client: &mut Client, report: &mut Report, fetched: &Fetched) {
    let total = fetched.answer.body.len();
    let from = total / 2;
    let (Ok(url), Ok(first), Ok(size)) = (
        HttpsUrl::parse(&fetched.url),
        u32::try_from(from),
        u32::try_from(total),
    ) else {
        return;
    };
    let wanted = Part {
        from: first,
        total: Some(size),
        etag: fetched.answer.strong_etag(),
    };
    let part = match client.get(&url, Want::Rest(wanted), total, |_, _| {}).await {
        Ok(part) => part,
        Err(trouble) => return report_trouble(client, report, SUBJECT, &url, &trouble),
    };
    let whole = is_the_part(&part.head, &wanted)
        && part.encoding.is_none()
        && fetched.answer.body.get(from..) == Some(&part.body);
    if whole {
        return report.good(SUBJECT, "an interrupted download can resume");
    }
    let message = format!(
        "a request for its second half is answered with HTTP {}: an interrupted download starts from the beginning",
        part.head.status
    );
    let fix = "make the server or CDN answer Range with 206, and keep the object's ETag";
    report.warning(SUBJECT, "http.range", message, fix);
}
