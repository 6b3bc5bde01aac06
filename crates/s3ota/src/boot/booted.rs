//! How a boot stands: what the boot guard tells its caller.

use crate::boot::reset::Bootloader;
#[cfg(doc)]
use crate::boot::reset::Reset;
use crate::error::Error;
#[cfg(feature = "launch")]
use crate::flash::partitions::Slot;

/// How many boots a firmware on trial has to be confirmed in, unless configured otherwise.
pub const DEFAULT_TRIAL_BOOTS: u8 = 3;

/// The most trial boots that can be counted: a sector of otadata has room for about as many.
pub const MAX_TRIAL_BOOTS: u8 = 100;

const _: () = assert!(MAX_TRIAL_BOOTS == 100, "the error says so");

/// How often a firmware on trial may start after the power came on or the chip woke, before it is given up.
///
/// These starts do not count as trial boots: they say nothing against the firmware. They have a bound all the same, for a
/// trial must end.
pub const MAX_SPARED_BOOTS: u32 = 50;

/// How the running firmware stands, as [`boot_guard`](crate::boot_guard) finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Boot {
    /// It is the confirmed one, or one that was never on trial (flashed by cable).
    Confirmed,
    /// It is on trial: [`confirm`](crate::Updater::confirm) it once it has shown that it works.
    Trial {
        /// Which boot this is, from 1. Starts that do not [count](Reset) have the number of the boot before.
        boot: u32,
        /// After how many boots without confirmation it is given up.
        of: u8,
    },
    /// It is the confirmed one, and is to **launch the new image in `slot` now**, as the bootloader would. Everything after that is
    /// the new firmware's: what runs must leave nothing behind.
    ///
    /// If it cannot, it calls [`launch_refused`](crate::launch_refused). Only with
    /// [`TrialMode::Launch`](crate::TrialMode::Launch).
    #[cfg(feature = "launch")]
    Launch {
        /// Where the new image lies. It must be checked before it runs: its SHA-256, and what the chip's bootloader would check.
        slot: Slot,
        /// Which boot of the new firmware this is, from 1.
        boot: u32,
    },
    /// The new firmware is given up, and this is the one that it was to replace: the bootloader refused the new image and booted
    /// this one, or this one has launched it as often as it had boots.
    FellBack,
    /// It was on trial, has used up its boots, and is given up; or it is not what should run: the bootloader refused the new
    /// image and booted another one than that was to replace; or the record that led to it does not hold, because power
    /// failed in it. **Restart now**: the right image will run.
    GivenUp,
}

/// What [`boot_guard_after`](crate::boot_guard_after) finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Booted {
    /// How the running firmware stands.
    pub boot: Boot,
    /// The kind of bootloader. `None` where no trial has shown it yet.
    pub bootloader: Option<Bootloader>,
}

/// Why a firmware does not launch the new image, as [`Boot::Launch`] asks it to.
#[cfg(feature = "launch")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Refusal {
    /// The image is damaged, or the chip's bootloader would refuse it: the trial has failed.
    Image,
    /// The image may be right, but cannot be started from a running firmware: a segment lies where the launcher does, or flash
    /// encryption or Secure Boot is on. The bootloader is to boot it, and can go back from it only as far as the image counts its
    /// own boots.
    Launcher,
}

/// Checks how many boots a trial has.
pub(crate) fn check_trial_boots(of: u8) -> Result<u8, Error> {
    match of {
        1..=MAX_TRIAL_BOOTS => Ok(of),
        _ => Err(Error::TrialBoots(of)),
    }
}
