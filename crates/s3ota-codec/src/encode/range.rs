//! The other end of the range coder.

use alloc::vec::Vec;

use crate::range::{BOTTOM, Coder, LEFT_OUT, split, split_coarse};

/// A range encoder.
pub(crate) struct Encoder {
    low: u64,
    range: u32,
    /// The last byte that a carry may still change.
    cache: u8,
    /// How many bytes wait for it, itself counted.
    waiting: usize,
    bytes: Vec<u8>,
    /// Bits that were spent, exactly.
    spent: f64,
}

impl Encoder {
    pub(crate) fn new() -> Encoder {
        Encoder {
            low: 0,
            range: u32::MAX,
            cache: 0,
            waiting: 1,
            bytes: Vec::new(),
            spent: 0.0,
        }
    }

    /// Bytes written so far, those that wait counted.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.waiting
    }

    /// Bits that were spent.
    pub(crate) fn spent(&self) -> f64 {
        self.spent
    }

    fn shift(&mut self) {
        if self.low < 0xff00_0000 || self.low > u64::from(u32::MAX) {
            let carry = (self.low >> 32) as u8;
            for i in 0..self.waiting {
                let byte = if i == 0 { self.cache } else { 0xff };
                self.bytes.push(byte.wrapping_add(carry));
            }
            self.waiting = 0;
            self.cache = (self.low >> 24) as u8;
        }
        self.waiting += 1;
        self.low = (self.low & 0x00ff_ffff) << 8;
    }

    /// The bytes of the section, without zeros at the end: the decoder reads zeros there anyway.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        // Any number in the range will do: one that ends in zeros.
        let top = self.low + u64::from(self.range) - 1;
        for keep in [8, 16, 24] {
            let short = top >> (32 - keep) << (32 - keep);
            if short >= self.low {
                self.low = short;
                break;
            }
        }
        for _ in 0..5 {
            self.shift();
        }
        for _ in 0..LEFT_OUT {
            if self.bytes.last() == Some(&0) {
                self.bytes.pop();
            }
        }
        // A zero stands before the first byte, in case of a carry. There is none: the range does not go beyond 2^32.
        self.bytes.split_off(self.bytes.len().min(1))
    }

    /// Writes a bit; `one` is how large a part of the range stands for a one.
    fn bit(&mut self, bit: bool, one: u32) -> bool {
        if bit {
            self.range = one;
        } else {
            self.low += u64::from(one);
            self.range -= one;
        }
        while self.range < BOTTOM {
            self.range <<= 8;
            self.shift();
        }
        bit
    }

    fn spend(&mut self, bit: bool, share: f64) {
        self.spent -= if bit { share } else { 1.0 - share }.log2();
    }
}

impl Coder for Encoder {
    const WRITES: bool = true;

    fn code(&mut self, bit: bool, p: u32) -> bool {
        self.spend(bit, f64::from(p) / 65_536.0);
        self.bit(bit, split(self.range, p))
    }

    fn code_coarse(&mut self, bit: bool, p: u32) -> bool {
        self.spend(bit, f64::from(p) / 4096.0);
        self.bit(bit, split_coarse(self.range, p))
    }
}
