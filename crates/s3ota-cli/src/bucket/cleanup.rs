//! Which images and artefacts nobody needs any more.
//!
//! An artefact is needed if a manifest that a channel serves, or would go back to, names it. An image is needed if a channel serves it, if it is one of the releases that a channel would go back to, or if it is so new,
//! or left its channel so recently, that someone may be about to use it. Records and history stay: a version is never given to
//! other bytes, and publishing the same bytes again restores the image.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use s3ota_manifest::{ManifestDocument, layout};

use super::artefacts;
use super::catalogue;
use super::channel::{self, Channel, Held};
use crate::clock;
use crate::error::CliError;
use crate::s3::{Found, Listed, Store};

/// How old an image must be to be removed. A publisher that finds an image of half this age, which no channel serves, uploads it
/// again, so that it does not vanish before it is used.
pub const GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// The images and artefacts under a prefix that nobody needs and that are older than `grace`.
pub async fn unneeded<'a>(
    store: &Store,
    prefix: &str,
    images: &'a BTreeMap<String, Listed>,
    keep: usize,
    grace: Duration,
) -> Result<Vec<&'a Listed>, CliError> {
    let needed = Needed::find(store, prefix, keep, grace).await?;
    Ok(images
        .values()
        .filter(|image| is_image(&image.key) && !needed.names(&image.key))
        .filter(|image| is_old(image.modified, grace))
        .collect())
}

/// Removes an image or an artefact, after a last check that it has not become needed in the meantime. `false` if it has.
pub async fn remove(
    store: &Store,
    prefix: &str,
    image: &Listed,
    grace: Duration,
) -> Result<bool, CliError> {
    let channels = catalogue::channels(store, prefix).await?;
    if serves(store, prefix, &channels)?.names(&image.key) {
        return Ok(false);
    }
    match store.find(&image.key).await? {
        Found::Object(head) | Found::Archived(_, head) if is_old(head.modified, grace) => {}
        _ => return Ok(false),
    }
    store.delete(&image.key).await?;
    Ok(true)
}

/// The number of unfinished multipart uploads; with `delete` they are aborted. Not every store supports them, and not everyone may
/// list them.
pub async fn abandoned(store: &Store, prefix: &str, grace: Duration, delete: bool) -> usize {
    let Ok(folder) = layout::images_folder(prefix) else {
        return 0;
    };
    let found = match store.abandoned_uploads(&folder, grace).await {
        Ok(found) => found,
        Err(error) => {
            tracing::info!("unfinished uploads are not checked: {error}");
            return 0;
        }
    };
    let mut count = 0;
    for upload in &found {
        if delete && let Err(error) = store.abort_upload(upload).await {
            tracing::info!("an unfinished upload stays: {error}");
            continue;
        }
        count += 1;
    }
    count
}

/// Whether a key is one of ours: `<version>-<12 hex>.bin`, or `.delta`. Other objects there belong to someone else.
fn is_image(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or(key);
    let stem = name.strip_suffix(".bin");
    let stem = stem
        .or_else(|| name.strip_suffix(".delta"))
        .and_then(|stem| stem.rsplit_once('-'));
    stem.is_some_and(|(version, hash)| {
        s3ota_manifest::Version::parse(version).is_ok()
            && hash.len() == 12
            && hash.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

/// Whether something was written longer ago than `grace`; without a date it counts as new.
fn is_old(modified: Option<u64>, grace: Duration) -> bool {
    modified.is_some_and(|modified| modified.saturating_add(grace.as_secs()) < clock::now())
}

/// The images and artefacts to keep.
#[derive(Debug, Default)]
struct Needed {
    keys: BTreeSet<String>,
    /// The URLs of manifests that have no hash.
    urls: Vec<String>,
}

impl Needed {
    async fn find(
        store: &Store,
        prefix: &str,
        keep: usize,
        grace: Duration,
    ) -> Result<Self, CliError> {
        let channels = catalogue::channels(store, prefix).await?;
        let mut needed = serves(store, prefix, &channels)?;
        let yanked = catalogue::yanked(store, prefix).await?;
        let mut names = catalogue::channels_of_history(store, prefix).await?;
        names.extend(channels.iter().map(|channel| channel.name.clone()));
        for name in names {
            let mut held = catalogue::history(store, prefix, &name, usize::MAX).await?;
            let current = channels.iter().find(|channel| channel.name == name);
            held.extend(current.and_then(|channel| channel.current.clone()));
            for manifest in kept(&held, &yanked, keep, grace) {
                needed.add(prefix, manifest);
            }
        }
        Ok(needed)
    }

    fn add(&mut self, prefix: &str, manifest: &ManifestDocument) {
        let key = channel::image_key(prefix, &manifest.version, manifest.sha256);
        self.keys.extend(key);
        self.urls.push(manifest.url.clone());
        let ours = artefacts::all(manifest)
            .filter_map(|(_, artefact)| artefacts::key(prefix, &manifest.version, artefact));
        self.keys.extend(ours);
    }

    fn names(&self, key: &str) -> bool {
        let path = layout::url_path(key);
        self.keys.contains(key) || self.urls.iter().any(|url| url.contains(&path))
    }
}

/// What channels serve now. A manifest that cannot be read might need anything.
fn serves(store: &Store, prefix: &str, channels: &[Channel]) -> Result<Needed, CliError> {
    let mut needed = Needed::default();
    for channel in channels {
        let manifest = channel.manifest(store).map_err(|error| {
            error.hint("nothing is removed while the channel's needs are unknown: publish to it")
        })?;
        needed.add(prefix, manifest);
    }
    Ok(needed)
}

/// What of a channel's history, oldest first, to keep: the last good releases, and what it served until recently.
fn kept<'a>(
    held: &'a [Held],
    yanked: &BTreeSet<String>,
    keep: usize,
    grace: Duration,
) -> Vec<&'a ManifestDocument> {
    let mut versions = BTreeSet::new();
    let mut kept = Vec::new();
    let mut left = None;
    for held in held.iter().rev() {
        let until = left.replace(held.date().map(|date| date.unix_seconds()));
        let Ok(manifest) = &held.manifest else {
            continue;
        };
        // The first one is still served.
        let lately = until.is_none_or(|until| !is_old(until, grace));
        let good = !yanked.contains(&manifest.version)
            && (versions.contains(&manifest.version) || versions.len() < keep);
        if good {
            versions.insert(manifest.version.clone());
        }
        if good || lately {
            kept.push(manifest);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::Object;

    fn held(serial: u64, version: &str, date: &str) -> Held {
        let json = format!(
            r#"{{"version": "{version}", "url": "https://example.com/{version}.bin", "serial": {serial}, "date": "{date}"}}"#
        );
        Held::of(Object {
            bytes: json.into_bytes(),
            etag: None,
            modified: None,
        })
    }

    #[test]
    fn the_last_good_releases_and_what_was_served_until_recently_are_kept() {
        let old = "2020-01-01T00:00:00Z";
        let held = [
            held(1, "1.0.0", old),
            held(2, "1.1.0", old),
            held(3, "1.2.0", old),
            held(4, "1.3.0", old),
            held(5, "1.3.0", old),
            held(6, "1.4.0", &clock::timestamp().to_string()),
        ];
        let kept = |yanked: &[&str], keep, grace| {
            let yanked = yanked.iter().map(|version| (*version).to_owned()).collect();
            let kept = super::kept(&held, &yanked, keep, Duration::from_secs(grace));
            let mut versions: Vec<_> = kept.iter().map(|it| it.version.as_str()).collect();
            versions.dedup();
            versions.join(" ")
        };
        assert_eq!(kept(&[], 2, 3600), "1.4.0 1.3.0");
        assert_eq!(
            kept(&["1.3.0"], 2, 3600),
            "1.4.0 1.3.0 1.2.0",
            "1.3.0 was served a moment ago"
        );
        assert_eq!(kept(&[], 0, 3600), "1.4.0 1.3.0");
        assert_eq!(
            kept(&["1.3.0", "1.1.0"], 3, u64::MAX / 2),
            "1.4.0 1.3.0 1.2.0 1.1.0 1.0.0"
        );
    }

    #[test]
    fn only_images_that_are_named_as_ours_are_removed() {
        assert!(is_image("p/images/1.2.0-rc.1-0123456789ab.bin"));
        assert!(is_image("p/images/1.2.0-rc.1-0123456789ab.delta"));
        for theirs in [
            "p/images/lamp.bin",
            "p/images/1.2.0.bin",
            "p/images/1.2.0-0123456789ab.elf",
            "p/images/1.2.0-0123456789.bin",
        ] {
            assert!(!is_image(theirs), "{theirs}");
        }
    }

    #[test]
    fn what_has_no_date_is_new() {
        assert!(!is_old(None, Duration::from_secs(1)));
        assert!(!is_old(Some(clock::now()), Duration::from_secs(60)));
        assert!(is_old(Some(clock::now() - 61), Duration::from_secs(60)));
    }
}
