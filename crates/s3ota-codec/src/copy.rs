//! Copying a block of the base: what refers to an address is predicted to refer to where that address has gone.

use crate::engine::{Context, Piece};
use crate::isa::{DATA, Isa, POINTER, Reference, riscv, word, xtensa};
use crate::model::{Flag, Number};
use crate::range::Coder;
use crate::{Memory, isa};

/// How far ahead the low part of an address is looked for, in instructions and in bytes.
const LOOK_AHEAD: usize = 8;

/// Bytes of the base that are looked at, from the instruction that is copied on.
pub(crate) const AHEAD: u32 = 4 + 4 * LOOK_AHEAD as u32;

/// What a register holds: what it held in the base, and what it holds in the result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    old: u32,
    new: u32,
    valid: bool,
}

/// What the copying of blocks has learned.
pub(crate) struct Copying {
    held: [Held; 32],
    /// Whether a prediction is right: by kind, and by how the last ones were.
    right: [[Flag; 8]; isa::KINDS],
    /// Whether what was predicted wrong is the same instruction with another target.
    retargeted: [Flag; isa::KINDS],
    /// How far the target is from what was predicted.
    distance: [Number; 2],
    /// The last predictions, a bit each: wrong is one.
    misses: usize,
}

impl Copying {
    /// What memory holds before it is used.
    pub(crate) const ZERO: Copying = Copying {
        held: [Held {
            old: 0,
            new: 0,
            valid: false,
        }; 32],
        right: [[Flag::ZERO; 8]; isa::KINDS],
        retargeted: [Flag::ZERO; isa::KINDS],
        distance: [Number::ZERO; 2],
        misses: 0,
    };

    pub(crate) fn clear(&mut self) {
        // Wrong predictions come together: by the last three, the newest lowest.
        let right = [
            (15, 20),
            (13, 2),
            (14, 4),
            (10, 1),
            (14, 8),
            (11, 1),
            (13, 2),
            (8, 0),
        ];
        for kind in &mut self.right {
            for (flag, (ones, seen)) in kind.iter_mut().zip(right) {
                *flag = Flag::new(ones, seen);
            }
        }
        self.retargeted.fill(Flag::new(14, 1));
        self.distance.iter_mut().for_each(Number::clear);
        self.misses = 0;
        self.begin();
    }

    /// A block begins.
    pub(crate) fn begin(&mut self) {
        for held in &mut self.held {
            held.valid = false;
        }
    }
}

/// What is predicted of a piece.
struct Prediction {
    kind: u8,
    word: u32,
    /// What the piece refers to in the base, and is predicted to refer to.
    target: Option<(u32, u32)>,
}

/// Copies one instruction or word. `old` holds the base from there on, [`AHEAD`] bytes if there are as many; `actual` what is in
/// the result, for an encoder.
pub(crate) fn piece<C: Coder>(
    memory: &mut Memory,
    coder: &mut C,
    context: &Context,
    old: &[u8],
    actual: &[u8; 8],
) -> Piece {
    let length = length(context, old);
    let before = word(old.get(..length).unwrap_or(old));
    let prediction = predict(memory, context, old, before, length);
    let predicted = prediction.word.to_le_bytes();
    let same = actual.get(..length) == predicted.get(..length);
    let copying = &mut memory.copying;
    let kind = usize::from(prediction.kind) & (isa::KINDS - 1);
    let flag = &mut copying.right[kind][copying.misses & 7];
    let right = flag.code(coder, same);
    copying.misses = copying.misses << 1 | usize::from(!right);
    let new = if right {
        prediction.word
    } else {
        correct(memory, coder, context, &prediction, length, actual, old)
    };
    hold(memory, context, before, new, length);
    Piece::new(new, length)
}

/// How many bytes are copied at once: an instruction, a word, or what is left of one.
fn length(context: &Context, old: &[u8]) -> usize {
    let left = (context.left as usize).min(old.len());
    let length = if context.isa == Isa::None {
        4 - (context.new & 3) as usize
    } else if context.is_pool(old) {
        4
    } else {
        context.isa.length_at(old, context.old)
    };
    length.min(left).max(1)
}

fn predict(
    memory: &Memory,
    context: &Context,
    old: &[u8],
    before: u32,
    length: usize,
) -> Prediction {
    let plain = Prediction {
        kind: 0,
        word: before,
        target: None,
    };
    match context.isa {
        Isa::None => {
            let pointer = length == 4 && context.old & 3 == 0;
            let target = pointer.then(|| context.pointer(memory, before)).flatten();
            match target {
                Some(to) => Prediction {
                    kind: POINTER,
                    word: to,
                    target: Some((before, to)),
                },
                None => Prediction {
                    kind: DATA,
                    ..plain
                },
            }
        }
        Isa::Xtensa if length == 4 && context.is_pool(old) => {
            let to = context.map(memory, before);
            Prediction {
                kind: POINTER,
                word: to,
                target: Some((before, to)),
            }
        }
        Isa::Xtensa => match xtensa::reference(before, length, context.old_pc) {
            Some(reference) => moved(memory, context, before, reference, xtensa::with_reference),
            None => plain,
        },
        Isa::Riscv => match riscv::jump(before, length, context.old_pc) {
            Some(reference) => moved(memory, context, before, reference, riscv::with_jump),
            None if length == 4 => address(memory, context, old, before).unwrap_or(plain),
            None => plain,
        },
    }
}

/// An instruction whose target is predicted.
fn moved(
    memory: &Memory,
    context: &Context,
    before: u32,
    reference: Reference,
    with: fn(u32, u8, u32, u32) -> Option<u32>,
) -> Prediction {
    let to = context.map(memory, reference.target);
    Prediction {
        kind: reference.kind,
        word: with(before, reference.kind, context.new_pc, to).unwrap_or(before),
        target: Some((reference.target, to)),
    }
}

/// The high or the low part of an address.
fn address(memory: &Memory, context: &Context, old: &[u8], before: u32) -> Option<Prediction> {
    if let Some((register, value)) = riscv::high(before, context.old_pc) {
        let Some(low) = low_part(old, register) else {
            // Constants are not addresses; what is relative is one.
            let relative = before & 0x7f == 0x17;
            let to = if relative {
                context.map(memory, value)
            } else {
                value
            };
            return Some(Prediction {
                kind: riscv::LONE,
                word: riscv::with_high(before, context.new_pc, to),
                target: None,
            });
        };
        let target = value.wrapping_add(low);
        let to = context.map(memory, target);
        return Some(Prediction {
            kind: riscv::HIGH,
            word: riscv::with_high(before, context.new_pc, to),
            target: Some((target, to)),
        });
    }
    let (register, low) = riscv::low(before)?;
    let held = memory.copying.held[(register & 31) as usize];
    if !held.valid {
        return None;
    }
    let target = held.old.wrapping_add(low);
    let to = context.map(memory, target);
    Some(Prediction {
        kind: riscv::LOW,
        word: riscv::with_low(before, to.wrapping_sub(held.new)).unwrap_or(before),
        target: Some((target, to)),
    })
}

/// The low part that is added to this register, if that is soon after the instruction that `code` begins with.
fn low_part(code: &[u8], register: u32) -> Option<u32> {
    low_instruction(code, register)
        .and_then(|(_, word)| riscv::low(word))
        .map(|(_, low)| low)
}

fn low_instruction(code: &[u8], register: u32) -> Option<(usize, u32)> {
    let mut at = 4;
    for _ in 0..LOOK_AHEAD {
        let length = riscv::length(*code.get(at)?);
        let next = word(code.get(at..at + length)?);
        if length == 4
            && let Some((with, _)) = riscv::low(next)
            && with == register
        {
            return Some((at, next));
        }
        if riscv::written(next, length) == register {
            return None;
        }
        at += length;
    }
    None
}

/// Codes what was not predicted.
fn correct<C: Coder>(
    memory: &mut Memory,
    coder: &mut C,
    context: &Context,
    prediction: &Prediction,
    length: usize,
    actual: &[u8; 8],
    old: &[u8],
) -> u32 {
    let told = word(actual.get(..length).unwrap_or(actual));
    if let Some((from, to)) = prediction.target {
        let kind = usize::from(prediction.kind) & (isa::KINDS - 1);
        let unit = if prediction.kind == POINTER || prediction.kind >= riscv::HIGH {
            0
        } else {
            context.isa.unit() >> 1
        };
        let is = retarget(memory, context, prediction, told, length, old);
        let distance = is.and_then(|is| apart(is, to, unit));
        if memory.copying.retargeted[kind].code(coder, distance.is_some()) {
            let number = &mut memory.copying.distance[usize::from(unit == 0)];
            let distance = number.code_signed(coder, distance.unwrap_or(0));
            let target = to.wrapping_add((distance as u32) << unit);
            memory.learned.insert(from, target);
            return with_target(memory, context, prediction, target);
        }
    }
    let mut new = 0;
    for i in 0..length {
        let view = context.correction(new, i, prediction.word, length);
        let byte = memory
            .literals
            .code(coder, actual.get(i).copied().unwrap_or(0), &view);
        new |= u32::from(byte) << (8 * i);
    }
    new
}

/// How far a target is from what was predicted, in units of two to the power of `unit` bytes. None where that is no whole number of
/// them, as after an odd address that a word taught, or none that [`Number::code_signed`] takes.
fn apart(target: u32, predicted: u32, unit: u32) -> Option<i32> {
    let bytes = target.wrapping_sub(predicted) as i32;
    let distance = bytes >> unit;
    (distance << unit == bytes && distance != i32::MIN).then_some(distance)
}

/// What the actual instruction refers to, if it is the predicted one with another target.
fn retarget(
    memory: &Memory,
    context: &Context,
    prediction: &Prediction,
    told: u32,
    length: usize,
    old: &[u8],
) -> Option<u32> {
    let pc = context.new_pc;
    let target = match (prediction.kind, context.isa) {
        (POINTER, _) => told,
        (_, Isa::Xtensa) => xtensa::reference(told, length, pc)?.target,
        (riscv::HIGH, _) => {
            let (register, value) = riscv::high(told, pc)?;
            let (at, _) = low_instruction(old, register)?;
            let low = context.ahead.get(at..at + 4).map(word)?;
            let (with, low) = riscv::low(low)?;
            if with != register {
                return None;
            }
            value.wrapping_add(low)
        }
        (riscv::LOW, _) => {
            let (register, low) = riscv::low(told)?;
            memory.copying.held[(register & 31) as usize]
                .new
                .wrapping_add(low)
        }
        _ => riscv::jump(told, length, pc)?.target,
    };
    (with_target(memory, context, prediction, target) == told).then_some(target)
}

/// The predicted instruction, with this target.
fn with_target(memory: &Memory, context: &Context, prediction: &Prediction, target: u32) -> u32 {
    let (word, pc) = (prediction.word, context.new_pc);
    match (prediction.kind, context.isa) {
        (POINTER, _) => target,
        (kind, Isa::Xtensa) => xtensa::with_reference(word, kind, pc, target).unwrap_or(word),
        (riscv::HIGH, _) => riscv::with_high(word, pc, target),
        (riscv::LOW, _) => {
            let register = riscv::low(word).map_or(0, |(register, _)| register);
            let held = memory.copying.held[(register & 31) as usize];
            riscv::with_low(word, target.wrapping_sub(held.new)).unwrap_or(word)
        }
        (kind, _) => riscv::with_jump(word, kind, pc, target).unwrap_or(word),
    }
}

/// Keeps note of what registers hold.
fn hold(memory: &mut Memory, context: &Context, before: u32, new: u32, length: usize) {
    if context.isa != Isa::Riscv {
        return;
    }
    let held = &mut memory.copying.held;
    if length == 4
        && let Some((register, old)) = riscv::high(before, context.old_pc)
    {
        let after = riscv::high(new, context.new_pc);
        held[(register & 31) as usize] = Held {
            old,
            new: after.map_or(0, |(_, value)| value),
            valid: after.is_some_and(|(with, _)| with == register),
        };
        return;
    }
    let register = riscv::written(before, length);
    held[(register & 31) as usize].valid = false;
}
