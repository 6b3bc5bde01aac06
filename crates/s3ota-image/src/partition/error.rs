//! Why bytes or partitions are not a partition table.

use core::fmt;

use super::{Label, MAX_LEN, MAX_PARTITIONS, OTADATA_SIZE, Partition};

/// Why bytes or partitions are not a partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum PartitionError {
    /// There is no partition: this is erased flash, or an end marker alone.
    Empty,
    /// There is no end marker in the bytes, or in the first 0xC00 of them.
    NoEndMarker,
    /// An entry begins with an unknown magic.
    Magic {
        /// Which entry, counted from 0.
        index: usize,
        /// Its first two bytes.
        found: [u8; 2],
    },
    /// The MD5 does not match the entries before it.
    Md5,
    /// Something other than the end marker follows the MD5. The bootloader would miscount the partitions.
    AfterMd5 {
        /// Which entry, counted from 0.
        index: usize,
    },
    /// There are more partitions than fit a table.
    TooMany,
    /// A partition does not start at a multiple of 64 KiB (apps) or 4 KiB (others).
    Alignment {
        /// The partition.
        label: Label,
        /// Where it starts, in bytes.
        offset: u32,
        /// What it must be a multiple of.
        alignment: u32,
    },
    /// An app partition is not a multiple of 4 KiB long.
    AppSize {
        /// The partition.
        label: Label,
        /// Its size in bytes.
        size: u32,
    },
    /// A partition ends past the 32-bit address space.
    Address {
        /// The partition.
        label: Label,
    },
    /// A partition overlaps the bootloader or the table itself.
    BelowTable {
        /// The partition.
        label: Label,
        /// Where it starts, in bytes.
        offset: u32,
        /// The first byte after the table's sector.
        table_end: u32,
    },
    /// Two partitions share bytes of the flash.
    Overlap {
        /// One of them.
        first: Label,
        /// The other.
        second: Label,
    },
    /// Two partitions have the same name.
    DuplicateLabel {
        /// The name.
        label: Label,
    },
    /// There is a second otadata partition.
    SecondOtadata,
    /// The otadata partition is not two sectors long, or is read-only.
    Otadata {
        /// Its size in bytes.
        size: u32,
    },
    /// The OTA slots are not numbered `ota_0`, `ota_1`, … without gaps or repetitions.
    ///
    /// ESP-IDF's tools accept such a table, but the bootloader derives slot numbers from the number of slots:
    /// it would boot a slot that does not exist.
    OtaSlots {
        /// The slot that is missing or appears twice.
        slot: u8,
    },
}

impl fmt::Display for PartitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            PartitionError::Empty => f.write_str(
                "there is no partition table, only erased flash; \
                 write one, or look at its right offset",
            ),
            PartitionError::NoEndMarker => write!(
                f,
                "the partition table has no end marker within {MAX_LEN} bytes; \
                 read the whole table, from the right offset",
            ),
            PartitionError::Magic {
                index,
                found: [a, b],
            } => {
                let [x, y] = Partition::MAGIC;
                write!(
                    f,
                    "entry {index} of the partition table begins with 0x{a:02X} 0x{b:02X}, \
                     not with 0x{x:02X} 0x{y:02X}; \
                     this is not a partition table, or not its offset",
                )
            }
            PartitionError::Md5 => f.write_str(
                "the partition table's MD5 does not match: the table is damaged; flash it again",
            ),
            PartitionError::AfterMd5 { index } => write!(
                f,
                "entry {index} of the partition table follows its MD5, where the table must end; \
                 the table is damaged; flash it again",
            ),
            PartitionError::TooMany => write!(
                f,
                "a partition table holds {MAX_PARTITIONS} partitions, \
                 one fewer with its MD5; remove some",
            ),
            PartitionError::Alignment {
                label,
                offset,
                alignment,
            } => write!(
                f,
                "partition {label} starts at 0x{offset:X}, which is not a multiple of \
                 0x{alignment:X}; move it",
            ),
            PartitionError::AppSize { label, size } => write!(
                f,
                "app partition {label} is 0x{size:X} bytes long, which is not a multiple of \
                 0x1000; change its size",
            ),
            PartitionError::Address { label } => write!(
                f,
                "partition {label} ends past 4 GiB; change its offset or size",
            ),
            PartitionError::BelowTable {
                label,
                offset,
                table_end,
            } => write!(
                f,
                "partition {label} starts at 0x{offset:X}, where the bootloader or the partition \
                 table is; move it to 0x{table_end:X} or above",
            ),
            PartitionError::Overlap { first, second } => write!(
                f,
                "partitions {first} and {second} overlap; move or shrink one of them",
            ),
            PartitionError::DuplicateLabel { label } => {
                write!(f, "two partitions are named {label}; rename one of them",)
            }
            PartitionError::SecondOtadata => f.write_str(
                "there are two otadata partitions (data/ota), but the bootloader uses one; \
                 remove the other",
            ),
            PartitionError::Otadata { size } => write!(
                f,
                "the otadata partition must be writable and 0x{OTADATA_SIZE:X} bytes long, \
                 this one has 0x{size:X} bytes or is read-only; change it",
            ),
            PartitionError::OtaSlots { slot } => write!(
                f,
                "the OTA slots must be ota_0, ota_1 and so on, each once: ota_{slot} is missing \
                 or appears twice; renumber the subtypes",
            ),
        }
    }
}

impl core::error::Error for PartitionError {}
