//! The first call of `main`.

use core::fmt;
use core::time::Duration;

use embassy_futures::block_on;
use embassy_net::Stack;
use esp_hal::peripherals::{FLASH, RTC_TIMER};
use esp_hal::rtc_cntl::Rtc;
use s3ota::{Boot, DEFAULT_TRIAL_BOOTS, Device};
use static_cell::StaticCell;

use crate::{Clock, Entropy, Flash, Network, NoEntropy, RunningError, running_partition};

/// How long one boot of a firmware on trial may last without being confirmed, unless configured otherwise.
pub const TRIAL_TIME: Duration = Duration::from_secs(15 * 60);

/// How a firmware's trial goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// How often it may boot without being confirmed: 3 by default. Give the same to `Config::trial_boots`.
    pub boots: u8,
    /// How long each of these boots may last before the watchdog restarts the chip: 15 minutes by default.
    ///
    /// With the default of three boots a release that cannot reach its server for 45 minutes is given up. At most 4
    /// hours; the RTC watchdog runs on an imprecise clock, so take it as "about".
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

/// Looks after trials: call it first of all, right after `esp_hal::init`, before anything that may hang or panic.
///
/// On a firmware on trial it counts this boot and arms the RTC watchdog: a firmware that hangs, or never confirms, is
/// restarted in [`TRIAL_TIME`]; one that panics restarts at once (feature `panic-handler`). After three such boots it
/// is given up: the call does not return, the chip restarts, and the old firmware runs.
///
/// Where flash cannot be read or there is no partition table it says so on the log and goes on: the firmware runs, but
/// [`Board::device`] gives an error.
#[inline]
pub fn boot_guard(flash: FLASH<'static>, rtc_timer: RTC_TIMER<'static>) -> Board {
    boot_guard_with(flash, rtc_timer, Trial::default())
}

/// [`boot_guard`], with a trial of your own.
///
/// # Panics
///
/// When called twice. The peripherals it takes exist once, so safe code cannot.
// Compiled where it is called: there is the updater, which shares nearly all of this code.
#[inline]
pub fn boot_guard_with(
    flash: FLASH<'static>,
    rtc_timer: RTC_TIMER<'static>,
    trial: Trial,
) -> Board {
    static CLOCK: StaticCell<Clock> = StaticCell::new();

    // The watchdog counts from here on, should even the guard hang; `esp_hal::init` has switched it off.
    let clock: &Clock = CLOCK.init(Clock::new(Rtc::new(rtc_timer)));
    clock.begin_trial(trial.time);

    let mut flash = Flash::new(flash);
    let running = running_partition(&mut flash);
    let boot = match running {
        Ok(running) => {
            block_on(s3ota::boot_guard(&mut flash, running, trial.boots)).map_err(BoardError::Guard)
        }
        Err(error) => Err(BoardError::Running(error)),
    };
    let boot = boot.unwrap_or_else(|error| {
        log::error!("the boot guard could do nothing: {error}");
        Boot::Confirmed
    });
    match boot {
        Boot::GivenUp => crate::restart(),
        Boot::Trial { .. } => {}
        Boot::Confirmed | Boot::FellBack => clock.end_trial(),
    }
    Board {
        flash,
        running,
        clock,
        boot,
    }
}

/// The parts of the device that need no network, from [`boot_guard`].
#[derive(Debug)]
pub struct Board {
    /// The flash chip.
    pub flash: Flash,
    /// Where the running firmware lies on flash, in bytes.
    pub running: Result<u32, RunningError>,
    /// The clock. Copy the reference to whatever needs the time.
    pub clock: &'static Clock,
    /// How the running firmware stands.
    pub boot: Boot,
}

impl Board {
    /// The device an [`Updater`](s3ota::Updater) works on. The radio must be on, for randomness; the network need not be up.
    ///
    /// # Errors
    ///
    /// [`BoardError`]: this firmware cannot be updated.
    pub fn device(
        self,
        stack: Stack<'static>,
    ) -> Result<Device<Flash, Network, &'static Clock, Entropy>, BoardError> {
        Ok(Device {
            running: self.running.map_err(BoardError::Running)?,
            flash: self.flash,
            network: Network::new(stack).ok_or(BoardError::NetworkTaken)?,
            clock: self.clock,
            rng: Entropy::new().map_err(BoardError::Entropy)?,
        })
    }
}

/// Why a board cannot be updated.
///
/// Its `Debug` is its `Display`: what `expect` prints is for people, and the names of every error's fields cost flash.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BoardError {
    /// It is not known which firmware runs.
    Running(RunningError),
    /// The boot guard found flash or partition table unusable.
    Guard(s3ota::Error),
    /// There is no randomness yet.
    Entropy(NoEntropy),
    /// There is a [`Network`] already.
    NetworkTaken,
}

impl fmt::Display for BoardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running(error) => write!(f, "{error}"),
            Self::Guard(error) => write!(f, "{error}"),
            Self::Entropy(error) => write!(f, "{error}"),
            Self::NetworkTaken => f.write_str("the network has been taken already"),
        }
    }
}

impl fmt::Debug for BoardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for BoardError {}
