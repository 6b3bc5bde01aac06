//! Launching a firmware on trial from the one before it.
//!
//! The boot guard of the old, confirmed firmware counts a trial boot and asks for the launch ([`Boot::Launch`]). Everything here
//! happens before `esp_hal::init`: the image is read and checked as the bootloader would, the launch is planned, the watchdog is
//! set, and the stub (`stub.rs`) does the rest. If the new firmware hangs anywhere before its own guard, the watchdog resets the
//! chip, and the bootloader boots the old firmware, which counts again.

use esp_hal::efuse;
use s3ota::{Boot, Refusal as Because, Reset, Slot, launch_refused};
use s3ota_image::Chip;
use s3ota_image::app::Verifier;
use s3ota_image::launch::{Conditions, Memory, Refusal, plan};

use crate::guard::{self, Found};
use crate::identity::fuses;
use crate::{CHIP, Flash, TABLE_OFFSET, early, stub};

/// What is known about this chip.
pub(crate) const MEMORY: Memory = match CHIP {
    Chip::Esp32C2 => Memory::ESP32C2,
    Chip::Esp32C3 => Memory::ESP32C3,
    Chip::Esp32C5 => Memory::ESP32C5,
    Chip::Esp32C6 => Memory::ESP32C6,
    Chip::Esp32H2 => Memory::ESP32H2,
    _ => panic!(
        "the feature `launch` is for the RISC-V chips: without it, the bootloader boots a firmware on trial"
    ),
};

/// How much of an image is read at once.
const BLOCK: usize = 256;

/// Launches the new firmware if the boot guard asks for it. If that cannot be, the console says why, and this firmware stays; or
/// the chip restarts, and the bootloader boots the new one, as without launches.
#[inline(never)]
pub(crate) fn launch(found: &mut Found, flash: &mut Flash, reset: Reset) {
    let (Ok(running), Ok(booted)) = (found.running, &mut found.booted) else {
        return;
    };
    let Boot::Launch { slot, boot } = &booted.boot else {
        return;
    };
    let why = start(flash, slot, boot, reset);
    say!("WARN - not launched, reason {}", why.number());
    // Without a word to the guard, this boot is lost, and the next one is for the new firmware again.
    booted.boot = Boot::Confirmed;
    let because = match why {
        // The next one may succeed, and they are counted.
        Refusal::Unreadable => return,
        why if why.is_of_image() => Because::Image,
        _ => Because::Launcher,
    };
    if launch_refused(TABLE_OFFSET, flash, running, because) == Boot::GivenUp {
        say!("WARN - if it hangs early, only a cable helps");
        crate::restart();
    }
}

/// Checks the image in a slot as the bootloader does, plans its launch, and launches it. It returns why not.
fn start(flash: &mut Flash, slot: &Slot, boot: &u32, reset: Reset) -> Refusal {
    let mut verifier = Verifier::in_slot();
    let mut block = [0; BLOCK];
    let mut at = slot.offset;
    // The slot lies within the flash.
    let end = slot.offset.wrapping_add(slot.size);
    while at < end {
        // A large image takes seconds at the bootloader's clock. Flash that does not answer stops here.
        early::watch();
        if flash.read_now(at, &mut block).is_err() {
            return Refusal::Unreadable;
        }
        if !verifier.takes_more(&block) {
            break;
        }
        at = at.wrapping_add(BLOCK as u32);
    }
    let Ok(image) = &verifier.finish() else {
        return Refusal::Image;
    };
    let (hardware, secure_boot) = &fuses();
    let conditions = Conditions {
        hardware,
        is_protected: *secure_boot || efuse::flash_encryption(),
        woke: reset == Reset::Wake,
    };
    let read = |at, bytes: &mut [u8; 8]| flash.read_now(at, bytes);
    let steps = stub::plan();
    if let Err(why) = plan(&MEMORY, &conditions, image, slot.offset, read, steps) {
        return why;
    }
    say!("INFO - launching the new firmware, boot {}", *boot);
    guard::end();
    stub::run(steps)
}
