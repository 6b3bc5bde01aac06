//! What a power cut in the middle of an operation leaves on flash.
//!
//! A chip programs a page of 256 bytes as one, and erases a sector of 4 KiB as one. While it works on it, any bit in it may
//! have its old or its new value. An erase clears bits before it sets them (chips program a sector to zeros first, so that
//! all of its cells are erased from the same level). Pages and sectors before it are done, those after it untouched. There
//! is also a kinder model, byte by byte in order: [`Mix::InOrder`].

use std::ops::Range;

/// What a chip programs at once.
const PAGE: u32 = 256;
/// What a chip erases at once, at least.
const SECTOR: u32 = 4096;

/// An operation that changes flash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Sets every bit of these sectors.
    Erase {
        /// The first byte.
        from: u32,
        /// The byte after the last one.
        to: u32,
    },
    /// Clears the bits that are clear in `bytes`.
    Program {
        /// Where the first byte goes.
        at: u32,
        /// What is written.
        bytes: Vec<u8>,
    },
}

/// A moment inside an operation at which power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tear {
    /// The byte that the chip is working on, counted from the operation's first: from 0, when nothing is done yet, to the
    /// operation's length, when everything is done.
    pub reached: u32,
    /// What is in the page or sector around that byte.
    pub mix: Mix,
}

/// The contents of a page or sector that the chip was working on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mix {
    /// Bytes change one after the other: those before the moment have their new value, the others their old one.
    InOrder,
    /// Each bit is old or new or, in an erase, clear. The seed decides which, and how many of each.
    Seeded(u64),
}

/// A future moment at which power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerCut {
    /// In which operation, 0 for the next one.
    pub operation: u32,
    /// Where inside it.
    pub tear: Tear,
    /// Whether bits that were changing read differently each time, until they are erased or programmed again.
    pub flaky: bool,
}

impl Operation {
    /// The range of bytes that it changes.
    pub fn range(&self) -> Range<u32> {
        match self {
            Self::Erase { from, to } => *from..*to,
            Self::Program { at, bytes } => *at..*at + bytes.len() as u32,
        }
    }

    /// How many bytes it changes.
    pub fn length(&self) -> u32 {
        self.range().len() as u32
    }

    /// Applies all of it to the contents of a flash.
    ///
    /// # Panics
    ///
    /// If it reaches beyond `flash`.
    pub fn apply(&self, flash: &mut [u8]) {
        let range = self.range();
        let held = &mut flash[range.start as usize..range.end as usize];
        match self {
            Self::Erase { .. } => held.fill(0xff),
            Self::Program { bytes, .. } => held
                .iter_mut()
                .zip(bytes)
                .for_each(|(to, from)| *to &= from),
        }
    }

    /// Applies a part of it.
    ///
    /// # Panics
    ///
    /// If it reaches beyond `flash`.
    pub fn tear(&self, flash: &mut [u8], tear: Tear) {
        let range = self.range();
        let reached = range.start + tear.reached.min(self.length());
        let working = self.working_on(reached);
        let mut noise = match tear.mix {
            Mix::InOrder => None,
            Mix::Seeded(seed) => Some(Noise::new(seed)),
        };
        let style = noise.as_mut().map_or(0, Noise::next);
        for at in range.clone() {
            let held = &mut flash[at as usize];
            let new = match self {
                Self::Erase { .. } => 0xff,
                Self::Program { bytes, .. } => *held & bytes[(at - range.start) as usize],
            };
            match &mut noise {
                Some(noise) if working.contains(&at) => *held = self.mix(*held, new, style, noise),
                _ if at < reached => *held = new,
                _ => {}
            }
        }
    }

    /// The page or sector that the chip works on when it has reached a byte. None at the end.
    fn working_on(&self, reached: u32) -> Range<u32> {
        let range = self.range();
        if reached >= range.end {
            return reached..reached;
        }
        let unit = match self {
            Self::Erase { .. } => SECTOR,
            Self::Program { .. } => PAGE,
        };
        let start = reached - reached % unit;
        start.max(range.start)..(start + unit).min(range.end)
    }

    /// A byte on its way from `old` to `new`.
    fn mix(&self, old: u8, new: u8, style: u64, noise: &mut Noise) -> u8 {
        // From hardly any bit changed to hardly any left: cells differ in speed.
        let changed = match style % 5 {
            0 => noise.byte() & noise.byte() & noise.byte() & noise.byte() & noise.byte(),
            1 => noise.byte() & noise.byte(),
            2 => noise.byte(),
            3 => noise.byte() | noise.byte(),
            _ => noise.byte() | noise.byte() | noise.byte() | noise.byte() | noise.byte(),
        };
        let from = match self {
            // Every other time the sector's bits had been cleared already.
            Self::Erase { .. } if style & 0x100 != 0 => 0,
            _ => old,
        };
        (from & !changed) | (new & changed)
    }

    /// The bits that are between two values after such a power cut, and may read as either: some of those that the operation
    /// changes where the chip was working.
    pub(super) fn unsettled(&self, before: &[u8], tear: Tear) -> Vec<(u32, u8)> {
        let Mix::Seeded(seed) = tear.mix else {
            return Vec::new();
        };
        let mut noise = Noise::new(!seed);
        // A quarter of the bits, or hardly any: a single one may go unnoticed for long.
        let few = noise.next() & 1 == 0;
        let start = self.range().start;
        self.working_on(start + tear.reached)
            .map(|at| {
                let old = before[at as usize];
                let new = match self {
                    Self::Erase { .. } => 0xff,
                    Self::Program { bytes, .. } => old & bytes[(at - start) as usize],
                };
                let mut bits = (old ^ new) & noise.byte() & noise.byte();
                if few {
                    bits &= noise.byte() & noise.byte() & noise.byte();
                }
                (at, bits)
            })
            .filter(|(_, bits)| *bits != 0)
            .collect()
    }
}

/// A generator of the same bits from the same seed (SplitMix64, Steele et al., "Fast splittable pseudorandom number
/// generators", OOPSLA 2014).
#[derive(Debug, Clone)]
pub(super) struct Noise(u64);

impl Noise {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.next() as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(at: u32, bytes: &[u8]) -> Operation {
        Operation::Program {
            at,
            bytes: bytes.to_vec(),
        }
    }

    /// What a flash of two sectors holds after a part of an operation.
    fn torn(held: u8, operation: &Operation, reached: u32, mix: Mix) -> Vec<u8> {
        let mut flash = vec![held; 2 * SECTOR as usize];
        operation.tear(&mut flash, Tear { reached, mix });
        flash
    }

    #[test]
    fn in_order_a_program_ends_at_the_byte_it_reached() {
        let text = program(8, b"whole");
        for reached in 0..=5 {
            let flash = torn(0xff, &text, reached, Mix::InOrder);
            let (done, left) = flash[8..13].split_at(reached as usize);
            assert_eq!(done, &b"whole"[..reached as usize]);
            assert!(left.iter().all(|&byte| byte == 0xff));
        }
    }

    #[test]
    fn a_torn_program_clears_no_bit_that_it_would_not_clear_whole() {
        let bytes: Vec<u8> = (0..600).map(|n| n as u8).collect();
        for seed in 0..200 {
            let flash = torn(0xff, &program(100, &bytes), 200, Mix::Seeded(seed));
            for (at, &byte) in flash.iter().enumerate() {
                match at {
                    100..256 => assert_eq!(byte, bytes[at - 100], "the first page is done"),
                    256..512 => assert_eq!(byte & bytes[at - 100], bytes[at - 100]),
                    _ => assert_eq!(byte, 0xff, "the last page is untouched"),
                }
            }
        }
    }

    #[test]
    fn a_torn_erase_may_leave_anything_in_one_sector_and_nothing_in_another() {
        let erase = Operation::Erase {
            from: 0,
            to: 2 * SECTOR,
        };
        let mut seen = [false; 3];
        for seed in 0..200 {
            let flash = torn(0x55, &erase, SECTOR + 7, Mix::Seeded(seed));
            let (done, working) = flash.split_at(SECTOR as usize);
            assert!(done.iter().all(|&byte| byte == 0xff));
            seen[0] |= working.iter().any(|byte| byte & 0x55 != 0x55);
            seen[1] |= working.iter().any(|byte| byte & 0xaa != 0);
            seen[2] |= working.iter().filter(|&&byte| byte != 0x55).count() < 800;
        }
        assert_eq!(
            seen, [true; 3],
            "bits cleared, bits set, hardly a bit changed"
        );
    }

    #[test]
    fn a_tear_at_either_end_is_nothing_done_or_all() {
        let text = program(0, b"text");
        let mut whole = vec![0xff; 2 * SECTOR as usize];
        text.apply(&mut whole);
        for mix in [Mix::InOrder, Mix::Seeded(1)] {
            assert_eq!(torn(0xff, &text, 4, mix), whole);
        }
        assert_eq!(
            torn(0xff, &text, 0, Mix::InOrder),
            vec![0xff; 2 * SECTOR as usize]
        );
    }
}
