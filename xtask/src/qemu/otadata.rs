//! The real bootloader and our model of it, on the same flash.
//!
//! `s3ota-sim` implements ESP-IDF's rules, and all results about power cuts depend on them. Here the real bootloader is compared:
//! from the same flash both must load the same app, and write the same to otadata. The flash is in every state that power cuts,
//! other tools or worn cells may leave: with and without a factory app, with damaged apps, with records that are torn, equal,
//! stale or refused. The apps do nothing, so whatever is in otadata afterwards was written by the bootloader.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use s3ota_image::otadata::{RECORD_LEN, Record, SECTOR_SIZE, State};
use s3ota_image::partition::{Partition, PartitionTable, TABLE_OFFSET, TableBuilder};
use s3ota_sim::{Bootloader, Flash};

use super::bootloader;
use super::device::{LOOK, TIMEOUT};
use super::emulator::Chip;
use super::random::Random;
use super::scenarios::{Bench, at_a_time};
use super::transcript::Who;
use crate::{Result, paths};

/// What the bootloader prints when it has made its choice,
const LOADED: &str = "Loaded app from partition at offset ";
/// and when there is none.
const NOTHING: &str = "No bootable app";

/// How long it has for what it writes after its choice, where nothing is expected,
const AFTERWARDS: Duration = Duration::from_secs(1);
/// and at the longest, where something is.
const AT_THE_LATEST: Duration = Duration::from_secs(20);

/// How many torn records are generated, besides those of [`STATES`].
const TORN: usize = 60;

/// A record, and what is wrong with its 32 bytes.
#[derive(Debug, Clone, Copy)]
enum Sector {
    Erased,
    Good(u32, State),
    /// The CRC is another sequence's.
    BadCrc(u32, State),
    /// Only this many bytes of it were programmed.
    Torn(u32, usize),
    /// These bits have not been cleared, or have been set already.
    Mixed(u32, State, [u8; RECORD_LEN]),
}

use Sector::{BadCrc, Erased, Good, Mixed, Torn};
use State::{Aborted, Invalid, New, PendingVerify, Undefined, Valid};

const STATES: [(Sector, Sector); 31] = [
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
    (Good(0xffff_fffe, Valid), Good(1, Valid)),
    (Good(0, Valid), Erased),
    (Good(u32::MAX, Valid), Good(1, Valid)),
];

/// Those that are also tried with damaged apps.
const WITH_DAMAGE: [usize; 7] = [0, 2, 4, 5, 10, 16, 22];

impl Sector {
    fn bytes(self) -> [u8; RECORD_LEN] {
        const LABEL: [u8; 20] = [0xff; 20];
        match self {
            Erased => [0xff; RECORD_LEN],
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
            Mixed(sequence, state, set) => {
                let mut bytes = Record::new(sequence, state, LABEL).emit();
                bytes
                    .iter_mut()
                    .zip(set)
                    .for_each(|(byte, set)| *byte |= set);
                bytes
            }
        }
    }

    /// One that may be there after a power cut.
    fn any(random: &mut Random) -> Self {
        let sequence = 1 + random.below(5) as u32;
        let states = [New, PendingVerify, Valid, Invalid, Aborted, Undefined];
        let state = states[random.below(states.len())];
        let bits = match random.below(4) {
            0 => return Good(sequence, state),
            few => 1 << (2 * few),
        };
        let mut set = [0; RECORD_LEN];
        for bit in 0..8 * RECORD_LEN {
            if random.below(bits) == 0 {
                set[bit / 8] |= 1 << (bit % 8);
            }
        }
        Mixed(sequence, state, set)
    }
}

/// A flash with an app in every app partition.
#[derive(Debug)]
struct Layout {
    name: &'static str,
    bytes: Vec<u8>,
    otadata: Partition,
    slots: Vec<Partition>,
}

impl Layout {
    fn new(name: &'static str, bytes: Vec<u8>) -> Result<Self> {
        let table = PartitionTable::parse(&bytes[TABLE_OFFSET as usize..])
            .map_err(|error| format!("the {name}: {error}"))?;
        let otadata = table.otadata().ok_or("there is no otadata")?;
        let slots = table.ota_slots().collect();
        Ok(Self {
            name,
            otadata,
            slots,
            bytes,
        })
    }

    /// The app of the first slot in the second one, too.
    fn with_second_app(mut self) -> Result<Self> {
        let [first, second] = self.slots.as_slice() else {
            return Err(format!("the {} has {} slots", self.name, self.slots.len()));
        };
        let (from, to) = (first.offset as usize, second.offset as usize);
        let length = first.size.min(second.size) as usize;
        self.bytes.copy_within(from..from + length, to);
        Ok(self)
    }

    /// The apps of the two slots, on a flash that has a factory app, too: that of the first slot.
    fn with_factory(&self) -> Result<Self> {
        let csv = paths::firmware().join("partitions/4mb-factory.csv");
        let text = fs::read_to_string(&csv).map_err(|error| paths::about(&csv, &error))?;
        let about = |problem: String| format!("{}: {problem}", csv.display());
        let builder = TableBuilder::from_csv(&text).map_err(|error| about(error.to_string()))?;
        let table = builder
            .to_bytes()
            .map_err(|error| about(error.to_string()))?;
        let mut bytes = vec![0xff; self.bytes.len()];
        bytes[..TABLE_OFFSET as usize].copy_from_slice(&self.bytes[..TABLE_OFFSET as usize]);
        bytes[TABLE_OFFSET as usize..][..table.len()].copy_from_slice(&table);
        let mut layout = Self::new("flash with a factory app", bytes)?;
        let factory = builder
            .partitions()
            .iter()
            .find(|entry| entry.label.as_str() == "factory");
        let apps = factory.into_iter().chain(&layout.slots);
        for (to, from) in apps.zip([&self.slots[0], &self.slots[0], &self.slots[1]]) {
            let length = to.size.min(from.size) as usize;
            let app = &self.bytes[from.offset as usize..][..length];
            layout.bytes[to.offset as usize..][..length].copy_from_slice(app);
        }
        Ok(layout)
    }
}

/// A flash for both.
#[derive(Debug, Clone, Copy)]
struct Case<'l> {
    layout: &'l Layout,
    sectors: (Sector, Sector),
    /// Which slots have a damaged app.
    damaged: [bool; 2],
}

/// The result for a flash.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    /// The offset of the app that is loaded.
    loads: Option<u32>,
    /// The contents of otadata afterwards, if the bootloader wrote it.
    writes: Option<Vec<u8>>,
}

impl Case<'_> {
    fn flash(&self) -> Vec<u8> {
        let mut bytes = self.layout.bytes.clone();
        let otadata = self.layout.otadata.offset as usize;
        for (sector, at) in [
            (self.sectors.0, otadata),
            (self.sectors.1, otadata + SECTOR_SIZE as usize),
        ] {
            bytes[at..][..SECTOR_SIZE as usize].fill(0xff);
            bytes[at..][..RECORD_LEN].copy_from_slice(&sector.bytes());
        }
        for (slot, damaged) in self.layout.slots.iter().zip(self.damaged) {
            // In the middle of the code: header and segments look well.
            bytes[slot.offset as usize + 0x40000] ^= u8::from(damaged);
        }
        bytes
    }

    fn otadata<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        &bytes[self.layout.otadata.offset as usize..][..2 * SECTOR_SIZE as usize]
    }

    /// The model's result, in `s3ota-sim`.
    fn ours(&self, rules: Bootloader, before: &[u8]) -> Outcome {
        let mut flash = Flash::in_memory(before.to_vec());
        let app = rules.boot(&mut flash).ok();
        self.outcome(app.map(|app| app.partition.offset), before, flash.bytes())
    }

    /// The bootloader's result. This one is expected.
    fn theirs(
        &self,
        bench: &Bench,
        path: &Path,
        before: &[u8],
        expected: &Outcome,
    ) -> Result<Outcome> {
        let (saying, said) = channel();
        // There is no server: the firmware has no time for requests.
        let nowhere = ([127, 0, 0, 1], 9).into();
        let mut chip = Chip::power_on(&bench.emulator, path, nowhere, saying)?;
        let end = Instant::now() + TIMEOUT;
        let loads = loop {
            let line = match said.recv_timeout(LOOK) {
                Ok((Who::Device, line)) => line,
                Ok(_) => continue,
                Err(_) => match chip.has_ended() {
                    Some(end) => return Err(end.to_string()),
                    None if Instant::now() > end => return Err("the bootloader is silent".into()),
                    None => continue,
                },
            };
            if let Some((_, offset)) = line.split_once(LOADED) {
                let offset = offset.trim().trim_start_matches("0x");
                let offset = u32::from_str_radix(offset, 16).ok();
                break Some(offset.ok_or_else(|| format!("the bootloader says: {line}"))?);
            } else if line.contains(NOTHING) {
                break None;
            }
        };
        let read = || fs::read(path).map_err(|error| paths::about(path, &error));
        if expected.writes.is_some() {
            let end = Instant::now() + AT_THE_LATEST;
            while self.outcome(loads, before, &read()?) != *expected && Instant::now() < end {
                thread::sleep(AFTERWARDS / 10);
            }
        } else {
            thread::sleep(AFTERWARDS);
        }
        chip.cut_power();
        Ok(self.outcome(loads, before, &read()?))
    }

    fn outcome(&self, loads: Option<u32>, before: &[u8], after: &[u8]) -> Outcome {
        let (was, is) = (self.otadata(before), self.otadata(after));
        Outcome {
            loads,
            writes: (was != is).then(|| is.to_vec()),
        }
    }
}

/// Compares them, on a flash with an app in its first slot that writes nothing itself. Returns what was compared.
pub fn compare(
    bench: &Bench,
    bootloader: bootloader::Bootloader,
    flash: &Path,
    seed: u64,
    jobs: u16,
) -> Result<String> {
    let bytes = fs::read(flash).map_err(|error| paths::about(flash, &error))?;
    let two_slots = Layout::new("flash with two slots", bytes)?.with_second_app()?;
    let with_factory = two_slots.with_factory()?;
    let cases = cases(&[&two_slots, &with_factory], seed);
    let rules = Bootloader {
        app_rollback: bootloader == bootloader::Bootloader::AppRollback,
    };

    let heading = format!("the bootloader {bootloader}, and what s3ota-sim says of it");
    let mut part = bench.transcript.part(heading, false);
    let asked = at_a_time(&cases, jobs, |case| -> Result<(Outcome, Outcome)> {
        // Each on a file of its own.
        let file = tempfile::Builder::new()
            .suffix(".bin")
            .tempfile_in(flash.parent().unwrap_or(flash))
            .map_err(|error| format!("a temporary file: {error}"))?;
        let path: PathBuf = file.path().into();
        let before = case.flash();
        fs::write(&path, &before).map_err(|error| paths::about(&path, &error))?;
        let ours = case.ours(rules, &before);
        let theirs = case.theirs(bench, &path, &before, &ours)?;
        Ok((ours, theirs))
    });
    let mut differ = Vec::new();
    for (case, asked) in cases.iter().zip(asked) {
        let line = match asked {
            Ok((ours, theirs)) if ours == theirs => {
                part.line(Who::Harness, format!("{case}: {ours}"));
                continue;
            }
            Ok((ours, theirs)) => format!("{case}: by s3ota-sim it {ours}, but it {theirs}"),
            Err(problem) => format!("{case}: {problem}"),
        };
        part.line(Who::Harness, &line);
        differ.push(line);
    }
    part.end(!differ.is_empty());
    match differ.first() {
        None => Ok(format!(
            "the same app and the same otadata in {} states of the flash",
            cases.len()
        )),
        Some(first) => Err(format!("in {} states they differ: {first}", differ.len())),
    }
}

fn cases<'l>(layouts: &[&'l Layout], seed: u64) -> Vec<Case<'l>> {
    const WHOLE: [bool; 2] = [false; 2];
    let mut random = Random::new(seed);
    let torn: Vec<_> = (0..TORN)
        .map(|_| (Sector::any(&mut random), Sector::any(&mut random)))
        .collect();
    let mut cases = Vec::new();
    for (number, &layout) in layouts.iter().enumerate() {
        let mut case = |sectors, damaged| {
            cases.push(Case {
                layout,
                sectors,
                damaged,
            });
        };
        STATES.into_iter().for_each(|sectors| case(sectors, WHOLE));
        for index in WITH_DAMAGE {
            for damaged in [[true, false], [false, true], [true, true]] {
                case(STATES[index], damaged);
            }
        }
        let torn = torn.iter().skip(number).step_by(layouts.len());
        torn.for_each(|&sectors| case(sectors, WHOLE));
    }
    cases
}

impl std::fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (first, second) = self.sectors;
        write!(f, "{}, {first}, {second}", self.layout.name)?;
        match self.damaged {
            [false, false] => Ok(()),
            [true, false] => f.write_str(", ota_0 damaged"),
            [false, true] => f.write_str(", ota_1 damaged"),
            [true, true] => f.write_str(", both slots damaged"),
        }
    }
}

impl std::fmt::Display for Sector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = |state: &State| format!("{state:?}");
        match self {
            Erased => f.write_str("erased"),
            Good(sequence, good) => write!(f, "{sequence} {}", state(good)),
            BadCrc(sequence, bad) => write!(f, "{sequence} {} with a wrong CRC", state(bad)),
            Torn(sequence, bytes) => write!(f, "{bytes} bytes of {sequence} Valid"),
            Mixed(sequence, torn, set) => {
                let bits: u32 = set.iter().map(|byte| byte.count_ones()).sum();
                write!(f, "{sequence} {} with {bits} bits set", state(torn))
            }
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.loads {
            Some(offset) => write!(f, "loads {offset:#x}")?,
            None => f.write_str("loads nothing")?,
        }
        match &self.writes {
            Some(otadata) => {
                let record = otadata.first_chunk().map(Record::parse);
                let sequence = record.map_or(u32::MAX, |record| record.sequence);
                write!(f, " and writes {sequence} to otadata")
            }
            None => Ok(()),
        }
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
        let mut set = [0; RECORD_LEN];
        set[0] = 1;
        assert_eq!(parse(Mixed(2, Valid, set)).sequence, 3);
    }

    #[test]
    fn every_layout_gets_every_state_whole_and_some_with_damaged_apps() {
        let table = TableBuilder::from_csv(
            &fs::read_to_string(paths::firmware().join("partitions/4mb.csv")).unwrap(),
        )
        .unwrap()
        .to_bytes()
        .unwrap();
        let mut bytes = vec![0xff; 4 << 20];
        bytes[TABLE_OFFSET as usize..][..table.len()].copy_from_slice(&table);
        let plain = Layout::new("plain", bytes).unwrap();
        let factory = plain.with_factory().unwrap();
        assert_eq!((plain.slots.len(), factory.slots.len()), (2, 2));
        let cases = cases(&[&plain, &factory], 1);
        let expected = 2 * (STATES.len() + 3 * WITH_DAMAGE.len()) + TORN;
        assert_eq!(cases.len(), expected);
        let damage = cases.iter().filter(|case| case.damaged == [true, true]);
        assert_eq!(damage.count(), 2 * WITH_DAMAGE.len());
    }
}
