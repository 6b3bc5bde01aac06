//! The chip before `esp_hal::init`: all that the boot guard needs then, and all unsafe code of this crate.
//!
//! esp-hal hands out the peripherals in `init`, but the guard must run before: `init` has assertions that a release may fail,
//! and their panics would not be counted. This code works on the chip as the bootloader left it. The mask ROM reads and writes
//! flash, reset reason and eFuses are registers, and locks consist of atomics and the interrupt mask. RAM is set up: `#[esp_hal::main]` comes after `.data` and `.bss` (riscv-rt, xtensa-lx-rt).

#![allow(unsafe_code)]

use esp_hal::peripherals::{FLASH, RTC_TIMER};
use esp_hal::rtc_cntl::Rtc;

#[cfg(any(feature = "esp32c5", feature = "esp32c6", feature = "esp32h2"))]
use esp_hal::peripherals::LP_WDT;
#[cfg(not(any(feature = "esp32c5", feature = "esp32c6", feature = "esp32h2")))]
use esp_hal::peripherals::LPWR as LP_WDT;

use s3ota::Reset;

use crate::Flash;
use crate::guard::{Found, guard};

/// How long the guard and `esp_hal::init` may take, in cycles of the RTC's slow clock: 10 seconds at 150 kHz, 11 at 136. Its
/// calibration is not known yet.
const TICKS: u32 = 10 * 150_000;

/// Opens the registers of the RTC watchdog ("RTC_CNTL_WDT_WKEY" in the chips' technical reference manuals).
const KEY: u32 = 0x50D8_3AA1;

/// Counts this boot: [`guard`], on a flash chip that nothing owns yet.
///
/// Call it before `esp_hal::init`, or in the panic handler.
pub(crate) fn count(reset: Reset, trial_boots: u8) -> Found {
    // SAFETY: nothing else uses the chip's `FLASH` meanwhile. `esp_hal::init` hands it out, and one core runs before that. The
    // two callers run before it, or after the program that had it has ended.
    let flash = unsafe { FLASH::steal() };
    guard(reset, &mut Flash::new(flash), trial_boots)
}

/// Resets the chip in ten seconds, unless `esp_hal::init` returns before: it switches this watchdog off in its last lines.
///
/// By default (`CONFIG_BOOTLOADER_WDT_ENABLE`) the bootloader has left it running, for nine seconds from its own start.
pub(crate) fn watch() {
    let ticks = TICKS;
    // As esp-hal's `Rwdt::set_timeout`: the counter's unit is two cycles or more.
    #[cfg(not(feature = "esp32"))]
    let ticks = ticks >> (1 + esp_hal::efuse::rwdt_multiplier());
    let registers = LP_WDT::regs();
    // SAFETY: any value may be written to these two registers; the second holds a time.
    unsafe {
        registers.wdtwprotect().write(|w| w.bits(KEY));
        registers.wdtconfig(0).modify(|_, w| w.hold().bits(ticks));
    }
    // SAFETY: nothing else uses `RTC_TIMER` this early, and this use ends here.
    let mut rtc = Rtc::new(unsafe { RTC_TIMER::steal() });
    // Both lock the registers again.
    rtc.rwdt.enable();
    rtc.rwdt.feed();
}
