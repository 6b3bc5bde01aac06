//! Builds partition tables.

use alloc::vec::Vec;

use super::{
    CsvError, MAX_LEN, MAX_PARTITIONS, Partition, PartitionError, PartitionTable, TABLE_OFFSET,
    csv, rules,
};

/// Builds a partition table from partitions or from ESP-IDF's CSV.
///
/// ```
/// use s3ota_image::partition::{PartitionTable, TableBuilder};
///
/// let builder = TableBuilder::from_csv("
///     ## Name, Type, SubType, Offset, Size, Flags
///     nvs,     data, nvs,     ,       16K,
///     otadata, data, ota,     ,       8K,
///     ota_0,   app,  ota_0,   ,       1984K,
///     ota_1,   app,  ota_1,   ,       1984K,
/// ").expect("a good CSV");
/// let bytes = builder.to_bytes()?;
/// assert_eq!(bytes.len(), 0xC00);
///
/// let table = PartitionTable::parse(&bytes)?;
/// assert_eq!(table.find("ota_1").map(|p| p.offset), Some(0x20_0000));
/// # Ok::<(), s3ota_image::partition::PartitionError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableBuilder {
    partitions: Vec<Partition>,
    table_offset: u32,
}

impl Default for TableBuilder {
    fn default() -> TableBuilder {
        TableBuilder {
            partitions: Vec::new(),
            table_offset: TABLE_OFFSET,
        }
    }
}

impl TableBuilder {
    /// An empty table.
    pub fn new() -> TableBuilder {
        TableBuilder::default()
    }

    /// Parses CSV by the rules of ESP-IDF's `gen_esp32part.py`:
    ///
    /// - a line is `name, type, subtype, offset, size, flags`; empty lines and lines that begin with `#`
    ///   are ignored
    /// - type and subtype are names or numbers; an empty subtype of anything but an app is
    ///   `undefined`
    /// - numbers are decimal, `0x`, `0o` or `0b`, and may end with `K` or `M`
    /// - an empty offset is the aligned end of the partition before
    /// - a negative size is the address to extend to
    /// - flags are `encrypted` and `readonly`, joined by `:`
    ///
    /// - offset and size of the bootloader and of the table itself may be `N/A` or empty, as in ESP-IDF's own
    ///   tables
    ///
    /// Unlike there, a name longer than 16 bytes is an error rather than truncated. `N/A` for a bootloader is an
    /// error here, because its place differs from chip to chip: see [`from_csv_at`](TableBuilder::from_csv_at).
    ///
    /// # Errors
    /// A [`CsvError`] with the line number. The table as a whole is checked by
    /// [`to_bytes`](TableBuilder::to_bytes).
    pub fn from_csv(text: &str) -> Result<TableBuilder, CsvError> {
        TableBuilder::from_csv_at(text, TABLE_OFFSET, None)
    }

    /// The same for a table at `table_offset`, on a chip whose bootloader lies at `bootloader`
    /// ([`Chip::bootloader_offset`](crate::Chip::bootloader_offset)).
    ///
    /// # Errors
    /// A [`CsvError`] with the line number.
    pub fn from_csv_at(
        text: &str,
        table_offset: u32,
        bootloader: Option<u32>,
    ) -> Result<TableBuilder, CsvError> {
        let places = csv::Places {
            table: table_offset,
            bootloader,
        };
        csv::parse(text, places).map(|partitions| TableBuilder {
            partitions,
            table_offset,
        })
    }

    /// The same table, but to lie at this offset of the flash and not at [`TABLE_OFFSET`].
    pub fn at(self, table_offset: u32) -> TableBuilder {
        TableBuilder {
            table_offset,
            ..self
        }
    }

    /// Where the table is to lie.
    pub fn table_offset(&self) -> u32 {
        self.table_offset
    }

    /// The table as CSV, byte for byte as `gen_esp32part.py` writes it.
    pub fn to_csv(&self) -> alloc::string::String {
        csv::emit(&self.partitions)
    }

    /// Adds a partition at the end of the table.
    pub fn partition(mut self, partition: Partition) -> TableBuilder {
        self.partitions.push(partition);
        self
    }

    /// The partitions so far.
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// The table, byte for byte as `gen_esp32part.py` writes it: entries, MD5, then 0xFF up to [`MAX_LEN`].
    ///
    /// # Errors
    /// Those of [`PartitionTable::parse`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, PartitionError> {
        // The MD5 takes the place of one partition, the end marker that of another.
        if self.partitions.len() >= MAX_PARTITIONS {
            return Err(PartitionError::TooMany);
        }
        rules::check(self.partitions.iter().copied(), self.table_offset)?;

        let mut bytes = Vec::with_capacity(MAX_LEN);
        for partition in &self.partitions {
            bytes.extend(partition.emit());
        }
        let digest = super::md5::md5(&bytes);
        bytes.extend(MD5_BEGIN);
        bytes.extend(digest);
        bytes.resize(MAX_LEN, 0xFF);
        Ok(bytes)
    }
}

impl From<PartitionTable<'_>> for TableBuilder {
    fn from(table: PartitionTable<'_>) -> TableBuilder {
        TableBuilder {
            partitions: table.entries().collect(),
            ..TableBuilder::default()
        }
    }
}

/// The start of the MD5 entry (`MD5_PARTITION_BEGIN` in `gen_esp32part.py`). The bootloader checks only the
/// first two bytes (`ESP_PARTITION_MAGIC_MD5`).
const MD5_BEGIN: [u8; 16] = [
    0xEB, 0xEB, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
];
