//! What a device remembers of its owner outlives power cuts, and logs that are full.
//!
//! The way of `power_cuts.rs`: a life is run once with a record of what it does to otadata; then power fails before, inside
//! and after each of these operations. Whatever is left on flash, an older manifest is refused and the floor holds.

use std::collections::HashSet;

use s3ota::manifest::Rollout;
use s3ota::{Boot, Chip, Config, Error, NoUpdate, Outcome, Updater, Workspace, boot_guard};
use s3ota_image::app::ImageBuilder;
use s3ota_sim::{Bootloader, Flash, Mix, Operation, Setup, Tear};

use crate::field::*;
use scripted_server::IMPATIENT;
use scripted_server::bucket::Bucket;
use scripted_server::network::{Network, PORT};

const PARTITIONS: &str = "
otadata, data, ota,   0x9000,  0x2000
ota_0,   app,  ota_0, 0x10000, 0x10000
ota_1,   app,  ota_1, 0x20000, 0x10000
";
const OTADATA: [usize; 2] = [0x9000, 0xa000];
const END: usize = 0x3_0000;

/// Where the log begins behind a record, and the length of an entry.
const LOG: usize = 64;
const ENTRY: usize = 32;

/// A device with one owner.
#[derive(Clone, Copy)]
struct Life {
    bootloader: Bootloader,
}

/// The moments at which power fails in an operation of this length, and what they leave.
fn tears(length: u32) -> Vec<Tear> {
    let in_order = [0, length / 2].map(|reached| Tear {
        reached,
        mix: Mix::InOrder,
    });
    let seeded = (1..3u64).map(|seed| Tear {
        reached: length / 3,
        mix: Mix::Seeded(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
    });
    in_order.into_iter().chain(seeded).collect()
}

fn owner() -> Owner {
    Owner::new(1)
}

/// Under both kinds of bootloader.
fn both() -> [Life; 2] {
    [false, true].map(|app_rollback| Life {
        bootloader: Bootloader { app_rollback },
    })
}

impl Life {
    /// A device as it leaves the workbench.
    fn flash(&self) -> Flash {
        let setup = Setup::from_csv(PARTITIONS).unwrap();
        let mut bytes = setup.flash(&small("1.0.0")).unwrap();
        bytes.truncate(END);
        Flash::in_memory(bytes)
    }

    /// What runs after a restart: where, and which version.
    async fn boots(&self, flash: &mut Flash) -> (u32, String) {
        loop {
            let app = self.bootloader.boot(flash).expect("something boots");
            let at = app.partition.offset;
            let boot = boot_guard(&mut *flash, at, 3).await.unwrap();
            if boot != Boot::GivenUp {
                let descriptor = app.image.descriptor.unwrap();
                return (at, descriptor.version().to_owned());
            }
        }
    }

    /// Restarts, confirms what runs, and looks for an update.
    async fn is_offered(&self, flash: &mut Flash, offer: &Bucket) -> Result<Outcome, Error> {
        let (at, version) = self.boots(flash).await;
        let offer = at_port(offer, PORT);
        let network = Network::new(move |request, _| offer.answer(request).into());
        let keys = [owner().key()];
        let config = Config {
            release_keys: &keys,
            ..network.config(&version, IMPATIENT)
        };
        let mut workspace = Box::new(Workspace::new());
        let mut updater = Updater::new(config, network.device(flash, at), &mut workspace);
        updater.confirm().await?;
        updater.install(&mut ()).await
    }

    /// A release for everyone.
    fn releases(&self, version: &str, serial: u64) -> Bucket {
        owner().signs(&release_of(version, small(version)), |document| {
            document.serial = Some(serial);
        })
    }

    /// Shows it a release with a rollout of zero, this serial and a `min_version`.
    async fn sees(&self, flash: &mut Flash, serial: u64) {
        let seen = owner().signs(&self.releases("9.0.0", serial), |document| {
            document.min_version = Some("1.2.0".into());
            document.rollout = Some(Rollout::NOBODY);
        });
        let outcome = self.is_offered(flash, &seen).await;
        assert_eq!(outcome, Ok(Outcome::NoUpdate(NoUpdate::NotInRollout)));
    }

    async fn updates_to(&self, flash: &mut Flash, version: &str, serial: u64) {
        let outcome = self
            .is_offered(flash, &self.releases(version, serial))
            .await;
        assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
    }

    /// From this flash on, nothing older than the manifest `newest` is taken, and nothing below `min_version`.
    async fn remembers(&self, bytes: &[u8], newest: u64) {
        let mut flash = Flash::in_memory(bytes.to_vec());
        for (offer, code) in [
            (self.releases("9.0.0", newest - 1), "release.replayed"),
            (self.releases("1.1.9", u64::MAX), "release.floor"),
        ] {
            let outcome = self.is_offered(&mut flash, &offer).await;
            assert_eq!(outcome.map_err(|error| error.code()), Err(code));
        }
    }

    /// The same, wherever power fails while the operations in `record` change otadata.
    async fn remembers_through(&self, before: &[u8], record: &[Operation], newest: u64) -> usize {
        let mut flash = before.to_vec();
        let mut seen = HashSet::new();
        for operation in record {
            if OTADATA[0] as u32 <= operation.range().start && operation.range().end <= 0xb000 {
                for tear in tears(operation.length()) {
                    let mut torn = flash.clone();
                    operation.tear(&mut torn, tear);
                    if seen.insert(torn[OTADATA[0]..0xb000].to_vec()) {
                        self.remembers(&torn, newest).await;
                    }
                }
            }
            operation.apply(&mut flash);
        }
        seen.len()
    }
}

/// A firmware of 10,000 bytes.
fn small(version: &str) -> Vec<u8> {
    ImageBuilder::new(Chip::Esp32C3, version)
        .length(10_000)
        .build()
}

/// Leaves no room behind the records in these sectors.
fn fill_logs(flash: &mut Flash, sectors: &[usize]) {
    let mut bytes = flash.bytes().to_vec();
    for &sector in sectors {
        for entry in bytes[sector + LOG..sector + 0x1000].chunks_mut(ENTRY) {
            if entry.iter().all(|&byte| byte == 0xff) {
                entry.fill(0);
            }
        }
    }
    *flash = Flash::in_memory(bytes);
}

#[tokio::test(start_paused = true)]
async fn memory_outlives_power_cuts() {
    for life in both() {
        let mut flash = life.flash();
        life.sees(&mut flash, 20).await;
        let before = flash.bytes().to_vec();
        flash.record();
        life.updates_to(&mut flash, "2.0.0", 21).await;
        let update = flash.take_record();
        let between = flash.bytes().to_vec();
        flash.record();
        // The trial, and its end.
        life.sees(&mut flash, 21).await;
        let trial = flash.take_record();
        let cuts = life.remembers_through(&before, &update, 20).await;
        let more = life.remembers_through(&between, &trial, 21).await;
        assert!(cuts > 10 && more > 10, "power never failed: {cuts} {more}");
        life.remembers(flash.bytes(), 21).await;
    }
}

#[tokio::test(start_paused = true)]
async fn memory_outlives_full_logs() {
    for (life, updates) in both().into_iter().flat_map(|life| [(life, 0), (life, 2)]) {
        let mut flash = life.flash();
        for n in 0..updates {
            life.updates_to(&mut flash, &format!("1.3.{n}"), n + 1)
                .await;
        }
        life.sees(&mut flash, 20).await;
        let running = life.boots(&mut flash).await;
        for (serial, full) in [(21, &OTADATA[..]), (22, &OTADATA[..1]), (23, &OTADATA[1..])] {
            fill_logs(&mut flash, full);
            let before = flash.bytes().to_vec();
            flash.record();
            life.sees(&mut flash, serial).await;
            let record = flash.take_record();
            let cuts = life.remembers_through(&before, &record, serial - 1).await;
            assert!(cuts > 3, "power never failed");
            life.remembers(flash.bytes(), serial).await;
        }
        assert_eq!(life.boots(&mut flash).await, running);
        life.updates_to(&mut flash, "2.0.0", 24).await;
        life.remembers(flash.bytes(), 24).await;
        assert_eq!(life.boots(&mut flash).await.1, "2.0.0");
    }
}

/// A device that is offered releases by an owner who signs one of them again and again.
struct Offered {
    flash: Flash,
    bootloader: Bootloader,
}

impl Offered {
    fn new(bootloader: Bootloader) -> Self {
        let mut bytes = Setup::from_csv(PARTITIONS)
            .unwrap()
            .flash(&small("1.0.0"))
            .unwrap();
        bytes.truncate(END);
        Self {
            flash: Flash::in_memory(bytes),
            bootloader,
        }
    }

    /// Starts until something runs that is not given up: where, and its version.
    async fn starts(&mut self) -> (u32, String) {
        loop {
            let app = self.bootloader.boot(&mut self.flash).unwrap();
            let at = app.partition.offset;
            if boot_guard(&mut self.flash, at, 3).await.unwrap() != Boot::GivenUp {
                return (at, app.image.descriptor.unwrap().version().to_owned());
            }
        }
    }

    async fn is_offered(&mut self, version: &str, serial: u64) -> Result<Outcome, Error> {
        let (at, runs) = self.starts().await;
        assert_eq!(runs, "1.0.0");
        let owner = owner();
        let signed = owner.signs(&release_of(version, small(version)), |document| {
            document.serial = Some(serial);
        });
        let network = Network::new(move |request, _| at_port(&signed, PORT).answer(request).into());
        let keys = [owner.key()];
        let config = Config {
            release_keys: &keys,
            ..network.config("1.0.0", IMPATIENT)
        };
        let mut workspace = Box::new(Workspace::new());
        let device = network.device(&mut self.flash, at);
        Updater::new(config, device, &mut workspace)
            .install(&mut ())
            .await
    }

    /// Takes a release, which never confirms.
    async fn fails(&mut self, version: &str, serial: u64) {
        let outcome = self.is_offered(version, serial).await;
        assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
        while self.starts().await.1 == version {}
    }
}

#[tokio::test(start_paused = true)]
async fn release_that_failed_is_not_tried_again_though_it_is_signed_anew() {
    for Life { bootloader } in both() {
        let mut device = Offered::new(bootloader);
        device.fails("1.1.0", 1).await;
        // More often than the logs have room for.
        for serial in 2..300 {
            let outcome = device.is_offered("1.1.0", serial).await;
            let failed = Ok(Outcome::NoUpdate(NoUpdate::FailedBefore));
            assert_eq!(outcome, failed, "{bootloader:?}: {serial}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn releases_that_failed_are_remembered_through_others_that_fail() {
    for Life { bootloader } in both() {
        let mut device = Offered::new(bootloader);
        let versions = ["1.1.0", "1.2.0", "1.3.0", "1.4.0", "1.5.0", "1.6.0"];
        for (serial, version) in (1..).zip(versions) {
            device.fails(version, serial).await;
        }
        for (serial, version) in (100..).zip(versions) {
            let outcome = device.is_offered(version, serial).await;
            let failed = Ok(Outcome::NoUpdate(NoUpdate::FailedBefore));
            assert_eq!(outcome, failed, "{bootloader:?}: {version}");
        }
    }
}
