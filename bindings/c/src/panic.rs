//! What happens on a panic. The library does not panic; a compiler for C cannot be told so.

#[cfg(all(not(test), panic = "abort"))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        safe fn abort() -> !;
    }
    abort()
}

// The standard library's `core` for an operating system asks for it, though nothing unwinds.
#[cfg(all(not(test), panic = "abort", not(target_os = "none")))]
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
