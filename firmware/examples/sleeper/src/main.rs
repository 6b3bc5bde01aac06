//! A device that sleeps nearly all the time: it wakes every ten minutes, works for five seconds, and sleeps again.
//!
//! - It looks for an update at every 36th wake, which is every six hours: the radio costs more than the work.
//! - On trial it looks at each wake, until the firmware is confirmed. Neither waking nor switching on uses up one of the
//!   three boots that a trial has; crashes do.
//! - A look may take three minutes. What it has fetched of an update by then is on flash, and the next wake goes on there.
//!
//! `docs/deep-sleep.md` tells more.

#![no_std]
#![no_main]

use core::time::Duration;

use embassy_executor::Spawner;
use embassy_net::Stack;
use embassy_time::{Timer, with_timeout};
use esp_hal::rtc_cntl::sleep::{LowPower, RtcSleepConfig};
use esp_hal::time::Instant;
use esp_hal::{Config, clock::CpuClock, ram, timer::timg::TimerGroup};
use portable_atomic::{AtomicU32, Ordering};
use s3ota::{ReleaseKey, Updater, Workspace};
use s3ota_esp::{Board, Entropy, Look, sntp};
use static_cell::ConstStaticCell;

esp_bootloader_esp_idf::esp_app_desc!();

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The certificate of your own server's authority, if `ROOT_CA` is set. Amazon's are built in.
const ROOT_CA: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/root_ca.der"));
/// Whoever has their private halves may release, and nobody else, if `RELEASE_KEY` is set.
const RELEASE_KEYS: &[ReleaseKey] = &include!(concat!(env!("OUT_DIR"), "/release_keys.rs"));

/// How long it sleeps.
const SLEEP: esp_hal::time::Duration = esp_hal::time::Duration::from_secs(10 * 60);
/// It looks for an update each time it has woken this often.
const WAKES_PER_LOOK: u32 = 36;
/// How long a look may keep it awake, once there is a network.
const LOOK: Duration = Duration::from_secs(3 * 60);
/// How long the network may take.
const NETWORK: embassy_time::Duration = embassy_time::Duration::from_secs(30);
/// How often in a row a look that was cut off is gone on with at the next wake. A server that stalls on purpose must not
/// empty the battery.
const LOOKS_IN_A_ROW: u32 = 3;

// What deep sleep leaves alone. It begins as zero when power comes on. A firmware before this one may have left something else
// there: any value will do.
/// At how many wakes there will be a look.
#[ram(unstable(rtc_fast, persistent))]
static WAKES_TO_LOOK: AtomicU32 = AtomicU32::new(0);
/// How many looks in a row were cut off.
#[ram(unstable(rtc_fast, persistent))]
static CUT_OFF: AtomicU32 = AtomicU32::new(0);

static WORKSPACE: ConstStaticCell<Workspace> = ConstStaticCell::new(Workspace::new());

#[esp_hal::main]
async fn main(spawner: Spawner) -> ! {
    // First of all: a firmware that fails its trial is left for the one before.
    let (chip, started) = s3ota_esp::start(Config::default().with_cpu_clock(CpuClock::max()));
    esp_println::logger::init_logger(log::LevelFilter::Info);
    let board = started.board(chip.FLASH, chip.RTC_TIMER);
    log::info!("sleeper {VERSION}, {board}");

    esp_alloc::heap_allocator!(#[ram(reclaimed)] size: 64 * 1024);
    esp_alloc::heap_allocator!(size: 36 * 1024);
    esp_rtos::start(TimerGroup::new(chip.TIMG0).timer0, chip.FROM_CPU_INTR0);

    work().await;

    let to_look = WAKES_TO_LOOK.load(Ordering::Relaxed).min(WAKES_PER_LOOK);
    if to_look == 0 || board.is_on_trial() {
        #[cfg(not(feature = "qemu"))]
        let network = {
            let (ssid, password) = (env!("WIFI_SSID"), env!("WIFI_PASSWORD"));
            s3ota_esp::wifi::join(spawner, chip.WIFI, ssid, password)
        };
        #[cfg(feature = "qemu")]
        let network = s3ota_esp::qemu::join(spawner, chip.RNG, chip.ADC1);
        let look = match network {
            Ok(stack) => look(board, stack).await,
            Err(error) => {
                log::error!("no network: {error:?}");
                Look::Done
            }
        };
        let cut_off = match look {
            Look::Done => 0,
            Look::CutOff => CUT_OFF.load(Ordering::Relaxed).saturating_add(1),
        };
        let goes_on = (1..=LOOKS_IN_A_ROW).contains(&cut_off);
        CUT_OFF.store(if goes_on { cut_off } else { 0 }, Ordering::Relaxed);
        let next = if goes_on { 0 } else { WAKES_PER_LOOK - 1 };
        WAKES_TO_LOOK.store(next, Ordering::Relaxed);
    } else {
        WAKES_TO_LOOK.store(to_look - 1, Ordering::Relaxed);
    }

    log::info!("sleeping");
    let mut power = LowPower::new(chip.LPWR);
    power.set_wakeup_deadline(Instant::now() + SLEEP);
    power.sleep_deep(RtcSleepConfig::deep())
}

/// What the device is there for: here, five seconds of work.
async fn work() {
    Timer::after_secs(5).await;
}

/// Looks for an update, and restarts into one that it installs. Confirms a firmware on trial that could be replaced.
async fn look(board: Board, stack: Stack<'static>) -> Look {
    if with_timeout(NETWORK, stack.wait_config_up()).await.is_err() {
        log::warn!("no network");
        return Look::Done;
    }
    // The RTC goes on in deep sleep, but not at all exactly.
    if let Ok(mut rng) = Entropy::new() {
        match sntp::ask(stack, sntp::POOL, &mut rng).await {
            Ok(seconds) => {
                board.clock.set_unix_time(seconds);
            }
            Err(error) => log::warn!("no time: {error}"),
        }
    }

    let id = s3ota_esp::device_id();
    let mut config = s3ota_esp::config(env!("MANIFEST_URL"), VERSION, &id);
    config.release_keys = RELEASE_KEYS;
    if !ROOT_CA.is_empty()
        && let Err(error) = config.roots.add_der(ROOT_CA)
    {
        log::error!("ROOT_CA: {error}");
    }
    match board.device(stack) {
        Ok(device) => {
            let updater = Updater::new(config, device, WORKSPACE.take());
            s3ota_esp::look(updater, LOOK, &mut ()).await
        }
        Err(error) => {
            log::error!("no updates: {error}");
            Look::Done
        }
    }
}
