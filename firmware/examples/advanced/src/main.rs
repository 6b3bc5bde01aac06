//! A firmware that controls its own updates.
//!
//! - The board's button checks for an update now.
//! - An LED blinks during a download.
//! - While the device works, an update waits for the next check.
//! - A new firmware is confirmed only after a self-test, and rolled back at once if it fails. An unreachable server is not a
//!   failure.
//! - Wi-Fi credentials are on flash, not in the image. You enter them over Improv Serial, on the page that installs the firmware
//!   for example. `WIFI_SSID` and `WIFI_PASSWORD` are used while none are saved; leave them empty for a product.
//! - A line on serial shows the status twice a minute.
//! - It has data of its own on flash, in the partition `nvs`, and uses it while updates run.
//! - It trusts another CA besides Amazon's (`ROOT_CA`), and installs only what you have signed (`RELEASE_KEY`).
//! - The bucket may be private: with `s3ota publish --presign 7d` manifest and image have pre-signed URLs, up to 2,048 bytes
//!   long. The image's is in the manifest and is renewed with it. The manifest's is `MANIFEST_URL`, compiled in, so use one
//!   that expires only for a test. Otherwise keep the manifest public and only the images private.

#![no_std]
#![no_main]

mod hooks;
mod self_test;
mod settings;

use core::future::pending;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use embassy_executor::Spawner;
use embassy_net::Stack;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Timer, with_timeout};
use esp_hal::clock::CpuClock;
use esp_hal::gpio::{Input, InputConfig, Level, Output, OutputConfig, Pull};
use esp_hal::{Config, ram, timer::timg::TimerGroup};
use s3ota::{Clock as _, Confirm, ReleaseKey, Schedule, Updater, Workspace};
use s3ota_esp::credentials::Credentials;
use s3ota_esp::{Board, Clock, Entropy, SharedFlash, improv, sntp};
use static_cell::ConstStaticCell;

use hooks::{AppHooks, LAST_CHECK};

esp_bootloader_esp_idf::esp_app_desc!();

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The root certificate of your own server, if `ROOT_CA` is set. Amazon's are built in.
const ROOT_CA: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/root_ca.der"));
/// If `RELEASE_KEY` is set, only the owners of these release keys may release.
const RELEASE_KEYS: &[ReleaseKey] = &include!(concat!(env!("OUT_DIR"), "/release_keys.rs"));

static WORKSPACE: ConstStaticCell<Workspace> = ConstStaticCell::new(Workspace::new());
/// A request to check for an update now.
static NOW: Signal<CriticalSectionRawMutex, ()> = Signal::new();
/// Whether the device is doing something that must not be interrupted.
static BUSY: AtomicBool = AtomicBool::new(false);

/// The pin of the BOOT button, which every board has. It is low while pressed.
macro_rules! button {
    ($chip:ident) => {{
        #[cfg(any(feature = "esp32", feature = "esp32s2", feature = "esp32s3"))]
        let pin = $chip.GPIO0;
        #[cfg(any(feature = "esp32c2", feature = "esp32c3", feature = "esp32c6"))]
        let pin = $chip.GPIO9;
        #[cfg(feature = "esp32c5")]
        let pin = $chip.GPIO28;
        pin
    }};
}

#[esp_hal::main]
async fn main(spawner: Spawner) -> ! {
    // First of all: a firmware that fails its trial is rolled back.
    let (chip, started) = s3ota_esp::start(Config::default().with_cpu_clock(CpuClock::max()));
    esp_println::logger::init_logger(log::LevelFilter::Info);
    let board = started.board(chip.FLASH, chip.RTC_TIMER).share_flash();
    log::info!("advanced {VERSION}, {board}");

    // The network. Wi-Fi needs the heap.
    #[cfg(not(feature = "esp32s2"))]
    {
        esp_alloc::heap_allocator!(#[ram(reclaimed)] size: 64 * 1024);
        esp_alloc::heap_allocator!(size: 36 * 1024);
    }
    // The bootloader leaves more there, and the rest is needed.
    #[cfg(feature = "esp32s2")]
    esp_alloc::heap_allocator!(#[ram(reclaimed)] size: 100 * 1024);
    esp_rtos::start(TimerGroup::new(chip.TIMG0).timer0, chip.FROM_CPU_INTR0);
    let (ssid, password) = (env!("WIFI_SSID"), env!("WIFI_PASSWORD"));
    let otherwise = Credentials::new(ssid.as_bytes(), password.as_bytes());
    let (flash, console) = (board.flash, s3ota_esp::console!(chip));
    let name = env!("CARGO_PKG_NAME");
    #[cfg(not(feature = "qemu"))]
    let network = improv::join(spawner, chip.WIFI, flash, console, name, VERSION, otherwise);
    #[cfg(feature = "qemu")]
    let (rng, adc) = (chip.RNG, chip.ADC1);
    #[cfg(feature = "qemu")]
    let network =
        improv::join_emulated(spawner, rng, adc, flash, console, name, VERSION, otherwise);

    // The application: its work goes on with or without a network, and with or without updates.
    let pull_up = InputConfig::default().with_pull(Pull::Up);
    let button = Input::new(button!(chip), pull_up);
    let led = Output::new(chip.GPIO2, Level::Low, OutputConfig::default());
    spawner.spawn(watch_button(button).expect("one such task"));
    spawner.spawn(work().expect("one such task"));
    spawner.spawn(count_start(board.flash).expect("one such task"));
    match network {
        Ok(stack) => {
            spawner.spawn(keep_time(board.clock, stack).expect("one such task"));
            spawner.spawn(status(board.clock, stack).expect("one such task"));
            let updates = keep_up_to_date(board, stack, led);
            spawner.spawn(updates.expect("one such task"));
        }
        Err(error) => log::error!("no network: {error:?}"),
    }
    pending().await
}

/// Looks for updates for good. Returns where there can be none.
///
/// In a task of its own: an update needs most of the stack, and `main`, which sets up everything, some of it.
#[embassy_executor::task]
async fn keep_up_to_date(board: Board<SharedFlash>, stack: Stack<'static>, led: Output<'static>) {
    // Without a network it goes on as well: a firmware on trial is not to blame for that, and says so.
    let _ = with_timeout(
        embassy_time::Duration::from_secs(60),
        stack.wait_config_up(),
    )
    .await;

    let id = s3ota_esp::device_id();
    let mut config = s3ota_esp::config(env!("MANIFEST_URL"), VERSION, &id);
    config.release_keys = RELEASE_KEYS;
    if !ROOT_CA.is_empty()
        && let Err(error) = config.roots.add_der(ROOT_CA)
    {
        log::error!("ROOT_CA: {error}");
    }
    let is_on_trial = board.is_on_trial();
    let device = match board.device(stack) {
        Ok(device) => device,
        Err(error) => return log::error!("no updates: {error}"),
    };
    let mut updater = Updater::new(config, device, WORKSPACE.take());

    if is_on_trial {
        self_test::pass_or_go_back(&mut updater).await;
    }
    let schedule = Schedule {
        every: Duration::from_secs(6 * 60 * 60),
        confirm: Confirm::ByApplication,
        ..Schedule::default()
    };
    let mut hooks = AppHooks { led };
    s3ota_esp::run_with(
        updater,
        schedule,
        &mut hooks,
        || NOW.wait(),
        // Flash is within reach here, too, and awaits are fine: let the device finish what it does.
        async |_, _| {
            while BUSY.load(Ordering::Relaxed) {
                Timer::after_millis(100).await;
            }
        },
    )
    .await;
}

/// A press checks for an update now.
#[embassy_executor::task]
async fn watch_button(mut button: Input<'static>) {
    loop {
        button.wait_for_falling_edge().await;
        // Contacts bounce.
        Timer::after_millis(50).await;
        if button.is_low() {
            log::info!("button: checking for an update");
            NOW.signal(());
        }
    }
}

/// The device's own work: here, five seconds of it twice a minute.
#[embassy_executor::task]
async fn work() {
    loop {
        BUSY.store(true, Ordering::Relaxed);
        Timer::after_secs(5).await;
        BUSY.store(false, Ordering::Relaxed);
        Timer::after_secs(25).await;
    }
}

/// Counts the starts of the device, on flash that the updater uses, too.
#[embassy_executor::task]
async fn count_start(flash: SharedFlash) {
    match settings::count_start(flash).await {
        Some(starts) => log::info!("start number {starts}"),
        None => log::warn!("the starts are not counted"),
    }
}

/// Logs a status line.
#[embassy_executor::task]
async fn status(clock: &'static Clock, stack: Stack<'static>) {
    loop {
        log::info!(
            "status: {VERSION}, up {} s, date {:?}, address {:?}, heap free {} B, last check: {}{}",
            clock.uptime().as_secs(),
            clock.unix_time(),
            stack.config_v4().map(|config| config.address),
            esp_alloc::HEAP.free(),
            LAST_CHECK.lock(|last| last.get()),
            if clock.is_trial() { ", on trial" } else { "" },
        );
        Timer::after_secs(30).await;
    }
}

#[embassy_executor::task]
async fn keep_time(clock: &'static Clock, stack: Stack<'static>) {
    match Entropy::new() {
        Ok(rng) => sntp::keep_time(clock, stack, sntp::POOL, rng).await,
        Err(error) => log::error!("no time: {error}"),
    }
}
