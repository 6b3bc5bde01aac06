//! What is on a flash, and what would boot from it.

use std::fmt;

use s3ota_image::otadata::{self, RECORD_LEN, Record, SECTOR_SIZE, State};
use s3ota_image::partition::{MAX_LEN, Partition, PartitionTable, TABLE_OFFSET};
use s3ota_sim::{App, Bootloader, Flash};
use serde_json::{Value, json};

use super::bootloader::BootloaderReport;
use super::image::ImageReport;
use crate::error::CliError;
use crate::output::table::{Column, Table};

/// The contents of a flash.
#[derive(Debug, Clone)]
pub struct FlashReport {
    size: usize,
    partitions: Vec<Entry>,
    otadata: Option<Otadata>,
    bootloader: BootloaderReport,
    /// The app that would boot, or why none would.
    boots: Result<App, String>,
}

/// A partition and its contents.
#[derive(Debug, Clone)]
struct Entry {
    partition: Partition,
    contents: Contents,
}

#[derive(Debug, Clone)]
enum Contents {
    /// Not an app partition: not read.
    Data,
    /// Erased, at least where an image would begin.
    Empty,
    /// Beyond the end of the dump.
    Missing,
    App(Box<ImageReport>),
}

/// The two records, and the number of slots.
#[derive(Debug, Clone)]
struct Otadata {
    records: [Record; 2],
    slots: u32,
}

impl FlashReport {
    /// From the contents of a flash. They are not changed: the bootloader runs on a copy.
    pub fn of(bytes: &[u8]) -> Result<Self, CliError> {
        let begin = TABLE_OFFSET as usize;
        let invalid = |problem: String| CliError::new("flash.partitions", problem);
        let table = bytes
            .get(begin..begin + MAX_LEN)
            .ok_or_else(|| invalid(format!("{} bytes are not enough for a flash", bytes.len())))?;
        let table = PartitionTable::parse(table).map_err(|error| invalid(error.to_string()))?;
        let slots = table.ota_slots().count() as u32;
        let otadata = table
            .otadata()
            .and_then(|partition| Otadata::read(bytes, &partition, slots));
        let records = otadata.as_ref().map_or(&[][..], |otadata| &otadata.records);
        let bootloader = BootloaderReport::of(bytes, records);
        let boots = Bootloader {
            app_rollback: bootloader.does_app_rollback(),
        }
        .boot(&mut Flash::in_memory(bytes.to_vec()));
        Ok(Self {
            size: bytes.len(),
            partitions: table
                .entries()
                .map(|partition| Entry::new(partition, bytes))
                .collect(),
            otadata,
            bootloader,
            boots: boots.map_err(|error| error.to_string()),
        })
    }

    /// An error if nothing would boot.
    pub fn check(&self) -> Result<(), CliError> {
        match &self.boots {
            Ok(_) => Ok(()),
            Err(problem) => Err(CliError::new(
                "flash.boot",
                format!("this flash would not boot: {problem}"),
            )
            .hint("write a firmware over the cable, with `espflash flash`")),
        }
    }

    /// The facts for programs.
    pub fn to_json(&self) -> Value {
        json!({
            "size": self.size,
            "partitions": self.partitions.iter().map(Entry::to_json).collect::<Vec<_>>(),
            "otadata": self.otadata.as_ref().map(Otadata::to_json),
            "bootloader": self.bootloader.to_json(),
            "boots": self.boots.as_ref().ok().map(|app| json!({
                "partition": app.partition.label.as_str(),
                "slot": app.slot,
                "version": version(app),
                "chip": app.image.header.chip().map(|chip| chip.name()),
            })),
            "problem": self.boots.as_ref().err(),
        })
    }
}

impl fmt::Display for FlashReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "flash of {} KiB, partition table at {TABLE_OFFSET:#x}",
            self.size / 1024
        )?;
        let rows = self.partitions.iter().map(|entry| {
            let Partition {
                label,
                kind,
                offset,
                size,
                ..
            } = entry.partition;
            let size = format!("{} KiB", size / 1024);
            [
                label.to_string(),
                kind.to_string(),
                format!("{offset:#08x}"),
                size,
                entry.contents.to_string(),
            ]
        });
        let columns = [
            Column::new("name"),
            Column::new("type").rank(3),
            Column::new("offset").rank(1),
            Column::new("size").rank(2),
            Column::new("holds").text(),
        ];
        table(f, columns, rows)?;
        if let Some(otadata) = &self.otadata {
            writeln!(f, "\notadata")?;
            let columns = [
                Column::new(""),
                Column::new(""),
                Column::new(""),
                Column::new(""),
                Column::new("").text(),
            ];
            table(f, columns, otadata.rows())?;
        }
        if !self.bootloader.is_empty() {
            writeln!(f, "\nbootloader: {}", self.bootloader)?;
        }
        match &self.boots {
            Ok(app) => write!(
                f,
                "\nboots: {}, version {}",
                app.partition.label,
                version(app).unwrap_or("unknown")
            ),
            Err(problem) => write!(f, "\nboots: nothing: {problem}"),
        }
    }
}

impl Entry {
    fn new(partition: Partition, flash: &[u8]) -> Self {
        let begin = partition.offset as usize;
        let contents = match flash.get(begin..begin.saturating_add(partition.size as usize)) {
            _ if !partition.kind.is_app() => Contents::Data,
            None => Contents::Missing,
            Some(slot)
                if slot
                    .iter()
                    .take(SECTOR_SIZE as usize)
                    .all(|&byte| byte == 0xFF) =>
            {
                Contents::Empty
            }
            Some(slot) => Contents::App(Box::new(ImageReport::of_slot(slot))),
        };
        Self {
            partition,
            contents,
        }
    }

    fn to_json(&self) -> Value {
        let Partition {
            label,
            kind,
            offset,
            size,
            ..
        } = self.partition;
        let mut entry = json!({ "label": label.as_str(), "kind": kind.to_string(), "offset": offset, "size": size });
        match &self.contents {
            Contents::App(report) => entry["image"] = report.to_json(),
            Contents::Empty | Contents::Missing => entry["image"] = Value::Null,
            Contents::Data => {}
        }
        entry
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data => Ok(()),
            Self::Empty => f.write_str("nothing"),
            Self::Missing => f.write_str("beyond the end of this dump"),
            Self::App(report) => match (&report.verdict, report.header) {
                (Ok(image), _) => write!(f, "{}, {} bytes, intact", report.title(), image.length),
                (Err(error), Some(_)) => write!(f, "{}, damaged: {error}", report.title()),
                (Err(_), None) => f.write_str("no app image"),
            },
        }
    }
}

impl Otadata {
    fn read(flash: &[u8], partition: &Partition, slots: u32) -> Option<Self> {
        let record = |sector: u32| {
            let at = partition.offset.checked_add(sector * SECTOR_SIZE)?;
            flash
                .get(at as usize..)?
                .first_chunk::<RECORD_LEN>()
                .map(Record::parse)
        };
        Some(Self {
            records: [record(0)?, record(1)?],
            slots,
        })
    }

    /// The sector whose record decides what boots.
    fn in_force(&self) -> Option<usize> {
        otadata::active(&self.records)
    }

    fn to_json(&self) -> Value {
        let sectors = self.records.iter().enumerate().map(|(sector, record)| {
            let erased = record.sequence == u32::MAX;
            json!({
                "sector": sector,
                "sequence": (!erased).then_some(record.sequence),
                "state": state(record),
                "slot": record.slot(self.slots),
                "crc_ok": record.crc_matches(),
                "in_force": self.in_force() == Some(sector),
            })
        });
        Value::Array(sectors.collect())
    }

    fn rows(&self) -> Vec<[String; 5]> {
        let rows = self.records.iter().enumerate().map(|(sector, record)| {
            let name = format!("sector {sector}");
            if record.sequence == u32::MAX {
                return [
                    name,
                    "erased".to_owned(),
                    String::new(),
                    String::new(),
                    String::new(),
                ];
            }
            let slot = record
                .slot(self.slots)
                .map_or_else(String::new, |slot| format!("names ota_{slot}"));
            let verdict = match (record.crc_matches(), self.in_force() == Some(sector)) {
                (false, _) => "CRC wrong: counts as absent",
                (true, true) => "CRC good, in force",
                (true, false) => "CRC good",
            };
            [
                name,
                format!("sequence {}", record.sequence),
                slot,
                state(record),
                verdict.to_owned(),
            ]
        });
        rows.collect()
    }
}

/// The state's name in ESP-IDF, without its prefix.
fn state(record: &Record) -> String {
    match record.state {
        State::New => "new".to_owned(),
        State::PendingVerify => "pending-verify".to_owned(),
        State::Valid => "valid".to_owned(),
        State::Invalid => "invalid".to_owned(),
        State::Aborted => "aborted".to_owned(),
        State::Undefined => "undefined".to_owned(),
        State::Other(raw) => format!("{raw:#x}"),
    }
}

fn version(app: &App) -> Option<&str> {
    app.image
        .descriptor
        .as_ref()
        .map(|descriptor| descriptor.version())
        .filter(|version| !version.is_empty())
}

/// Writes rows in columns, indented.
fn table<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    columns: [Column; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> fmt::Result {
    let mut table = Table::new(&columns);
    for row in rows {
        table.row(row);
    }
    for line in table.lines(2) {
        writeln!(f, "  {line}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3ota_image::Chip;
    use s3ota_image::app::ImageBuilder;
    use s3ota_sim::Setup;

    const OTADATA: usize = 0xd000;
    const OTA_1: usize = 0x20_0000;

    fn image(version: &str) -> Vec<u8> {
        ImageBuilder::new(Chip::Esp32C3, version)
            .project_name("lamp")
            .build()
    }

    /// 1.0.0 in ota_0 by sequence 1, 1.1.0 in ota_1 by a new record with sequence 2.
    fn updated() -> Vec<u8> {
        let mut flash = Setup::default().flash(&image("1.0.0")).unwrap();
        let next = image("1.1.0");
        flash[OTA_1..OTA_1 + next.len()].copy_from_slice(&next);
        let records = [
            Record::new(1, State::Valid, [0xFF; 20]),
            Record::new(2, State::New, [0xFF; 20]),
        ];
        for (sector, record) in records.iter().enumerate() {
            let at = OTADATA + sector * SECTOR_SIZE as usize;
            flash[at..at + RECORD_LEN].copy_from_slice(&record.emit());
        }
        flash
    }

    #[test]
    fn a_flash_is_described_in_columns() {
        let text = FlashReport::of(&updated()).unwrap().to_string();
        let length = image("1.0.0").len();
        let expected = format!(
            "\
flash of 4096 KiB, partition table at 0x8000
  name      type       offset    size      holds
  nvs       data/nvs   0x009000  16 KiB
  otadata   data/ota   0x00d000  8 KiB
  phy_init  data/phy   0x00f000  4 KiB
  ota_0     app/ota_0  0x010000  1984 KiB  lamp 1.0.0 for esp32c3, {length} bytes, intact
  ota_1     app/ota_1  0x200000  1984 KiB  lamp 1.1.0 for esp32c3, {length} bytes, intact

otadata
  sector 0  sequence 1  names ota_0  valid  CRC good
  sector 1  sequence 2  names ota_1  new    CRC good, in force

boots: ota_1, version 1.1.0"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_torn_record_is_shown_as_absent() {
        let mut flash = updated();
        flash[OTADATA + SECTOR_SIZE as usize + 28] ^= 1;
        let report = FlashReport::of(&flash).unwrap();
        assert!(
            report.to_string().contains("CRC wrong: counts as absent"),
            "{report}"
        );
        let json = report.to_json();
        assert_eq!(json["otadata"][1]["crc_ok"], false);
        assert_eq!(json["otadata"][0]["in_force"], true);
        assert_eq!(json["boots"]["version"], "1.0.0");
    }

    #[test]
    fn a_record_that_is_pending_verification_shows_a_bootloader_with_app_rollback() {
        let mut flash = updated();
        let waits = Record::new(2, State::PendingVerify, [0xFF; 20]).emit();
        let at = OTADATA + SECTOR_SIZE as usize;
        flash[at..at + RECORD_LEN].copy_from_slice(&waits);
        let report = FlashReport::of(&flash).unwrap();
        let text = report.to_string();
        assert!(
            text.contains("bootloader: not in this dump; does app rollback"),
            "{text}"
        );
        let json = report.to_json();
        assert_eq!(json["bootloader"]["app_rollback"], true);
        // At its next start, that bootloader aborts what was not confirmed.
        assert_eq!(json["boots"]["version"], "1.0.0");
    }

    #[test]
    fn a_damaged_slot_is_shown_and_not_booted() {
        let mut flash = updated();
        flash[OTA_1 + 250] ^= 1;
        let report = FlashReport::of(&flash).unwrap();
        let json = report.to_json();
        assert_eq!(json["partitions"][4]["image"]["intact"], false);
        assert_eq!(json["partitions"][4]["image"]["version"], "1.1.0");
        assert_eq!(json["boots"]["partition"], "ota_0");
        assert!(report.check().is_ok());
    }

    #[test]
    fn a_flash_that_does_not_boot_is_an_error() {
        let mut flash = updated();
        flash[0x1_0000 + 250] ^= 1;
        flash[OTA_1 + 250] ^= 1;
        let report = FlashReport::of(&flash).unwrap();
        assert_eq!(report.check().unwrap_err().code, "flash.boot");
        assert_eq!(report.to_json()["boots"], Value::Null);
    }

    #[test]
    fn a_dump_that_was_cut_is_described_as_far_as_it_goes() {
        let flash = updated();
        let report = FlashReport::of(&flash[..OTA_1]).unwrap();
        assert!(
            report.to_string().contains("beyond the end of this dump"),
            "{report}"
        );
        for length in [0, 0x8000, 0x8fff, 0x9000, 0xd010, 0x1_0100] {
            let _ = FlashReport::of(&flash[..length]).map(|report| report.to_string());
        }
    }
}
