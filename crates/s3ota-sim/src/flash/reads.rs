//! What a program has looked at: all that its next step can depend on.

use std::ops::Range;

use super::SECTOR;

/// What is told apart: smaller pieces are taken as a whole.
const CELL: usize = 32;

/// The parts of a flash that were read since the watch began, as they were then.
#[derive(Debug)]
pub(super) struct Reads {
    /// Cells that were read, or erased before they were.
    known: Vec<bool>,
    first: Vec<Range<u32>>,
}

impl Reads {
    /// Of a flash of so many bytes.
    pub(super) fn new(size: usize) -> Self {
        Self {
            known: vec![false; size.div_ceil(CELL)],
            first: Vec::new(),
        }
    }

    /// These bytes were read.
    pub(super) fn read(&mut self, range: Range<usize>) {
        for cell in range.start / CELL..range.end.div_ceil(CELL) {
            if std::mem::replace(&mut self.known[cell], true) {
                continue;
            }
            let (start, end) = (cell * CELL, (cell + 1) * CELL);
            match self.first.last_mut() {
                Some(last) if last.end as usize == start && !start.is_multiple_of(SECTOR) => {
                    last.end = end as u32;
                }
                _ => self.first.push(start as u32..end as u32),
            }
        }
    }

    /// These sectors were erased: what was in them is of no consequence from now on.
    pub(super) fn erased(&mut self, range: Range<usize>) {
        self.known[range.start / CELL..range.end / CELL].fill(true);
    }

    /// The parts, in the order in which they were read; none of them twice, and none beyond a sector.
    pub(super) fn first(self) -> Vec<Range<u32>> {
        self.first
    }
}
