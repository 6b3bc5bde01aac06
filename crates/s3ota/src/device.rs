//! What the library needs from the device that it runs on.
//!
//! Four things, each behind a small trait, so that the same code runs on a chip and on a host:
//!
//! | need | trait | on the chip | in the virtual device |
//! |---|---|---|---|
//! | flash | [`Flash`], which is [`NorFlash`] over the whole chip | `esp-storage` | memory or a file |
//! | network | [`TcpConnect`] and [`Dns`] | `edge-nal-embassy` | `edge-nal-std` |
//! | time | [`Clock`] | `embassy-time`, SNTP | the host's clocks |
//! | randomness | [`CryptoRng`] and [`RngCore`] | the hardware generator | the operating system |
//!
//! [`Updater::install_from`](crate::Updater::install_from) takes any [`Read`] and [`Seek`].

mod shared;

use core::future::{Future, ready};
use core::ops::DerefMut;
use core::time::Duration;

pub use edge_nal::{Dns, TcpConnect};
pub use embedded_io_async::{Read, Seek};
pub use embedded_storage_async::nor_flash::NorFlash;
pub use rand_core::{CryptoRng, RngCore};
pub use shared::SharedFlash;

/// The flash chip, as an updater takes it: locked for each step of its work.
///
/// Every [`NorFlash`] driver is one, for an updater that has it alone. [`SharedFlash`] is one for an updater that shares it.
///
/// The library waits for the lock, and lets other tasks run meanwhile. Behind the lock it does not: there it waits on the spot for
/// operations of milliseconds. So a driver ([`Chip`](Flash::Chip)) must not need another task to complete an operation. It may
/// wait for an interrupt, or let go between two steps. A mutex does not belong *inside* a driver, but around it: implement this
/// trait, or use [`SharedFlash`]. A driver that does not complete an operation for many seconds is an [`Error::Flash`](crate::Error::Flash).
pub trait Flash {
    /// The driver.
    type Chip: NorFlash;
    /// Exclusive access to the driver.
    type Access<'a>: DerefMut<Target = Self::Chip>
    where
        Self: 'a;

    /// Waits until nobody else uses the flash.
    fn lock(&mut self) -> impl Future<Output = Self::Access<'_>>;
}

impl<F: NorFlash> Flash for F {
    type Chip = F;
    type Access<'a>
        = &'a mut F
    where
        F: 'a;

    fn lock(&mut self) -> impl Future<Output = &mut F> {
        ready(self)
    }
}

/// Time. A device always knows how long it has been up, and sometimes the date.
pub trait Clock {
    /// Time since an arbitrary fixed point, never going back. Deadlines are measured with it.
    fn uptime(&self) -> Duration;

    /// Time since the power came on, as far as the device knows: through deep sleep and restarts, where it has a counter that
    /// goes on meanwhile. [`Wear`](crate::Wear) is limited by it. By default it is the uptime.
    fn since_power_on(&self) -> Duration {
        self.uptime()
    }

    /// Seconds since the Unix epoch, or `None` while the date is not known.
    ///
    /// Certificates are checked against it. While it is `None` they are checked against
    /// [`Config::built_at`](crate::Config::built_at), which can only refuse what had expired by then.
    fn unix_time(&self) -> Option<u64>;

    /// Waits for `duration`, letting other tasks run.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()>;
}

impl<T: Clock> Clock for &T {
    fn uptime(&self) -> Duration {
        T::uptime(self)
    }

    fn since_power_on(&self) -> Duration {
        T::since_power_on(self)
    }

    fn unix_time(&self) -> Option<u64> {
        T::unix_time(self)
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> {
        T::sleep(self, duration)
    }
}

/// The parts of one device, handed to [`Updater::new`](crate::Updater::new).
#[derive(Debug)]
pub struct Device<F, N, C, R> {
    /// The whole flash chip: offset 0 is the chip's offset 0.
    ///
    /// The library reads the partition table from it and writes only to the slot it installs into and to otadata.
    pub flash: F,
    /// Where the running firmware lies on flash: the offset of its partition, in bytes.
    ///
    /// This is what the library never writes to. It must come from the hardware (the cache's mapping of the running
    /// code), not from otadata: the bootloader may have passed over the image otadata selects.
    pub running: u32,
    /// TCP connections and name resolution.
    pub network: N,
    /// Time.
    pub clock: C,
    /// Randomness fit for cryptography. TLS is worth nothing without it.
    pub rng: R,
}
