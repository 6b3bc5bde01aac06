//! The flash chip: single accesses, append-only logs, and where the partition table says things are.

pub(crate) mod access;
pub(crate) mod log;
pub(crate) mod partitions;
pub(crate) mod release;
