//! The MMU's table, which tells what part of flash a program runs from. Both neighbours read the running partition from it, at
//! its address on the ESP32-C3; so a page of memory is mapped at that address.

use std::ffi::c_void;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

/// The table's address on the ESP32-C3 (`DR_REG_MMU_TABLE`).
const TABLE: usize = 0x600c_5000;

/// A page of the host, larger than the table's 128 entries.
const PAGE: usize = 4096;

/// The unit of an entry.
const ENTRY: u32 = 0x1_0000;

/// The table.
#[derive(Clone, Copy)]
pub struct Mmu(&'static [AtomicU32]);

impl Mmu {
    /// Maps it.
    ///
    /// # Errors
    ///
    /// The host has no memory at this address. Linux on x86-64 has.
    #[allow(unsafe_code, reason = "no safe interface maps memory at an address")]
    pub fn map() -> io::Result<Self> {
        let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE;
        let wanted = std::ptr::with_exposed_provenance_mut::<c_void>(TABLE);
        // SAFETY: nothing was at this address, or FIXED_NOREPLACE fails; the page is never unmapped, is aligned, full of
        // zeros, and changed through atomics alone.
        let table = unsafe {
            let page = mmap_anonymous(wanted, PAGE, ProtFlags::READ | ProtFlags::WRITE, flags)?;
            page.expose_provenance();
            std::slice::from_raw_parts(page.cast::<AtomicU32>(), PAGE / size_of::<AtomicU32>())
        };
        Ok(Self(table))
    }

    /// The program runs from the partition at this offset.
    pub fn run_from(self, partition: u32) {
        for entry in self.0 {
            entry.store(partition / ENTRY, Ordering::SeqCst);
        }
    }
}
