//! What is encoded is decoded to the byte, whatever the images are and however the decoder is fed.

mod support;

use s3ota_codec::encode::{CannotEncode, apply, encode};
use s3ota_codec::{Decoder, Header, Memory, Step};
use support::{Feed, Numbers, WHOLE, decode, firmware, image};

fn check(base: &[u8], result: &[u8]) -> usize {
    let encoded = encode(base, result, &mut |_| ()).unwrap();
    assert!(apply(base, &encoded.bytes).unwrap() == result);
    encoded.bytes.len()
}

#[test]
fn memory_is_within_32_kib() {
    let size = size_of::<Memory>() + size_of::<Decoder>();
    assert!(size <= 32 * 1024, "{size} bytes");
}

#[test]
fn a_firmware_that_moved_costs_little() {
    let (old, new) = (firmware(900, 1, false), firmware(900, 1, true));
    assert!(old.len() > 150_000 && old != new);
    let delta = check(&old, &new);
    // 23 functions and 18 texts have grown: a dozen bytes each, the header, and no more for the thousands of references.
    assert!(delta < 1_300, "{delta} bytes");
    let same = check(&old, &old);
    assert!(same < 130, "{same} bytes");
}

#[test]
fn small_and_strange_images() {
    let mut numbers = Numbers(7);
    let noise = numbers.bytes(3000);
    let firmware = firmware(30, 2, false);
    let bases: [&[u8]; 6] = [&[], &[1], &noise, &firmware, &[0; 5000], &firmware[..4001]];
    for base in bases {
        for length in [1, 2, 3, 4, 5, 23, 24, 25, 31, 33, 100, 4095] {
            check(base, &firmware[..length]);
            check(base, &noise[..length.min(noise.len())]);
            check(base, &vec![0xff; length]);
        }
        check(base, &firmware);
    }
}

#[test]
fn random_edits() {
    let mut numbers = Numbers(11);
    let base = firmware(120, 3, false);
    for _ in 0..24 {
        let mut result = base.clone();
        for _ in 0..numbers.below(30) {
            let at = numbers.below(result.len() - 200);
            match numbers.below(4) {
                0 => result[at] ^= 1 << numbers.below(8),
                1 => drop(result.drain(at..at + numbers.below(150))),
                2 => {
                    let n = numbers.below(90);
                    result.splice(at..at, numbers.bytes(n));
                }
                _ => {
                    let from = numbers.below(result.len() - 200);
                    let moved = result[from..from + numbers.below(190)].to_vec();
                    result.splice(at..at, moved);
                }
            }
        }
        check(&base, &result);
    }
}

/// Code that jumps and branches, and words that look like addresses: of what the words turn into, the jumps are predicted.
fn jumps_and_words(seed: u64, moves: &mut dyn FnMut(u32) -> u32) -> [Vec<u8>; 2] {
    const CODE: u32 = 0x4200_0020;
    const DATA: u32 = 0x3c00_0020;
    let mut numbers = Numbers(seed);
    let mut words: [Vec<u8>; 2] = Default::default();
    for _ in 0..600 {
        let word = CODE + numbers.below(8000) as u32;
        let [old, new] = &mut words;
        old.extend(word.to_le_bytes());
        // Among some that stay, so that they are copied.
        let moved = if numbers.below(6) == 0 {
            moves(word)
        } else {
            word
        };
        new.extend(moved.to_le_bytes());
    }
    let mut code: [Vec<u8>; 2] = Default::default();
    for i in 0..2000_u32 {
        let registers = numbers.next() as u32;
        let branch = registers & 0x01ff_f000 | 0x63;
        let (a, b) = (registers >> 1 & 15, numbers.next() as u32 & 15);
        let instruction = |to: u32| match i % 5 {
            0 => branch | to << 8,
            1 => 0x0000_006f | to << 21,
            2 => 0x0000_00ef | to << 21,
            3 => 0xa001_a001 | (to & 7) << 3,
            _ => 0x8082_0001,
        };
        // Some go elsewhere in the new image.
        let other = if registers & 7 == 0 { b } else { a };
        code[0].extend(instruction(a).to_le_bytes());
        code[1].extend(instruction(other).to_le_bytes());
    }
    let [old_words, new_words] = words;
    let [old_code, new_code] = code;
    [
        image(5, &[(DATA, old_words), (CODE, old_code)]),
        image(5, &[(DATA, new_words), (CODE, new_code)]),
    ]
}

#[test]
fn words_that_moved_by_an_odd_distance_before_jumps() {
    for seed in 0..20 {
        let mut numbers = Numbers(seed);
        let [old, new] = jumps_and_words(seed, &mut |word| word + numbers.below(4) as u32);
        check(&old, &new);
        check(&new, &old);
    }
}

#[test]
fn words_that_moved_as_far_as_can_be() {
    let [old, new] = jumps_and_words(3, &mut |word| word ^ 0x8000_0000);
    check(&old, &new);
    check(&new, &old);
    // And segments.
    let data = Numbers(6).bytes(500);
    let old = image(5, &[(0x3c00_0020, data.clone())]);
    let new = image(5, &[(0xbc00_0020, data)]);
    check(&old, &new);
    check(&new, &old);
}

#[test]
fn what_repeats_without_end() {
    for period in [1, 2, 3, 4, 7, 255] {
        let result: Vec<u8> = (0..300_000).map(|i| (i % period) as u8).collect();
        let size = check(&[], &result);
        assert!(size < 700, "{size} bytes for a period of {period}");
    }
}

#[test]
fn xtensa_and_unknown_chips() {
    for chip in [0, 9, 77] {
        let mut old = firmware(60, 5, false);
        let mut new = firmware(60, 5, true);
        old[12] = chip;
        new[12] = chip;
        check(&old, &new);
        check(&[], &new);
    }
    // Xtensa code that calls, jumps, and loads from a pool.
    let mut numbers = Numbers(5);
    let code = |insert: usize| {
        let mut code = vec![0x36, 0x41, 0x00];
        let mut numbers = Numbers(9);
        for i in 0..4000 {
            if i == 1000 {
                code.extend(vec![0x1d; insert]);
            }
            let b = numbers.next().to_le_bytes();
            match b[0] % 5 {
                0 => code.extend([b[1] << 6 | 0x25, b[2], b[3] & 15]),
                1 => code.extend([b[1] & 0xf0 | 1, b[2], 0xff]),
                2 => code.extend([0x06, b[1], 0x00]),
                3 => code.extend([0x1d, 0xf0]),
                _ => code.extend([b[1] & 0xf0 | 0x0c, b[2]]),
            }
        }
        code.resize(code.len().next_multiple_of(4), 0);
        code
    };
    let data = numbers.bytes(2000);
    let old = image(9, &[(0x3c00_0020, data.clone()), (0x4200_0020, code(0))]);
    let new = image(9, &[(0x3c00_0020, data), (0x4200_0020, code(8))]);
    check(&old, &new);
    check(&[], &new);
}

#[test]
fn images_that_are_signed_or_damaged() {
    let old = firmware(60, 5, false);
    // As Secure Boot V2 does: up to a sector, then a signature.
    let mut signed = firmware(60, 5, true);
    signed.resize(signed.len().next_multiple_of(4096), 0xff);
    signed.extend(Numbers(3).bytes(1216));
    signed.resize(signed.len().next_multiple_of(4096), 0xff);
    check(&old, &signed);
    // A wrong checksum and a wrong digest are kept.
    for behind in [1, 33] {
        let mut damaged = firmware(60, 5, true);
        let at = damaged.len() - behind;
        damaged[at] ^= 1;
        check(&old, &damaged);
    }
}

#[test]
fn an_image_of_two_megabytes() {
    let mut numbers = Numbers(21);
    let mut result = firmware(2_000, 8, false);
    result.extend(numbers.bytes(300_000));
    result.extend(vec![0; 1_300_000]);
    check(&[], &result);
}

#[test]
fn the_feeding_does_not_matter() {
    let (old, new) = (firmware(200, 1, false), firmware(200, 1, true));
    for base in [&old[..], &[]] {
        let artefact = encode(base, &new, &mut |_| ()).unwrap().bytes;
        for (bytes, room) in [(1, 1), (1, 4096), (7, 3), (600, 33), (usize::MAX, 64)] {
            let feed = Feed {
                artefact: bytes,
                room,
                resume: 0,
            };
            let decoded = decode(base, &artefact, feed, &[]).unwrap();
            assert!(decoded.result == new);
            assert_eq!(decoded.read, artefact.len());
        }
    }
}

#[test]
fn after_a_cut_64_kib_are_fetched_again_at_most() {
    let mut numbers = Numbers(4);
    let mut new = firmware(300, 1, false);
    new.extend(numbers.bytes(300_000));
    let artefact = encode(&[], &new, &mut |_| ()).unwrap().bytes;
    let header = Header::parse(&artefact).unwrap();
    assert!(header.sections().len() >= 5);
    let whole = decode(&[], &artefact, WHOLE, &[]).unwrap();
    assert!(whole.result == new);
    for resume in [
        1,
        4096,
        70_000,
        150_000,
        200_001,
        new.len() as u32 - 1,
        u32::MAX,
    ] {
        let feed = Feed { resume, ..WHOLE };
        let rest = decode(&[], &artefact, feed, &new).unwrap();
        assert!(rest.start <= resume);
        assert!(rest.result == new[rest.start as usize..]);
        // What of the artefact makes what is there already is not read, but for the header and one section.
        let section = header
            .sections()
            .iter()
            .rfind(|section| section.result <= resume)
            .unwrap();
        assert!(rest.read <= artefact.len() - section.artefact as usize + 1024);
    }
    for pair in header.sections().windows(2) {
        assert!(pair[1].artefact - pair[0].artefact <= 62 * 1024);
    }
}

#[test]
fn a_section_ends_in_the_middle_of_a_block_too() {
    // One block, of which no target is where it is predicted.
    let calls = |seed: u64| {
        let mut numbers = Numbers(seed);
        let mut code: Vec<u8> = Vec::new();
        for i in 0..60_000 {
            let call = numbers.next() as u32 & 0x7fff_f000 | 0xef;
            let word = if i % 50 == 0 { 0x8082_0001 } else { call };
            code.extend(word.to_le_bytes());
        }
        image(5, &[(0x4200_0020, code)])
    };
    let (old, new) = (calls(1), calls(2));
    let artefact = encode(&old, &new, &mut |_| ()).unwrap().bytes;
    let header = Header::parse(&artefact).unwrap();
    assert!(header.sections().len() >= 2, "{}", header.sections().len());
    let ends = header.sections().iter().skip(1).map(|it| it.artefact);
    let ends = ends.chain([artefact.len() as u32]);
    for (section, end) in header.sections().iter().zip(ends) {
        assert!(end - section.artefact <= 62 * 1024, "{section:?} to {end}");
        let feed = Feed {
            resume: section.result + 1,
            ..WHOLE
        };
        let rest = decode(&old, &artefact, feed, &new).unwrap();
        assert_eq!(rest.start, section.result);
        assert!(rest.result == new[rest.start as usize..]);
    }
}

#[test]
fn padding_and_tables_that_repeat_cost_little_time() {
    // No time is asserted here: without a limit on matches this takes half an hour.
    let firmware = [firmware(40, 1, false), firmware(40, 1, true)];
    let cases: [&[u8]; 4] = [
        &[0xff],
        &[0, 0, 1],
        &[7, 0, 0, 0, 9, 0, 0, 0],
        &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
    ];
    for period in cases {
        let [old, new] = firmware.clone().map(|mut image| {
            image.extend(period.iter().cycle().take(400_000));
            image
        });
        let size = check(&old, &new);
        assert!(size < 2_000, "{size} bytes with {period:?}");
    }
}

#[test]
fn what_cannot_be_encoded_is_said() {
    assert_eq!(
        encode(&[], &[], &mut |_| ()).unwrap_err(),
        CannotEncode::Empty
    );
    let huge = vec![0; (16 << 20) + 1];
    assert_eq!(
        encode(&huge, &[1], &mut |_| ()).unwrap_err(),
        CannotEncode::TooLarge
    );
}

#[test]
fn the_encoder_tells_how_far_it_is() {
    let mut last = 0.0;
    let mut told = 0;
    let (old, new) = (firmware(300, 1, false), firmware(300, 1, true));
    let mut progress = |part: f32| {
        assert!((last..=1.0).contains(&part), "{part} after {last}");
        last = part;
        told += 1;
    };
    encode(&old, &new, &mut progress).unwrap();
    assert_eq!(last, 1.0);
    assert!(told > 5);
}

#[test]
fn a_read_that_falls_short_is_refused() {
    let (old, new) = (firmware(50, 1, false), firmware(50, 1, true));
    let artefact = encode(&old, &new, &mut |_| ()).unwrap().bytes;
    let mut memory = Box::new(Memory::new());
    let mut decoder = Decoder::new(&mut memory, old.len() as u32, 0);
    let mut room = [0; 64];
    let refused = loop {
        match decoder.step(&mut room) {
            Ok(Step::Artefact(at)) => {
                let rest = &artefact[at as usize..];
                let room = decoder.room();
                let n = rest.len().min(room.len());
                room[..n].copy_from_slice(&rest[..n]);
                decoder.filled(n);
            }
            Ok(_) => decoder.filled(3),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused, s3ota_codec::Refused::Short);
}
