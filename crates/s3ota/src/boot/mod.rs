//! What the bootloader boots: otadata, trials, and what the device remembers against replays.

pub(crate) mod otadata;
pub(crate) mod reset;
pub(crate) mod rollback_state;
pub(crate) mod trial;
