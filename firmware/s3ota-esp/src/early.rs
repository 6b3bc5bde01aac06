//! The chip before `esp_hal::init`: all that the boot guard needs then, and all unsafe code of this crate but the launcher's
//! (`stub.rs`).
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

use crate::Flash;
use crate::running::DESCRIPTOR_LEN;

/// How long the guard and `esp_hal::init` may take, in cycles of the RTC's slow clock: 10 seconds at 150 kHz, 11 at 136. Its
/// calibration is not known yet.
const TICKS: u32 = 10 * 150_000;

/// Opens the registers of the RTC watchdog ("RTC_CNTL_WDT_WKEY" in the chips' technical reference manuals).
const KEY: u32 = 0x50D8_3AA1;

/// The flash chip, which nothing owns yet.
///
/// Call it before `esp_hal::init`, or in the panic handler, and drop it before it is called again.
pub(crate) fn flash() -> Flash {
    // SAFETY: nothing else uses the chip's `FLASH` meanwhile. `esp_hal::init` hands it out, and one core runs before that. The
    // callers run before it, or after the program that had it has ended, one after the other.
    Flash::new(unsafe { FLASH::steal() })
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

/// The flash offset of the page that the first entry of the cache's mapping names: bits 0 to 7 are the page's number.
///
/// The registers are those of ESP-IDF (`mmu_ll_read_entry`), as `PartitionTable::booted_partition` of esp-bootloader-esp-idf
/// 0.6 has them.
pub(crate) fn mapped() -> u32 {
    #[cfg(feature = "esp32")]
    const ENTRY: *const u32 = 0x3FF1_0000 as *const u32;
    #[cfg(feature = "esp32s2")]
    const ENTRY: *const u32 = (0x6180_1000 + 128 * 4) as *const u32;
    #[cfg(any(feature = "esp32c2", feature = "esp32c3", feature = "esp32s3"))]
    const ENTRY: *const u32 = 0x600C_5000 as *const u32;
    #[cfg(any(feature = "esp32c5", feature = "esp32c6", feature = "esp32h2"))]
    const ENTRY: *const u32 = 0x6000_237C as *const u32;
    // On these chips another register says which entry this one shows.
    #[cfg(any(feature = "esp32c5", feature = "esp32c6", feature = "esp32h2"))]
    // SAFETY: it only selects. ESP-IDF's own accesses, in ROM, select anew each time.
    unsafe {
        (0x6000_2380 as *mut u32).write_volatile(0);
    }
    // SAFETY: a register that may be read at any time.
    let entry = unsafe { ENTRY.read_volatile() };
    (entry & 0xff) << 16
}

/// Whether these bytes are the app descriptor of the running firmware, as it lies in memory.
pub(crate) fn is_own_descriptor(bytes: &[u8]) -> bool {
    unsafe extern "C" {
        /// What `esp_bootloader_esp_idf::esp_app_desc!` defines.
        #[link_name = "esp_app_desc"]
        static DESCRIPTOR: [u8; DESCRIPTOR_LEN];
    }
    let start = (&raw const DESCRIPTOR).cast::<u8>();
    bytes.len() == DESCRIPTOR_LEN
        && bytes.iter().enumerate().all(|(at, &byte)| {
            // SAFETY: `at` is within the descriptor. Volatile, because the compiler knows what it was built with: the tool that makes
            // the image writes a hash into it.
            byte == unsafe { start.add(at).read_volatile() }
        })
}
