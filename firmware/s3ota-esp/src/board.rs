//! The parts of the device that need no network.

use core::fmt;

use embassy_net::Stack;
use embassy_sync::mutex::Mutex;
use s3ota::{Boot, Bootloader, Device};
use static_cell::StaticCell;

use crate::{Clock, Entropy, Flash, Network, NoEntropy, RunningError, SharedFlash};

/// The parts of the device that need no network, from [`start`](crate::start).
///
/// It displays the firmware's state: `Confirmed`, or `Trial { boot: 1, of: 3 }`.
#[derive(Debug)]
pub struct Board<F = Flash> {
    /// The flash chip.
    pub flash: F,
    /// The running firmware's offset on flash, in bytes.
    pub running: Result<u32, RunningError>,
    /// The clock. Copy the reference wherever you need the time.
    pub clock: &'static Clock,
    /// The running firmware's state.
    ///
    /// An error means that the boot guard has failed: flash or the partition table cannot be used. That is not `Confirmed`.
    /// Unless it is certain that the firmware is not on trial, the watchdog ends such a boot after the time of a trial boot.
    /// [`Board::device`] then returns an error: do your work without updates.
    pub boot: Result<Boot, BoardError>,
    /// The kind of bootloader, once a trial has shown it. Without app rollback, nothing ends the trial of a firmware that does
    /// not even reach [`start`](crate::start).
    pub bootloader: Option<Bootloader>,
}

impl Board {
    /// The board with its flash behind a mutex, for an application that has data of its own on flash. Copy
    /// [`flash`](Self::flash) wherever you need it, now and while updates run:
    ///
    /// ```ignore
    /// let board = started.board(chip.FLASH, chip.RTC_TIMER).share_flash();
    /// let flash = board.flash;
    /// // In any task:
    /// flash.0.lock().await.read(0x9000, &mut settings).await
    /// ```
    ///
    /// The example `advanced` does so, with a key-value store.
    ///
    /// # Panics
    ///
    /// If called twice. Safe code cannot, because the flash exists once.
    #[inline(never)]
    pub fn share_flash(self) -> Board<SharedFlash> {
        static MUTEX: StaticCell<Mutex<crate::flash::Lock, Flash>> = StaticCell::new();

        Board {
            flash: s3ota::device::SharedFlash(MUTEX.init(Mutex::new(self.flash))),
            running: self.running,
            clock: self.clock,
            boot: self.boot,
            bootloader: self.bootloader,
        }
    }
}

impl<F> Board<F> {
    /// Whether the running firmware is on trial.
    pub fn is_on_trial(&self) -> bool {
        matches!(self.boot, Ok(Boot::Trial { .. }))
    }

    /// The device for an [`Updater`](s3ota::Updater). The radio must be on, for randomness; the network need not be up.
    ///
    /// # Errors
    ///
    /// [`BoardError`]: this firmware cannot be updated.
    #[inline(never)]
    pub fn device(
        self,
        stack: Stack<'static>,
    ) -> Result<Device<F, Network, &'static Clock, Entropy>, BoardError> {
        self.boot?;
        Ok(Device {
            running: self.running.map_err(BoardError::Running)?,
            flash: self.flash,
            network: Network::new(stack).ok_or(BoardError::NetworkTaken)?,
            clock: self.clock,
            rng: Entropy::new().map_err(BoardError::Entropy)?,
        })
    }
}

impl<F> fmt::Display for Board<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By hand: the names of all variants and their fields would cost flash.
        f.write_str(match &self.boot {
            Ok(Boot::Trial { boot, of }) => {
                return write!(f, "Trial {{ boot: {boot}, of: {of} }}");
            }
            Ok(Boot::FellBack) => "FellBack",
            Ok(_) => "Confirmed",
            Err(_) => "not updatable",
        })
    }
}

/// Why a board cannot be updated.
///
/// Its `Debug` is its `Display`: `expect` prints for people, and the names of all fields would cost flash.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum BoardError {
    /// The running partition is unknown.
    Running(RunningError),
    /// The boot guard found flash or partition table unusable.
    Guard(s3ota::Error),
    /// There is no entropy yet.
    Entropy(NoEntropy),
    /// There already is a [`Network`].
    NetworkTaken,
}

impl fmt::Display for BoardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running(error) => write!(f, "{error}"),
            Self::Guard(error) => write!(f, "{error}"),
            Self::Entropy(error) => write!(f, "{error}"),
            Self::NetworkTaken => f.write_str("the network has been taken already"),
        }
    }
}

impl fmt::Debug for BoardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for BoardError {}
