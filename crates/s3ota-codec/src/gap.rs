//! What lies between the blocks of the copy table: new instructions and bytes, and what repeats something.

use crate::Memory;
use crate::engine::{Context, Piece};
use crate::isa::Isa;
use crate::isa::absolute::{self, LONGEST, PAIR, Unit};
use crate::literal;
use crate::model::{Bit, Flag, Number};
use crate::range::Coder;

/// What comes next in a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// One instruction or byte, as it is.
    Literal,
    /// What began so many bytes ago, once more, for so many bytes.
    Again {
        /// From the place where it is written.
        distance: u32,
        /// Bytes.
        length: u32,
    },
    /// A block of the base, that is not worth an entry in the table.
    Copy {
        /// Offset in the base.
        old: u32,
        /// Bytes.
        length: u32,
    },
}

/// How many distances are remembered.
pub(crate) const DISTANCES: usize = 4;

/// What the gaps have taught.
pub(crate) struct Gaps {
    repeats: [[Bit; 4]; 2],
    copies: [Flag; 2],
    known: [[Bit; 4]; 2],
    which: [Bit; 4],
    distance: [Number; 2],
    offset: Number,
    length: [Number; 4],
    pair: Flag,
    /// The last distances, the newest first.
    pub(crate) distances: [u32; DISTANCES],
    /// What came last: 0 a literal, 1 a repetition, 2 a copy, 3 a repetition at a known distance.
    last: usize,
}

impl Gaps {
    /// What memory holds before it is used.
    pub(crate) const ZERO: Gaps = Gaps {
        repeats: [[Bit::ZERO; 4]; 2],
        copies: [Flag::ZERO; 2],
        known: [[Bit::ZERO; 4]; 2],
        which: [Bit::ZERO; 4],
        distance: [Number::ZERO; 2],
        offset: Number::ZERO,
        length: [Number::ZERO; 4],
        pair: Flag::ZERO,
        distances: [0; DISTANCES],
        last: 0,
    };

    pub(crate) fn clear(&mut self) {
        self.repeats.fill([Bit::NEW; 4]);
        self.copies.fill(Flag::new(8, 0));
        self.known.fill([Bit::NEW; 4]);
        self.which.fill(Bit::NEW);
        self.distance.iter_mut().for_each(Number::clear);
        self.offset.clear();
        self.length.iter_mut().for_each(Number::clear);
        self.pair = Flag::new(12, 2);
        self.distances = [1, 2, 4, 8];
        self.last = 0;
    }

    /// A block of the table was before.
    pub(crate) fn begin(&mut self) {
        self.last = 2;
    }

    /// Codes what comes next. `diagonal` is how far the base's counterpart of this place is expected.
    pub(crate) fn op<C: Coder>(&mut self, coder: &mut C, context: &Context, op: Op) -> Op {
        let code = usize::from(context.isa != Isa::None);
        let shift = context.isa.unit() >> 1;
        let repeats = &mut self.repeats[code][self.last & 3];
        if !repeats.code(coder, op != Op::Literal) {
            self.last = 0;
            return Op::Literal;
        }
        if context.base.size > 0 {
            let copies = matches!(op, Op::Copy { .. });
            if self.copies[code].code(coder, copies) {
                return self.copy(coder, context, op, shift);
            }
        }
        let (distance, length) = match op {
            Op::Again { distance, length } => (distance, length),
            _ => (1, 1),
        };
        let place = self.distances.iter().position(|known| *known == distance);
        let known = self.known[code][self.last & 3].code(coder, place.is_some());
        let (distance, place) = if known {
            let place = self.place(coder, place.unwrap_or(0));
            (self.distances[place & 3], place & 3)
        } else {
            let told = distance.saturating_sub(1) >> shift;
            let told = self.distance[code].code(coder, told);
            let least = 1 << shift;
            ((told << shift).saturating_add(least), DISTANCES - 1)
        };
        if let Some(moved) = self.distances.get_mut(..=place) {
            moved.rotate_right(1);
        }
        self.distances[0] = distance;
        let model = code * 2 + usize::from(known);
        let length = self.length(coder, model, length, shift);
        self.last = if known { 3 } else { 1 };
        Op::Again { distance, length }
    }

    fn place<C: Coder>(&mut self, coder: &mut C, place: usize) -> usize {
        let high = self.which[1].code(coder, place >= 2);
        let low = self.which[2 + usize::from(high)].code(coder, place & 1 == 1);
        usize::from(high) * 2 + usize::from(low)
    }

    fn length<C: Coder>(&mut self, coder: &mut C, model: usize, length: u32, shift: u32) -> u32 {
        let told = (length >> shift).saturating_sub(1);
        let told = self.length[model & 3].code(coder, told);
        told.saturating_add(1).saturating_mul(1 << shift)
    }

    fn copy<C: Coder>(&mut self, coder: &mut C, context: &Context, op: Op, shift: u32) -> Op {
        let (old, length) = match op {
            Op::Copy { old, length } => (old, length),
            _ => (0, 1),
        };
        let expected = context.expected & !((1 << shift) - 1);
        let told = old.wrapping_sub(expected) as i32 >> shift;
        let told = self.offset.code_signed(coder, told);
        let old = expected.wrapping_add((told as u32) << shift);
        let code = usize::from(context.isa != Isa::None);
        let length = self.length(coder, code * 2, length, shift);
        self.last = 2;
        Op::Copy { old, length }
    }
}

/// Codes one unit as it is. `room` is how many bytes there are up to the end of the gap.
pub(crate) fn literal<C: Coder>(
    memory: &mut Memory,
    coder: &mut C,
    context: &Context,
    actual: &[u8; LONGEST],
) -> Piece {
    let room = (context.left as usize).min(LONGEST);
    if context.isa == Isa::None {
        let view = context.data_view();
        let byte = memory.literals.code(coder, actual[0], &view);
        return Piece::new(u32::from(byte), 1);
    }
    let told = if C::WRITES {
        let actual = actual.get(..room).unwrap_or(actual);
        Unit::of(context.isa, actual, context.new_pc)
    } else {
        Unit::default()
    };
    let mut unit = Unit::default();
    letter(memory, coder, context, &mut unit, 0, &told);
    let first = unit.bytes[0];
    unit.length = context.isa.length(first).min(room);
    let mut size = unit.length;
    if context.isa == Isa::Riscv && room == LONGEST && absolute::begins_pair(first) {
        let pair = &mut memory.gaps.pair;
        if pair.code(coder, told.size == PAIR) {
            unit.length = LONGEST;
            size = PAIR;
        }
    }
    for i in 1..size {
        letter(memory, coder, context, &mut unit, i, &told);
    }
    let bytes = unit.instruction(context.isa, context.new_pc);
    Piece::of(&bytes, unit.length)
}

/// Codes a byte of a unit's form.
fn letter<C: Coder>(
    memory: &mut Memory,
    coder: &mut C,
    context: &Context,
    unit: &mut Unit,
    i: usize,
    told: &Unit,
) {
    let view = code_view(context.isa, unit, i, &context.before);
    unit.bytes[i & 7] = memory.literals.code(coder, told.bytes[i & 7], &view);
    unit.size = i + 1;
}

/// Repeats one unit, which `source` begins with.
pub(crate) fn repeat(context: &Context, source: &[u8]) -> Piece {
    let room = (context.left as usize).min(LONGEST).min(source.len());
    let source = source.get(..room).unwrap_or(source);
    if context.isa == Isa::None {
        return Piece::of_slice(source.get(..1).unwrap_or(source));
    }
    let unit = Unit::of(context.isa, source, context.old_pc);
    let bytes = unit.instruction(context.isa, context.new_pc);
    Piece::of(&bytes, unit.length)
}

/// The views of the models on a byte of new code.
fn code_view(isa: Isa, unit: &Unit, i: usize, before: &[u32; 2]) -> literal::Context {
    let word = crate::isa::word(&unit.bytes);
    let [h1, h2] = *before;
    let pair = unit.length == LONGEST;
    let place = (i as u32 + if pair { 4 } else { 0 }) << 24;
    let class = |h: u32| match isa {
        Isa::Xtensa if h & 8 == 0 => h & 0xf00f,
        Isa::Xtensa => h & 0x0f,
        _ if h & 3 == 3 => h & 0x707f,
        _ => h & 0xe003,
    };
    let views = if i == 0 {
        [
            place,
            place | class(h1),
            (place | class(h1) << 8) ^ class(h2).wrapping_mul(0x1003),
        ]
    } else {
        let high = u32::from(unit.bytes[4]) << 8 | u32::from(unit.bytes[5]) << 16;
        let prefix = word.wrapping_mul(0x85eb_ca6b) ^ high;
        let last = u32::from(unit.bytes[(i - 1) & 7]);
        let (opcode, function) = match isa {
            Isa::Xtensa => (word & 0x0f, word & 0xf00f),
            _ => (word & 0x7f, word & 0x707f),
        };
        [
            place | opcode << 8,
            place | last | function << 8,
            place ^ prefix,
        ]
    };
    literal::Context::new(if pair { 4 + (i & 7) } else { i & 3 }, views)
}
