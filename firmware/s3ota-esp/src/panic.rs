//! The panic handler: it prints, and restarts.

use core::panic::PanicInfo;

use esp_println::println;
use s3ota::{DEFAULT_TRIAL_BOOTS, Reset};

use crate::{early, guard};

/// The firmware's panic handler. In the field nobody presses a device's button, so it restarts. On trial, three such boots lead
/// back to the old firmware.
///
/// A panic before [`start`](crate::start) has counted the boot counts it here: as a crash, with the default number of boots. So
/// does a panic in a firmware that never calls `start`.
///
/// It prints the line that panicked, but no backtrace: that would take frame pointers in all code, 30 KB of flash. If you want
/// one, use the panic handler of `esp-backtrace`.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("\n{info}\nrestarting");
    if guard::is_due() {
        early::watch();
        // Whatever it finds, the chip restarts: into the old firmware, if this one is given up.
        let _ = guard::guard(Reset::Crash, &mut early::flash(), DEFAULT_TRIAL_BOOTS);
    }
    crate::restart()
}
