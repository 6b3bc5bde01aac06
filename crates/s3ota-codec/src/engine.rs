//! The machine that both ends run: one piece of the result after the other, from what the coder says.

use crate::blocks::Block;
use crate::copy::AHEAD;
use crate::gap::Op;
use crate::isa::Isa;
use crate::isa::absolute::LONGEST;
use crate::layout::{Kind, Layout, Region, SEGMENT_HEADER};
use crate::range::Coder;
use crate::{Memory, copy, gap, literal};

/// A piece of the result: an instruction, a pair of them, or a few bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Piece {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Piece {
    pub(crate) fn new(word: u32, length: usize) -> Piece {
        let [a, b, c, d] = word.to_le_bytes();
        Piece {
            bytes: [a, b, c, d, 0, 0, 0, 0],
            length: length.min(4),
        }
    }

    pub(crate) fn of(bytes: &[u8; LONGEST], length: usize) -> Piece {
        Piece {
            bytes: *bytes,
            length: length.min(LONGEST),
        }
    }

    pub(crate) fn of_slice(slice: &[u8]) -> Piece {
        let mut piece = Piece::default();
        for (to, from) in piece.bytes.iter_mut().zip(slice) {
            *to = *from;
            piece.length += 1;
        }
        piece
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }
}

/// What an encoder knows of the result.
pub(crate) trait Truth {
    /// What comes next in the gap at `at`.
    fn op(&mut self, at: u32) -> Op;

    /// The result from `at` on, as far as it goes.
    fn ahead(&self, at: u32) -> &[u8];
}

/// A decoder's ignorance.
pub(crate) struct Unknown;

impl Truth for Unknown {
    fn op(&mut self, _: u32) -> Op {
        Op::Literal
    }

    fn ahead(&self, _: u32) -> &[u8] {
        &[]
    }
}

/// What the next piece is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// Nothing but what the coder says.
    Nothing,
    /// Bytes of the base.
    Base { at: u32, length: u32 },
    /// Bytes of the result itself.
    Result { at: u32, length: u32 },
    /// The trailer: so many bytes before its end.
    Trailer { left: u32 },
    /// No more: the result is whole.
    End,
}

/// What a piece is coded with.
pub(crate) struct Context<'a> {
    /// The instruction set; none for data.
    pub(crate) isa: Isa,
    /// Offset of what is copied or repeated.
    pub(crate) old: u32,
    /// Offset of the piece.
    pub(crate) new: u32,
    /// Their addresses.
    pub(crate) old_pc: u32,
    pub(crate) new_pc: u32,
    /// Bytes up to the end of the block, the repetition or the gap.
    pub(crate) left: u32,
    /// Where the base's counterpart of this place is expected.
    pub(crate) expected: u32,
    /// The result from here on, for an encoder.
    pub(crate) ahead: &'a [u8],
    /// The first 16 bits of the last instructions.
    pub(crate) before: [u32; 2],
    /// The last four bytes, the newest lowest.
    pub(crate) last: u32,
    pub(crate) base: &'a Layout,
    pub(crate) result: &'a Layout,
}

impl Context<'_> {
    /// Where an address of the base has gone.
    pub(crate) fn map(&self, memory: &Memory, address: u32) -> u32 {
        if let Some(new) = memory.learned.exact(address) {
            return new;
        }
        let Some(offset) = self.base.offset_of(address) else {
            return memory.learned.near(address).unwrap_or(address);
        };
        let mapped = memory.table.map(offset);
        let certain = mapped.is_some_and(|(_, certain)| certain);
        if !certain && let Some(new) = memory.learned.near(address) {
            return new;
        }
        let mapped = mapped.and_then(|(offset, _)| self.result.address_of(offset));
        mapped.unwrap_or(address)
    }

    /// Whether a word of a literal pool is copied: between functions of Xtensa code there are addresses.
    pub(crate) fn is_pool(&self, old: &[u8]) -> bool {
        self.isa == Isa::Xtensa
            && self.old & 3 == 0
            && self.new & 3 == 0
            && old
                .get(..4)
                .is_some_and(|bytes| self.base.is_address(crate::isa::word(bytes)))
    }

    /// Where a pointer of the base has gone, if the word is one.
    pub(crate) fn pointer(&self, memory: &Memory, word: u32) -> Option<u32> {
        self.base.is_address(word).then(|| self.map(memory, word))
    }

    /// The models' views on a byte of a piece that was predicted wrong.
    pub(crate) fn correction(
        &self,
        new: u32,
        i: usize,
        predicted: u32,
        length: usize,
    ) -> literal::Context {
        let expected = predicted >> (8 * i) & 0xff;
        let code = usize::from(self.isa != Isa::None);
        let place = ((i + 4 * code + 8 * length + 64) as u32) << 24;
        let wrong = (new ^ predicted) & ((1_u64 << (8 * i)) - 1) as u32;
        let views = [
            place | expected << 8 | u32::from(wrong != 0) << 16,
            place ^ new.wrapping_mul(0x85eb_ca6b) ^ expected << 8,
            place ^ self.last,
        ];
        literal::Context::new(16 + (i & 3) + 4 * code, views)
    }

    /// The models' views on a byte of new data.
    pub(crate) fn data_view(&self) -> literal::Context {
        let place = 0x8000_0000;
        let last = self.last;
        let views = [
            place | (self.new & 3) << 8,
            place | last & 0xff | (self.new & 3) << 16,
            (place | last & 0xffff).wrapping_mul(0x51ed_270b),
        ];
        literal::Context::new(24 + (self.new & 3) as usize, views)
    }
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// In a gap, or at its beginning.
    Gap,
    /// Copying from the base, up to `end` of the result.
    Copy { old: u32, end: u32 },
    /// Repeating what began `distance` bytes ago, up to `end`.
    Again { distance: u32, end: u32 },
}

/// What is being done, for an encoder's books.
#[cfg(feature = "encode")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    Gap,
    Copy,
    Again,
}

/// Where the machine is.
pub(crate) struct Engine {
    pub(crate) base: Layout,
    pub(crate) result: Layout,
    /// The trailer is made here, and ends there.
    pub(crate) trailer: Option<u32>,
    /// Bytes of the result so far.
    pub(crate) at: u32,
    mode: Mode,
    region: Region,
    /// The next block of the table.
    next: Option<Block>,
    /// How far the base is behind: what is added to an offset in the result.
    diagonal: u32,
    before: [u32; 2],
    last: u32,
}

impl Engine {
    pub(crate) const fn new(base: Layout, result: Layout) -> Engine {
        Engine {
            base,
            result,
            trailer: None,
            at: 0,
            mode: Mode::Gap,
            region: Region {
                start: 0,
                end: 0,
                kind: Kind::Other,
            },
            next: None,
            diagonal: 0,
            before: [0; 2],
            last: 0,
        }
    }

    /// Begins a section at `at`: nothing is known but the table.
    pub(crate) fn begin(&mut self, memory: &mut Memory, at: u32) {
        memory.forget();
        self.at = at;
        self.mode = Mode::Gap;
        self.region.end = 0;
        self.region.start = 0;
        self.next = memory.table.next(at);
        self.diagonal = 0;
        self.before = [0; 2];
        self.last = 0;
        if let Some(rest) = memory.table.rest(at) {
            self.copy(memory, rest.old, rest.length);
        }
    }

    /// Up to where what is at hand goes.
    fn limit(&self) -> u32 {
        match self.mode {
            Mode::Gap => {
                let next = self.next.map_or(u32::MAX, |block| block.new);
                self.region.end.min(next)
            }
            Mode::Copy { end, .. } | Mode::Again { end, .. } => end.min(self.region.end),
        }
    }

    /// Looks where the next piece belongs, and what it needs.
    pub(crate) fn want(&mut self, memory: &mut Memory) -> Want {
        if self.at >= self.result.size {
            return Want::End;
        }
        if self.at >= self.region.end || self.at < self.region.start {
            self.region = self.result.region(self.at, self.trailer);
        }
        match self.region.kind {
            Kind::Trailer => {
                return Want::Trailer {
                    left: self.region.end - self.at,
                };
            }
            Kind::Header(_) => return Want::Nothing,
            _ => {}
        }
        match self.mode {
            Mode::Copy { end, .. } | Mode::Again { end, .. } if self.at >= end => {
                self.mode = Mode::Gap;
                self.next = memory.table.next(self.at);
            }
            _ => {}
        }
        if self.mode == Mode::Gap {
            while let Some(block) = self.next
                && block.new < self.at
            {
                self.next = memory.table.next(self.at);
                if self.next == Some(block) {
                    self.next = None;
                }
            }
            if let Some(block) = self.next
                && block.new == self.at
            {
                self.copy(memory, block.old, block.length);
                memory.gaps.begin();
            }
        }
        match self.mode {
            Mode::Gap => Want::Nothing,
            Mode::Copy { old, .. } if old >= self.base.size => {
                self.mode = Mode::Gap;
                Want::Nothing
            }
            Mode::Copy { old, .. } => Want::Base {
                at: old,
                length: AHEAD.min(self.base.size - old),
            },
            Mode::Again { distance, .. } => {
                let at = self.at.saturating_sub(distance);
                Want::Result {
                    at,
                    length: (LONGEST as u32).min(self.at - at),
                }
            }
        }
    }

    fn copy(&mut self, memory: &mut Memory, old: u32, length: u32) {
        self.mode = Mode::Copy {
            old,
            end: self.at.saturating_add(length),
        };
        self.diagonal = old.wrapping_sub(self.at);
        memory.copying.begin();
    }

    /// Whether the next piece only says what is to be done, and makes no byte: then [`Engine::want`] is to be asked again.
    pub(crate) fn piece<C: Coder, T: Truth>(
        &mut self,
        memory: &mut Memory,
        coder: &mut C,
        truth: &mut T,
        input: &[u8],
    ) -> Piece {
        let piece = match self.region.kind {
            Kind::Header(number) => self.header(number),
            _ => self.coded(memory, coder, truth, input),
        };
        self.emitted(piece.bytes());
        piece
    }

    /// A byte of a segment's header.
    fn header(&self, number: usize) -> Piece {
        let Some(segment) = self.result.segments().get(number) else {
            return Piece::new(0, 1);
        };
        let header = u64::from(segment.length) << 32 | u64::from(segment.address);
        let left = (self.region.end - self.at).min(SEGMENT_HEADER);
        let header = header >> (8 * (SEGMENT_HEADER - left));
        Piece::of(&header.to_le_bytes(), left as usize)
    }

    fn coded<C: Coder, T: Truth>(
        &mut self,
        memory: &mut Memory,
        coder: &mut C,
        truth: &mut T,
        input: &[u8],
    ) -> Piece {
        if self.mode == Mode::Gap {
            let context = self.context(self.at, &[]);
            let op = truth.op(self.at);
            match memory.gaps.op(coder, &context, op) {
                Op::Again { distance, length } if distance <= self.at => {
                    let end = self.at.saturating_add(length).min(self.limit());
                    self.mode = Mode::Again { distance, end };
                }
                Op::Copy { old, length } if old < self.base.size => {
                    let end = self.at.saturating_add(length).min(self.limit());
                    self.copy(memory, old, end - self.at);
                }
                // Also what no encoder says: every step must make something.
                _ => {
                    let actual = if C::WRITES {
                        eight(truth.ahead(self.at))
                    } else {
                        [0; LONGEST]
                    };
                    return gap::literal(memory, coder, &context, &actual);
                }
            }
            return Piece::default();
        }
        let ahead = truth.ahead(self.at);
        match self.mode {
            Mode::Copy { old, end } => {
                let context = self.context(old, ahead);
                let piece = copy::piece(memory, coder, &context, input, &eight(ahead));
                let old = old.saturating_add(piece.bytes().len() as u32);
                self.mode = Mode::Copy { old, end };
                piece
            }
            Mode::Again { distance, .. } => {
                let context = self.context(self.at.saturating_sub(distance), ahead);
                gap::repeat(&context, input)
            }
            Mode::Gap => Piece::default(),
        }
    }

    fn context<'a>(&'a self, old: u32, ahead: &'a [u8]) -> Context<'a> {
        let (mut isa, mut new_pc) = match self.region.kind {
            Kind::Code(address) => (self.result.isa, address + (self.at - self.region.start)),
            Kind::Data(address) => (Isa::None, address + (self.at - self.region.start)),
            _ => (Isa::None, 0),
        };
        let old_pc = match self.mode {
            _ if isa == Isa::None => 0,
            Mode::Copy { .. } => match self.code_address(&self.base, old) {
                Some(address) if self.base.isa == isa => address,
                _ => {
                    isa = Isa::None;
                    0
                }
            },
            Mode::Again { .. } => self.result.address_of(old).unwrap_or(0),
            Mode::Gap => 0,
        };
        if isa == Isa::None {
            new_pc = 0;
        }
        Context {
            isa,
            old,
            new: self.at,
            old_pc,
            new_pc,
            left: self.limit().saturating_sub(self.at),
            expected: self.at.wrapping_add(self.diagonal),
            ahead,
            before: self.before,
            last: self.last,
            base: &self.base,
            result: &self.result,
        }
    }

    fn code_address(&self, layout: &Layout, offset: u32) -> Option<u32> {
        let inside = |s: &&crate::layout::Segment| offset >= s.offset && offset < s.end();
        let segment = layout.segments().iter().find(inside)?;
        segment
            .code
            .then(|| segment.address.wrapping_add(offset - segment.offset))
    }

    /// Takes note of what was written.
    pub(crate) fn emitted(&mut self, bytes: &[u8]) {
        self.at = self.at.saturating_add(bytes.len() as u32);
        if bytes.is_empty() {
            return;
        }
        for byte in bytes {
            self.last = self.last << 8 | u32::from(*byte);
        }
        let [h1, _] = self.before;
        let first = crate::isa::word(bytes) & 0xffff;
        self.before = [first, h1];
    }

    /// What the next piece is.
    #[cfg(feature = "encode")]
    pub(crate) fn doing(&self) -> Doing {
        match self.mode {
            Mode::Gap => Doing::Gap,
            Mode::Copy { .. } => Doing::Copy,
            Mode::Again { .. } => Doing::Again,
        }
    }

    /// Whether a section may begin here: in a gap, or in a block of the table, which goes on then.
    #[cfg(feature = "encode")]
    pub(crate) fn may_break(&self, memory: &Memory) -> bool {
        let is_in_block = || {
            let next = memory.table.next(self.at);
            memory.table.rest(self.at).is_some() || next.is_some_and(|it| it.new == self.at)
        };
        match self.mode {
            Mode::Gap => true,
            Mode::Copy { .. } => is_in_block(),
            Mode::Again { .. } => false,
        }
    }
}

/// The first eight bytes, those that are missing as zero.
fn eight(bytes: &[u8]) -> [u8; LONGEST] {
    let mut eight = [0; LONGEST];
    for (to, from) in eight.iter_mut().zip(bytes) {
        *to = *from;
    }
    eight
}
