//! The decoder: a machine that says what it needs next, and never waits.

use sha2::{Digest, Sha256};

use crate::blocks::Block;
use crate::copy::AHEAD;
use crate::engine::{Engine, Unknown, Want};
use crate::header::{Header, MAX_HEADER};
use crate::layout::{HEADER, Kind, Layout};
use crate::prelude::Prelude;
use crate::range::{self, Registers};
use crate::{Memory, Refused};

/// The most bytes of an artefact that one step of the machine takes: less than 160 bits, none worth more than 16 bits.
const STEP_INPUT: usize = 320;

/// Room for the artefact's bytes. It holds a header as well.
const INPUT: usize = 640;

/// Room for what is read ahead of the base, or of the result.
const WINDOW: usize = 256;

/// Room for a piece of the result: the longest is a digest.
const PENDING: usize = 32;

/// `ESP_ROM_CHECKSUM_INITIAL` of ESP-IDF's `esp_image_format.h`.
const CHECKSUM_SEED: u8 = 0xef;

/// What the decoder needs, or has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Bytes of the artefact, from the one with this offset on: read some into [`Decoder::room`], and call [`Decoder::filled`]. The
    /// offset is not where the bytes before ended if the decoder resumes: only then.
    Artefact(u32),
    /// Bytes of the base: read [`Decoder::room`] full from this offset, and call [`Decoder::filled`].
    Base(u32),
    /// Bytes of the result that the decoder has given before: read [`Decoder::room`] full from this offset, and call
    /// [`Decoder::filled`].
    Result(u32),
    /// So many bytes of the result are in the room that [`Decoder::step`] was called with.
    Output(usize),
    /// The result is whole, and has the digest that the header promises.
    End,
}

/// What the caller is about to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fill {
    Nothing,
    Artefact,
    Base {
        at: u32,
        length: usize,
    },
    Result {
        at: u32,
        length: usize,
    },
    /// The result before the place where the decoder resumes, for its digest.
    Before {
        at: u32,
        length: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Header,
    BaseLayout,
    Prelude,
    Blocks,
    /// Reads the result before this place once more.
    Before,
    Body,
    End,
}

/// Makes an image of an artefact.
///
/// The decoder asks for what it needs ([`Decoder::step`]), so that it runs on what is read in any way: from memory, or from a flash
/// that takes its time. Whatever an artefact holds, it takes a bounded number of steps and makes at most as many bytes as its header
/// says.
///
/// ```
/// use s3ota_codec::{Decoder, Memory, Step, encode};
///
/// let base: Vec<u8> = (0..9000_u32).flat_map(|i| (i * i).to_le_bytes()).collect();
/// let mut result = base.clone();
/// result.splice(500..500, *b"a few bytes more");
/// let artefact = encode::encode(&base, &result, &mut |_| ())?.bytes;
/// assert!(artefact.len() < 200);
///
/// let mut memory = Box::new(Memory::new());
/// let mut decoder = Decoder::new(&mut memory, base.len() as u32, 0);
/// let mut made = Vec::new();
/// let mut room = [0; 512];
/// loop {
///     let (source, at) = match decoder.step(&mut room)? {
///         Step::Artefact(at) => (&artefact, at),
///         Step::Base(at) => (&base, at),
///         Step::Result(at) => (&made, at),
///         Step::Output(n) => {
///             made.extend(&room[..n]);
///             continue;
///         }
///         Step::End => break,
///     };
///     let from = &source[at as usize..];
///     let room = decoder.room();
///     let n = room.len().min(from.len());
///     room[..n].copy_from_slice(&from[..n]);
///     decoder.filled(n);
/// }
/// assert_eq!(made, result);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Decoder<'m> {
    memory: &'m mut Memory,
    engine: Engine,
    prelude: Prelude,
    stage: Stage,
    fill: Fill,
    header: Option<Header>,
    base_size: u32,
    resume: u32,

    registers: Registers,
    input: [u8; INPUT],
    /// The bytes of `input` that are there and not used yet.
    from: usize,
    to: usize,
    /// Offset in the artefact of the next byte to read, and where the section ends.
    artefact: u32,
    section_end: u32,
    /// The artefact ends here.
    ended: bool,
    /// The number of the section, and where it ends in the result.
    section: usize,
    result_end: u32,

    base_window: Window,
    result_window: Window,
    /// Bytes that the caller has.
    given: u32,
    /// Bytes of the last piece that had no room.
    pending: [u8; PENDING],
    pending_from: usize,
    pending_to: usize,

    digest: Sha256,
    checksum: u8,
    /// Bytes that were read behind the section's end.
    beyond: usize,
    /// What the caller read was not all of it.
    short: bool,
}

/// Bytes that were read ahead.
struct Window {
    bytes: [u8; WINDOW],
    at: u32,
    length: usize,
}

impl Window {
    const EMPTY: Window = Window {
        bytes: [0; WINDOW],
        at: 0,
        length: 0,
    };

    fn slice(&self, at: u32, length: u32) -> Option<&[u8]> {
        let from = at.checked_sub(self.at)? as usize;
        let to = from.checked_add(length as usize)?;
        if to > self.length {
            return None;
        }
        self.bytes.get(from..to)
    }
}

impl<'m> Decoder<'m> {
    /// A decoder in this memory, for a base of so many bytes (0 if there is none).
    ///
    /// It gives the result from the byte `resume` on, or from a little before it: [`Decoder::position`] tells.
    pub fn new(memory: &'m mut Memory, base_size: u32, resume: u32) -> Decoder<'m> {
        Decoder {
            memory,
            engine: Engine::new(Layout::empty(base_size), Layout::empty(0)),
            prelude: Prelude::NEW,
            stage: Stage::Header,
            fill: Fill::Nothing,
            header: None,
            base_size,
            resume,
            registers: Registers::new(),
            input: [0; INPUT],
            from: 0,
            to: 0,
            artefact: 0,
            section_end: u32::MAX,
            ended: false,
            section: 0,
            result_end: 0,
            base_window: Window::EMPTY,
            result_window: Window::EMPTY,
            given: 0,
            pending: [0; PENDING],
            pending_from: 0,
            pending_to: 0,
            digest: Sha256::new(),
            checksum: CHECKSUM_SEED,
            beyond: 0,
            short: false,
        }
    }

    /// The artefact's header, as soon as it was read.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Offset in the result of the next byte that the decoder gives.
    pub fn position(&self) -> u32 {
        self.given
    }

    /// The room for what the last [`Step`] asked for.
    pub fn room(&mut self) -> &mut [u8] {
        let room = match self.fill {
            Fill::Nothing => None,
            Fill::Artefact => {
                let left = self.section_end.saturating_sub(self.artefact) as usize;
                let end = self.to.saturating_add(left).min(INPUT);
                self.input.get_mut(self.to..end)
            }
            Fill::Base { length, .. } => self.base_window.bytes.get_mut(..length),
            Fill::Result { length, .. } | Fill::Before { length, .. } => {
                self.result_window.bytes.get_mut(..length)
            }
        };
        room.unwrap_or_default()
    }

    /// Takes the `n` bytes that were read into [`Decoder::room`]; 0 if the artefact has ended.
    pub fn filled(&mut self, n: usize) {
        let n = n.min(self.room().len());
        match core::mem::replace(&mut self.fill, Fill::Nothing) {
            Fill::Nothing => {}
            Fill::Artefact => {
                self.to += n;
                self.artefact = self.artefact.saturating_add(n as u32);
                self.ended |= n == 0;
            }
            Fill::Base { at, length } => {
                self.short |= n < length;
                self.base_window.at = at;
                self.base_window.length = n;
            }
            Fill::Result { at, length } => {
                self.short |= n < length;
                self.result_window.at = at;
                self.result_window.length = n;
            }
            Fill::Before { at, length } => {
                // What is not there cannot be hashed; the digest will tell.
                let bytes = self.result_window.bytes;
                self.absorb(at, bytes.get(..n).unwrap_or(&[]));
                self.given = at.saturating_add(length as u32);
                self.result_window.length = 0;
            }
        }
    }

    /// Goes on. `room` takes bytes of the result; it must not be empty.
    ///
    /// # Errors
    ///
    /// If the artefact is refused. The decoder is of no use then.
    pub fn step(&mut self, room: &mut [u8]) -> Result<Step, Refused> {
        if self.short {
            return Err(Refused::Short);
        }
        loop {
            let step = match self.stage {
                Stage::Header => self.read_header()?,
                Stage::BaseLayout => self.read_base_layout()?,
                Stage::Prelude => self.read_prelude()?,
                Stage::Blocks => self.read_blocks()?,
                Stage::Before => self.read_before()?,
                Stage::Body => self.body(room)?,
                Stage::End => Some(Step::End),
            };
            if let Some(step) = step {
                return Ok(step);
            }
        }
    }

    /// Asks for more of the artefact, unless there is enough of it.
    #[inline(always)]
    fn lacks(&mut self, enough: usize) -> Option<Step> {
        if self.to - self.from >= enough || self.ended {
            return None;
        }
        self.more()
    }

    /// Asks for more of the artefact, if there is more.
    fn more(&mut self) -> Option<Step> {
        let there = self.to - self.from;
        if self.artefact >= self.section_end {
            return None;
        }
        self.input.copy_within(self.from..self.to, 0);
        self.to = there;
        self.from = 0;
        self.fill = Fill::Artefact;
        Some(Step::Artefact(self.artefact))
    }

    fn read_header(&mut self) -> Result<Option<Step>, Refused> {
        let there = self.input.get(self.from..self.to).unwrap_or(&[]);
        let length = Header::length_of(there)?;
        let enough = length.unwrap_or(8);
        if let Some(step) = self.lacks(enough) {
            return Ok(Some(step));
        }
        let there = self.input.get(self.from..self.to).unwrap_or(&[]);
        let header = Header::parse(there)?;
        if header.base_size > 0 && header.base_size != self.base_size {
            return Err(Refused::Base {
                needed: header.base_size,
                found: self.base_size,
            });
        }
        self.from += enough.min(MAX_HEADER);
        self.base_size = header.base_size;
        self.engine.base = Layout::empty(header.base_size);
        self.engine.result = Layout::empty(header.result_size);
        self.resume = self.resume.min(header.result_size.saturating_sub(1));
        self.header = Some(header);
        self.enter(0);
        self.stage = Stage::BaseLayout;
        Ok(None)
    }

    /// Notes where a section ends.
    fn enter(&mut self, number: usize) {
        let next = self
            .header
            .as_ref()
            .and_then(|header| header.sections().get(number + 1));
        self.section_end = next.map_or(u32::MAX, |section| section.artefact);
        self.result_end = next.map_or(u32::MAX, |section| section.result);
        self.section = number;
        // What was read beyond the end belongs to the next one.
        let beyond = self.artefact.saturating_sub(self.section_end) as usize;
        if beyond > 0 {
            self.artefact -= beyond.min(self.to - self.from) as u32;
            self.to -= beyond.min(self.to - self.from);
        }
    }

    fn read_base_layout(&mut self) -> Result<Option<Step>, Refused> {
        while let Some((at, length)) = self.engine.base.next_header() {
            let Some(header) = self.base_window.slice(at, length) else {
                return Ok(Some(self.read_base(at, HEADER)));
            };
            if !self.engine.base.take_header(header) {
                break;
            }
        }
        self.stage = Stage::Prelude;
        Ok(None)
    }

    fn read_base(&mut self, at: u32, least: u32) -> Step {
        // Flash is read in units of four bytes.
        let at = at & !3;
        let length = self
            .base_size
            .saturating_sub(at)
            .min((WINDOW as u32).max(least));
        self.fill = Fill::Base {
            at,
            length: length as usize,
        };
        Step::Base(at)
    }

    fn read_prelude(&mut self) -> Result<Option<Step>, Refused> {
        // Segments take some 40 bytes each.
        if let Some(step) = self.lacks(INPUT - 64) {
            return Ok(Some(step));
        }
        let mut coder = range::Decoder::new(
            self.registers,
            self.input.get(self.from..self.to).unwrap_or(&[]),
        );
        coder.begin();
        if !self
            .prelude
            .begin(&mut coder, &mut self.engine, self.memory, 0)
        {
            return Err(Refused::Malformed);
        }
        let (used, registers) = (coder.used, coder.registers);
        self.used(used, registers)?;
        self.stage = Stage::Blocks;
        Ok(None)
    }

    /// Takes note of what the coder has read, and where it is.
    fn used(&mut self, used: usize, registers: Registers) -> Result<(), Refused> {
        self.registers = registers;
        let there = self.to - self.from;
        self.from += used.min(there);
        // It reads zeros where the section has ended: as few as an encoder may have left out.
        self.beyond += used.saturating_sub(there);
        if self.beyond > range::LEAD + range::LEFT_OUT {
            return Err(Refused::Truncated);
        }
        Ok(())
    }

    fn read_blocks(&mut self) -> Result<Option<Step>, Refused> {
        while self.prelude.left > 0 {
            if let Some(step) = self.lacks(STEP_INPUT) {
                return Ok(Some(step));
            }
            let mut coder = range::Decoder::new(
                self.registers,
                self.input.get(self.from..self.to).unwrap_or(&[]),
            );
            let none = Block {
                old: 0,
                new: 0,
                length: 0,
            };
            let Engine { base, result, .. } = &self.engine;
            if !self
                .prelude
                .block(&mut coder, self.memory, base, result, none)
            {
                return Err(Refused::Malformed);
            }
            let (used, registers) = (coder.used, coder.registers);
            self.used(used, registers)?;
        }
        let header = self.header.as_ref().ok_or(Refused::Header)?;
        let (number, section) = header.section_of(self.resume);
        self.engine.begin(self.memory, section.result);
        if number > 0 {
            self.jump(number, section.artefact);
        }
        self.stage = Stage::Before;
        Ok(None)
    }

    /// Goes to a section, wherever it begins.
    fn jump(&mut self, number: usize, artefact: u32) {
        self.from = 0;
        self.to = 0;
        self.beyond = 0;
        self.artefact = artefact;
        self.enter(number);
    }

    fn read_before(&mut self) -> Result<Option<Step>, Refused> {
        if self.given < self.engine.at {
            let length = (self.engine.at - self.given).min(WINDOW as u32);
            self.fill = Fill::Before {
                at: self.given,
                length: length as usize,
            };
            return Ok(Some(Step::Result(self.given)));
        }
        if self.section > 0 {
            if let Some(step) = self.lacks(range::LEAD) {
                return Ok(Some(step));
            }
            self.begin_coder()?;
        }
        self.stage = Stage::Body;
        Ok(None)
    }

    fn begin_coder(&mut self) -> Result<(), Refused> {
        let there = self.input.get(self.from..self.to).unwrap_or(&[]);
        let mut coder = range::Decoder::new(self.registers, there);
        coder.begin();
        let (used, registers) = (coder.used, coder.registers);
        self.used(used, registers)
    }

    /// Adds bytes of the result to digest and checksum.
    fn absorb(&mut self, at: u32, bytes: &[u8]) {
        self.digest.update(bytes);
        let mut at = at;
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let region = self.engine.result.region(at, self.engine.trailer);
            let length = (region.end.saturating_sub(at) as usize).clamp(1, bytes.len());
            let (these, rest) = bytes.split_at(length);
            if let Kind::Code(_) | Kind::Data(_) = region.kind {
                self.checksum = these.iter().fold(self.checksum, |sum, byte| sum ^ byte);
            }
            at = at.saturating_add(length as u32);
            bytes = rest;
        }
    }

    /// Gives what the caller has room for.
    fn give(&mut self, room: &mut [u8], n: &mut usize) {
        let pending = self
            .pending
            .get(self.pending_from..self.pending_to)
            .unwrap_or(&[]);
        let left = room.get_mut(*n..).unwrap_or_default();
        let mut count = 0;
        for (to, from) in left.iter_mut().zip(pending) {
            *to = *from;
            count += 1;
        }
        self.pending_from += count;
        *n += count;
    }

    fn body(&mut self, room: &mut [u8]) -> Result<Option<Step>, Refused> {
        let mut n = 0;
        let step = loop {
            if self.pending_from < self.pending_to {
                self.give(room, &mut n);
                if self.pending_from < self.pending_to {
                    break None;
                }
            }
            if self.engine.at >= self.result_end {
                let next = self.section + 1;
                let header = self.header.as_ref().ok_or(Refused::Header)?;
                let section = *header.sections().get(next).ok_or(Refused::Header)?;
                self.jump(next, section.artefact);
                self.engine.begin(self.memory, section.result);
                if self.engine.at != self.given.saturating_add(n as u32) {
                    return Err(Refused::Malformed);
                }
                self.stage = Stage::Before;
                break None;
            }
            let want = self.engine.want(self.memory);
            match want {
                Want::End if n > 0 => break None,
                Want::End => return self.end().map(Some),
                // Checksum and digest are those of what was given.
                Want::Trailer { .. } if n > 0 => break None,
                Want::Trailer { left } => {
                    self.make_trailer(left);
                    continue;
                }
                _ => {}
            }
            if let Some(step) = self.lacks(STEP_INPUT) {
                break Some(step);
            }
            if let Some(step) = self.piece(want, room, &mut n)? {
                break Some(step);
            }
        };
        if n > 0 {
            self.fill = Fill::Nothing;
            self.absorb(self.given, room.get(..n).unwrap_or(&[]));
            self.given = self.given.saturating_add(n as u32);
            return Ok(Some(Step::Output(n)));
        }
        if step.is_none() && self.stage == Stage::Body {
            // Only an empty room leads here.
            return Err(Refused::Short);
        }
        Ok(step)
    }

    /// Makes one piece, or says what it is made of that is not there. The first `n` bytes of `room` are those that the caller does
    /// not have yet.
    fn piece(
        &mut self,
        want: Want,
        room: &mut [u8],
        n: &mut usize,
    ) -> Result<Option<Step>, Refused> {
        let made = room.get(..*n).unwrap_or(&[]);
        let mut near = [0; 8];
        let input = match want {
            Want::Base { at, length } => match self.base_window.slice(at, length) {
                Some(_) => self.base_window.slice(at, length).unwrap_or(&[]),
                None => return Ok(Some(self.read_base(at, AHEAD + 4))),
            },
            Want::Result { at, length } => {
                let behind = at.checked_sub(self.given).map(|behind| behind as usize);
                let near_all = behind.and_then(|from| made.get(from..from + length as usize));
                match near_all.or_else(|| self.result_window.slice(at, length)) {
                    Some(all) => all,
                    None => match self.gather(at, made, &mut near) {
                        None => near.get(..length as usize).unwrap_or(&[]),
                        Some(from) => return Ok(Some(self.read_result(from))),
                    },
                }
            }
            _ => &[],
        };
        let there = self.input.get(self.from..self.to).unwrap_or(&[]);
        let mut coder = range::Decoder::new(self.registers, there);
        let piece = self
            .engine
            .piece(self.memory, &mut coder, &mut Unknown, input);
        let (used, registers) = (coder.used, coder.registers);
        self.used(used, registers)?;
        let bytes = piece.bytes();
        if let Some(to) = room.get_mut(*n..*n + bytes.len()) {
            for (to, from) in to.iter_mut().zip(bytes) {
                *to = *from;
            }
            *n += bytes.len();
            return Ok(None);
        }
        for (to, from) in self.pending.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.pending_from = 0;
        self.pending_to = bytes.len();
        Ok(None)
    }

    /// Gathers bytes of the result that the caller has in part. Returns the first that is neither there nor in the window.
    fn gather(&self, at: u32, made: &[u8], near: &mut [u8; 8]) -> Option<u32> {
        for (place, byte) in (at..self.engine.at).zip(near) {
            let there = match place.checked_sub(self.given) {
                Some(behind) => made.get(behind as usize).copied(),
                None => self
                    .result_window
                    .slice(place, 1)
                    .and_then(|byte| byte.first().copied()),
            };
            match there {
                Some(there) => *byte = there,
                None => return Some(place),
            }
        }
        None
    }

    fn read_result(&mut self, at: u32) -> Step {
        // Flash is read in units of four bytes.
        let at = at & !3;
        let length = self.given.saturating_sub(at).min(WINDOW as u32) as usize;
        self.fill = Fill::Result { at, length };
        Step::Result(at)
    }

    /// Makes the trailer, `left` bytes before its end: the padding and the checksum, or the digest.
    fn make_trailer(&mut self, left: u32) {
        let end = self.engine.trailer.unwrap_or(0);
        let behind = end.saturating_sub(self.engine.result.checksum_end());
        self.pending = [0; PENDING];
        let length = if left > behind {
            let length = (left - behind) as usize;
            if let Some(last) = self.pending.get_mut(length.wrapping_sub(1)) {
                *last = self.checksum;
            }
            length
        } else {
            let digest = self.digest.clone().finalize();
            let skipped = (behind - left) as usize;
            for (to, byte) in self.pending.iter_mut().zip(digest.iter().skip(skipped)) {
                *to = *byte;
            }
            left as usize
        };
        self.pending_from = 0;
        self.pending_to = length.min(PENDING);
        self.engine.at = self.engine.at.saturating_add(length as u32);
    }

    fn end(&mut self) -> Result<Step, Refused> {
        let header = self.header.as_ref().ok_or(Refused::Header)?;
        let digest = core::mem::replace(&mut self.digest, Sha256::new()).finalize();
        if digest.as_slice() != header.result || self.given != header.result_size {
            return Err(Refused::Digest);
        }
        self.stage = Stage::End;
        Ok(Step::End)
    }
}
