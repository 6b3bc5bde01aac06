//! How the gaps between blocks are said with the fewest bits: a shortest path through literals, repetitions and copies.

use alloc::vec;
use alloc::vec::Vec;

use super::ByHash;
use crate::Memory;
use crate::blocks::Block;
use crate::engine::{Doing, Engine};
use crate::gap::{DISTANCES, Op};
use crate::isa::absolute::{LONGEST, Unit};
use crate::isa::{Isa, riscv, word, xtensa};
use crate::layout::{Kind, Layout};

/// How many places that begin alike are tried.
const TRIED: usize = 40;

/// From this length on a match is taken without looking for anything better.
const LONG: u32 = 200;

/// What comes next in each gap.
pub(crate) struct Plan {
    ops: Vec<(u32, Op)>,
    next: usize,
}

impl Plan {
    /// What comes next at `at`. Called with offsets that grow.
    pub(crate) fn op(&mut self, at: u32) -> Op {
        while let Some((place, _)) = self.ops.get(self.next)
            && *place < at
        {
            self.next += 1;
        }
        match self.ops.get(self.next) {
            Some((place, op)) if *place == at => *op,
            _ => Op::Literal,
        }
    }

    /// What came last.
    pub(crate) fn last(&self) -> Option<Op> {
        self.ops.get(self.next).map(|(_, op)| *op)
    }
}

/// What things cost, in bits, as measured in the pass before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prices {
    /// Of a literal, by where it stands. Empty if nothing is known yet.
    literals: Vec<f32>,
    /// Of a repetition, by the distance's highest bit.
    again: [Average; 32],
    /// Of a copy.
    copy: Average,
}

#[derive(Debug, Clone, Copy, Default)]
struct Average {
    bits: f64,
    count: f64,
}

impl Average {
    fn add(&mut self, bits: f64) {
        self.bits += bits;
        self.count += 1.0;
    }

    /// The average, as if `expected` had been seen a few times as well.
    fn get(&self, expected: f64) -> f32 {
        ((self.bits + 4.0 * expected) / (self.count + 4.0)) as f32
    }
}

impl Prices {
    /// Prices of which nothing is known.
    pub(crate) fn measuring(before: &Prices, size: usize) -> Prices {
        let mut literals = before.literals.clone();
        literals.resize(size, 0.0);
        Prices {
            literals,
            ..Prices::default()
        }
    }

    /// Takes note of what a piece has cost.
    pub(crate) fn learn(&mut self, doing: Doing, op: Option<Op>, at: u32, bytes: usize, bits: f64) {
        match (doing, op) {
            (Doing::Gap, _) if bytes > 0 => {
                let known = &mut self.literals[at as usize];
                *known = if *known == 0.0 {
                    bits as f32
                } else {
                    (*known + bits as f32) * 0.5
                };
            }
            (Doing::Gap, Some(Op::Again { distance, .. })) => {
                self.again[distance.ilog2() as usize].add(bits);
            }
            (Doing::Gap, Some(Op::Copy { .. })) => self.copy.add(bits),
            _ => {}
        }
    }

    fn literal(&self, at: usize, bytes: usize, code: bool) -> f32 {
        match self.literals.get(at) {
            Some(bits) if *bits > 0.0 => *bits,
            _ => bytes as f32 * if code { 5.5 } else { 5.0 },
        }
    }

    fn again(&self, distance: u32, length: u32, known: bool) -> f32 {
        let bits = length.ilog2() as f32 * 0.7;
        if known {
            return 5.0 + bits;
        }
        let exponent = distance.ilog2();
        self.again[exponent as usize].get(f64::from(exponent) + 6.0) + bits - 2.0
    }

    fn copy(&self, apart: u32, length: u32) -> f32 {
        let bits = length.ilog2() as f32 * 0.7 + (apart + 1).ilog2() as f32 * 1.2;
        8.0 + bits
    }
}

/// The result in the form that is compared.
#[derive(Default)]
struct Forms {
    bytes: Vec<u64>,
    lengths: Vec<u8>,
}

/// What is known of both images, whatever things cost.
#[derive(Default)]
pub(crate) struct Known {
    forms: Forms,
    /// Where the base has such instructions or bytes.
    places: ByHash<Vec<u32>>,
}

/// A place on the way through a gap.
#[derive(Debug, Clone, Copy)]
struct Node {
    cost: f32,
    /// The node before, and how it goes on from there.
    from: u32,
    op: Op,
    distances: [u32; DISTANCES],
    diagonal: i64,
}

struct Parser<'a> {
    engine: &'a Engine,
    memory: &'a Memory,
    base: &'a [u8],
    result: &'a [u8],
    prices: &'a Prices,
    known: &'a Known,
    /// The last place where something began so, and for each place the one before.
    heads: ByHash<u32>,
    chain: Vec<u32>,
    indexed: usize,
}

/// Plans all gaps.
#[allow(clippy::too_many_arguments)]
pub(crate) fn plan(
    engine: &Engine,
    memory: &Memory,
    base: &[u8],
    result: &[u8],
    blocks: &[Block],
    known: &Known,
    prices: &Prices,
    progress: &mut dyn FnMut(f32),
) -> Plan {
    let mut ops = Vec::new();
    if prices.literals.is_empty() {
        return Plan { ops, next: 0 };
    }
    let mut parser = Parser {
        engine,
        memory,
        base,
        result,
        prices,
        known,
        heads: ByHash::default(),
        chain: vec![u32::MAX; result.len()],
        indexed: 0,
    };
    let mut distances = [1, 2, 4, 8];
    let mut diagonal = 0;
    let mut at = 0;
    let mut next = blocks.iter().peekable();
    while at < engine.result.size {
        progress(at as f32 / engine.result.size as f32);
        let region = engine.result.region(at, engine.trailer);
        if let Kind::Header(_) | Kind::Trailer = region.kind {
            at = region.end;
            continue;
        }
        while next.peek().is_some_and(|block| block.new < at) {
            next.next();
        }
        if let Some(block) = next.peek()
            && block.new == at
        {
            diagonal = i64::from(block.old) - i64::from(block.new);
            at += block.length;
            continue;
        }
        let end = region
            .end
            .min(next.peek().map_or(u32::MAX, |block| block.new));
        parser.gap(at, end, &mut distances, &mut diagonal, &mut ops);
        at = end;
    }
    Plan { ops, next: 0 }
}

impl Known {
    pub(crate) fn of(
        old: &Layout,
        base: &[u8],
        new: &Layout,
        result: &[u8],
        trailer: Option<u32>,
    ) -> Known {
        let mut places: ByHash<Vec<u32>> = ByHash::default();
        let mut at = 0;
        while at < old.size {
            let region = old.region(at, None);
            let isa = match region.kind {
                Kind::Code(_) => old.isa,
                _ => Isa::None,
            };
            for place in region.start.max(at)..region.end {
                if place % isa.unit() == 0
                    && let Some(key) = masked(base, place as usize, region.end as usize, isa)
                {
                    places.entry(key).or_default().push(place);
                }
            }
            at = region.end;
        }
        Known {
            forms: Forms::of(new, result, trailer),
            places,
        }
    }
}

impl Forms {
    fn of(layout: &Layout, result: &[u8], trailer: Option<u32>) -> Forms {
        let mut forms = Forms {
            bytes: vec![0; result.len()],
            lengths: vec![1; result.len()],
        };
        let mut at = 0;
        while at < layout.size {
            let region = layout.region(at, trailer);
            for place in region.start.max(at)..region.end {
                let i = place as usize;
                if let Kind::Code(address) = region.kind {
                    let room = ((region.end - place) as usize).min(LONGEST);
                    let pc = address + (place - region.start);
                    let unit = Unit::of(layout.isa, &result[i..i + room], pc);
                    forms.bytes[i] = u64::from_le_bytes(unit.bytes);
                    forms.lengths[i] = unit.length as u8;
                } else {
                    forms.bytes[i] = u64::from(result[i]);
                }
            }
            at = region.end;
        }
        forms
    }
}

impl Parser<'_> {
    fn isa_at(&self, at: u32) -> Isa {
        match self.engine.result.region(at, self.engine.trailer).kind {
            Kind::Code(_) => self.engine.result.isa,
            _ => Isa::None,
        }
    }

    /// A hash of what begins at `at`: at least three bytes of data, or four of code.
    fn key(&self, at: usize, end: usize, isa: Isa) -> Option<u64> {
        let least = if isa == Isa::None { 3 } else { 4 };
        let mut hash = 0x2545_f491_4f6c_dd1d_u64 ^ u64::from(isa == Isa::None);
        let mut place = at;
        while place < at + least {
            if place >= end {
                return None;
            }
            hash = (hash ^ self.known.forms.bytes[place]).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 31;
            place += usize::from(self.known.forms.lengths[place]);
        }
        (place <= end).then_some(hash)
    }

    /// Makes what is before `to` known.
    fn index_to(&mut self, to: usize) {
        let mut at = self.indexed;
        while at < to {
            let region = self.engine.result.region(at as u32, self.engine.trailer);
            let isa = self.isa_at(at as u32);
            let unit = isa.unit() as usize;
            let end = region.end as usize;
            while at < to.min(end) {
                if at.is_multiple_of(unit)
                    && let Some(key) = self.key(at, end, isa)
                {
                    let before = self.heads.insert(key, at as u32);
                    self.chain[at] = before.unwrap_or(u32::MAX);
                }
                at += 1;
            }
        }
        self.indexed = at;
    }

    /// How many bytes at `at` are the same as those at `from`, which is before it.
    fn agree(&self, from: usize, at: usize, end: usize) -> u32 {
        let distance = at - from;
        let (mut x, mut y) = (from, at);
        while y < end {
            let length = usize::from(self.known.forms.lengths[y]);
            if length != usize::from(self.known.forms.lengths[x])
                || self.known.forms.bytes[x] != self.known.forms.bytes[y]
                || y + length > end
                || length > distance
            {
                break;
            }
            x += length;
            y += length;
        }
        (y - at) as u32
    }

    /// Finds the cheapest way through a gap.
    fn gap(
        &mut self,
        start: u32,
        end: u32,
        distances: &mut [u32; DISTANCES],
        diagonal: &mut i64,
        ops: &mut Vec<(u32, Op)>,
    ) {
        let isa = self.isa_at(start);
        let size = (end - start) as usize;
        let first = Node {
            cost: f32::INFINITY,
            from: 0,
            op: Op::Literal,
            distances: *distances,
            diagonal: *diagonal,
        };
        let mut nodes = vec![first; size + 1];
        nodes[0].cost = 0.0;
        let mut skip = 0;
        for i in 0..size {
            let node = nodes[i];
            if node.cost == f32::INFINITY {
                continue;
            }
            let at = start as usize + i;
            let room = ((end as usize) - at).min(LONGEST);
            let length = self.unit(at, room, isa);
            let literal = self.prices.literal(at, length, isa != Isa::None);
            relax(
                &mut nodes,
                i,
                length,
                node.cost + literal + 0.3,
                Op::Literal,
                &node,
            );
            if i < skip {
                continue;
            }
            self.index_to(at);
            let longest = self.repeats(&mut nodes, i, at, end, isa);
            let copied = self.copies(&mut nodes, i, at, end, isa);
            if longest.max(copied) >= LONG {
                skip = i + longest.max(copied) as usize;
            }
        }
        let mut path = Vec::new();
        let mut i = size;
        while i > 0 {
            let node = nodes[i];
            path.push((start + node.from, node.op));
            i = node.from as usize;
        }
        path.reverse();
        ops.extend(path.into_iter().filter(|(_, op)| *op != Op::Literal));
        *distances = nodes[size].distances;
        *diagonal = nodes[size].diagonal;
    }

    /// Bytes of the unit at `at`, if there is so much room.
    fn unit(&self, at: usize, room: usize, isa: Isa) -> usize {
        let length = usize::from(self.known.forms.lengths[at]);
        if length <= room {
            return length;
        }
        isa.length(self.result[at]).min(room)
    }

    fn repeats(&self, nodes: &mut [Node], i: usize, at: usize, end: u32, isa: Isa) -> u32 {
        let node = nodes[i];
        let shift = isa.unit() >> 1;
        let mut longest = 0;
        for (place, distance) in node.distances.into_iter().enumerate() {
            if distance as usize > at || distance & ((1 << shift) - 1) != 0 {
                continue;
            }
            let length = self.agree(at - distance as usize, at, end as usize);
            let mut distances = node.distances;
            distances[..=place].rotate_right(1);
            self.offer(nodes, i, at, length, distance, distances, true);
            longest = longest.max(length);
        }
        let Some(key) = self.key(at, end as usize, isa) else {
            return longest;
        };
        let mut best = 0;
        let mut from = self.heads.get(&key).copied().unwrap_or(u32::MAX);
        for _ in 0..TRIED {
            if from == u32::MAX {
                break;
            }
            let distance = at as u32 - from;
            if distance & ((1 << shift) - 1) == 0 {
                let length = self.agree(from as usize, at, end as usize);
                if length > best {
                    best = length;
                    let mut distances = node.distances;
                    distances.rotate_right(1);
                    distances[0] = distance;
                    self.offer(nodes, i, at, length, distance, distances, false);
                    if length >= LONG {
                        break;
                    }
                }
            }
            from = self.chain[from as usize];
        }
        longest.max(best)
    }

    /// Offers a repetition, and every shorter one.
    #[allow(clippy::too_many_arguments)]
    fn offer(
        &self,
        nodes: &mut [Node],
        i: usize,
        at: usize,
        length: u32,
        distance: u32,
        distances: [u32; DISTANCES],
        known: bool,
    ) {
        let mut done = 0;
        let node = Node {
            distances,
            ..nodes[i]
        };
        while done < length {
            done += u32::from(self.known.forms.lengths[at + done as usize]);
            if done > 64 && done < length {
                continue;
            }
            let cost = node.cost + self.prices.again(distance, done, known);
            relax(
                nodes,
                i,
                done as usize,
                cost,
                Op::Again {
                    distance,
                    length: done,
                },
                &node,
            );
        }
    }

    fn copies(&self, nodes: &mut [Node], i: usize, at: usize, end: u32, isa: Isa) -> u32 {
        if self.base.is_empty() {
            return 0;
        }
        let node = nodes[i];
        let expected = at as i64 + node.diagonal;
        let mut tried: [u32; 12] = [u32::MAX; 12];
        let mut count = 0;
        if let Some(key) = masked(self.result, at, end as usize, isa)
            && let Some(places) = self.known.places.get(&key)
        {
            let middle = places.partition_point(|place| i64::from(*place) < expected);
            let from = middle.saturating_sub(5);
            for place in places.iter().skip(from).take(10) {
                tried[count] = *place;
                count += 1;
            }
        }
        let mut longest = 0;
        for old in tried.into_iter().take(count) {
            longest = longest.max(self.copy(nodes, i, at, old, end, isa, expected));
        }
        longest
    }

    /// Offers a copy of what is at `old`, and shorter ones.
    #[allow(clippy::too_many_arguments)]
    fn copy(
        &self,
        nodes: &mut [Node],
        i: usize,
        at: usize,
        old: u32,
        end: u32,
        isa: Isa,
        expected: i64,
    ) -> u32 {
        let base = &self.engine.base;
        let region = base.region(old, None);
        let isa_old = match region.kind {
            Kind::Code(_) => base.isa,
            _ => Isa::None,
        };
        if isa_old != isa {
            return 0;
        }
        let apart = (i64::from(old) - expected).unsigned_abs() as u32;
        let node = Node {
            diagonal: i64::from(old) - at as i64,
            ..nodes[i]
        };
        let (mut x, mut y) = (old as usize, at);
        let mut extra = 0.0;
        while x < region.end as usize && y < end as usize {
            let length = isa.length_at(&self.base[x..], x as u32);
            if x + length > region.end as usize || y + length > end as usize {
                break;
            }
            let (p, q) = (
                word(&self.base[x..x + length]),
                word(&self.result[y..y + length]),
            );
            match self.surprise(p, q, length, x as u32, y as u32, isa) {
                Some(bits) => extra += bits,
                None => break,
            }
            x += length;
            y += length;
            let done = (y - at) as u32;
            let cost = node.cost + self.prices.copy(apart, done) + extra;
            relax(
                nodes,
                i,
                done as usize,
                cost,
                Op::Copy { old, length: done },
                &node,
            );
            if done > 2000 {
                break;
            }
        }
        (y - at) as u32
    }

    /// What it costs to say the instruction `q` where `p` is copied. None if it is another one.
    fn surprise(&self, p: u32, q: u32, length: usize, x: u32, y: u32, isa: Isa) -> Option<f32> {
        let refers = |word, pc| match isa {
            Isa::Riscv => riscv::jump(word, length, pc),
            Isa::Xtensa => xtensa::reference(word, length, pc),
            Isa::None => None,
        };
        let (base, result) = (&self.engine.base, &self.engine.result);
        if let Some(old) = refers(p, base.address_of(x)?)
            && let Some(new) = refers(q, result.address_of(y)?)
        {
            if mask(p, length, isa) != mask(q, length, isa) {
                return None;
            }
            let mapped = base
                .offset_of(old.target)
                .and_then(|at| self.memory.table.map(at));
            let mapped = mapped.and_then(|(at, _)| result.address_of(at));
            return Some(if mapped == Some(new.target) {
                0.1
            } else {
                16.0
            });
        }
        if p == q {
            return Some(0.05);
        }
        if isa == Isa::Riscv && length == 4 && mask(p, 4, isa) == mask(q, 4, isa) {
            return Some(4.0);
        }
        None
    }
}

fn relax(nodes: &mut [Node], i: usize, length: usize, cost: f32, op: Op, state: &Node) {
    if let Some(to) = nodes.get_mut(i + length)
        && cost < to.cost
    {
        *to = Node {
            cost,
            from: i as u32,
            op,
            ..*state
        };
    }
}

/// The instruction without what it refers to.
fn mask(word: u32, length: usize, isa: Isa) -> u32 {
    match isa {
        Isa::Riscv => super::anchors::mask_riscv(word, length),
        Isa::Xtensa => super::anchors::mask_xtensa(word, length),
        Isa::None => word,
    }
}

/// A hash of the first instructions at `at`, six bytes at least, or of as many bytes of data.
fn masked(image: &[u8], at: usize, end: usize, isa: Isa) -> Option<u64> {
    let mut hash = 0x9216_d5d9_8979_fb1b_u64 ^ u64::from(isa == Isa::None);
    let mut place = at;
    while place < at + 6 {
        let length = isa.length(*image.get(place)?);
        if place + length > end {
            return None;
        }
        let bits = mask(word(&image[place..place + length]), length, isa);
        hash = (hash ^ u64::from(bits)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 31;
        place += length;
    }
    Some(hash)
}
