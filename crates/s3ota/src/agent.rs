//! The loop that most devices want: check for an update after boot, every so often, and when asked.

use core::time::Duration;

use edge_nal::{Dns, TcpConnect};
use embassy_futures::select::select;
use rand_core::{CryptoRng, RngCore};

use crate::apart::apart;
use crate::config::{Confirm, Schedule, Timeouts};
use crate::device::{Clock, Flash};
use crate::error::Error;
use crate::hooks::Hooks;
use crate::outcome::{Installed, Outcome};
use crate::updater::Updater;
use crate::updater::retry::share;

/// Keeps a device up to date, by an [`Updater`] and a [`Schedule`].
pub struct Agent<'a, F, N, C, R> {
    updater: Updater<'a, F, N, C, R>,
    schedule: Schedule,
    /// How many checks in a row left an image half done.
    half_done: u32,
    /// The uptime at which a boot of a trial is over.
    trial_ends: Duration,
    /// The uptime of the next check, once the loop has begun.
    due: Option<Duration>,
}

/// Why a device must restart.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Restart {
    /// A new firmware is on flash and selected.
    Installed(Installed),
    /// The running firmware is on trial and has not reached its server in [`Schedule::trial_time`]. Its next trial boot may.
    TrialOver,
}

/// What a turn came to.
enum Turn {
    Installed(Installed),
    Checked,
    /// A part of an image is on flash.
    HalfDone,
    /// The slot rests for so long.
    Rests(Duration),
    /// Still on trial. Whether that may pass: it is not the firmware's own fault.
    OnTrial(bool),
}

impl<'a, F, N, C, R> Agent<'a, F, N, C, R>
where
    F: Flash,
    N: TcpConnect + Dns,
    C: Clock,
    R: CryptoRng + RngCore,
{
    /// An agent that runs `updater` by `schedule`.
    pub fn new(updater: Updater<'a, F, N, C, R>, schedule: Schedule) -> Self {
        Self {
            updater,
            schedule,
            half_done: 0,
            trial_ends: Duration::MAX,
            due: None,
        }
    }

    /// The updater, to confirm or roll back between two runs.
    pub fn updater(&mut self) -> &mut Updater<'a, F, N, C, R> {
        &mut self.updater
    }

    /// Runs until a new firmware is installed. **Restart the device** when this returns.
    ///
    /// `now` is awaited along with the clock. When it completes, the agent checks at once. It is the place for a button or a
    /// message: `|| SIGNAL.wait()` with a signal of `embassy-sync`, or [`core::future::pending`] for none.
    ///
    /// Failures are reported to `hooks` and logged; the next check comes at its time. A firmware on trial that does not reach
    /// its server goes on trying: see [`until_restart`](Self::until_restart).
    pub async fn run(&mut self, hooks: &mut dyn Hooks, mut now: impl AsyncFnMut()) -> Installed {
        loop {
            if let Restart::Installed(installed) = self.until_restart(hooks, &mut now).await {
                return installed;
            }
        }
    }

    /// Runs until the device is to restart, because a new firmware is installed, or because this boot of the running
    /// firmware's trial is over. The latter is better than to let a watchdog end it: a restart that is noted before does not
    /// speak against the firmware.
    ///
    /// On trial the first check comes at once.
    ///
    /// Its future may be dropped. Called again, it goes on with the schedule: it waits for the same check, or, if it was dropped
    /// in the middle of one, resumes that after [`Timeouts::longest_pause`](crate::Timeouts::longest_pause).
    pub async fn until_restart(
        &mut self,
        hooks: &mut dyn Hooks,
        now: &mut impl AsyncFnMut(),
    ) -> Restart {
        let due = match self.due {
            Some(due) => due,
            None => self.begin().await,
        };
        let mut pause = due.saturating_sub(self.uptime());
        loop {
            select(self.updater.device().clock.sleep(pause), now()).await;
            self.wait(self.updater.config().timeouts.longest_pause);
            let next = match apart!(self.turn(hooks)) {
                Turn::Installed(installed) => {
                    self.due = None;
                    return Restart::Installed(installed);
                }
                Turn::Checked => Ok(self.spread(self.schedule.every, self.schedule.jitter_percent)),
                Turn::HalfDone => Ok(self.soon(self.half_done)),
                Turn::Rests(rest) => Ok(self.spread(rest.min(self.schedule.every), 10)),
                Turn::OnTrial(may_pass) => self.trial_pause().ok_or(may_pass),
            };
            pause = match next {
                Ok(pause) => pause,
                // This boot of the trial is over.
                Err(may_pass) => {
                    if may_pass && let Err(error) = self.updater.end_trial_boot().await {
                        error!("{}", error);
                    }
                    self.due = None;
                    return Restart::TrialOver;
                }
            };
            self.wait(pause);
        }
    }

    /// When a firmware that is still on trial tries again. `None`: this boot of the trial is over.
    fn trial_pause(&mut self) -> Option<Duration> {
        let left = self.trial_left();
        if left.is_zero() && self.schedule.confirm == Confirm::WhenServerReached {
            return None;
        }
        // Trials end after minutes, not hours: one failed connection must not be the only one tried.
        Some(self.soon(1).min(left.max(Duration::from_secs(1))))
    }

    /// Begins the loop. The uptime of the first check.
    async fn begin(&mut self) -> Duration {
        let began = self.uptime();
        self.trial_ends = began.saturating_add(self.schedule.trial_time);
        // A power failure ends for all devices of a town at once. A trial has no time to lose.
        let pause = match self.updater.is_on_trial().await {
            Ok(true) => Duration::ZERO,
            _ => self.spread(self.schedule.first, 100),
        };
        self.wait(pause)
    }

    /// Notes that the next check comes after `pause`. At what uptime that is.
    fn wait(&mut self, pause: Duration) -> Duration {
        let due = self.uptime().saturating_add(pause);
        self.due = Some(due);
        due
    }

    fn uptime(&mut self) -> Duration {
        self.updater.device().clock.uptime()
    }

    /// Checks once, as the loop does each time: confirms a firmware on trial that has proven itself, and installs a new release.
    /// **Restart the device** if there is one.
    ///
    /// For devices that sleep between two checks. Failures are reported to `hooks`, and logged.
    pub async fn once(&mut self, hooks: &mut dyn Hooks) -> Option<Installed> {
        match apart!(self.turn(hooks)) {
            Turn::Installed(installed) => Some(installed),
            Turn::Checked | Turn::HalfDone | Turn::Rests(_) | Turn::OnTrial(_) => None,
        }
    }

    /// One check, and what follows from it.
    async fn turn(&mut self, hooks: &mut dyn Hooks) -> Turn {
        match apart!(self.settle_trial(hooks)) {
            // Nothing can be installed.
            Ok(true) => return Turn::OnTrial(true),
            Ok(false) => {}
            Err(error) => {
                hooks.on_error(&error, None);
                error!("the trial cannot be settled: {}", error);
                return Turn::OnTrial(!error.is_own_fault());
            }
        }
        let result = apart!(self.updater.install(hooks));
        self.half_done = match self.updater.is_half_done() {
            true => self.half_done.saturating_add(1),
            false => 0,
        };
        match result {
            Ok(Outcome::Installed(installed)) => Turn::Installed(installed),
            Err(Error::Worn { rest }) => Turn::Rests(rest),
            // Errors were reported by the updater.
            Ok(Outcome::NoUpdate(_)) | Err(_) if self.half_done > 0 => Turn::HalfDone,
            Ok(Outcome::NoUpdate(_)) | Err(_) => Turn::Checked,
        }
    }

    /// Confirms a firmware on trial if that is the agent's to do and it has shown what it must. `true` if it is still
    /// on trial.
    async fn settle_trial(&mut self, hooks: &mut dyn Hooks) -> Result<bool, Error> {
        if !self.updater.is_on_trial().await? {
            return Ok(false);
        }
        if self.schedule.confirm == Confirm::ByApplication {
            info!("on trial: waiting for the application to confirm");
            return Ok(true);
        }
        // A server that stalls must not keep it until the watchdog calls that a crash.
        let left = self.trial_left();
        self.updater.prove_within(left).await?;
        self.updater.confirm().await?;
        hooks.on_confirm();
        info!("confirmed: the next release can be fetched");
        Ok(false)
    }

    /// How long this boot of a trial may last yet.
    fn trial_left(&mut self) -> Duration {
        self.trial_ends.saturating_sub(self.uptime())
    }

    fn soon(&mut self, times: u32) -> Duration {
        let timeouts = self.updater.config().timeouts;
        let rng = &mut self.updater.device().rng;
        soon(&self.schedule, &timeouts, times, rng)
    }

    fn spread(&mut self, time: Duration, percent: u8) -> Duration {
        spread(time, percent, &mut self.updater.device().rng)
    }
}

/// The pause before something is tried again that failed `times` times: it doubles, up to the ordinary one.
pub(crate) fn soon(
    schedule: &Schedule,
    timeouts: &Timeouts,
    times: u32,
    rng: &mut impl RngCore,
) -> Duration {
    let doubled = 1u32
        .checked_shl(times.saturating_sub(1))
        .unwrap_or(u32::MAX);
    let pause = timeouts
        .longest_pause
        .saturating_mul(doubled)
        .min(schedule.every);
    spread(pause, 100, rng).min(schedule.every)
}

/// A time, and up to so many percent of it at random.
pub(crate) fn spread(time: Duration, percent: u8, rng: &mut impl RngCore) -> Duration {
    let most = time.saturating_mul(u32::from(percent)) / 100;
    time.saturating_add(share(most, rng))
}
