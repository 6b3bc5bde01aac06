//! At which moments of an operation power fails.

use s3ota_image::otadata::RECORD_LEN;
use s3ota_sim::{Mix, Operation, Tear};

use crate::life::{Board, Place, Units};

/// How much is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// A sample spread over everything.
    Sample,
    /// Every byte of every operation on otadata, every word of every program of the journal, a dense sample of the others.
    Full,
}

/// A moment, and what it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Bits as they come.
    Tear(Tear),
    /// The worst case for an otadata record: everything about it is whole but its state, whose bits came out as another
    /// state.
    State(u32),
}

/// What flash is programmed in, at least.
const WORD: u32 = 4;

/// Where a record has its state.
const STATE: u32 = 24;

/// What a record has for itself.
const SECTOR: u32 = 0x1000;

impl Cut {
    /// Does as much of an operation to a flash as is done before this moment.
    pub fn apply(&self, operation: &Operation, flash: &mut [u8]) {
        match *self {
            Self::Tear(tear) => operation.tear(flash, tear),
            Self::State(state) => {
                if let Operation::Program { .. } = operation {
                    operation.apply(flash);
                }
                let start = operation.range().start;
                let at = (start - start % SECTOR + STATE) as usize;
                flash[at..at + 4].copy_from_slice(&state.to_le_bytes());
            }
        }
    }
}

/// The moments tried of an operation.
pub fn moments(
    operation: &Operation,
    flash: &[u8],
    board: &Board,
    effort: Effort,
    dice: &mut Dice,
) -> Vec<Cut> {
    let length = operation.length();
    let (in_order, seeded) = match (effort, board.place(operation)) {
        (Effort::Full, Place::Otadata) => (length, 24),
        (Effort::Full, Place::Journal) if length <= 256 => (length.div_ceil(WORD), 8),
        (Effort::Full, Place::Journal) => (8, 8),
        (Effort::Full, Place::Image) => (4, 4),
        (Effort::Sample, Place::Image) => (0, dice.below(2)),
        (Effort::Sample, _) => (1, 1),
    };
    let mut cuts = vec![Tear {
        reached: 0,
        mix: Mix::InOrder,
    }];
    cuts.extend((0..in_order).map(|n| Tear {
        reached: match effort {
            Effort::Full if in_order == length => n,
            Effort::Full if in_order == length.div_ceil(WORD) => n * WORD,
            _ => dice.below(length),
        },
        mix: Mix::InOrder,
    }));
    cuts.extend((0..seeded).map(|_| Tear {
        reached: dice.below(length),
        mix: Mix::Seeded(dice.roll()),
    }));
    let cuts = cuts.into_iter().map(Cut::Tear);
    match board.units {
        Units::Words => cuts.chain(states(operation, flash)).collect(),
        // A part of a cipher's block cannot come out whole.
        Units::Of16 | Units::Of32 => cuts.collect(),
    }
}

/// The moments tried of an operation that leave bits which read as the one or the other from then on.
pub fn flaky_moments(
    operation: &Operation,
    board: &Board,
    effort: Effort,
    dice: &mut Dice,
) -> Vec<Tear> {
    let moments = match (effort, board.place(operation)) {
        (Effort::Full, Place::Otadata) => 12,
        (Effort::Full, Place::Journal) => 2,
        (Effort::Full, Place::Image) => 1,
        (Effort::Sample, Place::Image) => u32::from(dice.below(12) == 0),
        (Effort::Sample, _) => u32::from(dice.below(3) == 0),
    };
    let tear = |_| Tear {
        reached: dice.below(operation.length()),
        mix: Mix::Seeded(dice.roll()),
    };
    (0..moments).map(tear).collect()
}

/// The moments tried of an operation while a device recovers.
pub fn moments_again(
    operation: &Operation,
    flash: &[u8],
    board: &Board,
    effort: Effort,
    dice: &mut Dice,
) -> Vec<Cut> {
    let mut all = moments(operation, flash, board, effort, dice);
    let most = match (effort, board.place(operation)) {
        (Effort::Full, Place::Otadata) => 6,
        (Effort::Full, Place::Journal) => 2,
        _ => 1,
    };
    (0..most.min(all.len()))
        .map(|_| all.swap_remove(dice.below(all.len() as u32) as usize))
        .collect()
}

/// What the state of an otadata record may come out as, the rest of it being whole. Only the numbers that mean something.
fn states(operation: &Operation, flash: &[u8]) -> Vec<Cut> {
    let range = operation.range();
    let record = range.start - range.start % SECTOR;
    if !(0x9000..0xb000).contains(&record) {
        return Vec::new();
    }
    let states = 0..=4u32;
    match operation {
        // What is programmed can only have lost fewer bits than it should.
        Operation::Program { at, bytes } => {
            let state = (record + STATE).checked_sub(*at);
            let state = state.and_then(|state| bytes.get(state as usize..)?.first_chunk());
            let Some(new) = state.map(|state| u32::from_le_bytes(*state)) else {
                return Vec::new();
            };
            states
                .filter(|state| state & new == new)
                .map(Cut::State)
                .collect()
        }
        Operation::Erase { .. } => {
            let held = &flash[range.start as usize..][..RECORD_LEN];
            match held.iter().all(|&byte| byte == 0xff) {
                true => Vec::new(),
                false => states.map(Cut::State).collect(),
            }
        }
    }
}

/// Chance that comes out the same in every run (xorshift64*, Vigna, "An experimental exploration of Marsaglia's xorshift
/// generators, scrambled", 2016).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: u32) -> u32 {
        (((self.roll() >> 32) * u64::from(bound)) >> 32) as u32
    }
}
