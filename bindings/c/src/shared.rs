//! What the driver, the port and the hooks share: one [`Shared`] in each state, to which all of them have a reference.

use core::cell::{Cell, RefCell};
use core::ptr::NonNull;

use portable_atomic::{AtomicBool, Ordering};
use s3ota::Error;

use crate::codes;
use crate::source::Given;
use crate::types::{Hooks, Port, Release};

/// The port and the hooks of a state, what its driver tells them, and what they tell the driver.
///
/// Only the task inside a call on the state uses the cells: see `state.rs`. The flags may be set by anyone.
pub struct Shared {
    pub port: Port,
    pub hooks: Hooks,
    /// `s3ota_check_now` was called.
    pub check_now: AtomicBool,
    /// `s3ota_cancel` was called.
    pub cancel: AtomicBool,
    pub turn: Turn,
    /// The agent waits for its next check.
    pub is_idle: Cell<bool>,
    /// The hook `start` was called, and neither `stop` nor `complete`.
    pub has_started: Cell<bool>,
    /// The last reason to do nothing, or error, of the update under way.
    pub last: Cell<i32>,
    /// The last error of all.
    pub error: RefCell<Option<Error>>,
    /// Where `s3ota_check` wants what it finds.
    pub wanted: Cell<Option<NonNull<Release>>>,
    /// What `s3ota_install_from` was given.
    pub given: Cell<Option<Given>>,
}

/// One turn of an operation, or a pass of it.
pub struct Turn {
    /// The uptime at which the turn is over.
    pub until: Cell<u64>,
    /// For how long the next call of the network may wait.
    pub wait_ms: Cell<u32>,
    /// How many operations the turn has made.
    pub operations: Cell<u32>,
    /// Something was done, and there may be more to do.
    pub has_worked: Cell<bool>,
    /// The network had nothing yet.
    pub awaits_network: Cell<bool>,
    /// The earliest uptime that is waited for.
    pub wake: Cell<u64>,
}

impl Shared {
    pub const fn new(port: Port, hooks: Hooks) -> Self {
        Self {
            port,
            hooks,
            check_now: AtomicBool::new(false),
            cancel: AtomicBool::new(false),
            turn: Turn::new(),
            is_idle: Cell::new(false),
            has_started: Cell::new(false),
            last: Cell::new(codes::OK),
            error: RefCell::new(None),
            wanted: Cell::new(None),
            given: Cell::new(None),
        }
    }

    /// Whether somebody has cancelled since this was asked last.
    pub fn is_cancelled(&self) -> bool {
        take(&self.cancel)
    }

    /// Whether somebody wants a check since this was asked last.
    pub fn is_check_wanted(&self) -> bool {
        take(&self.check_now)
    }

    /// Keeps an error for `s3ota_error_text`. Its number.
    pub fn keep(&self, error: &Error) -> i32 {
        if let Ok(mut place) = self.error.try_borrow_mut() {
            *place = Some(error.clone());
        }
        codes::of_error(error)
    }

    /// Whether the turn's time is over. Its first operation is made all the same.
    pub fn is_turn_over(&self) -> bool {
        let turn = &self.turn;
        turn.operations.get() > 0
            && turn.until.get() != u64::MAX
            && self.uptime_ms() >= turn.until.get()
    }
}

/// Takes a flag that others set. What is set between the two steps is the same wish.
fn take(flag: &AtomicBool) -> bool {
    let is_set = flag.load(Ordering::Acquire);
    if is_set {
        flag.store(false, Ordering::Release);
    }
    is_set
}

impl Turn {
    const fn new() -> Self {
        Self {
            until: Cell::new(0),
            wait_ms: Cell::new(0),
            operations: Cell::new(0),
            has_worked: Cell::new(false),
            awaits_network: Cell::new(false),
            wake: Cell::new(u64::MAX),
        }
    }

    /// A turn begins that lasts until this uptime.
    pub fn begin(&self, until: u64) {
        self.until.set(until);
        self.operations.set(0);
    }

    /// A pass begins, in which one call of the network may wait so long.
    pub fn pass(&self, wait_ms: u32) {
        self.wait_ms.set(wait_ms);
        self.has_worked.set(false);
        self.awaits_network.set(false);
        self.wake.set(u64::MAX);
    }

    /// An operation of the port was made.
    pub fn count(&self) {
        self.operations.set(self.operations.get().saturating_add(1));
    }

    /// Nothing is to be done before this uptime.
    pub fn wait_until(&self, uptime: u64) {
        self.wake.set(self.wake.get().min(uptime));
    }
}
