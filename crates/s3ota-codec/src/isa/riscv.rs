//! RISC-V: RV32IMC, with what of it refers to addresses.
//!
//! Source: The RISC-V Instruction Set Manual, volume I, chapters "RV32I", "C" and "RV32/64G Instruction Set Listings".

use super::Reference;

/// Kinds of references: their statistics, and how the address lies in the instruction.
pub(crate) const JAL: u8 = 1;
pub(crate) const CALL: u8 = 2;
pub(crate) const BRANCH: u8 = 3;
pub(crate) const C_J: u8 = 4;
pub(crate) const C_BRANCH: u8 = 5;
/// The high part of an address: AUIPC or LUI.
pub(crate) const HIGH: u8 = 6;
/// The low part of an address.
pub(crate) const LOW: u8 = 7;
/// A high part without its low part.
pub(crate) const LONE: u8 = 8;

/// Bytes of the instruction that begins with `first`.
pub(crate) fn length(first: u8) -> usize {
    if first & 3 == 3 { 4 } else { 2 }
}

/// The target of a jump, call or branch that holds it alone.
pub(crate) fn jump(word: u32, length: usize, pc: u32) -> Option<Reference> {
    let (kind, offset) = if length == 4 {
        match word & 0x7f {
            0x6f => {
                let kind = if word >> 7 & 31 == 0 { JAL } else { CALL };
                (kind, jal_offset(word))
            }
            0x63 => (BRANCH, branch_offset(word)),
            _ => return None,
        }
    } else {
        match word & 0xe003 {
            0xa001 => (C_J, c_j_offset(word)),
            0x2001 => (C_J, c_j_offset(word)),
            0xc001 | 0xe001 => (C_BRANCH, c_branch_offset(word)),
            _ => return None,
        }
    };
    let target = pc.wrapping_add(offset);
    Some(Reference { kind, target })
}

/// The same instruction at `pc`, with this target, if that can be reached.
pub(crate) fn with_jump(word: u32, kind: u8, pc: u32, target: u32) -> Option<u32> {
    let offset = target.wrapping_sub(pc);
    let bit = |from: u32, to: u32| (offset >> from & 1) << to;
    let (bits, kept, other) = match kind {
        JAL | CALL => (21, 0xfff, {
            bit(20, 31) | (offset >> 1 & 0x3ff) << 21 | bit(11, 20) | (offset >> 12 & 0xff) << 12
        }),
        BRANCH => (13, 0x01ff_f07f, {
            bit(12, 31) | (offset >> 5 & 0x3f) << 25 | (offset >> 1 & 15) << 8 | bit(11, 7)
        }),
        C_J => (12, 0xe003, {
            bit(11, 12)
                | bit(4, 11)
                | (offset >> 8 & 3) << 9
                | bit(10, 8)
                | bit(6, 7)
                | bit(7, 6)
                | (offset >> 1 & 7) << 3
                | bit(5, 2)
        }),
        C_BRANCH => (9, 0xe383, {
            bit(8, 12)
                | (offset >> 3 & 3) << 10
                | (offset >> 6 & 3) << 5
                | (offset >> 1 & 3) << 3
                | bit(5, 2)
        }),
        _ => return None,
    };
    (extend(offset, bits) == offset && offset & 1 == 0).then_some(word & kept | other)
}

fn extend(value: u32, bits: u32) -> u32 {
    let spare = 32 - bits;
    ((value << spare) as i32 >> spare) as u32
}

fn jal_offset(w: u32) -> u32 {
    let offset =
        w >> 31 << 20 | (w >> 12 & 0xff) << 12 | (w >> 20 & 1) << 11 | (w >> 21 & 0x3ff) << 1;
    extend(offset, 21)
}

fn branch_offset(w: u32) -> u32 {
    let offset = w >> 31 << 12 | (w >> 7 & 1) << 11 | (w >> 25 & 0x3f) << 5 | (w >> 8 & 15) << 1;
    extend(offset, 13)
}

fn c_j_offset(w: u32) -> u32 {
    let bit = |from: u32, to: u32| (w >> from & 1) << to;
    let offset = bit(12, 11)
        | bit(11, 4)
        | (w >> 9 & 3) << 8
        | bit(8, 10)
        | bit(7, 6)
        | bit(6, 7)
        | (w >> 3 & 7) << 1
        | bit(2, 5);
    extend(offset, 12)
}

fn c_branch_offset(w: u32) -> u32 {
    let bit = |from: u32, to: u32| (w >> from & 1) << to;
    let offset =
        bit(12, 8) | (w >> 10 & 3) << 3 | (w >> 5 & 3) << 6 | (w >> 3 & 3) << 1 | bit(2, 5);
    extend(offset, 9)
}

/// If this is AUIPC or LUI: the register, and the value it gets.
pub(crate) fn high(word: u32, pc: u32) -> Option<(u32, u32)> {
    let base = match word & 0x7f {
        0x17 => pc,
        0x37 => 0,
        _ => return None,
    };
    Some((word >> 7 & 31, base.wrapping_add(word & 0xffff_f000)))
}

/// The instruction with another high part, so that register and low part make `target`.
pub(crate) fn with_high(word: u32, pc: u32, target: u32) -> u32 {
    let base = if word & 0x7f == 0x17 { pc } else { 0 };
    word & 0xfff | target.wrapping_sub(base).wrapping_add(0x800) & 0xffff_f000
}

/// If this adds a low part to a register: the register, and the low part.
pub(crate) fn low(word: u32) -> Option<(u32, u32)> {
    let register = word >> 15 & 31;
    match word & 0x7f {
        0x03 | 0x67 => Some((register, extend(word >> 20, 12))),
        0x13 if word >> 12 & 7 == 0 => Some((register, extend(word >> 20, 12))),
        0x23 => Some((register, extend(word >> 25 << 5 | word >> 7 & 31, 12))),
        _ => None,
    }
}

/// The instruction with another low part, if it fits.
pub(crate) fn with_low(word: u32, low: u32) -> Option<u32> {
    if extend(low, 12) != low {
        return None;
    }
    Some(if word & 0x7f == 0x23 {
        word & 0x01ff_f07f | (low >> 5 & 0x7f) << 25 | (low & 31) << 7
    } else {
        word & 0x000f_ffff | low << 20
    })
}

/// The register that the instruction writes, 0 for none, as far as that matters for high and low parts.
pub(crate) fn written(word: u32, length: usize) -> u32 {
    if length == 4 {
        return match word & 0x7f {
            0x23 | 0x63 => 0,
            _ => word >> 7 & 31,
        };
    }
    match (word & 3, word >> 13 & 7) {
        // c.addi4spn, c.lw
        (0, 0 | 2) => 8 + (word >> 2 & 7),
        // c.addi, c.li, c.lui
        (1, 0 | 2 | 3) => word >> 7 & 31,
        // c.srli … c.and
        (1, 4) => 8 + (word >> 7 & 7),
        // c.slli, c.lwsp
        (2, 0 | 2) => word >> 7 & 31,
        // c.mv, c.add; c.jr and c.jalr have no second register.
        (2, 4) if word >> 2 & 31 != 0 => word >> 7 & 31,
        _ => 0,
    }
}
