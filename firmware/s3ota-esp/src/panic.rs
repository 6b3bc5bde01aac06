//! What a panic does: it says so on serial, and restarts.

use core::panic::PanicInfo;

use esp_println::println;
use s3ota::{DEFAULT_TRIAL_BOOTS, Reset};

use crate::{early, guard};

/// The firmware's panic handler. A device in the field has nobody to press its button: it restarts. On trial, three
/// such boots lead back to the old firmware.
///
/// A panic before [`start`](crate::start) has counted the boot counts it here: as a crash, with the ordinary number of boots.
/// So does one in a firmware that never calls `start`.
///
/// It names the line that panicked, not who called it: that takes frame pointers in all code, 30 KB of flash. Where a
/// backtrace is wanted, `esp-backtrace` is a panic handler too.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("\n{info}\nrestarting");
    if guard::is_due() {
        early::watch();
        // Whatever it finds, the chip restarts: into the old firmware if this one is given up.
        let _ = early::count(Reset::Crash, DEFAULT_TRIAL_BOOTS);
    }
    crate::restart()
}
