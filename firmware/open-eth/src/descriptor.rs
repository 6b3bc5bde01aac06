//! The first word of a buffer descriptor: who owns it, how long its frame is, how it went.
//!
//! OpenCores, "Ethernet IP Core Specification", "Buffer Descriptors"; QEMU, `hw/net/opencores_eth.c`, the `TXD_` and
//! `RXD_` constants. The second word is the address of the buffer.

/// The frame's length in bytes is the word's upper half.
const LENGTH_SHIFT: u32 = 16;

/// The MAC's own, behind the payload, in bytes. It is counted in the length of a received frame, not of one to send.
const CHECKSUM_SIZE: usize = 4;

/// A descriptor of a frame that comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rx(pub(crate) u32);

impl Rx {
    /// E: the buffer is empty and the MAC's. Cleared when a frame has come.
    const EMPTY: u32 = 1 << 15;
    const INTERRUPT: u32 = 1 << 14;
    const WRAP: u32 = 1 << 13;
    /// OR overrun, IS invalid symbol, DN dribble nibble, TL too long, SF short, CRC, LC late collision.
    const ERRORS: u32 = 0x7F;

    /// An empty buffer for the MAC to fill. `last`: the ring begins again behind it.
    pub(crate) fn empty(last: bool) -> Self {
        Self(Self::EMPTY | Self::INTERRUPT | if last { Self::WRAP } else { 0 })
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 & Self::EMPTY != 0
    }

    /// The length of what came, without the checksum. A damaged frame has none.
    pub(crate) fn frame_length(self) -> usize {
        if self.0 & Self::ERRORS != 0 {
            return 0;
        }
        ((self.0 >> LENGTH_SHIFT) as usize).saturating_sub(CHECKSUM_SIZE)
    }
}

/// A descriptor of a frame to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tx(pub(crate) u32);

impl Tx {
    /// RD: the frame is ready and the MAC's. Cleared when it was sent.
    const READY: u32 = 1 << 15;
    const WRAP: u32 = 1 << 13;
    /// Fill a short frame up to the least length, and add the checksum.
    const PAD: u32 = 1 << 12;
    const CHECKSUM: u32 = 1 << 11;

    /// A descriptor that is the firmware's.
    pub(crate) fn idle() -> Self {
        Self(0)
    }

    /// A frame of `length` bytes for the MAC to send. `last`: the ring begins again behind it.
    pub(crate) fn ready(length: u16, last: bool) -> Self {
        let wrap = if last { Self::WRAP } else { 0 };
        Self((u32::from(length) << LENGTH_SHIFT) | Self::READY | Self::PAD | Self::CHECKSUM | wrap)
    }

    pub(crate) fn is_ready(self) -> bool {
        self.0 & Self::READY != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_frame_that_came_is_without_its_checksum() {
        assert_eq!(Rx(64 << 16).frame_length(), 60);
        assert_eq!(Rx(1518 << 16).frame_length(), 1514);
    }

    #[test]
    fn a_frame_shorter_than_its_checksum_is_empty() {
        assert_eq!(Rx(3 << 16).frame_length(), 0);
        assert_eq!(Rx(0).frame_length(), 0);
    }

    #[test]
    fn a_damaged_frame_is_empty_and_one_for_another_address_is_not_damaged() {
        for bit in 0..7 {
            assert_eq!(Rx((64 << 16) | (1 << bit)).frame_length(), 0, "bit {bit}");
        }
        const MISS: u32 = 1 << 7;
        assert_eq!(Rx((64 << 16) | MISS).frame_length(), 60);
    }

    #[test]
    fn descriptors_have_the_bits_qemu_looks_for() {
        assert_eq!(Rx::empty(false).0, 0xC000);
        assert_eq!(Rx::empty(true).0, 0xE000);
        assert_eq!(Tx::ready(42, false).0, 0x002A_9800);
        assert_eq!(Tx::ready(42, true).0, 0x002A_B800);
    }
}
