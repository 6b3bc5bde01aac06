//! Decodes an artefact with the device's code, under Linux's system calls, so that an emulator can count the instructions.
//!
//! Standard input has the sizes of base and artefact, each in four bytes, and then both. The result is not written: the decoder
//! compares its digest. Standard output gets the decoder's memory, in four bytes. The exit status is 0 if the result is right.

#![no_std]
#![no_main]

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::panic::PanicInfo;

use s3ota_codec::{Decoder, Memory, Step};

/// Room for each of the three images.
const ROOM: usize = 4 << 20;

const READ: usize = 63;
const WRITE: usize = 64;
const EXIT: usize = 93;

struct Static<T>(UnsafeCell<T>);

// SAFETY: there is one thread.
unsafe impl<T> Sync for Static<T> {}

impl<T> Static<T> {
    #[allow(clippy::mut_from_ref)]
    fn take(&self) -> &mut T {
        // SAFETY: each is taken once, by `run`.
        unsafe { &mut *self.0.get() }
    }
}

static BASE: Static<[u8; ROOM]> = Static(UnsafeCell::new([0; ROOM]));
static ARTEFACT: Static<[u8; ROOM]> = Static(UnsafeCell::new([0; ROOM]));
static MADE: Static<[u8; ROOM]> = Static(UnsafeCell::new([0; ROOM]));
static MEMORY: Static<Memory> = Static(UnsafeCell::new(Memory::new()));

global_asm!(
    ".globl _start",
    "_start:",
    ".option push",
    ".option norelax",
    "la gp, __global_pointer$",
    ".option pop",
    "andi sp, sp, -16",
    "tail run",
);

fn call(number: usize, a: usize, b: usize, c: usize) -> isize {
    let result;
    // SAFETY: Linux's system calls change no other registers; `read` gets a slice's place and length.
    unsafe {
        asm!("ecall", in("a7") number, inlateout("a0") a => result, in("a1") b, in("a2") c);
    }
    result
}

fn exit(status: usize) -> ! {
    loop {
        call(EXIT, status, 0, 0);
    }
}

/// Reads it full.
fn read(mut bytes: &mut [u8]) {
    while !bytes.is_empty() {
        let n = call(READ, 0, bytes.as_mut_ptr() as usize, bytes.len());
        match usize::try_from(n) {
            Ok(n) if n > 0 => bytes = bytes.get_mut(n..).unwrap_or_default(),
            _ => exit(2),
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn run() -> ! {
    let mut sizes = [[0; 4]; 2];
    read(sizes.as_flattened_mut());
    let [base, artefact] = sizes.map(|size| u32::from_le_bytes(size) as usize);
    let (Some(base), Some(artefact)) = (
        BASE.take().get_mut(..base),
        ARTEFACT.take().get_mut(..artefact),
    ) else {
        exit(3);
    };
    read(base);
    read(artefact);
    let made = MADE.take();
    let mut end = 0;
    let mut decoder = Decoder::new(MEMORY.take(), base.len() as u32, 0);
    let mut room = [0; 4096];
    loop {
        let (source, at): (&[u8], u32) = match decoder.step(&mut room) {
            Ok(Step::Artefact(at)) => (artefact, at),
            Ok(Step::Base(at)) => (base, at),
            Ok(Step::Result(at)) => (made, at),
            Ok(Step::Output(n)) => {
                let (Some(to), Some(from)) = (made.get_mut(end..end + n), room.get(..n)) else {
                    exit(4);
                };
                to.copy_from_slice(from);
                end += n;
                continue;
            }
            Ok(Step::End) => {
                let memory = (size_of::<Memory>() + size_of::<Decoder>()) as u32;
                call(WRITE, 1, memory.to_le_bytes().as_ptr() as usize, 4);
                exit(0)
            }
            Err(_) => exit(1),
        };
        let from = source.get(at as usize..).unwrap_or_default();
        let window = decoder.room();
        let n = window.len().min(from.len());
        window[..n].copy_from_slice(&from[..n]);
        decoder.filled(n);
    }
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    exit(5)
}
