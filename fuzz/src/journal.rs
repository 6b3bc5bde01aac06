//! Any journal of an interrupted update.
//!
//! The first byte: 1 corrects the checks of the journal's entries, 2 the digests in its marks, 4 is a flash that is written in
//! units of 16 bytes. The second: how many sectors of the image are on flash. The third: 1 damages one of them, 2 is an image
//! that needs the whole slot. The first 256 bytes of the journal follow, and its last 32.

use embassy_futures::block_on;
use s3ota::fuzzing::Release;
use s3ota::{Chip, Error};
use s3ota_image::app::ImageBuilder;
use s3ota_sim::{Bootloader, Flash, InUnits, Operation};
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

use crate::bench::{self, Apps, OTADATA, SECTOR, SLOT_SIZE, SLOTS};
use crate::input::Input;

const RIGHT_CHECKS: u8 = 1;
const RIGHT_DIGESTS: u8 = 2;
const LARGE_UNITS: u8 = 4;

const DAMAGED: u8 = 1;
const FULL_SIZE: u8 = 2;

/// The slot to update: `ota_0` runs.
const SLOT: usize = SLOTS[1] as usize;
/// The first bytes of an image, which are written last.
const WITHHELD: usize = 32;
/// Bytes of a journal's entry.
const ENTRY: usize = 32;
/// Where its marks begin.
const MARKS: usize = 6 * ENTRY;
/// How many of its first bytes are in the input: the entries and 16 marks.
const START: usize = 8 * ENTRY;
/// The release to install.
const RELEASE: [u8; 12] = *b"release 2.0.";

/// Resumes the update, and again if the image is refused: then the right image boots.
pub fn target(data: &[u8]) {
    // An error is one of two possible results.
    let _ = run(data);
}

/// The result of the first attempt: how many bytes were on flash already.
fn run(data: &[u8]) -> Result<u32, Error> {
    let mut input = Input::new(data);
    let flags = input.byte();
    let sectors = usize::from(input.byte() % 9);
    let state = input.byte();
    let image = &IMAGES[usize::from(state & FULL_SIZE != 0)];

    let mut flash = bench::flash(Apps::TwoSlots);
    // ota_0 is confirmed.
    flash[OTADATA as usize..][..32].copy_from_slice(
        &s3ota_image::otadata::Record::new(1, s3ota_image::otadata::State::Valid, [0xff; 20])
            .emit(),
    );
    let slot = &mut flash[SLOT..][..SLOT_SIZE as usize];
    slot.fill(0xff);
    let there = (sectors * SECTOR).min(image.len());
    if there > 0 {
        slot[WITHHELD..there].copy_from_slice(&image[WITHHELD..there]);
    }
    if state & DAMAGED != 0 {
        slot[there / 2] ^= 0x10;
    }
    let journal = SLOT_SIZE as usize - SECTOR;
    if there <= journal {
        for (at, length) in [(0, START), (SECTOR - ENTRY, ENTRY)] {
            let given = input.take(length);
            slot[journal + at..][..given.len()].copy_from_slice(given);
        }
        repair(&mut slot[journal..], image, flags);
    }

    let has_room = slot[SLOT_SIZE as usize - ENTRY..]
        .iter()
        .all(|&byte| byte == 0xff);

    let release = Release {
        id: RELEASE,
        image,
        sha256: Sha256::digest(image).into(),
        launches: false,
    };
    let mut device = Flash::in_memory(flash);
    if flags & LARGE_UNITS != 0 {
        // What is blank cannot be seen there.
        device = device.with_rewrites();
    }
    let mut block = [0; SECTOR];
    let mut install = |device: &mut Flash| {
        device.record();
        let running = SLOTS[0];
        let result = if flags & LARGE_UNITS != 0 {
            block_on(release.install(&mut InUnits::<16>(device), running, &mut block))
        } else {
            block_on(release.install(device, running, &mut block))
        };
        assert_stays_inside(&device.take_record());
        result
    };
    let first = install(&mut device);
    match &first {
        Ok(taken_up) => assert!(*taken_up as usize <= image.len()),
        Err(error) => {
            assert!(matches!(error, Error::Image(_)), "{error:?}");
            // What came before the interruption was wrong. It has been erased.
            assert_eq!(install(&mut device), Ok(0));
        }
    }
    let slot = &device.bytes()[SLOT..][..image.len()];
    assert!(slot == &image[..], "another image than the release's");
    let booted = Bootloader::default()
        .boot(&mut device)
        .expect("something boots");
    assert_eq!(booted.slot, Some(1));
    // All of it is there, and repeating fetches nothing, unless there was no room for the journal, or none in it.
    if image.len() <= journal && flags & LARGE_UNITS == 0 && has_room {
        assert_eq!(install(&mut device), Ok(image.len() as u32));
    }
    first
}

static IMAGES: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    [5 * SECTOR + 1000, SLOT_SIZE as usize].map(|length| {
        ImageBuilder::new(Chip::Esp32C3, "2.0.0")
            .length(length)
            .build()
    })
});

/// Nothing is written but the slot and otadata.
fn assert_stays_inside(operations: &[Operation]) {
    let slot = SLOTS[1]..SLOTS[1] + SLOT_SIZE;
    let otadata = OTADATA..OTADATA + 2 * SECTOR as u32;
    for operation in operations {
        let range = operation.range();
        let inside = [&slot, &otadata]
            .into_iter()
            .any(|part| part.start <= range.start && range.end <= part.end);
        assert!(inside, "{operation:?}");
    }
}

fn repair(journal: &mut [u8], image: &[u8], flags: u8) {
    let digest = |length: usize| Sha256::digest(&image[..length]);
    let has_done = journal[SECTOR - ENTRY..].starts_with(b"done");
    if flags & RIGHT_DIGESTS != 0 {
        let unit = if flags & LARGE_UNITS != 0 { 16 } else { 4 };
        let marks = journal[MARKS..START].chunks_mut(unit);
        for (mark, length) in marks.zip((SECTOR..=image.len()).step_by(SECTOR)) {
            if mark.iter().any(|&byte| byte != 0xff) {
                mark.copy_from_slice(&digest(length)[..unit]);
            }
        }
        let done = &mut journal[SECTOR - ENTRY..];
        let length = u32::from_le_bytes([done[4], done[5], done[6], done[7]]) as usize;
        if has_done && length <= image.len() {
            done[8..28].copy_from_slice(&digest(length)[..20]);
        }
    }
    if flags & RIGHT_CHECKS != 0 {
        bench::repair_log(&mut journal[..MARKS]);
        bench::repair_log(&mut journal[SECTOR - ENTRY..]);
    }
}

/// Journals of updates that were interrupted after each sector.
pub fn seeds() -> Vec<Vec<u8>> {
    let image = &IMAGES[0];
    let release = Release {
        id: RELEASE,
        image,
        sha256: Sha256::digest(image).into(),
        launches: false,
    };
    let mut flash = Flash::in_memory(bench::flash(Apps::TwoSlots));
    block_on(release.install(&mut flash, SLOTS[0], &mut [0; SECTOR])).expect("an update");
    let journal = &flash.bytes()[SLOT + SLOT_SIZE as usize - SECTOR..][..SECTOR];
    let done = &journal[SECTOR - ENTRY..];
    let mut seeds = Vec::new();
    for (flags, state) in [
        (0, 0),
        (RIGHT_CHECKS | RIGHT_DIGESTS, 0),
        (RIGHT_CHECKS, DAMAGED),
        (RIGHT_CHECKS | RIGHT_DIGESTS, FULL_SIZE),
        (RIGHT_CHECKS | RIGHT_DIGESTS | LARGE_UNITS, 0),
    ] {
        for sectors in 0..=5 {
            let mut start = journal[..START].to_vec();
            start[MARKS + 4 * sectors..].fill(0xff);
            seeds.push([&[flags, sectors as u8, state], &start[..]].concat());
        }
        seeds.push([&[flags, 6, state], &journal[..START], done].concat());
    }
    seeds
}

/// Tokens of journals.
pub const TOKENS: &[&[u8]] = &[
    b"goal",
    b"etag",
    b"head",
    b"done",
    RELEASE.as_slice(),
    b"\x00\x10\x00\x00",
    b"\x00\x50\x00\x00",
    b"\x00\x80\x00\x00",
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\"abc\"",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_updates_that_go_on_where_they_were() {
        let taken_up: Vec<u32> = seeds().iter().filter_map(|seed| run(seed).ok()).collect();
        for sectors in 0..=5 {
            assert!(
                taken_up.contains(&(sectors * SECTOR as u32)),
                "{taken_up:?}"
            );
        }
        assert!(taken_up.contains(&(IMAGES[0].len() as u32)), "{taken_up:?}");
    }
}
