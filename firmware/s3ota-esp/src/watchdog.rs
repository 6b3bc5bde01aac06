//! A trial's watchdog: the RTC's, which keeps running whatever the program does.

use core::time::Duration;

use esp_hal::rtc_cntl::{Rtc, RwdtStage};

/// The longest time: 4 hours. It is a 32-bit counter of a clock of about 150 kHz (ESP32) or 136 kHz.
const LONGEST: Duration = Duration::from_secs(4 * 60 * 60);

/// The closest time that it can be set to.
pub(crate) fn within_reach(time: Duration) -> Duration {
    time.clamp(Duration::from_secs(1), LONGEST)
}

/// Resets the chip in `time` from now, which must be [`within_reach`]. It counts while the chip is awake. Call it only after
/// `esp_hal::init`, which measures its clock.
pub(crate) fn arm(rtc: &mut Rtc<'_>, time: Duration) {
    let micros = time.as_secs() * 1_000_000 + u64::from(time.subsec_micros());
    rtc.rwdt.enable();
    rtc.rwdt.set_timeout(
        RwdtStage::Stage0,
        esp_hal::time::Duration::from_micros(micros),
    );
    rtc.rwdt.feed();
}
