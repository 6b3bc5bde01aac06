//! ESP-IDF's CSV form of a partition table.
//!
//! The crate `esp-idf-part` reads it too, and judges ours in `tests/judges.rs` as a part of espflash. It does not replace
//! this file: 0.6.0 panics on input such as a data subtype without a name, `4096M` or a partition that ends past 4 GiB,
//! truncates long names without a word, and lets a partition cover the table itself. It does not know negative sizes, nor
//! the types `bootloader` and `partition_table`; and it needs std, serde and regex.

use alloc::{
    borrow::ToOwned,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use super::{
    Kind, Label, Partition, TABLE_SIZE,
    entry::{SUBTYPES, TYPES},
};

/// A line of a CSV that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: CsvProblem,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CsvProblem {
    /// The name is longer than 16 bytes.
    Name(String),
    /// Neither the name nor the number of a type.
    Type(String),
    /// Neither the name nor the number of a subtype of that type; or empty, for an app.
    Subtype(String),
    /// Not a number that can be an offset.
    Offset(String),
    /// Not a number that can be a size.
    Size(String),
    /// Not the name of a flag.
    Flag(String),
    /// The place of a bootloader is left open, and the chip, which decides it, is not known.
    Bootloader,
    /// The partition starts before the one above it ends, or inside the table itself.
    Overlap {
        /// Where it starts, in bytes.
        offset: u32,
        /// The first free byte.
        free: u32,
    },
    /// The partition ends past the 32-bit address space, or its negative size is an address before its
    /// start.
    Address,
}

impl fmt::Display for CsvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of the partition CSV: ", self.line)?;
        match &self.problem {
            CsvProblem::Name(name) => {
                write!(f, "the name {name:?} is longer than 16 bytes; shorten it")
            }
            CsvProblem::Type(text) => write!(
                f,
                "{text:?} is not a partition type; write app, data or a number from 0x40 to 0xFE",
            ),
            CsvProblem::Subtype(text) => write!(
                f,
                "{text:?} is not a subtype of this type; write a name such as ota_0 or nvs, or a \
                 number up to 0xFF",
            ),
            CsvProblem::Offset(text) => write!(
                f,
                "{text:?} is not an offset; write a number such as 0x10000 or 64K, or leave it empty",
            ),
            CsvProblem::Size(text) => {
                write!(
                    f,
                    "{text:?} is not a size; write a number such as 0x1F0000 or 1M"
                )
            }
            CsvProblem::Flag(text) => {
                write!(
                    f,
                    "{text:?} is not a flag; write encrypted, readonly or nothing"
                )
            }
            CsvProblem::Bootloader => f.write_str(
                "where this bootloader lies is left open, and depends on the chip; \
                 write its offset and size",
            ),
            CsvProblem::Overlap { offset, free } => write!(
                f,
                "the partition starts at 0x{offset:X}, but everything before 0x{free:X} is taken; \
                 move it, or leave the offset empty",
            ),
            CsvProblem::Address => f.write_str(
                "the partition ends before it starts or past 4 GiB; change its offset or size",
            ),
        }
    }
}

impl core::error::Error for CsvError {}

/// Where the build puts what its partition table does not place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    /// The table.
    pub(super) table: u32,
    /// The bootloader, where it is known.
    pub(super) bootloader: Option<u32>,
}

pub(super) fn parse(text: &str, places: Places) -> Result<Vec<Partition>, CsvError> {
    // Notepad's byte order mark.
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let mut partitions = Vec::new();
    let mut free = places.table.saturating_add(TABLE_SIZE);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let partition = parse_line(line, places, &mut free).map_err(|problem| CsvError {
            line: index + 1,
            problem,
        })?;
        partitions.push(partition);
    }
    Ok(partitions)
}

/// Reads one line; `free` is the first byte that no partition above has taken.
fn parse_line(line: &str, places: Places, free: &mut u32) -> Result<Partition, CsvProblem> {
    let mut fields = line.split(',').map(str::trim);
    let mut field = || fields.next().unwrap_or_default();
    let (name, type_, subtype, offset, size, flags) =
        (field(), field(), field(), field(), field(), field());

    let label = Label::new(name).ok_or_else(|| CsvProblem::Name(name.to_owned()))?;
    let kind = parse_kind(type_, subtype)?;
    let flags = parse_flags(flags)?;
    let (open_offset, open_size) = places.open(kind);
    let size = match (is_open(size), open_size) {
        (true, Some(size)) => i64::from(size?),
        _ => parse_int(size).ok_or_else(|| CsvProblem::Size(size.to_owned()))?,
    };

    let mut partition = Partition {
        label,
        kind,
        offset: 0,
        size: 0,
        flags,
    };
    // The bootloader and the table itself come before all others and do not affect their order.
    let in_order = !partition.may_lie_below_the_table();
    partition.offset = match (offset, open_offset) {
        (text, Some(open)) if is_open(text) => open?,
        ("", _) if in_order => free
            .checked_next_multiple_of(Partition::offset_alignment(kind))
            .ok_or(CsvProblem::Address)?,
        (text, _) => parse_int(text)
            .and_then(|number| u32::try_from(number).ok())
            .ok_or_else(|| CsvProblem::Offset(text.to_owned()))?,
    };
    if in_order && partition.offset < *free {
        return Err(CsvProblem::Overlap {
            offset: partition.offset,
            free: *free,
        });
    }
    // A negative size is the address to extend to.
    let size = if size < 0 {
        size.saturating_neg()
            .saturating_sub(partition.offset.into())
    } else {
        size
    };
    partition.size = u32::try_from(size).map_err(|_| CsvProblem::Address)?;
    let end = partition.end().ok_or(CsvProblem::Address)?;
    if in_order {
        *free = end;
    }
    Ok(partition)
}

/// An offset or size, if the build decides it.
type Open = Option<Result<u32, CsvProblem>>;

impl Places {
    /// Offset and size of a partition of this kind that leaves them open, as `parse_address` and `parse_size` of
    /// `gen_esp32part.py` have them.
    fn open(self, kind: Kind) -> (Open, Open) {
        let bootloader = self.bootloader.ok_or(CsvProblem::Bootloader);
        let length = bootloader.clone().map(|at| self.table.saturating_sub(at));
        match kind {
            Kind::BOOTLOADER => (Some(bootloader), Some(length)),
            Kind::PARTITION_TABLE => (Some(Ok(self.table)), Some(Ok(TABLE_SIZE))),
            _ if kind.is_bootloader() => (None, Some(length)),
            _ if kind.is_partition_table() => (None, Some(Ok(TABLE_SIZE))),
            _ => (None, None),
        }
    }
}

/// Whether a field leaves its value to the build.
fn is_open(field: &str) -> bool {
    field.is_empty() || field.eq_ignore_ascii_case("N/A")
}

fn parse_kind(type_: &str, subtype: &str) -> Result<Kind, CsvProblem> {
    let name = type_.to_ascii_lowercase();
    let number = match TYPES.iter().find(|(known, _)| *known == name) {
        Some((_, number)) => *number,
        None => parse_byte(type_).ok_or_else(|| CsvProblem::Type(type_.to_owned()))?,
    };
    let of_type = |subtype| Kind {
        type_: number,
        subtype,
    };
    let name = match subtype.to_ascii_lowercase() {
        // `parse_subtype` takes data/undefined for every type but app.
        empty if empty.is_empty() && !of_type(0).is_app() => return Ok(of_type(0x06)),
        name => name,
    };
    let named = SUBTYPES
        .iter()
        .find(|(known, kind)| *known == name && kind.type_ == number);
    match named {
        Some((_, kind)) => Ok(*kind),
        None => parse_byte(subtype)
            .map(of_type)
            .ok_or_else(|| CsvProblem::Subtype(subtype.to_owned())),
    }
}

fn parse_flags(text: &str) -> Result<u32, CsvProblem> {
    let mut flags = 0;
    for flag in text.split(':').filter(|flag| !flag.is_empty()) {
        flags |= match FLAGS.iter().find(|(known, _)| *known == flag) {
            Some((_, bit)) => *bit,
            None => return Err(CsvProblem::Flag(flag.to_owned())),
        };
    }
    Ok(flags)
}

/// `FLAGS` of `gen_esp32part.py`.
const FLAGS: [(&str, u32); 2] = [
    ("encrypted", Partition::ENCRYPTED),
    ("readonly", Partition::READONLY),
];

fn parse_byte(text: &str) -> Option<u8> {
    parse_int(text)?.try_into().ok()
}

/// A number as `parse_int` of `gen_esp32part.py` reads it: Python's `int(text, 0)`, then `k` or
/// `m`.
fn parse_int(text: &str) -> Option<i64> {
    let text = text.to_ascii_lowercase();
    let (digits, unit) = if let Some(digits) = text.strip_suffix('k') {
        (digits, 1024)
    } else if let Some(digits) = text.strip_suffix('m') {
        (digits, 1024 * 1024)
    } else {
        (text.as_str(), 1)
    };
    let (digits, sign) = match digits.strip_prefix('-') {
        Some(digits) => (digits, -1),
        None => (digits, 1),
    };
    let (digits, radix) = if let Some(digits) = digits.strip_prefix("0x") {
        (digits, 16)
    } else if let Some(digits) = digits.strip_prefix("0o") {
        (digits, 8)
    } else if let Some(digits) = digits.strip_prefix("0b") {
        (digits, 2)
    } else {
        (digits, 10)
    };
    // `from_str_radix` alone would accept another sign.
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    i64::from_str_radix(digits, radix)
        .ok()?
        .checked_mul(sign * unit)
}

pub(super) fn emit(partitions: &[Partition]) -> String {
    let mut csv =
        String::from("# ESP-IDF Partition Table\n# Name, Type, SubType, Offset, Size, Flags\n");
    for Partition {
        label,
        kind,
        offset,
        size,
        flags,
    } in partitions
    {
        let number_or =
            |name: Option<&str>, number: u8| name.map_or(number.to_string(), str::to_owned);
        let type_ = number_or(kind.type_name(), kind.type_);
        let subtype = number_or(kind.subtype_name(), kind.subtype);
        let flags: Vec<&str> = FLAGS
            .iter()
            .filter(|(_, bit)| flags & bit != 0)
            .map(|(name, _)| *name)
            .collect();
        csv += &format!(
            "{label},{type_},{subtype},0x{offset:x},{},{}\n",
            emit_size(*size),
            flags.join(":"),
        );
    }
    csv
}

fn emit_size(size: u32) -> String {
    if size.is_multiple_of(0x10_0000) {
        format!("{}M", size / 0x10_0000)
    } else if size.is_multiple_of(0x400) {
        format!("{}K", size / 0x400)
    } else {
        format!("0x{size:x}")
    }
}
