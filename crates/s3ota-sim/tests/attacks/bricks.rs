//! Bricks: releases that would leave a device behind, were it not that the old firmware launches them, and what might get one
//! booted all the same.

use s3ota::{Boot, Error, Outcome, Reset};
use s3ota_image::Chip;
use s3ota_image::app::{GuardMarker, ImageBuilder};
use s3ota_image::otadata::State;
use s3ota_sim::Setup;
use scripted_server::firmware;
use scripted_server::slots::WITH_FACTORY;
use scripted_server::starts::{Device, FIRST, LAUNCH, OTA_0, OTA_1, serving};

/// An image with this boot guard.
fn guarded_by(version: &str, guard: GuardMarker) -> Vec<u8> {
    let builder = ImageBuilder::new(Chip::Esp32C3, version).guard(guard);
    builder.length(60_000).build()
}

#[tokio::test(start_paused = true)]
async fn image_selected_before_it_is_confirmed() {
    let mut device = Device::installed(LAUNCH).await;
    let before = device.records();
    for boot in 1..=3 {
        assert_eq!(device.selected(), "1.0.0");
        let runs = device.starts(Reset::Crash).await;
        assert!(runs.is("1.1.0", Boot::Trial { boot, of: 3 }), "{runs:?}");
        assert!(runs.launched);
        assert_eq!(device.records(), before);
        if boot == 3 {
            device.confirms(&runs).await;
        }
    }
    assert_eq!(device.selected(), "1.1.0");
    let runs = device.starts(Reset::Crash).await;
    assert!(runs.is("1.1.0", Boot::Confirmed) && !runs.launched);
    // Nothing was learnt of the bootloader.
    assert_eq!(runs.bootloader, None);
    let [old, new] = device.records();
    assert_eq!((old, new.state), (before[0], State::Valid));
}

#[tokio::test(start_paused = true)]
async fn image_that_never_reaches_its_guard() {
    let mut device = Device::installed(LAUNCH).await;
    for boot in 1..=3 {
        let launch = device.guard(OTA_0).await;
        assert!(
            matches!(launch, Boot::Launch { slot, boot: n } if n == boot && slot.index == 1),
            "{launch:?}"
        );
    }
    assert_eq!(device.guard(OTA_0).await, Boot::FellBack);
    for _ in 0..3 {
        assert_eq!(device.guard(OTA_0).await, Boot::Confirmed);
    }
    let runs = device.starts(Reset::Crash).await;
    assert!(runs.is("1.0.0", Boot::Confirmed));
    assert!(device.has_failed(&runs, "1.1.0").await);
    let outcome = device.installs(&runs, "1.2.0").await;
    assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
    assert_eq!(device.starts(Reset::Crash).await.version, "1.2.0");
}

#[tokio::test(start_paused = true)]
async fn launched_firmware_that_takes_itself_for_confirmed() {
    let (mut device, runs) = Device::on_trial(LAUNCH).await;
    let network = serving("1.2.0");
    let does = device.does(&runs, &network, async |updater| {
        assert_eq!(updater.is_on_trial().await, Ok(true));
        updater.install(&mut ()).await
    });
    assert_eq!(does.await, Err(Error::OnTrial));
    let head = &network.requests();
    assert!(head.is_empty(), "it asks nobody for an update: {head:?}");
    let look = device.does(&runs, &network, async |updater| updater.check().await);
    look.await.unwrap();
    let head = &network.requests()[0].head;
    assert!(head.contains("trial"), "{head}");
}

#[tokio::test(start_paused = true)]
async fn image_whose_guard_knows_of_no_launch() {
    for (version, launched) in [(1, false), (2, true), (3, true)] {
        for kind in [GuardMarker::VIRTUAL, GuardMarker::ESP_HAL, 99] {
            let mut device = Device::new(LAUNCH);
            let runs = device.starts(Reset::PowerOn).await;
            let image = guarded_by("1.1.0", GuardMarker::new(kind, version));
            let outcome = device.takes(&runs, "1.1.0", image).await;
            assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
            let runs = device.starts(Reset::Crash).await;
            assert_eq!((runs.boot, runs.launched), (FIRST, launched), "{version}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn trial_record_that_is_over_comes_back() {
    for setup in [Setup::default(), Setup::from_csv(WITH_FACTORY).unwrap()] {
        let mut device = Device::with(LAUNCH, setup);
        let old = device.starts(Reset::PowerOn).await;
        let outcome = device.installs(&old, "1.1.0").await;
        assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
        let runs = device.starts(Reset::Crash).await;
        assert!(runs.is("1.1.0", FIRST), "{runs:?}");
        device.confirms(&runs).await;
        let runs = device.starts(Reset::Crash).await;
        assert!(runs.is("1.1.0", Boot::Confirmed), "{runs:?}");
        let network = serving("1.1.0");
        let back = device.does(&runs, &network, async |updater| updater.roll_back().await);
        assert_eq!(back.await, Ok(()));
        // The trial record that may still be there launches nothing any more.
        for _ in 0..3 {
            let runs = device.starts(Reset::Crash).await;
            assert!(runs.is("1.0.0", Boot::Confirmed), "{runs:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn image_changed_by_cable_in_the_middle_of_a_trial() {
    // The old firmware, by one that is older still; the new one, by a newer.
    for (at, version, runs_then) in [(OTA_0, "0.9.0", "0.9.0"), (OTA_1, "1.3.0", "1.0.0")] {
        let (mut device, _) = Device::on_trial(LAUNCH).await;
        let image = firmware(version);
        device.change(|flash| {
            flash[at..][..image.len()].copy_from_slice(&image);
        });
        for _ in 0..5 {
            let runs = device.start(Reset::Crash).await;
            assert!(runs.is(runs_then, Boot::Confirmed), "{runs:?}");
        }
        // 1.1.0 did nothing wrong.
        let runs = device.starts(Reset::Crash).await;
        let outcome = device.installs(&runs, "1.1.0").await;
        assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
        assert!(device.start(Reset::Crash).await.is("1.1.0", FIRST));
    }
}

#[tokio::test(start_paused = true)]
async fn launched_firmware_whose_launcher_broke() {
    let (mut device, _) = Device::on_trial(LAUNCH).await;
    device.change(|flash| flash[OTA_0 + 5_000..][..4].fill(0));
    // There is nothing to go back to. It stays on trial, and is confirmed as ever.
    for _ in 0..5 {
        let runs = device.start(Reset::Crash).await;
        assert!(runs.is("1.1.0", FIRST) && !runs.launched, "{runs:?}");
    }
    let runs = device.start(Reset::Crash).await;
    device.confirms(&runs).await;
    assert_eq!(device.selected(), "1.1.0");
    assert!(
        device
            .start(Reset::Crash)
            .await
            .is("1.1.0", Boot::Confirmed)
    );
}

#[tokio::test(start_paused = true)]
async fn image_damaged_after_it_was_checked() {
    let mut device = Device::installed(LAUNCH).await;
    device.change(|flash| flash[OTA_1 + 5_000..][..4].fill(0));
    let runs = device.start(Reset::Crash).await;
    assert!(runs.is("1.0.0", Boot::FellBack), "{runs:?}");
    assert!(device.has_failed(&runs, "1.1.0").await);
}
