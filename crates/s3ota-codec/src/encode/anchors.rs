//! Which blocks of the result are blocks of the base: the copy table.
//!
//! Instructions are compared without what they refer to, words without where they point: so a function is the same wherever it has
//! been moved to.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use std::collections::HashMap;

use super::ByHash;
use crate::blocks::{BLOCKS, Block, Table};
use crate::isa::{Isa, riscv, word, xtensa};
use crate::layout::{Kind, Layout};

/// Instructions or words of a seed.
const SEED: usize = 5;

/// Bytes of a seed where neither is known.
const BYTES: usize = 10;

/// How many places with the same seed are tried.
const TRIED: usize = 24;

/// A block that is not worth this much is left to the gaps.
const LEAST: i32 = 24;

/// How far into what is already known on its diagonal a match may go back.
const BACK: usize = 1024;

/// From this on a match is a long one.
const LONG: i32 = 512;

/// Bytes of matches that may be walked through: so many for each byte of the result, and as many again in advance. Firmware takes some five.
/// Where both images hold the same padding, or a table that repeats, each place there matches every other one up to its end.
const WALKED: usize = 128;

/// How much a match may lose before it is at its end.
const DROP: i32 = 24;

/// An image as it is compared.
struct Masked<'a> {
    image: &'a [u8],
    isa: Isa,
    /// For each byte: 0 other, 1 data, 2 code; and whether a word may begin there.
    kinds: Vec<u8>,
    ends: Vec<u32>,
    /// For each word: what it points to, or 0 if it is no pointer.
    pointers: Vec<u32>,
    layout: &'a Layout,
}

const OTHER: u8 = 0;
const DATA: u8 = 1;
const CODE: u8 = 2;

impl<'a> Masked<'a> {
    fn new(layout: &'a Layout, image: &'a [u8], trailer: Option<u32>) -> Masked<'a> {
        let mut kinds = vec![OTHER; image.len()];
        let mut ends = vec![0; image.len()];
        let mut at = 0;
        while at < layout.size {
            let region = layout.region(at, trailer);
            let range = region.start.max(at) as usize..region.end as usize;
            let kind = match region.kind {
                Kind::Code(_) => CODE,
                Kind::Data(_) => DATA,
                _ => OTHER,
            };
            let usable = !matches!(region.kind, Kind::Header(_) | Kind::Trailer);
            kinds[range.clone()].fill(kind);
            ends[range].fill(if usable { region.end } else { 0 });
            at = region.end;
        }
        let mut masked = Masked {
            image,
            isa: layout.isa,
            kinds,
            ends,
            pointers: Vec::new(),
            layout,
        };
        let words = image
            .chunks_exact(4)
            .map(|bytes| masked.points_to(word(bytes)));
        masked.pointers = words.collect();
        masked
    }

    /// A hash of what stands where the word points to: words that point to the same function or text have the same. 0 if it is no
    /// pointer.
    fn points_to(&self, word: u32) -> u32 {
        if !self.layout.is_address(word) {
            return 0;
        }
        let mut hash = 0xfeed_beef_u32;
        if let Some(target) = self.layout.offset_of(word) {
            let mut at = target as usize;
            let end = at + 12;
            while at < end
                && let Some((token, length)) = self.token(at)
            {
                hash = (hash ^ token).wrapping_mul(0x9e37_79b1);
                hash ^= hash >> 15;
                at += length;
            }
        }
        hash | 1
    }

    /// What the word at `at` points to, if one may stand there and it is a pointer.
    fn pointer(&self, at: usize) -> Option<u32> {
        if at & 3 != 0 || (self.kinds[at] == CODE && self.isa != Isa::Xtensa) {
            return None;
        }
        match self.pointers.get(at / 4) {
            Some(0) => None,
            Some(hash) => Some(*hash),
            // While they are found out: all pointers are the same.
            None => {
                let bytes = self.image.get(at..at + 4)?;
                self.layout.is_address(word(bytes)).then_some(0xfeed_0000)
            }
        }
    }

    /// Bytes from `at` to the end of its region.
    fn room(&self, at: usize) -> usize {
        (self.ends[at] as usize).saturating_sub(at)
    }

    /// What stands at `at`, without what it refers to, and its length. None behind the end.
    fn token(&self, at: usize) -> Option<(u32, usize)> {
        if at >= self.image.len() {
            return None;
        }
        let room = self.room(at);
        if room == 0 {
            return None;
        }
        let rest = &self.image[at..at + room.min(4)];
        if rest.len() == 4
            && let Some(pointer) = self.pointer(at)
        {
            return Some((pointer, 4));
        }
        if self.kinds[at] != CODE {
            let length = (4 - (at & 3)).min(rest.len());
            return Some((word(&rest[..length]), length));
        }
        let ahead = &self.image[at..at + room.min(8)];
        let length = self.isa.length_at(ahead, at as u32);
        if length > rest.len() {
            return Some((word(rest), rest.len()));
        }
        let bits = word(&rest[..length]);
        let masked = match self.isa {
            Isa::Riscv => mask_riscv(bits, length),
            Isa::Xtensa => mask_xtensa(bits, length),
            Isa::None => bits,
        };
        Some((masked, length))
    }

    /// A hash of what follows `at`, if there is enough of it.
    fn seed(&self, at: usize, tokens: usize) -> Option<u64> {
        let mut hash = 0x1234_5678_u64 + u64::from(self.kinds[at]);
        let mut place = at;
        for _ in 0..tokens {
            let (token, length) = self.token(place)?;
            hash = (hash ^ u64::from(token)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 29;
            place += length;
            if self.kinds.get(place.min(self.kinds.len() - 1)) != self.kinds.get(at) {
                return None;
            }
        }
        Some(hash)
    }

    fn bytes(&self, at: usize) -> Option<u64> {
        if self.room(at) < BYTES {
            return None;
        }
        let mut hash = 0x8765_4321_u64;
        for byte in &self.image[at..at + BYTES] {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Some(hash ^ hash >> 31)
    }

    /// Whether seeds may begin here.
    fn begins(&self, at: usize) -> bool {
        match self.kinds[at] {
            CODE => (at as u32).is_multiple_of(self.isa.unit()),
            _ => at & 3 == 0,
        }
    }
}

pub(super) fn mask_riscv(bits: u32, length: usize) -> u32 {
    if length == 2 {
        return match bits & 0xe003 {
            0xa001 | 0x2001 => bits & 0xe003,
            0xc001 | 0xe001 => bits & 0xe383,
            _ => bits,
        };
    }
    match bits & 0x7f {
        0x6f | 0x17 | 0x37 => bits & 0xfff,
        0x63 => bits & 0x01ff_f07f,
        // Of what is on the stack the place is kept.
        0x03 | 0x13 | 0x67 | 0x23 if bits >> 15 & 31 != 2 => match riscv::low(bits) {
            Some((_, low)) if low.wrapping_add(16) > 32 => riscv::with_low(bits, 0).unwrap_or(bits),
            _ => bits,
        },
        _ => bits,
    }
}

pub(super) fn mask_xtensa(bits: u32, length: usize) -> u32 {
    let Some(reference) = xtensa::reference(bits, length, 0) else {
        return bits;
    };
    match reference.kind {
        xtensa::CALL | xtensa::JUMP => bits & 0x3f,
        xtensa::LITERAL => bits & 0xff,
        xtensa::BRANCH_ZERO => bits & 0xfff,
        xtensa::NARROW => bits & 0x0fcf,
        _ => bits & 0xffff,
    }
}

/// A match: a block, and what it is worth.
#[derive(Debug, Clone, Copy)]
struct Match {
    block: Block,
    worth: i32,
}

/// The copy table for an image.
pub(crate) fn blocks(
    old: &Layout,
    base: &[u8],
    new: &Layout,
    result: &[u8],
    trailer: Option<u32>,
    progress: &mut dyn FnMut(f32),
) -> Vec<Block> {
    if base.is_empty() {
        return Vec::new();
    }
    let a = Masked::new(old, base, None);
    let b = Masked::new(new, result, trailer);
    let mut index: ByHash<Vec<u32>> = ByHash::default();
    for at in 0..base.len() {
        if a.begins(at)
            && let Some(seed) = a.seed(at, SEED)
        {
            index.entry(seed).or_default().push(at as u32);
        }
        if a.kinds[at] != CODE
            && let Some(seed) = a.bytes(at)
        {
            index.entry(seed).or_default().push(at as u32);
        }
    }
    progress(0.2);
    let mut matches: Vec<Match> = Vec::new();
    // For each diagonal, up to where it was looked at.
    let mut seen: HashMap<i64, usize> = HashMap::new();
    let mut diagonal = 0_i64;
    let mut covered = 0;
    let mut walked = 0_usize;
    for at in 0..result.len() {
        if at & 0xffff == 0 {
            progress(0.2 + 0.6 * at as f32 / result.len() as f32);
        }
        // In a long match another one is hardly better.
        if at < covered && at & 63 != 0 {
            continue;
        }
        let seeds = [
            if b.begins(at) { b.seed(at, SEED) } else { None },
            if b.kinds[at] == CODE {
                None
            } else {
                b.bytes(at)
            },
        ];
        for seed in seeds.into_iter().flatten() {
            let Some(places) = index.get(&seed) else {
                continue;
            };
            // Those near where the base's counterpart is expected.
            let expected = (at as i64 + diagonal).max(0) as u32;
            let middle = places.partition_point(|place| *place < expected);
            let from = middle.saturating_sub(TRIED / 2);
            let to = (from + TRIED).min(places.len());
            for place in &places[from..to] {
                let this = i64::from(*place) - at as i64;
                let floor = seen.get(&this).copied().unwrap_or(0);
                let back = floor.saturating_sub(BACK);
                let exhausted = walked > WALKED * (result.len() + at);
                if floor > at || exhausted && this != diagonal {
                    continue;
                }
                let found = extend(&a, &b, *place as usize, at, back);
                let end = (found.block.new + found.block.length) as usize;
                walked += found.block.length as usize;
                seen.insert(this, end.max(at + 1));
                if found.worth >= LEAST {
                    if found.worth > LONG {
                        covered = covered.max(end);
                    }
                    if found.block.length > 64 {
                        diagonal = this;
                    }
                    matches.push(found);
                }
            }
        }
    }
    progress(0.9);
    choose(&a, &b, matches)
}

/// The longest match through this pair of places, in the result from `floor` on.
fn extend(a: &Masked, b: &Masked, old: usize, new: usize, floor: usize) -> Match {
    let (mut worth, mut best) = (0, 0);
    let (mut x, mut y) = (old, new);
    let mut end = new;
    while let (Some((p, n)), Some((q, m))) = (a.token(x), b.token(y)) {
        if n != m || a.kinds[x] != b.kinds[y] {
            break;
        }
        let same = p == q;
        worth += if same { n as i32 } else { -(4 + n as i32) };
        x += n;
        y += n;
        if worth > best {
            best = worth;
            end = y;
        }
        if worth < best - DROP {
            break;
        }
    }
    // Backwards byte by byte, as long as they are the same: instructions are not told apart in this direction.
    let mut begin = 0;
    let unit = if a.kinds[old] == CODE {
        a.isa.unit() as usize
    } else {
        1
    };
    while old >= begin + unit && new >= floor + begin + unit {
        let (x, y) = (old - begin - unit, new - begin - unit);
        let kinds = a.kinds[x] == a.kinds[old] && b.kinds[y] == b.kinds[new];
        let rooms = a.room(x) > 0 && b.room(y) > 0;
        if !kinds || !rooms || a.image[x..x + unit] != b.image[y..y + unit] {
            break;
        }
        begin += unit;
    }
    Match {
        block: Block {
            old: (old - begin) as u32,
            new: (new - begin) as u32,
            length: (end - new + begin) as u32,
        },
        worth: best + begin as i32,
    }
}

/// Blocks that do not overlap in the result, the best first.
fn choose(a: &Masked, b: &Masked, mut matches: Vec<Match>) -> Vec<Block> {
    matches.sort_by_key(|found| (-found.worth, found.block.new, found.block.old));
    // By where they begin in the result.
    let mut chosen: BTreeMap<u32, Block> = BTreeMap::new();
    for found in matches {
        for block in free(&chosen, found.block) {
            let block = if block == found.block {
                Some(block)
            } else {
                trim(b, block)
            };
            if let Some(block) = block
                && block.length as i32 >= LEAST
            {
                chosen.insert(block.new, block);
            }
        }
    }
    let mut blocks = merge(a, b, chosen.into_values());
    // A long block takes several entries.
    let entries = |block: &Block| (block.length / Table::LONGEST) as usize + 1;
    let mut left = BLOCKS;
    let mut by_length: Vec<(u32, usize)> = Vec::new();
    by_length.extend(blocks.iter().map(|block| (block.length, entries(block))));
    by_length.sort_unstable_by(|a, b| b.cmp(a));
    let too_short = by_length.into_iter().find(|(_, entries)| {
        let fits = left >= *entries;
        left = left.saturating_sub(*entries);
        !fits
    });
    if let Some((length, _)) = too_short {
        blocks.retain(|block| block.length > length);
    }
    blocks
}

/// Joins blocks that are one.
fn merge(a: &Masked, b: &Masked, blocks: impl Iterator<Item = Block>) -> Vec<Block> {
    let mut merged: Vec<Block> = Vec::new();
    for block in blocks {
        let end = block.new + block.length;
        if let Some(last) = merged.last_mut() {
            let length = end - last.new;
            let close = block.new == last.new + last.length;
            let same = block.old.wrapping_sub(block.new) == last.old.wrapping_sub(last.new);
            let whole = b.room(last.new as usize) >= length as usize
                && a.room(last.old as usize) >= length as usize;
            if same && close && whole {
                last.length = length;
                continue;
            }
        }
        merged.push(block);
    }
    merged
}

/// The parts of a block that are not taken.
fn free(chosen: &BTreeMap<u32, Block>, block: Block) -> Vec<Block> {
    let mut parts = Vec::new();
    let end = block.new + block.length;
    let before = chosen
        .range(..block.new)
        .next_back()
        .map_or(0, |(_, c)| c.new + c.length);
    let mut at = block.new.max(before);
    let mut push = |from: u32, to: u32| {
        if to > from {
            parts.push(Block {
                old: block.old + (from - block.new),
                new: from,
                length: to - from,
            });
        }
    };
    for (start, other) in chosen.range(block.new..end) {
        push(at, *start);
        at = at.max(start + other.length);
    }
    push(at, end);
    parts
}

/// What is left of a part that begins at an instruction.
fn trim(b: &Masked, block: Block) -> Option<Block> {
    let unit = if b.kinds[block.new as usize] == CODE {
        b.isa.unit()
    } else {
        1
    };
    let skip = (unit - block.new % unit) % unit;
    let length = block.length.checked_sub(skip)?;
    let block = Block {
        old: block.old + skip,
        new: block.new + skip,
        length,
    };
    (length > 0).then_some(block)
}
