//! What the image verifier promises.

use s3ota_image::{
    Chip, ImageError,
    app::{GuardMarker, Header, Image, ImageBuilder, PREFIX_LEN, SignatureKind, Verifier},
};
use sha2::{Digest, Sha256};

const C3_1_0_0: &[u8] = include_bytes!("fixtures/hello-esp32c3-1.0.0.bin");
const C3_1_1_0: &[u8] = include_bytes!("fixtures/hello-esp32c3-1.1.0.bin");
const C6_1_0_0: &[u8] = include_bytes!("fixtures/hello-esp32c6-1.0.0.bin");

fn verify(bytes: &[u8]) -> Result<Image, ImageError> {
    verify_pieces([bytes])
}

fn verify_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Image, ImageError> {
    let mut verifier = Verifier::new();
    for piece in pieces {
        verifier.update(piece)?;
    }
    verifier.finish()
}

/// 352 bytes: header, one segment, checksum, digest.
fn small() -> Vec<u8> {
    ImageBuilder::new(Chip::Esp32C3, "1.0.0")
        .without_guard()
        .payload(b"hello")
        .build()
}

/// An image of the given segments, with the right checksum and digest.
fn image_of(segments: &[&[u8]]) -> Vec<u8> {
    let template = Header::parse(C3_1_0_0.first_chunk().unwrap()).unwrap();
    let header = Header {
        segment_count: segments.len() as u8,
        ..template
    };
    let mut image = header.emit().to_vec();
    let mut checksum = 0xEF;
    for segment in segments {
        image.extend(0x3FC8_0000u32.to_le_bytes());
        image.extend((segment.len() as u32).to_le_bytes());
        image.extend(*segment);
        checksum = segment.iter().fold(checksum, |sum, byte| sum ^ byte);
    }
    while image.len() % 16 != 15 {
        image.push(0);
    }
    image.push(checksum);
    reseal(&mut image);
    image
}

/// Puts the right digest at the end of an image without one.
fn reseal(image: &mut Vec<u8>) {
    let digest = Sha256::digest(&image);
    image.extend(digest);
}

/// The image with a Secure Boot V2 signature sector of the given first bytes.
fn signed(image: &[u8], magic: [u8; 2]) -> Vec<u8> {
    let mut file = image.to_vec();
    file.resize(file.len().next_multiple_of(4096), 0xFF);
    file.extend(magic);
    file.resize(file.len() + 4094, 0x5A);
    file
}

// ---- Real firmware ----

#[test]
fn real_images_are_whole_and_intact() {
    for (bytes, chip, version, segments) in [
        (C3_1_0_0, Chip::Esp32C3, "1.0.0", 5),
        (C3_1_1_0, Chip::Esp32C3, "1.1.0", 5),
        (C6_1_0_0, Chip::Esp32C6, "1.0.0", 4),
    ] {
        let image = verify(bytes).unwrap();
        assert_eq!(image.header.chip(), Some(chip));
        assert_eq!(image.header.segment_count, segments);
        let descriptor = image.descriptor.unwrap();
        assert_eq!(descriptor.version(), version);
        assert_eq!(descriptor.project_name(), "s3ota-hello");
        assert_eq!(image.length as usize, bytes.len());
        assert_eq!(image.image_length as usize, bytes.len());
        assert_eq!(image.sha256[..], Sha256::digest(bytes)[..]);
        assert_eq!(image.digest[..], bytes[bytes.len() - 32..]);
        assert!(!image.signed);
    }
}

#[test]
fn header_and_descriptor_are_known_after_the_prefix() {
    let mut verifier = Verifier::new();
    verifier.update(&C3_1_1_0[..PREFIX_LEN - 1]).unwrap();
    assert!(verifier.header().is_some());
    assert!(verifier.descriptor().is_none());
    verifier
        .update(&C3_1_1_0[PREFIX_LEN - 1..PREFIX_LEN])
        .unwrap();
    assert_eq!(verifier.position() as usize, PREFIX_LEN);
    assert_eq!(verifier.descriptor().unwrap().version(), "1.1.0");
}

// ---- Any chunking gives the same ----

#[test]
fn every_split_of_a_small_image_gives_the_same() {
    let image = signed(&image_of(&[&[1; 300], &[], &[2; 4]]), [0xE7, 2]);
    let whole = verify(&image).unwrap();
    for split in 0..=image.len() {
        let (a, b) = image.split_at(split);
        assert_eq!(
            verify_pieces([a, &[], b]).unwrap(),
            whole,
            "split at {split}"
        );
    }
    assert_eq!(verify_pieces(image.chunks(1)).unwrap(), whole);
}

#[test]
fn every_split_of_a_bad_image_gives_the_same_error() {
    let mut bad_digest = small();
    *bad_digest.last_mut().unwrap() ^= 1;
    let mut trailing = small();
    trailing.extend([0xFF; 5]);
    trailing.push(0);
    for image in [bad_digest, trailing] {
        let whole = verify(&image).unwrap_err();
        for split in 0..=image.len() {
            let (a, b) = image.split_at(split);
            assert_eq!(verify_pieces([a, b]), Err(whole), "split at {split}");
        }
    }
}

#[test]
fn random_chunks_give_the_same() {
    let mut random = Random(1);
    for image in [C3_1_0_0, C3_1_1_0, C6_1_0_0] {
        let whole = verify(image).unwrap();
        for _ in 0..20 {
            let mut rest = image;
            let mut verifier = Verifier::new();
            let most = 1 << (random.next() % 14);
            while !rest.is_empty() {
                let length = (random.next() as usize % most + 1).min(rest.len());
                let (piece, after) = rest.split_at(length);
                verifier.update(piece).unwrap();
                rest = after;
            }
            assert_eq!(verifier.finish().unwrap(), whole);
        }
    }
}

// ---- What is refused ----

#[test]
fn every_truncation_is_refused() {
    let image = small();
    for length in 0..image.len() {
        match verify(&image[..length]) {
            Err(ImageError::Truncated {
                length: got,
                needed,
            }) => {
                assert_eq!(got as usize, length);
                assert!(needed as usize > length && needed as usize <= image.len());
            }
            other => panic!("{length} of {} bytes: {other:?}", image.len()),
        }
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let image = small();
    for byte in 0..image.len() {
        for bit in 0..8 {
            let mut flipped = image.clone();
            flipped[byte] ^= 1 << bit;
            assert!(verify(&flipped).is_err(), "bit {bit} of byte {byte}");
        }
    }
}

#[test]
fn one_flipped_bit_in_real_firmware_is_a_digest_error() {
    let mut flipped = C3_1_1_0.to_vec();
    flipped[50_000] ^= 0x10;
    // The checksum is wrong too; the digest is the stronger witness.
    let error = verify(&flipped).unwrap_err();
    assert_eq!(error, ImageError::Digest);
    assert_eq!(error.code(), "image.digest");
}

#[test]
fn a_wrong_checksum_under_a_right_digest_is_refused() {
    let mut image = small();
    image.truncate(image.len() - 32);
    let stored = image.last().unwrap() ^ 0xFF;
    *image.last_mut().unwrap() = stored;
    reseal(&mut image);
    let error = verify(&image).unwrap_err();
    let computed = stored ^ 0xFF;
    assert_eq!(error, ImageError::Checksum { computed, stored });
    assert_eq!(error.code(), "image.digest");
}

#[test]
fn without_a_digest_the_checksum_still_counts() {
    let mut image = ImageBuilder::new(Chip::Esp32C3, "1.0.0")
        .without_digest()
        .build();
    image[100] ^= 1;
    assert!(matches!(verify(&image), Err(ImageError::Checksum { .. })));
}

#[test]
fn an_image_without_a_digest_is_refused_and_told_how_to_get_one() {
    let image = ImageBuilder::new(Chip::Esp32C3, "1.0.0")
        .without_digest()
        .build();
    let error = verify(&image).unwrap_err();
    assert_eq!(error, ImageError::NoDigest);
    assert_eq!(error.code(), "image.digest");
    assert!(error.to_string().contains("--dont-append-digest"));

    let with_more = [image.as_slice(), &[0; 100]].concat();
    assert_eq!(verify(&with_more), Err(ImageError::NoDigest));
}

#[test]
fn text_is_refused_at_its_first_byte() {
    let mut verifier = Verifier::new();
    let error = verifier.update(b"<").unwrap_err();
    assert_eq!(error, ImageError::NotAnImage { first_byte: b'<' });
    assert_eq!(error.code(), "image.invalid");
}

#[test]
fn an_erased_flash_is_not_an_image() {
    let error = ImageError::NotAnImage { first_byte: 0xFF };
    assert_eq!(verify(&[0xFF; 4096]), Err(error));
}

#[test]
fn zero_and_seventeen_segments_are_refused() {
    for count in [0, 17] {
        let mut image = small();
        image[1] = count;
        let error = verify(&image).unwrap_err();
        assert_eq!(error, ImageError::Segments { count });
        assert_eq!(error.code(), "image.invalid");
    }
}

#[test]
fn one_and_sixteen_segments_are_accepted() {
    for count in [1, 16] {
        let segments: Vec<&[u8]> = vec![&[7; 260]; count];
        let image = verify(&image_of(&segments)).unwrap();
        assert_eq!(usize::from(image.header.segment_count), count);
    }
}

#[test]
fn a_segment_length_no_bootloader_takes_is_refused_before_its_data() {
    for length in [1, 6, 0x0100_0000, u32::MAX - 3, u32::MAX] {
        let mut prefix = small()[..32].to_vec();
        prefix[28..32].copy_from_slice(&length.to_le_bytes());
        let error = verify(&prefix).unwrap_err();
        assert_eq!(error, ImageError::SegmentSize { index: 0, length });
        assert_eq!(error.code(), "image.invalid");
    }
}

#[test]
fn the_error_names_the_segment() {
    let mut image = image_of(&[&[1; 4], &[2; 4]]);
    image[24 + 8 + 4 + 4] = 5;
    let error = ImageError::SegmentSize {
        index: 1,
        length: 5,
    };
    assert_eq!(verify(&image), Err(error));
}

#[test]
fn an_error_stays() {
    let mut verifier = Verifier::new();
    let error = verifier.update(b"x").unwrap_err();
    assert_eq!(verifier.update(&small()), Err(error));
    assert_eq!(verifier.update(&[]), Err(error));
    assert_eq!(verifier.finish(), Err(error));
}

// ---- Padding and descriptor ----

#[test]
fn the_checksum_ends_a_block_of_sixteen_wherever_the_data_ends() {
    for words in 0..8 {
        let data = vec![0xA5; words * 4];
        verify(&image_of(&[&data])).unwrap();
    }
}

#[test]
fn an_image_without_a_descriptor_is_an_image() {
    let long = verify(&image_of(&[&[0; 512]])).unwrap();
    assert_eq!(long.descriptor, None);
    let short = verify(&image_of(&[&[0; 64], &[0; 512]])).unwrap();
    assert_eq!(short.descriptor, None);
}

#[test]
fn a_descriptor_counts_in_the_first_segment_only() {
    let descriptor = &C3_1_0_0[32..PREFIX_LEN];
    assert!(
        verify(&image_of(&[descriptor]))
            .unwrap()
            .descriptor
            .is_some()
    );
    let second = verify(&image_of(&[&[0; 256], descriptor])).unwrap();
    assert_eq!(second.descriptor, None);
}

// ---- Where segments lie ----

/// A small image whose only segment is to lie at `address`, with this MMU page size.
fn image_at(chip: Chip, address: u32, page_bits: u8) -> Vec<u8> {
    let mut image = ImageBuilder::new(chip, "1.0.0").build();
    image[24..28].copy_from_slice(&address.to_le_bytes());
    let page_byte = 32 + 180;
    let checksum = image.len() - 33;
    image[checksum] ^= image[page_byte] ^ page_bits;
    image[page_byte] = page_bits;
    image.truncate(checksum + 1);
    reseal(&mut image);
    image
}

#[test]
fn a_mapped_segment_lies_at_the_same_place_in_its_page_in_flash_and_memory() {
    // The first and the last page of both windows of every chip, by ESP-IDF's `soc.h`.
    let windows = |chip| match chip {
        Chip::Esp32 => [0x3F40_0000, 0x3F7F_0000, 0x400D_0000, 0x403F_0000],
        Chip::Esp32S2 => [0x3F00_0000, 0x3FF7_0000, 0x4008_0000, 0x407F_0000],
        Chip::Esp32S3 => [0x3C00_0000, 0x3DFF_0000, 0x4200_0000, 0x43FF_0000],
        Chip::Esp32C2 => [0x3C00_0000, 0x3C3F_0000, 0x4200_0000, 0x423F_0000],
        Chip::Esp32C3 => [0x3C00_0000, 0x3C7F_0000, 0x4200_0000, 0x427F_0000],
        Chip::Esp32P4 => [0x4000_0000, 0x4100_0000, 0x4200_0000, 0x43FF_0000],
        _ => [0x4200_0000, 0x4210_0000, 0x4280_0000, 0x42FF_0000],
    };
    for chip in Chip::ALL {
        for page in windows(chip) {
            verify(&image_at(chip, page + 32, 16)).unwrap();
            for offset in [0, 28, 33, 0x1000 + 32] {
                let address = page + offset;
                let error = verify(&image_at(chip, address, 16)).unwrap_err();
                assert_eq!(error, ImageError::SegmentAddress { index: 0, address });
                assert_eq!(error.code(), "image.invalid");
            }
        }
    }
}

#[test]
fn behind_the_first_segment_the_page_is_as_large_as_the_descriptor_says() {
    let at = |offset: u32, page_bits| {
        let mut descriptor = C6_1_0_0[32..288].to_vec();
        descriptor[180] = page_bits;
        let mut image = image_of(&[&descriptor, &[2; 4]]);
        image[12] = Chip::Esp32C6.id() as u8;
        let header = 24 + 8 + 256;
        let address = 0x4200_0000 + header as u32 + 8 + offset;
        image[header..header + 4].copy_from_slice(&address.to_le_bytes());
        image.truncate(image.len() - 32);
        reseal(&mut image);
        match verify(&image) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error, ImageError::SegmentAddress { index: 1, address });
                false
            }
        }
    };
    for bits in 13..=16 {
        assert!(at(0, bits) && at(0x1_0000, bits));
        assert!(at(1 << bits, bits) && !at(1 << (bits - 1), bits), "{bits}");
    }
    // Older ESP-IDF does not say, and other numbers are none: 8 KiB at the least.
    for bits in [0, 12, 17, 255] {
        assert!(at(0x2000, bits) && !at(0x1000, bits));
    }
}

#[test]
fn a_segment_in_ram_may_lie_anywhere() {
    for (chip, address) in [
        (Chip::Esp32, 0x3FFB_0000),
        (Chip::Esp32, 0x4008_0400),
        (Chip::Esp32S2, 0x3FFB_8004),
        (Chip::Esp32C3, 0x3FC8_1234),
        (Chip::Esp32C3, 0x4038_0000),
        (Chip::Esp32C6, 0x4080_0004),
        (Chip::Esp32P4, 0x4FF0_0004),
    ] {
        verify(&image_at(chip, address, 16)).unwrap();
    }
}

#[test]
fn every_later_segment_is_looked_at_too() {
    let mut image = image_of(&[&[1; 300], &[2; 4]]);
    let header = 24 + 8 + 300;
    image[header..header + 4].copy_from_slice(&0x4200_0000u32.to_le_bytes());
    let error = ImageError::SegmentAddress {
        index: 1,
        address: 0x4200_0000,
    };
    assert_eq!(verify(&image), Err(error));
    let right = 0x4200_0000 + header as u32 + 8;
    image[header..header + 4].copy_from_slice(&right.to_le_bytes());
    image.truncate(image.len() - 32);
    reseal(&mut image);
    verify(&image).unwrap();
}

// ---- The boot guard's marker ----

const GUARD: GuardMarker = GuardMarker::new(GuardMarker::ESP_HAL, 1);

#[test]
fn a_marker_anywhere_in_any_segment_is_found() {
    let plain = image_of(&[&[0xF3; 300], &[2; 300]]);
    assert_eq!(verify(&plain).unwrap().guard, None);
    for segment in 0..2 {
        for at in 0..=300 - GuardMarker::LEN {
            let mut data = [[0xF3; 300], [2; 300]];
            data[segment][at..at + GuardMarker::LEN].copy_from_slice(&GUARD.bytes());
            let image = image_of(&[&data[0], &data[1]]);
            assert_eq!(verify(&image).unwrap().guard, Some(GUARD));
        }
    }
}

#[test]
fn a_marker_is_found_wherever_the_download_is_cut() {
    let image = ImageBuilder::new(Chip::Esp32C3, "1.0.0")
        .guard(GUARD)
        .payload(b"and more")
        .build();
    for split in 0..=image.len() {
        let (a, b) = image.split_at(split);
        assert_eq!(verify_pieces([a, b]).unwrap().guard, Some(GUARD));
    }
    assert_eq!(verify_pieces(image.chunks(1)).unwrap().guard, Some(GUARD));
}

#[test]
fn a_marker_that_is_not_among_the_segments_data_is_none() {
    // In the descriptor it is data; in the padding, the signature and behind them it is not.
    let mut file = signed(&small(), [0xE7, 2]);
    file[4200..4200 + GuardMarker::LEN].copy_from_slice(&GUARD.bytes());
    assert_eq!(verify(&file).unwrap().guard, None);

    let mut in_slot = Verifier::in_slot();
    in_slot
        .update(&[small(), GUARD.bytes().to_vec()].concat())
        .unwrap();
    assert_eq!(in_slot.guard(), None);
}

#[test]
fn real_images_without_a_guard_have_no_marker() {
    for image in [C3_1_0_0, C3_1_1_0, C6_1_0_0] {
        assert_eq!(verify(image).unwrap().guard, None);
    }
}

// ---- What may follow the image ----

#[test]
fn a_secure_boot_v2_signature_sector_is_part_of_the_file() {
    for (magic, kind) in [
        ([0xE7, 2], SignatureKind::Rsa),
        ([0xE7, 3], SignatureKind::Ecdsa),
    ] {
        let file = signed(C3_1_0_0, magic);
        let image = verify(&file).unwrap();
        assert!(image.signed);
        assert_eq!(image.signature, Some(kind));
        assert_eq!(image.length as usize, file.len());
        assert_eq!(image.image_length as usize, C3_1_0_0.len());
        assert_eq!(image.sha256[..], Sha256::digest(&file)[..]);
    }
}

#[test]
fn the_signature_of_an_image_in_a_slot_is_found_where_the_image_says() {
    for length in [352, 65_536] {
        for kind in [SignatureKind::Rsa, SignatureKind::Ecdsa] {
            let image = ImageBuilder::new(Chip::Esp32C3, "1").length(length);
            let mut slot = image.signature(kind).build();
            slot.resize(128 * 1024, 0xFF);

            let mut verifier = Verifier::in_slot();
            verifier.update(&slot).unwrap();
            let image = verifier.finish().unwrap();
            assert_eq!(image.image_length as usize, length);
            assert_eq!((image.signed, image.signature), (false, None));
            let sector = &slot[image.signature_offset() as usize..];
            assert_eq!(
                SignatureKind::parse(sector.first_chunk().unwrap()),
                Some(kind)
            );
        }
    }
}

#[test]
fn a_signature_right_at_the_boundary_needs_no_padding() {
    let image = ImageBuilder::new(Chip::Esp32C3, "1").length(65_536).build();
    let file = signed(&image, [0xE7, 2]);
    assert_eq!(file.len(), 65_536 + 4096);
    assert!(verify(&file).unwrap().signed);
}

#[test]
fn any_other_trailing_data_is_refused() {
    let image = small();
    let error = ImageError::TrailingData {
        image_length: image.len() as u32,
    };
    let with = |tail: &[u8]| verify(&[&image, tail].concat());
    assert_eq!(error.code(), "image.size");
    assert_eq!(with(&[0]), Err(error));
    assert_eq!(with(&[0xFF]), Err(error));
    assert_eq!(
        with(&[0xFF; 8192]),
        Err(error),
        "erased flash after the image"
    );
    assert_eq!(with(&image), Err(error), "the image twice");
    for magic in [[0xE7, 0], [0xE7, 1], [0xE7, 4], [0xE9, 2]] {
        assert_eq!(verify(&signed(&image, magic)), Err(error), "{magic:02X?}");
    }
    let mut dirty_padding = signed(&image, [0xE7, 2]);
    dirty_padding[4095] = 0;
    assert_eq!(verify(&dirty_padding), Err(error));
    let mut after = signed(&image, [0xE7, 2]);
    after.push(0xFF);
    assert_eq!(verify(&after), Err(error));
}

#[test]
fn half_a_signature_sector_is_a_truncated_file() {
    let file = signed(&small(), [0xE7, 2]);
    for length in [4097, 4098, 4099, 8191] {
        let needed = if length == 4097 {
            8192
        } else {
            file.len() as u32
        };
        let error = ImageError::Truncated {
            length: length as u32,
            needed,
        };
        assert_eq!(verify(&file[..length]), Err(error));
    }
}

// ---- Robustness ----

#[test]
fn no_bytes_make_it_panic() {
    let mut random = Random(7);
    for round in 0..20_000 {
        // Half of them get past the header, where the interesting fields are.
        let mut bytes: Vec<u8> = (0..random.next() % 600)
            .map(|_| random.next() as u8)
            .collect();
        if round % 2 == 0 && bytes.len() > 2 {
            bytes[0] = 0xE9;
            bytes[1] = bytes[1] % 16 + 1;
        }
        let whole = verify(&bytes);
        assert!(
            whole.is_err(),
            "random bytes cannot carry their own SHA-256"
        );
        assert_eq!(verify_pieces(bytes.chunks(7)), whole);
        assert!(!whole.unwrap_err().to_string().is_empty());
    }
}

#[test]
fn no_mutation_of_a_real_image_passes_or_panics() {
    let mut random = Random(11);
    let image = small();
    for _ in 0..20_000 {
        let mut mutated = image.clone();
        for _ in 0..random.next() % 4 + 1 {
            let at = random.next() as usize % mutated.len();
            mutated[at] = random.next() as u8;
        }
        assert!(verify(&mutated).is_err() || mutated == image);
    }
}

/// xorshift64*: random enough for chunk lengths, and the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32
    }
}
