//! Where the application has its say in an update.

use core::time::Duration;

use s3ota_manifest::Manifest;

use crate::error::Error;
use crate::outcome::{Installed, NoUpdate};

/// Questions to the application, and events, during an update. Every method has a default body that does nothing.
///
/// Hooks run between two network reads or flash writes and hold up the update while they run: keep them short.
pub trait Hooks {
    /// There is a release, and it fits. Return `false` to leave it for the next check: low battery, a portal open, a print
    /// running.
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
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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

/// The application's hooks, and what happened in an attempt.
pub(crate) struct Watched<'h> {
    pub(crate) hooks: &'h mut dyn Hooks,
    /// [`Hooks::on_start`] was called.
    pub(crate) started: bool,
    /// Bytes of the image that were on flash before.
    pub(crate) resumed: u32,
    /// Bytes of the image that are on flash now.
    pub(crate) written: u32,
}

impl<'h> Watched<'h> {
    pub(crate) fn new(hooks: &'h mut dyn Hooks) -> Self {
        Self {
            hooks,
            started: false,
            resumed: 0,
            written: 0,
        }
    }

    /// This much of the image is on flash from an attempt before.
    pub(crate) fn resumed(&mut self, written: u32, total: Option<u32>) {
        self.resumed = written;
        if written > 0 {
            info!("resuming after {} bytes that are on flash already", written);
            self.hooks.on_progress(Progress { written, total });
        }
    }
}

impl Hooks for Watched<'_> {
    fn may_start(&mut self, release: &Manifest<'_>) -> bool {
        // An attempt may go another way, but it is one attempt.
        (cfg!(feature = "delta") && self.started) || self.hooks.may_start(release)
    }

    fn on_start(&mut self, release: &Manifest<'_>) {
        if cfg!(feature = "delta") && self.started {
            return;
        }
        self.started = true;
        self.hooks.on_start(release);
    }

    fn on_progress(&mut self, progress: Progress) {
        self.written = progress.written;
        self.hooks.on_progress(progress);
    }
}
