//! `s3ota simulate --bucket`: the scenario's releases, published for real.

use s3ota_image::Chip;
use s3ota_image::app::ImageBuilder;
use s3ota_manifest::{Rollout, Sha256Digest};
use s3ota_simulate::{Bucket, CHANNEL, Change, Scenario};
use sha2::{Digest, Sha256};

use super::SimulateArgs;
use crate::bucket::channel::{ChangeArgs, Channel};
use crate::bucket::withdrawal::Withdrawal;
use crate::error::CliError;
use crate::firmware::Firmware;
use crate::output::{self, Output};
use crate::publishing::{ReleaseOptions, publish};
use crate::s3::{Folders, Location, Store};

/// Publishes what the scenario publishes, in its order, and keeps the manifests that the bucket served in between. The scenario's products
/// move to the location's prefix.
pub async fn publish_all(
    location: &str,
    args: &SimulateArgs,
    scenario: &mut Scenario,
    out: &Output,
) -> Result<(), CliError> {
    let location: Location = location.parse().map_err(CliError::usage)?;
    let store = Store::connect(&args.s3, &location, None).await?;
    must_be_empty(&store, &location).await?;
    let mut progress = out.progress_in_percent("publishing");
    let steps = scenario.products.len() * scenario.changes.len();
    let releases = scenario.releases.iter();
    let versions: Vec<_> = releases.map(|it| it.version.clone()).collect();
    let mut served = Vec::new();
    for product in 0..scenario.products.len() {
        let of = &mut scenario.products[product];
        let own = [location.prefix.as_str(), &of.prefix];
        of.prefix = own.join("/").trim_start_matches('/').to_owned();
        let mut owner = Owner {
            firmwares: firmwares(scenario, product)?,
            versions: &versions,
            location: Location {
                prefix: scenario.products[product].prefix.clone(),
                ..location.clone()
            },
            store: &store,
            public_url: args.public_url.clone(),
            serves: None,
            host: None,
        };
        for (release, firmware) in scenario.releases.iter_mut().zip(&owner.firmwares) {
            release.size = firmware.bytes.len() as u32;
            let sha256 = Sha256Digest(Sha256::digest(&firmware.bytes).into());
            release.sha256.push(sha256);
        }
        // What devices run at the start has been published before.
        let first = scenario.changes.first().map_or(0, |it| it.release);
        for before in 0..first {
            owner.publish(before, 100).await?;
        }
        let mut documents = Vec::new();
        for change in &scenario.changes {
            documents.push(owner.carry_out(change).await?);
            let done = product * scenario.changes.len() + documents.len();
            progress.set_share(done as f64 / steps.max(1) as f64);
        }
        served.push(documents);
        if let Some(host) = owner.host {
            scenario.bucket = Bucket {
                name: location.bucket.clone(),
                region: store.region().to_owned(),
                host,
            };
        }
    }
    progress.finish();
    scenario.served = served;
    out.say(format_args!(
        "The releases are in {location}; to look at them: s3ota status {}",
        output::for_shell(&location.to_string())
    ));
    Ok(())
}

/// A made-up fleet must not be mixed up with a real one.
async fn must_be_empty(store: &Store, location: &Location) -> Result<(), CliError> {
    let folder = match location.prefix.as_str() {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    };
    let Some(object) = store.list(&folder, Folders::With).await?.into_iter().next() else {
        return Ok(());
    };
    let message = format!("{location} is in use: there is {}", object.key);
    let hint = "name a prefix with nothing in it; what was published there for a simulation can be deleted";
    Err(CliError::new("simulate.exists", message).hint(hint))
}

/// The firmware of each release.
fn firmwares(scenario: &Scenario, product: usize) -> Result<Vec<Firmware>, CliError> {
    let chip = scenario.products[product].chip;
    let releases = scenario.releases.iter().enumerate();
    releases
        .map(|(number, release)| {
            Firmware::from_image(image(chip, &release.version, number, release.size))
        })
        .collect()
}

/// Bytes of an image that change together.
const PART: usize = 256;

/// An image that costs about what the model says of images: of each, 55 percent do not compress; 5 percent are new in each release.
fn image(chip: Chip, version: &str, number: usize, size: u32) -> Vec<u8> {
    let mut payload = Vec::new();
    for part in 0..size as usize / PART {
        let mut hash = Sha256::new().chain_update(part.to_le_bytes());
        let [kind, ..] = hash.clone().finalize()[..] else {
            continue;
        };
        if kind < 115 {
            payload.resize(payload.len() + PART, 0);
            continue;
        }
        // In which release this part changed last.
        let changed = (0..=number).rev().find(|it| (part + 7 * it) % 20 == 0);
        hash.update(changed.unwrap_or(0).to_le_bytes());
        hash.update(chip.name());
        for piece in 0..PART / 32 {
            payload.extend(hash.clone().chain_update([piece as u8]).finalize());
        }
    }
    let builder = ImageBuilder::new(chip, version).project_name("simulated");
    builder.payload(&payload).build()
}

/// The owner of a product.
struct Owner<'s> {
    firmwares: Vec<Firmware>,
    versions: &'s [String],
    location: Location,
    store: &'s Store,
    public_url: Option<String>,
    /// The release that the channel serves.
    serves: Option<usize>,
    /// The host that devices ask.
    host: Option<String>,
}

impl Owner<'_> {
    /// Carries a change out, and returns the manifest that the bucket serves then.
    async fn carry_out(&mut self, change: &Change) -> Result<Vec<u8>, CliError> {
        match self.serves {
            // Back to an older one: the newer one is yanked.
            Some(serves) if serves > change.release => self.yank(serves).await?,
            _ => self.publish(change.release, change.percent).await?,
        }
        self.serves = Some(change.release);
        let channel = Channel::read(self.store, &self.location.prefix, CHANNEL).await?;
        let meant = &self.versions[change.release];
        match &channel.current {
            Some(held) if channel.readable().is_some_and(|it| it.version == *meant) => {
                Ok(held.bytes().to_vec())
            }
            _ => {
                let message = format!(
                    "{} does not serve {meant} after it was published",
                    self.location
                );
                let hint = "does somebody else use this prefix?";
                Err(CliError::new("simulate.bucket", message).hint(hint))
            }
        }
    }

    async fn publish(&mut self, release: usize, percent: u8) -> Result<(), CliError> {
        let options = ReleaseOptions {
            rollout: Rollout::from_percent(percent).ok(),
            public_url: self.public_url.clone(),
            ..ReleaseOptions::channel(CHANNEL)
        };
        let (store, location) = (self.store, &self.location);
        let firmware = &self.firmwares[release];
        let out = Output::silent();
        let published = publish(firmware, &options, None, store, location, &out).await?;
        let url = published.manifest_url.strip_prefix("https://");
        let host = url.and_then(|url| url.split_once('/'));
        self.host = host.map(|(host, _)| host.to_owned());
        Ok(())
    }

    async fn yank(&self, release: usize) -> Result<(), CliError> {
        let withdrawal = Withdrawal {
            version: self.versions[release].clone(),
            reason: Some("it crashes on some devices"),
            allow_downgrade: false,
            newer_is_lost: false,
            lifetime: None,
            change: &ChangeArgs::default(),
            host: None,
            store: self.store,
            location: &self.location,
            out: &Output::silent(),
        };
        withdrawal.carry_out().await
    }
}
