//! App images.
//!
//! The first byte: 1 corrects the checksum, 2 the SHA-256, 4 verifies the image as in a slot. The second: how it is split into
//! pieces. The image follows.

use std::collections::HashSet;

use s3ota_image::app::{ImageBuilder, Verifier, VersionMarker};
use s3ota_image::{Chip, ImageError, app};
use sha2::{Digest, Sha256};

use crate::input::{Input, Pieces};

const RIGHT_CHECKSUM: u8 = 1;
const RIGHT_DIGEST: u8 = 2;
const IN_SLOT: u8 = 4;

/// Verifies the image at once and in pieces, and checks what is accepted with a second parser.
pub fn target(data: &[u8]) {
    let mut input = Input::new(data);
    let flags = input.byte();
    let pieces = Pieces::new(input.byte());
    let mut image = input.rest().to_vec();
    repair(&mut image, flags);
    let in_slot = flags & IN_SLOT != 0;
    versions(&image);

    let whole = verify(&image, Pieces::new(0), in_slot);
    assert_eq!(whole, verify(&image, pieces, in_slot), "the pieces matter");
    let accepted = match whole {
        Ok(accepted) => accepted,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };

    let length = accepted.length as usize;
    let end = accepted.image_length as usize;
    assert_eq!(
        Walk::of(&image).map(|walk| walk.end),
        Some(end),
        "no image by a second reading"
    );
    assert_eq!(accepted.sha256[..], Sha256::digest(&image[..length])[..]);
    assert_eq!(accepted.digest[..], image[end - app::DIGEST_LEN..end]);
    assert_eq!(
        accepted.digest[..],
        Sha256::digest(&image[..end - app::DIGEST_LEN])[..]
    );
    assert_eq!(accepted.header.emit()[..], image[..app::Header::LEN]);
    if let Some(descriptor) = &accepted.descriptor {
        let again = app::Descriptor::parse(&descriptor.emit());
        assert_eq!(again.as_ref(), Some(descriptor));
    }
    if !in_slot {
        assert_eq!(length, image.len(), "something was left over");
        assert!(accepted.signed || length == end);
    }
    // Cut off anywhere, it is not an image any more.
    for cut in [length - 1, length / 2, 0] {
        let cut = verify(&image[..cut], Pieces::new(0), in_slot);
        let signature_is_cut =
            accepted.signed && matches!(cut, Err(ImageError::TrailingData { .. }));
        assert!(
            signature_is_cut || matches!(cut, Err(ImageError::Truncated { .. })) || in_slot,
            "{cut:?}"
        );
    }
}

/// The markers of versions in any bytes: what is found can be made again, and two of them are told.
fn versions(bytes: &[u8]) {
    let all: Vec<_> = VersionMarker::all(bytes).collect();
    for marker in &all {
        assert_eq!(VersionMarker::new(marker.version()).as_ref(), Some(marker));
        let made = marker.bytes();
        assert!(bytes.windows(made.len()).any(|window| window == made));
    }
    let distinct: HashSet<_> = all.iter().collect();
    match VersionMarker::find(bytes) {
        Ok(found) => assert_eq!(found.as_ref(), all.first()),
        Err(two) => assert!(two.first != two.second && all.contains(&two.second)),
    }
    assert_eq!(VersionMarker::find(bytes).is_err(), distinct.len() > 1);
}

fn verify(bytes: &[u8], mut pieces: Pieces, in_slot: bool) -> Result<app::Image, ImageError> {
    let mut verifier = if in_slot {
        Verifier::in_slot()
    } else {
        Verifier::new()
    };
    let mut rest = bytes;
    let mut result = Ok(());
    while !rest.is_empty() {
        let (now, later) = rest.split_at(pieces.next_size().min(rest.len()));
        let next = verifier.update(now);
        assert!(result.is_ok() || next == result, "an error is forgotten");
        result = next;
        rest = later;
        assert!(verifier.position() as usize <= bytes.len());
    }
    let finished = verifier.finish();
    assert!(result.is_ok() || finished.clone().map(drop) == result);
    finished
}

/// The second parser: header, segments, checksum and digest, as short as possible (ESP-IDF `esp_app_format.h`).
struct Walk {
    checksum_at: usize,
    checksum: u8,
    end: usize,
}

impl Walk {
    fn of(image: &[u8]) -> Option<Walk> {
        let walk = Self::segments(image)?;
        let digest = image.get(walk.checksum_at + 1..walk.end)?;
        let right = image[walk.checksum_at] == walk.checksum
            && digest == &Sha256::digest(&image[..=walk.checksum_at])[..];
        right.then_some(walk)
    }

    fn segments(image: &[u8]) -> Option<Walk> {
        let &[0xe9, count, ..] = image else {
            return None;
        };
        // Whether a digest follows.
        image.get(23).filter(|&&flag| flag != 0)?;
        let mut at = 24;
        let mut checksum = 0xef;
        for _ in 0..count {
            let length = u32::from_le_bytes(image.get(at + 4..at + 8)?.try_into().ok()?) as usize;
            let data = image.get(at + 8..at + 8 + length)?;
            checksum = data.iter().fold(checksum, |sum, byte| sum ^ byte);
            at += 8 + length;
        }
        let checksum_at = at | 15;
        Some(Walk {
            checksum_at,
            checksum,
            end: checksum_at + 1 + app::DIGEST_LEN,
        })
    }
}

fn repair(image: &mut [u8], flags: u8) {
    let Some(walk) = Walk::segments(image).filter(|walk| walk.end <= image.len()) else {
        return;
    };
    if flags & RIGHT_CHECKSUM != 0 {
        image[walk.checksum_at] = walk.checksum;
    }
    if flags & RIGHT_DIGEST != 0 {
        let (before, digest) = image.split_at_mut(walk.checksum_at + 1);
        digest[..app::DIGEST_LEN].copy_from_slice(&Sha256::digest(before));
    }
}

/// Images from a compiler, and smaller ones from the builder, signed and unsigned.
pub fn seeds() -> Vec<Vec<u8>> {
    let c3 = include_bytes!("../../crates/s3ota-image/tests/fixtures/hello-esp32c3-1.1.0.bin");
    let c6 = include_bytes!("../../crates/s3ota-image/tests/fixtures/hello-esp32c6-1.0.0.bin");
    let small = ImageBuilder::new(Chip::Esp32C3, "1.2.0").build();
    let larger = ImageBuilder::new(Chip::Esp32S3, "1.2.0-rc.1")
        .length(3000)
        .build();
    let mut signed = small.clone();
    signed.resize(4096, 0xff);
    signed.extend([0xe7, 2, 0, 0]);
    signed.resize(8192, 0x5a);
    let two_segments = {
        let mut image = small.clone();
        // The segment split in two: a header of 8 bytes inside the data.
        image[1] = 2;
        image[28..32].copy_from_slice(&8u32.to_le_bytes());
        image[44..48].copy_from_slice(&240u32.to_le_bytes());
        image
    };
    let sketch = |versions: &[&str]| {
        let markers = versions.iter().filter_map(|it| VersionMarker::new(it));
        let payload: Vec<u8> = markers.flat_map(|marker| marker.bytes()).collect();
        ImageBuilder::new(Chip::Esp32, "v5.5.1")
            .project_name("arduino-lib-builder")
            .payload(&payload)
            .build()
    };
    let right = RIGHT_CHECKSUM | RIGHT_DIGEST;
    [
        (0, 0, &c3[..]),
        (right, 7, c6),
        (0, 1, &small),
        (right, 0, &small),
        (
            right,
            3,
            &ImageBuilder::new(Chip::Esp32, "x")
                .without_descriptor()
                .build(),
        ),
        (
            0,
            0,
            &ImageBuilder::new(Chip::Esp32C6, "1.0.0")
                .without_digest()
                .build(),
        ),
        (right, 0, &larger),
        (right, 5, &signed),
        (right, 0, &two_segments),
        (right | IN_SLOT, 9, &signed),
        (right, 0, &sketch(&["1.2.0"])),
        (right, 0, &sketch(&["1.2.0", "1.3.0"])),
    ]
    .map(|(flags, pieces, image)| [&[flags, pieces], image].concat())
    .to_vec()
}

/// Tokens of images.
pub const TOKENS: &[&[u8]] = &[
    b"\xe9\x01",
    b"\xe9\x10",
    b"\xe9\x00",
    b"\x32\x54\xcd\xab",
    b"\xe7\x02",
    b"\xe7\x03",
    b"\x00\x01\x00\x00",
    b"\xff\xff\xff\x00",
    b"\x00\x00\x00\x01",
    b"arduino-lib-builder",
    b"v5.2",
    b"\xf5s3ota-version\x01\x00",
];
