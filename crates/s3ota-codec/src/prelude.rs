//! What the first section begins with: the segments of the result, and the copy table.

use crate::Memory;
use crate::blocks::Block;
use crate::engine::Engine;
use crate::layout::{DIGEST, Layout};
use crate::model::Number;
use crate::range::Coder;

/// How blocks are coded: each from the end of the one before.
pub(crate) struct Prelude {
    count: Number,
    gap: Number,
    length: Number,
    diagonal: Number,
    /// Blocks that are still to come.
    pub(crate) left: u32,
    /// The ends of the block before, in the base and in the result.
    old: u32,
    new: u32,
}

impl Prelude {
    pub(crate) const NEW: Prelude = Prelude {
        count: Number::NEW,
        gap: Number::NEW,
        length: Number::NEW,
        diagonal: Number::NEW,
        left: 0,
        old: 0,
        new: 0,
    };

    /// Codes the result's layout and trailer, and how many blocks there are. False if that cannot be.
    pub(crate) fn begin<C: Coder>(
        &mut self,
        coder: &mut C,
        engine: &mut Engine,
        memory: &mut Memory,
        blocks: u32,
    ) -> bool {
        memory.table.clear();
        engine.base.code_kinds(coder);
        let Engine { base, result, .. } = engine;
        if !result.code(coder, base) {
            return false;
        }
        // 0 none, 1 checksum, 2 checksum and digest.
        let told = match engine.trailer {
            None => 0,
            Some(end) => 1 + u32::from(end > engine.result.checksum_end()),
        };
        let told = self.count.code(coder, told);
        let end = engine.result.checksum_end();
        engine.trailer = match told {
            0 => None,
            1 => Some(end),
            _ => Some(end.saturating_add(DIGEST)),
        };
        self.left = self.count.code(coder, blocks);
        engine.trailer.is_none_or(|end| end <= engine.result.size)
    }

    /// Codes a block, and adds it to the table. False if that cannot be.
    pub(crate) fn block<C: Coder>(
        &mut self,
        coder: &mut C,
        memory: &mut Memory,
        base: &Layout,
        result: &Layout,
        block: Block,
    ) -> bool {
        let gap = self.gap.code(coder, block.new.wrapping_sub(self.new));
        let expected = self.old.wrapping_add(gap);
        let difference = block.old.wrapping_sub(expected) as i32;
        let difference = self.diagonal.code_signed(coder, difference);
        let length = self.length.code(coder, block.length);
        let old = expected.wrapping_add(difference as u32);
        let Some(new) = self.new.checked_add(gap) else {
            return false;
        };
        let inside = |at: u32, size: u32| at.checked_add(length).is_some_and(|end| end <= size);
        if length == 0 || !inside(old, base.size) || !inside(new, result.size) {
            return false;
        }
        self.old = old + length;
        self.new = new + length;
        self.left = self.left.saturating_sub(1);
        memory.table.add(Block { old, new, length })
    }
}
