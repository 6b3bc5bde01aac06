//! A MAC made of memory, for the tests: it plays the device's part as QEMU's `hw/net/opencores_eth.c` does.

use std::boxed::Box;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::vec::Vec;

use super::{Buffer, Parts, RX_FRAMES, Register, TX_FRAMES, build};

const READY_OR_EMPTY: u32 = 1 << 15;
const WRAP: u32 = 1 << 13;
const LEAST_LENGTH: usize = 64;

/// The device's side of the descriptors and buffers.
pub(crate) struct FakeMac {
    registers: &'static [AtomicU32; 21],
    descriptors: &'static [AtomicU32; 256],
    rx: &'static [Buffer; RX_FRAMES],
    tx: &'static [Buffer; TX_FRAMES],
    rx_next: usize,
    tx_next: usize,
}

impl FakeMac {
    /// A MAC after reset, with the address 52:54:00:12:34:56, and the driver's side of it.
    pub(crate) fn new() -> (Self, Parts) {
        let mac = Self {
            registers: Box::leak(Box::new([const { AtomicU32::new(0) }; 21])),
            descriptors: Box::leak(Box::new([const { AtomicU32::new(0) }; 256])),
            rx: Box::leak(Box::new([const { Buffer::new() }; RX_FRAMES])),
            tx: Box::leak(Box::new([const { Buffer::new() }; TX_FRAMES])),
            rx_next: 0,
            tx_next: 0,
        };
        mac.set(Register::Mode, 0xA000);
        mac.set(Register::Address0, 0x0012_3456);
        mac.set(Register::Address1, 0x5254);
        // SAFETY: the memory is leaked and as large as promised; only this type and the parts use it.
        let parts = unsafe {
            build(
                mac.registers.as_ptr() as *mut u32,
                mac.descriptors.as_ptr() as *mut u32,
                mac.rx,
                mac.tx,
            )
        };
        (mac, parts)
    }

    /// No MAC: every register reads 0, as in an emulator without `-nic`.
    pub(crate) fn absent() -> Parts {
        let (mac, parts) = Self::new();
        mac.set(Register::Mode, 0);
        parts
    }

    pub(crate) fn pull_the_cable(&self) {
        self.set(Register::MiiStatus, 1);
    }

    /// A frame comes. `false`: there was no empty descriptor, it is lost.
    pub(crate) fn deliver(&mut self, frame: &[u8]) -> bool {
        let index = self.get(0x20) as usize + self.rx_next;
        let word = self.descriptors[2 * index].load(SeqCst);
        if word & READY_OR_EMPTY == 0 {
            return false;
        }
        let mut bytes = frame.to_vec();
        bytes.resize((frame.len() + 4).max(LEAST_LENGTH), 0);
        // SAFETY: the descriptor is the MAC's, so the driver does not look into the buffer.
        unsafe { (&mut *self.rx[self.rx_next].0.get())[..bytes.len()].copy_from_slice(&bytes) };
        let kept = word & 0xFFFF & !READY_OR_EMPTY;
        self.descriptors[2 * index].store(kept | ((bytes.len() as u32) << 16), SeqCst);
        self.rx_next = if word & WRAP != 0 {
            0
        } else {
            self.rx_next + 1
        };
        true
    }

    /// Sends the next frame that is ready.
    pub(crate) fn send(&mut self) -> Option<Vec<u8>> {
        let word = self.descriptors[2 * self.tx_next].load(SeqCst);
        if word & READY_OR_EMPTY == 0 {
            return None;
        }
        // SAFETY: the descriptor is the MAC's, so the driver does not look into the buffer.
        let frame = unsafe { (&*self.tx[self.tx_next].0.get())[..(word >> 16) as usize].to_vec() };
        self.descriptors[2 * self.tx_next].store(word & !READY_OR_EMPTY, SeqCst);
        self.tx_next = if word & WRAP != 0 {
            0
        } else {
            self.tx_next + 1
        };
        Some(frame)
    }

    fn set(&self, register: Register, value: u32) {
        self.registers[register as usize / 4].store(value, SeqCst);
    }

    fn get(&self, offset: usize) -> u32 {
        self.registers[offset / 4].load(SeqCst)
    }
}
