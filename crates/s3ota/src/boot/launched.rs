//! A trial that the old firmware launches, as the log tells of it.

use crate::flash::log::Value;
use crate::flash::partitions::{Layout, Running, Slot};
use crate::flash::release::ReleaseId;

/// A trial that is open, or has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trial {
    /// Its entry: the release, the highest sequence that a record had when it began, what tells the two images from others, and the
    /// slot of the new one.
    pub(crate) noted: Noted,
    /// From which entry on the log has its boots.
    pub(crate) since: u32,
    /// It did not end with a confirmation: the image is there, and what it was to replace runs again.
    pub(crate) has_ended: bool,
}

/// An entry's value as it is, aligned: its parts are read in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(4))]
pub(crate) struct Noted(pub(crate) Value);

impl Trial {
    /// The release.
    pub(crate) fn release(&self) -> ReleaseId {
        let [release @ .., _, _, _, _, _, _, _, _, _, _, _, _] = self.noted.0;
        ReleaseId::from_bytes(release)
    }

    /// In which slot the new image lies.
    pub(crate) fn index(&self) -> u8 {
        let [.., slot, _, _, _] = self.noted.0;
        slot
    }

    /// That slot. It is there: see [`launch`](super::launch).
    pub(crate) fn slot(&self, layout: &Layout) -> Option<Slot> {
        layout.slot(self.index().into())
    }

    /// The highest sequence that a record had when it began.
    pub(crate) fn newest_sequence(&self) -> u32 {
        self.word(3)
    }

    /// What tells its two images from others.
    pub(crate) fn print(&self) -> u32 {
        self.word(4)
    }

    fn word(&self, index: usize) -> u32 {
        let word = self.noted.0.as_chunks().0.get(index);
        word.map_or(0, |word| u32::from_le_bytes(*word))
    }

    /// Whether an entry, which begins with a release, too, says how this trial ended. An even number says that the release is tried
    /// again.
    pub(crate) fn is_ended_by(&self, tried: &Value) -> bool {
        let [release @ .., tries, _, _, _, _, _, _, _, _, _, _, _] = tried;
        self.noted.0.starts_with(release) && tries % 2 == 1
    }

    /// Whether the new image is what runs.
    pub(crate) fn is_of(&self, running: Running) -> bool {
        matches!(running, Running::Slot(slot) if slot.index == self.index())
    }
}
