//! What is on a flash, and what would boot from it.

use std::fmt;
use std::ops::Range;

use s3ota::otadata::{LaunchedTrial, read_launched_trial};
use s3ota_image::otadata::{self, RECORD_LEN, Record, SECTOR_SIZE, State};
use s3ota_image::partition::{Kind, Partition};
use s3ota_sim::{App, Bootloader, Flash, Silicon};
use serde_json::{Value, json};

use super::bootloader::BootloaderReport;
use super::image::ImageReport;
use super::table::{hazards, kib, partition_json, table, troubles};
use crate::error::CliError;
use crate::firmware::dump::Dump;
use crate::output::table::Column;

/// The contents of a flash.
#[derive(Debug, Clone)]
pub struct FlashReport {
    size: usize,
    /// What of it the file holds.
    held: Range<usize>,
    table_offset: u32,
    largest_image: Option<u32>,
    warnings: Vec<CliError>,
    partitions: Vec<Entry>,
    otadata: Option<Otadata>,
    /// The trial that the app which boots launches.
    trial: Option<LaunchedTrial>,
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
    pub fn of(dump: &Dump) -> Result<Self, CliError> {
        let bytes = dump.bytes.as_slice();
        let table = dump.table().map_err(|error| {
            let at = dump.table_offset;
            let message = format!("the partition table at {at:#x} of this flash: {error}");
            CliError::new("flash.partitions", message)
        })?;
        let slots = table.ota_slots().count() as u32;
        let otadata = table
            .otadata()
            .and_then(|partition| Otadata::read(bytes, &partition, slots));
        let records = otadata.as_ref().map_or(&[][..], |otadata| &otadata.records);
        let bootloader = BootloaderReport::of(&bytes[..dump.table_offset as usize], records);
        let boots = Bootloader {
            app_rollback: bootloader.does_app_rollback(),
        }
        .boot_at(
            dump.table_offset,
            &mut Flash::in_memory(bytes.to_vec()),
            &mut Silicon::default(),
        );
        let mut flash = Flash::in_memory(bytes.to_vec());
        let trial = read_launched_trial(&mut flash, dump.table_offset);
        let mut warnings = hazards(&table);
        warnings.extend(bootloader.too_small_for(&table));
        warnings.extend(others(dump));
        let mut report = Self {
            size: bytes.len(),
            held: dump.held.clone(),
            table_offset: dump.table_offset,
            largest_image: table.largest_image(),
            warnings,
            partitions: table
                .entries()
                .map(|partition| Entry::new(partition, dump))
                .collect(),
            otadata,
            // Without a layout that the library takes there is none.
            trial: trial.unwrap_or(None),
            bootloader,
            boots: boots.map_err(|error| error.to_string()),
        };
        report.warnings.extend(report.written_in_vain());
        Ok(report)
    }

    /// What is dangerous, or may surprise.
    pub fn warnings(&self) -> &[CliError] {
        &self.warnings
    }

    /// The app that would boot.
    pub fn app(&self) -> Result<&App, CliError> {
        self.check()?;
        self.boots
            .as_ref()
            .map_err(|problem| CliError::new("flash.boot", problem))
    }

    /// What an app calls itself by.
    fn version(&self, app: &App) -> Option<&str> {
        let mut entries = self.partitions.iter();
        let entry = entries.find(|entry| entry.partition == app.partition)?;
        match &entry.contents {
            Contents::App(report) => report.version(),
            _ => None,
        }
    }

    /// Where a firmware that was written over the cable does not run, because otadata selects another slot.
    ///
    /// espflash, esptool and ESP-IDF write to the factory partition, or else to `ota_0`.
    fn written_in_vain(&self) -> Option<CliError> {
        let app = self.boots.as_ref().ok()?;
        let otadata = self.otadata.as_ref()?;
        let record = &otadata.records[otadata.in_force()?];
        let of_kind = |kind| self.partitions.iter().find(|it| it.partition.kind == kind);
        let first = of_kind(Kind::FACTORY).or_else(|| of_kind(Kind::ota_slot(0)?))?;
        let Contents::App(written) = &first.contents else {
            return None;
        };
        // The bootloader did not reject it, nor was it rolled back.
        let slot = first.partition.kind.as_ota_slot().map(u32::from);
        let is_given_up = |record: &Record| {
            record.slot(otadata.slots) == slot
                && matches!(record.state, State::Invalid | State::Aborted)
        };
        let is_rejected = slot.is_some() && otadata.records.iter().any(is_given_up);
        if first.partition == app.partition
            || record.slot(otadata.slots) != app.slot.map(u32::from)
            || is_rejected
        {
            return None;
        }
        let boots = &of_kind(app.partition.kind)?.contents;
        let Contents::App(boots) = boots else {
            return None;
        };
        let why = written.newer_than(boots)?;
        let (label, runs) = (first.partition.label, app.partition.label);
        let message = format!(
            "{label} holds {}, {why} {}, but {runs} boots: otadata selects it. \
             A firmware that is written over the cable goes to {label}, and does not run while otadata selects another slot",
            written.title(),
            boots.title(),
        );
        let Partition { offset, size, .. } = of_kind(Kind::OTADATA).map(|entry| entry.partition)?;
        Some(CliError::new("flash.otadata", message).hint(format!(
            "erase otadata, too: `esptool erase-region {offset:#x} {size:#x}`, or `espflash flash --erase-parts otadata \
             --partition-table CSV`"
        )))
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
            "held": { "from": self.held.start, "to": self.held.end },
            "table_offset": self.table_offset,
            "largest_image": self.largest_image,
            "partitions": self.partitions.iter().map(Entry::to_json).collect::<Vec<_>>(),
            "otadata": self.otadata.as_ref().map(Otadata::to_json),
            "launched_trial": self.trial.map(|trial| json!({
                "slot": trial.slot.index,
                "boots": trial.boots,
                "of": trial.of,
            })),
            "bootloader": self.bootloader.to_json(),
            "boots": self.boots.as_ref().ok().map(|app| json!({
                "partition": app.partition.label.as_str(),
                "slot": app.slot,
                "version": self.version(app),
                "chip": app.image.header.chip().map(|chip| chip.name()),
            })),
            "problem": self.boots.as_ref().err(),
            "warnings": troubles(&self.warnings),
        })
    }
}

impl fmt::Display for FlashReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "flash of {} KiB, partition table at {:#x}",
            self.size / 1024,
            self.table_offset
        )?;
        if self.held != (0..self.size) {
            let Range { start, end } = self.held;
            writeln!(
                f,
                "the file holds {start:#x} to {end:#x} of it; the rest counts as erased"
            )?;
        }
        let rows = self.partitions.iter().map(|entry| {
            let Partition {
                label,
                kind,
                offset,
                size,
                ..
            } = entry.partition;
            let size = kib(size);
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
        if let Some(largest) = self.largest_image {
            writeln!(f, "\nlargest image that always fits: {largest} bytes")?;
        }
        if let Some(otadata) = &self.otadata {
            writeln!(f, "\notadata")?;
            let columns = [
                Column::new("sector"),
                Column::new("sequence"),
                Column::new("names"),
                Column::new("state"),
                Column::new("CRC").text(),
            ];
            table(f, columns, otadata.rows())?;
        }
        if let Some(trial) = &self.trial {
            writeln!(f, "\ntrial: {}", in_words(trial))?;
        }
        if !self.bootloader.is_empty() {
            writeln!(f, "\nbootloader: {}", self.bootloader)?;
        }
        match &self.boots {
            Ok(app) => write!(
                f,
                "\nboots: {}, version {}",
                app.partition.label,
                self.version(app).unwrap_or("unknown")
            ),
            Err(problem) => write!(f, "\nboots: nothing: {problem}"),
        }
    }
}

impl Entry {
    fn new(partition: Partition, dump: &Dump) -> Self {
        let begin = partition.offset as usize;
        let end = begin.saturating_add(partition.size as usize);
        let is_held = begin < dump.held.end && end > dump.held.start;
        let contents = match dump.bytes.get(begin..end) {
            _ if !partition.kind.is_app() => Contents::Data,
            _ if !is_held => Contents::Missing,
            None => Contents::Missing,
            Some(slot)
                if slot
                    .iter()
                    .take(SECTOR_SIZE as usize)
                    .all(|&byte| byte == 0xFF) =>
            {
                Contents::Empty
            }
            Some(slot) => {
                let report = ImageReport::of_slot(slot);
                let held = slot.get(..dump.held.end.saturating_sub(begin));
                Contents::App(Box::new(match held {
                    // What is missing says more than what is wrong with erased flash.
                    Some(held) if report.verdict.is_err() => ImageReport::of_slot(held),
                    _ => report,
                }))
            }
        };
        Self {
            partition,
            contents,
        }
    }

    fn to_json(&self) -> Value {
        let mut entry = partition_json(&self.partition);
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
            Self::Missing => f.write_str("nothing: beyond the end of this dump"),
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
            let name = sector.to_string();
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
                .map_or_else(String::new, |slot| format!("ota_{slot}"));
            let verdict = match (record.crc_matches(), self.in_force() == Some(sector)) {
                (false, _) => "wrong: counts as absent",
                (true, true) => "good, in force",
                (true, false) => "good",
            };
            [
                name,
                record.sequence.to_string(),
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

/// A trial that the old firmware launches.
fn in_words(trial: &LaunchedTrial) -> String {
    let slot = trial.slot.index;
    let who = format!("the firmware that boots launches ota_{slot}, which is not confirmed;");
    let Some(of) = trial.of else {
        return format!("{who} it has not done so yet");
    };
    let boots = trial.boots;
    format!("{who} {boots} of {of} boots are used up")
}

/// The partition tables that are not in use.
fn others(dump: &Dump) -> Option<CliError> {
    let (used, other) = (dump.table_offset, dump.other_tables.first()?);
    let message = format!(
        "there is another partition table at {other:#x}; the one at {used:#x} is taken for the one in use"
    );
    let hint = format!(
        "only the bootloader's build knows which: if it is the other, pass --partition-table-offset {other:#x}"
    );
    Some(CliError::new("flash.partitions", message).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3ota_image::Chip;
    use s3ota_image::app::ImageBuilder;
    use s3ota_sim::Setup;

    const OTADATA: usize = 0xd000;
    const OTA_1: usize = 0x20_0000;

    fn report_of(flash: &[u8]) -> Result<FlashReport, CliError> {
        let missing = || CliError::new("flash.partitions", "no table");
        FlashReport::of(&Dump::find(flash, None).ok_or_else(missing)?)
    }

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
        let text = report_of(&updated()).unwrap().to_string();
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

largest image that always fits: 2031616 bytes

otadata
  sector  sequence  names  state  CRC
  0       1         ota_0  valid  good
  1       2         ota_1  new    good, in force

boots: ota_1, version 1.1.0"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_trial_that_the_old_firmware_launches_is_told_in_words() {
        let trial = |boots, of| {
            let slot = s3ota::Slot {
                index: 1,
                offset: OTA_1 as u32,
                size: 0x1000,
            };
            in_words(&LaunchedTrial { slot, boots, of })
        };
        let who = "the firmware that boots launches ota_1, which is not confirmed;";
        assert_eq!(trial(0, None), format!("{who} it has not done so yet"));
        let used_up = format!("{who} 2 of 3 boots are used up");
        assert_eq!(trial(2, Some(3)), used_up);
        let report = report_of(&updated()).unwrap();
        assert_eq!(report.to_json()["launched_trial"], Value::Null);
    }

    #[test]
    fn a_torn_record_is_shown_as_absent() {
        let mut flash = updated();
        flash[OTADATA + SECTOR_SIZE as usize + 28] ^= 1;
        let report = report_of(&flash).unwrap();
        assert!(
            report.to_string().contains("wrong: counts as absent"),
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
        let report = report_of(&flash).unwrap();
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
        let report = report_of(&flash).unwrap();
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
        let report = report_of(&flash).unwrap();
        assert_eq!(report.check().unwrap_err().code, "flash.boot");
        assert_eq!(report.to_json()["boots"], Value::Null);
    }

    #[test]
    fn what_a_merged_image_leaves_out_counts_as_erased() {
        let flash = Setup::default().flash(&image("1.0.0")).unwrap();
        let end = flash.iter().rposition(|&byte| byte != 0xFF).unwrap() + 1;
        let report = report_of(&flash[..end]).unwrap();
        let text = report.to_string();
        let held = format!("the file holds 0x0 to {end:#x} of it; the rest counts as erased");
        assert!(text.contains(&held), "{text}");
        assert!(text.ends_with("boots: ota_0, version 1.0.0"), "{text}");
        let json = report.to_json();
        assert_eq!(json["size"], 4 << 20);
        assert_eq!(json["held"], json!({ "from": 0, "to": end }));
        assert_eq!(json["partitions"][4]["image"], Value::Null);
        // An image that is cut is not whole.
        let cut = report_of(&flash[..end - 100]).unwrap();
        assert!(cut.to_string().contains("the image ends after"), "{cut}");
        assert_eq!(cut.check().unwrap_err().code, "flash.boot");
    }

    #[test]
    fn a_table_that_stops_updates_later_is_warned_of() {
        let codes = |csv: &str| {
            let flash = Setup::from_csv(csv).unwrap().flash(&image("1.0.0"));
            let report = report_of(&flash.unwrap()).unwrap();
            let codes: Vec<_> = report.warnings().iter().map(|it| it.code).collect();
            assert!(report.warnings().iter().all(|it| it.hint.is_some()));
            assert_eq!(
                report.to_json()["warnings"].as_array().unwrap().len(),
                codes.len()
            );
            codes
        };
        let otadata = "otadata,data,ota,,8K\n";
        let one = format!("{otadata}factory,app,factory,,1M\nota_0,app,ota_0,,1M\n");
        assert_eq!(codes(&one), ["flash.slots"]);
        let unequal = format!("{otadata}ota_0,app,ota_0,,2M\nota_1,app,ota_1,,1M\n");
        assert_eq!(codes(&unequal), ["flash.slots"]);
        let without = "ota_0,app,ota_0,,1M\nota_1,app,ota_1,,1M\n";
        assert_eq!(codes(without), ["flash.otadata"]);
        let good = format!("{otadata}{without}");
        assert_eq!(codes(&good), [""; 0]);
    }

    #[test]
    fn a_table_beyond_the_flash_of_its_bootloader_is_warned_of() {
        let mut flash = updated();
        let boot = ImageBuilder::new(Chip::Esp32C3, "")
            .without_descriptor()
            .build();
        flash[..boot.len()].copy_from_slice(&boot);
        for (size, warned) in [(0x10, true), (0x20, false), (0x40, false), (0xF0, false)] {
            flash[3] = size; // the header's flash size: 2 MB, 4 MB, 16 MB, and none that is known
            let report = report_of(&flash).unwrap();
            let codes: Vec<_> = report.warnings().iter().map(|it| it.code).collect();
            assert_eq!(codes.contains(&"flash.partitions"), warned, "{size:#x}");
        }
    }

    /// A flash where `slots` hold these versions, and a record selects `ota_1`.
    fn selecting_ota_1(slots: [&str; 2], first: State) -> FlashReport {
        let mut flash = Setup::default().flash(&image(slots[0])).unwrap();
        let next = image(slots[1]);
        flash[OTA_1..OTA_1 + next.len()].copy_from_slice(&next);
        let records = [
            Record::new(
                if first == State::Aborted { 3 } else { 1 },
                first,
                [0xFF; 20],
            ),
            Record::new(2, State::Valid, [0xFF; 20]),
        ];
        for (sector, record) in records.iter().enumerate() {
            let at = OTADATA + sector * SECTOR_SIZE as usize;
            flash[at..at + RECORD_LEN].copy_from_slice(&record.emit());
        }
        report_of(&flash).unwrap()
    }

    #[test]
    fn a_firmware_written_over_the_cable_that_does_not_run_is_explained() {
        let report = selecting_ota_1(["1.2.0", "1.1.0"], State::Valid);
        let [warning] = report.warnings() else {
            panic!("{:?}", report.warnings())
        };
        assert_eq!(warning.code, "flash.otadata");
        let told = "ota_0 holds lamp 1.2.0 for esp32c3, a newer version than lamp 1.1.0 for esp32c3, but ota_1 boots";
        assert!(warning.message.starts_with(told), "{warning}");
        let hint = warning.hint.as_deref().unwrap();
        assert!(hint.contains("erase-region 0xd000 0x2000"), "{hint}");

        for (slots, first) in [
            // The release before an update.
            (["1.0.0", "1.1.0"], State::Valid),
            (["1.1.0", "1.1.0"], State::Valid),
            // It did not pass its trial.
            (["1.2.0", "1.1.0"], State::Aborted),
        ] {
            let report = selecting_ota_1(slots, first);
            assert_eq!(report.warnings(), &[], "{slots:?}");
        }
    }

    #[test]
    fn a_wrong_table_is_named_with_its_place() {
        let mut flash = updated();
        flash[0x8000 + 12] ^= 1;
        let error = report_of(&flash).unwrap_err();
        assert_eq!(error.code, "flash.partitions");
        assert!(
            error.message.contains("0x8000") && error.message.contains("MD5"),
            "{error}"
        );
    }

    #[test]
    fn a_dump_that_was_cut_is_described_as_far_as_it_goes() {
        let flash = updated();
        let report = report_of(&flash[..OTA_1]).unwrap();
        assert!(
            report.to_string().contains("beyond the end of this dump"),
            "{report}"
        );
        for length in [0, 0x8000, 0x8fff, 0x9000, 0xd010, 0x1_0100] {
            let _ = report_of(&flash[..length]).map(|report| report.to_string());
        }
    }
}
