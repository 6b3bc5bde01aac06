//! What a reviewer tried.

use std::future::pending;
use std::sync::Mutex;
use std::time::Duration;

use s3ota::manifest::Rollout;
use s3ota::{
    Agent, Boot, Chip, Config, NoUpdate, Outcome, Patience, Schedule, Updater, Workspace,
    boot_guard,
};
use s3ota_image::app::ImageBuilder;
use s3ota_sim::{Bootloader, Flash, Setup, VirtualDevice};
use tokio::time::timeout;

use crate::bucket::{Bucket, Object};
use crate::field::*;
use crate::network::{Network, PORT};
use crate::support::{IMPATIENT, Reply, firmware};

/// A firmware whose own settings refuse the very manifest that brought it can never be replaced: it must not be confirmed.
#[tokio::test(start_paused = true)]
async fn firmware_whose_settings_refuse_its_own_manifest_is_not_confirmed() {
    let owner = Owner::new(1);
    let signed = owner.signs(&release("1.1.0"), |document| {
        document.serial = Some(1);
        document.board = Some("lamp-2".into());
        document.channel = Some("manifest".into());
    });
    let network = Network::new(move |request, _| at_port(&signed, PORT).answer(request).into());
    let mut flash = Flash::in_memory(Setup::default().flash(&firmware("1.0.0")).unwrap());
    network
        .install(&mut flash, 0x1_0000, "1.0.0", IMPATIENT, &mut ())
        .await
        .unwrap();
    let mut on_trial = VirtualDevice::new(flash);
    let running = on_trial.power_on().unwrap();
    let keys = [owner.key()];
    let cases: [(&str, fn(&mut Config<'_>), bool); 4] = [
        ("right", |_| {}, true),
        ("board", |config| config.board = Some("lamp2"), false),
        ("channel", |config| config.channel = Some("stabel"), false),
        ("chip", |config| config.chip = Chip::Esp32C6, false),
    ];
    let mut wrong = Vec::new();
    for (name, settings, confirmed) in cases {
        let mut config = Config {
            release_keys: &keys,
            ..network.config("1.1.0", Patience::default())
        };
        settings(&mut config);
        let mut flash = Flash::in_memory(on_trial.flash().bytes().to_vec());
        let device = network.device(&mut flash, running.app.partition.offset);
        let mut workspace = Box::new(Workspace::new());
        let updater = Updater::new(config, device, &mut workspace);
        let mut agent = Agent::new(updater, Schedule::default());
        let _ = timeout(Duration::from_secs(600), agent.run(&mut (), pending)).await;
        let is_confirmed = !agent.updater().is_on_trial().await.unwrap();
        let next = agent.updater().check().await.map_err(|error| error.code());
        println!("{name}: confirmed {is_confirmed}, and then {next:?}");
        if is_confirmed != confirmed {
            wrong.push(name);
        }
    }
    assert!(
        wrong.is_empty(),
        "confirmed though it refuses its own manifest: {wrong:?}"
    );
}

/// A release that failed its trial is not tried again, however often its manifest is signed anew.
#[tokio::test(start_paused = true)]
async fn a_failed_release_is_not_tried_again_though_it_is_signed_anew() {
    const PARTITIONS: &str = "
        otadata, data, ota,   0x9000,  0x2000
        ota_0,   app,  ota_0, 0x10000, 0x10000
        ota_1,   app,  ota_1, 0x20000, 0x10000
    ";
    let small = |version| {
        ImageBuilder::new(Chip::Esp32C3, version)
            .length(10_000)
            .build()
    };
    let mut bytes = Setup::from_csv(PARTITIONS)
        .unwrap()
        .flash(&small("1.0.0"))
        .unwrap();
    bytes.truncate(0x3_0000);
    let mut flash = Flash::in_memory(bytes);
    let owner = Owner::new(1);
    let keys = [owner.key()];
    let offer = async |flash: &mut Flash, serial: u64| {
        let (at, version) = loop {
            let app = Bootloader::default().boot(flash).unwrap();
            let at = app.partition.offset;
            if boot_guard(&mut *flash, at, 3).await.unwrap() != Boot::GivenUp {
                break (at, app.image.descriptor.unwrap().version().to_owned());
            }
        };
        assert_eq!(version, "1.0.0");
        let signed = owner.signs(&release_of("1.1.0", small("1.1.0")), |document| {
            document.serial = Some(serial)
        });
        let network = Network::new(move |request, _| at_port(&signed, PORT).answer(request).into());
        let config = Config {
            release_keys: &keys,
            ..network.config("1.0.0", IMPATIENT)
        };
        let mut workspace = Box::new(Workspace::new());
        Updater::new(config, network.device(flash, at), &mut workspace)
            .install(&mut ())
            .await
    };
    assert!(matches!(
        offer(&mut flash, 1).await,
        Ok(Outcome::Installed(_))
    ));
    // It never confirms.
    for _ in 0..3 {
        let app = Bootloader::default().boot(&mut flash).unwrap();
        boot_guard(&mut flash, app.partition.offset, 3)
            .await
            .unwrap();
    }
    for serial in 2..400 {
        let outcome = offer(&mut flash, serial).await;
        if outcome != Ok(Outcome::NoUpdate(NoUpdate::FailedBefore)) {
            panic!("signed anew for the {serial}th time: {outcome:?}");
        }
    }
}

/// Who owns the bucket can make a device erase its slot so often in one update.
#[tokio::test(start_paused = true)]
async fn wear_by_an_image_that_is_wrong_at_its_end() {
    let image = ImageBuilder::new(Chip::Esp32C3, "1.1.0")
        .length(1_000_000)
        .build();
    let owner = Owner::new(1);
    let signed = owner.signs(&release_of("1.1.0", image), |document| {
        document.serial = Some(1)
    });
    let held = at_port(&signed, PORT);
    let rounds = Mutex::new(0usize);
    let network = Network::new(move |request, _| {
        let answer = held.answer(request);
        if Object::of(request) == Object::Manifest {
            return answer.into();
        }
        let mut bytes = answer.bytes();
        let mut rounds = rounds.lock().unwrap();
        if request.field("Range").is_none() {
            // So much, and a cut: one sector more than the time before.
            *rounds += 1;
            let head = answer.head().len();
            bytes.truncate(head + *rounds * 4096 + 100);
            Reply::SendAndClose(bytes, false)
        } else {
            // All of the rest, its last byte wrong.
            *bytes.last_mut().unwrap() ^= 1;
            Reply::Send(bytes)
        }
    });
    let keys = [owner.key()];
    let mut flash = Flash::in_memory(Setup::default().flash(&firmware("1.0.0")).unwrap());
    let before = flash.wear();
    let config = Config {
        release_keys: &keys,
        ..network.config("1.0.0", Patience::default())
    };
    let mut workspace = Box::new(Workspace::new());
    let start = tokio::time::Instant::now();
    let outcome = Updater::new(config, network.device(&mut flash, 0x1_0000), &mut workspace)
        .install(&mut ())
        .await;
    let after = flash.wear();
    let sectors = after.sectors - before.sectors;
    println!(
        "{:?} after {:?}: {} sectors erased, {} times the image",
        outcome.map_err(|e| e.code()),
        start.elapsed(),
        sectors,
        sectors / 245
    );
    assert!(
        sectors <= 6 * 245,
        "{sectors} sectors were erased in one update of 245"
    );
}

#[allow(dead_code)]
fn unused(_: Bucket, _: Rollout) {}
