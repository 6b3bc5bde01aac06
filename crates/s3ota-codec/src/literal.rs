//! Bytes that nothing predicts: coded bit by bit, with what several models expect, weighed by how right they were.

use crate::history::{NEXT, ODDS};
use crate::range::Coder;

/// How many models there are.
const MODELS: usize = 3;

/// Entries of a model's table: what the bits in a place were so far.
const TABLE: usize = 6560;

/// A byte's bits have so many places in a table, one behind the other. Those of several bytes overlap.
const PLACES: usize = 256;

/// A model's weight at first.
const WEIGHT: i32 = 26_000;

/// Sets of weights.
const SETS: usize = 32;

/// What a byte is predicted from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context {
    /// Which set of weights, below [`SETS`].
    set: usize,
    /// Where each model's places begin.
    places: [usize; MODELS],
}

impl Context {
    /// A context of these models' views; each is told apart by its place.
    pub(crate) fn new(set: usize, views: [u32; MODELS]) -> Context {
        let places = views.map(|view| {
            let mixed = view.wrapping_mul(0x2c1b_3c6d);
            let mixed = (mixed ^ mixed >> 15).wrapping_mul(0x297a_2d39);
            ((u64::from(mixed) * (TABLE - PLACES + 1) as u64) >> 32) as usize
        });
        Context { set, places }
    }
}

/// The models and their weights.
pub(crate) struct Literals {
    tables: [[u8; TABLE]; MODELS],
    /// In 1/65,536.
    weights: [[i32; MODELS]; SETS],
}

impl Literals {
    /// What memory holds before it is used.
    pub(crate) const ZERO: Literals = Literals {
        tables: [[0; TABLE]; MODELS],
        weights: [[0; MODELS]; SETS],
    };

    pub(crate) fn clear(&mut self) {
        for table in &mut self.tables {
            table.fill(0);
        }
        self.weights.fill([WEIGHT; MODELS]);
    }

    /// Codes a byte. Most of the decoder's time is spent here.
    pub(crate) fn code<C: Coder>(&mut self, coder: &mut C, byte: u8, context: &Context) -> u8 {
        let [p0, p1, p2] = context.places;
        let [t0, t1, t2] = &mut self.tables;
        // All places are in their tables.
        let (Some(t0), Some(t1), Some(t2)) = (places(t0, p0), places(t1, p1), places(t2, p2))
        else {
            return 0;
        };
        let weights = &mut self.weights[context.set & (SETS - 1)];
        let [mut w0, mut w1, mut w2] = *weights;
        // A one, and the bits so far.
        let mut node = 1_usize;
        while node < PLACES {
            let told = (usize::from(byte) | PLACES) >> (node.leading_zeros() - FIRST) & 1 == 1;
            let (h0, h1, h2) = (&mut t0[node], &mut t1[node], &mut t2[node]);
            let (o0, o1, o2) = (odds(*h0), odds(*h1), odds(*h2));
            let sum = o0
                .wrapping_mul(w0)
                .wrapping_add(o1.wrapping_mul(w1))
                .wrapping_add(o2.wrapping_mul(w2));
            let p = squashed(sum);
            let bit = coder.code_coarse(told, p);
            let error = if bit { 4095 } else { 0 } - p as i32;
            let learn =
                |weight: i32, odds: i32| weight.wrapping_add(odds.wrapping_mul(error) >> 12);
            (w0, w1, w2) = (learn(w0, o0), learn(w1, o1), learn(w2, o2));
            (*h0, *h1, *h2) = (next(*h0, bit), next(*h1, bit), next(*h2, bit));
            node = node << 1 | usize::from(bit);
        }
        *weights = [w0, w1, w2];
        node as u8
    }
}

/// The leading zeros of a node that holds seven bits.
const FIRST: u32 = PLACES.leading_zeros() + 1;

fn places(table: &mut [u8; TABLE], from: usize) -> Option<&mut [u8; PLACES]> {
    table.get_mut(from..)?.first_chunk_mut()
}

#[inline(always)]
fn odds(history: u8) -> i32 {
    i32::from(ODDS[usize::from(history)])
}

#[inline(always)]
fn next(history: u8, bit: bool) -> u8 {
    NEXT[usize::from(history) << 1 | usize::from(bit)]
}

/// A probability, of 4,096, from its logarithmic odds in 1/2^24.
#[inline(always)]
fn squashed(odds: i32) -> u32 {
    let p = SQUASHED.get(((odds >> 18) + 512) as usize);
    p.map_or(if odds < 0 { 1 } else { 4095 }, |p| u32::from(*p))
}

/// For each four odds.
static SQUASHED: [u16; 1024] = {
    let mut table = [0; 1024];
    let mut at = 0;
    while at < 1024 {
        let p = squash(at as i32 * 4 - 2046);
        table[at] = if p < 1 {
            1
        } else if p > 4095 {
            4095
        } else {
            p as u16
        };
        at += 1;
    }
    table
};

/// A probability, of 4,096, from its logarithmic odds in 1/256.
pub(crate) const fn squash(odds: i32) -> i32 {
    // 4096 / (1 + e^-x) for x from -8 to 8 in steps of a half.
    const POINTS: [i32; 33] = [
        1, 2, 4, 6, 10, 17, 27, 45, 74, 120, 194, 311, 488, 747, 1102, 1546, 2048, 2550, 2994,
        3349, 3608, 3785, 3902, 3976, 4022, 4051, 4069, 4079, 4086, 4090, 4092, 4094, 4095,
    ];
    if odds > 2047 {
        return 4095;
    }
    if odds < -2047 {
        return 0;
    }
    let at = ((odds + 2048) >> 7) as usize & 31;
    let part = (odds + 2048) & 127;
    (POINTS[at] * (128 - part) + POINTS[at + 1] * part + 64) >> 7
}
