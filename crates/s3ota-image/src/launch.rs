//! How a running firmware starts another image, as the second-stage bootloader would.
//!
//! A bootloader without app rollback boots what otadata selects, whatever becomes of it. So a firmware on trial is better started by
//! the one before it, while otadata goes on naming that one: then every reset leads back to it. This module plans such a launch; a
//! stub of a few instructions on the chip carries the [`Plan`] out.
//!
//! [`plan`] takes an [`Image`](crate::app::Image), which only a [`Verifier`](crate::app::Verifier) makes: what it plans for is whole, and its SHA-256 is
//! right. Then it does what ESP-IDF's bootloader does between the checks and the jump, and refuses what that refuses:
//!
//! | the bootloader | here |
//! |---|---|
//! | `bootloader_common_check_chip_validity`, `bootloader_common_check_efuse_blk_validity`, `check_anti_rollback` | [`Hardware::accepts`](crate::app::Hardware::accepts) |
//! | `should_map`, `should_load`, `verify_load_addresses` (`esp_image_format.c`) | where a segment goes, by the chip's [`Memory`] |
//! | `set_cache_and_start_app` (`bootloader_utility.c`) | the mapping, with its last entry for applications of ESP-IDF |
//! | the signature, with Secure Boot | refused, because nothing here checks it |
//!
//! The files are in `components/bootloader_support/src/` of ESP-IDF. What is refused has a [`Refusal`], and does not start.
//!
//! Nothing else is looked for. An image whose first instruction lies in no segment, of which two segments share an entry of the
//! cache's table, or that lies beyond the flash which the chip can map, is one that does not run: it is launched, uses up its boots,
//! and gives way. Refused, it would be the bootloader's, which has no way back from it.

mod memory;
mod plan;
mod refusal;
#[cfg(test)]
mod tests;

pub use memory::{Memory, Places, Table};
pub use plan::{Conditions, Plan, Step, plan};
pub use refusal::Refusal;

/// Bytes of a page of flash, as the cache maps it. Larger ones do not exist, and images with smaller ones are refused.
pub const PAGE: u32 = 0x1_0000;
