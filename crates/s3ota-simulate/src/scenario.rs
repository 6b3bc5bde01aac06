//! What happens: the fleet, the releases, and what goes wrong.

use std::time::Duration;

use s3ota::Chip;
use s3ota_manifest::Sha256Digest;
use sha2::{Digest, Sha256};

use crate::model::Model;

/// A day in seconds.
pub(crate) const DAY: u64 = 24 * 60 * 60;

/// What a simulation plays.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Two runs with the same seed, and all else the same, are the same to the byte.
    pub seed: u64,
    /// How many devices there are, with those that are sold on the way.
    pub devices: u32,
    /// When it begins, in seconds since 1970.
    pub start: u64,
    /// How long it takes, in seconds.
    pub seconds: u64,
    /// How often a device checks: [`Schedule::every`](s3ota::Schedule::every).
    pub every: Duration,
    /// The products: a prefix of the bucket for each kind of chip.
    pub products: Vec<Product>,
    /// The releases, in the order of their publication.
    pub releases: Vec<Release>,
    /// What the publisher does, in the order of time.
    pub changes: Vec<Change>,
    /// How the devices are.
    pub model: Model,
    /// The power of a part of the devices goes off, and comes back for all at once.
    pub power_failure: Option<PowerFailure>,
    /// The images cannot be read from one second to another: somebody changed the bucket's policy.
    pub forbidden: Option<(u64, u64)>,
    /// Requests a day of scanners.
    pub foreign_a_day: f64,
    /// The ids of the devices, where they are not to be made up.
    pub ids: Vec<String>,
    /// The bucket that the devices read.
    pub bucket: Bucket,
    /// The manifests that the bucket serves: for each product, and each change, its bytes. They are made up where it has none.
    pub served: Vec<Vec<Vec<u8>>>,
}

/// A bucket, as its access logs name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// Where it lies.
    pub region: String,
    /// The host that devices ask, with the port if it is not 443.
    pub host: String,
}

impl Default for Bucket {
    /// One that is made up.
    fn default() -> Self {
        let (name, region) = ("example-firmware".to_owned(), "us-east-1".to_owned());
        Self {
            host: format!("{name}.s3.{region}.amazonaws.com"),
            name,
            region,
        }
    }
}

/// A product.
#[derive(Debug, Clone)]
pub struct Product {
    /// Its prefix in the bucket.
    pub prefix: String,
    /// Its chip.
    pub chip: Chip,
    /// Its share of the devices.
    pub share: f64,
}

/// A release.
#[derive(Debug, Clone)]
pub struct Release {
    /// Its version.
    pub version: String,
    /// The size of its image in bytes.
    pub size: u32,
    /// The SHA-256 of its image for each product, where it is not to be made up.
    pub sha256: Vec<Sha256Digest>,
    /// Whether it crashes on the devices that have what it does not get on with.
    pub crashes: bool,
    /// Whether there is a compressed image, and a delta from each release before.
    pub artefacts: bool,
    /// The share of the devices that run it at the start.
    pub share_at_start: f64,
}

impl Release {
    /// A good release, which no device runs at the start.
    pub fn new(version: &str, size: u32) -> Self {
        Self {
            version: version.to_owned(),
            size,
            sha256: Vec::new(),
            crashes: false,
            artefacts: true,
            share_at_start: 0.0,
        }
    }

    /// The SHA-256 of its image for a product.
    pub(crate) fn sha256(&self, product: usize) -> Sha256Digest {
        self.sha256.get(product).copied().unwrap_or_else(|| {
            let mut hash = Sha256::new();
            hash.update(b"a made-up image\n");
            hash.update(&self.version);
            hash.update([product as u8]);
            Sha256Digest(hash.finalize().into())
        })
    }
}

/// What the publisher does to the channel of every product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// When, in seconds from the start.
    pub at: u64,
    /// Which release the channel serves from then on, by its place in the list.
    pub release: usize,
    /// To how many percent of the devices.
    pub percent: u8,
}

/// A power failure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerFailure {
    /// Which share of the devices it hits.
    pub share: f64,
    /// When the power goes off, in seconds from the start.
    pub off: u64,
    /// When it comes back.
    pub on: u64,
}

impl Scenario {
    /// The scenario of `s3ota simulate`: a release in three stages, one that crashes on some devices and is yanked, the one that
    /// supersedes it, and one whose rollout has just begun.
    ///
    /// It ends at `end`, in seconds since 1970.
    pub fn usual(
        devices: u32,
        days: u32,
        every: Duration,
        image: u32,
        seed: u64,
        end: u64,
    ) -> Self {
        let seconds = u64::from(days) * DAY;
        // The plan is one for thirty days, and shrinks or grows with the time there is.
        let at = |day: f64| (day / 30.0 * seconds as f64) as u64;
        let first = Release {
            share_at_start: 0.85,
            ..Release::new("1.0.0", image)
        };
        let older = Release {
            share_at_start: 0.15,
            ..Release::new("0.9.2", image)
        };
        let bad = Release {
            crashes: true,
            ..Release::new("1.2.0", image)
        };
        let change = |day, release, percent| Change {
            at: at(day),
            release,
            percent,
        };
        Self {
            seed,
            devices,
            start: end.saturating_sub(seconds),
            seconds,
            every,
            products: vec![
                Product {
                    prefix: "lamp-c3".to_owned(),
                    chip: Chip::Esp32C3,
                    share: 0.7,
                },
                Product {
                    prefix: "lamp-s3".to_owned(),
                    chip: Chip::Esp32S3,
                    share: 0.3,
                },
            ],
            releases: vec![
                older,
                first,
                Release::new("1.1.0", image),
                bad,
                Release::new("1.2.1", image),
                Release::new("1.3.0", image),
            ],
            changes: vec![
                change(0.0, 1, 100),
                change(3.0, 2, 5),
                change(4.5, 2, 25),
                change(6.0, 2, 100),
                // The bad release: five percent do not show it clearly enough, a quarter does.
                change(13.0, 3, 5),
                change(14.0, 3, 25),
                // It is yanked: the channel goes back.
                change(14.8, 2, 100),
                // And superseded.
                change(16.5, 4, 25),
                change(17.5, 4, 100),
                change(27.0, 5, 5),
                change(28.5, 5, 25),
            ],
            model: Model::default(),
            power_failure: None,
            forbidden: Some((at(21.0), at(21.0) + 8 * 60 * 60)),
            foreign_a_day: 150.0,
            ids: Vec::new(),
            bucket: Bucket::default(),
            served: Vec::new(),
        }
    }

    /// The same with a power failure of a part of the devices, two thirds of the way: ten minutes without power.
    pub fn with_power_failure(mut self, share: f64) -> Self {
        let off = self.seconds * 2 / 3;
        self.power_failure = Some(PowerFailure {
            share,
            off,
            on: off + 10 * 60,
        });
        self
    }

    /// A plain scenario for planning: one release, published to all devices at once after half a day.
    pub(crate) fn one_release(&self, devices: u32, days: u32, every: Duration) -> Self {
        let image = self.releases.first().map_or(0, |release| release.size);
        let first = Release {
            share_at_start: 1.0,
            ..Release::new("1.0.0", image)
        };
        Self {
            devices,
            seconds: u64::from(days) * DAY,
            every,
            releases: vec![first, Release::new("1.1.0", image)],
            changes: vec![
                Change {
                    at: 0,
                    release: 0,
                    percent: 100,
                },
                Change {
                    at: DAY / 2,
                    release: 1,
                    percent: 100,
                },
            ],
            model: Model::without_misfortune(),
            power_failure: None,
            forbidden: None,
            foreign_a_day: 0.0,
            ids: Vec::new(),
            served: Vec::new(),
            ..self.clone()
        }
    }
}
