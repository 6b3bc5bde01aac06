//! Board support for [`s3ota`] on Espressif's chips, with esp-hal.
//!
//! The library needs flash, network, time and randomness. This crate provides them, and [`start`], the first line of `main`:
//!
//! ```ignore
//! let (chip, started) = s3ota_esp::start(esp_hal::Config::default());
//! let board = started.board(chip.FLASH, chip.RTC_TIMER);
//!
//! // …Wi-Fi started…
//! spawner.spawn(keep_time(board.clock, stack).unwrap()); // runs s3ota_esp::sntp::keep_time
//!
//! let id = s3ota_esp::device_id();
//! let config = s3ota_esp::config(MANIFEST_URL, env!("CARGO_PKG_VERSION"), &id);
//! let device = board.device(stack)?;
//! let updater = Updater::new(config, device, WORKSPACE.take());
//! s3ota_esp::run(updater, Schedule::default(), &mut (), core::future::pending).await
//! ```
//!
//! (CI builds the example firmwares, `examples/simple` and `examples/advanced`, but not this code: the chip's peripherals
//! exist once per program.)
//!
//! # The parts
//!
//! - [`start`]: counts the boots of a firmware on trial, rolls back after too many, starts the chip, and arms its watchdog
//!   for the trial. It leads to the [`Board`].
//! - [`Flash`]: the flash chip, in steps that let other tasks run; [`SharedFlash`], if the application uses it, too.
//! - [`running_partition`]: the partition of the running firmware, read from the cache's mapping.
//! - [`Clock`] and [`sntp`]: uptime, and the date, which the RTC keeps across restarts.
//! - [`Entropy`]: the hardware's random numbers, while they are random.
//! - [`Network`]: TCP and DNS over embassy-net.
//! - `wifi::join`, with the feature `wifi`: Wi-Fi, if you have no setup of your own yet.
//! - `improv::join`, with the feature `improv`: Wi-Fi whose credentials are on flash (`credentials`) and are entered over a serial
//!   line.
//! - `qemu::join`, with the feature `qemu`: the emulator's network instead; `improv::join_emulated`, with both features.
//! - [`run`]: the agent, the end of the trial, the restart; [`run_with`], if there is something to do before the restart.
//! - [`look`]: one check by the agent, for devices that sleep.
//! - [`kept_wear`]: the flash wear of updates, in the RTC's memory, for devices that sleep.
//! - With the feature `panic-handler`: a panic prints and restarts, so a broken firmware uses up its trial. It counts the boot
//!   if `start` has not done so yet.
//!
//! # Launching the trial
//!
//! With the feature `launch`, [`start`] boots a firmware on trial itself, as long as otadata selects the old one:
//!
//! 1. The boot guard counts a boot of the new firmware, and asks for its launch ([`Boot::Launch`](s3ota::Boot::Launch)).
//! 2. The image in its slot is checked: SHA-256, chip, revisions, secure version, segments
//!    (`s3ota_image::launch`).
//! 3. The RTC watchdog is set to ten seconds, which the new firmware has to reach its own [`start`].
//! 4. A stub of 150 bytes copies and maps the segments, and jumps. It lies where ESP-IDF's bootloader does while it loads an
//!    image, so it and the new firmware have room next to each other. It takes no static RAM.
//!
//! What cannot be launched is booted by the bootloader, as without the feature, or fails its trial: with the feature `panic-handler` the console
//! says so, with the number of the reason (`s3ota_image::launch::Refusal::number`).
//!
//! It is for the RISC-V chips, and **has run on the ESP32-C3 in the emulator only**. The other chips' constants come from
//! ESP-IDF's sources. Until it has run on real boards it is off unless you ask for it.
//!
//! # Features
//!
//! `launch`: see above. The chip: one of `esp32`, `esp32s2`, `esp32s3`, `esp32c2`, `esp32c3`, `esp32c5`, `esp32c6`, `esp32h2`. `rsa`, on by
//! default: RSA certificates, which S3 uses. `log`, on by default, and `defmt`: what says what happens. `p384`, `roots-isrg` and `roots-gts`: what [stores other than
//! S3](https://github.com/s3ota/s3ota/blob/main/docs/stores.md) need.

#![no_std]
#![allow(async_fn_in_trait)]

#[macro_use]
mod fmt;

mod agent;
mod board;
mod clock;
#[cfg(feature = "improv")]
pub mod credentials;
mod doubt;
mod early;
mod entropy;
mod flash;
mod guard;
mod identity;
#[cfg(feature = "improv")]
pub mod improv;
#[cfg(feature = "launch")]
mod launch;
mod network;
#[cfg(feature = "panic-handler")]
mod panic;
#[cfg(feature = "qemu")]
pub mod qemu;
mod reset;
mod running;
pub mod sntp;
mod start;
#[cfg(feature = "launch")]
mod stub;
mod watchdog;
mod wear;
#[cfg(feature = "wifi")]
pub mod wifi;

/// Where the partition table lies on flash: what `ESP_BOOTLOADER_ESP_IDF_CONFIG_PARTITION_TABLE_OFFSET` says when this is built,
/// the setting of esp-bootloader-esp-idf; 0x8000 without it. Like the bootloader's `CONFIG_PARTITION_TABLE_OFFSET`.
pub const TABLE_OFFSET: u32 = match u32::from_str_radix(env!("S3OTA_TABLE_OFFSET"), 10) {
    Ok(offset) => offset,
    Err(_) => panic!("the build script writes a number"),
};

pub use agent::{BEFORE_RESTART, Look, confirm, look, run, run_with};
pub use board::{Board, BoardError};
pub use clock::{BUILT_AT, Clock};
pub use entropy::{Entropy, NoEntropy};
pub use flash::{Flash, FlashError, SharedFlash};
pub use guard::restart;
pub use identity::{CHIP, DeviceId, config, device_id, hardware};
pub use network::Network;
pub use running::{RunningError, running_partition};
pub use start::{Started, TRIAL_TIME, Trial, start, start_with};
pub use wear::{keep_wear, kept_wear};
