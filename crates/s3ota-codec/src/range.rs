//! The range coder: bits of known probability, and what codes them.
//!
//! 32 bits of range, the decoder without carries. A probability has 16 bits, and is that of a one.

/// Codes bits. The decoder returns what it reads; an encoder writes what it is given, and returns it.
///
/// All models are written once, over this trait, so that both ends are in the same state after every bit.
pub(crate) trait Coder {
    /// Whether it writes what it is given.
    const WRITES: bool;

    /// Codes a bit that is one with probability `p` / 65,536; `p` is neither 0 nor above 65,535.
    fn code(&mut self, bit: bool, p: u32) -> bool;

    /// Codes a bit that is one with probability `p` / 4,096; `p` is neither 0 nor above 4,095. For bits that are hardly ever certain.
    fn code_coarse(&mut self, bit: bool, p: u32) -> bool;
}

/// Below this the range is widened.
pub(crate) const BOTTOM: u32 = 1 << 24;

/// Bytes that a section begins with before its first bit.
pub(crate) const LEAD: usize = 4;

/// Zeros that an encoder may leave out at the end of a section. A decoder reads no more than these and [`LEAD`] behind its end.
pub(crate) const LEFT_OUT: usize = 4;

/// How large a part of the range stands for a one.
pub(crate) fn split(range: u32, p: u32) -> u32 {
    // Neither part is empty: the range is at least 2^24.
    ((u64::from(range) * u64::from(p.clamp(1, 65_535))) >> 16) as u32
}

/// The same with 12 bits of probability.
pub(crate) fn split_coarse(range: u32, p: u32) -> u32 {
    (range >> 12).wrapping_mul(p)
}

/// The registers of a decoder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Registers {
    range: u32,
    code: u32,
}

impl Registers {
    pub(crate) const fn new() -> Registers {
        Registers { range: 0, code: 0 }
    }
}

/// A range decoder over bytes that are there. Behind their end it reads zeros, and counts them.
pub(crate) struct Decoder<'a> {
    /// To go on with.
    pub(crate) registers: Registers,
    bytes: &'a [u8],
    /// Bytes read, those behind the end counted.
    pub(crate) used: usize,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(registers: Registers, bytes: &'a [u8]) -> Decoder<'a> {
        Decoder {
            registers,
            bytes,
            used: 0,
        }
    }

    /// Begins a section.
    pub(crate) fn begin(&mut self) {
        self.registers.range = u32::MAX;
        self.registers.code = 0;
        for _ in 0..LEAD {
            self.registers.code = self.registers.code << 8 | self.next();
        }
    }

    fn next(&mut self) -> u32 {
        let byte = self.bytes.get(self.used).copied().unwrap_or(0);
        self.used += 1;
        u32::from(byte)
    }

    /// Whether the number lies in the first part of the range, which stands for a one.
    #[inline(always)]
    fn bit(&mut self, one: u32) -> bool {
        let bit = self.registers.code < one;
        if bit {
            self.registers.range = one;
        } else {
            self.registers.code = self.registers.code.wrapping_sub(one);
            self.registers.range = self.registers.range.wrapping_sub(one);
        }
        // Neither part of the range is below 2^8: twice is enough.
        if self.registers.range < BOTTOM {
            self.widen();
            if self.registers.range < BOTTOM {
                self.widen();
            }
        }
        bit
    }

    #[inline(always)]
    fn widen(&mut self) {
        self.registers.range <<= 8;
        self.registers.code = self.registers.code << 8 | self.next();
    }
}

impl Coder for Decoder<'_> {
    const WRITES: bool = false;

    fn code(&mut self, _: bool, p: u32) -> bool {
        let one = split(self.registers.range, p);
        self.bit(one)
    }

    #[inline(always)]
    fn code_coarse(&mut self, _: bool, p: u32) -> bool {
        let one = split_coarse(self.registers.range, p);
        self.bit(one)
    }
}
