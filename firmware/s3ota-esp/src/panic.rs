//! What a panic does: it says so on serial, and restarts.

use core::panic::PanicInfo;

use esp_println::println;

/// The firmware's panic handler. A device in the field has nobody to press its button: it restarts. On trial, three
/// such boots lead back to the old firmware.
///
/// It names the line that panicked, not who called it: that takes frame pointers in all code, 30 KB of flash. Where a
/// backtrace is wanted, `esp-backtrace` is a panic handler too.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("\n{info}\nrestarting");
    crate::restart()
}
