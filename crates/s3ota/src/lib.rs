//! An ESP32 updates itself over the air from nothing but an S3 bucket.
//!
//! A device fetches `manifest.json` over HTTPS, compares versions, downloads the image the manifest names, checks it,
//! writes it to the inactive OTA slot, switches, and restarts; the new firmware proves itself on a trial boot, or the
//! device goes back to the old one by itself.
//!
//! ```no_run
//! # use s3ota::device::{Clock, Device, Dns, NorFlash, TcpConnect};
//! # use rand_core::{CryptoRng, RngCore};
//! use s3ota::{Agent, Boot, Chip, Config, Schedule, Updater, Workspace, boot_guard};
//!
//! # async fn firmware<F: NorFlash, N: TcpConnect + Dns, C: Clock, R: CryptoRng + RngCore>(
//! #     mut device: Device<F, N, C, R>, restart: fn() -> !, mac: &str) {
//! // First of all: count the boot of a firmware on trial.
//! match boot_guard(&mut device.flash, device.running, 3).await {
//!     Ok(Boot::GivenUp) => restart(),
//!     Ok(_) => {}
//!     Err(error) => log::error!("this firmware can be neither confirmed nor left: {error}"),
//! }
//!
//! // Once the network is up:
//! let url = "https://my-bucket.s3.eu-central-1.amazonaws.com/lamp/stable.json";
//! let config = Config::new(url, env!("CARGO_PKG_VERSION"), Chip::Esp32C3, mac);
//! let mut workspace = Workspace::new(); // 36 KB: a static, on a chip
//! let updater = Updater::new(config, device, &mut workspace);
//!
//! Agent::new(updater, Schedule::default()).run(&mut (), core::future::pending).await;
//! restart();
//! # }
//! ```
//!
//! # The parts
//!
//! - [`Updater`]: the building blocks [`check`](Updater::check), [`install`](Updater::install),
//!   [`prove`](Updater::prove), [`confirm`](Updater::confirm), [`roll_back`](Updater::roll_back).
//! - [`Agent`]: the loop around it: after boot, every interval, and now.
//! - [`boot_guard`]: the first call of `main`, which ends a trial that fails.
//! - [`Hooks`]: where the application has its say.
//! - [`device`]: what the library asks of the device: flash, network, time, randomness.
//!
//! # What is promised
//!
//! - Nothing becomes bootable before everything is checked: the manifest, the server, the image's chip, size, version,
//!   hash and own digest, and that flash holds what was sent. The first bytes of an image are written last.
//! - A switch is one otadata record written whole. Power may fail at any moment; the old image boots, or the new one.
//! - A device never goes back to an older release by itself, except that a release which fails its trial is left for
//!   the one that it replaced. If it crashed it is not tried again; if it only missed its server, a few times.
//! - Whatever a server does, a slot is erased twice an hour and eight times a day at most.
//! - With [release keys](Config::release_keys), nothing but what one of them signed is installed, whoever owns the server or
//!   the network. The repository's SECURITY.md lists the attacks, what stops each, and what is not stopped.
//! - Nothing waits for ever: there is a limit on silence and one on the whole update.
//! - The library allocates nothing and does not panic, whatever a server sends.

#![no_std]
#![allow(async_fn_in_trait)]

#[cfg(test)]
extern crate std;

mod agent;
mod apart;
mod boot;
mod check;
mod config;
pub mod device;
mod error;
mod flash;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod hooks;
mod install;
mod net;
mod outcome;
pub mod poll;
mod updater;

#[doc(hidden)]
pub use net::http;

pub use agent::{Agent, Restart};
pub use boot::reset::{Bootloader, Reset};
pub use boot::trial::{
    Boot, Booted, DEFAULT_TRIAL_BOOTS, MAX_SPARED_BOOTS, MAX_TRIAL_BOOTS, UNKNOWN_PARTITION,
    boot_guard, boot_guard_after,
};
pub use config::{Config, Confirm, Header, HeaderError, Schedule, Timeouts};
pub use device::{Clock, Device};
pub use error::{Error, FirmwareError, Host, HttpError, LayoutError, Name, ReleaseError, Text};
pub use flash::partitions::Slot;
pub use hooks::{Hooks, Progress};
pub use install::wear::Wear;
pub use net::session::MAX_REDIRECTS;
pub use outcome::{Available, Checked, Finished, Installed, NoUpdate, Outcome};
pub use updater::{Updater, Workspace};

pub use s3ota_image::Chip;
pub use s3ota_image::app::{Hardware, Misfit};
pub use s3ota_manifest as manifest;
pub use s3ota_manifest::ReleaseKey;
pub use s3ota_tls as tls;
