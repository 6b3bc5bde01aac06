//! The first line of `main`.

use core::time::Duration;

use esp_hal::peripherals::{FLASH, Peripherals, RTC_TIMER};
use esp_hal::rtc_cntl::Rtc;
use s3ota::{Boot, Bootloader, DEFAULT_TRIAL_BOOTS, Reset};
use static_cell::StaticCell;

use crate::guard::{Found, guard, reset};
use crate::{Board, BoardError, Clock, Flash, early, watchdog};

/// How long a trial boot may last without confirmation, by default.
pub const TRIAL_TIME: Duration = Duration::from_secs(15 * 60);

/// The limits of a firmware's trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Trial {
    /// How often it may crash or restart without confirmation: 3 by default.
    pub boots: u8,
    /// How long each of these boots may last before the watchdog restarts the chip: 15 minutes by default.
    ///
    /// At most 4 hours. The RTC watchdog's clock is imprecise, so the time is approximate. [`run`](crate::run) ends the boot
    /// one minute before.
    pub time: Duration,
}

impl Default for Trial {
    fn default() -> Self {
        Self {
            boots: DEFAULT_TRIAL_BOOTS,
            time: TRIAL_TIME,
        }
    }
}

/// Counts this boot, and starts the chip: `esp_hal::init`, with a trial around it. **The first line of `main`.**
///
/// 1. It arms the RTC watchdog, so nothing below can hang for good.
/// 2. The boot guard counts the boot of a firmware on trial, unless power-on or deep sleep started the chip. A firmware that
///    has used up its boots is given up: the call does not return, the chip restarts, and the old firmware runs.
/// 3. It calls `esp_hal::init(config)`. A firmware that dies there has been counted. That happens on a chip that is older
///    than esp-hal requires (`ESP_HAL_CONFIG_MIN_CHIP_REVISION`).
/// 4. For a firmware on trial it arms the watchdog again, for [`TRIAL_TIME`]: a firmware that hangs, or is never confirmed, is
///    restarted. One that panics restarts at once (feature `panic-handler`). The same applies if the guard has failed and the
///    firmware may be on trial: see [`Board::boot`].
///
/// Do nothing before it: what goes wrong there is not counted, except for a panic, which the panic handler counts. Nothing of
/// the program runs earlier: Rust has no constructors, and `#[esp_hal::main]` sets up only RAM, interrupt vectors and the
/// executor's first task. Only a bootloader with app rollback ends the trial of a firmware that does not even get here.
///
/// # Panics
///
/// If `esp_hal::init` does: on a chip that is too old, and if it has been called before.
#[inline]
pub fn start(config: esp_hal::Config) -> (Peripherals, Started) {
    start_with(config, Trial::default())
}

/// [`start`], with a trial of your own.
///
/// # Panics
///
/// As [`start`].
// Inlined where it is called: the updater, which shares nearly all of the guard's code, is there too.
#[inline]
pub fn start_with(config: esp_hal::Config, trial: Trial) -> (Peripherals, Started) {
    early::watch();
    let reset = reset();
    let found = count(reset, trial.boots);
    if matches!(&found.booted, Ok(booted) if matches!(booted.boot, Boot::GivenUp)) {
        say!("ERROR - given up: going back to the old firmware");
        crate::restart();
    }
    let mut chip = esp_hal::init(config);
    let limited = found.is_limited();
    let watched = limited.then(|| watchdog::within_reach(trial.time));
    if let Some(time) = watched {
        // A firmware cannot hang in between: `init` switches it off in its last lines.
        watchdog::arm(&mut Rtc::new(chip.RTC_TIMER.reborrow()), time);
    }
    (chip, Started { found, watched })
}

/// Counts this boot, and launches the new firmware if that is due. The flash is free again when it returns.
#[inline]
fn count(reset: Reset, trial_boots: u8) -> Found {
    let mut flash = early::flash();
    #[cfg_attr(not(feature = "launch"), expect(unused_mut))]
    let mut found = guard(reset, &mut flash, trial_boots);
    #[cfg(feature = "launch")]
    crate::launch::launch(&mut found, &mut flash, reset);
    found
}

/// A boot that has been counted.
#[derive(Debug)]
#[must_use = "it leads to the board, without which there are no updates"]
pub struct Started {
    found: Found,
    /// How long this boot may last, if it is limited.
    watched: Option<Duration>,
}

impl Started {
    /// The board. Logs the firmware's state, so set up a logger before.
    ///
    /// # Panics
    ///
    /// If called twice. Safe code cannot, because the peripherals exist once.
    #[inline(never)]
    pub fn board(self, flash: FLASH<'static>, rtc_timer: RTC_TIMER<'static>) -> Board {
        static CLOCK: StaticCell<Clock> = StaticCell::new();

        let clock: &Clock = CLOCK.init(Clock::new(Rtc::new(rtc_timer), self.watched));
        let Found { running, booted } = self.found;
        match &booted {
            Ok(booted) => {
                info!(
                    "bootloader: {}",
                    match booted.bootloader {
                        Some(Bootloader::AppRollback) => "with app rollback",
                        Some(Bootloader::Plain) => "without app rollback",
                        _ => "not known before the first update",
                    }
                );
                if let Boot::Trial { boot, of } = booted.boot {
                    info!("on trial, boot {} of {}", boot, of);
                }
            }
            Err(error) => {
                error!("the boot guard could do nothing: {}", error);
                if let Some(time) = self.watched {
                    let minutes = time.as_secs() / 60;
                    error!(
                        "should this be a trial, it ends: restarting in {} minutes",
                        minutes
                    );
                }
            }
        }
        Board {
            flash: Flash::new(flash),
            running,
            clock,
            bootloader: booted.as_ref().ok().and_then(|booted| booted.bootloader),
            boot: booted.map(|booted| booted.boot).map_err(BoardError::Guard),
        }
    }
}
