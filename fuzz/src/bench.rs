//! A virtual device as small as possible, so that thousands of them run per second.

use std::sync::LazyLock;

use s3ota::Chip;
use s3ota_image::app::ImageBuilder;
use s3ota_sim::Setup;

/// The offset of otadata.
pub const OTADATA: u32 = 0xd000;
/// The offset of the slots. The factory app is after them.
pub const SLOTS: [u32; 3] = [0x1_0000, 0x2_0000, 0x3_0000];
/// Bytes of a slot. Its last sector has the journal.
pub const SLOT_SIZE: u32 = 0x8000;
/// Bytes of a sector.
pub const SECTOR: usize = 4096;

/// Which app partitions a device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Apps {
    /// `ota_0` and `ota_1`.
    TwoSlots,
    /// The same and `ota_2`.
    ThreeSlots,
    /// Two slots and a factory app.
    Factory,
}

/// A small firmware.
pub fn firmware(version: &str) -> Vec<u8> {
    ImageBuilder::new(Chip::Esp32C3, version).build()
}

/// A flash with a firmware in each of its app partitions, and blank otadata.
pub fn flash(apps: Apps) -> Vec<u8> {
    static FLASHES: LazyLock<[Vec<u8>; 3]> =
        LazyLock::new(|| [Apps::TwoSlots, Apps::ThreeSlots, Apps::Factory].map(set_up));
    FLASHES[apps as usize].clone()
}

fn set_up(apps: Apps) -> Vec<u8> {
    let third = match apps {
        Apps::TwoSlots => "",
        Apps::ThreeSlots => "ota_2,app,ota_2,0x30000,0x8000\n",
        Apps::Factory => "factory,app,factory,0x30000,0x8000\n",
    };
    let csv = format!(
        "otadata,data,ota,0xd000,0x2000\nota_0,app,ota_0,0x10000,0x8000\nota_1,app,ota_1,0x20000,0x8000\n{third}"
    );
    let setup = Setup::from_csv(&csv).expect("a partition table");
    let mut flash = setup
        .flash(&firmware("1.0.0"))
        .expect("a firmware that fits");
    flash.truncate(SLOTS[2] as usize + SLOT_SIZE as usize);
    for (slot, at) in SLOTS.into_iter().enumerate() {
        let image = firmware(&format!("1.{slot}.0"));
        if slot < 2 || apps != Apps::TwoSlots {
            flash[at as usize..][..image.len()].copy_from_slice(&image);
        }
    }
    flash
}

/// Corrects the checks of a log's entries (`flash_log.rs`).
pub fn repair_log(log: &mut [u8]) {
    use sha2::{Digest, Sha256};
    let (entries, _) = log.as_chunks_mut::<32>();
    for entry in entries {
        if entry.iter().any(|&byte| byte != 0xff) {
            let check = Sha256::digest(&entry[..28]);
            entry[28..].copy_from_slice(&check[..4]);
        }
    }
}
