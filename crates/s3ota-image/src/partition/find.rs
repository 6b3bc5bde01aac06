//! Finds the partition table of a flash whose build put it anywhere.

use super::{
    ENTRY_LEN, LAST_TABLE_OFFSET, MAX_LEN, Partition, PartitionError, PartitionTable, TABLE_OFFSET,
    TABLE_SIZE,
};

/// What looks like a partition table, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    /// Its offset on the flash.
    pub offset: u32,
    /// The table, or what is wrong with it.
    pub table: Result<PartitionTable<'a>, PartitionError>,
}

/// Looks for partition tables at every sector up to [`LAST_TABLE_OFFSET`], first at [`TABLE_OFFSET`].
///
/// `bytes` is the flash from the offset `start` on, to its end or to where the file ends. A table that is cut off
/// there counts, too: the rest of a flash is erased.
///
/// Only the bootloader's build knows the offset. If several tables are found, for example because the board was
/// flashed with another offset before, the one whose app partitions hold images is in use.
///
/// ```
/// use s3ota_image::partition::{TABLE_OFFSET, find};
///
/// let table = include_bytes!("../../tests/fixtures/partitions-two-slots.bin");
/// let mut flash = [0xFF; 0x9000];
/// assert_eq!(find(&flash, 0).next(), None, "erased flash is no table");
/// flash[0x8000..0x8C00].copy_from_slice(table);
/// let found = find(&flash, 0).next().expect("a table");
/// assert_eq!((found.offset, found.table.is_ok()), (TABLE_OFFSET, true));
/// ```
pub fn find(bytes: &[u8], start: u32) -> impl Iterator<Item = Found<'_>> + Clone {
    let others = (TABLE_SIZE..=LAST_TABLE_OFFSET).step_by(TABLE_SIZE as usize);
    let offsets = core::iter::once(TABLE_OFFSET).chain(others.filter(|at| *at != TABLE_OFFSET));
    offsets.filter_map(move |offset| {
        let at = usize::try_from(offset.checked_sub(start)?).ok()?;
        let bytes = bytes.get(at..)?;
        let bytes = bytes.get(..MAX_LEN).unwrap_or(bytes);
        if !bytes.first_chunk().is_some_and(begins_a_table) {
            return None;
        }
        Some(Found {
            offset,
            table: PartitionTable::parse_at(bytes, offset),
        })
    })
}

/// Whether these bytes are an entry as tools write it: the magic alone stands in many files.
fn begins_a_table(entry: &[u8; ENTRY_LEN]) -> bool {
    Partition::parse(entry).is_some_and(|partition| {
        let label = partition.label.as_str();
        let has_type = matches!(partition.kind.type_, 0..=3 | 0x40..=0xFE);
        let has_name = !label.is_empty() && !label.contains(|c: char| c.is_control());
        has_type && has_name && partition.size > 0 && partition.offset.is_multiple_of(TABLE_SIZE)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    const TABLE: &[u8] = include_bytes!("../../tests/fixtures/partitions-two-slots.bin");

    fn flash(offset: usize) -> Vec<u8> {
        let mut flash = vec![0xFF; 0x4_0000];
        flash[offset..offset + TABLE.len()].copy_from_slice(TABLE);
        flash
    }

    fn offsets(flash: &[u8], start: u32) -> Vec<(u32, bool)> {
        find(flash, start)
            .map(|found| (found.offset, found.table.is_ok()))
            .collect()
    }

    #[test]
    fn a_table_is_found_at_every_sector() {
        for offset in (0x1000..=0x8000).step_by(0x1000) {
            assert_eq!(offsets(&flash(offset), 0), [(offset as u32, true)]);
        }
        // Its first partition, at 0x9000, would lie below it there.
        for offset in (0x9000..=0x2_0000).step_by(0x1000) {
            assert_eq!(offsets(&flash(offset), 0), [(offset as u32, false)]);
        }
        assert_eq!(offsets(&flash(0x2_1000), 0), []);
        assert_eq!(offsets(&flash(0x8800), 0), []);
    }

    #[test]
    fn a_flash_may_start_at_its_bootloader() {
        assert_eq!(offsets(&flash(0x7000), 0x1000), [(0x8000, true)]);
        assert_eq!(offsets(&flash(0x6000), 0x2000), [(0x8000, true)]);
    }

    #[test]
    fn a_cut_table_is_found_and_a_damaged_one_is_named() {
        let mut damaged = flash(0x8000);
        assert_eq!(offsets(&damaged[..0x8000 + 0xE0], 0), [(0x8000, true)]);
        damaged[0x8000 + 12] ^= 1;
        let found = find(&damaged, 0).next().unwrap();
        assert_eq!(found.table, Err(PartitionError::Md5));
    }

    #[test]
    fn erased_flash_zeros_and_a_lone_magic_are_no_table() {
        for byte in [0xFF, 0] {
            assert_eq!(offsets(&[byte; 0x9000], 0), []);
        }
        let mut other = vec![0x5A; 0x9000];
        other[0x8000..0x8002].copy_from_slice(&Partition::MAGIC);
        assert_eq!(offsets(&other, 0), []);
    }
}
