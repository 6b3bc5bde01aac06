//! What makes a set of partitions a valid table.

use super::{Kind, Partition, PartitionError, TABLE_SIZE, entry::MAX_OTA_SLOTS};

/// Checks what `PartitionTable.verify` of ESP-IDF's `gen_esp32part.py` checks, and that the OTA slots are
/// numbered without gaps. The table lies at `table_offset`.
///
/// Not checked here: that the partitions fit the flash, because the table does not know its size.
pub(super) fn check(
    partitions: impl Iterator<Item = Partition> + Clone,
    table_offset: u32,
) -> Result<(), PartitionError> {
    if partitions.clone().next().is_none() {
        return Err(PartitionError::Empty);
    }
    let table_end = table_offset.saturating_add(TABLE_SIZE);
    for partition in partitions.clone() {
        check_one(&partition, table_end)?;
    }
    for (index, first) in partitions.clone().enumerate() {
        for second in partitions.clone().skip(index.saturating_add(1)) {
            check_two(&first, &second)?;
        }
    }
    check_slots(partitions)
}

fn check_one(partition: &Partition, table_end: u32) -> Result<(), PartitionError> {
    let Partition {
        label,
        kind,
        offset,
        size,
        ..
    } = *partition;
    let alignment = Partition::offset_alignment(kind);
    if !offset.is_multiple_of(alignment) {
        return Err(PartitionError::Alignment {
            label,
            offset,
            alignment,
        });
    }
    if kind.is_app() && !size.is_multiple_of(0x1000) {
        return Err(PartitionError::AppSize { label, size });
    }
    if partition.end().is_none() {
        return Err(PartitionError::Address { label });
    }
    if partition.covers_the_table(table_end) {
        return Err(PartitionError::BelowTable {
            label,
            offset,
            table_end,
        });
    }
    if partition.is_unusable_otadata() {
        return Err(PartitionError::Otadata { size });
    }
    Ok(())
}

fn check_two(first: &Partition, second: &Partition) -> Result<(), PartitionError> {
    let (lower, upper) = if first.offset <= second.offset {
        (first, second)
    } else {
        (second, first)
    };
    if lower.end().is_none_or(|end| upper.offset < end) {
        return Err(PartitionError::Overlap {
            first: lower.label,
            second: upper.label,
        });
    }
    if first.label == second.label {
        return Err(PartitionError::DuplicateLabel { label: first.label });
    }
    if first.kind == Kind::OTADATA && second.kind == Kind::OTADATA {
        return Err(PartitionError::SecondOtadata);
    }
    Ok(())
}

fn check_slots(partitions: impl Iterator<Item = Partition>) -> Result<(), PartitionError> {
    let (mut seen, mut twice) = (0_u32, 0_u32);
    for slot in partitions.filter_map(|partition| partition.kind.as_ota_slot()) {
        let slot = 1_u32.checked_shl(slot.into()).unwrap_or_default();
        twice |= seen & slot;
        seen |= slot;
    }
    // The first missing one, if others follow.
    let gap = seen.trailing_ones();
    let gap = if seen >> gap == 0 { u32::BITS } else { gap };
    match u8::try_from(gap.min(twice.trailing_zeros())) {
        Ok(slot @ 0..MAX_OTA_SLOTS) => Err(PartitionError::OtaSlots { slot }),
        _ => Ok(()),
    }
}
