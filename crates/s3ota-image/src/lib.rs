#![doc = include_str!("../README.md")]
#![no_std]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;

pub mod app;
mod bytes;
mod chip;
pub mod launch;
pub mod otadata;
pub mod partition;

pub use app::ImageError;
pub use chip::{Chip, UnknownChip};
