//! What the tests share: images that look like firmware, and a decoder that is fed in a chosen way.

#![allow(dead_code)]

use s3ota_codec::{Decoder, Memory, Refused, Step};

/// Numbers that look random, the same for a seed.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 ^ self.0 >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ mixed >> 29
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

/// How a decoder is fed.
#[derive(Clone, Copy)]
pub struct Feed {
    /// Most bytes of the artefact at once.
    pub artefact: usize,
    /// Room for the result.
    pub room: usize,
    /// Where it begins.
    pub resume: u32,
}

pub const WHOLE: Feed = Feed {
    artefact: usize::MAX,
    room: 4096,
    resume: 0,
};

/// What a decoder did.
pub struct Decoded {
    /// The result from where the decoder began.
    pub result: Vec<u8>,
    /// Where that was.
    pub start: u32,
    /// Bytes of the artefact that were read.
    pub read: usize,
    /// Calls of `step`.
    pub steps: usize,
}

/// Decodes an artefact. `before` is what is known of the result already.
pub fn decode(base: &[u8], artefact: &[u8], feed: Feed, before: &[u8]) -> Result<Decoded, Refused> {
    let mut memory = Box::new(Memory::new());
    let mut decoder = Decoder::new(&mut memory, base.len() as u32, feed.resume);
    let mut made: Option<(u32, Vec<u8>)> = None;
    let mut room = vec![0; feed.room];
    let (mut read, mut steps) = (0, 0);
    loop {
        steps += 1;
        let step = decoder.step(&mut room)?;
        let all: Vec<u8>;
        let (source, at, most): (&[u8], u32, usize) = match step {
            Step::Artefact(at) => (artefact, at, feed.artefact),
            Step::Base(at) => (base, at, usize::MAX),
            Step::Result(at) => {
                let (start, bytes) = match &made {
                    Some((start, bytes)) => (*start as usize, &bytes[..]),
                    None => (before.len(), &[][..]),
                };
                all = [&before[..start], bytes].concat();
                (&all, at, usize::MAX)
            }
            Step::Output(n) => {
                let start = decoder.position() - n as u32;
                let (_, bytes) = made.get_or_insert((start, Vec::new()));
                bytes.extend(&room[..n]);
                continue;
            }
            Step::End => {
                let (start, result) = made.unwrap_or_default();
                return Ok(Decoded {
                    result,
                    start,
                    read,
                    steps,
                });
            }
        };
        let rest = source.get(at as usize..).unwrap_or(&[]);
        let room = decoder.room();
        assert!(!room.is_empty(), "{step:?} without room");
        let n = room.len().min(rest.len()).min(most);
        room[..n].copy_from_slice(&rest[..n]);
        if let Step::Artefact(_) = step {
            read += n;
        }
        decoder.filled(n);
    }
}

/// A firmware for the C3 that no chip can run: functions that call each other and refer to data, pointers to them, and texts.
///
/// `changed` inserts something into some functions and texts.
pub fn firmware(functions: usize, seed: u64, changed: bool) -> Vec<u8> {
    const CODE: u32 = 0x4200_0020;
    const DATA: u32 = 0x3c00_0020;
    let mut numbers = Numbers(seed);
    let plans: Vec<Vec<u64>> = (0..functions)
        .map(|_| {
            let length = 20 + numbers.below(60);
            (0..length).map(|_| numbers.next()).collect()
        })
        .collect();
    let texts: Vec<Vec<u8>> = (0..functions)
        .map(|i| {
            let mut text =
                format!("text number {i} of the firmware, {}", numbers.next() % 1000).into_bytes();
            if changed && i % 50 == 7 {
                text.extend(b", which is new");
            }
            text.push(0);
            text
        })
        .collect();
    // The sizes first: what is inserted moves everything behind it.
    let size = |i: usize| 4 * plans[i].len() + if changed && i % 40 == 3 { 12 } else { 0 } + 4;
    let mut starts = Vec::new();
    let mut at = CODE;
    for i in 0..functions {
        starts.push(at);
        at += size(i) as u32;
    }
    let mut places = Vec::new();
    let mut data = Vec::new();
    for text in &texts {
        places.push(DATA + data.len() as u32);
        data.extend(text);
    }
    data.resize(data.len().next_multiple_of(4), 0);
    for start in &starts {
        data.extend(start.to_le_bytes());
    }
    let mut code: Vec<u8> = Vec::new();
    for (i, plan) in plans.iter().enumerate() {
        if changed && i % 40 == 3 {
            for word in [0x0015_0513_u32, 0x0026_0613, 0x0037_0713] {
                code.extend(word.to_le_bytes());
            }
        }
        let mut words = plan.iter().peekable();
        while let Some(&number) = words.next() {
            let pc = CODE + code.len() as u32;
            let other = (number >> 8) as usize % functions;
            match number % 8 {
                0 | 1 => code.extend(jal(pc, starts[other]).to_le_bytes()),
                2 | 3 if words.peek().is_some() => {
                    words.next();
                    let offset = places[other].wrapping_sub(pc);
                    let high = offset.wrapping_add(0x800) & 0xffff_f000;
                    code.extend((high | 0x517).to_le_bytes());
                    let low = offset.wrapping_sub(high) & 0xfff;
                    code.extend((low << 20 | 0x0005_0513).to_le_bytes());
                }
                kind => {
                    let registers = (number >> 16) as u32 & 0x00f7_8f80;
                    code.extend((registers | 0x33 | (kind as u32 & 1) << 30).to_le_bytes());
                }
            }
        }
        code.extend([0x82, 0x80, 0x01, 0x00]);
    }
    image(5, &[(DATA, data), (CODE, code)])
}

fn jal(pc: u32, target: u32) -> u32 {
    let o = target.wrapping_sub(pc);
    (o >> 20 & 1) << 31
        | (o >> 1 & 0x3ff) << 21
        | (o >> 11 & 1) << 20
        | (o >> 12 & 0xff) << 12
        | 0xef
}

/// An app image of these segments, with checksum and digest.
pub fn image(chip: u8, segments: &[(u32, Vec<u8>)]) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let mut image = vec![0; 24];
    image[0] = 0xe9;
    image[1] = segments.len() as u8;
    image[12] = chip;
    image[23] = 1;
    let mut checksum = 0xef;
    for (address, data) in segments {
        image.extend(address.to_le_bytes());
        image.extend((data.len() as u32).to_le_bytes());
        image.extend(data);
        checksum = data.iter().fold(checksum, |sum, byte| sum ^ byte);
    }
    image.resize((image.len() & !15) + 15, 0);
    image.push(checksum);
    let digest = Sha256::digest(&image);
    image.extend(digest);
    image
}
