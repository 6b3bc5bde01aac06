//! Probabilities that learn, and numbers made of them.

use crate::range::Coder;

/// How fast a [`Flag`] may still learn: after so many bits it forgets as fast as it learns.
const FLAG_LIMIT: u32 = 1000;

/// A bit that is nearly always the same: 22 bits of probability, and how often it was seen in 10.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag(u32);

impl Flag {
    /// What memory holds before it is used.
    pub(crate) const ZERO: Flag = Flag(0);

    /// A flag that is one in `ones` of 16 cases, as certain as if it had been seen `seen` times.
    pub(crate) const fn new(ones: u32, seen: u32) -> Flag {
        Flag(ones << 28 | seen)
    }

    fn probability(self) -> u32 {
        (self.0 >> 16).clamp(2, 65_534)
    }

    pub(crate) fn code<C: Coder>(&mut self, coder: &mut C, bit: bool) -> bool {
        let bit = coder.code(bit, self.probability());
        let seen = self.0 & 1023;
        let p = self.0 >> 10;
        let goal = if bit { (1 << 22) - 1 } else { 0 };
        // 1 / (n + 1.5), a little above at first.
        let step = (goal - p as i32) * 2 / (2 * seen + 3) as i32;
        let p = (p as i32 + step).clamp(0, (1 << 22) - 1) as u32;
        self.0 = p << 10 | (seen + 1).min(FLAG_LIMIT);
        bit
    }
}

/// A bit of a number or a letter: 13 bits of probability, and how often it was seen in 3.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bit(u16);

/// What a [`Bit`] moves by, in 1/256 of the way, each time it is seen.
const STEP: [u32; 8] = [110, 70, 50, 38, 30, 24, 19, 15];

impl Bit {
    /// What memory holds before it is used.
    pub(crate) const ZERO: Bit = Bit(0);

    pub(crate) const NEW: Bit = Bit(4096 << 3);

    /// Probability of a one, of 65,536.
    fn probability(self) -> u32 {
        u32::from(self.0 & 0xfff8).max(8)
    }

    /// What it is after it was seen once more.
    fn updated(self, bit: bool) -> Bit {
        let seen = u32::from(self.0) & 7;
        let p = u32::from(self.0) >> 3;
        let step = STEP[seen as usize];
        let p = if bit {
            p + (((8191 - p) * step) >> 8)
        } else {
            p - ((p * step) >> 8)
        };
        Bit((p << 3 | (seen + 1).min(7)) as u16)
    }

    pub(crate) fn code<C: Coder>(&mut self, coder: &mut C, bit: bool) -> bool {
        let bit = coder.code(bit, self.probability());
        *self = self.updated(bit);
        bit
    }
}

/// Numbers from 0 to 2^32 - 2, small ones shorter: the place of the highest bit, two bits below it, and the rest as it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number {
    exponent: [Bit; 32],
    mantissa: [Bit; 64],
}

impl Number {
    /// What memory holds before it is used.
    pub(crate) const ZERO: Number = Number {
        exponent: [Bit::ZERO; 32],
        mantissa: [Bit::ZERO; 64],
    };

    pub(crate) fn clear(&mut self) {
        self.exponent.fill(Bit::NEW);
        self.mantissa.fill(Bit::NEW);
    }

    pub(crate) const NEW: Number = Number {
        exponent: [Bit::NEW; 32],
        mantissa: [Bit::NEW; 64],
    };

    pub(crate) fn code<C: Coder>(&mut self, coder: &mut C, number: u32) -> u32 {
        let number = number.wrapping_add(1).max(1);
        let exponent = 31 - number.leading_zeros();
        let mut node = 1_u32;
        for i in (0..5).rev() {
            let bit = self.exponent[(node & 31) as usize].code(coder, exponent >> i & 1 == 1);
            node = node << 1 | u32::from(bit);
        }
        let exponent = node & 31;
        let mut value = 1_u32;
        let mut node = 1_u32;
        for i in (0..exponent).rev() {
            let bit = number >> i & 1 == 1;
            let bit = if node < 4 {
                let bit =
                    self.mantissa[(exponent.min(15) * 4 + node) as usize & 63].code(coder, bit);
                node = node << 1 | u32::from(bit);
                bit
            } else {
                coder.code(bit, 1 << 15)
            };
            value = value << 1 | u32::from(bit);
        }
        value - 1
    }

    /// Numbers with a sign, near zero shorter: all but `i32::MIN`.
    pub(crate) fn code_signed<C: Coder>(&mut self, coder: &mut C, number: i32) -> i32 {
        let folded = (number << 1 ^ number >> 31) as u32;
        let folded = self.code(coder, folded);
        (folded >> 1) as i32 ^ -((folded & 1) as i32)
    }
}
