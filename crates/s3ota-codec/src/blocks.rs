//! The copy table: which blocks of the result are blocks of the base, and with it where each address has gone.

/// How many entries the table has.
pub(crate) const BLOCKS: usize = 512;

/// The largest image: offsets have 24 bits.
pub(crate) const MAX_SIZE: u32 = 1 << 24;

/// A block of the result that is one of the base, references apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Offset in the base.
    pub(crate) old: u32,
    /// Offset in the result.
    pub(crate) new: u32,
    /// Bytes.
    pub(crate) length: u32,
}

impl Block {
    fn old_end(&self) -> u32 {
        self.old + self.length
    }

    fn pack(self) -> [u32; 2] {
        [
            self.old << 8 | self.length & 0xff,
            self.new << 8 | self.length >> 8,
        ]
    }

    fn unpack([a, b]: [u32; 2]) -> Block {
        Block {
            old: a >> 8,
            new: b >> 8,
            length: a & 0xff | (b & 0xff) << 8,
        }
    }
}

/// Blocks in the order of the base.
pub(crate) struct Table {
    entries: [[u32; 2]; BLOCKS],
    count: usize,
}

impl Table {
    /// The longest block that one entry can describe.
    pub(crate) const LONGEST: u32 = 0xfffc;

    pub(crate) const EMPTY: Table = Table {
        entries: [[0; 2]; BLOCKS],
        count: 0,
    };

    pub(crate) fn clear(&mut self) {
        self.count = 0;
    }

    fn entries(&self) -> &[[u32; 2]] {
        self.entries.get(..self.count).unwrap_or(&[])
    }

    /// Adds a block, in pieces if it is long. False if the table is full.
    pub(crate) fn add(&mut self, mut block: Block) -> bool {
        while block.length > Table::LONGEST {
            let piece = Block {
                length: Table::LONGEST,
                ..block
            };
            if !self.insert(piece) {
                return false;
            }
            block.old += Table::LONGEST;
            block.new += Table::LONGEST;
            block.length -= Table::LONGEST;
        }
        self.insert(block)
    }

    fn insert(&mut self, block: Block) -> bool {
        if self.count == BLOCKS {
            return false;
        }
        let packed = block.pack();
        let at = self.entries().partition_point(|entry| *entry <= packed);
        self.count += 1;
        let mut carried = packed;
        for entry in self.entries.iter_mut().take(self.count).skip(at) {
            core::mem::swap(entry, &mut carried);
        }
        true
    }

    /// The first block of the result at `at` or behind.
    pub(crate) fn next(&self, at: u32) -> Option<Block> {
        let blocks = self.entries().iter().filter(|entry| entry[1] >> 8 >= at);
        blocks
            .min_by_key(|entry| entry[1] >> 8)
            .map(|entry| Block::unpack(*entry))
    }

    /// What is left at `at` of a block that began before.
    pub(crate) fn rest(&self, at: u32) -> Option<Block> {
        let mut blocks = self.entries().iter().map(|entry| Block::unpack(*entry));
        let block = blocks.find(|block| block.new < at && at < block.new + block.length)?;
        let done = at - block.new;
        Some(Block {
            old: block.old + done,
            new: at,
            length: block.length - done,
        })
    }

    /// Where the base's byte at `old` is in the result: for certain if it is in a block, else as if the nearest block before it
    /// went on, or the one behind it began earlier.
    pub(crate) fn map(&self, old: u32) -> Option<(u32, bool)> {
        let behind = self.entries().partition_point(|entry| entry[0] >> 8 <= old);
        let before = behind.checked_sub(1).and_then(|i| self.entries.get(i));
        let before = before.map(|entry| Block::unpack(*entry));
        if let Some(block) = before
            && old < block.old_end()
        {
            return Some((block.new + (old - block.old), true));
        }
        let behind = self
            .entries()
            .get(behind)
            .map(|entry| Block::unpack(*entry));
        match (before, behind) {
            (Some(before), Some(behind)) if behind.old - old < old - before.old_end() => {
                Some((behind.new.wrapping_sub(behind.old - old), false))
            }
            (Some(before), _) => Some((before.new.wrapping_add(old - before.old), false)),
            (None, Some(behind)) => Some((behind.new.wrapping_sub(behind.old - old), false)),
            (None, None) => None,
        }
    }
}
