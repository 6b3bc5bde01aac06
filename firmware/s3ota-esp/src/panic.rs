//! What a panic does: it says so on serial, and restarts.

use core::panic::PanicInfo;

use esp_println::println;

/// The firmware's panic handler. A device in the field has nobody to press its button: it restarts. On trial, three
/// such boots lead back to the old firmware.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("\n{info}\nBacktrace (addr2line shows the lines):");
    for frame in esp_backtrace::Backtrace::capture().frames() {
        println!("0x{:08x}", frame.program_counter());
    }
    println!("restarting");
    crate::restart()
}
