//! Instructions with the addresses that they refer to in place of distances: so what calls one function is the same everywhere.
//!
//! In this form instructions that have no counterpart in the base are coded, and compared with those before.

use super::{Isa, riscv, word, xtensa};

/// The most bytes that are one unit: AUIPC and the instruction with the low part.
pub(crate) const LONGEST: usize = 8;

/// An instruction, or a pair of them, in the form that is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Unit {
    /// Bytes of the instruction.
    pub(crate) length: usize,
    /// Bytes of the form; those behind are zero.
    pub(crate) size: usize,
    pub(crate) bytes: [u8; LONGEST],
}

/// Bytes of the form of a pair.
pub(crate) const PAIR: usize = 7;

impl Unit {
    /// What is a pair's second instruction, as [`Unit::bytes`] hold it.
    const OPCODES: [u32; 4] = [0x03, 0x13, 0x23, 0x67];

    /// The first unit of `bytes`, at the address `pc`. `bytes` holds at least one, and as many as belong together.
    pub(crate) fn of(isa: Isa, bytes: &[u8], pc: u32) -> Unit {
        let first = bytes.first().copied().unwrap_or(0);
        let length = isa.length(first);
        if isa == Isa::Riscv && begins_pair(first) && bytes.len() >= LONGEST {
            let (low, high) = (word(bytes), word(bytes.get(4..).unwrap_or(&[])));
            if let Some(pair) = Unit::pair(low, high, pc) {
                return pair;
            }
        }
        if length > bytes.len() {
            return Unit::plain(bytes);
        }
        let mut unit = Unit::plain(bytes.get(..length).unwrap_or(bytes));
        let bits = word(&unit.bytes);
        match isa {
            Isa::Riscv if length == 4 => {
                // Halves of odd addresses would be lost; the decoder leaves instructions at such as they are.
                if let Some(jump) = riscv::jump(bits, 4, pc)
                    && jump.kind == riscv::CALL
                    && pc & 1 == 0
                {
                    let target = jump.target >> 1;
                    unit.set(bits & 0xfff, 12, target, 20);
                }
            }
            Isa::Xtensa if length == 3 => {
                if let Some(reference) = xtensa::reference(bits, 3, pc) {
                    match reference.kind {
                        xtensa::CALL => unit.set(bits & 0x3f, 6, reference.target >> 2, 18),
                        xtensa::LITERAL => unit.set(bits & 0xff, 8, reference.target >> 2, 16),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        unit
    }

    fn plain(bytes: &[u8]) -> Unit {
        let mut unit = Unit::default();
        for (to, from) in unit.bytes.iter_mut().zip(bytes) {
            *to = *from;
            unit.length += 1;
        }
        unit.size = unit.length;
        unit
    }

    /// An opcode and a target, the target's high bits first.
    fn set(&mut self, opcode: u32, bits: u32, target: u32, width: u32) {
        let target = target & ((1 << width) - 1);
        let mut form = opcode;
        let mut place = bits;
        let mut left = width;
        // The high bits fill the byte that the opcode began, then whole bytes follow.
        let first = (8 - bits % 8) % 8;
        if first > 0 {
            form |= target >> (left - first) << place;
            place += first;
            left -= first;
        }
        while left >= 8 {
            form |= (target >> (left - 8) & 0xff) << place;
            place += 8;
            left -= 8;
        }
        for (i, byte) in self.bytes.iter_mut().take(self.length).enumerate() {
            *byte = (form >> (8 * i)) as u8;
        }
    }

    fn target(form: u32, bits: u32, width: u32) -> u32 {
        let mut target = 0;
        let mut place = bits;
        let mut left = width;
        let first = (8 - bits % 8) % 8;
        if first > 0 {
            target = form >> place & ((1 << first) - 1);
            place += first;
            left -= first;
        }
        while left >= 8 {
            target = target << 8 | form >> place & 0xff;
            place += 8;
            left -= 8;
        }
        target
    }

    fn pair(high: u32, low: u32, pc: u32) -> Option<Unit> {
        let (register, base) = riscv::high(high, pc)?;
        let (with, offset) = riscv::low(low)?;
        if register != with || high & 0x7f != 0x17 {
            return None;
        }
        let class = Unit::OPCODES
            .iter()
            .position(|opcode| *opcode == low & 0x7f)? as u32;
        let other = if class == 2 { low >> 20 } else { low >> 7 } & 31;
        let target = base.wrapping_add(offset).to_be_bytes();
        Some(Unit {
            length: 8,
            size: PAIR,
            bytes: [
                high as u8,
                (register >> 1 | class << 4) as u8,
                (low >> 12 & 7 | other << 3) as u8,
                target[0],
                target[1],
                target[2],
                target[3],
                0,
            ],
        })
    }

    /// The instruction itself, at the address `pc`. Of the bytes, [`Unit::length`] are meant.
    pub(crate) fn instruction(&self, isa: Isa, pc: u32) -> [u8; LONGEST] {
        let form = word(&self.bytes);
        if self.size == PAIR {
            return self.pair_at(form, pc);
        }
        let mut bytes = self.bytes;
        let length = isa.length(self.bytes[0]);
        if length != self.length {
            return bytes;
        }
        let bits = match isa {
            Isa::Riscv if length == 4 && form & 0x7f == 0x6f && form & 0xf80 != 0 => {
                let target = Unit::target(form, 12, 20) << 1;
                // All that is within reach of 21 bits.
                let offset = (target.wrapping_sub(pc) << 11) as i32 >> 11;
                let target = pc.wrapping_add(offset as u32);
                riscv::with_jump(form & 0xfff, riscv::CALL, pc, target)
            }
            Isa::Xtensa if length == 3 && form & 15 == 5 => {
                let here = (pc >> 2).wrapping_add(1);
                let offset = Unit::target(form, 6, 18).wrapping_sub(here) & 0x3_ffff;
                Some(form & 0x3f | offset << 6)
            }
            Isa::Xtensa if length == 3 && form & 15 == 1 => {
                let here = pc.wrapping_add(3) >> 2;
                let offset = Unit::target(form, 8, 16).wrapping_sub(here) & 0xffff;
                Some(form & 0xff | offset << 8)
            }
            _ => None,
        };
        if let Some(bits) = bits {
            let bits = bits.to_le_bytes();
            for (to, from) in bytes.iter_mut().zip(bits).take(length) {
                *to = from;
            }
        }
        bytes
    }

    fn pair_at(&self, form: u32, pc: u32) -> [u8; LONGEST] {
        let [first, second, third, t3, t2, t1, t0, _] = self.bytes.map(u32::from);
        let register = (second & 15) << 1 | first >> 7;
        let target = t3 << 24 | t2 << 16 | t1 << 8 | t0;
        let high = riscv::with_high(form & 0x7f | register << 7, pc, target);
        let base = riscv::high(high, pc).map_or(0, |(_, base)| base);
        let class = second >> 4 & 3;
        let opcode = Unit::OPCODES[class as usize];
        let place = if class == 2 { 20 } else { 7 };
        let low = opcode | register << 15 | (third & 7) << 12 | (third >> 3) << place;
        let low = riscv::with_low(low, target.wrapping_sub(base)).unwrap_or(low);
        let mut bytes = [0; LONGEST];
        let both = high.to_le_bytes().into_iter().chain(low.to_le_bytes());
        for (to, from) in bytes.iter_mut().zip(both) {
            *to = from;
        }
        bytes
    }
}

/// Whether an instruction that begins so may be the first of a pair.
pub(crate) fn begins_pair(first: u8) -> bool {
    first & 0x7f == 0x17
}
