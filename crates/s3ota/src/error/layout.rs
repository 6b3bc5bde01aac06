//! A partition table that does not allow updates.

use core::fmt;

use s3ota_image::partition::PartitionError;

/// Why a device's partition table does not allow updates.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LayoutError {
    /// There is no valid partition table at [`Config::partition_table`](crate::Config::partition_table).
    Table(PartitionError),
    /// There is no otadata partition of at least two sectors.
    NoOtadata,
    /// There is nowhere to install to: fewer than two app partitions.
    TooFewSlots,
    /// The factory app runs, and there is one OTA slot: after an update to it there would be nowhere to install the next.
    OneSlot,
    /// The slots are not `ota_0`, `ota_1`… without a gap, or not on sector boundaries.
    Slots,
    /// The running firmware is in none of the app partitions.
    RunningUnknown {
        /// Where it was said to run from.
        offset: u32,
    },
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // What is wrong with it takes 3 KB of program memory to say; the command on the host has it.
            Self::Table(_) => write!(
                f,
                "no usable partition table at 0x8000, or where it was configured: `s3ota inspect` of the flash says what is wrong"
            ),
            Self::NoOtadata => write!(
                f,
                "the partition table has no otadata partition of 0x2000 bytes: flash one with otadata, ota_0 and ota_1"
            ),
            Self::TooFewSlots => write!(
                f,
                "the partition table has no second app slot to install to: flash one with ota_0 and ota_1"
            ),
            Self::OneSlot => write!(
                f,
                "a factory app and one OTA slot: the first update would be the last. Flash a partition table with ota_0 and ota_1"
            ),
            Self::Slots => write!(
                f,
                "the app slots must be ota_0, ota_1… without a gap, on 4 KiB boundaries"
            ),
            Self::RunningUnknown { offset } => {
                write!(
                    f,
                    "the firmware runs from {offset:#x}, where the partition table has no app"
                )
            }
        }
    }
}

impl core::error::Error for LayoutError {}
