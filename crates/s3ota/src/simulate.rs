//! The decisions of a device without the device, for models of a fleet (feature `simulate`). No part of the public interface.
//!
//! What a device on a board makes of a manifest, of a trial and of a failure is decided here by the same code. Flash and network are not
//! here: the model says what became of them.

use core::time::Duration;

pub use embedded_io_async::ErrorKind;
pub use embedded_storage_async::nor_flash::NorFlashErrorKind;
use rand_core::RngCore;
use s3ota_manifest::Manifest;

use crate::agent;
use crate::boot::rollback_state::RollbackState;
use crate::check::decision::{Facts, decide};
use crate::config::{Config, Schedule, Timeouts};
use crate::error::Error;
use crate::flash::release::ReleaseId;
use crate::install::wear::Wear;
use crate::outcome::NoUpdate;
use crate::updater::retry;

/// What a device remembers of releases, in its log on flash and in RAM.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    state: RollbackState,
    /// What runs, if that was ever installed by an update.
    running: Option<ReleaseId>,
    wear: Wear,
}

/// A release on trial, and what to go back to.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    release: ReleaseId,
    before: Option<ReleaseId>,
}

impl Memory {
    /// What the device makes of a manifest: `Ok(None)` is to install it. `room` is the size of a slot, `now` the date if the device
    /// knows it, and `up` the time since the power came on.
    ///
    /// # Errors
    ///
    /// Why the release is refused.
    pub fn judge(
        &mut self,
        manifest: &Manifest<'_>,
        config: &Config<'_>,
        room: u32,
        now: Option<u64>,
        up: Duration,
    ) -> Result<Option<NoUpdate>, Error> {
        let release = ReleaseId::of(manifest);
        let tries = self.state.tries(release);
        let facts = Facts {
            project: None,
            running: self.running,
            has_failed: tries.has_failed(),
            now,
            room,
            signer: None,
        };
        Ok(match decide(manifest, release, config, &facts)? {
            None if self.wear.rests(release, tries.away(), up) => Some(NoUpdate::Resting),
            decision => decision,
        })
    }

    /// The slot is about to be erased for an image.
    ///
    /// # Errors
    ///
    /// [`Error::Worn`].
    pub fn erase(&mut self, up: Duration) -> Result<(), Error> {
        self.wear.erase(up).map_err(|rest| Error::Worn { rest })
    }

    /// The image of a release was refused.
    pub fn refuse(&mut self, manifest: &Manifest<'_>, up: Duration) {
        self.wear.refuse(ReleaseId::of(manifest), up);
    }

    /// The image is on flash and boots next, on trial.
    pub fn switch(&mut self, manifest: &Manifest<'_>) -> Trial {
        let release = ReleaseId::of(manifest);
        let tries = self.state.tries(release);
        if tries.away() > 0 {
            self.state.take_tries(tries.and_again());
        }
        let before = self.running.replace(release);
        Trial { release, before }
    }

    /// The firmware on trial has shown that it could be replaced.
    pub fn confirm(&mut self) {
        self.wear = Wear::default();
    }

    /// The trial is over, and what ran before runs again: because the firmware `crashed`, or because it did not reach its server.
    pub fn give_up(&mut self, trial: Trial, crashed: bool) {
        let tries = self.state.tries(trial.release);
        self.state.take_tries(match crashed {
            true => tries.and_failed(),
            false => tries.and_away(),
        });
        self.running = trial.before;
    }

    /// The power was cut.
    pub fn cut_power(&mut self) {
        self.wear = Wear::default();
    }
}

/// The agent's pauses, and an update's.
#[derive(Debug, Clone, Copy)]
pub struct Pauses {
    /// When the agent checks.
    pub schedule: Schedule,
    /// How an update retries.
    pub timeouts: Timeouts,
}

impl Pauses {
    /// From the start of the agent to its first check.
    pub fn first(&self, rng: &mut impl RngCore) -> Duration {
        agent::spread(self.schedule.first, 100, rng)
    }

    /// From a check that came to its end to the next one.
    pub fn next(&self, rng: &mut impl RngCore) -> Duration {
        agent::spread(self.schedule.every, self.schedule.jitter_percent, rng)
    }

    /// The same after so many checks in a row that left an image half done, or one trial boot that did not reach the server.
    pub fn soon(&self, times: u32, rng: &mut impl RngCore) -> Duration {
        agent::soon(&self.schedule, &self.timeouts, times, rng)
    }

    /// The same while the slot rests.
    pub fn rest(&self, rest: Duration, rng: &mut impl RngCore) -> Duration {
        agent::spread(rest.min(self.schedule.every), 10, rng)
    }

    /// Between two attempts of one update, `None` if it has failed. `started` says whether an image was asked for, `resumed` how many of
    /// its bytes were on flash.
    pub fn retry(
        &self,
        error: &Error,
        attempt: u8,
        started: bool,
        resumed: u32,
        rng: &mut impl RngCore,
    ) -> Option<Duration> {
        let again = retry::is_worth_another_attempt(error, started, resumed)
            && attempt < self.timeouts.attempts;
        let pause = retry::pause(&self.timeouts, attempt, error.retry_after(), rng);
        again.then_some(pause)
    }
}
