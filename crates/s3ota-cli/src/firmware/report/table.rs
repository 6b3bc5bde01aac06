//! A partition table, and what it means for updates.

use std::fmt;

use s3ota_image::partition::{
    Kind, LAST_TABLE_OFFSET, Partition, PartitionTable, TABLE_OFFSET, TABLE_SIZE, TableBuilder,
};
use serde_json::{Value, json};

use crate::error::CliError;
use crate::output::table::{Column, Table};

/// A partition table in a file of its own.
#[derive(Debug, Clone)]
pub struct TableReport {
    partitions: Vec<Partition>,
    largest_image: Option<u32>,
    warnings: Vec<CliError>,
}

impl TableReport {
    /// From the table's bytes, which are to lie at `table_offset`.
    pub fn of(bytes: &[u8], table_offset: u32) -> Result<Self, CliError> {
        let table = PartitionTable::parse_at(bytes, table_offset)
            .map_err(|error| CliError::new("flash.partitions", error.to_string()))?;
        Ok(Self {
            partitions: table.entries().collect(),
            largest_image: table.largest_image(),
            warnings: hazards(&table),
        })
    }

    /// From a table that is not at the offset that it was made for, and is wrong there.
    pub fn misplaced(bytes: &[u8]) -> Option<Self> {
        Self::of(bytes, 0).ok()
    }

    /// From CSV.
    pub fn of_csv(text: &str, table_offset: u32) -> Result<Self, CliError> {
        // Where the bootloader lies depends on the chip, which a table does not name. It is shown at 0.
        let table = TableBuilder::from_csv_at(text, table_offset, Some(0))
            .map_err(|error| CliError::new("flash.partitions", error.to_string()))?;
        let bytes = table
            .to_bytes()
            .map_err(|error| CliError::new("flash.partitions", error.to_string()))?;
        Self::of(&bytes, table_offset)
    }

    /// A gap behind a table at its usual offset, as if it was made for another one.
    pub fn gap(&self) -> Option<CliError> {
        let (begins, label) = self
            .partitions
            .iter()
            .filter(|it| it.offset >= TABLE_OFFSET && !is_of_boot(it.kind))
            .map(|it| (it.offset, it.label))
            .min_by_key(|(offset, _)| *offset)?;
        let free = TABLE_OFFSET + TABLE_SIZE;
        let is_app = self
            .partitions
            .iter()
            .any(|it| it.offset == begins && it.kind.is_app());
        if begins <= free || begins - TABLE_SIZE > LAST_TABLE_OFFSET || is_app {
            return None;
        }
        let (table, message) = (
            begins - TABLE_SIZE,
            format!(
                "nothing lies between the partition table's end at {free:#x} and {label} at {begins:#x}"
            ),
        );
        Some(CliError::new("flash.partitions", message).hint(format!(
            "if the bootloader looks for the table at {table:#x}, add --partition-table-offset {table:#x}"
        )))
    }

    /// What is dangerous about it.
    pub fn warnings(&self) -> &[CliError] {
        &self.warnings
    }

    /// The facts for programs.
    pub fn to_json(&self) -> Value {
        json!({
            "partitions": self.partitions.iter().map(partition_json).collect::<Vec<_>>(),
            "largest_image": self.largest_image,
            "warnings": troubles(&self.warnings),
        })
    }
}

impl fmt::Display for TableReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "a partition table")?;
        let rows = self.partitions.iter().map(|partition| {
            [
                partition.label.to_string(),
                partition.kind.to_string(),
                format!("{:#08x}", partition.offset),
                kib(partition.size),
            ]
        });
        let columns = ["name", "type", "offset", "size"].map(Column::new);
        table(f, columns, rows)?;
        match self.largest_image {
            Some(largest) => write!(f, "\nlargest image that always fits: {largest} bytes"),
            None => write!(f, "\nno OTA slot"),
        }
    }
}

/// Whether a partition is a bootloader or a partition table, which may lie before or behind all others.
fn is_of_boot(kind: Kind) -> bool {
    [Kind::BOOTLOADER, Kind::PARTITION_TABLE]
        .iter()
        .any(|it| it.type_ == kind.type_)
}

/// What stops updates on a device with this table, now or later.
pub(super) fn hazards(table: &PartitionTable<'_>) -> Vec<CliError> {
    let hazards = table.hazards().map(|hazard| {
        let text = hazard.to_string();
        match text.split_once("; ") {
            Some((message, hint)) => CliError::new(hazard.code(), message).hint(hint),
            None => CliError::new(hazard.code(), text),
        }
    });
    hazards.collect()
}

/// Warnings for programs.
pub(super) fn troubles(warnings: &[CliError]) -> Value {
    let warnings = warnings.iter().map(
        |warning| json!({ "code": warning.code, "message": warning.message, "hint": warning.hint }),
    );
    Value::Array(warnings.collect())
}

/// A partition for programs.
pub(super) fn partition_json(partition: &Partition) -> Value {
    let Partition {
        label,
        kind,
        offset,
        size,
        ..
    } = partition;
    json!({ "label": label.as_str(), "kind": kind.to_string(), "offset": offset, "size": size })
}

/// A size for people.
pub(super) fn kib(size: u32) -> String {
    match size % 1024 {
        0 => format!("{} KiB", size / 1024),
        _ => format!("{size} bytes"),
    }
}

/// Writes rows in columns, indented.
pub(super) fn table<const N: usize>(
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

    #[test]
    fn a_csv_is_shown_as_the_table_that_it_makes() {
        let csv = "nvs,data,nvs,,16K\notadata,data,ota,,8K\nota_0,app,ota_0,,1M\nota_1,app,ota_1,,1500K\n";
        let report = TableReport::of_csv(csv, TABLE_OFFSET).unwrap();
        let text = report.to_string();
        assert!(
            text.contains("ota_1    app/ota_1  0x110000  1500 KiB"),
            "{text}"
        );
        assert!(
            text.ends_with("largest image that always fits: 1048576 bytes"),
            "{text}"
        );
        assert_eq!(report.warnings()[0].code, "flash.slots");
        assert_eq!(report.to_json()["largest_image"], 1 << 20);
        assert_eq!(report.gap(), None);

        let error = TableReport::of_csv("nvs,data,nvs,,16G\n", TABLE_OFFSET).unwrap_err();
        assert!(
            error.message.starts_with("line 1 of the partition CSV"),
            "{error}"
        );
    }

    #[test]
    fn a_table_made_for_another_offset_shows_by_its_gap() {
        let gap = |csv: &str| TableReport::of_csv(csv, TABLE_OFFSET).unwrap().gap();
        let hint = gap("nvs,data,nvs,0x11000,16K\nota_0,app,ota_0,,1M\n")
            .unwrap()
            .hint
            .unwrap();
        assert!(hint.ends_with("--partition-table-offset 0x10000"), "{hint}");
        assert_eq!(gap("nvs,data,nvs,0x9000,16K\n"), None);
        // No bootloader looks for a table there.
        assert_eq!(gap("nvs,data,nvs,0x30000,16K\n"), None);
        // A recovery bootloader lies anywhere.
        assert_eq!(
            gap("boot,bootloader,ota,0x11000,28K\nota_0,app,ota_0,,1M\n"),
            None
        );
        // An app begins on 64 KiB.
        assert_eq!(gap("ota_0,app,ota_0,,1M\n"), None);
    }
}
