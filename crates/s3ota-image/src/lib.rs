//! The formats on an ESP32's flash: app images, partition tables and otadata.
//!
//! | module | format | where |
//! |---|---|---|
//! | [`app`] | the ESP-IDF app image, with its descriptor, checksum and SHA-256 | an app partition |
//! | [`partition`] | the partition table, binary and CSV | [`partition::TABLE_OFFSET`] |
//! | [`otadata`] | two records that say which OTA slot boots | the otadata partition |
//!
//! Every format is ESP-IDF's; each item names the file it was taken from. Nothing here reads or writes
//! flash: the crate turns bytes into values, and values into bytes.
//!
//! An image is checked as it streams by, in pieces of any size. An [`app::Image`] is the proof: only an
//! [`app::Verifier`] that has seen a complete, intact image makes one.
//!
//! ```
//! use s3ota_image::{Chip, ImageError, app};
//!
//! # fn receive() -> impl Iterator<Item = &'static [u8]> {
//! #     include_bytes!("../tests/fixtures/hello-esp32c3-1.1.0.bin").chunks(1460)
//! # }
//! fn check() -> Result<app::Image, ImageError> {
//!     let mut verifier = app::Verifier::new();
//!     for piece in receive() {
//!         verifier.update(piece)?;
//!     }
//!     verifier.finish()
//! }
//!
//! let image = check()?;
//! assert_eq!(image.header.chip(), Some(Chip::Esp32C3));
//! assert_eq!(image.descriptor.as_ref().map(|d| d.version()), Some("1.1.0"));
//! # Ok::<(), ImageError>(())
//! ```
//!
//! From a flash dump to the partition that boots:
//!
//! ```
//! use s3ota_image::{otadata, partition};
//!
//! # let table_bytes = include_bytes!("../tests/fixtures/partitions-two-slots.bin");
//! # let sectors = [otadata::Record::new(1, otadata::State::Valid, [0xFF; 20]).emit(),
//! #                otadata::Record::new(2, otadata::State::New, [0xFF; 20]).emit()];
//! let table = partition::PartitionTable::parse(table_bytes)?;
//! let records = [otadata::Record::parse(&sectors[0]), otadata::Record::parse(&sectors[1])];
//!
//! let slots = table.ota_slots().count() as u32;
//! let active = otadata::active(&records).and_then(|i| records[i].slot(slots));
//! assert_eq!(active, Some(1));
//! let boots = table.ota_slots().nth(1).expect("ota_1");
//! assert_eq!(boots.label.as_str(), "ota_1");
//! # Ok::<(), partition::PartitionError>(())
//! ```
//!
//! # Features
//!
//! The crate is `no_std` and does not allocate. The feature `alloc` adds the writing helpers for
//! hosts: `partition::TableBuilder` with CSV, and `app::ImageBuilder` for virtual devices and
//! tests.
//!
//! # Not supported
//!
//! Secure Boot V1 signatures (ESP32 before revision 3) are refused as trailing data. Secure Boot V2
//! signatures are accepted unchecked: the bootloader checks them. ESP8266 images and encrypted images are
//! not supported.

#![no_std]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;

pub mod app;
mod bytes;
mod chip;
pub mod otadata;
pub mod partition;

pub use app::ImageError;
pub use chip::{Chip, UnknownChip};
