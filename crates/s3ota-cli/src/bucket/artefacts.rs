//! The artefacts that a manifest names: deltas, and the compressed image. They lie beside the image.
//!
//! None of it is signed, and a device that finds one missing or wrong takes the next, or the image itself. So what follows here
//! leaves out rather than fails; but nothing that a manifest says leads to an object that is no artefact of its own version.

use std::mem;

use s3ota_manifest::{ArtefactDocument, ManifestDocument, ManifestError, Version, layout};
use serde_json::json;

use crate::error::CliError;
use crate::s3::{Found, Store};
use crate::versions;

/// The key of an artefact of ours: one that makes the image of `version`.
///
/// Whoever can write to the bucket can change the URL. The key is therefore put together again from what may be in it, and is that
/// of no other object.
pub fn key(prefix: &str, version: &str, artefact: &ArtefactDocument) -> Option<String> {
    let version = Version::parse(version).ok()?;
    let stem = format!("{}{version}-", layout::images_folder(prefix).ok()?);
    let path = artefact.url.split(['?', '#']).next()?;
    let (_, hash) = path.rsplit_once(&format!("/{}", layout::url_path(&stem)))?;
    let hash = hash.strip_suffix(".delta")?;
    let is_hash = hash.len() == 12
        && hash
            .bytes()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    is_hash.then(|| format!("{stem}{hash}.delta"))
}

/// The artefacts of a manifest, each with the version that it is made from; `None` for the compressed image.
pub fn all(manifest: &ManifestDocument) -> impl Iterator<Item = (Option<&str>, &ArtefactDocument)> {
    let deltas = manifest.deltas.iter();
    let deltas = deltas.map(|delta| (Some(delta.from.as_str()), &delta.artefact));
    deltas.chain(manifest.compressed.iter().map(|it| (None, it)))
}

/// The deltas of a manifest for `--json`: what each is made from, and its size.
pub fn deltas(manifest: &ManifestDocument) -> Vec<serde_json::Value> {
    let deltas = manifest.deltas.iter();
    deltas
        .map(|delta| json!({ "from": delta.from, "bytes": delta.artefact.size }))
        .collect()
}

/// `the delta from 1.0.0`, or `the compressed image`.
pub fn name(from: Option<&str>) -> String {
    from.map_or("the compressed image".to_owned(), |from| {
        format!("the delta from {from}")
    })
}

/// Whether an artefact can be read, and has its size. One elsewhere is taken to be there, as an image is.
pub async fn is_there(
    store: &Store,
    prefix: &str,
    version: &str,
    artefact: &ArtefactDocument,
) -> Result<bool, CliError> {
    let Some(key) = key(prefix, version, artefact) else {
        return Ok(true);
    };
    let found = store.find(&key).await?;
    Ok(matches!(found, Found::Object(head) if head.size == u64::from(artefact.size)))
}

/// Leaves out of a manifest what no device could read; so also where it is not shown whether it is there: without s3:ListBucket, S3
/// answers 403 for a missing object.
pub async fn leave_out_missing(store: &Store, prefix: &str, manifest: &mut ManifestDocument) {
    let version = &manifest.version;
    for delta in mem::take(&mut manifest.deltas) {
        let is_there = is_there(store, prefix, version, &delta.artefact).await;
        if is_there.unwrap_or(false) {
            manifest.deltas.push(delta);
        }
    }
    if let Some(compressed) = manifest.compressed.take() {
        let is_there = is_there(store, prefix, version, &compressed).await;
        manifest.compressed = is_there.unwrap_or(false).then_some(compressed);
    }
}

/// Leaves out deltas, the one from the oldest version first, and the compressed image last of all, until devices have room for the
/// manifest. Returns what was left out.
pub fn fit(manifest: &mut ManifestDocument) -> Vec<String> {
    let mut left_out = Vec::new();
    while manifest.to_json() == Err(ManifestError::TooLarge) {
        let deltas = manifest.deltas.iter().enumerate();
        let oldest = deltas.min_by(|(_, a), (_, b)| versions::by_precedence(&a.from, &b.from));
        if let Some((index, _)) = oldest {
            let delta = manifest.deltas.remove(index);
            left_out.push(name(Some(&delta.from)));
        } else if manifest.compressed.take().is_some() {
            left_out.push(name(None));
        } else {
            break;
        }
    }
    left_out
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3ota_manifest::{DeltaDocument, HttpsUrl, MAX_DOCUMENT, Sha256Digest};

    fn artefact(url: &str) -> ArtefactDocument {
        let url = url.to_owned();
        ArtefactDocument { url, size: 7 }
    }

    #[test]
    fn a_url_leads_to_an_artefact_of_its_own_version_or_nowhere() {
        let key = |url: &str| key("p/q", "1.1.0+b", &artefact(url));
        let name = "p/q/images/1.1.0%2Bb-0123456789ab.delta";
        let ours = Some("p/q/images/1.1.0+b-0123456789ab.delta".to_owned());
        for url in [
            format!("https://b.example.com/{name}"),
            format!("https://example.com/bucket/{name}?X-Amz-Signature=1/2"),
        ] {
            assert_eq!(key(&url), ours, "{url}");
        }
        for url in [
            "https://b.example.com/p/q/images/1.1.0%2Bb-0123456789ab.bin",
            "https://b.example.com/p/q/images/1.2.0-0123456789ab.delta",
            "https://b.example.com/q/images/1.1.0%2Bb-0123456789ab.delta",
            "https://b.example.com/p/q/images/1.1.0%2Bb-../../secret.delta",
            "https://b.example.com/p/q/images/1.1.0%2Bb-0123456789AB.delta",
            "https://b.example.com/x?p/q/images/1.1.0%2Bb-0123456789ab.delta",
        ] {
            assert_eq!(key(url), None, "{url}");
        }
    }

    #[test]
    fn what_devices_have_no_room_for_is_left_out_the_oldest_first() {
        let url = HttpsUrl::parse("https://example.com/app.bin").unwrap();
        let mut manifest = ManifestDocument::new(&Version::new(2, 0, 0), &url);
        let long = format!("https://example.com/{}", "x".repeat(1200));
        let delta = |from: &str| DeltaDocument {
            from: from.to_owned(),
            base_sha256: Sha256Digest([1; 32]),
            base_size: 9,
            artefact: artefact(&long),
        };
        manifest.deltas = ["1.10.0", "1.9.0", "1.8.0", "1.7.0", "1.6.0"]
            .map(delta)
            .into();
        manifest.compressed = Some(artefact(&long));
        assert_eq!(fit(&mut manifest), ["the delta from 1.6.0"]);
        assert!(manifest.to_json().unwrap().len() <= MAX_DOCUMENT);
        assert_eq!(fit(&mut manifest), Vec::<String>::new());

        manifest.notes = Some("n".repeat(7900));
        let left_out = fit(&mut manifest);
        assert_eq!(left_out.last().unwrap(), "the compressed image");
        assert_eq!(left_out.len(), 5);
        // Too long for another reason: that is told by whoever writes it.
        manifest.notes = Some("n".repeat(MAX_DOCUMENT));
        assert_eq!(fit(&mut manifest), Vec::<String>::new());
    }
}
