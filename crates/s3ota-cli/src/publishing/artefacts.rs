//! The artefacts of a release: deltas from what devices may run, and the compressed image. They lie beside the image, and the
//! manifest names them.
//!
//! No device needs one: what cannot be made, or is hardly smaller than the image, is left out.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;

use bytes::Bytes;
use s3ota_codec::encode::{self, CannotEncode, Encoded};
use s3ota_manifest::{
    ArtefactDocument, DeltaDocument, MAX_DELTAS, ManifestDocument, Sha256Digest, Version, layout,
};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::urls::Urls;
use super::{DeltaFrom, ReleaseOptions};
use crate::bucket::channel::Channel;
use crate::bucket::{artefacts, catalogue, channel};
use crate::error::CliError;
use crate::firmware;
use crate::output::{self, Output};
use crate::s3::{Found, Store, Upload};
use crate::versions;

/// A smaller image is left alone. None that connects to a network is so small; it takes no longer than the handshakes.
const SMALLEST_IMAGE: usize = 64 * 1024;

/// An artefact that has more of the image's bytes is not kept, in percent.
const KEPT_BELOW: usize = 90;

/// How many of a channel's earlier manifests are read.
const HISTORY: usize = 200;

/// A release that devices may run.
struct Base {
    version: String,
    sha256: Sha256Digest,
    size: u32,
}

/// Makes artefacts of the releases that a channel serves.
pub struct Maker<'a> {
    /// The bucket.
    pub store: &'a Store,
    /// Where the releases are.
    pub prefix: &'a str,
    /// The channel whose devices get the release, with what it holds now.
    pub channel: &'a Channel,
    /// The URLs in the manifest.
    pub urls: Urls<'a>,
    /// The releases to make deltas from.
    pub delta_from: &'a DeltaFrom,
    /// Whether anyone may read what is uploaded.
    pub public_read: bool,
}

impl<'a> Maker<'a> {
    /// For a release that is published.
    pub(super) fn of(
        store: &'a Store,
        prefix: &'a str,
        channel: &'a Channel,
        options: &'a ReleaseOptions,
    ) -> Self {
        Self {
            store,
            prefix,
            channel,
            urls: Urls::of(store, options),
            delta_from: &options.delta_from,
            public_read: options.change.public_read,
        }
    }

    /// Whether none are made.
    fn makes_none(&self, size: usize) -> bool {
        *self.delta_from == DeltaFrom::Nothing || size < SMALLEST_IMAGE
    }

    /// Reports what would be made for a release.
    pub async fn tell(&self, manifest: &ManifestDocument, out: &Output) {
        if self.makes_none(manifest.size.unwrap_or(0) as usize) {
            return;
        }
        let bases = missing(self.bases(manifest, out).await, manifest);
        let from: Vec<_> = bases.into_iter().map(|base| base.version).collect();
        let compressed = manifest.compressed.is_none();
        let mut made = Vec::new();
        if compressed {
            made.push("a compressed image".to_owned());
        }
        if !from.is_empty() {
            made.push(format!("deltas from {}", from.join(", ")));
        }
        if made.is_empty() {
            return;
        }
        out.prose(output::fact(
            "smaller",
            9,
            format_args!("{} would be made", made.join(", and ")),
        ));
        out.event(
            "would_make",
            json!({ "compressed": compressed, "from": from }),
        );
    }

    /// Names in a release's manifest the artefacts that the channel names for this very image already.
    pub(super) async fn keep(
        &self,
        manifest: &mut ManifestDocument,
        out: &Output,
    ) -> Result<(), CliError> {
        let image = manifest.size.unwrap_or(0) as usize;
        // Anyone may be about to read them once `--public-read` is set, so they are then made and uploaded again.
        if self.makes_none(image) || self.public_read {
            return Ok(());
        }
        let same = |it: &&ManifestDocument| {
            (&it.version, it.sha256) == (&manifest.version, manifest.sha256)
        };
        let Some(current) = self.channel.readable().filter(same) else {
            return Ok(());
        };
        if let Some(artefact) = &current.compressed
            && let Some((artefact, key)) = self.present(current, artefact).await?
        {
            self.tell_of(manifest, None, &artefact, key, true, image, out);
            manifest.compressed = Some(artefact);
        }
        for delta in &current.deltas {
            if let Some((artefact, key)) = self.present(current, &delta.artefact).await? {
                let delta = DeltaDocument {
                    artefact,
                    ..delta.clone()
                };
                self.tell_of(
                    manifest,
                    Some(&delta.from),
                    &delta.artefact,
                    key,
                    true,
                    image,
                    out,
                );
                manifest.deltas.push(delta);
            }
        }
        Ok(())
    }

    /// An artefact of ours that is there, with the URL for devices, and its key.
    async fn present(
        &self,
        current: &ManifestDocument,
        artefact: &ArtefactDocument,
    ) -> Result<Option<(ArtefactDocument, String)>, CliError> {
        let (store, prefix, version) = (self.store, self.prefix, &current.version);
        let Some(key) = artefacts::key(prefix, version, artefact) else {
            return Ok(None);
        };
        let is_there = artefacts::is_there(store, prefix, version, artefact).await;
        if !is_there.unwrap_or(false) {
            return Ok(None);
        }
        let artefact = ArtefactDocument {
            url: self.urls.for_devices(&key).await?,
            size: artefact.size,
        };
        Ok(Some((artefact, key)))
    }

    /// Makes the artefacts that a release's manifest does not name, uploads them, and names them.
    pub(super) async fn add(
        &self,
        manifest: &mut ManifestDocument,
        image: &[u8],
        out: &Output,
    ) -> Result<(), CliError> {
        if self.makes_none(image.len()) {
            return Ok(());
        }
        let bases = self.bases(manifest, out).await;
        self.add_from(bases, manifest, image, out).await
    }

    /// The same for a release whose image is in the bucket, and is read where anything is to be made of it.
    pub async fn add_to_release(
        &self,
        manifest: &mut ManifestDocument,
        out: &Output,
    ) -> Result<(), CliError> {
        let (Some(sha256), Some(size)) = (manifest.sha256, manifest.size) else {
            return Ok(());
        };
        if self.makes_none(size as usize) {
            return Ok(());
        }
        let bases = self.bases(manifest, out).await;
        let is_missing = |base: &Base| manifest.deltas.iter().all(|it| !is_from(it, base));
        if manifest.compressed.is_some() && !bases.iter().any(is_missing) {
            return Ok(());
        }
        let release = Base {
            version: manifest.version.clone(),
            sha256,
            size,
        };
        let why = match fetch(self.store, self.prefix, &release).await {
            Ok(Ok(image)) => return self.add_from(bases, manifest, &image, out).await,
            Ok(Err(why)) => format!("the image of {}: {why}", release.version),
            Err(error) => error.message,
        };
        let message = format!("no deltas are made: {why}");
        let hint = "with s3:GetObject on the prefix they are; --delta-from none does without";
        out.warning(&CliError::new("publish.delta", message).hint(hint));
        Ok(())
    }

    async fn add_from(
        &self,
        bases: Vec<Base>,
        manifest: &mut ManifestDocument,
        image: &[u8],
        out: &Output,
    ) -> Result<(), CliError> {
        // Those that other devices need give way to those that these devices need.
        let is_wanted = |delta: &DeltaDocument| bases.iter().any(|base| is_from(delta, base));
        manifest.deltas.sort_by_key(|delta| !is_wanted(delta));
        let bases = missing(bases, manifest);
        manifest
            .deltas
            .truncate(MAX_DELTAS.saturating_sub(bases.len()));
        let made = self
            .make(image, bases, manifest.compressed.is_none(), out)
            .await?;

        let size = image.len();
        let mut most = size * KEPT_BELOW / 100;
        if let Some(bytes) = made.compressed.filter(|bytes| bytes.len() <= most) {
            let (artefact, key) = self.upload(manifest, &bytes).await?;
            self.tell_of(manifest, None, &artefact, key, false, size, out);
            manifest.compressed = Some(artefact);
        }
        if let Some(artefact) = &manifest.compressed {
            // A delta that is larger than that would only take its place.
            most = most.min(artefact.size as usize);
        }
        for (base, bytes) in made.deltas {
            if bytes.len() > most {
                let large = output::bytes(bytes.len() as u64);
                skip(
                    &base.version,
                    format_args!("{large} is not clearly smaller"),
                    out,
                );
                continue;
            }
            let (artefact, key) = self.upload(manifest, &bytes).await?;
            self.tell_of(
                manifest,
                Some(&base.version),
                &artefact,
                key,
                false,
                size,
                out,
            );
            manifest.deltas.push(DeltaDocument {
                from: base.version,
                base_sha256: base.sha256,
                base_size: base.size,
                artefact,
            });
        }
        let newest_first =
            |a: &DeltaDocument, b: &DeltaDocument| versions::by_precedence(&b.from, &a.from);
        manifest.deltas.sort_by(newest_first);
        for name in artefacts::fit(manifest) {
            out.prose(format_args!(
                "{name} is not in the manifest: devices have room for 8 KiB"
            ));
            out.event("left_out", json!({ "artefact": name }));
        }
        Ok(())
    }

    /// Fetches the old images, and makes what is missing.
    async fn make(
        &self,
        image: &[u8],
        bases: Vec<Base>,
        compress: bool,
        out: &Output,
    ) -> Result<Made, CliError> {
        let mut images = Vec::new();
        for base in bases {
            match fetch(self.store, self.prefix, &base).await {
                Ok(Ok(image)) => images.push((base, image)),
                Ok(Err(why)) => skip(&base.version, why, out),
                Err(error) => skip(&base.version, error.message, out),
            }
        }
        let empty: &[u8] = &[];
        let to_compress = compress.then_some(empty);
        let bases = to_compress
            .into_iter()
            .chain(images.iter().map(|(_, image)| &image[..]));
        let bases: Vec<_> = bases.collect();
        let mut artefacts = encode_all(&bases, image, out).into_iter();
        let compressed = to_compress.and_then(|_| artefacts.next().flatten());
        let deltas = images.into_iter().zip(artefacts);
        let deltas = deltas.filter_map(|((base, _), delta)| Some((base, delta?)));
        Ok(Made {
            compressed,
            deltas: deltas.collect(),
        })
    }

    /// The releases to make deltas from. Where the bucket does not show them, which takes more permissions than to publish, there are none.
    async fn bases(&self, manifest: &ManifestDocument, out: &Output) -> Vec<Base> {
        self.recorded(manifest, out).await.unwrap_or_else(|error| {
            let message = format!(
                "no deltas are made, since it is not known from what: {}",
                error.message
            );
            let hint = "with s3:ListBucket on the bucket and s3:GetObject on the prefix they are; --delta-from none does without";
            out.warning(&CliError::new("publish.delta", message).hint(hint));
            Vec::new()
        })
    }

    /// The releases to make deltas from, as their records describe them.
    async fn recorded(
        &self,
        manifest: &ManifestDocument,
        out: &Output,
    ) -> Result<Vec<Base>, CliError> {
        let (store, prefix) = (self.store, self.prefix);
        let wanted = match self.delta_from {
            DeltaFrom::Nothing => return Ok(Vec::new()),
            DeltaFrom::Versions(versions) => versions.clone(),
            DeltaFrom::Newest(n) => served(store, prefix, self.channel, manifest, *n).await?,
        };
        let records = catalogue::records(store, prefix, &wanted).await?;
        let mut bases = Vec::new();
        for version in wanted {
            let record = records.get(&version);
            let Some((record, sha256, size)) =
                record.and_then(|record| Some((record, record.sha256?, record.size?)))
            else {
                skip(&version, "it has no record here", out);
                continue;
            };
            if record.chip != manifest.chip {
                skip(&version, "it is for another chip", out);
            } else if Some(sha256) == manifest.sha256 {
                // Of those that were asked for by name.
                if let DeltaFrom::Versions(_) = self.delta_from {
                    skip(&version, "it is this very image", out);
                }
            } else {
                bases.push(Base {
                    version,
                    sha256,
                    size,
                });
            }
        }
        Ok(bases)
    }

    /// Uploads an artefact under the name of its contents. One that is there is written again, so that it is new to `gc`.
    async fn upload(
        &self,
        manifest: &ManifestDocument,
        bytes: &[u8],
    ) -> Result<(ArtefactDocument, String), CliError> {
        let sha256 = Sha256Digest(Sha256::digest(bytes).into());
        let wrong = |error: String| CliError::new("s3.url", error);
        let version =
            Version::parse(&manifest.version).map_err(|error| wrong(error.to_string()))?;
        let key = layout::artefact_key(self.prefix, &version, &sha256)
            .map_err(|error| wrong(error.to_string()))?;
        let upload = Upload {
            key: &key,
            bytes: Bytes::copy_from_slice(bytes),
            sha256: Some(sha256),
            content_type: layout::IMAGE_CONTENT_TYPE,
            cache_control: layout::IMMUTABLE_CACHE_CONTROL,
            public_read: self.public_read,
        };
        self.store.put(&upload, |_| {}).await?;
        let artefact = ArtefactDocument {
            url: self.urls.for_devices(&key).await?,
            size: bytes.len() as u32,
        };
        Ok((artefact, key))
    }

    #[allow(clippy::too_many_arguments)]
    fn tell_of(
        &self,
        manifest: &ManifestDocument,
        from: Option<&str>,
        artefact: &ArtefactDocument,
        key: String,
        existed: bool,
        image: usize,
        out: &Output,
    ) {
        let version = &manifest.version;
        let (kind, what) = match from {
            Some(from) => ("delta", format!("{version} from {from}")),
            None => ("packed", format!("{version} compressed")),
        };
        let size = output::bytes(artefact.size.into());
        let note = if existed {
            ", which exists already"
        } else {
            ""
        };
        out.say(output::fact(
            kind,
            9,
            format_args!(
                "{what}: {size} instead of {}{note}",
                output::bytes(image as u64)
            ),
        ));
        out.event(
            "artefact",
            json!({
                "object": from.map_or("compressed", |_| "delta"), "from": from, "bucket": self.store.bucket(), "key": key,
                "bytes": artefact.size, "instead_of": image, "existed": existed,
            }),
        );
    }
}

fn is_from(delta: &DeltaDocument, base: &Base) -> bool {
    delta.base_sha256 == base.sha256
}

/// The releases from which the manifest names no delta.
fn missing(mut bases: Vec<Base>, manifest: &ManifestDocument) -> Vec<Base> {
    bases.retain(|base| manifest.deltas.iter().all(|delta| !is_from(delta, base)));
    bases.truncate(MAX_DELTAS);
    bases
}

/// What was made, and is not uploaded yet.
struct Made {
    compressed: Option<Vec<u8>>,
    deltas: Vec<(Base, Vec<u8>)>,
}

/// The newest versions that the channel served and that devices may update from, the last one first.
async fn served(
    store: &Store,
    prefix: &str,
    channel: &Channel,
    manifest: &ManifestDocument,
    most: usize,
) -> Result<Vec<String>, CliError> {
    let mut found: Vec<String> = Vec::new();
    // Without a manifest it has no history either, or was deleted: then nobody knows what devices run.
    let Some(current) = channel.readable().filter(|_| most > 0) else {
        return Ok(found);
    };
    let history = catalogue::history(store, prefix, &channel.name, HISTORY).await?;
    let yanked = catalogue::yanked(store, prefix).await?;
    let earlier = history
        .iter()
        .rev()
        .filter_map(|held| held.manifest.as_ref().ok());
    for before in std::iter::once(current).chain(earlier) {
        let version = &before.version;
        if found.len() < most
            && !found.contains(version)
            && !yanked.contains(version)
            && may_follow(version, manifest)
        {
            found.push(version.clone());
        }
    }
    Ok(found)
}

/// Whether a device that runs `version` may be one that takes the release.
fn may_follow(version: &str, manifest: &ManifestDocument) -> bool {
    let least = manifest.min_version.as_deref();
    let is_lower = versions::by_precedence(version, &manifest.version).is_lt();
    (is_lower || manifest.downgrade)
        && version != manifest.version
        && least.is_none_or(|least| versions::by_precedence(version, least).is_ge())
}

/// The image of a release, or why it is none that its record describes.
async fn fetch(
    store: &Store,
    prefix: &str,
    base: &Base,
) -> Result<Result<Vec<u8>, &'static str>, CliError> {
    const MISSING: &str = "its image is not in the bucket any more";
    let Some(key) = channel::image_key(prefix, &base.version, Some(base.sha256)) else {
        return Ok(Err(MISSING));
    };
    let size = u64::from(base.size);
    let found = store.find(&key).await?;
    if base.size > firmware::MAX_IMAGE || !matches!(found, Found::Object(head) if head.size == size)
    {
        return Ok(Err(MISSING));
    }
    let bytes = store.get_start(&key, size).await?;
    let bytes = bytes.filter(|bytes| base.sha256.0 == *Sha256::digest(bytes));
    Ok(bytes.ok_or("its image is not what its record says"))
}

/// Says why there is no delta.
fn skip(version: &str, why: impl std::fmt::Display, out: &Output) {
    out.prose(format_args!("no delta from {version}: {why}"));
    out.event(
        "no_delta",
        json!({ "from": version, "reason": why.to_string() }),
    );
}

/// What a thread that encodes reports.
enum Report {
    /// Another part of the image is done, in bytes.
    More(u64),
    /// The artefact with this number.
    Made(usize, Result<Encoded, CannotEncode>),
}

/// Makes an image's artefacts of all `bases`, on every core at once, and shows how far it is with all of them. `None` where there is none.
fn encode_all(bases: &[&[u8]], image: &[u8], out: &Output) -> Vec<Option<Vec<u8>>> {
    let mut artefacts = vec![None; bases.len()];
    if bases.is_empty() {
        return artefacts;
    }
    let size = image.len() as u64;
    let mut bar = out.progress("encode", size * bases.len() as u64);
    let (sender, reports) = mpsc::channel();
    let next = AtomicUsize::new(0);
    let encode = |sender: Sender<Report>| {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(base) = bases.get(number) else {
                return;
            };
            let mut done = 0;
            let mut report_up_to = |bytes: u64| {
                let more = bytes.saturating_sub(done);
                done += more;
                // Nobody listens once another artefact has failed.
                let _ = sender.send(Report::More(more));
            };
            let made = encode::encode(base, image, &mut |part| {
                report_up_to((f64::from(part) * size as f64) as u64);
            });
            report_up_to(size);
            let _ = sender.send(Report::Made(number, made));
        }
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..cores.min(bases.len()) {
            let sender = sender.clone();
            scope.spawn(|| encode(sender));
        }
        drop(sender);
        let mut done = 0;
        for report in reports {
            match report {
                Report::More(bytes) => {
                    done += bytes;
                    bar.set(done);
                }
                Report::Made(number, Ok(made)) => artefacts[number] = Some(made.bytes),
                // The image itself is there: devices fetch that.
                Report::Made(_, Err(error)) => {
                    out.warning(&CliError::new(
                        "delta.impossible",
                        format!("an artefact is left out: {error}"),
                    ));
                }
            }
        }
        bar.finish();
        artefacts
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3ota_manifest::HttpsUrl;

    #[test]
    fn a_base_is_a_version_that_devices_may_update_from() {
        let url = HttpsUrl::parse("https://example.com/app.bin").unwrap();
        let mut manifest = ManifestDocument::new(&Version::new(1, 2, 0), &url);
        assert!(may_follow("1.1.0", &manifest));
        assert!(!may_follow("1.2.0", &manifest) && !may_follow("1.3.0", &manifest));
        manifest.min_version = Some("1.1.0".into());
        assert!(may_follow("1.1.0", &manifest) && !may_follow("1.0.9", &manifest));
        manifest.downgrade = true;
        assert!(may_follow("1.3.0", &manifest) && !may_follow("1.2.0", &manifest));
    }
}
