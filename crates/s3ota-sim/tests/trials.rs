//! Trials, and the ways back: what boots after what, under both kinds of bootloader, with and without a factory app.

use s3ota::{Agent, Boot, Error, NoUpdate, Outcome, Schedule, Workspace};
use s3ota_image::app::ImageBuilder;
use s3ota_image::otadata::{Record, State};
use s3ota_sim::{Bootloader, Flash, Mix, Operation, PowerCut, Setup, Tear, VirtualDevice};
use scripted_server::slots::{
    THREE_SLOTS, WITH_FACTORY, confirm, device_with, install, install_and_confirm, roll_back,
};
use scripted_server::*;
use std::time::Duration;

/// Boots without confirming until another version comes up.
fn boot_until_given_up(device: &mut VirtualDevice, version: &str) {
    let boots = (0..10).take_while(|_| device.power_on().unwrap().version() == version);
    assert!(boots.count() < 10, "{version} is never given up");
}

/// Whether the release of this version is refused because it failed before.
async fn has_failed(device: &mut VirtualDevice, version: &'static str) -> bool {
    let server = Server::start(releasing(version)).await;
    update(device, &server, IMPATIENT).await == Ok(Outcome::NoUpdate(NoUpdate::FailedBefore))
}

fn records(device: &VirtualDevice) -> [Record; 2] {
    [0xd000, 0xe000].map(|at| Record::parse(device.flash().bytes()[at..][..32].try_into().unwrap()))
}

#[tokio::test]
async fn a_switch_writes_one_whole_record_and_leaves_the_other_alone() {
    let mut device = device("1.0.0");
    device.power_on().unwrap();
    let before = records(&device);
    assert_eq!((before[0].sequence, before[0].state), (1, State::Valid));
    install(&mut device, "1.1.0").await;
    let after = records(&device);
    assert_eq!(after[0], before[0]);
    assert_eq!((after[1].sequence, after[1].state), (2, State::New));
    assert!(after[1].crc_matches() && after[1].label.starts_with(b"s3ota"));
}

#[tokio::test]
async fn counting_boots_erases_nothing() {
    let mut device = device("1.0.0");
    install(&mut device, "1.1.0").await;
    let erases = device.flash().wear().erases;
    for _ in 0..3 {
        device.power_on().unwrap();
    }
    assert_eq!(device.flash().wear().erases, erases);
}

#[tokio::test]
async fn confirming_writes_the_other_sector_and_names_the_same_slot() {
    let mut device = device("1.0.0");
    install_and_confirm(&mut device, "1.1.0").await;
    let [confirmed, trial] = records(&device);
    assert_eq!((trial.sequence, trial.state), (2, State::New));
    assert_eq!((confirmed.sequence, confirmed.state), (4, State::Valid));
    assert_eq!(confirmed.slot(2), trial.slot(2));
}

#[tokio::test]
async fn confirming_twice_or_without_a_trial_does_nothing() {
    let mut device = device("1.0.0");
    let running = install_and_confirm(&mut device, "1.1.0").await;
    let before = records(&device);
    let mut workspace = Box::new(Workspace::new());
    let config = s3ota::Config::new("https://localhost/", "1.1.0", s3ota::Chip::Esp32C3, "");
    assert_eq!(
        device
            .updater(&running, config, &mut workspace)
            .confirm()
            .await,
        Ok(false)
    );
    assert_eq!(records(&device), before);
}

#[tokio::test]
async fn a_bootloader_with_rollback_gives_up_at_the_second_boot() {
    for confirmed in [true, false] {
        let mut device = device("1.0.0").with_bootloader(Bootloader { app_rollback: true });
        if confirmed {
            install_and_confirm(&mut device, "1.1.0").await;
            for _ in 0..4 {
                assert_eq!(device.power_on().unwrap().version(), "1.1.0");
            }
            // The trial's own record is aborted by the bootloader by then; that must not count against the release.
            let server = Server::start(releasing("1.1.0")).await;
            let outcome = update(&mut device, &server, IMPATIENT).await;
            assert_eq!(outcome, Ok(Outcome::NoUpdate(NoUpdate::UpToDate)));
        } else {
            install(&mut device, "1.1.0").await;
            let running = device.power_on().unwrap();
            assert_eq!(
                (running.version(), running.boot),
                ("1.1.0", Boot::Trial { boot: 1, of: 3 })
            );
            assert_eq!(device.power_on().unwrap().version(), "1.0.0");
            assert!(has_failed(&mut device, "1.1.0").await);
        }
    }
}

#[tokio::test]
async fn a_failed_update_from_the_factory_app_leads_back_to_it() {
    for app_rollback in [false, true] {
        let mut device =
            device_with(WITH_FACTORY, "1.0.0").with_bootloader(Bootloader { app_rollback });
        assert_eq!(install(&mut device, "1.1.0").await.slot.index, 0);
        assert_eq!(device.power_on().unwrap().version(), "1.1.0");
        boot_until_given_up(&mut device, "1.1.0");
        let running = device.power_on().unwrap();
        assert_eq!((running.version(), running.app.slot), ("1.0.0", None));
        assert!(has_failed(&mut device, "1.1.0").await);
        install_and_confirm(&mut device, "1.2.0").await;
        install_and_confirm(&mut device, "1.3.0").await;
    }
}

#[tokio::test]
async fn three_slots_are_used_in_turn_and_lead_back() {
    let mut device = device_with(THREE_SLOTS, "1.0.0");
    assert_eq!(
        install_and_confirm(&mut device, "1.1.0").await.app.slot,
        Some(1)
    );
    assert_eq!(
        install_and_confirm(&mut device, "1.2.0").await.app.slot,
        Some(2)
    );
    assert_eq!(
        install_and_confirm(&mut device, "1.3.0").await.app.slot,
        Some(0)
    );
    install(&mut device, "1.4.0").await;
    boot_until_given_up(&mut device, "1.4.0");
    assert_eq!(device.power_on().unwrap().version(), "1.3.0");
}

#[tokio::test]
async fn rolling_back_a_trial_boots_the_firmware_before() {
    let mut device = device("1.0.0");
    install(&mut device, "1.1.0").await;
    let running = device.power_on().unwrap();
    roll_back(&mut device, &running).await.unwrap();
    assert_eq!(device.power_on().unwrap().version(), "1.0.0");
    assert!(has_failed(&mut device, "1.1.0").await);
}

#[tokio::test]
async fn rolling_back_a_confirmed_firmware_boots_the_one_before() {
    let mut device = device("1.0.0");
    let running = install_and_confirm(&mut device, "1.1.0").await;
    roll_back(&mut device, &running).await.unwrap();
    let running = device.power_on().unwrap();
    assert_eq!(
        (running.version(), running.boot),
        ("1.0.0", Boot::Confirmed)
    );
    assert!(has_failed(&mut device, "1.1.0").await);
    install_and_confirm(&mut device, "1.2.0").await;
}

#[tokio::test]
async fn rolling_back_without_another_firmware_changes_nothing() {
    let mut device = device("1.0.0");
    let running = device.power_on().unwrap();
    let before = device.flash().bytes().to_vec();
    assert_eq!(
        roll_back(&mut device, &running).await,
        Err(Error::NothingToGoBackTo)
    );
    assert!(device.flash().bytes() == before);
}

#[tokio::test]
async fn rolling_back_the_only_update_of_a_device_with_a_factory_app_boots_the_factory_app() {
    let mut device = device_with(WITH_FACTORY, "1.0.0");
    let running = install_and_confirm(&mut device, "1.1.0").await;
    roll_back(&mut device, &running).await.unwrap();
    let running = device.power_on().unwrap();
    assert_eq!((running.version(), running.app.slot), ("1.0.0", None));
    assert!(has_failed(&mut device, "1.1.0").await);
}

#[tokio::test]
async fn a_rollback_that_power_fails_in_is_a_trial_where_the_bootloader_makes_it_one() {
    let bootloader = Bootloader { app_rollback: true };
    let mut device = device_with(WITH_FACTORY, "1.0.0").with_bootloader(bootloader);
    install_and_confirm(&mut device, "1.1.0").await;
    // All of the confirmed record is whole but its state: this bootloader makes it pending, and goes back from that.
    let mut bytes = device.flash().bytes().to_vec();
    let sectors = [0xd000, 0xe000];
    let of = |at: usize| Record::parse(bytes[at..at + 32].first_chunk().unwrap());
    let at = sectors
        .into_iter()
        .find(|&at| of(at).state == State::Valid)
        .unwrap();
    bytes[at + 24..at + 28].copy_from_slice(&0u32.to_le_bytes());
    for confirmed in [false, true] {
        let flash = Flash::in_memory(bytes.clone());
        let mut device = VirtualDevice::new(flash).with_bootloader(bootloader);
        let running = device.power_on().unwrap();
        let trial = Boot::Trial { boot: 1, of: 3 };
        assert_eq!((running.version(), running.boot), ("1.1.0", trial));
        if confirmed {
            confirm(&mut device, &running).await;
        }
        for _ in 0..4 {
            let version = if confirmed { "1.1.0" } else { "1.0.0" };
            assert_eq!(device.power_on().unwrap().version(), version);
        }
    }
}

/// The flash with some bytes of a slot destroyed, as a failing chip would.
fn damage(device: VirtualDevice, offset: usize) -> VirtualDevice {
    let mut bytes = device.flash().bytes().to_vec();
    bytes[offset..offset + 1000].fill(0);
    VirtualDevice::new(Flash::in_memory(bytes))
}

#[tokio::test]
async fn an_image_the_bootloader_refuses_counts_as_failed() {
    let mut device = device("1.0.0");
    install(&mut device, "1.1.0").await;
    let mut device = damage(device, 0x200000 + 50_000);
    let running = device.power_on().unwrap();
    assert_eq!((running.version(), running.boot), ("1.0.0", Boot::FellBack));
    assert!(has_failed(&mut device, "1.1.0").await);
    install_and_confirm(&mut device, "1.2.0").await;
}

#[tokio::test]
async fn a_device_that_fell_back_from_a_confirmed_image_keeps_its_way_back() {
    let mut device = device("1.0.0");
    install_and_confirm(&mut device, "1.1.0").await;
    // The confirmed image rots; the one before is all there is. A bad release then lands in the rotten image's slot,
    // which the old record still selects.
    let mut device = damage(device, 0x200000 + 50_000);
    assert_eq!(device.power_on().unwrap().version(), "1.0.0");
    assert_eq!(install(&mut device, "1.2.0").await.slot.index, 1);
    assert_eq!(device.power_on().unwrap().version(), "1.2.0");
    boot_until_given_up(&mut device, "1.2.0");
    let running = device.power_on().unwrap();
    assert_eq!(
        (running.version(), running.boot),
        ("1.0.0", Boot::Confirmed)
    );
}

#[tokio::test]
async fn the_same_with_a_factory_app_leads_back_to_it() {
    let mut device = device_with(WITH_FACTORY, "1.0.0");
    install_and_confirm(&mut device, "1.1.0").await;
    let mut device = damage(device, 0x110000 + 50_000);
    assert_eq!(device.power_on().unwrap().app.slot, None);
    assert_eq!(install(&mut device, "1.2.0").await.slot.index, 0);
    assert_eq!(device.power_on().unwrap().version(), "1.2.0");
    boot_until_given_up(&mut device, "1.2.0");
    assert_eq!(device.power_on().unwrap().app.slot, None);
}

#[tokio::test]
async fn a_torn_record_counts_as_absent_does_not_stay_and_the_next_update_works() {
    let mut device = device("1.0.0");
    install(&mut device, "1.1.0").await;
    let mut bytes = device.flash().bytes().to_vec();
    bytes[0xe000 + 28] ^= 0x40; // the CRC of the new record
    let mut device = VirtualDevice::new(Flash::in_memory(bytes));
    let running = device.power_on().unwrap();
    assert_eq!(
        (running.version(), running.boot),
        ("1.0.0", Boot::Confirmed)
    );
    assert_eq!(device.flash().bytes()[0xe000..0xe020], [0xff; 32]);
    install_and_confirm(&mut device, "1.1.0").await;
}

/// A flash on which power failed while `record` was programmed, so that bits read as the one or the other.
fn torn_unsteadily(before: &[u8], at: u32, record: &[u8], seed: u64) -> Flash {
    let mut flash = Flash::in_memory(before.to_vec());
    flash.cut_power(PowerCut {
        operation: 0,
        tear: Tear {
            reached: 0,
            mix: Mix::Seeded(seed),
        },
        flaky: true,
    });
    let bytes = record.to_vec();
    let torn = flash.repeat(&Operation::Program { at, bytes });
    assert!(torn.is_err());
    flash.restore_power();
    flash
}

#[tokio::test]
async fn a_record_that_reads_differently_each_time_leads_to_no_firmware_without_a_trial() {
    let mut device = device("1.0.0");
    install(&mut device, "1.1.0").await;
    let whole = device.flash().bytes().to_vec();
    let mut before = whole.clone();
    before[0xe000..0xe004].fill(0xff);
    let mut strayed = 0;
    for seed in 0..1000 {
        // The sequence is written last of all: without it the record is none.
        let flash = torn_unsteadily(&before, 0xe000, &whole[0xe000..0xe004], seed);
        let mut device = VirtualDevice::new(flash);
        let mut on_trial = 0;
        for _ in 0..6 {
            let running = device.power_on().unwrap();
            strayed += usize::from(running.restarts > 0 && on_trial == 0);
            match running.version() {
                // What the guard found torn does not stay, and that is the end of it.
                "1.0.0" if device.flash().bytes()[0xe000..0xe020] == [0xff; 32] => break,
                "1.0.0" => {}
                _ => {
                    assert!(
                        matches!(running.boot, Boot::Trial { .. }),
                        "{seed}: {running:?}"
                    );
                    on_trial += 1;
                }
            }
        }
        assert_eq!(device.power_on().unwrap().version(), "1.0.0", "{seed}");
        assert!(on_trial <= 3, "{seed}");
    }
    assert!(strayed > 0, "the bootloader never believed such a record");
}

#[tokio::test]
async fn a_count_that_reads_differently_each_time_makes_a_trial_no_longer() {
    let mut device = device("1.0.0");
    install(&mut device, "1.1.0").await;
    let before = device.flash().bytes().to_vec();
    device.power_on().unwrap();
    let entry = device.flash().bytes()[0xe040..0xe060].to_vec();
    for seed in 0..200 {
        let mut device = VirtualDevice::new(torn_unsteadily(&before, 0xe040, &entry, seed));
        let boots = (0..6).take_while(|_| device.power_on().unwrap().version() == "1.1.0");
        assert!(boots.count() <= 3, "{seed}");
    }
}

#[tokio::test]
async fn first_bytes_that_read_differently_each_time_are_written_anew() {
    let mut device = device("1.0.0");
    device.power_on().unwrap();
    let otadata = device.flash().bytes()[0xd000..0xf000].to_vec();
    install(&mut device, "1.1.0").await;
    let whole = device.flash().bytes().to_vec();
    // As if power had failed while the first bytes were written, before the switch.
    let mut before = whole.clone();
    before[0xd000..0xf000].copy_from_slice(&otadata);
    before[0x200000..0x200020].fill(0xff);
    for seed in 0..100 {
        let flash = torn_unsteadily(&before, 0x200000, &whole[0x200000..0x200020], seed);
        let mut device = VirtualDevice::new(flash);
        device.power_on().unwrap();
        install(&mut device, "1.1.0").await;
        for _ in 0..3 {
            assert_eq!(device.power_on().unwrap().version(), "1.1.0", "{seed}");
        }
    }
}

#[tokio::test]
async fn a_failure_is_remembered_even_if_power_fails_while_the_record_is_given_up() {
    let mut device = device("1.0.0");
    install(&mut device, "1.1.0").await;
    boot_until_given_up(&mut device, "1.1.0");
    assert_eq!(records(&device)[1].state, State::Aborted);
    // The aborted record as a cut leaves it between erase and program, and torn while it was programmed.
    for torn in [&[0xff; 32][..], &[0x5a; 32][..]] {
        let mut bytes = device.flash().bytes().to_vec();
        bytes[0xe000..][..32].copy_from_slice(torn);
        let mut device = VirtualDevice::new(Flash::in_memory(bytes));
        assert_eq!(device.power_on().unwrap().version(), "1.0.0");
        assert!(has_failed(&mut device, "1.1.0").await);
    }
}

#[tokio::test]
async fn a_failure_is_remembered_behind_a_place_that_reads_as_blank() {
    let mut device = device("1.0.0");
    install(&mut device, "1.1.0").await;
    boot_until_given_up(&mut device, "1.1.0");
    let mut bytes = device.flash().bytes().to_vec();
    // Only the log behind the first record knows of it, and not in its first place.
    bytes[0xe000..0xf000].fill(0xff);
    assert_eq!(&bytes[0xd040..0xd044], b"fail");
    bytes.copy_within(0xd040..0xd060, 0xd080);
    bytes[0xd040..0xd080].fill(0xff);
    let mut device = VirtualDevice::new(Flash::in_memory(bytes));
    assert_eq!(device.power_on().unwrap().version(), "1.0.0");
    assert!(has_failed(&mut device, "1.1.0").await);
}

#[tokio::test]
async fn a_partition_table_without_slots_is_an_error_that_says_so() {
    let csv = "nvs, data, nvs, 0x9000, 0x6000\nfactory, app, factory, 0x10000, 0x100000\n";
    let mut device = device_with(csv, "1.0.0");
    let bytes = device.flash().bytes().to_vec();
    let error = s3ota::boot_guard(&mut Flash::in_memory(bytes), 0x10000, 3)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "flash.layout");
    assert!(device.power_on().is_err());
}

struct Confirmations(u32);

impl s3ota::Hooks for Confirmations {
    fn on_confirm(&mut self) {
        self.0 += 1;
    }
}

#[tokio::test]
async fn the_agent_confirms_once_the_server_is_reached_and_installs_what_comes_next() {
    let mut device = device("1.0.0");
    let server = Server::start(releasing("1.1.0")).await;
    let run = async |device: &mut VirtualDevice, server: &Server, limit: Duration| {
        let running = device.power_on().unwrap();
        let mut workspace = Box::new(Workspace::new());
        let url = server.url("/manifest.json");
        let updater = device.updater(
            &running,
            config(&url, &running, server, IMPATIENT),
            &mut workspace,
        );
        let schedule = Schedule {
            first: Duration::ZERO,
            every: Duration::from_millis(50),
            ..Schedule::default()
        };
        let mut agent = Agent::new(updater, schedule);
        let mut hooks = Confirmations(0);
        let installed =
            tokio::time::timeout(limit, agent.run(&mut hooks, std::future::pending)).await;
        (installed.ok(), hooks.0)
    };
    let long = Duration::from_secs(20);
    let (installed, confirmations) = run(&mut device, &server, long).await;
    assert_eq!(
        (installed.unwrap().version.as_str(), confirmations),
        ("1.1.0", 0)
    );
    // The new firmware runs its own agent, which finds nothing newer but confirms it, once.
    let a_while = run(&mut device, &server, Duration::from_secs(4)).await;
    assert_eq!(a_while, (None, 1));
    assert!(server.requests().len() > 5, "it goes on looking");
    for _ in 0..5 {
        assert_eq!(device.power_on().unwrap().version(), "1.1.0");
    }
    let newer = Server::start(releasing("1.2.0")).await;
    let (installed, _) = run(&mut device, &newer, long).await;
    assert_eq!(installed.unwrap().version, "1.2.0");
}

#[tokio::test]
async fn the_agent_looks_at_once_when_asked() {
    let mut device = device("1.0.0");
    let server = Server::start(releasing("1.1.0")).await;
    let running = device.power_on().unwrap();
    let mut workspace = Box::new(Workspace::new());
    let url = server.url("/manifest.json");
    let updater = device.updater(
        &running,
        config(&url, &running, &server, IMPATIENT),
        &mut workspace,
    );
    let schedule = Schedule {
        first: Duration::from_secs(3600),
        ..Schedule::default()
    };
    let button = tokio::sync::Notify::new();
    button.notify_one();
    let mut agent = Agent::new(updater, schedule);
    let now = async || button.notified().await;
    let installed = tokio::time::timeout(Duration::from_secs(20), agent.run(&mut (), now))
        .await
        .unwrap();
    assert_eq!(installed.version, "1.1.0");
}

#[tokio::test]
async fn rolling_back_never_makes_a_confirmed_firmware_of_one_that_never_ran() {
    let mut device = device("1.0.0");
    install_and_confirm(&mut device, "1.1.0").await;
    let before = device.flash().bytes().to_vec();
    let server = Server::start(releasing("1.2.0")).await;
    let mut on_trial = 0;
    for operation in 0.. {
        let mut flash = Flash::in_memory(before.clone());
        flash.cut_power(PowerCut {
            operation,
            tear: Tear {
                reached: 0,
                mix: Mix::InOrder,
            },
            flaky: false,
        });
        let mut device = VirtualDevice::new(flash);
        let updated = update(&mut device, &server, IMPATIENT).await;
        if device.flash().has_power() {
            assert!(matches!(updated, Ok(Outcome::Installed(_))), "{updated:?}");
            break;
        }
        let flash = Flash::in_memory(device.flash().bytes().to_vec());
        let mut device = VirtualDevice::new(flash);
        let running = device.power_on().unwrap();
        // Where the new image is whole on flash, it is the only one to go back to.
        let went_back = roll_back(&mut device, &running).await;
        let runs = device.power_on().unwrap();
        match runs.version() {
            "1.2.0" => {
                assert!(matches!(runs.boot, Boot::Trial { .. }), "{:?}", runs.boot);
                on_trial += 1;
            }
            "1.1.0" => assert_eq!(went_back, Err(Error::NothingToGoBackTo)),
            other => assert_eq!(other, "1.0.0"),
        }
    }
    assert!(on_trial > 0, "the moment was not hit");
}

#[tokio::test]
async fn rolling_back_to_an_image_without_a_version_is_a_trial() {
    // The versions in their descriptors are the core's.
    let [old, new] = ["esp-idf: v4.4.5", "esp-idf: v4.4.6"];
    let sketch = |core| {
        ImageBuilder::new(s3ota::Chip::Esp32C3, core)
            .project_name("arduino-lib-builder")
            .length(100_000)
            .build()
    };
    let server = Server::start(serving("1.1.0", sketch(new))).await;
    let mut device = VirtualDevice::new(Flash::in_memory(
        Setup::default().flash(&sketch(old)).unwrap(),
    ));
    let url = server.url("/manifest.json");
    let mut workspace = Box::new(Workspace::new());
    let running = device.power_on().unwrap();
    let version_1_0 = s3ota::Config {
        version: "1.0.0",
        ..config(&url, &running, &server, IMPATIENT)
    };
    let mut updater = device.updater(&running, version_1_0, &mut workspace);
    updater.install(&mut ()).await.unwrap();
    drop(updater);

    let running = device.power_on().unwrap();
    assert_eq!(running.version(), new);
    confirm(&mut device, &running).await;
    let version_1_1 = s3ota::Config {
        version: "1.1.0",
        ..config(&url, &running, &server, IMPATIENT)
    };
    let mut updater = device.updater(&running, version_1_1, &mut workspace);
    assert_eq!(updater.roll_back().await, Ok(()));
    drop(updater);

    let running = device.power_on().unwrap();
    let expected = (old, Boot::Trial { boot: 1, of: 3 });
    assert_eq!((running.version(), running.boot), expected);
    confirm(&mut device, &running).await;
    for _ in 0..5 {
        let running = device.power_on().unwrap();
        assert_eq!((running.version(), running.boot), (old, Boot::Confirmed));
    }
}
