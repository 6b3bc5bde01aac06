//! What an update came to.

use crate::error::{Error, Name};
use crate::flash::partitions::Slot;

/// Why there is nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum NoUpdate {
    /// The release offered is the one that is running.
    UpToDate,
    /// The manifest is the one the last check saw (the server answered 304).
    NotModified,
    /// The release is being rolled out in stages and this device is not among the first.
    NotInRollout,
    /// The release was tried on this device and given up.
    FailedBefore,
    /// The release is tried again later: its image was refused twice, or the last trial of it did not reach its server.
    /// See [`Wear`](crate::Wear).
    Resting,
    /// [`Hooks::may_start`](crate::Hooks::may_start) said no.
    Vetoed,
}

/// A release that could be installed, as [`Updater::check`](crate::Updater::check) found it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Available {
    /// Its version.
    pub version: Name,
    /// The size of its image in bytes, where the manifest says.
    pub size: Option<u32>,
}

/// What [`Updater::check`](crate::Updater::check) found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Checked {
    /// There is a release to install.
    Available(Available),
    /// There is nothing to do.
    NoUpdate(NoUpdate),
}

/// A new firmware, on flash and selected. **Restart** to run it: the library never does that by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Installed {
    /// Its version, by the manifest.
    pub version: Name,
    /// Bytes of its image.
    pub size: u32,
    /// The slot it lies in.
    pub slot: Slot,
}

/// What became of [`Updater::install`](crate::Updater::install).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Outcome {
    /// A new firmware is on flash: restart.
    Installed(Installed),
    /// There was nothing to do.
    NoUpdate(NoUpdate),
}

/// What [`Updater::begin`](crate::Updater::begin) ends with: how the update went, and what was lent to it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Finished<U, H> {
    /// What [`Updater::install`](crate::Updater::install) would have returned.
    pub result: Result<Outcome, Error>,
    /// The updater, for the next update.
    pub updater: U,
    /// The hooks.
    pub hooks: H,
}
