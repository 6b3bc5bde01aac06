//! The channels: which manifest the bucket serves at which moment, as documents that the library parses.

use s3ota::manifest::{
    ArtefactDocument, DeltaDocument, HttpsUrl, Manifest, ManifestDocument, ManifestError, Rollout,
    Sha256Digest, Version, layout,
};
use sha2::{Digest, Sha256};

use crate::model::Model;
use crate::scenario::Scenario;

/// The channel of every device.
pub const CHANNEL: &str = "stable";

/// A manifest, as it lies in the bucket.
pub(crate) struct Document {
    bytes: Vec<u8>,
    pub(crate) length: u32,
}

/// The documents of all products, one for each change.
pub(crate) struct Documents {
    by_product: Vec<Vec<Document>>,
}

/// A channel of one product, over time.
pub(crate) struct Channel<'d> {
    /// The key of the manifest.
    pub(crate) key: String,
    /// The manifests, with the seconds from which they are served.
    pub(crate) editions: Vec<Edition<'d>>,
}

/// A manifest, and from when on it is served.
pub(crate) struct Edition<'d> {
    pub(crate) from: u64,
    pub(crate) release: usize,
    pub(crate) length: u32,
    pub(crate) manifest: Manifest<'d>,
    pub(crate) image_key: String,
    /// The deltas' keys, by the release that they are from; and the compressed image's.
    pub(crate) deltas: Vec<(usize, String, u32)>,
    pub(crate) compressed: Option<(String, u32)>,
}

/// How many releases before have a delta: as `s3ota publish` makes them.
const DELTAS_FROM: usize = 3;

impl Documents {
    /// Those that the bucket served, or else made-up ones.
    pub(crate) fn of(scenario: &Scenario) -> Result<Self, ManifestError> {
        let mut by_product = Vec::new();
        for product in 0..scenario.products.len() {
            let mut documents = Vec::new();
            for serial in 0..scenario.changes.len() {
                let served = scenario.served.get(product).and_then(|it| it.get(serial));
                let bytes = match served {
                    Some(bytes) => bytes.clone(),
                    None => document(scenario, product, serial)?.to_json()?.into_bytes(),
                };
                documents.push(Document {
                    length: bytes.len() as u32,
                    bytes,
                });
            }
            by_product.push(documents);
        }
        Ok(Self { by_product })
    }

    /// Parses them, as a device does.
    pub(crate) fn channels<'d>(
        &'d mut self,
        scenario: &Scenario,
    ) -> Result<Vec<Channel<'d>>, ManifestError> {
        let mut channels = Vec::new();
        for (product, documents) in self.by_product.iter_mut().enumerate() {
            let prefix = &scenario.products[product].prefix;
            let editions = (scenario.changes.iter().zip(documents))
                .map(|(change, document)| {
                    let ways = ManifestDocument::parse(&document.bytes)?;
                    let release = |from: &DeltaDocument| {
                        let of = |it: &crate::Release| it.sha256(product) == from.base_sha256;
                        scenario.releases.iter().position(of)
                    };
                    let deltas = ways.deltas.iter().filter_map(|delta| {
                        let (key, size) = artefact_key(prefix, &delta.artefact);
                        Some((release(delta)?, key, size))
                    });
                    Ok(Edition {
                        from: change.at,
                        release: change.release,
                        length: document.length,
                        image_key: key_of(prefix, &ways.url),
                        deltas: deltas.collect(),
                        compressed: (ways.compressed.as_ref()).map(|it| artefact_key(prefix, it)),
                        manifest: Manifest::parse(&mut document.bytes)?,
                    })
                })
                .collect::<Result<_, ManifestError>>()?;
            channels.push(Channel {
                key: layout::channel_key(prefix, CHANNEL)
                    .unwrap_or_else(|_| format!("{prefix}/{CHANNEL}.json")),
                editions,
            });
        }
        Ok(channels)
    }
}

/// The key of an image or artefact with this URL: its name is the last part of the path.
fn key_of(prefix: &str, url: &str) -> String {
    let path = url.split_once('?').map_or(url, |(path, _)| path);
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    format!("{prefix}/images/{name}")
}

fn artefact_key(prefix: &str, artefact: &ArtefactDocument) -> (String, u32) {
    (key_of(prefix, &artefact.url), artefact.size)
}

impl<'d> Channel<'d> {
    /// The number of the edition that is served at this second, if the channel exists by then.
    pub(crate) fn at(&self, second: u64) -> Option<usize> {
        self.editions
            .partition_point(|edition| edition.from <= second)
            .checked_sub(1)
    }
}

/// The manifest that a change makes.
fn document(
    scenario: &Scenario,
    product: usize,
    serial: usize,
) -> Result<ManifestDocument, ManifestError> {
    let change = scenario.changes[serial];
    let release = &scenario.releases[change.release];
    let of = &scenario.products[product];
    let name = names(scenario, product, change.release);
    let host = &scenario.bucket.host;
    let url = |file: &str| format!("https://{host}/{}/images/{file}", of.prefix);
    let image = url(&name);
    let version = Version::parse(&release.version).map_err(ManifestError::Version)?;
    let parsed = HttpsUrl::parse(&image).map_err(ManifestError::Url)?;
    let mut document = ManifestDocument::new(&version, &parsed);
    document.size = Some(release.size);
    document.sha256 = Some(release.sha256(product));
    document.chip = Some(of.chip.name().to_owned());
    document.channel = Some(CHANNEL.to_owned());
    document.serial = Some(serial as u64 + 1);
    document.rollout = Rollout::from_percent(change.percent).ok();
    for from in bases(scenario, change.release) {
        let base = &scenario.releases[from];
        document.deltas.push(DeltaDocument {
            from: base.version.clone(),
            base_sha256: base.sha256(product),
            base_size: base.size,
            artefact: ArtefactDocument {
                url: url(&artefact(scenario, product, change.release, Some(from))),
                size: Model::delta_size(release.size).max(1),
            },
        });
    }
    document.compressed = release.artefacts.then(|| ArtefactDocument {
        url: url(&artefact(scenario, product, change.release, None)),
        size: Model::compressed_size(release.size).max(1),
    });
    Ok(document)
}

/// The releases from which there is a delta to this one.
fn bases(scenario: &Scenario, release: usize) -> impl Iterator<Item = usize> {
    let first = match scenario.releases[release].artefacts {
        true => release.saturating_sub(DELTAS_FROM),
        false => release,
    };
    first..release
}

/// The name of an image, as in [`layout`].
fn names(scenario: &Scenario, product: usize, release: usize) -> String {
    let release = &scenario.releases[release];
    named(&release.version, release.sha256(product), "bin")
}

/// The name of the delta that makes it from a release before, or of the compressed image. Its hash is made up.
fn artefact(scenario: &Scenario, product: usize, release: usize, from: Option<usize>) -> String {
    let release = &scenario.releases[release];
    let mut hash = Sha256::new();
    hash.update(release.sha256(product).0);
    hash.update(from.map_or(String::new(), |from| {
        scenario.releases[from].version.clone()
    }));
    let hash = Sha256Digest(hash.finalize().into());
    named(&release.version, hash, "delta")
}

fn named(version: &str, sha256: Sha256Digest, kind: &str) -> String {
    let hex = sha256.to_string();
    format!("{version}-{}.{kind}", hex.get(..12).unwrap_or(&hex))
}
