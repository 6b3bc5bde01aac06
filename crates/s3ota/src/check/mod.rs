//! Whether there is a release for this device.

pub(crate) mod decision;
