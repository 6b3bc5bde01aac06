//! The encoder, for the host.

mod anchors;
mod apply;
mod noise;
mod parse;
mod range;
mod report;

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::hash::{BuildHasherDefault, Hasher};
use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::blocks::{Block, MAX_SIZE};
use crate::engine::{Engine, Truth, Want};
use crate::gap::Op;
use crate::header::{Header, Section};
use crate::layout::{DIGEST, Layout};
use crate::prelude::Prelude;
use crate::{Isa, Memory};

/// A map by keys that are hashes already.
type ByHash<T> = HashMap<u64, T, BuildHasherDefault<Hashed>>;

/// The hash of a hash.
#[derive(Debug, Clone, Copy, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

pub use apply::apply;
pub use report::{Cost, Report};

/// Bytes of an artefact after which a new section begins.
const SECTION: usize = 60 * 1024;

/// An artefact, and what it costs.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// The artefact.
    pub bytes: Vec<u8>,
    /// What it costs, and why.
    pub report: Report,
}

/// Why no artefact can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CannotEncode {
    /// An image is larger than 16 MiB.
    TooLarge,
    /// The image to make is empty.
    Empty,
    /// The artefact would have too many sections.
    TooManySections,
    /// What was coded would be decoded to something else, from this offset of the new image on: a defect of this encoder.
    Contradiction(u32),
}

impl fmt::Display for CannotEncode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CannotEncode::TooLarge => f.write_str("an image is larger than 16 MiB"),
            CannotEncode::Empty => f.write_str("the new image is empty"),
            CannotEncode::TooManySections => {
                f.write_str("the artefact would be larger than 3.5 MiB")
            }
            CannotEncode::Contradiction(at) => write!(
                f,
                "a device would not get the new image, from its byte {at} on: this is a defect of s3ota, please report it with both images"
            ),
        }
    }
}

impl core::error::Error for CannotEncode {}

/// Makes the artefact that turns `base` into `result`. With an empty base it is the compressed image. `progress` is told how far
/// it is, from 0 to 1.
///
/// The device's decoder has made `result` of what this returns.
///
/// # Errors
///
/// If an image is too large, `result` is empty, or the decoder makes something else.
pub fn encode(
    base: &[u8],
    result: &[u8],
    progress: &mut dyn FnMut(f32),
) -> Result<Encoded, CannotEncode> {
    if base.len() > MAX_SIZE as usize || result.len() > MAX_SIZE as usize {
        return Err(CannotEncode::TooLarge);
    }
    if result.is_empty() {
        return Err(CannotEncode::Empty);
    }
    let (mut old, mut new) = (Layout::of(base), Layout::of(result));
    if !new.can_be_coded(&old) {
        new = Layout::empty(new.size);
    }
    find_code(&mut old, base);
    find_code(&mut new, result);
    let trailer = trailer(&new, result);
    // Where there is nothing to find, nothing is looked for.
    let is_noise = noise::is_noise(base, result);
    let (blocks, known, passes) = if is_noise {
        (Vec::new(), parse::Known::default(), 1)
    } else {
        let share = &mut |part| progress(part * 0.4);
        let blocks = anchors::blocks(&old, base, &new, result, trailer, share);
        let known = parse::Known::of(&old, base, &new, result, trailer);
        (blocks, known, PASSES)
    };
    let mut memory = Box::new(Memory::new());
    let mut best: Option<Encoded> = None;
    let mut prices = parse::Prices::default();
    for pass in 0..passes {
        let mut writer = Writer {
            base,
            result,
            old,
            new,
            trailer,
            blocks: &blocks,
            known: &known,
        };
        let share = 0.6 / passes as f32;
        let start = 0.4 + share * pass as f32;
        let (encoded, learned) = writer.write(&mut memory, &prices, &mut |part| {
            progress(start + part * share)
        })?;
        prices = learned;
        if best
            .as_ref()
            .is_none_or(|best| encoded.bytes.len() < best.bytes.len())
        {
            best = Some(encoded);
        }
    }
    let best = best.ok_or(CannotEncode::Empty)?;
    // The device's decoder has the last word: what it could not decode must not be given away.
    let decoded = apply(base, &best.bytes).unwrap_or_default();
    if decoded != result {
        let same = decoded
            .iter()
            .zip(result)
            .take_while(|(is, told)| is == told);
        return Err(CannotEncode::Contradiction(same.count() as u32));
    }
    progress(1.0);
    Ok(best)
}

/// How often the gaps are parsed: each time with what the time before has learned of prices.
const PASSES: usize = 4;

/// Marks the segments that hold code: where functions return often.
fn find_code(layout: &mut Layout, image: &[u8]) {
    let isa = layout.isa;
    let (returns, step): (&[[u8; 2]], usize) = match isa {
        Isa::Riscv => (&[[0x82, 0x80]], 2),
        Isa::Xtensa => (&[[0x1d, 0xf0], [0x0d, 0xf0]], 1),
        Isa::None => return,
    };
    for segment in layout.segments_mut() {
        let bytes = image
            .get(segment.offset as usize..segment.end() as usize)
            .unwrap_or(&[]);
        let windows = bytes.windows(2).step_by(step);
        let found = windows
            .filter(|pair| returns.iter().any(|known| known == pair))
            .count();
        segment.code = found * 800 > bytes.len();
    }
}

/// Where the trailer ends, if it is as it must be.
fn trailer(layout: &Layout, image: &[u8]) -> Option<u32> {
    if layout.segments().is_empty() {
        return None;
    }
    let (data, end) = (layout.data_end() as usize, layout.checksum_end() as usize);
    let mut padding = vec![0; end.checked_sub(data)?];
    let mut checksum = 0xef;
    for segment in layout.segments() {
        let bytes = image.get(segment.offset as usize..segment.end() as usize)?;
        checksum = bytes.iter().fold(checksum, |sum, byte| sum ^ byte);
    }
    *padding.last_mut()? = checksum;
    if image.get(data..end)? != padding {
        return None;
    }
    let digest = image.get(end..end + DIGEST as usize);
    let is_digest = digest.is_some_and(|digest| *digest == *Sha256::digest(&image[..end]));
    Some(if is_digest {
        end as u32 + DIGEST
    } else {
        end as u32
    })
}

struct Writer<'a> {
    base: &'a [u8],
    result: &'a [u8],
    old: Layout,
    new: Layout,
    trailer: Option<u32>,
    blocks: &'a [Block],
    known: &'a parse::Known,
}

/// What the engine is told.
struct Told<'a> {
    result: &'a [u8],
    plan: parse::Plan,
}

impl Truth for Told<'_> {
    fn op(&mut self, at: u32) -> Op {
        self.plan.op(at)
    }

    fn ahead(&self, at: u32) -> &[u8] {
        let rest = self.result.get(at as usize..).unwrap_or(&[]);
        rest.get(..64).unwrap_or(rest)
    }
}

impl Writer<'_> {
    fn write(
        &mut self,
        memory: &mut Memory,
        prices: &parse::Prices,
        progress: &mut dyn FnMut(f32),
    ) -> Result<(Encoded, parse::Prices), CannotEncode> {
        let mut coder = range::Encoder::new();
        let mut engine = Engine::new(self.old, self.new);
        engine.trailer = self.trailer;
        let mut prelude = Prelude::NEW;
        prelude.begin(&mut coder, &mut engine, memory, self.blocks.len() as u32);
        for block in self.blocks {
            prelude.block(&mut coder, memory, &engine.base, &engine.result, *block);
        }
        let mut report = Report {
            table: coder.len(),
            blocks: self.blocks.len(),
            ..Report::default()
        };
        engine.begin(memory, 0);
        let plan = parse::plan(
            &engine,
            memory,
            self.base,
            self.result,
            self.blocks,
            self.known,
            prices,
            progress,
        );
        let mut told = Told {
            result: self.result,
            plan,
        };
        let mut learned = parse::Prices::measuring(prices, self.result.len());
        let mut sections = Vec::new();
        loop {
            let want = engine.want(memory);
            let input = match want {
                Want::End => break,
                Want::Nothing => &[],
                Want::Base { at, length } => &self.base[at as usize..(at + length) as usize],
                Want::Result { at, length } => &self.result[at as usize..(at + length) as usize],
                Want::Trailer { left } => {
                    engine.at += left;
                    continue;
                }
            };
            if coder.len() > SECTION && engine.may_break(memory) {
                sections.push((
                    engine.at,
                    core::mem::replace(&mut coder, range::Encoder::new()),
                ));
                let at = engine.at;
                engine.begin(memory, at);
                continue;
            }
            let at = engine.at;
            let before = coder.spent();
            let doing = engine.doing();
            let piece = engine.piece(memory, &mut coder, &mut told, input);
            let actual = self.result.get(at as usize..).unwrap_or(&[]);
            let actual = actual.get(..piece.bytes().len());
            let Some(actual) = actual.filter(|actual| *actual == piece.bytes()) else {
                return Err(CannotEncode::Contradiction(at));
            };
            let spent = coder.spent() - before;
            report.add(doing, &engine, at, actual.len(), spent);
            learned.learn(doing, told.plan.last(), at, actual.len(), spent);
        }
        let ends = sections
            .into_iter()
            .map(|(end, coder)| (end, coder.finish()));
        let mut bodies: Vec<(u32, Vec<u8>)> = ends.collect();
        bodies.push((self.new.size, coder.finish()));
        let (bytes, header) = self.assemble(&bodies)?;
        report.header = header;
        Ok((Encoded { bytes, report }, learned))
    }

    /// The artefact of these sections, each with its end in the result; and how long its header is.
    fn assemble(&self, sections: &[(u32, Vec<u8>)]) -> Result<(Vec<u8>, usize), CannotEncode> {
        let digest = |image: &[u8]| Sha256::digest(image).into();
        let mut header = Header::new(
            self.base.len() as u32,
            digest(self.base),
            self.result.len() as u32,
            digest(self.result),
        );
        let length = Header::length(sections.len());
        let mut at = length;
        for (end, body) in &sections[..sections.len() - 1] {
            at += body.len();
            let section = Section {
                result: *end,
                artefact: at as u32,
            };
            if !header.add(section) {
                return Err(CannotEncode::TooManySections);
            }
        }
        let mut bytes = header.emit();
        for (_, body) in sections {
            bytes.extend(body);
        }
        Ok((bytes, length))
    }
}
