//! The shortest firmware that updates itself: it checks its S3 bucket after boot and every hour.

#![no_std]
#![no_main]

use core::future::pending;

use embassy_executor::Spawner;
use embassy_net::Stack;
use embassy_time::{Duration, with_timeout};
use esp_hal::{Config, clock::CpuClock, ram, timer::timg::TimerGroup};
use s3ota::{ReleaseKey, Schedule, Updater, Workspace};
use s3ota_esp::{Clock, Entropy, sntp};
use static_cell::ConstStaticCell;

esp_bootloader_esp_idf::esp_app_desc!();

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The root certificate of your own server, if `ROOT_CA` is set. Amazon's are built in.
const ROOT_CA: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/root_ca.der"));
/// If `RELEASE_KEY` is set, only the owners of these release keys may release.
const RELEASE_KEYS: &[ReleaseKey] = &include!(concat!(env!("OUT_DIR"), "/release_keys.rs"));

static WORKSPACE: ConstStaticCell<Workspace> = ConstStaticCell::new(Workspace::new());

#[esp_hal::main]
async fn main(spawner: Spawner) -> ! {
    // First of all: a firmware that fails its trial is rolled back.
    let (chip, started) = s3ota_esp::start(Config::default().with_cpu_clock(CpuClock::max()));
    esp_println::logger::init_logger(log::LevelFilter::Info);
    let board = started.board(chip.FLASH, chip.RTC_TIMER);
    log::info!("simple {VERSION}, {board}");

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
    #[cfg(not(feature = "qemu"))]
    let network = {
        let (ssid, password) = (env!("WIFI_SSID"), env!("WIFI_PASSWORD"));
        s3ota_esp::wifi::join(spawner, chip.WIFI, ssid, password)
    };
    #[cfg(feature = "qemu")]
    let network = s3ota_esp::qemu::join(spawner, chip.RNG, chip.ADC1);

    // The device's own work would be here. Problems with updates do not stop it.
    let stack = match network {
        Ok(stack) => stack,
        Err(error) => {
            log::error!("no network: {error:?}");
            pending().await
        }
    };
    spawner.spawn(keep_time(board.clock, stack).expect("one such task"));
    // Continue without a network: that is not the fault of a firmware on trial, and the agent takes note of it.
    let _ = with_timeout(Duration::from_secs(60), stack.wait_config_up()).await;

    // The updates. The first check that shows that the firmware could fetch its next release ends its trial.
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
            s3ota_esp::run(updater, Schedule::default(), &mut (), pending).await
        }
        Err(error) => {
            log::error!("no updates: {error}");
            pending().await
        }
    }
}

#[embassy_executor::task]
async fn keep_time(clock: &'static Clock, stack: Stack<'static>) {
    match Entropy::new() {
        Ok(rng) => sntp::keep_time(clock, stack, sntp::POOL, rng).await,
        Err(error) => log::error!("no time: {error}"),
    }
}
