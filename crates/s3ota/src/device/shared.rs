//! Flash that the application uses, too.

use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_sync::mutex::{Mutex, MutexGuard};
use embedded_storage_async::nor_flash::NorFlash;

use crate::device::Flash;

/// Flash that the application and the updater share: a reference to a mutex, to copy wherever flash is used.
///
/// Whoever uses the flash [locks](Mutex::lock) it. The updater does so for one step at a time: a write of 4 KiB, an erasure of up to
/// 64 KiB, a record. Between two steps the application gets its turn, and the updater waits while the application has the flash.
/// Updates never touch your partitions; leave otadata and the app slots to the library.
///
/// ```no_run
/// # use embassy_sync::blocking_mutex::raw::RawMutex;
/// # use s3ota::device::{Clock, Device, Dns, NorFlash, SharedFlash, TcpConnect};
/// # use s3ota::{Config, Updater, Workspace};
/// # use rand_core::{CryptoRng, RngCore};
/// # async fn firmware<M: RawMutex, F: NorFlash, N: TcpConnect + Dns, C: Clock, R: CryptoRng + RngCore>(
/// #     config: Config<'_>, device: Device<F, N, C, R>, workspace: &mut Workspace) {
/// use embassy_sync::mutex::Mutex;
///
/// let mutex = Mutex::<M, F>::new(device.flash);
/// let flash = SharedFlash(&mutex);
/// let updater = Updater::new(config, Device {
///     flash,
///     running: device.running,
///     network: device.network,
///     clock: device.clock,
///     rng: device.rng,
/// }, workspace);
///
/// // Meanwhile, in any task:
/// let mut mine = [0; 32];
/// flash.0.lock().await.read(0x9000, &mut mine).await;
/// # }
/// ```
#[derive(Debug)]
pub struct SharedFlash<'m, M: RawMutex, F>(pub &'m Mutex<M, F>);

impl<M: RawMutex, F> Clone for SharedFlash<'_, M, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: RawMutex, F> Copy for SharedFlash<'_, M, F> {}

impl<'m, M: RawMutex, F: NorFlash> Flash for SharedFlash<'m, M, F> {
    type Chip = F;
    type Access<'a>
        = MutexGuard<'m, M, F>
    where
        Self: 'a;

    async fn lock(&mut self) -> MutexGuard<'m, M, F> {
        self.0.lock().await
    }
}
