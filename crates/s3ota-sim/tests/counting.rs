//! What counts against a release on trial, and what becomes of one that is given up.
//!
//! A crash counts. Power that comes on and a chip that wakes do not; and a release that ran well, but did not reach its
//! server, is tried again. What cannot be counted ends the trial.

use std::future::pending;
use std::time::Duration;

use embedded_storage_async::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use s3ota::{
    Agent, Boot, Bootloader as Kind, Error, MAX_SPARED_BOOTS, NoUpdate, Outcome, Reset, Restart,
    Schedule, Timeouts, UNKNOWN_PARTITION, Updater, Wear, Workspace, boot_guard,
};
use s3ota_image::otadata::{Record, State};
use s3ota_sim::{Flash, FlashError, Setup, VirtualDevice};
use scripted_server::network::Network;
use scripted_server::starts::{
    Device, FIRST, LAUNCH, PLAIN, ROLLBACK, Runs, Way, serving, unreachable,
};
use scripted_server::{Reply, Request, firmware, ok};
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn a_lamp_that_is_switched_on_and_off_does_not_lose_a_good_release() {
    for way in [PLAIN, LAUNCH] {
        let (mut device, _) = Device::on_trial(way).await;
        for _ in 0..20 {
            let runs = device.starts(Reset::PowerOn).await;
            assert_eq!((runs.version.as_str(), runs.boot), ("1.1.0", FIRST));
        }
        let runs = device.starts(Reset::PowerOn).await;
        device.confirms(&runs).await;
        assert_eq!(device.starts(Reset::PowerOn).await.boot, Boot::Confirmed);
    }
}

const WAKES: [(Reset, Way); 4] = [
    (Reset::PowerOn, PLAIN),
    (Reset::Wake, PLAIN),
    (Reset::PowerOn, LAUNCH),
    (Reset::Wake, LAUNCH),
];

#[tokio::test(start_paused = true)]
async fn starts_that_do_not_count_have_a_bound_of_their_own() {
    for (reset, way) in WAKES {
        let (mut device, _) = Device::on_trial(way).await;
        let mut starts = 0;
        while device.starts(reset).await.version == "1.1.0" {
            starts += 1;
        }
        assert_eq!(starts, MAX_SPARED_BOOTS, "{reset:?} {way:?}");
        // It has not crashed: it rests, and is tried again.
        let runs = device.starts(Reset::PowerOn).await;
        let outcome = device.installs(&runs, "1.1.0").await;
        assert_eq!(outcome, Ok(Outcome::NoUpdate(NoUpdate::Resting)));
    }
}

#[tokio::test(start_paused = true)]
async fn crashes_count_whatever_comes_between_them() {
    for way in [PLAIN, LAUNCH] {
        let (mut device, _) = Device::on_trial(way).await;
        let boots = |boot| Boot::Trial { boot, of: 3 };
        for (reset, boot) in [
            (Reset::PowerOn, boots(1)),
            (Reset::Crash, boots(2)),
            (Reset::Wake, boots(2)),
            (Reset::Crash, boots(3)),
            (Reset::PowerOn, boots(3)),
        ] {
            assert_eq!(device.starts(reset).await.boot, boot, "{reset:?}");
        }
        let runs = device.starts(Reset::Crash).await;
        assert_eq!(runs.version, "1.0.0");
        let outcome = device.installs(&runs, "1.1.0").await;
        assert_eq!(outcome, Ok(Outcome::NoUpdate(NoUpdate::FailedBefore)));
    }
}

/// A boot of the trial in which the server cannot be reached; the agent ends it in its time.
async fn boots_without_a_server(device: &mut Device, runs: &Runs) {
    boots_in_vain(device, runs, unreachable()).await;
}

async fn boots_in_vain(device: &mut Device, runs: &Runs, network: Network) {
    let mut workspace = Box::new(Workspace::new());
    let config = network.config(&runs.version, Timeouts::default());
    let parts = network.device(&mut device.flash, runs.at);
    let updater = Updater::new(config, parts, &mut workspace);
    let mut agent = Agent::new(updater, Schedule::default());
    let began = Instant::now();
    let restart = agent.until_restart(&mut (), &mut pending).await;
    assert_eq!(restart, Restart::TrialOver);
    let took = began.elapsed().as_secs();
    assert!((14 * 60..15 * 60).contains(&took), "{took} s");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_drips_makes_no_crash_of_a_trial() {
    for way in [PLAIN, LAUNCH] {
        let (mut device, mut runs) = Device::on_trial(way).await;
        while runs.version == "1.1.0" {
            let drips = |_: &Request, _| Reply::Drip(ok(&[b' '; 5000]), Duration::from_secs(5));
            boots_in_vain(&mut device, &runs, Network::new(drips)).await;
            runs = device.starts(Reset::Crash).await;
        }
        let outcome = device.installs(&runs, "1.1.0").await;
        assert_eq!(outcome, Ok(Outcome::NoUpdate(NoUpdate::Resting)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_that_does_not_reach_its_server_is_tried_again_later_and_not_for_ever() {
    for way in [PLAIN, ROLLBACK, LAUNCH] {
        let mut device = Device::new(way);
        let mut rests = Vec::new();
        let mut trials = 0;
        loop {
            let old = device.starts(Reset::Crash).await;
            assert_eq!(old.version, "1.0.0");
            // The device stays on; time passes until the release is installed once more, or known to have failed.
            let network = serving("1.1.0");
            let begun = Instant::now();
            let outcome = device
                .does(&old, &network, async |updater| {
                    loop {
                        match updater.install(&mut ()).await {
                            Ok(Outcome::NoUpdate(NoUpdate::Resting)) => {
                                sleep(Duration::from_secs(3600)).await;
                            }
                            outcome => break outcome,
                        }
                    }
                })
                .await;
            rests.push(begun.elapsed().as_secs() / 3600);
            if outcome == Ok(Outcome::NoUpdate(NoUpdate::FailedBefore)) {
                break;
            }
            assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
            trials += 1;
            loop {
                let runs = device.starts(Reset::Crash).await;
                if runs.version == "1.0.0" {
                    break;
                }
                boots_without_a_server(&mut device, &runs).await;
            }
        }
        assert_eq!((trials, rests), (4, vec![0, 1, 4, 16, 0]), "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_that_crashed_is_not_tried_again_though_it_missed_its_server_before() {
    for way in [PLAIN, ROLLBACK, LAUNCH] {
        let (mut device, runs) = Device::on_trial(way).await;
        boots_without_a_server(&mut device, &runs).await;
        loop {
            let runs = device.starts(Reset::Crash).await;
            if runs.version == "1.0.0" {
                break;
            }
            boots_without_a_server(&mut device, &runs).await;
        }
        // The second trial crashes.
        let old = device.starts(Reset::Crash).await;
        let network = serving("1.1.0");
        let outcome = device.does(&old, &network, async |updater| {
            let rests = updater.install(&mut ()).await;
            assert_eq!(rests, Ok(Outcome::NoUpdate(NoUpdate::Resting)));
            sleep(Duration::from_secs(3600)).await;
            updater.install(&mut ()).await
        });
        assert!(matches!(outcome.await, Ok(Outcome::Installed(_))));
        assert_eq!(device.starts(Reset::Crash).await.version, "1.1.0");
        while device.starts(Reset::Crash).await.version == "1.1.0" {}
        let old = device.starts(Reset::Crash).await;
        let outcome = device.installs(&old, "1.1.0").await;
        let failed = Ok(Outcome::NoUpdate(NoUpdate::FailedBefore));
        assert_eq!(outcome, failed, "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_wakes_for_seconds_confirms_once_it_reaches_its_server() {
    for way in [PLAIN, LAUNCH] {
        let (mut device, mut runs) = Device::on_trial(way).await;
        let mut wear = [0; Wear::WORDS];
        for wake in 1..=30 {
            let network = if wake < 30 {
                unreachable()
            } else {
                serving("1.1.0")
            };
            wear = device.checks_once(&runs, &network, wear).await;
            runs = device.starts(Reset::Wake).await;
            assert_eq!(runs.version, "1.1.0", "wake {wake}");
        }
        assert_eq!(runs.boot, Boot::Confirmed);
    }
}

#[tokio::test(start_paused = true)]
async fn which_bootloader_there_is_shows_in_a_trial_and_is_told() {
    for (way, kind, name) in [
        (PLAIN, Kind::Plain, "boot=plain"),
        (ROLLBACK, Kind::AppRollback, "boot=rollback"),
    ] {
        let mut new = Device::new(way);
        assert_eq!(new.starts(Reset::PowerOn).await.bootloader, None);
        let (mut device, runs) = Device::on_trial(way).await;
        assert_eq!(runs.bootloader, Some(kind));
        device.confirms(&runs).await;
        for _ in 0..3 {
            let runs = device.starts(Reset::PowerOn).await;
            assert_eq!((runs.boot, runs.bootloader), (Boot::Confirmed, Some(kind)));
        }
        let network = serving("1.1.0");
        let look = device.does(&runs, &network, async |updater| updater.check().await);
        look.await.unwrap();
        let head = &network.requests()[0].head;
        assert!(head.contains(name), "{head}");
    }
}

/// A flash that fails in one way.
struct Failing<'f> {
    flash: &'f mut Flash,
    /// How many writes and erasures fail.
    changes: usize,
    /// From where on reading fails, and how often.
    reads: (u32, usize),
}

#[derive(Debug)]
struct Fails;

impl NorFlashError for Fails {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl From<FlashError> for Fails {
    fn from(error: FlashError) -> Self {
        panic!("{error}")
    }
}

impl ErrorType for Failing<'_> {
    type Error = Fails;
}

impl ReadNorFlash for Failing<'_> {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), Fails> {
        if at == self.reads.0 && self.reads.1 > 0 {
            self.reads.1 -= 1;
            return Err(Fails);
        }
        Ok(self.flash.read(at, bytes).await?)
    }

    fn capacity(&self) -> usize {
        self.flash.capacity()
    }
}

impl Failing<'_> {
    fn change(&mut self) -> Result<(), Fails> {
        if self.changes == 0 {
            return Ok(());
        }
        self.changes -= 1;
        Err(Fails)
    }
}

impl NorFlash for Failing<'_> {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Fails> {
        self.change()?;
        Ok(self.flash.erase(from, to).await?)
    }

    async fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Fails> {
        self.change()?;
        Ok(self.flash.write(at, bytes).await?)
    }
}

/// The guard of 1.1.0 on trial, on a flash that fails.
async fn guarded(changes: usize, reads: (u32, usize)) -> (Result<Boot, Error>, Device) {
    let (mut device, runs) = Device::on_trial(PLAIN).await;
    let mut flash = Failing {
        flash: &mut device.flash,
        changes,
        reads,
    };
    let boot = boot_guard(&mut flash, runs.at, 3).await;
    (boot, device)
}

#[tokio::test(start_paused = true)]
async fn a_boot_that_cannot_be_counted_ends_the_trial() {
    const TABLE: u32 = 0x8000;
    // The count cannot be written; nor can the record of the failure; otadata or the partition table cannot be read, once.
    for (changes, reads) in [(1, (0, 0)), (2, (0, 0)), (0, (0xd000, 1)), (0, (TABLE, 1))] {
        let (boot, mut device) = guarded(changes, reads).await;
        assert_eq!(boot, Ok(Boot::GivenUp), "{changes} {reads:?}");
        let runs = device.starts(Reset::Crash).await;
        assert_eq!(
            (runs.version.as_str(), runs.boot),
            ("1.0.0", Boot::Confirmed)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_flash_that_takes_nothing_is_an_error_and_confirms_nothing() {
    let (boot, mut device) = guarded(usize::MAX, (0, 0)).await;
    assert!(matches!(boot, Err(Error::Flash(_))), "{boot:?}");
    let runs = device.starts(Reset::Crash).await;
    assert!(matches!(runs.boot, Boot::Trial { .. }), "{runs:?}");
}

#[tokio::test(start_paused = true)]
async fn a_firmware_that_does_not_know_where_it_runs_ends_its_trial() {
    for way in [PLAIN, LAUNCH] {
        let (mut device, _) = Device::on_trial(way).await;
        for at in [UNKNOWN_PARTITION, 0x12_3000] {
            let mut flash = Flash::in_memory(device.flash.bytes().to_vec());
            let boot = boot_guard(&mut flash, at, 3).await;
            assert_eq!(boot, Ok(Boot::GivenUp), "{at:#x}");
            device.flash = flash;
            let runs = device.starts(Reset::Crash).await;
            assert_eq!(runs.version, "1.0.0");
            // Without a trial it is an error, and changes nothing.
            let before = device.flash.bytes().to_vec();
            let error = boot_guard(&mut device.flash, at, 3).await.unwrap_err();
            assert_eq!(error.code(), "flash.layout");
            assert!(device.flash.bytes() == before);
            (device, _) = Device::on_trial(way).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_table_that_the_new_firmware_does_not_take_ends_its_trial() {
    let (device, runs) = Device::on_trial(PLAIN).await;
    let mut bytes = device.flash.bytes().to_vec();
    // A slot that is not on a sector's boundary; and no checksum any more.
    let table = 0x8000..0x8c00;
    let entry = table
        .clone()
        .step_by(32)
        .find(|&at| bytes[at + 2..at + 4] == [0, 0x11]);
    let entry = entry.or_else(|| {
        table
            .step_by(32)
            .find(|&at| bytes[at + 2..at + 4] == [0x00, 0x10])
    });
    bytes[entry.unwrap() + 4] = 0x10;
    let mut flash = Flash::in_memory(bytes);
    let boot = boot_guard(&mut flash, runs.at, 3).await;
    assert_eq!(boot, Ok(Boot::GivenUp));
    let record = Record::parse(flash.bytes()[0xe000..0xe020].try_into().unwrap());
    assert_eq!(record.state, State::Aborted);
}

#[tokio::test]
async fn a_virtual_device_starts_for_a_reason() {
    let mut device = VirtualDevice::new(Flash::in_memory(
        Setup::default().flash(&firmware("1.0.0")).unwrap(),
    ));
    let running = device.start_after(Reset::PowerOn).unwrap();
    assert_eq!((running.boot, running.bootloader), (Boot::Confirmed, None));
}
