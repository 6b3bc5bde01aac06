//! The first line of `main`.

use core::time::Duration;

use esp_hal::peripherals::{FLASH, Peripherals, RTC_TIMER};
use esp_hal::rtc_cntl::Rtc;
use s3ota::{Boot, Bootloader, DEFAULT_TRIAL_BOOTS};
use static_cell::StaticCell;

use crate::guard::{Found, reset};
use crate::{Board, BoardError, Clock, Flash, early, watchdog};

/// How long one boot of a firmware on trial may last without being confirmed, unless configured otherwise.
pub const TRIAL_TIME: Duration = Duration::from_secs(15 * 60);

/// How a firmware's trial goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// How often it may crash, or be restarted, without being confirmed: 3 by default.
    pub boots: u8,
    /// How long each of these boots may last before the watchdog restarts the chip: 15 minutes by default.
    ///
    /// At most 4 hours; the RTC watchdog runs on an imprecise clock, so take it as "about". [`run`](crate::run) ends the
    /// boot a minute before.
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
/// 1. The RTC watchdog is armed: nothing below can hang for good.
/// 2. The boot guard counts the boot of a firmware on trial, unless it was power or deep sleep that started the chip. One that
///    has used up its boots is given up: the call does not return, the chip restarts, and the old firmware runs.
/// 3. `esp_hal::init(config)`. A firmware that dies in it, as it does on a chip that is older than esp-hal wants
///    (`ESP_HAL_CONFIG_MIN_CHIP_REVISION`), has been counted.
/// 4. On trial the watchdog is armed anew, for [`TRIAL_TIME`]: a firmware that hangs, or is never confirmed, is restarted. One
///    that panics restarts at once (feature `panic-handler`). So it is where the guard could do nothing, and it is not known
///    whether the firmware is on trial: see [`Board::boot`].
///
/// Do nothing before it, for nobody would count what goes wrong there; a panic is counted all the same, by the panic handler.
/// Nothing of the program runs earlier: there are no constructors in Rust, and what `#[esp_hal::main]` puts in front sets up
/// RAM, interrupt vectors and the executor's first task. What a firmware does that does not even get here, only a bootloader
/// with app rollback ends.
///
/// # Panics
///
/// Where `esp_hal::init` does: on a chip that is too old, and when it has been called before.
#[inline]
pub fn start(config: esp_hal::Config) -> (Peripherals, Started) {
    start_with(config, Trial::default())
}

/// [`start`], with a trial of your own.
///
/// # Panics
///
/// As [`start`].
// Compiled where it is called: there is the updater, which shares nearly all of the guard's code.
#[inline]
pub fn start_with(config: esp_hal::Config, trial: Trial) -> (Peripherals, Started) {
    early::watch();
    let found = early::count(reset(), trial.boots);
    if matches!(&found.booted, Ok(booted) if booted.boot == Boot::GivenUp) {
        // The log, if there is one, begins later.
        #[cfg(feature = "panic-handler")]
        esp_println::println!("ERROR - given up: going back to the old firmware");
        crate::restart();
    }
    let mut chip = esp_hal::init(config);
    let limited = found.is_limited();
    let watched = limited.then(|| watchdog::within_reach(trial.time));
    if let Some(time) = watched {
        // There is no gap that a firmware could hang in: `init` has switched it off in its last lines.
        watchdog::arm(&mut Rtc::new(chip.RTC_TIMER.reborrow()), time);
    }
    (chip, Started { found, watched })
}

/// A boot that has been counted.
#[derive(Debug)]
#[must_use = "it leads to the board, without which there are no updates"]
pub struct Started {
    found: Found,
    /// How long this boot may last, if that is limited.
    watched: Option<Duration>,
}

impl Started {
    /// The board. Tells the log how the firmware stands: set a logger before.
    ///
    /// # Panics
    ///
    /// When called twice. The peripherals it takes exist once, so safe code cannot.
    pub fn board(self, flash: FLASH<'static>, rtc_timer: RTC_TIMER<'static>) -> Board {
        static CLOCK: StaticCell<Clock> = StaticCell::new();

        let clock: &Clock = CLOCK.init(Clock::new(Rtc::new(rtc_timer), self.watched));
        let Found { running, booted } = self.found;
        match &booted {
            Ok(booted) => {
                log::info!(
                    "bootloader: {}",
                    match booted.bootloader {
                        Some(Bootloader::AppRollback) => "with app rollback",
                        Some(Bootloader::Plain) => "without app rollback",
                        _ => "not known before the first update",
                    }
                );
                if let Boot::Trial { boot, of } = booted.boot {
                    log::info!("on trial, boot {boot} of {of}");
                }
            }
            Err(error) => {
                log::error!("the boot guard could do nothing: {error}");
                if let Some(time) = self.watched {
                    let minutes = time.as_secs() / 60;
                    log::error!("should this be a trial, it ends: restarting in {minutes} minutes");
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
