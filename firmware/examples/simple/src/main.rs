//! The shortest firmware that keeps itself up to date: it looks into its S3 bucket after boot and every hour.

#![no_std]
#![no_main]

use core::future::pending;

use embassy_executor::Spawner;
use embassy_net::Stack;
use esp_hal::{Config, clock::CpuClock, ram, timer::timg::TimerGroup};
use s3ota::{ReleaseKey, Schedule, Updater, Workspace};
use s3ota_esp::{Clock, Entropy, sntp};
use static_cell::ConstStaticCell;

esp_bootloader_esp_idf::esp_app_desc!();

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The certificate of your own server's authority, if `ROOT_CA` is set. Amazon's are built in.
const ROOT_CA: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/root_ca.der"));
/// Whoever has their private halves may release, and nobody else, if `RELEASE_KEY` is set.
const RELEASE_KEYS: &[ReleaseKey] = &include!(concat!(env!("OUT_DIR"), "/release_keys.rs"));

static WORKSPACE: ConstStaticCell<Workspace> = ConstStaticCell::new(Workspace::new());

#[esp_hal::main]
async fn main(spawner: Spawner) -> ! {
    let chip = esp_hal::init(Config::default().with_cpu_clock(CpuClock::max()));
    esp_println::logger::init_logger(log::LevelFilter::Info);

    // First of all: a firmware that fails its trial is left for the one before.
    let board = s3ota_esp::boot_guard(chip.FLASH, chip.RTC_TIMER);
    log::info!("simple {VERSION}, {:?}", board.boot);

    // The network. Wi-Fi needs the heap.
    esp_alloc::heap_allocator!(#[ram(reclaimed)] size: 64 * 1024);
    esp_alloc::heap_allocator!(size: 36 * 1024);
    esp_rtos::start(TimerGroup::new(chip.TIMG0).timer0, chip.FROM_CPU_INTR0);
    #[cfg(not(feature = "qemu"))]
    let stack = {
        let (ssid, password) = (env!("WIFI_SSID"), env!("WIFI_PASSWORD"));
        s3ota_esp::wifi::join(spawner, chip.WIFI, ssid, password).expect("Wi-Fi")
    };
    #[cfg(feature = "qemu")]
    let stack = s3ota_esp::qemu::join(spawner, chip.RNG, chip.ADC1).expect("the emulator");
    spawner.spawn(keep_time(board.clock, stack).expect("one such task"));
    stack.wait_config_up().await;

    // The updates. The first check that reaches the server confirms a firmware on trial.
    let id = s3ota_esp::device_id();
    let mut config = s3ota_esp::config(env!("MANIFEST_URL"), VERSION, &id);
    config.release_keys = RELEASE_KEYS;
    if !ROOT_CA.is_empty() {
        config.roots.add_der(ROOT_CA).expect("ROOT_CA");
    }
    let device = board.device(stack).expect("a board with two OTA slots");
    let updater = Updater::new(config, device, WORKSPACE.take());
    s3ota_esp::run(updater, Schedule::default(), &mut (), pending).await
}

#[embassy_executor::task]
async fn keep_time(clock: &'static Clock, stack: Stack<'static>) {
    let rng = Entropy::new().expect("Wi-Fi is on");
    sntp::keep_time(clock, stack, sntp::POOL, rng).await
}
