//! Deltas and compressed images.
//!
//! The first byte: 1 gives the decoder the base that the artefact needs, otherwise it has none; 2 repairs the header, so that what
//! follows comes to the decoder; 4 makes the caller's room small; 8 resumes in the middle.

use std::sync::OnceLock;

use s3ota_codec::{Decoder, Header, MAGIC, Memory, Step, VERSION, encode};
use s3ota_image::Chip;
use s3ota_image::app::ImageBuilder;

use crate::input::Input;

const WITH_BASE: u8 = 1;
const RIGHT_HEADER: u8 = 2;
const SMALL_ROOM: u8 = 4;
const RESUMED: u8 = 8;

/// The most bytes of a result, so that an input does not take long.
const MOST: u32 = 100_000;

/// Tokens of artefacts.
pub const TOKENS: &[&[u8]] = &[
    b"s3od",
    &[0, 0, 0, 0],
    &[0xff, 0xff, 0xff, 0xff],
    b"s3od\x01\x01\0\0",
];

/// Two images that are alike.
fn images() -> &'static [Vec<u8>; 2] {
    static IMAGES: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let image = |version: &str, jump: u32| {
            let payload: Vec<u8> = (0..400_u32)
                .flat_map(|i| {
                    match i % 4 {
                        0 => 0x0000_00ef_u32 | (i + jump) << 21,
                        1 => 0x0000_0517 | i << 12,
                        2 => 0x0005_0513 | i << 20,
                        _ => 0x3c00_0020 + i,
                    }
                    .to_le_bytes()
                })
                .collect();
            ImageBuilder::new(Chip::Esp32C3, version)
                .payload(&payload)
                .build()
        };
        [image("1.0.0", 0), image("1.0.1", 2)]
    })
}

/// Artefacts that are right.
pub fn seeds() -> Vec<Vec<u8>> {
    let [old, new] = images();
    let make = |flags: u8, base: &[u8], result: &[u8]| {
        let made = encode::encode(base, result, &mut |_| ()).expect("the images are small");
        [&[flags][..], &made.bytes].concat()
    };
    vec![
        make(WITH_BASE, old, new),
        make(WITH_BASE | SMALL_ROOM, new, old),
        make(0, &[], new),
        make(RESUMED, &[], new),
        make(WITH_BASE | RIGHT_HEADER, old, &old[..1000]),
    ]
}

/// Decodes, and holds the decoder to its bounds: no more bytes than promised, and a bounded number of steps.
pub fn target(data: &[u8]) {
    let mut input = Input::new(data);
    let flags = input.byte();
    let base: &[u8] = if flags & WITH_BASE != 0 {
        &images()[0]
    } else {
        &[]
    };
    let mut artefact = input.rest().to_vec();
    if flags & RIGHT_HEADER != 0 {
        repair(&mut artefact, base);
    }
    let promised = match Header::parse(&artefact) {
        Ok(header) if header.result_size > MOST => return,
        Ok(header) => header.result_size,
        Err(_) => 0,
    };
    let mut room = vec![0; if flags & SMALL_ROOM != 0 { 7 } else { 4096 }];
    let resume = if flags & RESUMED != 0 {
        promised / 2
    } else {
        0
    };
    let mut memory = Box::new(Memory::new());
    let mut decoder = Decoder::new(&mut memory, base.len() as u32, resume);
    // What a device would have there from before: nothing of use.
    let mut made = vec![0xff; resume as usize];
    let bound = 1000 + 4 * promised as usize + artefact.len();
    for _ in 0..bound {
        let (source, at): (&[u8], u32) = match decoder.step(&mut room) {
            Ok(Step::Artefact(at)) => (&artefact, at),
            Ok(Step::Base(at)) => (base, at),
            Ok(Step::Result(at)) => (&made, at),
            Ok(Step::Output(n)) => {
                let end = decoder.position();
                assert!(end <= promised && n as u32 <= end);
                made.resize(end as usize - n, 0xff);
                made.extend(&room[..n]);
                continue;
            }
            Ok(Step::End) => {
                assert_eq!(made.len(), promised as usize);
                return;
            }
            Err(refused) => {
                assert!(!refused.to_string().is_empty());
                return;
            }
        };
        let rest = source.get(at as usize..).unwrap_or_default();
        let window = decoder.room();
        assert!(!window.is_empty());
        let n = window.len().min(rest.len());
        window[..n].copy_from_slice(&rest[..n]);
        decoder.filled(n);
    }
    panic!("no end after {bound} steps");
}

/// Makes the header one that is read.
fn repair(artefact: &mut Vec<u8>, base: &[u8]) {
    if artefact.len() < 80 {
        artefact.resize(80, 0);
    }
    artefact[..4].copy_from_slice(&MAGIC);
    artefact[4..8].copy_from_slice(&[VERSION, 1, 0, 0]);
    artefact[8..12].copy_from_slice(&(base.len() as u32).to_le_bytes());
    artefact[46..48].fill(0);
}
