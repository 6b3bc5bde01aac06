//! An ESP32 updates itself over the air from nothing but an S3 bucket.
//!
//! A device fetches `manifest.json` over HTTPS, compares versions, downloads the image that the manifest names, checks it,
//! writes it to the inactive OTA slot, switches, and restarts. The new firmware proves itself on a trial boot, or the
//! device rolls back by itself.
//!
//! ```no_run
//! # use s3ota::device::{Clock, Device, Dns, NorFlash, TcpConnect};
//! # use rand_core::{CryptoRng, RngCore};
//! use s3ota::{Agent, Boot, Chip, Config, Schedule, Updater, Workspace, boot_guard};
//!
//! # async fn firmware<F: NorFlash, N: TcpConnect + Dns, C: Clock, R: CryptoRng + RngCore>(
//! #     mut device: Device<F, N, C, R>, restart: fn() -> !, mac: &str) {
//! // First of all, count the boot of a firmware on trial.
//! match boot_guard(&mut device.flash, device.running, 3).await {
//!     Ok(Boot::GivenUp) => restart(),
//!     Ok(_) => {}
//!     Err(error) => log::error!("this firmware can be neither confirmed nor left: {error}"),
//! }
//!
//! // Once the network is up:
//! let url = "https://my-bucket.s3.eu-central-1.amazonaws.com/lamp/stable.json";
//! let config = Config::new(url, env!("CARGO_PKG_VERSION"), Chip::Esp32C3, mac);
//! let mut workspace = Workspace::new(); // 25 KB: a static, on a chip
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
//!   [`prove`](Updater::prove), [`confirm`](Updater::confirm), [`roll_back`](Updater::roll_back); and
//!   [`install_from`](Updater::install_from) for an image that the application has already.
//! - [`Agent`]: the loop around it: after boot, every interval, and now.
//! - [`boot_guard`]: the first call in `main`, which ends a trial that fails.
//! - [`Hooks`]: where the application has its say.
//! - [`device`]: what the library needs from the device: flash, network, time, randomness.
//! - [`poll`]: updates without an executor.
//!
//! In the source, folders are layers. Each uses those before it:
//!
//! | folder | what happens there |
//! |---|---|
//! | `flash/` | single accesses, logs that are only appended to, the partition table |
//! | `net/` | sockets with time limits, TLS sessions, HTTP |
//! | `install/` | source → decode → check → writer, with the journal beside it |
//! | `boot/` | otadata, trials, the rollback state |
//! | `check/` | what the device makes of a manifest |
//! | `updater/` | one attempt, and the retries |
//!
//! # What is promised
//!
//! - Nothing becomes bootable before everything is checked: the manifest, the server, the image's chip, size, version,
//!   hash and own digest, and that flash holds what was sent. The first bytes of an image are written last.
//! - A switch is one otadata record, written whole. Power may fail at any moment; the old image boots, or the new one.
//! - A device never goes back to an older release by itself, with one exception: from a release that fails its trial it rolls
//!   back to the release before. A release that crashed is not tried again; one that only missed its server is, a few times.
//! - Whatever a server does, a slot is erased twice an hour and eight times a day at most.
//! - With [release keys](Config::release_keys), only what one of them signed is installed, whoever controls the server or
//!   the network. The repository's docs/security.md lists the attacks, what stops each, and what is not stopped.
//! - Nothing waits for ever: there is a limit on silence and one on the whole update.
//! - The library allocates nothing and does not panic, whatever a server sends.
//!
//! # What stays as it is
//!
//! From version 1.0 on, semantic versioning covers three things:
//!
//! - **The API**: everything that is documented here. Enums and results that may grow are `non_exhaustive`. [`Config`],
//!   [`Schedule`] and [`Timeouts`] may get fields in a minor version: end your literals with `..Config::new(…)` or
//!   `..Default::default()`. Traits get methods only with a default body. The texts of errors and log lines may change at any
//!   time; [`Error::code`] does not. What is hidden from this documentation is not covered.
//! - **The manifest**: a release reads every manifest that an earlier one of the same major version reads, and takes the same
//!   signatures. Unknown fields are skipped.
//! - **What lies on flash**: otadata with its logs, and the journal in a slot. A release understands what earlier ones of the
//!   same major version wrote, in both directions of an update: the old firmware that a device rolls back to, too.
//!
//! [`manifest`] and [`tls`] are crates of their own, with versions of their own. A new major version of one of them, or of
//! `edge-nal`, `embassy-sync`, `embedded-io-async`, `embedded-storage-async` or `rand_core`, is a new major version of this crate.

#![no_std]
#![allow(async_fn_in_trait)]
#![warn(clippy::too_many_lines)]

#[cfg(test)]
extern crate std;

#[macro_use]
mod fmt;

mod agent;
mod apart;
mod boot;
mod bytes;
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
#[cfg(feature = "simulate")]
#[doc(hidden)]
pub mod simulate;
mod updater;

/// The device's HTTP client, for the command's doctor, which looks closer at what it saw, and for the fuzz targets. It is no part
/// of the API: semantic versioning does not cover it.
#[doc(hidden)]
pub mod http {
    pub use crate::net::http::parse as parse_head;
    pub use crate::net::http::{
        Body, ContentRange, Framing, Head, Identity, MAX_ETAG, MAX_FIELDS, MAX_HEAD, Part, Request,
        Want,
    };
    pub use crate::net::session::is_the_part;
}

/// What lies in otadata's logs, for the command's `inspect`. It is no part of the API: semantic versioning does not cover it.
#[doc(hidden)]
pub mod otadata {
    pub use crate::boot::trial::{LaunchedTrial, read_launched_trial};
}

pub use agent::{Agent, Restart};
#[cfg(feature = "launch")]
pub use boot::booted::Refusal;
pub use boot::booted::{Boot, Booted, DEFAULT_TRIAL_BOOTS, MAX_SPARED_BOOTS, MAX_TRIAL_BOOTS};
pub use boot::reset::{Bootloader, Reset};
#[cfg(feature = "launch")]
pub use boot::trial::launch_refused;
pub use boot::trial::{UNKNOWN_PARTITION, boot_guard, boot_guard_after, boot_guard_at};
pub use config::{Config, Confirm, Header, HeaderError, Schedule, SendId, Timeouts, TrialMode};
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
