//! A device that sleeps nearly all the time: it wakes every ten minutes, works for five seconds, and sleeps again.
//!
//! - It checks for an update at every 36th wake, that is, every six hours: the radio costs more than the work.
//! - On trial it checks at each wake until the firmware is confirmed. Waking and power-on do not use up the three boots of a
//!   trial; crashes do.
//! - A check may take three minutes. What it has downloaded by then is on flash, and the next wake resumes there.
//!
//! See `docs/deep-sleep.md`.

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
/// The root certificate of your own server, if `ROOT_CA` is set. Amazon's are built in.
const ROOT_CA: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/root_ca.der"));
/// If `RELEASE_KEY` is set, only the owners of these release keys may release.
const RELEASE_KEYS: &[ReleaseKey] = &include!(concat!(env!("OUT_DIR"), "/release_keys.rs"));

/// How long it sleeps.
const SLEEP: esp_hal::time::Duration = esp_hal::time::Duration::from_secs(10 * 60);
/// After how many wakes it checks for an update.
const WAKES_PER_LOOK: u32 = 36;
/// How long a check may keep it awake, once there is a network.
const LOOK: Duration = Duration::from_secs(3 * 60);
/// How long the network may take.
const NETWORK: embassy_time::Duration = embassy_time::Duration::from_secs(30);
/// How many checks in a row may run out of time and resume at the next wake. A server that stalls on purpose must not drain the
/// battery.
const LOOKS_IN_A_ROW: u32 = 3;

// Kept in deep sleep, zero after power-on. A previous firmware may have left something else here: any value will do.
/// How many wakes remain until the next check.
#[ram(unstable(rtc_fast, persistent))]
static WAKES_TO_LOOK: AtomicU32 = AtomicU32::new(0);
/// How many checks in a row have run out of time.
#[ram(unstable(rtc_fast, persistent))]
static CUT_OFF: AtomicU32 = AtomicU32::new(0);

static WORKSPACE: ConstStaticCell<Workspace> = ConstStaticCell::new(Workspace::new());

#[esp_hal::main]
async fn main(spawner: Spawner) -> ! {
    // First of all: a firmware that fails its trial is rolled back.
    let (chip, started) = s3ota_esp::start(Config::default().with_cpu_clock(CpuClock::max()));
    esp_println::logger::init_logger(log::LevelFilter::Info);
    let board = started.board(chip.FLASH, chip.RTC_TIMER);
    log::info!("sleeper {VERSION}, {board}");

    #[cfg(not(feature = "esp32s2"))]
    {
        esp_alloc::heap_allocator!(#[ram(reclaimed)] size: 64 * 1024);
        esp_alloc::heap_allocator!(size: 36 * 1024);
    }
    // The bootloader leaves more there, and the rest is needed.
    #[cfg(feature = "esp32s2")]
    esp_alloc::heap_allocator!(#[ram(reclaimed)] size: 100 * 1024);
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

/// The device's own work: here, five seconds of it.
async fn work() {
    Timer::after_secs(5).await;
}

/// Checks for an update, and restarts into it if it installs one. Confirms a firmware on trial that could be updated.
async fn look(board: Board, stack: Stack<'static>) -> Look {
    if with_timeout(NETWORK, stack.wait_config_up()).await.is_err() {
        log::warn!("no network");
        return Look::Done;
    }
    // The RTC keeps running in deep sleep, but not accurately.
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
