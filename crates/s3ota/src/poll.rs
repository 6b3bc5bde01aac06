//! Updates in turns, for programs that have no executor to give a task to: a bare `loop`, an RTOS task, C.
//!
//! An update is a future. Here it is driven by hand: [`Steps::poll`] works on it for a while and returns. No executor is
//! needed, no task has to be woken, and nothing is allocated.
//!
//! ```no_run
//! # use core::time::Duration;
//! # use s3ota::device::{Clock, Device, Dns, NorFlash, TcpConnect};
//! # use rand_core::{CryptoRng, RngCore};
//! use core::pin::pin;
//! use s3ota::poll::{Steps, Turns};
//! use s3ota::{Config, Outcome, Updater, Workspace};
//!
//! # fn firmware<F: NorFlash, N: TcpConnect + Dns, C: Clock + Copy, R: CryptoRng + RngCore>(
//! #     config: Config<'_>, device: Device<F, N, C, R>, clock: C, workspace: &mut Workspace, restart: fn() -> !,
//! #     mut everything_else: impl FnMut()) {
//! let turns = Turns::new();
//! // Flash that lets go after each of its operations.
//! let device = Device {
//!     flash: turns.flash(device.flash),
//!     running: device.running,
//!     network: device.network,
//!     clock: device.clock,
//!     rng: device.rng,
//! };
//! let updater = Updater::new(config, device, workspace);
//!
//! // Begin …
//! let update = pin!(updater.begin(()));
//! let mut steps = Steps::new(update, &turns);
//! loop {
//!     everything_else();
//!     // … poll …
//!     if let Some(finished) = steps.poll(&clock, Duration::from_millis(5)) {
//!         // … finish: the updater comes back, for the next update.
//!         if let Ok(Outcome::Installed(_)) = finished.result {
//!             restart();
//!         }
//!         break;
//!     }
//! }
//! # }
//! ```
//!
//! What the library is given must work without being woken, too:
//!
//! - [`Clock::sleep`] is [`sleep`] here.
//! - The network is sockets that do not block: a read that has nothing yet returns `Poll::Pending`
//!   ([`core::future::poll_fn`] makes a future of it). It is asked again at the next turn.
//!
//! # How long a turn takes
//!
//! A turn ends when its budget is spent, or as soon as the update waits: for the network, for the clock. The budget is looked at
//! between two operations. The longest of them are an erasure of 64 KiB of flash and the arithmetic of a TLS handshake; either
//! can take some hundred milliseconds on a chip.
//!
//! Turns may be as far apart as you like, but time goes on: [`Timeouts::deadline`](crate::Timeouts::deadline) is for the whole
//! update, and a server closes connections that are silent for long.
//!
//! # In a static
//!
//! The type of an update has no name. Behind a pointer it has one, `Steps<'static, dyn Future<Output = …>>`: that is what a
//! static, or a binding for C, holds.

use core::cell::Cell;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use embedded_storage_async::nor_flash::{ErrorType, MultiwriteNorFlash, NorFlash, ReadNorFlash};

use crate::device::Clock;

/// An update that is driven by hand.
#[derive(Debug)]
pub struct Steps<'p, T: ?Sized> {
    /// `None` once it is over.
    future: Option<Pin<&'p mut T>>,
    turns: &'p Turns,
}

impl<'p, T: Future + ?Sized> Steps<'p, T> {
    /// Begins. Nothing happens before the first [`poll`](Self::poll).
    ///
    /// `turns` is the one that the update's flash was [wrapped](Turns::flash) with.
    pub fn new(future: Pin<&'p mut T>, turns: &'p Turns) -> Self {
        Self {
            future: Some(future),
            turns,
        }
    }

    /// Goes on for a turn: until `budget` is spent, or there is nothing to do but wait. A budget of zero is one operation.
    ///
    /// `Some` once, when the update has come to its end; `None` before that and after it.
    pub fn poll(&mut self, clock: &impl Clock, budget: Duration) -> Option<T::Output> {
        let until = clock.uptime().saturating_add(budget);
        loop {
            self.turns.worked.set(false);
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(output) = self.future.as_mut()?.as_mut().poll(&mut context) {
                self.future = None;
                return Some(output);
            }
            if !self.turns.worked.get() || clock.uptime() >= until {
                return None;
            }
        }
    }

    /// Whether the update has come to its end.
    pub fn is_over(&self) -> bool {
        self.future.is_none()
    }
}

/// What the parts of an update tell [`Steps`].
#[derive(Debug, Default)]
pub struct Turns {
    /// Something was done, and there may be more to do.
    worked: Cell<bool>,
}

impl Turns {
    /// No turn yet.
    pub const fn new() -> Self {
        Self {
            worked: Cell::new(false),
        }
    }

    /// Flash that lets go after each long operation.
    pub const fn flash<F>(&self, flash: F) -> TurnsFlash<'_, F> {
        TurnsFlash { flash, turns: self }
    }

    /// Lets go once, with more to do.
    async fn over(&self) {
        let mut first = true;
        poll_fn(|_| {
            if first {
                first = false;
                self.worked.set(true);
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }
}

/// A flash driver that lets go after each long operation. [`Turns::flash`] makes one.
#[derive(Debug)]
pub struct TurnsFlash<'t, F> {
    flash: F,
    turns: &'t Turns,
}

impl<F: ErrorType> ErrorType for TurnsFlash<'_, F> {
    type Error = F::Error;
}

impl<F: ReadNorFlash> ReadNorFlash for TurnsFlash<'_, F> {
    const READ_SIZE: usize = F::READ_SIZE;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.flash.read(offset, bytes).await?;
        // A record or an entry of a log is no long work.
        if bytes.len() >= 1024 {
            self.turns.over().await;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.flash.capacity()
    }
}

impl<F: NorFlash> NorFlash for TurnsFlash<'_, F> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.flash.erase(from, to).await?;
        self.turns.over().await;
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.flash.write(offset, bytes).await?;
        self.turns.over().await;
        Ok(())
    }
}

impl<F: MultiwriteNorFlash> MultiwriteNorFlash for TurnsFlash<'_, F> {}

/// [`Clock::sleep`] where nobody wakes: it looks at the clock whenever it is polled.
pub async fn sleep(clock: &impl Clock, duration: Duration) {
    let until = clock.uptime().saturating_add(duration);
    poll_fn(|context| {
        if clock.uptime() >= until {
            return Poll::Ready(());
        }
        // Under an executor, too, it comes round again.
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
