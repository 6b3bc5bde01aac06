//! The boot guard on the chip: counts this boot before anything else.

use core::sync::atomic::{AtomicU32, Ordering};

use embassy_futures::block_on;
use s3ota::{Boot, Booted, Error, Reset, UNKNOWN_PARTITION, boot_guard_at};

use crate::RunningError::{LargeFlash, NotInTable};
use crate::doubt::may_be_on_trial;
use crate::reset::reset_of;
use crate::{Flash, RunningError, TABLE_OFFSET, running_partition};

/// [`BEGUN`] once the guard has started. If it panics itself, it is not called again.
///
/// It is a magic number, and reset before a restart: a panic before RAM is set up must not find the previous firmware's value
/// here.
static STATE: AtomicU32 = AtomicU32::new(0);

const BEGUN: u32 = u32::from_le_bytes(*b"grd!");

/// What the guard has found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// The running firmware's offset on flash.
    pub(crate) running: Result<u32, RunningError>,
    /// Its state.
    pub(crate) booted: Result<Booted, Error>,
}

impl Found {
    /// Whether this boot is limited: the firmware is on trial, or may be.
    pub(crate) fn is_limited(&self) -> bool {
        match &self.booted {
            Ok(booted) => matches!(booted.boot, Boot::Trial { .. } | Boot::GivenUp),
            // If the table can be read but does not contain what runs, no update can have started.
            Err(_) if matches!(self.running, Err(NotInTable | LargeFlash)) => false,
            Err(error) => may_be_on_trial(error, esp_hal::efuse::flash_encryption()),
        }
    }
}

/// Counts this boot. Called once, before `esp_hal::init` or in the panic handler.
pub(crate) fn guard(reset: Reset, flash: &mut Flash, trial_boots: u8) -> Found {
    STATE.store(BEGUN, Ordering::Relaxed);
    let running = running_partition(flash);
    let at = running.unwrap_or(UNKNOWN_PARTITION);
    let booted = block_on(boot_guard_at(TABLE_OFFSET, reset, flash, at, trial_boots));
    Found { running, booted }
}

/// Whether this boot has not been counted yet.
#[cfg(feature = "panic-handler")]
pub(crate) fn is_due() -> bool {
    STATE.load(Ordering::Relaxed) != BEGUN
}

/// Restarts the chip.
pub fn restart() -> ! {
    end();
    esp_hal::system::software_reset()
}

/// Nothing of this firmware runs any more: the next one must not find its [`STATE`].
pub(crate) fn end() {
    STATE.store(0, Ordering::Relaxed);
}

/// Why the chip started.
pub(crate) fn reset() -> Reset {
    reset_of(esp_hal::system::reset_reason().map(|reason| reason as u32))
}
