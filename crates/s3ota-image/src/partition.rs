//! The partition table: what is where on the flash.
//!
//! A table is up to [`MAX_LEN`] bytes of 32-byte entries, an optional MD5 of them, and an end
//! marker of 32 bytes 0xFF:
//!
//! | bytes of an entry | field |
//! |---|---|
//! | 0..2 | magic 0xAA 0x50 |
//! | 2, 3 | type, subtype |
//! | 4..8, 8..12 | offset and size in bytes |
//! | 12..28 | label |
//! | 28..32 | flags |
//!
//! A [`PartitionTable`] is a checked view of such bytes; a [`Partition`] is one entry. With the
//! feature `alloc`, `TableBuilder` reads and writes ESP-IDF's CSV and makes the bytes.
//!
//! Sources: ESP-IDF `components/bootloader_support/include/esp_flash_partitions.h` (the layout),
//! `components/bootloader_support/src/flash_partitions.c` (`esp_partition_table_verify`),
//! `components/partition_table/gen_esp32part.py` (CSV, names, alignment, what makes a table
//! valid), `components/bootloader_support/src/bootloader_utility.c` (how slots are counted).
//!
//! ```
//! use s3ota_image::partition::PartitionTable;
//!
//! let bytes = include_bytes!("../tests/fixtures/partitions-two-slots.bin");
//! let table = PartitionTable::parse(bytes)?;
//! assert_eq!(table.otadata().map(|p| p.offset), Some(0xD000));
//! for slot in table.ota_slots() {
//!     println!("{} at 0x{:X}, {} bytes", slot.label, slot.offset, slot.size);
//! }
//! # Ok::<(), s3ota_image::partition::PartitionError>(())
//! ```

#[cfg(feature = "alloc")]
mod builder;
#[cfg(feature = "alloc")]
mod csv;
mod entry;
mod error;
mod find;
mod hazard;
mod md5;
mod rules;
mod table;

#[cfg(feature = "alloc")]
pub use builder::TableBuilder;
#[cfg(feature = "alloc")]
pub use csv::{CsvError, CsvProblem};
pub use entry::{Kind, Label, Partition};
pub use error::PartitionError;
pub use find::{Found, find};
pub use hazard::Hazard;
pub use table::PartitionTable;

/// Where ESP-IDF puts the table by default (`CONFIG_PARTITION_TABLE_OFFSET`).
pub const TABLE_OFFSET: u32 = 0x8000;

/// The highest offset at which [`find`] looks for a table.
pub const LAST_TABLE_OFFSET: u32 = 0x2_0000;

/// Bytes that the table occupies on the flash: one sector (`PARTITION_TABLE_SIZE` in
/// `gen_esp32part.py`).
pub const TABLE_SIZE: u32 = 0x1000;

/// The most bytes of table data; the rest of the sector is for a signature
/// (`ESP_PARTITION_TABLE_MAX_LEN`).
pub const MAX_LEN: usize = 0xC00;

/// Bytes of one entry.
pub const ENTRY_LEN: usize = 32;

/// The most partitions: one of the 96 entries is the end marker.
pub const MAX_PARTITIONS: usize = MAX_LEN / ENTRY_LEN - 1;

/// The size of an otadata partition: two sectors.
pub const OTADATA_SIZE: u32 = 0x2000;
