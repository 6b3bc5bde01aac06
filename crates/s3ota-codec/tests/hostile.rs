//! A hostile artefact can do nothing but be refused.

mod support;

use s3ota_codec::encode::encode;
use s3ota_codec::{Header, MAGIC, MAX_HEADER, Refused, VERSION};
use support::{Numbers, WHOLE, decode, firmware};

/// Decodes, and holds the decoder to its bounds.
fn attempt(base: &[u8], artefact: &[u8], right: &[u8]) {
    let promised = Header::parse(artefact).map_or(0, |header| header.result_size as usize);
    if let Ok(decoded) = decode(base, artefact, WHOLE, &vec![0; promised]) {
        // What passes is what was promised.
        assert!(decoded.result.len() <= promised);
        assert!(decoded.result == right);
        // Room for 4 KiB, windows of 256 bytes: a step makes some bytes of the result, or reads some of the artefact.
        assert!(decoded.steps <= 64 + 2 * promised + artefact.len());
    }
}

#[test]
fn truncated_artefacts_are_refused() {
    let (old, new) = (firmware(60, 1, false), firmware(60, 1, true));
    for base in [&old[..], &[]] {
        let artefact = encode(base, &new, &mut |_| ()).unwrap().bytes;
        for length in (0..artefact.len().min(600)).chain((600..artefact.len()).step_by(97)) {
            let refused = match decode(base, &artefact[..length], WHOLE, &[]) {
                Err(refused) => refused,
                Ok(decoded) => {
                    // The last bytes may be such that zeros in their place lead to the same.
                    assert!(length + 9 > artefact.len() && decoded.result == new);
                    continue;
                }
            };
            let known = [Refused::Truncated, Refused::Malformed, Refused::Digest];
            assert!(known.contains(&refused), "{refused:?}");
        }
    }
}

#[test]
fn mutated_artefacts_are_refused() {
    let (old, new) = (firmware(60, 1, false), firmware(60, 1, true));
    let mut numbers = Numbers(17);
    for base in [&old[..], &[]] {
        let artefact = encode(base, &new, &mut |_| ()).unwrap().bytes;
        for _ in 0..600 {
            let mut mutant = artefact.clone();
            for _ in 0..1 + numbers.below(4) {
                let at = numbers.below(mutant.len());
                mutant[at] ^= 1 << numbers.below(8);
            }
            attempt(base, &mutant, &new);
        }
    }
}

#[test]
fn noise_is_refused() {
    let base = firmware(20, 1, false);
    let mut numbers = Numbers(23);
    for i in 0..400 {
        let length = numbers.below(3000);
        let mut noise = numbers.bytes(length);
        // A header that passes, so that the noise comes to the decoder.
        let mut header = Vec::from(MAGIC);
        header.extend([VERSION, 1, 0, 0]);
        header.extend(if i % 2 == 0 { base.len() as u32 } else { 0 }.to_le_bytes());
        header.extend([0; 32]);
        header.extend((numbers.below(60_000) as u32).to_le_bytes());
        header.extend([0; 32]);
        header.append(&mut noise);
        let refused = decode(&base, &header, WHOLE, &[]).err();
        assert!(refused.is_some());
    }
}

#[test]
fn a_bomb_makes_no_more_than_it_promises() {
    let zeros = vec![0; 900_000];
    let mut bomb = encode(&[], &zeros, &mut |_| ()).unwrap().bytes;
    assert!(bomb.len() < 400);
    // The header promises less than what follows makes.
    bomb[44..48].copy_from_slice(&5_000_u32.to_le_bytes());
    assert_eq!(decode(&[], &bomb, WHOLE, &[]).err(), Some(Refused::Digest));
    // More than any chip has.
    bomb[44..48].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(decode(&[], &bomb, WHOLE, &[]).err(), Some(Refused::Header));
}

#[test]
fn another_base_is_refused() {
    let (old, new) = (firmware(60, 1, false), firmware(60, 1, true));
    let artefact = encode(&old, &new, &mut |_| ()).unwrap().bytes;
    let shorter = &old[..old.len() - 16];
    let refused = decode(shorter, &artefact, WHOLE, &[]).err();
    assert!(matches!(refused, Some(Refused::Base { .. })), "{refused:?}");
    let mut other = old.clone();
    other[5_000] ^= 0x10;
    assert!(decode(&other, &artefact, WHOLE, &[]).is_err());
    // Two artefacts mixed: the header of one, the rest of the other.
    let third = encode(&old, &old, &mut |_| ()).unwrap().bytes;
    let mixed = [&artefact[..80], &third[80..]].concat();
    assert!(decode(&old, &mixed, WHOLE, &[]).is_err());
}

#[test]
fn headers_that_lie_are_refused() {
    let new = firmware(60, 1, true);
    let artefact = encode(&[], &new, &mut |_| ()).unwrap().bytes;
    let with = |at: usize, byte: u8| {
        let mut bytes = artefact.clone();
        bytes[at] = byte;
        decode(&[], &bytes, WHOLE, &[]).err()
    };
    assert_eq!(with(0, b'x'), Some(Refused::NotAnArtefact));
    assert_eq!(with(4, 2), Some(Refused::Version(2)));
    assert_eq!(with(5, 0), Some(Refused::Header));
    assert_eq!(with(5, 255), Some(Refused::Header));
    assert_eq!(with(6, 1), Some(Refused::Header));
    assert!(
        with(12 + 5, 1).is_none(),
        "the base's digest is for the caller"
    );
    assert_eq!(with(48 + 5, artefact[53] ^ 1), Some(Refused::Digest));
    // Sections that go backwards.
    let mut sections = artefact[..80].to_vec();
    sections[5] = 3;
    for place in [1000_u32, 500, 900, 600] {
        sections.extend(place.to_le_bytes());
    }
    sections.resize(MAX_HEADER, 0);
    assert_eq!(Header::parse(&sections), Err(Refused::Header));
}
