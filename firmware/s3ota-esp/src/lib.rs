//! Board support for [`s3ota`] on Espressif's chips, by esp-hal.
//!
//! The library asks for flash, network, time and randomness; here they are, and the boot guard as the first call of
//! `main`:
//!
//! ```ignore
//! let chip = esp_hal::init(esp_hal::Config::default());
//! let board = s3ota_esp::boot_guard(chip.FLASH, chip.RTC_TIMER);
//!
//! // …Wi-Fi up, `stack` has an address…
//! spawner.spawn(keep_time(board.clock, stack).unwrap()); // runs s3ota_esp::sntp::keep_time
//!
//! let id = s3ota_esp::device_id();
//! let config = s3ota_esp::config(MANIFEST_URL, env!("CARGO_PKG_VERSION"), &id);
//! let device = board.device(stack).unwrap();
//! let updater = Updater::new(config, device, WORKSPACE.take());
//! s3ota_esp::run(updater, Schedule::default(), &mut (), core::future::pending).await
//! ```
//!
//! (The example firmwares, `examples/simple` and `examples/advanced`, are built by CI. This one is not: the chip's
//! peripherals exist once a program.)
//!
//! # The parts
//!
//! - [`boot_guard`]: counts the boots of a firmware on trial, goes back after too many, and arms the chip's watchdog
//!   for the trial. Gives the [`Board`].
//! - [`Flash`]: the flash chip, in steps that let other tasks run.
//! - [`running_partition`]: where the running firmware lies, read from the cache's mapping.
//! - [`Clock`] and [`sntp`]: uptime, and the date, kept in the RTC over restarts.
//! - [`Entropy`]: the hardware's random numbers, where they are random.
//! - [`Network`]: TCP and DNS over embassy-net.
//! - `wifi::join`, with the feature `wifi`: Wi-Fi for those who have no wiring of their own yet.
//! - `qemu::join`, with the feature `qemu`: the emulator's network instead.
//! - [`run`]: the agent, the end of the trial, the restart.
//! - With the feature `panic-handler`: a panic prints and restarts, so that a broken firmware uses up its trial.
//!
//! # Features
//!
//! One of `esp32`, `esp32s2`, `esp32s3`, `esp32c2`, `esp32c3`, `esp32c5`, `esp32c6`, `esp32h2`: the chip. `rsa`, on by
//! default: RSA certificates, which S3 uses.

#![no_std]
#![allow(async_fn_in_trait)]

mod agent;
mod clock;
mod entropy;
mod flash;
mod guard;
mod identity;
mod network;
#[cfg(feature = "panic-handler")]
mod panic;
#[cfg(feature = "qemu")]
pub mod qemu;
mod running;
pub mod sntp;
#[cfg(feature = "wifi")]
pub mod wifi;

pub use agent::{confirm, run};
pub use clock::{BUILT_AT, Clock};
pub use entropy::{Entropy, NoEntropy};
pub use flash::{Flash, FlashError};
pub use guard::{Board, BoardError, TRIAL_TIME, Trial, boot_guard, boot_guard_with};
pub use identity::{CHIP, DeviceId, config, device_id};
pub use network::Network;
pub use running::{RunningError, running_partition};

pub use esp_hal::system::software_reset as restart;
