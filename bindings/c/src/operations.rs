//! What a call sets going. Each operation is a future with one type of result, so that one driver serves all of them.

use s3ota::{Agent, Checked, Error, Installed, Outcome, Restart};

use crate::codes;
use crate::flash::Flash;
use crate::hooks::{self, Hooks};
use crate::network::Network;
use crate::shared::Shared;
use crate::source::Image;
use crate::time::{Clock, Random};

/// The library, on a port.
pub type Updates = Agent<'static, Flash<'static>, Network, Clock, Random>;

type Lent = &'static mut Updates;
type Around = &'static Shared;

/// The agent's loop, until a restart is due.
pub async fn look_after(updates: Lent, shared: Around) -> i32 {
    let mut hooks = Hooks(shared);
    let mut now = async || Idle::new(shared).until_wanted().await;
    match updates.until_restart(&mut hooks, &mut now).await {
        Restart::Installed(_) => codes::INSTALLED,
        _ => codes::TRIAL_OVER,
    }
}

/// The agent waits for its next check while there is one of these.
struct Idle(Around);

impl Idle {
    fn new(shared: Around) -> Self {
        shared.is_idle.set(true);
        Self(shared)
    }

    async fn until_wanted(self) {
        core::future::poll_fn(|_| match self.0.is_check_wanted() {
            true => core::task::Poll::Ready(()),
            false => core::task::Poll::Pending,
        })
        .await;
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.0.is_idle.set(false);
    }
}

/// What the agent does at each check.
pub async fn update(updates: Lent, shared: Around) -> i32 {
    shared.last.set(codes::OK);
    let mut hooks = Hooks(shared);
    if updates.once(&mut hooks).await.is_some() {
        return codes::INSTALLED;
    }
    match shared.last.get() {
        // It came to no decision: the trial goes on.
        codes::OK => codes::ON_TRIAL,
        result => result,
    }
}

pub async fn check(updates: Lent, shared: Around) -> i32 {
    match updates.updater().check().await {
        Ok(Checked::Available(available)) => {
            if let Some(place) = shared.wanted.get() {
                let size = available.size.unwrap_or(0);
                let found = hooks::release(size, &available.version.as_str());
                // SAFETY: `s3ota_check` has checked it, and waits for this.
                let place = unsafe { &mut *place.as_ptr() };
                place.image_size = found.image_size;
                place.version = found.version;
            }
            codes::AVAILABLE
        }
        Ok(Checked::NoUpdate(reason)) => codes::of_no_update(reason),
        Err(error) => shared.keep(&error),
    }
}

pub async fn install(updates: Lent, shared: Around) -> i32 {
    let result = updates.updater().install(&mut Hooks(shared)).await;
    outcome(result, shared)
}

pub async fn install_from(updates: Lent, shared: Around) -> i32 {
    let Some(given) = shared.given.take() else {
        return codes::ARGUMENT;
    };
    let image = Image::new(shared, given.source);
    let mut hooks = Hooks(shared);
    let installing = updates
        .updater()
        .install_from(given.manifest, image, &mut hooks);
    outcome(installing.await, shared)
}

fn outcome(result: Result<Outcome, Error>, shared: Around) -> i32 {
    match result {
        Ok(Outcome::Installed(Installed { .. })) => codes::INSTALLED,
        Ok(Outcome::NoUpdate(reason)) => codes::of_no_update(reason),
        Err(error) => shared.keep(&error),
    }
}

pub async fn prove(updates: Lent, shared: Around) -> i32 {
    match updates.updater().prove().await {
        Ok(()) => codes::OK,
        Err(error) => shared.keep(&error),
    }
}

pub async fn confirm(updates: Lent, shared: Around) -> i32 {
    match updates.updater().confirm().await {
        Ok(true) => codes::OK,
        Ok(false) => codes::CONFIRMED,
        Err(error) => shared.keep(&error),
    }
}

pub async fn roll_back(updates: Lent, shared: Around) -> i32 {
    match updates.updater().roll_back().await {
        Ok(()) => codes::OK,
        Err(error) => shared.keep(&error),
    }
}

pub async fn is_on_trial(updates: Lent, shared: Around) -> i32 {
    match updates.updater().is_on_trial().await {
        Ok(true) => codes::ON_TRIAL,
        Ok(false) => codes::CONFIRMED,
        Err(error) => shared.keep(&error),
    }
}

pub async fn end_trial_boot(updates: Lent, shared: Around) -> i32 {
    match updates.updater().end_trial_boot().await {
        Ok(()) => codes::OK,
        Err(error) => shared.keep(&error),
    }
}
