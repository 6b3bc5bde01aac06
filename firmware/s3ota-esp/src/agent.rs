//! The agent, the end of the trial, the restart.

use core::future::poll_fn;
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use core::time::Duration;

use edge_nal::{Dns, TcpConnect};
use embassy_futures::select::{Either, select};
use embedded_storage_async::nor_flash::NorFlash;
use rand_core::{CryptoRng, RngCore};
use s3ota::manifest::Manifest;
use s3ota::{
    Agent, Clock as _, Error, Hooks, Installed, NoUpdate, Progress, Restart, Schedule, Updater,
};

use crate::{Clock, keep_wear, kept_wear, restart};

/// While the firmware is on trial the agent looks this often, not only by its schedule: the watchdog is waiting.
const ON_TRIAL: Duration = Duration::from_secs(60);

/// So long before the watchdog would, the agent ends a boot of a trial itself.
const BEFORE_WATCHDOG: Duration = Duration::from_secs(60);

/// Keeps the device up to date: an [`Agent`] that restarts the chip into what it installed.
///
/// See [`Agent::run`] for `now`. It also ends the trial that [`start`](crate::start) began, as soon as the agent has
/// confirmed the firmware; until then it looks once a minute. With `Confirm::ByApplication` call [`confirm`] before.
///
/// A firmware on trial that has not reached its server a minute before the watchdog's time is over is restarted in order, which
/// does not count as a crash ([`Updater::end_trial_boot`]). So call this also while the network is down.
///
/// What updates cost the flash is kept over restarts ([`kept_wear`]).
// No `async fn`: that keeps what it is given twice, and the updater is large.
pub fn run<F, N, R>(
    mut updater: Updater<'_, F, N, &'static Clock, R>,
    mut schedule: Schedule,
    hooks: &mut dyn Hooks,
    mut now: impl AsyncFnMut(),
) -> impl Future<Output = Never>
where
    F: NorFlash,
    N: TcpConnect + Dns,
    R: CryptoRng + RngCore,
{
    let clock = updater.device().clock;
    if let Some(left) = clock.trial_left() {
        let left = left.saturating_sub(BEFORE_WATCHDOG);
        schedule.trial_time = schedule.trial_time.min(left);
    }
    updater.set_wear(kept_wear());
    let mut agent = Agent::new(updater, schedule);
    let mut hooks = EndOfTrial { hooks, clock };
    async move {
        let mut soon = async || {
            if clock.is_trial() {
                select(now(), clock.sleep(ON_TRIAL)).await;
            } else {
                now().await;
            }
        };
        // In a function of its own: in the middle of a large `main` each access takes three instructions (see the library's `apart`).
        let restarts = {
            let mut restarts = pin!(agent.until_restart(&mut hooks, &mut soon));
            poll_fn(|context| poll(restarts.as_mut(), context)).await
        };
        match restarts {
            Restart::Installed(installed) => log::info!("restarting into {}", installed.version),
            _ => log::warn!("not confirmed in time: this trial boot is over"),
        }
        keep_wear(agent.updater().wear());
        restart()
    }
}

#[inline(never)]
fn poll<F: Future>(future: Pin<&mut F>, context: &mut Context<'_>) -> Poll<F::Output> {
    future.poll(context)
}

/// `!`, which has no name yet where a type is asked for.
type Never = <fn() -> ! as Returns>::Type;

#[doc(hidden)]
pub trait Returns {
    type Type;
}

impl<T> Returns for fn() -> T {
    type Type = T;
}

/// How a [`look`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// There is nothing to install, or it cannot be had for now.
    Done,
    /// Its time was over. What was fetched is on flash, and the next look goes on with it.
    CutOff,
}

/// Looks once, for `time` at most: what [`run`] does again and again, for a device that sleeps in between. Restarts the chip
/// into what it installed; if it returns, go to sleep.
///
/// A firmware on trial is confirmed if it shows that it could be replaced. While it is not, look each time the device wakes. Going
/// to sleep does not count against it.
///
/// What updates cost the flash is kept through deep sleep ([`kept_wear`]).
pub async fn look<F, N, R>(
    mut updater: Updater<'_, F, N, &'static Clock, R>,
    time: Duration,
    hooks: &mut dyn Hooks,
) -> Look
where
    F: NorFlash,
    N: TcpConnect + Dns,
    R: CryptoRng + RngCore,
{
    let clock = updater.device().clock;
    let mut hooks = EndOfTrial { hooks, clock };
    updater.set_wear(kept_wear());
    let mut agent = Agent::new(updater, Schedule::default());
    let looked = select(agent.once(&mut hooks), clock.sleep(time)).await;
    keep_wear(agent.updater().wear());
    match looked {
        Either::First(Some(installed)) => {
            log::info!("restarting into {}", installed.version);
            restart()
        }
        Either::First(None) => Look::Done,
        Either::Second(()) => {
            log::warn!("no time is left to look for an update");
            Look::CutOff
        }
    }
}

/// Confirms the running firmware, as [`Updater::confirm`] does, and switches the trial's watchdog off.
///
/// # Errors
///
/// Those of [`Updater::confirm`]; the trial and its watchdog then go on.
pub async fn confirm<F, N, R>(
    updater: &mut Updater<'_, F, N, &'static Clock, R>,
) -> Result<bool, Error>
where
    F: NorFlash,
    N: TcpConnect + Dns,
    R: CryptoRng + RngCore,
{
    let was_on_trial = updater.confirm().await?;
    updater.device().clock.end_trial();
    Ok(was_on_trial)
}

/// Passes hooks on, and switches the trial's watchdog off when the agent has confirmed.
struct EndOfTrial<'a> {
    hooks: &'a mut dyn Hooks,
    clock: &'static Clock,
}

impl Hooks for EndOfTrial<'_> {
    fn on_confirm(&mut self) {
        self.clock.end_trial();
        self.hooks.on_confirm();
    }

    fn may_start(&mut self, release: &Manifest<'_>) -> bool {
        self.hooks.may_start(release)
    }

    fn on_start(&mut self, release: &Manifest<'_>) {
        self.hooks.on_start(release);
    }

    fn on_progress(&mut self, progress: Progress) {
        self.hooks.on_progress(progress);
    }

    fn on_no_update(&mut self, reason: NoUpdate) {
        self.hooks.on_no_update(reason);
    }

    fn on_error(&mut self, error: &Error, retry_in: Option<Duration>) {
        self.hooks.on_error(error, retry_in);
    }

    fn on_complete(&mut self, installed: &Installed) {
        self.hooks.on_complete(installed);
    }

    fn on_stop(&mut self) {
        self.hooks.on_stop();
    }
}
