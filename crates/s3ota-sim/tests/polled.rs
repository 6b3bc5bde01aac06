//! Updates that are driven by hand, by a loop that has other things to do.

use std::pin::{Pin, pin};
use std::time::Duration;

use s3ota::poll::{Steps, Turns, sleep};
use s3ota::{Clock, Device, Error, NoUpdate, Outcome, Timeouts, Updater, Workspace};
use s3ota_sim::host::{HostClock, OsRng};
use s3ota_sim::{Bootloader, Flash, Setup};
use scripted_server::bucket::{AnswerFault, Bucket, Object, faulty};
use scripted_server::network::*;
use scripted_server::*;

const SLOT_0: u32 = 0x1_0000;
const SLOT_1: u32 = 0x20_0000;

/// A clock that wakes nobody.
#[derive(Clone, Copy)]
struct Deaf(HostClock);

impl Clock for Deaf {
    fn uptime(&self) -> Duration {
        self.0.uptime()
    }

    fn unix_time(&self) -> Option<u64> {
        self.0.unix_time()
    }

    async fn sleep(&self, duration: Duration) {
        sleep(self, duration).await;
    }
}

/// How an update in turns went.
struct Driven {
    result: Result<Outcome, Error>,
    turns: usize,
    /// The most operations of flash in one turn.
    most: usize,
    flash: Flash,
}

/// Drives one update: a turn with this budget, a pause, and so on.
async fn drive(network: &Network, timeouts: Timeouts, budget: Duration, pause: Duration) -> Driven {
    let turns = Turns::new();
    let clock = Deaf(HostClock::new());
    let mut flash = Flash::in_memory(Setup::default().flash(&firmware("1.0.0")).unwrap());
    let mut workspace = Box::new(Workspace::new());
    let log = std::cell::Cell::new(0);
    let (result, count, most) = {
        let device = Device {
            flash: turns.flash(Counting {
                flash: &mut flash,
                count: &log,
            }),
            running: SLOT_0,
            network,
            clock,
            rng: OsRng,
        };
        let updater = Updater::new(network.config("1.0.0", timeouts), device, &mut workspace);
        let update = pin!(updater.begin(()));
        // A type that has a name, as a static or a binding for C needs it.
        let update: Pin<&mut dyn Future<Output = _>> = update;
        let mut steps = Steps::new(update, &turns);
        let (mut count, mut most) = (0, 0);
        let finished = loop {
            log.set(0);
            count += 1;
            let finished = steps.poll(&clock, budget);
            most = most.max(log.get());
            match finished {
                Some(finished) => break finished,
                None => tokio::time::sleep(pause).await,
            }
        };
        assert!(steps.is_over());
        assert!(steps.poll(&clock, budget).is_none(), "and nothing more");
        (finished.result, count, most)
    };
    Driven {
        result,
        turns: count,
        most,
        flash: Flash::in_memory(flash.bytes().to_vec()),
    }
}

/// A flash that counts what changes it.
struct Counting<'f> {
    flash: &'f mut Flash,
    count: &'f std::cell::Cell<usize>,
}

impl embedded_storage_async::nor_flash::ErrorType for Counting<'_> {
    type Error = s3ota_sim::FlashError;
}

impl embedded_storage_async::nor_flash::ReadNorFlash for Counting<'_> {
    const READ_SIZE: usize = Flash::READ_SIZE;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.flash.read(offset, bytes).await
    }

    fn capacity(&self) -> usize {
        self.flash.capacity()
    }
}

impl embedded_storage_async::nor_flash::NorFlash for Counting<'_> {
    const WRITE_SIZE: usize = Flash::WRITE_SIZE;
    const ERASE_SIZE: usize = Flash::ERASE_SIZE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.count.set(self.count.get() + 1);
        self.flash.erase(from, to).await
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        // Marks and records are small, and waited for on the spot.
        self.count
            .set(self.count.get() + usize::from(bytes.len() >= 1024));
        self.flash.write(offset, bytes).await
    }
}

fn is_installed(driven: &Driven, image: &[u8]) {
    assert!(
        matches!(driven.result, Ok(Outcome::Installed(_))),
        "{:?}",
        driven.result
    );
    let bytes = driven.flash.bytes();
    assert_eq!(&bytes[SLOT_1 as usize..][..image.len()], image);
    let app = Bootloader::default().boot(&mut Flash::in_memory(bytes.to_vec()));
    assert_eq!(app.unwrap().slot, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_whole_update_is_made_in_turns() {
    let image = firmware("1.1.0");
    let network = Network::new(releasing("1.1.0"));
    let driven = drive(
        &network,
        Timeouts::default(),
        Duration::ZERO,
        Duration::from_millis(1),
    )
    .await;
    is_installed(&driven, &image);
    // With no budget a turn is one long operation, and the small ones around it.
    assert!(driven.most <= 2, "{} operations in a turn", driven.most);
    assert!(driven.turns > 60, "{} turns", driven.turns);
}

#[tokio::test(start_paused = true)]
async fn an_update_survives_being_polled_rarely() {
    let image = firmware("1.1.0");
    for pause in [Duration::from_secs(1), Duration::from_secs(15)] {
        let network = Network::new(releasing("1.1.0"));
        let budget = Duration::from_millis(50);
        let driven = drive(&network, Timeouts::default(), budget, pause).await;
        is_installed(&driven, &image);
    }
}

#[tokio::test(start_paused = true)]
async fn retries_and_their_pauses_happen_in_turns_too() {
    let image = firmware("1.1.0");
    let cut = AnswerFault::new(Object::Image, 0..1, |exchange| {
        let head = exchange.answer.head().len();
        Reply::SendAndClose(exchange.answer.bytes()[..head + 50_000].to_vec(), false)
    });
    let bucket = Bucket::hashed("1.1.0", image.clone(), PORT);
    let network = Network::new(faulty(bucket, vec![cut]));
    let budget = Duration::from_millis(50);
    let pause = Duration::from_millis(100);
    let driven = drive(&network, Timeouts::default(), budget, pause).await;
    is_installed(&driven, &image);
    assert!(network.traffic().len() > 1);
}

#[tokio::test(start_paused = true)]
async fn deadlines_hold_in_turns() {
    let network = Network::new(releasing("1.1.0")).with_faults(|_| Some(Fault::ConnectsForever));
    let timeouts = Timeouts {
        idle: Duration::from_secs(100),
        deadline: Duration::from_secs(60),
        ..Timeouts::default()
    };
    let began = tokio::time::Instant::now();
    let budget = Duration::from_millis(5);
    let driven = drive(&network, timeouts, budget, Duration::from_millis(20)).await;
    assert_eq!(driven.result.unwrap_err().code(), "update.deadline");
    assert!(began.elapsed() < Duration::from_secs(61));
}

#[tokio::test(start_paused = true)]
async fn there_may_be_nothing_to_do() {
    let network = Network::new(releasing("1.0.0"));
    let budget = Duration::from_millis(5);
    let driven = drive(&network, Timeouts::default(), budget, budget).await;
    assert_eq!(driven.result, Ok(Outcome::NoUpdate(NoUpdate::UpToDate)));
}
