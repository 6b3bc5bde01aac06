//! The C API as code for other processors, in QEMU's user mode: RISC-V with 32 bits, and Xtensa with register windows. And what an
//! archive asks of whoever links it.

mod budget;
mod known_answers;
mod links;
mod lives;
