//! Time: uptime and date.

use core::cell::{Cell, RefCell};
use core::time::Duration;

use embassy_time::{Instant, Timer};
use esp_hal::rtc_cntl::Rtc;

/// When this crate was compiled, in seconds since the Unix epoch: the date cannot be earlier.
///
/// `SOURCE_DATE_EPOCH` at build time sets it.
pub const BUILT_AT: u64 = parse(env!("S3OTA_BUILT_AT"));

/// The longest that a firmware is expected to be in use: 30 years. Later dates are not believed.
const LIFETIME: u64 = 30 * 365 * 24 * 60 * 60;

/// The device's clock.
///
/// The chip's RTC keeps the date across restarts, so a new firmware knows it at its first trial boot. After a power cut, or a
/// reset by the RTC's watchdog, the RTC starts at 1970; a date that is not between [`BUILT_AT`] and 30 years later counts as
/// unknown. [`sntp`](crate::sntp) sets it. Between two settings it drifts with the RTC's oscillator: up to some minutes an hour
/// with the internal one, next to nothing with a 32 kHz crystal.
///
/// The clock also owns the RTC's watchdog, which limits a firmware's trial.
pub struct Clock {
    rtc: RefCell<Rtc<'static>>,
    /// The uptime at which the trial's watchdog restarts the chip.
    trial_ends: Cell<Option<Duration>>,
}

impl Clock {
    /// A clock. `watched` is the time for which the trial's watchdog is armed, if it is.
    pub(crate) fn new(rtc: Rtc<'static>, watched: Option<Duration>) -> Self {
        Self {
            rtc: RefCell::new(rtc),
            trial_ends: Cell::new(watched.map(|time| uptime().saturating_add(time))),
        }
    }

    /// Sets the date, in seconds since the Unix epoch. `false` if it is not believable, and was not set.
    pub fn set_unix_time(&self, seconds: u64) -> bool {
        let believed = is_believable(seconds);
        if believed {
            self.rtc
                .borrow()
                .set_current_time_us(seconds.saturating_mul(1_000_000));
        }
        believed
    }

    /// Whether the running firmware is on trial, and the watchdog armed.
    pub fn is_trial(&self) -> bool {
        self.trial_ends.get().is_some()
    }

    /// How much time the watchdog leaves, while the running firmware is on trial.
    pub fn trial_left(&self) -> Option<Duration> {
        let ends = self.trial_ends.get()?;
        Some(ends.saturating_sub(uptime()))
    }

    /// Switches the watchdog off: the trial is over. [`run`](crate::run) and [`confirm`](crate::confirm) call it.
    pub fn end_trial(&self) {
        self.trial_ends.set(None);
        self.rtc.borrow_mut().rwdt.disable();
    }
}

impl s3ota::Clock for Clock {
    fn uptime(&self) -> Duration {
        uptime()
    }

    /// The RTC keeps counting through deep sleep and restarts, other than those by power and by its own watchdog.
    fn since_power_on(&self) -> Duration {
        let time = self.rtc.borrow().time_since_power_up();
        Duration::from_micros(time.as_micros())
    }

    fn unix_time(&self) -> Option<u64> {
        Some(self.rtc.borrow().current_time_us() / 1_000_000)
            .filter(|&seconds| is_believable(seconds))
    }

    async fn sleep(&self, duration: Duration) {
        // embassy-time adds without an overflow check, so wait for at most a century.
        let seconds = duration.as_secs().min(100 * 365 * 24 * 60 * 60);
        Timer::after_micros(seconds * 1_000_000 + u64::from(duration.subsec_micros())).await;
    }
}

impl core::fmt::Debug for Clock {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Clock")
            .field("unix_time", &s3ota::Clock::unix_time(self))
            .finish()
    }
}

fn uptime() -> Duration {
    Duration::from_micros(Instant::now().as_micros())
}

/// Whether a date is between the build of this firmware and the end of its use.
pub(crate) fn is_believable(seconds: u64) -> bool {
    (BUILT_AT..BUILT_AT.saturating_add(LIFETIME)).contains(&seconds)
}

/// Reads the build script's number at compile time.
const fn parse(text: &str) -> u64 {
    match u64::from_str_radix(text, 10) {
        Ok(number) => number,
        Err(_) => panic!("S3OTA_BUILT_AT is not a number"),
    }
}
