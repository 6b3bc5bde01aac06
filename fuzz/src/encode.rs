//! What the encoder makes of two images.
//!
//! The first byte: 1 has the images the other way round; 2 makes a compressed image; 4 has Xtensa code; 8 an unknown chip. The next one
//! chooses the older image. What follows are changes that make the newer one of it: kind, segment, place and value.

use s3ota_codec::encode;
use sha2::{Digest, Sha256};

use crate::input::Input;
use crate::mutate::Random;

const TURNED: u8 = 1;
const COMPRESSED: u8 = 2;
const XTENSA: u8 = 4;
const UNKNOWN: u8 = 8;

/// Where the segments lie: data that holds addresses of the code, then the code.
const ADDRESSES: [u32; 2] = [0x3c00_0020, 0x4200_0020];

/// Changes that one input can make.
const MOST: usize = 60;

/// Tokens of such inputs: changes of each kind.
pub const TOKENS: &[&[u8]] = &[
    b"\0\0\0\x10\0\x01",
    b"\x01\x01\x01\0\0\x04",
    b"\x02\x01\x02\0\0\x08",
    b"\x03\x01\0\x40\x03\0",
    b"\x04\0\0\x20\x01\x07",
    b"\x05\0\0\x24\0\x03",
    b"\x06\x01\x04\0\x80\0",
];

/// Segments of an image.
type Parts = [Vec<u8>; 2];

/// Images with a few changes, of both kinds of chips.
pub fn seeds() -> Vec<Vec<u8>> {
    let changes = TOKENS.concat();
    let seed = |flags: u8, base: u8| [&[flags, base][..], &changes].concat();
    [0, TURNED, COMPRESSED, XTENSA, UNKNOWN, XTENSA | TURNED]
        .into_iter()
        .enumerate()
        .map(|(i, flags)| seed(flags, i as u8))
        .collect()
}

/// Encodes, and decodes to the byte.
pub fn target(data: &[u8]) {
    let mut input = Input::new(data);
    let flags = input.byte();
    let older = parts(flags & XTENSA != 0, input.byte());
    let mut newer = older.clone();
    let mut addresses = ADDRESSES;
    for _ in 0..MOST {
        if input.is_empty() {
            break;
        }
        change(&mut newer, &mut addresses, &mut input);
    }
    let chip = match flags {
        _ if flags & UNKNOWN != 0 => 77,
        _ if flags & XTENSA != 0 => 9,
        _ => 5,
    };
    let mut images = [
        image(chip, &ADDRESSES, &older),
        image(chip, &addresses, &newer),
    ];
    if flags & TURNED != 0 {
        images.reverse();
    }
    if flags & COMPRESSED != 0 {
        images[0].clear();
    }
    let [base, result] = images;
    let made = encode::encode(&base, &result, &mut |_| ()).expect("the images can be encoded");
    let decoded = encode::apply(&base, &made.bytes).expect("what was encoded is decoded");
    assert!(decoded == result, "another image");
}

/// Data and code: words that are addresses, calls, jumps, branches, addresses in two parts, and loads of them.
fn parts(xtensa: bool, seed: u8) -> Parts {
    let mut random = Random::new(seed.into());
    let mut data = Vec::new();
    let mut code = Vec::new();
    for i in 0..150 {
        let word = match i % 3 {
            0 => ADDRESSES[0] + random.below(600) as u32,
            1 => ADDRESSES[1] + random.below(2400) as u32,
            _ => random.number() as u32,
        };
        data.extend(word.to_le_bytes());
    }
    for i in 0..600_u32 {
        let n = random.number() as u32;
        let word = match (i % 8, xtensa) {
            (0, false) => 0x63 | n & 0x01ff_f000 | (n & 15) << 8,
            (1, false) => 0x6f | (n & 0x1ff) << 21,
            (2, false) => 0xef | (n & 0x1ff) << 21,
            (3, false) => 0xa001_c001 | (n & 7) << 3,
            (4, false) => 0x0517 | (n & 3) << 12,
            (5, false) => 0x0005_0513 | n << 20,
            (6, false) => 0x3c00_0537 | (n & 3) << 12,
            (_, false) => 0x8082_0001,
            (0, true) => 0x0025 | n & 0x003f_ffc0,
            (1, true) => 0x21 | n & 0xf0 | 0x00ff_0000 | (n & 0xff) << 8,
            (2, true) => 0x06 | (n & 0xff) << 8,
            (3, true) => ADDRESSES[1] + (n & 0x7ff),
            (_, true) => 0xf01d_0136,
        };
        code.extend(word.to_le_bytes());
    }
    [data, code]
}

/// Makes one change.
fn change(parts: &mut Parts, addresses: &mut [u32; 2], input: &mut Input) {
    let kind = input.byte();
    let segment = usize::from(input.byte() & 1);
    let part = &mut parts[segment];
    let at = usize::from(input.number());
    let value = input.number();
    if part.len() < 64 {
        return;
    }
    let at = at % (part.len() - 32);
    let word = at & !3;
    let mut patch = |with: &dyn Fn(u32) -> u32| {
        let old = part[word..word + 4]
            .try_into()
            .map_or(0, u32::from_le_bytes);
        part[word..word + 4].copy_from_slice(&with(old).to_le_bytes());
    };
    match kind % 7 {
        0 => patch(&|old| old.wrapping_add_signed((value as i16).into())),
        1 => drop(part.splice(at..at, vec![kind; usize::from(value % 40)])),
        2 => drop(part.drain(at..at + usize::from(value % 24))),
        3 => {
            let from = usize::from(value) % (part.len() - 32);
            let moved = part[from..from + 24].to_vec();
            part.splice(at..at, moved);
        }
        4 => part[at] ^= value as u8,
        5 => patch(&|_| ADDRESSES[usize::from(value & 1)] + u32::from(value >> 1)),
        _ => {
            patch(&|old| old ^ u32::from(value) << 16);
            // Now and then a segment goes elsewhere.
            if value % 16 == 1 {
                addresses[segment] ^= u32::from(value) << 16;
            }
        }
    }
}

/// An app image of these segments, with checksum and digest.
fn image(chip: u8, addresses: &[u32; 2], parts: &Parts) -> Vec<u8> {
    let mut image = vec![0; 24];
    (image[0], image[1], image[12], image[23]) = (0xe9, 2, chip, 1);
    let mut checksum = 0xef;
    for (address, part) in addresses.iter().zip(parts) {
        image.extend(address.to_le_bytes());
        image.extend((part.len() as u32).to_le_bytes());
        image.extend(part);
        checksum = part.iter().fold(checksum, |sum, byte| sum ^ byte);
    }
    image.resize((image.len() & !15) + 15, 0);
    image.push(checksum);
    let digest = Sha256::digest(&image);
    image.extend(digest);
    image
}
