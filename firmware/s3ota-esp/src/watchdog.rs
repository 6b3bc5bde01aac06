//! The watchdog of a trial: the RTC's, which goes on whatever the program does.

use core::time::Duration;

use esp_hal::rtc_cntl::{Rtc, RwdtStage};

/// The longest it is set to: 4 hours. It counts 32 bits of a clock of about 150 kHz (ESP32), or 136 kHz.
const LONGEST: Duration = Duration::from_secs(4 * 60 * 60);

/// The time it can be set to that comes closest.
pub(crate) fn within_reach(time: Duration) -> Duration {
    time.clamp(Duration::from_secs(1), LONGEST)
}

/// Resets the chip in `time` from now, which is [`within_reach`]. It counts while the chip is awake. After `esp_hal::init` only,
/// which finds out how fast its clock is.
pub(crate) fn arm(rtc: &mut Rtc<'_>, time: Duration) {
    let micros = time.as_secs() * 1_000_000 + u64::from(time.subsec_micros());
    rtc.rwdt.enable();
    rtc.rwdt.set_timeout(
        RwdtStage::Stage0,
        esp_hal::time::Duration::from_micros(micros),
    );
    rtc.rwdt.feed();
}
