//! From bytes to an image that can be booted.

pub(crate) mod journal;
pub(crate) mod wear;
pub(crate) mod writer;

use s3ota_image::otadata::SECTOR_SIZE;

/// Bytes held back: no flash on these chips is written in larger units than this (with flash encryption).
pub(crate) const WITHHELD: usize = 32;

/// Bytes gathered before they are written: one sector.
pub(crate) const BLOCK: usize = SECTOR_SIZE as usize;
