//! The application's hooks.

use core::cell::Cell;
use core::sync::atomic::Ordering;
use core::time::Duration;

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use esp_hal::gpio::Output;
use s3ota::manifest::Manifest;
use s3ota::{Error, Hooks, Installed, NoUpdate, Progress};

use crate::BUSY;

/// The result of the last check: for a status line, a display, a server of your own.
pub static LAST_CHECK: Mutex<CriticalSectionRawMutex, Cell<&str>> =
    Mutex::new(Cell::new("none yet"));

/// Delays updates while the device works, and shows them on an LED.
pub struct AppHooks {
    /// Blinks during a download, stays on when it is complete. On when high.
    pub led: Output<'static>,
}

impl Hooks for AppHooks {
    fn may_start(&mut self, release: &Manifest<'_>) -> bool {
        let busy = BUSY.load(Ordering::Relaxed);
        if busy {
            log::info!("{} must wait: the device is busy", release.version);
        }
        !busy
    }

    fn on_start(&mut self, release: &Manifest<'_>) {
        log::info!("downloading {}", release.version);
        self.led.set_high();
    }

    fn on_progress(&mut self, progress: Progress) {
        self.led.toggle();
        // Every 64 KiB is often enough for a person.
        if progress.written.is_multiple_of(64 * 1024) {
            match progress.percent() {
                Some(percent) => log::info!("{percent} %"),
                None => log::info!("{} bytes", progress.written),
            }
        }
    }

    fn on_no_update(&mut self, _reason: NoUpdate) {
        LAST_CHECK.lock(|last| last.set("nothing new"));
    }

    fn on_error(&mut self, error: &Error, _retry_in: Option<Duration>) {
        // The log has the whole message.
        LAST_CHECK.lock(|last| last.set(error.code()));
    }

    fn on_complete(&mut self, installed: &Installed) {
        log::info!("{} is installed, restarting", installed.version);
        self.led.set_high();
    }

    fn on_stop(&mut self) {
        self.led.set_low();
    }
}
