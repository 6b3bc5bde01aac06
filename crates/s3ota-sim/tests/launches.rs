//! Trials that the old firmware launches: otadata goes on selecting it until the new one has confirmed itself.

use s3ota::{
    Boot, Error, NoUpdate, Outcome, Refusal, Reset, TrialMode, UNKNOWN_PARTITION, boot_guard_after,
    launch_refused,
};
use s3ota_image::otadata::active;
use s3ota_image::partition::TABLE_OFFSET;
use s3ota_sim::{Flash, Launcher, Operation, Setup};
use scripted_server::slots::{THREE_SLOTS, WITH_FACTORY};
use scripted_server::starts::{Device, FIRST, LAUNCH, OTA_0, OTA_1, PLAIN, ROLLBACK, Way, serving};

#[tokio::test(start_paused = true)]
async fn beginning_and_counting_such_a_trial_are_one_entry_of_a_log_each() {
    let mut device = Device::new(LAUNCH);
    let runs = device.starts(Reset::PowerOn).await;
    device.flash.record();
    let outcome = device.installs(&runs, "1.1.0").await;
    assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
    let otadata = |operation: &Operation| (0xd000..0xf000).contains(&operation.range().start);
    let mut sizes = Vec::new();
    for _ in 0..2 {
        let record = device.flash.take_record();
        sizes.extend(record.iter().filter(|it| otadata(it)).map(|operation| {
            assert!(matches!(operation, Operation::Program { .. }));
            operation.length()
        }));
        device.flash.record();
        device.starts(Reset::Crash).await;
    }
    // The trial record, and the counts of the old firmware.
    let record = device.flash.take_record();
    sizes.extend(record.iter().map(Operation::length));
    assert_eq!(sizes, [32, 32, 32]);
}

#[tokio::test(start_paused = true)]
async fn how_many_boots_there_are_is_for_the_old_firmware_to_say() {
    let mut device = Device::installed(LAUNCH).await;
    let at = OTA_0 as u32;
    let booted = boot_guard_after(Reset::Crash, &mut device.flash, at, 5).await;
    assert!(matches!(booted.unwrap().boot, Boot::Launch { boot: 1, .. }));
    assert_eq!(device.guard(OTA_1).await, Boot::Trial { boot: 1, of: 5 });
}

#[tokio::test(start_paused = true)]
async fn boots_of_a_trial_count_for_no_later_one() {
    let mut device = Device::installed(LAUNCH).await;
    for _ in 0..4 {
        device.starts(Reset::Crash).await;
    }
    // The first count was torn. It reads as blank now, and did not when those behind it were written.
    let mut bytes = device.flash.bytes().to_vec();
    let mut entries = (0xd000..0xf000).step_by(32);
    let count = entries.find(|&at| bytes[at..].starts_with(b"boot"));
    bytes[count.unwrap()..][..32].fill(0xff);
    device.flash = Flash::in_memory(bytes);
    let runs = device.starts(Reset::Crash).await;
    assert!(runs.is("1.0.0", Boot::Confirmed), "{runs:?}");
    let outcome = device.installs(&runs, "1.2.0").await;
    assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
    for boot in 1..=3 {
        let runs = device.starts(Reset::Crash).await;
        assert!(runs.is("1.2.0", Boot::Trial { boot, of: 3 }), "{runs:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_asked_for_on_trial_leads_to_the_old_firmware() {
    let (mut device, runs) = Device::on_trial(LAUNCH).await;
    let network = serving("1.1.0");
    let back = device.does(&runs, &network, async |updater| updater.roll_back().await);
    assert_eq!(back.await, Ok(()));
    let runs = device.starts(Reset::Crash).await;
    assert!(runs.is("1.0.0", Boot::Confirmed));
    assert!(device.has_failed(&runs, "1.1.0").await);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_asked_for_before_the_launch_selects_no_image_that_is_not_confirmed() {
    let (mut device, runs) = Device::on_trial(LAUNCH).await;
    device.confirms(&runs).await;
    let runs = device.starts(Reset::Crash).await;
    let outcome = device.installs(&runs, "1.2.0").await;
    assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
    // 1.2.0 lies where 1.0.0 was, to which the record in force leads back.
    let network = serving("1.2.0");
    let back = device.does(&runs, &network, async |updater| updater.roll_back().await);
    assert_eq!(back.await, Err(Error::NothingToGoBackTo));
    for boot in 1..=3 {
        let runs = device.starts(Reset::Crash).await;
        assert!(runs.is("1.2.0", Boot::Trial { boot, of: 3 }), "{runs:?}");
        assert!(runs.launched);
    }
    let runs = device.starts(Reset::Crash).await;
    assert!(runs.is("1.1.0", Boot::FellBack), "{runs:?}");
}

#[tokio::test(start_paused = true)]
async fn devices_with_a_factory_app_and_with_three_slots_launch_their_trials() {
    for csv in [WITH_FACTORY, THREE_SLOTS] {
        let mut device = Device::with(LAUNCH, Setup::from_csv(csv).unwrap());
        let mut old = "1.0.0";
        for version in ["1.1.0", "1.2.0", "1.3.0", "1.4.0"] {
            let runs = device.starts(Reset::PowerOn).await;
            assert!(runs.is(old, Boot::Confirmed), "{runs:?}");
            // One that is never confirmed first.
            let failing = format!("{version}-rc.1");
            let outcome = device.installs(&runs, &failing).await;
            assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
            for boot in 1..=3 {
                let runs = device.starts(Reset::Crash).await;
                assert!(runs.is(&failing, Boot::Trial { boot, of: 3 }), "{runs:?}");
            }
            let runs = device.starts(Reset::Crash).await;
            assert!(runs.is(old, Boot::FellBack), "{runs:?}");
            let outcome = device.installs(&runs, version).await;
            assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
            let runs = device.starts(Reset::Crash).await;
            assert!(runs.is(version, FIRST) && runs.launched, "{runs:?}");
            device.confirms(&runs).await;
            old = version;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_bootloader_is_known_to_go_back_it_boots_the_trial() {
    let mut device = Device::new(ROLLBACK);
    let runs = device.starts(Reset::PowerOn).await;
    let outcome = device.installs(&runs, "1.1.0").await;
    assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
    let runs = device.starts(Reset::Crash).await;
    device.confirms(&runs).await;
    device.way.mode = TrialMode::Launch;
    let runs = device.starts(Reset::Crash).await;
    let outcome = device.installs(&runs, "1.2.0").await;
    assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
    let runs = device.starts(Reset::Crash).await;
    assert!(runs.is("1.2.0", FIRST) && !runs.launched, "{runs:?}");
}

#[tokio::test(start_paused = true)]
async fn where_no_trial_has_shown_what_the_bootloader_does_the_old_firmware_launches() {
    let way = Way {
        mode: TrialMode::Launch,
        ..ROLLBACK
    };
    let (mut device, runs) = Device::on_trial(way).await;
    device.confirms(&runs).await;
    for _ in 0..4 {
        let runs = device.starts(Reset::Crash).await;
        assert!(runs.is("1.1.0", Boot::Confirmed) && !runs.launched);
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_cannot_be_launched_is_booted_by_the_bootloader() {
    let mut device = Device::installed(Way {
        launcher: Launcher::Unable,
        ..LAUNCH
    })
    .await;
    for boot in 1..=3 {
        let runs = device.starts(Reset::Crash).await;
        assert!(runs.is("1.1.0", Boot::Trial { boot, of: 3 }), "{runs:?}");
        assert!(!runs.launched);
    }
    let runs = device.starts(Reset::Crash).await;
    assert!(runs.is("1.0.0", Boot::Confirmed), "{runs:?}");
    assert!(device.has_failed(&runs, "1.1.0").await);
}

#[tokio::test(start_paused = true)]
async fn a_guard_of_the_new_firmware_that_cannot_do_its_work_ends_the_trial() {
    for at in [UNKNOWN_PARTITION, 0x12_3000] {
        let mut device = Device::installed(LAUNCH).await;
        let launch = device.guard(OTA_0).await;
        assert!(matches!(launch, Boot::Launch { .. }), "{launch:?}");
        let boot = boot_guard_after(Reset::Crash, &mut device.flash, at, 3).await;
        assert_eq!(boot.unwrap().boot, Boot::GivenUp);
        let runs = device.start(Reset::Crash).await;
        assert!(runs.is("1.0.0", Boot::Confirmed), "{runs:?}");
    }
    // Nor has it a boot if it wants none.
    let mut device = Device::installed(LAUNCH).await;
    device.guard(OTA_0).await;
    let at = OTA_1 as u32;
    let boot = boot_guard_after(Reset::Crash, &mut device.flash, at, 0).await;
    assert_eq!(boot.unwrap().boot, Boot::GivenUp);
    let runs = device.start(Reset::Crash).await;
    assert!(runs.is("1.0.0", Boot::Confirmed), "{runs:?}");
}

#[tokio::test(start_paused = true)]
async fn many_launches_find_room_in_the_log() {
    let mut device = Device::new(LAUNCH);
    for n in 1..=25 {
        let runs = device.starts(Reset::Crash).await;
        let boot = match n {
            1 => Boot::Confirmed,
            _ => Boot::FellBack,
        };
        assert!(runs.is("1.0.0", boot), "{runs:?}");
        let version = format!("1.{n}.0");
        let outcome = device.installs(&runs, &version).await;
        if outcome == Ok(Outcome::NoUpdate(NoUpdate::Resting)) || outcome.is_err() {
            panic!("{version}: {outcome:?}");
        }
        for boot in 1..=3 {
            let runs = device.starts(Reset::Crash).await;
            assert!(runs.is(&version, Boot::Trial { boot, of: 3 }), "{runs:?}");
            assert!(runs.launched);
        }
    }
    let runs = device.starts(Reset::Crash).await;
    assert!(device.has_failed(&runs, "1.25.0").await);
}

#[tokio::test(start_paused = true)]
async fn a_device_goes_from_one_kind_of_trial_to_the_other() {
    let mut device = Device::new(PLAIN);
    let mut old = "1.0.0";
    for (version, mode, fails) in [
        ("1.1.0", TrialMode::Switch, true),
        ("1.2.0", TrialMode::Launch, true),
        ("1.3.0", TrialMode::Switch, false),
        ("1.4.0", TrialMode::Launch, false),
        ("1.5.0", TrialMode::Launch, true),
        ("1.6.0", TrialMode::Switch, true),
        ("1.7.0", TrialMode::Launch, false),
        ("1.8.0", TrialMode::Switch, false),
    ] {
        device.way.mode = mode;
        let runs = device.starts(Reset::Crash).await;
        assert!(runs.is(old, Boot::Confirmed), "{runs:?}");
        let outcome = device.installs(&runs, version).await;
        assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
        let runs = device.starts(Reset::Crash).await;
        assert!(runs.is(version, FIRST), "{runs:?}");
        assert_eq!(runs.launched, mode == TrialMode::Launch);
        if fails {
            while device.starts(Reset::Crash).await.version == version {}
            let runs = device.starts(Reset::Crash).await;
            assert!(device.has_failed(&runs, version).await);
        } else {
            device.confirms(&runs).await;
            old = version;
        }
    }
    assert!(active(&device.records()).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_without_a_trial_changes_nothing() {
    let mut device = Device::new(LAUNCH);
    device.starts(Reset::PowerOn).await;
    let before = device.flash.bytes().to_vec();
    for refusal in [Refusal::Image, Refusal::Launcher] {
        let at = OTA_0 as u32;
        let refused = launch_refused(TABLE_OFFSET, &mut device.flash, at, refusal);
        assert_eq!(refused, Boot::Confirmed);
    }
    assert!(device.flash.bytes() == before);
}
