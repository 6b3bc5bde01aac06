//! The watchdog of a trial: the RTC's, which goes on whatever the program does.

use core::time::Duration;

use esp_hal::rtc_cntl::{Rtc, RwdtStage};

/// The longest it is set to: 4 hours. It counts 32 bits of a clock of about 150 kHz (ESP32), or 136 kHz.
const LONGEST: u64 = 4 * 60 * 60 * 1_000_000;

/// Resets the chip in `time` from now. It counts while the chip is awake. After `esp_hal::init` only, which finds out how
/// fast its clock is.
pub(crate) fn arm(rtc: &mut Rtc<'_>, time: Duration) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let micros = micros.clamp(1_000_000, LONGEST);
    rtc.rwdt.enable();
    rtc.rwdt.set_timeout(
        RwdtStage::Stage0,
        esp_hal::time::Duration::from_micros(micros),
    );
    rtc.rwdt.feed();
}
