//! What a RISC-V function does to the stack, and whom it calls, read from its instructions (RV32IMC).
//!
//! Machine code rather than the compiler's own figures (`-Z emit-stack-sizes`), because it is there for every function: those of
//! the radio's libraries, those in assembly, and those that the outliner made.

use std::collections::HashMap;

/// One function, as its instructions tell.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// Bytes by which it lowers the stack pointer: all of its decrements together, the most it can be.
    pub frame: u32,
    /// Addresses that it calls, or jumps to.
    pub calls: Vec<Call>,
    /// How often it calls through a pointer.
    pub pointers: u32,
    /// It lowers the stack pointer by an amount that is not in its instructions.
    pub unbounded: bool,
}

/// Where a function goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The address of the other function.
    pub to: u32,
    /// It does not come back: the frame is given up before.
    pub is_tail: bool,
}

const RA: u32 = 1;
const SP: u32 = 2;
/// The outliner's return address.
const T0: u32 = 5;

/// One instruction, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Instruction {
    /// `to = from + by`
    Add { to: u32, from: u32, by: i32 },
    /// `to = value`
    Set { to: u32, value: i32 },
    /// `sp = sp - register`
    LowerBy(u32),
    /// `sp = sp + register`
    RaiseBy(u32),
    /// To an address, with the return address in this register.
    Jump { link: u32, to: u32 },
    /// To the address in a register.
    JumpTo { link: u32, base: u32, by: i32 },
    /// Writes this register, or none (0).
    Other { to: u32 },
}

/// Reads the function whose `code` begins at `address`.
pub fn read(address: u32, code: &[u8]) -> Traits {
    let mut traits = Traits::default();
    let mut known: HashMap<u32, i32> = HashMap::new();
    // The frame at this place, if the code were run from top to bottom.
    let mut depth = 0i64;
    let end = address.wrapping_add(code.len() as u32);
    let is_inside = |to: u32| (address..end).contains(&to);
    let mut at = 0;
    while let Some(half) = halfword(code, at) {
        let pc = address.wrapping_add(at as u32);
        let (instruction, length) = if half & 3 == 3 {
            let Some(upper) = halfword(code, at + 2) else {
                break;
            };
            (decode(pc, half | upper << 16), 4)
        } else {
            (decode_compressed(pc, half), 2)
        };
        at += length;
        match instruction {
            Instruction::Add {
                to: SP,
                from: SP,
                by,
            } => move_by(&mut traits, &mut depth, by.into()),
            Instruction::LowerBy(register) => match known.get(&register) {
                Some(&by) => move_by(&mut traits, &mut depth, -i64::from(by)),
                None => traits.unbounded = true,
            },
            Instruction::RaiseBy(register) => match known.get(&register) {
                Some(&by) => move_by(&mut traits, &mut depth, by.into()),
                None => depth = 0,
            },
            Instruction::Add { to, from, by } => {
                let value = known.get(&from).map(|value| value.wrapping_add(by));
                set(&mut known, to, value);
            }
            Instruction::Set { to, value } => set(&mut known, to, Some(value)),
            Instruction::Jump { link: 0, to } if is_inside(to) => {}
            Instruction::Jump { link, to } => {
                traits.calls.push(Call {
                    to,
                    is_tail: link == 0 && depth <= 0,
                });
                known.remove(&link);
            }
            Instruction::JumpTo { link, base, by } => match known.remove(&base) {
                Some(value) => traits.calls.push(Call {
                    to: value.wrapping_add(by) as u32,
                    is_tail: link == 0 && depth <= 0,
                }),
                // A return, also the outliner's.
                None if link == 0 && (base == RA || base == T0) => {}
                // With a frame it is a `match` that jumps by a table.
                None if link == 0 && depth > 0 => {}
                None => traits.pointers += 1,
            },
            Instruction::Other { to } => {
                known.remove(&to);
            }
        }
    }
    traits
}

fn move_by(traits: &mut Traits, depth: &mut i64, by: i64) {
    *depth -= by;
    if by < 0 {
        traits.frame = traits.frame.saturating_add(by.unsigned_abs() as u32);
    }
}

fn set(known: &mut HashMap<u32, i32>, register: u32, value: Option<i32>) {
    match value {
        Some(value) if register != 0 => {
            known.insert(register, value);
        }
        _ => {
            known.remove(&register);
        }
    }
}

fn halfword(code: &[u8], at: usize) -> Option<u32> {
    let bytes = code.get(at..at + 2)?;
    Some(u32::from(u16::from_le_bytes([bytes[0], bytes[1]])))
}

/// Bits `low..low + count` of `word`.
fn bits(word: u32, low: u32, count: u32) -> u32 {
    word >> low & ((1 << count) - 1)
}

/// A number of `count` bits with its sign.
fn signed(value: u32, count: u32) -> i32 {
    (value << (32 - count)) as i32 >> (32 - count)
}

fn decode(pc: u32, word: u32) -> Instruction {
    let to = bits(word, 7, 5);
    let (from, other) = (bits(word, 15, 5), bits(word, 20, 5));
    let by = word as i32 >> 20;
    let upper = (word & 0xffff_f000) as i32;
    match word & 0x7f {
        0x13 if bits(word, 12, 3) == 0 && from == 0 => Instruction::Set { to, value: by },
        0x13 if bits(word, 12, 3) == 0 => Instruction::Add { to, from, by },
        0x17 => Instruction::Set {
            to,
            value: upper.wrapping_add(pc as i32),
        },
        0x37 => Instruction::Set { to, value: upper },
        0x33 if (to, from) == (SP, SP) && word >> 25 == 0x20 => Instruction::LowerBy(other),
        0x33 if (to, from) == (SP, SP) => Instruction::RaiseBy(other),
        0x6f => {
            let offset = bits(word, 31, 1) << 20
                | bits(word, 12, 8) << 12
                | bits(word, 20, 1) << 11
                | bits(word, 21, 10) << 1;
            Instruction::Jump {
                link: to,
                to: pc.wrapping_add_signed(signed(offset, 21)),
            }
        }
        0x67 => Instruction::JumpTo {
            link: to,
            base: from,
            by,
        },
        // Branches and stores write no register. Branches between functions there are none.
        0x63 | 0x23 => Instruction::Other { to: 0 },
        _ => Instruction::Other { to },
    }
}

fn decode_compressed(pc: u32, half: u32) -> Instruction {
    let to = bits(half, 7, 5);
    let other = bits(half, 2, 5);
    let immediate = signed(bits(half, 12, 1) << 5 | other, 6);
    match (half & 3, half >> 13) {
        (1, 0) => Instruction::Add {
            to,
            from: to,
            by: immediate,
        },
        (1, 2) => Instruction::Set {
            to,
            value: immediate,
        },
        (1, 3) if to == SP => {
            let by = bits(half, 12, 1) << 9
                | bits(half, 3, 2) << 7
                | bits(half, 5, 1) << 6
                | bits(half, 2, 1) << 5
                | bits(half, 6, 1) << 4;
            Instruction::Add {
                to: SP,
                from: SP,
                by: signed(by, 10),
            }
        }
        (1, 3) => Instruction::Set {
            to,
            value: immediate << 12,
        },
        (1, 1 | 5) => {
            let offset = bits(half, 12, 1) << 11
                | bits(half, 8, 1) << 10
                | bits(half, 9, 2) << 8
                | bits(half, 6, 1) << 7
                | bits(half, 7, 1) << 6
                | bits(half, 2, 1) << 5
                | bits(half, 11, 1) << 4
                | bits(half, 3, 3) << 1;
            Instruction::Jump {
                link: if half >> 13 == 1 { RA } else { 0 },
                to: pc.wrapping_add_signed(signed(offset, 12)),
            }
        }
        (1, 4) => Instruction::Other {
            to: 8 + bits(half, 7, 3),
        },
        (0, 0) => Instruction::Other {
            to: 8 + bits(half, 2, 3),
        },
        (0, 2) => Instruction::Other {
            to: 8 + bits(half, 2, 3),
        },
        (2, 4) if other == 0 && to != 0 => Instruction::JumpTo {
            link: bits(half, 12, 1),
            base: to,
            by: 0,
        },
        (2, 4) if to == SP => Instruction::RaiseBy(other),
        (2, 0 | 2 | 4) => Instruction::Other { to },
        _ => Instruction::Other { to: 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_halves(halves: &[u16]) -> Traits {
        let code: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        read(0x4200_0000, &code)
    }

    /// `llvm-mc -triple=riscv32 -mattr=+m,+c -show-encoding` made these codes.
    #[test]
    fn a_frame_is_all_that_the_stack_pointer_is_lowered_by() {
        // c.addi16sp sp, -64; c.addi16sp sp, 64; ret
        assert_eq!(read_halves(&[0x7139, 0x6121, 0x8082]).frame, 64);
        // addi sp, sp, -2032; lui a0, 1; addi a0, a0, -1024; sub sp, sp, a0; add sp, sp, a0; addi sp, sp, 2032; ret
        let large = [
            0x0113, 0x8101, 0x6505, 0x0513, 0xc005, 0x0133, 0x40a1, 0x912a, 0x0113, 0x7f01, 0x8082,
        ];
        let traits = read_halves(&large);
        assert_eq!((traits.frame, traits.unbounded), (2032 + 3072, false));
        // sub sp, sp, a0; ret
        assert!(read_halves(&[0x0133, 0x40a1, 0x8082]).unbounded);
    }

    #[test]
    fn calls_are_told_from_tail_calls_returns_and_pointers() {
        let call = |to, is_tail| Call { to, is_tail };
        // c.jal +32; ret
        let traits = read_halves(&[0x2005, 0x8082]);
        assert_eq!(traits.calls, [call(0x4200_0020, false)]);
        // j +256 (beyond its end)
        assert_eq!(
            read_halves(&[0x006f, 0x1000]).calls,
            [call(0x4200_0100, true)]
        );
        // j +0 (a loop)
        assert_eq!(read_halves(&[0x006f, 0x0000]).calls, []);
        // auipc ra, 1; jalr 16(ra); ret
        let far = read_halves(&[0x1097, 0x0000, 0x80e7, 0x0100, 0x8082]);
        assert_eq!(far.calls, [call(0x4200_1010, false)]);
        // lui ra, 0x40000; jalr 0x360(ra); ret: into the chip's ROM
        let rom = read_halves(&[0x00b7, 0x4000, 0x80e7, 0x3600, 0x8082]);
        assert_eq!(rom.calls, [call(0x4000_0360, false)]);
        // lw a5, 12(a1); c.jalr a5; ret
        let pointer = read_halves(&[0x45dc, 0x9782, 0x8082]);
        assert_eq!((pointer.calls.len(), pointer.pointers), (0, 1));
    }
}
