//! A checked view of the table's bytes.

use super::md5::md5;
use super::{
    ENTRY_LEN, Hazard, Kind, MAX_LEN, Partition, PartitionError, TABLE_OFFSET,
    entry::MAX_OTA_SLOTS, rules,
};

/// A valid partition table, as a view of its bytes on the flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionTable<'a> {
    /// The partitions' entries, each with its magic, without MD5 and end marker.
    entries: &'a [[u8; ENTRY_LEN]],
    has_md5: bool,
}

impl<'a> PartitionTable<'a> {
    /// Checks the bytes of a table, as read from [`TABLE_OFFSET`](super::TABLE_OFFSET).
    ///
    /// Bytes past [`MAX_LEN`] are ignored, so you may pass a whole sector. The partitions must follow the
    /// rules of ESP-IDF's `gen_esp32part.py`; see [`PartitionError`]. Whether they fit the flash is for the
    /// caller to check, with [`end`](PartitionTable::end).
    ///
    /// # Errors
    /// The first problem found.
    pub fn parse(bytes: &'a [u8]) -> Result<PartitionTable<'a>, PartitionError> {
        PartitionTable::parse_at(bytes, TABLE_OFFSET)
    }

    /// The same for a table elsewhere on the flash (`CONFIG_PARTITION_TABLE_OFFSET`): no partition may lie
    /// below the end of its sector.
    ///
    /// # Errors
    /// The first problem found.
    pub fn parse_at(
        bytes: &'a [u8],
        table_offset: u32,
    ) -> Result<PartitionTable<'a>, PartitionError> {
        let bytes = bytes.get(..MAX_LEN).unwrap_or(bytes);
        let (chunks, _) = bytes.as_chunks::<ENTRY_LEN>();

        let mut count = 0;
        let mut has_md5 = false;
        let mut ended = false;
        for (index, chunk) in chunks.iter().enumerate() {
            match chunk {
                // To the bootloader, magic, type and subtype 0xFF are the end marker.
                [0xFF, 0xFF, 0xFF, 0xFF, ..] => {
                    ended = true;
                    break;
                }
                _ if has_md5 => return Err(PartitionError::AfterMd5 { index }),
                // `ESP_PARTITION_MAGIC_MD5`: only these two bytes matter.
                [0xEB, 0xEB, ..] => {
                    let entries = chunks.get(..count).unwrap_or_default();
                    if chunk.get(16..) != Some(&md5(entries.as_flattened())) {
                        return Err(PartitionError::Md5);
                    }
                    has_md5 = true;
                }
                [a, b, ..] if [*a, *b] == Partition::MAGIC => {
                    count = index.saturating_add(1);
                }
                [a, b, ..] => {
                    return Err(PartitionError::Magic {
                        index,
                        found: [*a, *b],
                    });
                }
            }
        }
        if !ended {
            return Err(PartitionError::NoEndMarker);
        }
        let table = PartitionTable {
            entries: chunks.get(..count).unwrap_or_default(),
            has_md5,
        };
        rules::check(table.entries(), table_offset)?;
        Ok(table)
    }

    /// The partitions, in the table's order.
    pub fn entries(&self) -> impl Iterator<Item = Partition> + Clone + use<'a> {
        self.entries.iter().filter_map(Partition::parse)
    }

    /// Whether the table has an MD5. If so, it matches.
    pub fn has_md5(&self) -> bool {
        self.has_md5
    }

    /// The otadata partition.
    pub fn otadata(&self) -> Option<Partition> {
        self.entries().find(|p| p.kind == Kind::OTADATA)
    }

    /// The factory partition.
    pub fn factory(&self) -> Option<Partition> {
        self.entries().find(|p| p.kind == Kind::FACTORY)
    }

    /// The OTA slots in the order of their numbers, whatever their order in the table. There are no gaps: the
    /// item at index `n` is `ota_n`.
    pub fn ota_slots(&self) -> impl Iterator<Item = Partition> + Clone + use<'a> {
        let table = *self;
        (0..MAX_OTA_SLOTS)
            .filter_map(move |slot| table.entries().find(|p| p.kind.as_ota_slot() == Some(slot)))
    }

    /// The partition with this name.
    pub fn find(&self, label: &str) -> Option<Partition> {
        self.entries().find(|p| p.label.as_str() == label)
    }

    /// The largest image that always fits: the size of the smallest OTA slot. `None` without slots.
    pub fn largest_image(&self) -> Option<u32> {
        self.ota_slots().map(|slot| slot.size).min()
    }

    /// What will stop updates on a device with this table, though it boots: see [`Hazard`].
    pub fn hazards(&self) -> impl Iterator<Item = Hazard> + use<'a> {
        Hazard::of(self)
    }

    /// The end of the last partition: the minimum size of a flash that they all fit.
    pub fn end(&self) -> u32 {
        self.entries().filter_map(|p| p.end()).max().unwrap_or(0)
    }
}
