//! Power cuts inside flash operations: while a sector is erased, or a few bytes are programmed.
//!
//! Killing the emulator cuts between two operations, since it performs each at once. An emulator that supports `FLASH_CUT_AT`
//! performs a part of one and ends: such cuts leave torn records, half-erased sectors, half-programmed bytes.

use std::path::Path;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use std::{fmt, fs};

use s3ota_image::otadata::SECTOR_SIZE;
use s3ota_image::partition::PartitionTable;

use super::bootloader::Bootloader;
use super::device::{Device, Heard, LOOK, TIMEOUT};
use super::emulator::{Chip, CutAt, End, Switches};
use super::random::Random;
use super::scenarios::{Bench, CONFIRMED};
use super::transcript::Who;
use super::variants::{NEXT, PANICS, SECOND};
use crate::{Result, paths};

/// The message if the emulator does not support it.
pub const SKIPPED: &str = "skipped: power cuts inside flash operations. This emulator does not know FLASH_CUT_AT, see \
     docs/emulator.md";

/// How long the emulator has to show that it supports it: until the bootloader's first write.
const TRIAL: Duration = Duration::from_secs(60);

/// Whether the emulator cuts the power inside the first flash operation on request, and reports it. On a new device's flash that
/// is the bootloader's, which writes the first record to otadata.
pub fn can_cut(emulator: &Path, flash: &Path) -> Result<bool> {
    let dir = tempfile::tempdir().map_err(|error| format!("a temporary directory: {error}"))?;
    let (copy, log) = (dir.path().join("flash.bin"), dir.path().join("operations"));
    fs::copy(flash, &copy).map_err(|error| paths::about(flash, &error))?;
    let (saying, said) = channel();
    let nowhere = ([127, 0, 0, 1], 9).into();
    let switches = Switches {
        cut_at: Some(CutAt {
            operation: 1,
            bytes: 0,
        }),
        log: Some(&log),
        ..Switches::default()
    };
    let mut chip = Chip::power_on_with(emulator, &copy, switches, nowhere, saying)?;
    let end = Instant::now() + TRIAL;
    while Instant::now() < end {
        match said.recv_timeout(LOOK) {
            // The firmware runs: the operation has come and gone.
            Ok((Who::Device, line)) if line.contains("INFO - ") => return Ok(false),
            Ok(_) => {}
            Err(_) => {
                if let Some(end) = chip.has_ended() {
                    let told = log.exists() && operations(&log)?.len() == 1;
                    return Ok(end == End::CutInside && told);
                }
            }
        }
    }
    Ok(false)
}

/// A kind of flash operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Erase,
    Program,
}

/// An operation, as the emulator reports it: `12 program 0x1f0000 32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// Counted from 1 since power-on.
    pub number: u64,
    pub kind: Kind,
    pub at: u32,
    pub length: u32,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Erase => "erasing",
            Kind::Program => "programming",
        };
        write!(f, "{kind} {} bytes at {:#x}", self.length, self.at)
    }
}

/// The operations that an emulator has reported.
pub fn operations(log: &Path) -> Result<Vec<Operation>> {
    let text = fs::read_to_string(log).map_err(|error| paths::about(log, &error))?;
    text.lines()
        .map(|line| operation(line).ok_or_else(|| format!("{}: `{line}`", log.display())))
        .collect()
}

fn operation(line: &str) -> Option<Operation> {
    let mut words = line.split(' ');
    let number = words.next()?.parse().ok()?;
    let kind = match words.next()? {
        "erase" => Kind::Erase,
        "program" => Kind::Program,
        _ => return None,
    };
    let at = u32::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    let length = words.next()?.parse().ok()?;
    words.next().is_none().then_some(Operation {
        number,
        kind,
        at,
        length,
    })
}

/// What an operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The bootloader's and the guard's records and counts.
    Otadata,
    /// The journal: the last sector of a slot.
    Journal,
    /// A slot is erased.
    Erasure,
    /// An image is written to a slot.
    Image,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Otadata => "otadata",
            Self::Journal => "the journal",
            Self::Erasure => "the slot's erasure",
            Self::Image => "the image",
        })
    }
}

/// The subject of an operation.
fn subject(table: &PartitionTable<'_>, operation: &Operation) -> Option<Subject> {
    let within = |offset: u32, size: u32| (offset..offset + size).contains(&operation.at);
    if table
        .otadata()
        .is_some_and(|otadata| within(otadata.offset, otadata.size))
    {
        return Some(Subject::Otadata);
    }
    let slot = table
        .ota_slots()
        .find(|slot| within(slot.offset, slot.size))?;
    let last = slot.offset + slot.size - SECTOR_SIZE;
    Some(match operation.kind {
        _ if operation.at >= last => Subject::Journal,
        Kind::Erase => Subject::Erasure,
        Kind::Program => Subject::Image,
    })
}

/// A cut inside an operation of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutInside {
    pub number: u32,
    pub bootloader: Bootloader,
    subject: Subject,
    at: CutAt,
    /// Power is cut again here after it has come back.
    again: Option<CutAt>,
    /// Whether the release panics.
    fails: bool,
}

impl fmt::Display for CutInside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            number,
            bootloader,
            subject,
            ..
        } = self;
        let fails = if self.fails {
            " of a release that panics"
        } else {
            ""
        };
        let again = if self.again.is_some() {
            ", and again"
        } else {
            ""
        };
        write!(
            f,
            "cut {number} inside {subject}{fails}{again}, {bootloader}"
        )
    }
}

/// The operations of an update from power on to confirmation, and those of one that fails.
#[derive(Debug)]
pub struct Course {
    pub bootloader: Bootloader,
    pub update: Vec<Operation>,
    pub failing: Vec<Operation>,
}

/// That many cuts, in turns for every subject and bootloader, and spread over the operations of each.
pub fn cuts(
    count: u32,
    seed: u64,
    table: &PartitionTable<'_>,
    courses: &[Course],
) -> Vec<CutInside> {
    let mut random = Random::new(seed);
    let of = |operations: &[Operation], wanted: Subject| -> Vec<Operation> {
        let about = |operation: &&Operation| subject(table, operation) == Some(wanted);
        operations.iter().filter(about).copied().collect()
    };
    let mut groups = Vec::new();
    // Whatever decides what boots comes first.
    for subject in [
        Subject::Otadata,
        Subject::Journal,
        Subject::Image,
        Subject::Erasure,
    ] {
        for course in courses {
            groups.push((
                course.bootloader,
                subject,
                of(&course.update, subject),
                false,
            ));
            if subject == Subject::Otadata {
                groups.push((
                    course.bootloader,
                    subject,
                    of(&course.failing, subject),
                    true,
                ));
            }
        }
    }
    groups.retain(|(_, _, operations, _)| !operations.is_empty());
    let rounds = count.div_ceil(groups.len().max(1) as u32) as usize;
    (1..=count)
        .zip(groups.iter().cycle())
        .enumerate()
        .map(
            |(index, (number, (bootloader, subject, operations, fails)))| {
                // Each round takes its own share of the group's operations.
                let round = index / groups.len();
                let share = (round as f64 + random.fraction()) / rounds as f64;
                let chosen = (share * operations.len() as f64) as usize;
                let operation = operations[chosen.min(operations.len() - 1)];
                let at = CutAt {
                    operation: operation.number,
                    bytes: random.below(operation.length.max(1) as usize) as u32,
                };
                // Whatever comes first then. Records have 32 bytes.
                let again = CutAt {
                    operation: 1 + random.below(3) as u64,
                    bytes: random.below(32) as u32,
                };
                CutInside {
                    number,
                    bootloader: *bootloader,
                    subject: *subject,
                    at,
                    // Every other one, of each group.
                    again: (number + round as u32).is_multiple_of(2).then_some(again),
                    fails: *fails,
                }
            },
        )
        .collect()
}

/// The power is cut inside an operation, perhaps twice. Whatever boots then is complete; an update that works is installed, and
/// one that does not is rolled back.
pub fn cut(bench: &Bench, cut: CutInside) -> Result<String> {
    let (flash, release) = match cut.fails {
        false => (bench.flashed(cut.bootloader), SECOND),
        true => (bench.updated(cut.bootloader), PANICS),
    };
    let mut device = Device::new(bench, &cut.to_string(), &flash, false)?;
    let outcome = (|| {
        device.publish(release)?;
        let left = cut_twice(&mut device, &cut, &[CONFIRMED, "FailedBefore", "UpToDate"])?;
        device.power_on()?;
        let after = if cut.fails {
            device.expect(&["FailedBefore"])?;
            device.settled("1.1.0", 1)?;
            "1.1.0 stays"
        } else {
            made(&mut device, cut.bootloader)?
        };
        Ok(format!("{left}; {after}"))
    })();
    device.end(outcome)
}

/// Powers the device on until the emulator cuts inside an operation, and again if it is to be cut twice. Returns what was cut and
/// what boots then. The device says one of `ends` if the operation does not come.
pub fn cut_twice(device: &mut Device<'_>, cut: &CutInside, ends: &[&str]) -> Result<String> {
    let mut left = cut_at(device, cut.at, ends)?
        .ok_or_else(|| format!("flash operation {} did not come", cut.at.operation))?;
    if let Some(again) = cut.again
        && let Some(second) = cut_at(device, again, ends)?
    {
        left = format!("{left}; then {second}");
    }
    Ok(left)
}

/// Powers the device on until the emulator cuts inside an operation. Returns what was cut and what boots then, or nothing if the
/// operation did not come.
fn cut_at(device: &mut Device<'_>, at: CutAt, ends: &[&str]) -> Result<Option<String>> {
    let log = device.flash.with_extension("operations");
    let _ = fs::remove_file(&log);
    device.power_on_with(Switches {
        cut_at: Some(at),
        log: Some(&log),
        ..Switches::default()
    })?;
    let end = match device.wait(TIMEOUT, ends) {
        Heard::Ended(End::CutInside) => true,
        Heard::Ended(end) => return Err(end.to_string()),
        Heard::Said(_) => false,
        Heard::Nothing => return Err("neither the operation came nor the update's end".into()),
    };
    device.cut_power();
    let boots = device.boots()?;
    if !end {
        return Ok(None);
    }
    let cut = operations(&log)?
        .last()
        .map_or_else(|| "nothing".to_owned(), Operation::to_string);
    Ok(Some(format!(
        "{cut} was cut after {}, {boots} boots",
        at.bytes
    )))
}

/// The update is installed in the end. A bootloader with app rollback gives up a release that loses power on trial: then the
/// next one is installed.
fn made(device: &mut Device<'_>, bootloader: Bootloader) -> Result<&'static str> {
    const SETTLED: &str = "simple 1.1.0, Confirmed";
    const GIVEN_UP: [&str; 2] = ["FailedBefore", "no update: Resting"];
    let mut ends = vec![SETTLED, CONFIRMED];
    if bootloader == Bootloader::AppRollback {
        ends.extend(GIVEN_UP);
    }
    let line = device.expect(&ends)?;
    if !GIVEN_UP.iter().any(|given_up| line.contains(given_up)) {
        device.settled("1.1.0", 1)?;
        return Ok("the update is made");
    }
    device.settled("1.0.0", 0)?;
    device.publish(NEXT)?;
    device.power_on()?;
    device.expect(&["simple 1.3.0, Trial"])?;
    device.expect(&[CONFIRMED])?;
    device.settled("1.3.0", 1)?;
    Ok("the bootloader gives the release up, and the next one is taken")
}

#[cfg(test)]
mod tests {
    use s3ota_image::partition::TableBuilder;

    use super::*;

    fn table() -> Vec<u8> {
        let csv = fs::read_to_string(paths::firmware().join("partitions/4mb.csv")).unwrap();
        TableBuilder::from_csv(&csv).unwrap().to_bytes().unwrap()
    }

    /// As many of each as come in an update, nearly.
    fn course(bootloader: Bootloader) -> Course {
        let bytes = table();
        let table = PartitionTable::parse(&bytes).unwrap();
        let otadata = table.otadata().unwrap().offset;
        let slot = table.ota_slots().nth(1).unwrap();
        let places = (0..4)
            .map(|n| (Kind::Program, otadata + n))
            .chain((0..10).map(|n| (Kind::Erase, slot.offset + n * 0x10000)))
            .chain((0..1000).map(|n| (Kind::Program, slot.offset + n * 32)))
            .chain((0..20).map(|n| (Kind::Program, slot.offset + slot.size - 32 * (n + 1))));
        let update: Vec<_> = (1..)
            .zip(places)
            .map(|(number, (kind, at))| Operation {
                number,
                kind,
                at,
                length: 32,
            })
            .collect();
        Course {
            bootloader,
            failing: update[..4].to_vec(),
            update,
        }
    }

    #[test]
    fn an_operation_is_read_as_the_emulator_tells_it() {
        let expected = Operation {
            number: 12,
            kind: Kind::Program,
            at: 0x1f_0000,
            length: 32,
        };
        assert_eq!(operation("12 program 0x1f0000 32"), Some(expected));
        for line in [
            "",
            "12",
            "12 read 0x0 4",
            "x erase 0x0 4",
            "1 erase 4096 4",
            "1 erase 0x0 4 4",
        ] {
            assert_eq!(operation(line), None, "{line}");
        }
    }

    #[test]
    fn cuts_fall_into_every_subject_under_every_bootloader_and_the_same_seed_makes_the_same_ones() {
        let courses = [Bootloader::Stock, Bootloader::AppRollback].map(course);
        let bytes = table();
        let table = PartitionTable::parse(&bytes).unwrap();
        let of = |seed| cuts(30, seed, &table, &courses);
        let made = of(1);
        assert_eq!(made.len(), 30);
        for course in &courses {
            for (subject, fails) in [
                (Subject::Otadata, false),
                (Subject::Otadata, true),
                (Subject::Journal, false),
                (Subject::Image, false),
                (Subject::Erasure, false),
            ] {
                let here: Vec<_> = made
                    .iter()
                    .filter(|cut| {
                        (cut.bootloader, cut.subject, cut.fails)
                            == (course.bootloader, subject, fails)
                    })
                    .collect();
                assert_eq!(here.len(), 3, "{subject} {fails}");
                for cut in here {
                    let operation = course.update[cut.at.operation as usize - 1];
                    assert_eq!(super::subject(&table, &operation), Some(subject));
                    assert!(cut.at.bytes < operation.length);
                }
            }
        }
        assert!(made.iter().any(|cut| cut.again.is_some()));
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert_eq!(cuts(5, 1, &table, &[]), []);
    }
}
