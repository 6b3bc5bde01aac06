//! Why the chip started, and by which kind of bootloader.

use s3ota_manifest::user_agent;

/// Why the chip started: what it says about the firmware that ran before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Reset {
    /// Power came on or came back, or somebody pressed the reset button. It does not count against a firmware on trial: a
    /// lamp that is switched on and off three times is no broken lamp.
    PowerOn,
    /// The chip woke from deep sleep. It does not count either.
    Wake,
    /// Everything else: a watchdog, a panic, a restart by software, or a reason that is not known. It counts.
    Crash,
}

impl Reset {
    pub(crate) const fn as_byte(self) -> u8 {
        match self {
            Self::PowerOn => b'p',
            Self::Wake => b'w',
            Self::Crash => b'c',
        }
    }

    pub(crate) const fn from_byte(byte: Option<u8>) -> Self {
        match byte {
            Some(b'p') => Self::PowerOn,
            Some(b'w') => Self::Wake,
            _ => Self::Crash,
        }
    }
}

/// What kind of bootloader a device has, as far as trials have shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Bootloader {
    /// It does no app rollback: only the boot guard ends a trial. An image that never reaches the guard boots for ever.
    Plain,
    /// It does app rollback (`CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE`): it gives up an image that was not confirmed at its
    /// second boot, whether that reached the guard or not. A trial then has one boot.
    AppRollback,
}

impl From<Bootloader> for user_agent::Bootloader {
    fn from(kind: Bootloader) -> Self {
        match kind {
            Bootloader::Plain => Self::Plain,
            Bootloader::AppRollback => Self::Rollback,
        }
    }
}
