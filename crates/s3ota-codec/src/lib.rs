#![doc = include_str!("../README.md")]
#![no_std]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

#[cfg(feature = "encode")]
extern crate alloc;
#[cfg(any(feature = "encode", test))]
extern crate std;

mod blocks;
mod copy;
mod decoder;
#[cfg(feature = "encode")]
pub mod encode;
mod engine;
mod gap;
mod header;
mod history;
mod isa;
mod layout;
mod learned;
mod literal;
mod memory;
mod model;
mod prelude;
mod range;
mod refused;

pub use decoder::{Decoder, Step};
pub use header::{Header, MAGIC, MAX_HEADER, MAX_SECTIONS, Section, VERSION};
pub use isa::Isa;
pub use memory::Memory;
pub use refused::Refused;
