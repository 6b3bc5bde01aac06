//! The places where an application can have its say in an update.

use core::time::Duration;

use s3ota_manifest::Manifest;

use crate::error::Error;
use crate::outcome::{Installed, NoUpdate};

/// What the application is asked and told during an update. Every method has a body that does nothing.
///
/// Hooks run between two network reads or flash writes and hold up the update while they run: keep them short.
pub trait Hooks {
    /// A release is there and fits. Answer `false` to leave it for the next check: low battery, a portal open, a
    /// print running.
    fn may_start(&mut self, release: &Manifest<'_>) -> bool {
        let _ = release;
        true
    }

    /// The download begins. The place to pause work that competes for the flash, the network or the power.
    fn on_start(&mut self, release: &Manifest<'_>) {
        let _ = release;
    }

    /// Some of the image is on flash.
    fn on_progress(&mut self, progress: Progress) {
        let _ = progress;
    }

    /// The check found nothing to do.
    fn on_no_update(&mut self, reason: NoUpdate) {
        let _ = reason;
    }

    /// An attempt failed. With `retry_in` another follows after that pause; without, the update has failed.
    fn on_error(&mut self, error: &Error, retry_in: Option<Duration>) {
        let _ = (error, retry_in);
    }

    /// The trial of the running firmware is over: the [`Agent`](crate::Agent) has confirmed it.
    fn on_confirm(&mut self) {}

    /// The new firmware is checked, on flash and selected: the next restart boots it.
    fn on_complete(&mut self, installed: &Installed) {
        let _ = installed;
    }

    /// An attempt that had started (`on_start`) ended without a new firmware: go on with the work that you paused.
    fn on_stop(&mut self) {}
}

/// No hooks.
impl Hooks for () {}

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes on flash.
    pub written: u32,
    /// Bytes of the whole image, where the manifest or the server said.
    pub total: Option<u32>,
}

impl Progress {
    /// Whole percent, 0 to 100, where the total is known.
    pub fn percent(&self) -> Option<u8> {
        let total = self.total.filter(|&total| total > 0)?;
        let percent = u64::from(self.written) * 100 / u64::from(total);
        Some(u8::try_from(percent).unwrap_or(100).min(100))
    }
}
