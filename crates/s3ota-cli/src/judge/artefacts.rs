//! Whether the deltas and the compressed image of a release lead to its image.
//!
//! A device takes the release without them, so what is wrong with one is a warning. But with them it has not fetched the image itself,
//! which devices without the feature `delta` need: that is fetched here.

use std::time::Duration;

use s3ota::manifest::{Artefact, Delta, Manifest, Sha256Digest, layout};
use s3ota_codec::{Header, encode};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::bucket::{artefacts, channel};
use crate::error::CliError;
use crate::firmware;
use crate::firmware::report::refused;
use crate::output::{self, Output};
use crate::s3::{Probe, Store, presigned_until};

/// How long one download may take.
const DOWNLOAD: Duration = Duration::from_secs(10 * 60);

/// Where the images are that deltas are made from.
pub struct Bases {
    /// The bucket.
    pub store: Store,
    /// The prefix.
    pub prefix: String,
}

/// Decodes every artefact of a release, and holds the image at its URL against its digest.
pub async fn check(
    manifest: &Manifest<'_>,
    probe: &Probe,
    bases: Option<&Bases>,
    out: &Output,
) -> Result<(), CliError> {
    let (Some(size), Some(sha256)) = (manifest.size, manifest.sha256) else {
        return Ok(());
    };
    let has_artefacts = manifest.deltas().next().is_some() || manifest.compressed().is_some();
    if !has_artefacts || size > firmware::MAX_IMAGE {
        return Ok(());
    }
    let url = manifest.url.as_str();
    let image = probe.get_within(url, size as usize, DOWNLOAD).await?;
    if image.len() != size as usize || sha256.0 != *Sha256::digest(&image) {
        let message = "the image is not the one that the manifest describes: devices that take no delta refuse it";
        return Err(CliError::new("verify.image", message)
            .hint("publish the firmware again: the same bytes under the same version restore it"));
    }
    let release = Release {
        probe,
        bases,
        image: &image,
        sha256,
    };
    for delta in manifest.deltas() {
        let from = delta.from.to_string();
        let checked = release.delta(&delta).await;
        tell(Some(&from), &delta.artefact, size, checked, out);
    }
    if let Some(compressed) = manifest.compressed() {
        let checked = release.compressed(&compressed).await;
        tell(None, &compressed, size, checked, out);
    }
    Ok(())
}

/// How far an artefact was checked.
enum Checked {
    /// It makes the image.
    Decoded,
    /// Its header names the base and the image. The base could not be read.
    Header,
}

struct Release<'a> {
    probe: &'a Probe,
    bases: Option<&'a Bases>,
    image: &'a [u8],
    sha256: Sha256Digest,
}

impl Release<'_> {
    async fn delta(&self, delta: &Delta<'_>) -> Result<Checked, CliError> {
        let (bytes, header) = self.fetch(&delta.artefact).await?;
        if (header.base, header.base_size) != (delta.base.0, delta.base_size) {
            return Err(wrong(
                "it is made from another image than the manifest says",
            ));
        }
        match self.base(delta).await {
            Some(base) => self.decode(&base, &bytes),
            None => Ok(Checked::Header),
        }
    }

    async fn compressed(&self, artefact: &Artefact<'_>) -> Result<Checked, CliError> {
        let (bytes, header) = self.fetch(artefact).await?;
        if header.base_size != 0 {
            return Err(wrong("it is a delta"));
        }
        self.decode(&[], &bytes)
    }

    /// An artefact that says that it makes the image.
    async fn fetch(&self, artefact: &Artefact<'_>) -> Result<(Vec<u8>, Header), CliError> {
        let (url, size) = (artefact.url.as_str(), artefact.size as usize);
        if size > self.image.len() {
            return Err(wrong("it is larger than the image"));
        }
        let bytes = self.probe.get_within(url, size, DOWNLOAD).await?;
        if bytes.len() != size {
            return Err(wrong("it has another size than the manifest says"));
        }
        let header = Header::parse(&bytes).map_err(refused)?;
        if header.result != self.sha256.0 {
            return Err(wrong("it makes another image"));
        }
        Ok((bytes, header))
    }

    fn decode(&self, base: &[u8], artefact: &[u8]) -> Result<Checked, CliError> {
        match encode::apply(base, artefact).map_err(refused)? == self.image {
            true => Ok(Checked::Decoded),
            false => Err(wrong("it makes another image")),
        }
    }

    /// The image that a delta is made from, from the bucket; or from beside the delta, where anyone may read it.
    async fn base(&self, delta: &Delta<'_>) -> Option<Vec<u8>> {
        let bytes = match self.bases {
            Some(Bases { store, prefix }) => {
                let version = delta.from.to_string();
                let key = channel::image_key(prefix, &version, Some(delta.base))?;
                store.get_start(&key, delta.base_size.into()).await.ok()??
            }
            None => {
                let url = delta.artefact.url.as_str();
                let (folder, _) = url.rsplit_once("/images/")?;
                if presigned_until(url).is_some() {
                    return None;
                }
                let key = layout::image_key("", &delta.from, &delta.base).ok()?;
                let url = format!("{folder}/{}", layout::url_path(&key));
                let got = self
                    .probe
                    .get_within(&url, delta.base_size as usize, DOWNLOAD);
                got.await.ok()?
            }
        };
        (delta.base.0 == *Sha256::digest(&bytes)).then_some(bytes)
    }
}

fn wrong(what: &str) -> CliError {
    CliError::new("delta.invalid", what)
}

fn tell(
    from: Option<&str>,
    artefact: &Artefact<'_>,
    image: u32,
    checked: Result<Checked, CliError>,
    out: &Output,
) {
    let name = artefacts::name(from);
    let checked = match checked {
        Ok(checked) => checked,
        Err(error) => {
            let message = format!(
                "{name} does not lead to the image, and devices take a longer way: {}",
                error.message
            );
            out.warning(
                &CliError::new("verify.artefact", message)
                    .hint("publish the same firmware again, which makes it anew"),
            );
            return;
        }
    };
    let is_decoded = matches!(checked, Checked::Decoded);
    let note = match is_decoded {
        true => "makes the image",
        false => "says that it makes the image; its base cannot be read here",
    };
    let size = output::bytes(artefact.size.into());
    out.say(output::fact(
        "smaller",
        9,
        format_args!(
            "{name}: {size} instead of {}, {note}",
            output::bytes(image.into())
        ),
    ));
    out.event(
        "artefact",
        json!({ "from": from, "bytes": artefact.size, "instead_of": image, "decoded": is_decoded }),
    );
}
