//! The MAC's registers, its descriptors, and the buffers it copies frames from and to: all unsafe code is here.
//!
//! OpenCores, "Ethernet IP Core Specification"; QEMU, `hw/net/opencores_eth.c`. Addresses: Espressif's QEMU,
//! `include/hw/misc/esp32c3_reg.h` (`DR_REG_EMAC_BASE`) and `hw/riscv/esp32c3.c`.

use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::sync::atomic::{Ordering, fence};

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;

use crate::OpenEthError;
use crate::descriptor::{Rx, Tx};

/// Buffers for frames that come. A burst this long is received without loss.
pub const RX_FRAMES: usize = 8;

/// Buffers for frames to send.
pub const TX_FRAMES: usize = 2;

/// QEMU writes up to MAXFL (1,536) bytes and a checksum of 4 behind them; ESP-IDF's `openeth.h` has 1,600 too.
pub(crate) const BUFFER_SIZE: usize = 1_600;

const REGISTERS: *mut u32 = 0x600C_D000 as *mut u32;
const DESCRIPTORS: *mut u32 = 0x600C_D400 as *mut u32;

/// `SYSCON_ORIGIN_REG`, which only Espressif's QEMU has: "Return "QEMU" as a 32-bit value", `hw/riscv/esp32c3.c`.
/// On the ESP32-C3 the word lies in the SYSCON peripheral, where no register is (ESP-IDF, `soc/syscon_reg.h`).
const ORIGIN: *const u32 = 0x6002_63F8 as *const u32;
const ORIGIN_QEMU: u32 = 0x5145_4D55;

/// Whether [`take`] has given the MAC away.
static TAKEN: Mutex<CriticalSectionRawMutex, Cell<bool>> = Mutex::new(Cell::new(false));

static RX_BUFFERS: [Buffer; RX_FRAMES] = [const { Buffer::new() }; RX_FRAMES];
static TX_BUFFERS: [Buffer; TX_FRAMES] = [const { Buffer::new() }; TX_FRAMES];

/// What [`take`] gives.
pub(crate) type Parts = (Registers, [RxSlot; RX_FRAMES], [TxSlot; TX_FRAMES]);

/// The emulator's MAC and its descriptors, once.
pub(crate) fn take() -> Result<Parts, OpenEthError> {
    if !is_emulated() {
        return Err(OpenEthError::NotEmulated);
    }
    TAKEN.lock(|taken| claim(taken, &Registers { base: REGISTERS }))?;
    // SAFETY: the addresses are the MAC's, and `claim` succeeds once, so everything has one owner.
    Ok(unsafe { build(REGISTERS, DESCRIPTORS, &RX_BUFFERS, &TX_BUFFERS) })
}

/// Marks the MAC as taken, if it is there and was not.
pub(crate) fn claim(taken: &Cell<bool>, registers: &Registers) -> Result<(), OpenEthError> {
    if taken.get() {
        return Err(OpenEthError::AlreadyTaken);
    }
    if !registers.is_fresh() {
        return Err(OpenEthError::NoMac);
    }
    taken.set(true);
    Ok(())
}

/// Whether the firmware runs in Espressif's QEMU.
fn is_emulated() -> bool {
    // SAFETY: a readable word of a peripheral, on the chip as in the emulator. Reading it has no effect.
    unsafe { ORIGIN.read_volatile() == ORIGIN_QEMU }
}

/// Quiets the interrupt of the MAC that was taken. `false` where none was.
pub(crate) fn acknowledge_interrupts() -> bool {
    let taken = TAKEN.lock(Cell::get);
    if taken {
        // `take` succeeded, so the MAC is there. Writing ones clears the register; nobody else writes it once
        // the MAC runs.
        Registers { base: REGISTERS }.write(Register::InterruptSource, ALL_INTERRUPTS);
    }
    taken
}

/// # Safety
///
/// `registers` and `descriptors` are those of one MAC, or memory of at least 0x54 and 0x400 bytes, valid for
/// volatile access for ever. They and the buffers are used by what this returns, and by nothing else.
unsafe fn build(
    registers: *mut u32,
    descriptors: *mut u32,
    rx: &'static [Buffer; RX_FRAMES],
    tx: &'static [Buffer; TX_FRAMES],
) -> Parts {
    // The table begins with the descriptors of frames to send; TX_BD_NUM says where the others begin. Two words each.
    let slot = |index: usize, buffer, last| Slot {
        descriptor: descriptors.wrapping_add(2 * index),
        buffer,
        last,
    };
    let mut tx_index = 0;
    let tx = tx.each_ref().map(|buffer| {
        let index = tx_index;
        tx_index += 1;
        TxSlot(slot(index, buffer, index + 1 == TX_FRAMES))
    });
    let mut rx_index = 0;
    let rx = rx.each_ref().map(|buffer| {
        let index = rx_index;
        rx_index += 1;
        RxSlot(slot(TX_FRAMES + index, buffer, index + 1 == RX_FRAMES))
    });
    (Registers { base: registers }, rx, tx)
}

/// The MAC's registers that the emulator heeds: offsets in bytes.
#[derive(Debug, Clone, Copy)]
enum Register {
    /// MODER
    Mode = 0x00,
    /// INT_SOURCE
    InterruptSource = 0x04,
    /// INT_MASK
    InterruptMask = 0x08,
    /// TX_BD_NUM
    TxDescriptors = 0x20,
    /// MIICOMMAND
    MiiCommand = 0x2C,
    /// MIISTATUS
    MiiStatus = 0x3C,
    /// MAC_ADDR0: bytes 2 to 5 of the address, the last one lowest
    Address0 = 0x40,
    /// MAC_ADDR1: bytes 0 and 1
    Address1 = 0x44,
    /// HASH0: which multicast groups pass
    Hash0 = 0x48,
    /// HASH1
    Hash1 = 0x4C,
}

/// MODER after a reset: pad short frames, add the checksum. ESP-IDF calls it `OPENETH_MODER_DEFAULT`.
const MODE_FRESH: u32 = 0xA000;
const MODE_RESET: u32 = 1 << 11;
const MODE_TRANSMIT: u32 = 1 << 1;
const MODE_RECEIVE: u32 = 1;

/// RXB: a frame has come.
const INTERRUPT_RECEIVED: u32 = 1 << 2;
const ALL_INTERRUPTS: u32 = 0x7F;

/// RSTAT: read a register of the PHY; brings `MiiStatus` up to date.
const MII_READ_STATUS: u32 = 1 << 1;
/// LINKFAIL
const MII_LINK_FAIL: u32 = 1;

/// The MAC's registers.
#[derive(Debug)]
pub(crate) struct Registers {
    base: *mut u32,
}

// SAFETY: registers belong to no thread, and `&mut self` keeps writers apart.
unsafe impl Send for Registers {}

impl Registers {
    /// Whether the MAC is there and was not started since the last reset of the machine.
    fn is_fresh(&self) -> bool {
        self.read(Register::Mode) == MODE_FRESH
    }

    /// Stops the MAC and forgets all settings but the hardware address. The first `tx_descriptors` of the table
    /// are for frames to send.
    pub(crate) fn reset(&mut self, tx_descriptors: usize) {
        self.write(Register::Mode, MODE_FRESH | MODE_RESET);
        self.write(Register::Mode, MODE_FRESH);
        self.write(
            Register::TxDescriptors,
            u32::try_from(tx_descriptors).unwrap_or(0),
        );
        self.write(Register::InterruptSource, ALL_INTERRUPTS);
    }

    /// Starts the MAC: frames to its address, to everyone, and to any group.
    pub(crate) fn enable(&mut self) {
        self.write(Register::Hash0, u32::MAX);
        self.write(Register::Hash1, u32::MAX);
        self.write(Register::InterruptMask, INTERRUPT_RECEIVED);
        self.write(Register::Mode, MODE_FRESH | MODE_TRANSMIT | MODE_RECEIVE);
    }

    pub(crate) fn mac_address(&self) -> [u8; 6] {
        let [_, _, b0, b1] = self.read(Register::Address1).to_be_bytes();
        let [b2, b3, b4, b5] = self.read(Register::Address0).to_be_bytes();
        [b0, b1, b2, b3, b4, b5]
    }

    pub(crate) fn link_is_up(&mut self) -> bool {
        self.write(Register::MiiCommand, MII_READ_STATUS);
        self.read(Register::MiiStatus) & MII_LINK_FAIL == 0
    }

    fn read(&self, register: Register) -> u32 {
        // SAFETY: `build` was promised that this is the MAC, or memory as large. Reading has no effect.
        unsafe {
            self.base
                .wrapping_byte_add(register as usize)
                .read_volatile()
        }
    }

    fn write(&mut self, register: Register, value: u32) {
        // SAFETY: as in `read`. No value written makes the MAC touch memory but the buffers in its descriptors,
        // which are those of the slots.
        unsafe {
            self.base
                .wrapping_byte_add(register as usize)
                .write_volatile(value)
        }
    }
}

/// What the MAC reads a frame from or writes one to.
#[repr(C, align(4))]
struct Buffer(UnsafeCell<[u8; BUFFER_SIZE]>);

// SAFETY: each buffer is used by one slot only, and a slot by `&mut` where it looks inside.
unsafe impl Sync for Buffer {}

impl Buffer {
    const fn new() -> Self {
        Self(UnsafeCell::new([0; BUFFER_SIZE]))
    }
}

/// A descriptor and its buffer.
struct Slot {
    descriptor: *mut u32,
    buffer: &'static Buffer,
    /// The ring begins again behind it.
    last: bool,
}

// SAFETY: a slot belongs to no thread, and nobody else has its descriptor or buffer.
unsafe impl Send for Slot {}

impl Slot {
    fn read(&self) -> u32 {
        // SAFETY: `build` was promised a descriptor here.
        let word = unsafe { self.descriptor.read_volatile() };
        // What the MAC wrote before it gave the descriptor back is seen by what follows.
        fence(Ordering::Acquire);
        word
    }

    /// Points the descriptor at the buffer, then hands it over by its first word: the MAC may act at once.
    fn write(&mut self, word: u32) {
        let address = self.buffer.0.get() as usize as u32;
        // What was written to the buffer is there before the MAC looks.
        fence(Ordering::Release);
        // SAFETY: `build` was promised a descriptor here, of two words.
        unsafe {
            self.descriptor.wrapping_add(1).write_volatile(address);
            self.descriptor.write_volatile(word);
        }
    }

    /// # Safety
    ///
    /// The descriptor is the firmware's, not the MAC's.
    unsafe fn bytes(&mut self) -> &mut [u8; BUFFER_SIZE] {
        // SAFETY: no other slot has this buffer, `&mut self` lets nobody in twice, and the caller promised that
        // the MAC stays out.
        unsafe { &mut *self.buffer.0.get() }
    }
}

/// A place for a frame that comes.
pub(crate) struct RxSlot(Slot);

impl RxSlot {
    /// Gives the buffer to the MAC, empty.
    pub(crate) fn give(&mut self) {
        self.0.write(Rx::empty(self.0.last).0);
    }

    pub(crate) fn has_frame(&self) -> bool {
        !Rx(self.0.read()).is_empty()
    }

    /// The frame that came, without its checksum. Empty where none has come or it is damaged.
    pub(crate) fn frame(&mut self) -> &mut [u8] {
        let descriptor = Rx(self.0.read());
        if descriptor.is_empty() {
            return &mut [];
        }
        // SAFETY: the descriptor is not the MAC's, just read, and only `give` makes it so again.
        let bytes = unsafe { self.0.bytes() };
        bytes
            .get_mut(..descriptor.frame_length())
            .unwrap_or_default()
    }
}

/// A place for a frame to send.
pub(crate) struct TxSlot(Slot);

impl TxSlot {
    /// Takes the buffer from the MAC, which must not be sending.
    pub(crate) fn clear(&mut self) {
        self.0.write(Tx::idle().0);
    }

    pub(crate) fn is_free(&self) -> bool {
        !Tx(self.0.read()).is_ready()
    }

    /// `length` bytes to write a frame to, fewer where the buffer ends; none while the last frame is being sent.
    pub(crate) fn buffer(&mut self, length: usize) -> &mut [u8] {
        if !self.is_free() {
            return &mut [];
        }
        // SAFETY: the descriptor is not the MAC's, just read, and only `send` makes it so.
        let bytes = unsafe { self.0.bytes() };
        let end = length.min(bytes.len());
        bytes.get_mut(..end).unwrap_or_default()
    }

    /// Sends the first `length` bytes of the buffer.
    pub(crate) fn send(&mut self, length: usize) {
        let length = u16::try_from(length.min(BUFFER_SIZE)).unwrap_or(0);
        self.0.write(Tx::ready(length, self.0.last).0);
    }
}

impl fmt::Debug for RxSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RxSlot").field(&self.0.descriptor).finish()
    }
}

impl fmt::Debug for TxSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TxSlot").field(&self.0.descriptor).finish()
    }
}

#[cfg(test)]
pub(crate) mod fake;
