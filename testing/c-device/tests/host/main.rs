//! The C API on this machine: a C program under the sanitizers, on a virtual flash, with real sockets.

mod agent;
mod errors;
mod given;
mod life;
mod limits;
mod programs;

use std::sync::OnceLock;

use c_device::Program;

/// The firmware's program.
fn device() -> &'static Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let sources = ["tests/device.c", "tests/port.c", "tests/os_posix.c"];
        Program::on_host("device", &sources, &["-fsanitize=address,undefined"])
    })
}
