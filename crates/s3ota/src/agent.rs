//! The loop most devices want: look for an update after boot, every so often, and when asked.

use core::time::Duration;

use edge_nal::{Dns, TcpConnect};
use embassy_futures::select::select;
use embedded_storage_async::nor_flash::NorFlash;
use rand_core::{CryptoRng, RngCore};

use crate::apart::apart;
use crate::config::{Confirm, Schedule};
use crate::updater::share;
use crate::{Checked, Clock, Error, Hooks, Installed, Outcome, ReleaseError, Updater};

/// Keeps a device up to date by an [`Updater`] and a [`Schedule`].
pub struct Agent<'a, F, N, C, R> {
    updater: Updater<'a, F, N, C, R>,
    schedule: Schedule,
}

/// What a turn came to.
enum Turn {
    Installed(Installed),
    Checked,
    OnTrial,
}

impl<'a, F, N, C, R> Agent<'a, F, N, C, R>
where
    F: NorFlash,
    N: TcpConnect + Dns,
    C: Clock,
    R: CryptoRng + RngCore,
{
    /// An agent that runs `updater` by `schedule`.
    pub fn new(updater: Updater<'a, F, N, C, R>, schedule: Schedule) -> Self {
        Self { updater, schedule }
    }

    /// The updater, to confirm or roll back between two runs.
    pub fn updater(&mut self) -> &mut Updater<'a, F, N, C, R> {
        &mut self.updater
    }

    /// Runs until a new firmware is installed. **Restart the device** when this returns.
    ///
    /// `now` is waited for along with the clock; when it completes, the agent looks at once. It is the place for a
    /// button or a message: `|| SIGNAL.wait()` with a signal of `embassy-sync`, or [`core::future::pending`] for none.
    ///
    /// Failures are reported to `hooks` and logged; the next check comes at its time.
    pub async fn run(&mut self, hooks: &mut dyn Hooks, mut now: impl AsyncFnMut()) -> Installed {
        // A power failure ends for all devices of a town at once.
        let mut pause = self.spread(self.schedule.first, 100);
        loop {
            select(self.updater.device().clock.sleep(pause), now()).await;
            pause = match apart!(self.turn(hooks)) {
                Turn::Installed(installed) => return installed,
                Turn::Checked => self.spread(self.schedule.every, self.schedule.jitter_percent),
                // Trials end after minutes, not hours: one failed connection must not be the only one tried.
                Turn::OnTrial => {
                    let pause = self.updater.config().patience.longest_pause;
                    self.spread(pause.min(self.schedule.every), 100)
                }
            };
        }
    }

    /// One check, and what follows from it.
    async fn turn(&mut self, hooks: &mut dyn Hooks) -> Turn {
        match apart!(self.settle_trial(hooks)) {
            // Nothing can be installed.
            Ok(true) => return Turn::OnTrial,
            Ok(false) => {}
            Err(error) => {
                hooks.on_error(&error, None);
                log::error!("the trial cannot be settled: {error}");
                return Turn::OnTrial;
            }
        }
        match apart!(self.updater.install(hooks)) {
            Ok(Outcome::Installed(installed)) => Turn::Installed(installed),
            // Errors were reported by the updater.
            Ok(Outcome::NoUpdate(_)) | Err(_) => Turn::Checked,
        }
    }

    /// Confirms a firmware on trial if that is the agent's to do and it has shown what it must. `true` if it is still
    /// on trial.
    async fn settle_trial(&mut self, hooks: &mut dyn Hooks) -> Result<bool, Error> {
        if !apart!(self.updater.is_on_trial())? {
            return Ok(false);
        }
        if self.schedule.confirm == Confirm::ByApplication {
            log::info!("on trial: waiting for the application to confirm");
            return Ok(true);
        }
        match apart!(self.updater.check()) {
            // A firmware that does not trust the key in use could never be replaced: better the one before.
            Err(error @ Error::Release(ReleaseError::Signature(_))) => Err(error),
            // A release that is refused was read from a server that was reached, too.
            Ok(Checked::Available(_) | Checked::NoUpdate(_))
            | Err(Error::Release(_) | Error::Image(_)) => {
                apart!(self.updater.confirm())?;
                hooks.on_confirm();
                log::info!("confirmed: the server can be reached");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// A time, and up to so many percent of it at random.
    fn spread(&mut self, time: Duration, percent: u8) -> Duration {
        let most = time.saturating_mul(u32::from(percent)) / 100;
        time.saturating_add(share(most, &mut self.updater.device().rng))
    }
}
