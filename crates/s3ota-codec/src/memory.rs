//! The decoder's memory.

use crate::blocks::Table;
use crate::copy::Copying;
use crate::gap::Gaps;
use crate::learned::Learned;
use crate::literal::Literals;

/// What a decoder learns while it decodes: some 32 KiB, for the caller to keep where there is room.
///
/// What it holds before does not matter.
pub struct Memory {
    pub(crate) table: Table,
    pub(crate) learned: Learned,
    pub(crate) literals: Literals,
    pub(crate) copying: Copying,
    pub(crate) gaps: Gaps,
}

impl Memory {
    /// Memory for a decoder. It is all zeros, so that a static one takes no place in the image.
    pub const fn new() -> Memory {
        Memory {
            table: Table::EMPTY,
            learned: Learned::EMPTY,
            literals: Literals::ZERO,
            copying: Copying::ZERO,
            gaps: Gaps::ZERO,
        }
    }

    /// Forgets everything but the copy table.
    pub(crate) fn forget(&mut self) {
        self.learned.clear();
        self.literals.clear();
        self.copying.clear();
        self.gaps.clear();
    }
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::new()
    }
}
