//! Xtensa: LX6 and LX7, with what of it refers to addresses.
//!
//! Source: Xtensa Instruction Set Architecture Reference Manual, chapter "Instruction Formats and Opcodes" (little-endian). The
//! S3's own instructions of four bytes: ESP32-S3 Technical Reference Manual, chapter "Processor Instruction Extensions".

use super::Reference;

/// Kinds of references: their statistics, and how the address lies in the instruction.
pub(crate) const CALL: u8 = 1;
pub(crate) const LITERAL: u8 = 2;
pub(crate) const JUMP: u8 = 3;
pub(crate) const BRANCH_ZERO: u8 = 4;
pub(crate) const BRANCH: u8 = 5;
pub(crate) const NARROW: u8 = 6;
pub(crate) const LOOP: u8 = 7;

/// Bytes of the instruction that begins with `first`.
pub(crate) fn length(first: u8) -> usize {
    match first & 15 {
        0..8 => 3,
        8..14 => 2,
        _ => 4,
    }
}

/// Whether a function begins so: with `entry a1, …`, at a multiple of four.
pub(crate) fn begins_function(first: u8, second: u8) -> bool {
    first == 0x36 && second & 15 == 1
}

/// What the instruction refers to.
pub(crate) fn reference(word: u32, length: usize, pc: u32) -> Option<Reference> {
    let next = pc.wrapping_add(4);
    let (kind, target) = match (word & 15, length) {
        (1, 3) => {
            let offset = 0xfffc_0000 | (word >> 8 & 0xffff) << 2;
            (LITERAL, (pc.wrapping_add(3) & !3).wrapping_add(offset))
        }
        (5, 3) => {
            let offset = signed(word >> 6, 18).wrapping_mul(4);
            (CALL, (pc & !3).wrapping_add(4).wrapping_add(offset))
        }
        (6, 3) => match (word >> 4 & 3, word >> 6 & 3, word >> 12 & 15) {
            (0, _, _) => (JUMP, next.wrapping_add(signed(word >> 6, 18))),
            (1, _, _) => (BRANCH_ZERO, next.wrapping_add(signed(word >> 12, 12))),
            (2, _, _) | (3, 2 | 3, _) | (3, 1, 0 | 1) => {
                (BRANCH, next.wrapping_add(signed(word >> 16, 8)))
            }
            (3, 1, 8..=10) => (LOOP, next.wrapping_add(word >> 16 & 0xff)),
            _ => return None,
        },
        (7, 3) => (BRANCH, next.wrapping_add(signed(word >> 16, 8))),
        (12, 2) if word & 0x80 != 0 => {
            let offset = (word >> 12 & 15) | (word >> 4 & 3) << 4;
            (NARROW, next.wrapping_add(offset))
        }
        _ => return None,
    };
    Some(Reference { kind, target })
}

/// The same instruction at `pc`, with this target, if that can be reached.
pub(crate) fn with_reference(word: u32, kind: u8, pc: u32, target: u32) -> Option<u32> {
    let offset = target.wrapping_sub(pc.wrapping_add(4));
    match kind {
        CALL => {
            let offset = target.wrapping_sub((pc & !3).wrapping_add(4));
            let words = offset as i32 >> 2;
            let fits = offset & 3 == 0 && signed(words as u32, 18) == words as u32;
            fits.then_some(word & 0x3f | (words as u32 & 0x3_ffff) << 6)
        }
        LITERAL => {
            let offset = target.wrapping_sub(pc.wrapping_add(3) & !3);
            let fits = offset & 3 == 0 && offset & 0xfffc_0000 == 0xfffc_0000;
            fits.then_some(word & 0xff | (offset >> 2 & 0xffff) << 8)
        }
        JUMP => (signed(offset, 18) == offset).then_some(word & 0x3f | (offset & 0x3_ffff) << 6),
        BRANCH_ZERO => {
            (signed(offset, 12) == offset).then_some(word & 0xfff | (offset & 0xfff) << 12)
        }
        BRANCH => (signed(offset, 8) == offset).then_some(word & 0xffff | (offset & 0xff) << 16),
        LOOP => (offset < 256).then_some(word & 0xffff | offset << 16),
        NARROW => {
            (offset < 64).then_some(word & 0x0fcf | (offset & 15) << 12 | (offset >> 4 & 3) << 4)
        }
        _ => None,
    }
}

fn signed(value: u32, bits: u32) -> u32 {
    let spare = 32 - bits;
    ((value << spare) as i32 >> spare) as u32
}
