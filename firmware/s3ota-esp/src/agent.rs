//! The agent, the end of the trial, the restart.

use core::future::poll_fn;
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use core::time::Duration;

use edge_nal::{Dns, TcpConnect};
use embassy_futures::select::{Either, select};
use rand_core::{CryptoRng, RngCore};
use s3ota::device::Flash;
use s3ota::manifest::Manifest;
use s3ota::{
    Agent, Clock as _, Error, Hooks, Installed, NoUpdate, Progress, Restart, Schedule, Updater,
    Wear,
};

use crate::{Clock, keep_wear, kept_wear, restart};

/// How often the agent checks while the firmware is on trial, whatever its schedule: the watchdog is running.
const ON_TRIAL: Duration = Duration::from_secs(60);

/// How long before the watchdog the agent itself ends a trial boot.
const BEFORE_WATCHDOG: Duration = Duration::from_secs(60);

/// How long what is done before a restart may take ([`run_with`]).
pub const BEFORE_RESTART: Duration = Duration::from_secs(30);

const _: () = assert!(BEFORE_RESTART.as_secs() < BEFORE_WATCHDOG.as_secs());

/// Keeps the device up to date: an [`Agent`] that restarts the chip into what it installed.
///
/// See [`Agent::run`] for `now`. It also ends the trial that [`start`](crate::start) began, as soon as the agent has
/// confirmed the firmware; until then it checks once a minute. With `Confirm::ByApplication` call [`confirm`] before.
///
/// A firmware on trial that has not reached its server one minute before the watchdog's time is over is restarted cleanly, which
/// does not count as a crash ([`Updater::end_trial_boot`]). So call this even while the network is down.
///
/// The flash wear of updates is kept across restarts ([`kept_wear`]).
pub fn run<F, N, R>(
    updater: Updater<'_, F, N, &'static Clock, R>,
    schedule: Schedule,
    hooks: &mut dyn Hooks,
    now: impl AsyncFnMut(),
) -> impl Future<Output = Never>
where
    F: Flash,
    N: TcpConnect + Dns,
    R: CryptoRng + RngCore,
{
    run_to(updater, schedule, hooks, now, async |_, _| {})
}

/// [`run`], with something to do before each restart: save state, switch a heater off, tell a server.
///
/// `before_restart` is told why, and may use the updater; its flash too ([`Device::flash`](s3ota::Device::flash)). After
/// [`BEFORE_RESTART`] the chip restarts in any case.
pub fn run_with<'a, F, N, R>(
    updater: Updater<'a, F, N, &'static Clock, R>,
    schedule: Schedule,
    hooks: &mut dyn Hooks,
    now: impl AsyncFnMut(),
    before_restart: impl AsyncFnOnce(&Restart, &mut Updater<'a, F, N, &'static Clock, R>),
) -> impl Future<Output = Never>
where
    F: Flash,
    N: TcpConnect + Dns,
    R: CryptoRng + RngCore,
{
    run_to(updater, schedule, hooks, now, async |why, updater| {
        let clock = updater.device().clock;
        select(before_restart(why, updater), clock.sleep(BEFORE_RESTART)).await;
    })
}

// Not an `async fn`: that would keep two copies of its arguments, and the updater is large.
fn run_to<'a, F, N, R>(
    mut updater: Updater<'a, F, N, &'static Clock, R>,
    mut schedule: Schedule,
    hooks: &mut dyn Hooks,
    mut now: impl AsyncFnMut(),
    last: impl AsyncFnOnce(&Restart, &mut Updater<'a, F, N, &'static Clock, R>),
) -> impl Future<Output = Never>
where
    F: Flash,
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
        // In a function of its own: in the middle of a large `main` each access takes three instructions (see the library's
        // `apart`).
        let restarts = {
            let mut restarts = pin!(agent.until_restart(&mut hooks, &mut soon));
            poll_fn(|context| poll(restarts.as_mut(), context)).await
        };
        let updater = agent.updater();
        note(&restarts, updater.wear());
        last(&restarts, updater).await;
        restart()
    }
}

#[inline(never)]
fn note(why: &Restart, wear: Wear) {
    match why {
        Restart::Installed(installed) => info!("restarting into {}", installed.version),
        _ => warn!("not confirmed in time: this trial boot is over"),
    }
    keep_wear(wear);
}

#[inline(never)]
fn poll<F: Future>(future: Pin<&mut F>, context: &mut Context<'_>) -> Poll<F::Output> {
    future.poll(context)
}

/// `!`, which cannot be named as a type yet.
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
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Look {
    /// There is nothing to install, or the check has failed.
    Done,
    /// It ran out of time. What it fetched is on flash, and the next check resumes there.
    CutOff,
}

/// Checks once, for at most `time`: what [`run`] does repeatedly, for a device that sleeps in between. It restarts the chip into
/// what it has installed; if it returns, go to sleep.
///
/// A firmware on trial is confirmed once it has shown that it can be updated. Until then, check each time the device wakes. Deep
/// sleep does not count against it.
///
/// The flash wear of updates is kept in deep sleep ([`kept_wear`]).
pub async fn look<F, N, R>(
    mut updater: Updater<'_, F, N, &'static Clock, R>,
    time: Duration,
    hooks: &mut dyn Hooks,
) -> Look
where
    F: Flash,
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
            info!("restarting into {}", installed.version);
            restart()
        }
        Either::First(None) => Look::Done,
        Either::Second(()) => {
            warn!("no time left for the update check");
            Look::CutOff
        }
    }
}

/// Confirms the running firmware, as [`Updater::confirm`] does, and switches the trial's watchdog off.
///
/// # Errors
///
/// Those of [`Updater::confirm`]. The trial and its watchdog then continue.
pub async fn confirm<F, N, R>(
    updater: &mut Updater<'_, F, N, &'static Clock, R>,
) -> Result<bool, Error>
where
    F: Flash,
    N: TcpConnect + Dns,
    R: CryptoRng + RngCore,
{
    let was_on_trial = updater.confirm().await?;
    updater.device().clock.end_trial();
    Ok(was_on_trial)
}

/// Forwards the hooks, and switches the trial's watchdog off when the agent has confirmed.
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
