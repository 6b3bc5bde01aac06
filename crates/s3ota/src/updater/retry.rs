//! Attempt after attempt, until an update is made or it is of no use.

use core::time::Duration;

use edge_nal::{Dns, TcpConnect};
use rand_core::{CryptoRng, RngCore};

use crate::apart::apart;
use crate::config::Timeouts;
use crate::device::{Clock, Flash};
use crate::error::{Error, HttpError};
use crate::hooks::{Hooks, Watched};
use crate::outcome::Outcome;
use crate::updater::Updater;

impl<F, N, C, R> Updater<'_, F, N, C, R>
where
    F: Flash,
    N: TcpConnect + Dns,
    C: Clock,
    R: CryptoRng + RngCore,
{
    /// Makes attempts until one succeeds, the next would be of no use, or the time is over.
    pub(super) async fn attempts(&mut self, hooks: &mut dyn Hooks) -> Result<Outcome, Error> {
        let began = self.device.clock.uptime();
        let mut attempt = 1;
        let mut reached = 0;
        loop {
            let mut watched = Watched::new(&mut *hooks);
            let result = loop {
                let left = self.left_since(began);
                let result = apart!(self.attempt(&mut watched, left));
                if !self.has_another_way(&result, &watched) {
                    break result;
                }
            };
            let Watched {
                started, resumed, ..
            } = watched;
            self.half_done = self.is_left_half_done(&result, &watched);
            // Attempts are counted while nothing gets better: a line that breaks after every 100 KB does in the end.
            if resumed > reached {
                reached = resumed;
                attempt = 1;
            }
            let error = match result {
                Ok(outcome) => {
                    self.tell(&outcome, hooks);
                    return Ok(outcome);
                }
                Err(error) => error,
            };
            let left = self.left_since(began);
            let error = if left.is_zero() {
                Error::Deadline {
                    after: self.config.timeouts.deadline,
                }
            } else {
                error
            };
            let pause = self.pause(attempt, error.retry_after());
            let again = is_worth_another_attempt(&error, started, resumed)
                && (self.may_erase() || !matches!(error, Error::Image(_)))
                && attempt < self.config.timeouts.attempts
                && pause < left;
            hooks.on_error(&error, again.then_some(pause));
            if started {
                hooks.on_stop();
            }
            if !again {
                self.past.ended(&self.offered, Err(&error));
                error!("update failed: {}", error);
                return Err(error);
            }
            warn!(
                "attempt {} failed, again in {} s: {}",
                attempt,
                pause.as_secs(),
                error
            );
            apart!(self.device.clock.sleep(pause));
            attempt = attempt.saturating_add(1);
        }
    }

    /// What is left of the time for the whole update.
    fn left_since(&self, began: Duration) -> Duration {
        let spent = self.device.clock.uptime().saturating_sub(began);
        self.config.timeouts.deadline.saturating_sub(spent)
    }

    /// Whether an image could be begun now.
    fn may_erase(&self) -> bool {
        self.known.is_blank() || self.wear.rest(self.device.clock.since_power_on()).is_zero()
    }

    fn pause(&mut self, attempt: u8, retry_after: Option<Duration>) -> Duration {
        let timeouts = &self.config.timeouts;
        pause(timeouts, attempt, retry_after, &mut self.device.rng)
    }
}

impl<F, N, C, R> Updater<'_, F, N, C, R> {
    /// Ends an update of one attempt.
    pub(super) fn settle(
        &mut self,
        result: Result<Outcome, Error>,
        watched: Watched<'_>,
    ) -> Result<Outcome, Error> {
        self.half_done = self.is_left_half_done(&result, &watched);
        let Watched { hooks, started, .. } = watched;
        match &result {
            Ok(outcome) => self.tell(outcome, hooks),
            Err(error) => {
                self.past.ended(&self.offered, Err(error));
                error!("update failed: {}", error);
                hooks.on_error(error, None);
                if started {
                    hooks.on_stop();
                }
            }
        }
        result
    }

    /// Tells the application of what an update came to, and notes it.
    fn tell(&mut self, outcome: &Outcome, hooks: &mut dyn Hooks) {
        let reason = match outcome {
            Outcome::Installed(installed) => {
                hooks.on_complete(installed);
                None
            }
            Outcome::NoUpdate(reason) => {
                info!("no update: {:?}", reason);
                hooks.on_no_update(*reason);
                Some(*reason)
            }
        };
        self.past.ended(&self.offered, Ok(reason));
    }

    /// Whether there is another way to the image after this result, to be tried at once.
    fn has_another_way(&mut self, result: &Result<Outcome, Error>, watched: &Watched<'_>) -> bool {
        #[cfg(feature = "delta")]
        if let Err(error) = result {
            let progress = watched.written > watched.resumed;
            let other = self.ways.has_another(error, progress);
            if other {
                warn!("another way to the image, at once: {}", error);
            }
            return other;
        }
        let _ = (result, watched);
        false
    }

    /// Whether an attempt has left a part of an image on flash that the next one goes on with.
    fn is_left_half_done(&self, result: &Result<Outcome, Error>, watched: &Watched<'_>) -> bool {
        match result {
            Ok(_) | Err(Error::Image(_)) => false,
            Err(_) => self.half_done || watched.written.max(watched.resumed) > 0,
        }
    }
}

/// The pause after attempt number `attempt`: random, up to a bound that doubles, so that devices which lost the same
/// server do not come back together. What the server asked for comes before it, because it asks all of them for the
/// same.
pub(crate) fn pause(
    timeouts: &Timeouts,
    attempt: u8,
    retry_after: Option<Duration>,
    rng: &mut impl RngCore,
) -> Duration {
    let doubled = 1u32
        .checked_shl(u32::from(attempt.saturating_sub(1)))
        .unwrap_or(u32::MAX);
    let bound = timeouts
        .first_pause
        .saturating_mul(doubled)
        .min(timeouts.longest_pause);
    let asked = retry_after.unwrap_or_default().min(timeouts.longest_pause);
    asked.saturating_add(share(bound, rng))
}

/// Whether an update that failed so may do better from the manifest on.
pub(crate) fn is_worth_another_attempt(error: &Error, started: bool, resumed: u32) -> bool {
    match error {
        // The manifest was good, so the image's URL may have been signed for a time that is over.
        Error::Http(HttpError::Status { status: 403, .. }) => started,
        // What came before the cut may be what is wrong with it. It is erased by now.
        Error::Image(_) => resumed > 0,
        error => error.is_transient(),
    }
}

/// A random part of a time, between nothing and all of it.
pub(crate) fn share(of: Duration, rng: &mut impl RngCore) -> Duration {
    of.saturating_mul(rng.next_u32()) / u32::MAX
}
