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

/// What the bootloader tries first.
pub(crate) fn due(layout: &Layout, otadata: &Otadata) -> Option<Running> {
    match otadata.in_force() {
        Some((_, record)) => selected(layout, &record),
        None if layout.factory.is_some() => Some(Running::Factory),
        None => layout.slot(0).map(Running::Slot),
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
