//! The moments inside an operation at which power fails: the same for every library.

use s3ota_sim::{Mix, Operation, Tear};

/// An otadata record, which is all the bootloader reads of a sector.
const RECORD: u32 = 32;

/// The unit of a record.
const WORD: u32 = 4;

/// What a chip programs at once: mixes are of the record's page.
const PAGE: u32 = 256;

/// How many mixes of old and new bits to try in each operation.
const MIXES: u32 = 64;

/// How many moments to try after the record.
const BEHIND: u32 = 8;

/// A moment, and what it leaves behind.
#[derive(Debug, Clone, Copy)]
pub enum Cut {
    /// Bytes in order up to there, or a mix of bits.
    Tear(Tear),
    /// All is done but this word of the record.
    AllBut(u32),
    /// Nothing is done but this word of the record.
    NoneBut(u32),
}

/// The moments tried of an operation: before it, after each byte of the record, at some places behind it, after it; with
/// one word ahead of the others or behind them; and mixes.
pub fn moments(operation: &Operation, seed: u64) -> Vec<Cut> {
    let length = operation.length();
    let record = length.min(RECORD);
    let in_order = |reached| {
        Cut::Tear(Tear {
            reached,
            mix: Mix::InOrder,
        })
    };
    let mix = |n: u32| {
        Cut::Tear(Tear {
            reached: n % length.min(PAGE),
            mix: Mix::Seeded(seed.wrapping_mul(1 << 16) + u64::from(n)),
        })
    };
    let words = (0..record).step_by(WORD as usize);
    let behind = (1..=BEHIND).map(|n| record + (length - record) * n / BEHIND);
    (0..=record)
        .chain(behind)
        .map(in_order)
        .chain(words.clone().map(Cut::AllBut))
        .chain(words.map(Cut::NoneBut))
        .chain((0..MIXES).map(mix))
        .collect()
}

impl Cut {
    /// Applies as much of an operation to a flash as is done before this moment.
    pub fn apply(self, operation: &Operation, flash: &mut [u8]) {
        let word = |at: u32| {
            let start = (operation.range().start + at) as usize;
            start..start + WORD as usize
        };
        match self {
            Self::Tear(tear) => operation.tear(flash, tear),
            Self::AllBut(at) => {
                let held = flash[word(at)].to_vec();
                operation.apply(flash);
                flash[word(at)].copy_from_slice(&held);
            }
            Self::NoneBut(at) => {
                let mut done = flash.to_vec();
                operation.apply(&mut done);
                flash[word(at)].copy_from_slice(&done[word(at)]);
            }
        }
    }
}
