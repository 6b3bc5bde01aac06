//! Partition tables.
//!
//! The first byte: 1 reads the rest as CSV; otherwise it is binary, and 2 corrects its MD5. With 4, the table lies in the sector of a
//! flash that the second byte names, and is looked for.

use md5::{Digest, Md5};
use s3ota_image::partition::{
    ENTRY_LEN, Kind, LAST_TABLE_OFFSET, MAX_LEN, Partition, PartitionTable, TABLE_OFFSET,
    TABLE_SIZE, TableBuilder, find,
};

use crate::input::Input;

const CSV: u8 = 1;
const RIGHT_MD5: u8 = 2;
const IN_FLASH: u8 = 4;

/// Parses a table, and writes and parses again what was accepted, in both forms.
pub fn target(data: &[u8]) {
    let mut input = Input::new(data);
    let flags = input.byte();
    if flags & CSV != 0 {
        return csv(&String::from_utf8_lossy(input.rest()));
    }
    let sector = (flags & IN_FLASH != 0).then(|| input.byte());
    let mut bytes = input.rest().to_vec();
    if flags & RIGHT_MD5 != 0 {
        repair(&mut bytes);
    }
    match sector {
        Some(sector) => in_flash(&bytes, u32::from(sector % 0x24)),
        None => binary(&bytes),
    }
}

/// A table that is valid at its offset is found there, whether the file starts with the flash or in it.
fn in_flash(table: &[u8], sector: u32) {
    let offset = sector * TABLE_SIZE;
    let mut flash = vec![0xFF; offset as usize];
    flash.extend(table);
    let is_sought = (TABLE_SIZE..=LAST_TABLE_OFFSET).contains(&offset);
    for start in [0, 0x1000, 0x2000] {
        let Some(file) = flash.get(start as usize..) else {
            continue;
        };
        let mut seen = false;
        for found in find(file, start) {
            assert!(found.offset.is_multiple_of(TABLE_SIZE));
            seen |= found.offset == offset;
            let Ok(table) = found.table else { continue };
            let end = found.offset + TABLE_SIZE;
            let below = |kind| matches!(kind, Kind::BOOTLOADER | Kind::PARTITION_TABLE);
            assert!(
                table
                    .entries()
                    .all(|entry| entry.offset >= end || below(entry.kind))
            );
            assert!(table.hazards().all(|hazard| !hazard.to_string().is_empty()));
        }
        let is_table = PartitionTable::parse_at(table, offset).is_ok_and(|table| {
            // Only what a tool writes is sought: see `find`.
            table.entries().next().is_some_and(|first| {
                first.size > 0 && first.label.as_str().chars().any(char::is_alphanumeric)
            })
        });
        let is_plain = |label: &str| label.chars().all(|c| c.is_ascii_graphic());
        let plain = Partition::parse(table.first_chunk().unwrap_or(&[0; ENTRY_LEN]))
            .is_some_and(|it| is_plain(it.label.as_str()) && it.kind.type_ <= 3);
        if is_sought && is_table && plain && offset >= start {
            assert!(seen, "a table at {offset:#x} in a file from {start:#x} on");
        }
    }
}

fn binary(bytes: &[u8]) {
    let table = match PartitionTable::parse(bytes) {
        Ok(table) => table,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    sound(&table);
    let builder = TableBuilder::from(table);
    // Each entry is in the bytes as it is written.
    for (partition, entry) in builder.partitions().iter().zip(bytes.chunks(ENTRY_LEN)) {
        assert_eq!(partition.emit()[..], *entry);
    }
    if let Ok(written) = builder.to_bytes() {
        let again = PartitionTable::parse(&written).expect("what was written");
        assert!(again.has_md5());
        assert!(again.entries().eq(table.entries()));
        // Names that CSV can represent, and a table in CSV's order.
        let is_plain = |partition: &Partition| {
            let label = partition.label.as_str();
            !label.contains([',', '\n', '\r', '#'])
                && label == label.trim()
                && partition.emit()[12..28] == padded(label)
                && partition.flags <= Partition::ENCRYPTED | Partition::READONLY
        };
        if builder.partitions().iter().all(is_plain)
            && let Ok(again) = TableBuilder::from_csv(&builder.to_csv())
        {
            assert_eq!(again, builder);
        }
    } else {
        // The MD5 takes one place.
        assert_eq!(builder.partitions().len(), MAX_LEN / ENTRY_LEN - 1);
    }
}

fn csv(text: &str) {
    let builder = match TableBuilder::from_csv(text) {
        Ok(builder) => builder,
        Err(error) => {
            assert!((1..=text.lines().count()).contains(&error.line));
            return assert!(!error.to_string().is_empty());
        }
    };
    assert_eq!(
        TableBuilder::from_csv(&builder.to_csv()),
        Ok(builder.clone())
    );
    for (table, bootloader) in [(0x8000, 0), (0x1_0000, 0x2000)] {
        if let Ok(placed) = TableBuilder::from_csv_at(text, table, Some(bootloader))
            && let Ok(bytes) = placed.to_bytes()
        {
            assert!(PartitionTable::parse_at(&bytes, table).is_ok());
        }
    }
    if let Ok(bytes) = builder.to_bytes() {
        let table = PartitionTable::parse(&bytes).expect("what was written");
        sound(&table);
        assert!(table.entries().eq(builder.partitions().iter().copied()));
    }
}

/// What an update depends on.
fn sound(table: &PartitionTable<'_>) {
    let mut entries: Vec<Partition> = table.entries().collect();
    entries.sort_by_key(|entry| entry.offset);
    for pair in entries.windows(2) {
        let end = pair[0].end().expect("an end");
        assert!(
            end <= pair[1].offset,
            "{} overlaps {}",
            pair[0].label,
            pair[1].label
        );
    }
    for (index, slot) in table.ota_slots().enumerate() {
        assert_eq!(slot.kind.as_ota_slot().map(usize::from), Some(index));
        assert!(slot.offset.is_multiple_of(0x1_0000) && slot.offset > TABLE_OFFSET);
    }
    if let Some(otadata) = table.otadata() {
        assert_eq!((otadata.size, otadata.offset % 0x1000), (0x2000, 0));
    }
    assert!(
        entries
            .iter()
            .all(|entry| entry.end().is_some_and(|end| end <= table.end()))
    );
}

/// A label as an entry has it.
fn padded(label: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..label.len()].copy_from_slice(label.as_bytes());
    bytes
}

fn repair(bytes: &mut [u8]) {
    let (entries, _) = bytes.as_chunks_mut::<ENTRY_LEN>();
    let mut md5 = Md5::new();
    for entry in entries {
        if entry.starts_with(&[0xeb, 0xeb]) {
            entry[16..].copy_from_slice(&md5.finalize_reset());
        }
        md5.update(*entry);
    }
}

/// Tables by ESP-IDF's own tool.
pub fn seeds() -> Vec<Vec<u8>> {
    let binary: [&[u8]; 2] = [
        include_bytes!("../../crates/s3ota-image/tests/fixtures/partitions-two-slots.bin"),
        include_bytes!("../../crates/s3ota-image/tests/fixtures/partitions-factory.bin"),
    ];
    let csv: [&[u8]; 4] = [
        b"boot,bootloader,primary,N/A,N/A\nptable,partition_table,primary,N/A,N/A\nota_0,app,ota_0,,1M\n",
        include_bytes!("../../crates/s3ota-image/tests/fixtures/partitions-two-slots.csv"),
        include_bytes!("../../crates/s3ota-image/tests/fixtures/partitions-factory.csv"),
        b"boot,bootloader,primary,0,0x7000,\nptable,partition_table,primary,0x8000,4K,\nx,0x40,7,,0b1000K,\n\
          ota_0,app,ota_0,,-0x110000,encrypted:readonly\notadata,data,ota,,8K,\n",
    ];
    // The 0xFF at the end are not worth mutating: a short table ends just as well.
    let short = |bytes: &[u8]| bytes[..bytes.len().min(12 * ENTRY_LEN)].to_vec();
    let flags = [
        &[0][..],
        &[RIGHT_MD5],
        &[IN_FLASH | RIGHT_MD5, 8],
        &[IN_FLASH, 6],
    ];
    let binary = binary
        .into_iter()
        .flat_map(|table| flags.map(|flags| [flags.to_vec(), short(table)].concat()));
    let csv = csv.into_iter().map(|table| [&[CSV], table].concat());
    binary.chain(csv).collect()
}

/// Tokens of partition tables.
pub const TOKENS: &[&[u8]] = &[
    b"\xaa\x50\x00\x10",
    b"\xaa\x50\x00\x11",
    b"\xaa\x50\x01\x00",
    b"\xaa\x50\x00\x00",
    b"\xeb\xeb\xff\xff",
    b"\xff\xff\xff\xff",
    b"\x00\x00\x01\x00",
    b"\x00\x20\x00\x00",
    b"\x00\xf0\xff\xff",
    b"app,",
    b"data,",
    b"ota_0,",
    b"ota_1,",
    b"ota_15,",
    b"factory,",
    b"ota,",
    b"nvs,",
    b"encrypted",
    b"readonly",
    b":",
    b"0x10000,",
    b"-0x",
    b"1M,",
    b"64K,",
    b"0b",
    b"N/A,",
    b"bootloader,primary,",
    b"partition_table,primary,",
    b"0o",
    b"#",
    b"\n",
];
