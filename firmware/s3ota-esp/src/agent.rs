//! The agent, the end of the trial, the restart.

use core::time::Duration;

use edge_nal::{Dns, TcpConnect};
use embassy_futures::select::select;
use embedded_storage_async::nor_flash::NorFlash;
use rand_core::{CryptoRng, RngCore};
use s3ota::manifest::Manifest;
use s3ota::{Agent, Clock as _, Error, Hooks, Installed, NoUpdate, Progress, Schedule, Updater};

use crate::{Clock, restart};

/// While the firmware is on trial the agent looks this often, not only by its schedule: the watchdog is waiting.
const ON_TRIAL: Duration = Duration::from_secs(60);

/// Keeps the device up to date: an [`Agent`] that restarts the chip into what it installed.
///
/// See [`Agent::run`] for `now`. It also ends the trial [`boot_guard`](crate::boot_guard) began, as soon as the agent has
/// confirmed the firmware; until then it looks once a minute. With `Confirm::ByApplication` call [`confirm`] before.
pub async fn run<F, N, R>(
    mut updater: Updater<'_, F, N, &'static Clock, R>,
    schedule: Schedule,
    hooks: &mut dyn Hooks,
    mut now: impl AsyncFnMut(),
) -> !
where
    F: NorFlash,
    N: TcpConnect + Dns,
    R: CryptoRng + RngCore,
{
    let clock = updater.device().clock;
    let mut hooks = EndOfTrial { hooks, clock };
    let soon = async || {
        if clock.is_trial() {
            select(now(), clock.sleep(ON_TRIAL)).await;
        } else {
            now().await;
        }
    };
    let installed = Agent::new(updater, schedule).run(&mut hooks, soon).await;
    log::info!("restarting into {}", installed.version);
    restart()
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

    fn on_resume(&mut self) {
        self.hooks.on_resume();
    }
}
