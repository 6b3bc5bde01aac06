//! The bootloader and our idea of it, on the same otadata.
//!
//! `s3ota inspect` says what boots by the rules in `s3ota-sim`. The bootloader itself says what it loads. They must say the same
//! of every state that power cuts, other tools or worn flash may leave.

use std::fs;
use std::path::Path;
use std::sync::mpsc::channel;

use s3ota_image::otadata::{Record, SECTOR_SIZE, State};

use super::emulator::Chip;
use super::scenarios::{Bench, PATIENCE, inspect};
use super::transcript::Who;
use crate::{Result, paths};

/// Where otadata lies, by `firmware/partitions/4mb.csv`.
const OTADATA: usize = 0xd000;

/// What the bootloader says when it has made its choice.
const LOADED: &str = "Loaded app from partition at offset ";

/// A record, and what of its 32 bytes is not as it should be.
#[derive(Debug, Clone, Copy)]
enum Sector {
    Erased,
    Good(u32, State),
    /// The CRC is another sequence's.
    BadCrc(u32, State),
    /// Only so many bytes of it were programmed.
    Torn(u32, usize),
}

use Sector::{BadCrc, Erased, Good, Torn};
use State::{Aborted, Invalid, New, PendingVerify, Undefined, Valid};

const STATES: [(Sector, Sector); 28] = [
    (Erased, Erased),
    (Good(1, Valid), Erased),
    (Erased, Good(2, Valid)),
    (Good(1, Valid), Good(2, Valid)),
    (Good(3, Valid), Good(2, Valid)),
    (Good(1, Valid), Good(2, New)),
    (Good(1, Valid), Good(2, PendingVerify)),
    (Good(1, Valid), Good(2, Undefined)),
    (Good(1, Valid), Good(2, Invalid)),
    (Good(1, Valid), Good(2, Aborted)),
    (Good(1, Aborted), Good(2, Aborted)),
    (Good(1, Invalid), Good(2, Valid)),
    (Good(2, Aborted), Erased),
    (Erased, Good(1, Invalid)),
    (Good(1, Valid), BadCrc(2, Valid)),
    (BadCrc(1, Valid), Good(2, Valid)),
    (BadCrc(1, Valid), BadCrc(2, Valid)),
    (BadCrc(2, Valid), Erased),
    (BadCrc(2, Valid), Good(2, Aborted)),
    (Good(1, Valid), Torn(2, 4)),
    (Good(1, Valid), Torn(2, 28)),
    (Torn(2, 4), Torn(3, 28)),
    (Torn(2, 4), Erased),
    // Equal sequences.
    (Good(2, Valid), Good(2, Valid)),
    (Good(1, New), Good(1, Valid)),
    (Good(2, Aborted), Good(2, Valid)),
    // Stale ones, and numbers nobody wrote.
    (Good(9, Valid), Good(4, New)),
    (Good(0x7fff_ffff, Valid), Good(0x7fff_fffe, Valid)),
];

impl Sector {
    fn bytes(self) -> [u8; 32] {
        const LABEL: [u8; 20] = [0xff; 20];
        match self {
            Erased => [0xff; 32],
            Good(sequence, state) => Record::new(sequence, state, LABEL).emit(),
            BadCrc(sequence, state) => {
                let record = Record::new(sequence, state, LABEL);
                let other = Record::new(sequence + 7, state, LABEL);
                Record {
                    crc: other.crc,
                    ..record
                }
                .emit()
            }
            Torn(sequence, programmed) => {
                let mut bytes = Record::new(sequence, Valid, LABEL).emit();
                bytes[programmed..].fill(0xff);
                bytes
            }
        }
    }
}

/// Compares them on a flash that has an image in either slot. How many states there were.
pub fn compare(bench: &Bench, flash: &Path) -> Result<String> {
    let mut part = bench
        .transcript
        .part("the bootloader on given otadata", false);
    let mut differ = Vec::new();
    for (first, second) in STATES {
        let path = bench.flash.with_file_name("otadata.bin");
        let mut bytes = fs::read(flash).map_err(|error| paths::about(flash, &error))?;
        for (sector, at) in [(first, OTADATA), (second, OTADATA + SECTOR_SIZE as usize)] {
            bytes[at..][..SECTOR_SIZE as usize].fill(0xff);
            bytes[at..][..32].copy_from_slice(&sector.bytes());
        }
        fs::write(&path, &bytes).map_err(|error| paths::about(&path, &error))?;
        // Before the bootloader has its way with the flash: it may write a record itself.
        let ours = inspect(bench, &path)?["boots"]["slot"].as_u64();
        let theirs = loads(bench, &path)?;
        let line =
            format!("{first:?}, {second:?}: s3ota says {ours:?}, the bootloader loads {theirs:?}");
        part.line(Who::Harness, &line);
        if ours != theirs {
            differ.push(line);
        }
    }
    part.end(!differ.is_empty());
    match differ.first() {
        None => Ok(format!(
            "it loads what s3ota says it does, in {} states of otadata",
            STATES.len()
        )),
        Some(first) => Err(format!("in {} states they differ: {first}", differ.len())),
    }
}

/// The slot the bootloader loads from this flash.
fn loads(bench: &Bench, flash: &Path) -> Result<Option<u64>> {
    let (saying, said) = channel();
    // Nobody is there to answer: the firmware has no time to ask.
    let nowhere = ([127, 0, 0, 1], 9).into();
    let chip = Chip::power_on(&bench.emulator, flash, nowhere, saying)?;
    let mut lines = std::iter::from_fn(|| said.recv_timeout(PATIENCE).ok());
    let line = lines.find_map(|(_, line)| {
        let loaded = line
            .split_once(LOADED)
            .map(|(_, offset)| offset.trim().to_owned());
        loaded.or_else(|| line.contains("No bootable app").then(String::new))
    });
    chip.cut_power();
    match line.as_deref() {
        Some("0x10000") => Ok(Some(0)),
        Some("0x200000") => Ok(Some(1)),
        Some("") => Ok(None),
        other => Err(format!("the bootloader loads from {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_bad_is_bad_as_it_says() {
        let parse = |sector: Sector| Record::parse(&sector.bytes());
        assert!(parse(Good(2, Valid)).is_idf_valid());
        assert!(!parse(BadCrc(2, Valid)).crc_matches());
        assert!(!parse(Torn(2, 28)).crc_matches());
        assert_eq!(parse(Torn(2, 4)).sequence, 2);
        assert!(parse(Erased).is_idf_invalid());
    }
}
