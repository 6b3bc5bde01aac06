//! A trial that the old firmware launches, as the log tells of it.

use crate::flash::partitions::{Running, Slot};
use crate::flash::release::ReleaseId;

/// A trial that is open, or has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trial {
    pub(crate) release: ReleaseId,
    /// Where the new image lies.
    pub(crate) slot: Slot,
    /// From which entry on the log has its boots.
    pub(crate) since: u32,
    /// It did not end with a confirmation: the image is there, and what it was to replace runs again.
    pub(crate) has_ended: bool,
}

impl Trial {
    /// Whether the new image is what runs.
    pub(crate) fn is_of(&self, running: Running) -> bool {
        matches!(running, Running::Slot(slot) if slot.index == self.slot.index)
    }
}
