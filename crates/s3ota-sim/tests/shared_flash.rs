//! Flash behind an async mutex that the application holds across awaits: the updater waits for it, in one task with it.
//!
//! Everything here runs on one thread. An updater that waited without letting the application run would wait for ever.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use embedded_io_async::{ErrorKind, ErrorType, Read, Seek, SeekFrom};
use embedded_storage_async::nor_flash::{NorFlash, ReadNorFlash};
use s3ota::device::{Flash as _, SharedFlash};
use s3ota::poll::{Steps, Turns, sleep};
use s3ota::{Boot, Clock, Device, Outcome, Timeouts, Updater, Workspace};
use s3ota_sim::host::{HostClock, OsRng};
use s3ota_sim::{Flash, Setup, VirtualDevice};
use scripted_server::bucket::{AnswerFault, Bucket, Object, faulty};
use scripted_server::network::*;
use scripted_server::*;
use tokio::time;

const SLOT_0: u32 = 0x1_0000;
const SLOT_1: u32 = 0x20_0000;
/// The application's own partition.
const NVS: u32 = 0x9000;
const SECTOR: u32 = 0x1000;

/// More polls than any of these futures needs.
const MOST_POLLS: usize = 200_000;

type Shared<'m, F = Flash> = SharedFlash<'m, NoopRawMutex, F>;

/// What the application has done.
#[derive(Default)]
struct Work {
    rounds: Cell<u8>,
    /// It has the flash right now.
    has_it: Cell<bool>,
}

/// An application with data of its own: nearly always it has the flash, and waits for other things meanwhile.
async fn application<F: NorFlash>(flash: Shared<'_, F>, work: &Work) {
    for round in (0..=u8::MAX).cycle() {
        let mut mine = flash.0.lock().await;
        work.has_it.set(true);
        mine.erase(NVS, NVS + SECTOR).await.unwrap();
        time::sleep(Duration::from_millis(3)).await;
        mine.write(NVS, &[round; 64]).await.unwrap();
        time::sleep(Duration::from_millis(3)).await;
        let mut back = [0; 64];
        mine.read(NVS, &mut back).await.unwrap();
        assert_eq!(back, [round; 64]);
        work.has_it.set(false);
        work.rounds.set(round);
        drop(mine);
        time::sleep(Duration::from_millis(1)).await;
    }
}

/// Runs the updater's work in one task with the application's, which has the flash when it begins.
async fn beside_the_application<T>(flash: Shared<'_>, updater: impl Future<Output = T>) -> T {
    let work = Work::default();
    let mut polls = 0;
    let mut updater = pin!(updater);
    let bounded = poll_fn(|context| {
        polls += 1;
        assert!(polls < MOST_POLLS, "the updater makes no progress");
        updater.as_mut().poll(context)
    });
    // The first of the two is polled first.
    let either = select(application(flash, &work), async {
        assert!(work.has_it.get());
        bounded.await
    });
    match either.await {
        Either::First(()) => unreachable!("the application ends never"),
        Either::Second(output) => {
            assert!(work.rounds.get() > 0, "and it went on meanwhile");
            output
        }
    }
}

fn fresh() -> Flash {
    Flash::in_memory(Setup::default().flash(&firmware("1.0.0")).unwrap())
}

/// Installs what the network has, as an updater that was made just now: `Ok` with the bytes that it was told were on flash before.
async fn install(flash: Shared<'_>, network: &Network) -> Result<Outcome, s3ota::Error> {
    let timeouts = Timeouts {
        attempts: 1,
        ..Timeouts::default()
    };
    let mut workspace = Box::new(Workspace::new());
    let device = network.device(flash, SLOT_0);
    let mut updater = Updater::new(network.config("1.0.0", timeouts), device, &mut workspace);
    beside_the_application(flash, updater.install(&mut ())).await
}

/// A device that was updated to 1.1.0, after its restart: it is on trial.
async fn on_trial() -> Flash {
    let mutex = Mutex::new(fresh());
    let network = Network::new(releasing("1.1.0"));
    let outcome = install(SharedFlash(&mutex), &network).await;
    assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
    let mut device = VirtualDevice::new(mutex.into_inner());
    let running = device.power_on().unwrap();
    assert_eq!(running.boot, Boot::Trial { boot: 1, of: 3 });
    assert_eq!(running.version(), "1.1.0");
    Flash::in_memory(device.flash().bytes().to_vec())
}

/// What a device with this flash boots, and how it stands.
fn boots(flash: Flash) -> (String, Boot) {
    let running = VirtualDevice::new(flash).power_on().unwrap();
    (running.version().to_owned(), running.boot)
}

#[tokio::test(start_paused = true)]
async fn an_update_completes() {
    let mutex = Mutex::new(fresh());
    let network = Network::new(releasing("1.1.0"));
    let outcome = install(SharedFlash(&mutex), &network).await;
    assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
    let image = firmware("1.1.0");
    let flash = mutex.into_inner();
    assert_eq!(&flash.bytes()[SLOT_1 as usize..][..image.len()], image);
    assert!(flash.bytes()[NVS as usize] != 0xff, "the application's");
}

#[tokio::test(start_paused = true)]
async fn an_update_that_was_cut_off_resumes() {
    let cut = AnswerFault::new(Object::Image, 0..1, |exchange| {
        let head = exchange.answer.head().len();
        Reply::SendAndClose(exchange.answer.bytes()[..head + 50_000].to_vec(), false)
    });
    let bucket = Bucket::hashed("1.1.0", firmware("1.1.0"), PORT);
    let network = Network::new(faulty(bucket, vec![cut]));
    let mutex = Mutex::new(fresh());
    let flash = SharedFlash(&mutex);
    assert!(install(flash, &network).await.unwrap_err().is_transient());
    let outcome = install(flash, &network).await;
    assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
    let requests = network.requests();
    let range = requests.last().unwrap().field("Range").map(str::to_owned);
    assert_eq!(range.as_deref(), Some("bytes=49152-"));
    assert_eq!(boots(mutex.into_inner()).0, "1.1.0");
}

#[tokio::test(start_paused = true)]
async fn a_firmware_on_trial_is_confirmed() {
    let mutex = Mutex::new(on_trial().await);
    let flash = SharedFlash(&mutex);
    let network = Network::new(releasing("1.1.0"));
    let mut workspace = Box::new(Workspace::new());
    let config = network.config("1.1.0", Timeouts::default());
    let mut updater = Updater::new(config, network.device(flash, SLOT_1), &mut workspace);
    let confirmed = beside_the_application(flash, async {
        assert!(updater.is_on_trial().await.unwrap());
        updater.prove().await.unwrap();
        updater.confirm().await
    });
    assert_eq!(confirmed.await, Ok(true));
    let expected = ("1.1.0".to_owned(), Boot::Confirmed);
    assert_eq!(boots(mutex.into_inner()), expected);
}

#[tokio::test(start_paused = true)]
async fn a_firmware_rolls_back() {
    for confirmed in [false, true] {
        let mutex = Mutex::new(on_trial().await);
        let flash = SharedFlash(&mutex);
        let network = Network::new(releasing("1.1.0"));
        let mut workspace = Box::new(Workspace::new());
        let config = network.config("1.1.0", Timeouts::default());
        let mut updater = Updater::new(config, network.device(flash, SLOT_1), &mut workspace);
        let done = beside_the_application(flash, async {
            if confirmed {
                updater.confirm().await?;
            }
            updater.roll_back().await
        });
        assert_eq!(done.await, Ok(()));
        let expected = ("1.0.0".to_owned(), Boot::Confirmed);
        assert_eq!(boots(mutex.into_inner()), expected, "{confirmed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_trial_boot_ends_in_order() {
    let mutex = Mutex::new(on_trial().await);
    let flash = SharedFlash(&mutex);
    let network = Network::new(releasing("1.1.0"));
    let mut workspace = Box::new(Workspace::new());
    let config = network.config("1.1.0", Timeouts::default());
    let mut updater = Updater::new(config, network.device(flash, SLOT_1), &mut workspace);
    let ended = beside_the_application(flash, updater.end_trial_boot());
    assert_eq!(ended.await, Ok(()));
    let expected = ("1.1.0".to_owned(), Boot::Trial { boot: 2, of: 3 });
    assert_eq!(boots(mutex.into_inner()), expected);
}

/// An image that the application has in memory.
struct Given {
    bytes: Vec<u8>,
    at: usize,
}

impl ErrorType for Given {
    type Error = ErrorKind;
}

impl Read for Given {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        let rest = &self.bytes[self.at..];
        let n = rest.len().min(buffer.len()).min(1000);
        buffer[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }
}

impl Seek for Given {
    async fn seek(&mut self, to: SeekFrom) -> Result<u64, ErrorKind> {
        match to {
            SeekFrom::Start(at) => self.at = at as usize,
            _ => return Err(ErrorKind::Unsupported),
        }
        Ok(self.at as u64)
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_refused_is_wiped_and_the_next_one_installed() {
    let mutex = Mutex::new(fresh());
    let flash = SharedFlash(&mutex);
    let network = Network::new(releasing("1.1.0"));
    let mut workspace = Box::new(Workspace::new());
    let config = network.config("1.0.0", Timeouts::default());
    let mut updater = Updater::new(config, network.device(flash, SLOT_0), &mut workspace);
    let image = firmware("1.1.0");
    let manifest = full_manifest("1.1.0", PORT, &image);
    let mut broken = image.clone();
    *broken.last_mut().unwrap() ^= 1;
    beside_the_application(flash, async {
        let source = Given {
            bytes: broken,
            at: 0,
        };
        let refused = updater.install_from(&manifest, source, &mut ()).await;
        assert_eq!(refused.unwrap_err().code(), "image.sha256");
        let mut first = [0; 64];
        let at = SLOT_1 + 0x4000;
        flash
            .clone()
            .lock()
            .await
            .read(at, &mut first)
            .await
            .unwrap();
        assert_eq!(first, [0xff; 64]);
        let source = Given {
            bytes: image,
            at: 0,
        };
        let outcome = updater.install_from(&manifest, source, &mut ()).await;
        assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
    })
    .await;
    assert_eq!(boots(mutex.into_inner()).0, "1.1.0");
}

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

#[tokio::test(start_paused = true)]
async fn an_update_in_turns_completes() {
    let network = Network::new(releasing("1.1.0"));
    let clock = Deaf(HostClock::new());
    let mut chip = fresh();
    let turns = Turns::new();
    // What lets go after each operation is the driver, so it is inside.
    let mutex = Mutex::new(turns.flash(&mut chip));
    let flash = SharedFlash(&mutex);
    let work = Work::default();
    let mut workspace = Box::new(Workspace::new());
    let device = Device {
        flash,
        running: SLOT_0,
        network: &network,
        clock,
        rng: OsRng,
    };
    let config = network.config("1.0.0", Timeouts::default());
    let update = pin!(Updater::new(config, device, &mut workspace).begin(()));
    let mut steps = Steps::new(update, &turns);
    let mut application = pin!(application(flash, &work));
    let (mut count, mut waited) = (0, 0);
    let finished = loop {
        count += 1;
        assert!(count < MOST_POLLS, "the updater makes no progress");
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(application.as_mut().poll(&mut context), Poll::Pending);
        waited += usize::from(work.has_it.get());
        if let Some(finished) = steps.poll(&clock, Duration::ZERO) {
            break finished;
        }
        time::sleep(Duration::from_millis(1)).await;
    };
    let result = finished.result;
    assert!(matches!(result, Ok(Outcome::Installed(_))), "{result:?}");
    assert!(waited > 20, "{waited}");
}
