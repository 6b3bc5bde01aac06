//! What the bootloader boots: otadata, trials, and what the device remembers against replays.

pub(crate) mod booted;
pub(crate) mod launch;
pub(crate) mod launched;
pub(crate) mod on_flash;
pub(crate) mod otadata;
pub(crate) mod reset;
pub(crate) mod rollback_state;
pub(crate) mod selection;
pub(crate) mod trial;
