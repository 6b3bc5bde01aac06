//! Which image a record of otadata selects, and which one it leads back to.

use s3ota_image::otadata::Record;

use crate::boot::otadata::{Otadata, back_from, is_trial};
use crate::flash::partitions::{Layout, Running, Slot};

/// What a record selects.
pub(crate) fn selected(layout: &Layout, record: &Record) -> Option<Running> {
    layout
        .slot(record.slot(layout.slot_count())?)
        .map(Running::Slot)
}

/// The slot that the bootloader tries first. `None`: the factory app.
#[inline(never)]
pub(crate) fn due(layout: &Layout, otadata: &Otadata) -> Option<u8> {
    match otadata.in_force() {
        Some((_, record)) => record.slot(layout.slot_count())?.try_into().ok(),
        None if layout.factory.is_some() => None,
        None => Some(0),
    }
}

/// The flash offset of what the bootloader tries first.
#[inline(never)]
pub(crate) fn due_at(layout: &Layout, otadata: &Otadata) -> Option<u32> {
    match due(layout, otadata) {
        Some(slot) => layout.slot(slot.into()).map(|slot| slot.offset),
        None => layout.factory,
    }
}

/// What ran before the image that a record selects, if the record says.
pub(crate) fn left_for(layout: &Layout, record: &Record) -> Option<Running> {
    let left = match back_from(record)? {
        Some(slot) => layout.slot(slot.into()).map(Running::Slot),
        None => layout.factory.map(|_| Running::Factory),
    };
    left.filter(|left| selected(layout, record) != Some(*left))
}

/// Where to roll back to from the image that the record of a trial selects.
///
/// The other record says so, unless a confirmation that was cut off has erased it: a switch makes sure of that. It comes first,
/// because a CRC covers no label: where power failed while the trial's record was erased, its label may have changed.
pub(crate) fn way_back(layout: &Layout, otadata: &Otadata, record: &Record) -> Option<Running> {
    let other = otadata.records.get(otadata.spare());
    let other = other.filter(|other| other.is_idf_valid() && !is_trial(other));
    other
        .and_then(|other| selected(layout, other))
        .filter(|other| selected(layout, record) != Some(*other))
        .or_else(|| left_for(layout, record))
}

pub(crate) fn slot_of(running: Option<Running>) -> Option<Slot> {
    match running {
        Some(Running::Slot(slot)) => Some(slot),
        Some(Running::Factory) | None => None,
    }
}
