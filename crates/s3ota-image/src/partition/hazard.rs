//! What a valid table lacks for updates.

use core::fmt;

use super::{Label, OTADATA_SIZE, PartitionTable};

/// Why a device with this valid table boots, but cannot update itself, or will not be able to later.
///
/// The table cannot be changed over the air. So look before the first device is shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hazard {
    /// There is no OTA slot.
    NoSlots,
    /// There is one OTA slot.
    OneSlot {
        /// Whether there is a factory app, from which one update is possible: the first.
        factory: bool,
    },
    /// There is no otadata: the bootloader always boots the same app.
    NoOtadata,
    /// The OTA slots differ in size: a larger image fits some of them, and every other update fails.
    UnequalSlots {
        /// The smallest slot.
        smallest: Label,
        /// Its size, in bytes: the largest image that always fits.
        size: u32,
        /// The size of the largest slot.
        largest: u32,
    },
}

impl Hazard {
    /// Those of a table.
    pub(super) fn of<'a>(table: &PartitionTable<'a>) -> impl Iterator<Item = Hazard> + use<'a> {
        let slots = table.ota_slots();
        let factory = table.factory().is_some();
        let count = match slots.clone().count() {
            0 => Some(Hazard::NoSlots),
            1 => Some(Hazard::OneSlot { factory }),
            _ => None,
        };
        let otadata = table.otadata().is_none().then_some(Hazard::NoOtadata);
        let smallest = slots.clone().min_by_key(|slot| slot.size);
        let largest = slots.map(|slot| slot.size).max();
        let sizes = smallest.zip(largest).and_then(|(smallest, largest)| {
            (smallest.size < largest).then_some(Hazard::UnequalSlots {
                smallest: smallest.label,
                size: smallest.size,
                largest,
            })
        });
        [count, otadata, sizes].into_iter().flatten()
    }

    /// A stable dotted code for programs: `flash.slots` or `flash.otadata`.
    pub const fn code(&self) -> &'static str {
        match self {
            Hazard::NoSlots | Hazard::OneSlot { .. } | Hazard::UnequalSlots { .. } => "flash.slots",
            Hazard::NoOtadata => "flash.otadata",
        }
    }

    /// Whether no update is possible at all, not even the first.
    pub const fn prevents_updates(&self) -> bool {
        matches!(
            self,
            Hazard::NoSlots | Hazard::OneSlot { factory: false } | Hazard::NoOtadata
        )
    }
}

impl fmt::Display for Hazard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Hazard::NoSlots => f.write_str(
                "the partition table has no OTA slot, so the device cannot update itself; \
                 flash a table with ota_0, ota_1 and otadata",
            ),
            Hazard::OneSlot { factory: true } => f.write_str(
                "the partition table has one OTA slot: the first update leaves the factory app for it, \
                 and there is no slot for the second; flash a table with ota_0 and ota_1",
            ),
            Hazard::OneSlot { factory: false } => f.write_str(
                "the partition table has one OTA slot, in which the firmware runs, and none to install to; \
                 flash a table with ota_0 and ota_1",
            ),
            Hazard::NoOtadata => write!(
                f,
                "the partition table has no otadata (data, ota, 0x{OTADATA_SIZE:X}), \
                 so the device cannot switch slots; flash a table with it",
            ),
            Hazard::UnequalSlots {
                smallest,
                size,
                largest,
            } => write!(
                f,
                "the OTA slots differ in size: an image of more than {size} bytes does not fit {smallest}, \
                 though another slot has {largest}; make them equal, or keep images below that",
            ),
        }
    }
}
