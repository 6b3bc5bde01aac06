//! What lies in the caller's memory, and who may use it.
//!
//! A state is used by one call at a time. [`Entered`] is the proof of that, and everything but the three flags that others may set
//! is reached through it.
//!
//! An operation is a future. It lies in the state, too, and may outlive the call that began it: the agent's loop goes on at the
//! next `s3ota_poll`. There is at most one.

use core::cell::{Cell, UnsafeCell};
use core::ffi::c_void;
use core::mem::{MaybeUninit, align_of, size_of};
use core::pin::Pin;
use core::ptr::{self, NonNull};

use portable_atomic::{AtomicBool, AtomicU32, Ordering};
use s3ota::{Agent, Device, Schedule, Updater, Workspace};

use crate::config::{self, Parts};
use crate::flash::Flash;
use crate::network::Network;
use crate::operations::{self, Updates};
use crate::shared::Shared;
use crate::time::{Clock, Random};
use crate::turns::{self, End, Operation};
use crate::{codes, types};

/// In a state's first word while it is one.
const MAGIC: u32 = u32::from_le_bytes(*b"s3st");

/// A function that makes an operation.
pub type Begin<F> = fn(&'static mut Updates, &'static Shared) -> F;

/// Bytes of the future that a function makes.
const fn size<F>(_: Begin<F>) -> usize {
    size_of::<F>()
}

/// Bytes of the largest operation.
const SLOT: usize = {
    let sizes = [
        size(operations::look_after),
        size(operations::update),
        size(operations::check),
        size(operations::install),
        size(operations::install_from),
        size(operations::prove),
        size(operations::confirm),
        size(operations::roll_back),
        size(operations::is_on_trial),
        size(operations::end_trial_boot),
    ];
    let (mut largest, mut at) = (0, 0);
    while at < sizes.len() {
        if sizes[at] > largest {
            largest = sizes[at];
        }
        at += 1;
    }
    largest
};

/// Where an operation lies.
#[repr(C, align(8))]
struct Slot([MaybeUninit<u8>; SLOT]);

/// A state: `s3ota_state` of the header.
#[repr(C)]
pub struct State {
    magic: AtomicU32,
    is_busy: AtomicBool,
    shared: Shared,
    /// `look_after` is the operation.
    is_agent: Cell<bool>,
    /// The restart that is due, or 0.
    restart: Cell<i32>,
    operation: Cell<Option<NonNull<Operation>>>,
    parts: UnsafeCell<Parts>,
    updates: UnsafeCell<MaybeUninit<Updates>>,
    workspace: UnsafeCell<MaybeUninit<Workspace>>,
    slot: UnsafeCell<Slot>,
}

/// Bytes of a state, and their alignment.
pub const SIZE: usize = size_of::<State>();
pub const ALIGN: usize = align_of::<State>();

impl State {
    /// Makes a state. It refers to itself, so it stays where it is.
    ///
    /// # Safety
    ///
    /// `memory` has `SIZE` bytes that are nobody else's until `end`, and is aligned to `ALIGN`. What the configuration points to
    /// is as the header says.
    pub unsafe fn init(
        memory: *mut c_void,
        given: &types::Config,
        port: types::Port,
        hooks: types::Hooks,
    ) -> Result<*mut Self, i32> {
        let place = memory.cast::<Self>();
        // SAFETY: all of it is in the memory, and written before it is read. The workspace is numbers and arrays of
        // numbers, whose initial values are 0 (which a test compares with `Workspace::new`), and is zeroed in place: it is
        // too large for a stack. The slot holds nothing yet.
        let state: &'static Self = unsafe {
            (&raw mut (*place).magic).write(AtomicU32::new(0));
            (&raw mut (*place).is_busy).write(AtomicBool::new(true));
            (&raw mut (*place).shared).write(Shared::new(port, hooks));
            (&raw mut (*place).is_agent).write(Cell::new(false));
            (&raw mut (*place).restart).write(Cell::new(codes::OK));
            (&raw mut (*place).operation).write(Cell::new(None));
            (&raw mut (*place).parts).write(UnsafeCell::new(Parts::new()));
            ptr::write_bytes(&raw mut (*place).workspace, 0, 1);
            &*place
        };
        // SAFETY: the only references to the parts, and shared ones from here on.
        let parts: &'static Parts = unsafe {
            (*state.parts.get()).read(given)?;
            (*state.parts.get()).read_headers(given)?
        };
        let schedule = config::schedule(given)?;
        // SAFETY: the configuration is as the header says; the updates are written once, here.
        unsafe { state.write_updates(given, parts, schedule)? };
        state.magic.store(MAGIC, Ordering::Relaxed);
        state.is_busy.store(false, Ordering::Release);
        Ok(place)
    }

    /// # Safety
    ///
    /// As [`init`](Self::init), which calls it once.
    #[inline(never)]
    unsafe fn write_updates(
        &'static self,
        given: &types::Config,
        parts: &'static Parts,
        schedule: Schedule,
    ) -> Result<(), i32> {
        // SAFETY: the configuration is as the header says.
        let config = unsafe { config::library(given, parts)? };
        let shared = &self.shared;
        let device = Device {
            flash: Flash::of(shared),
            running: shared.port.running,
            network: Network(shared),
            clock: Clock(shared),
            rng: Random(shared),
        };
        // SAFETY: the only reference to the workspace, whose bytes are zero: see `init`.
        let workspace = unsafe { (*self.workspace.get()).assume_init_mut() };
        let updates = Agent::new(Updater::new(config, device, workspace), schedule);
        // SAFETY: nobody refers to it yet.
        unsafe { (*self.updates.get()).write(updates) };
        Ok(())
    }

    /// Sets a wish, which needs no turn of one's own.
    ///
    /// # Safety
    ///
    /// `state` is null, or was made by `init` and not ended.
    pub unsafe fn wish(state: *mut Self, flag: impl FnOnce(&Shared) -> &AtomicBool) {
        // SAFETY: as above.
        if let Some(state) = unsafe { state.as_ref() }
            && state.magic.load(Ordering::Relaxed) == MAGIC
        {
            flag(&state.shared).store(true, Ordering::Release);
        }
    }
}

/// A state that is used by this call alone.
pub struct Entered(&'static State);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.is_busy.store(false, Ordering::Release);
    }
}

impl Entered {
    /// Enters a state, unless somebody else is inside.
    ///
    /// # Safety
    ///
    /// `state` is null, or memory that `init` has made a state of, ended or not.
    pub unsafe fn new(state: *mut State) -> Result<Self, i32> {
        if state.is_null() || !state.is_aligned() {
            return Err(codes::STATE);
        }
        // SAFETY: the memory is as above; what the reference leads to is behind atomics and cells.
        let state: &'static State = unsafe { &*state };
        if state.magic.load(Ordering::Relaxed) != MAGIC {
            return Err(codes::STATE);
        }
        if state.is_busy.swap(true, Ordering::Acquire) {
            return Err(codes::BUSY);
        }
        Ok(Self(state))
    }

    pub fn shared(&self) -> &'static Shared {
        &self.0.shared
    }

    /// Ends the state.
    pub fn end(self) {
        self.drop_operation();
        // SAFETY: it was written in `init`, no operation refers to it any more, and the magic keeps later calls away.
        unsafe { (*self.0.updates.get()).assume_init_drop() };
        self.0.magic.store(0, Ordering::Relaxed);
    }

    /// The library, while no operation has it.
    pub fn updates(&mut self) -> Result<&mut Updates, i32> {
        self.make_room()?;
        // SAFETY: it was written in `init`; the only operation is gone, and this call alone uses the state.
        Ok(unsafe { (*self.0.updates.get()).assume_init_mut() })
    }

    /// Runs an operation to its end.
    pub fn run<F>(&mut self, begin: Begin<F>) -> i32
    where
        F: Future<Output = i32> + 'static,
    {
        if let Err(busy) = self.make_room() {
            return busy;
        }
        let operation = self.begin(begin);
        let end = turns::to_the_end(self.shared(), operation);
        self.drop_operation();
        match end {
            End::Done(result) => result,
            _ => self.cancelled(),
        }
    }

    /// A turn of the agent. Without a budget it lasts to the end.
    pub fn run_agent(&mut self, budget_ms: Option<u32>) -> i32 {
        let due = self.0.restart.get();
        if due != codes::OK {
            return due;
        }
        let operation = match self.0.operation.get() {
            Some(mut operation) if self.0.is_agent.get() => {
                // SAFETY: it lies in the slot, which stays where it is, and nobody else refers to it: this call alone
                // uses the state.
                unsafe { Pin::new_unchecked(operation.as_mut()) }
            }
            _ => {
                self.drop_operation();
                let operation = self.begin(operations::look_after);
                self.0.is_agent.set(true);
                operation
            }
        };
        let end = match budget_ms {
            Some(budget_ms) => turns::for_a_while(self.shared(), operation, budget_ms),
            None => turns::to_the_end(self.shared(), operation),
        };
        match end {
            End::Working => {
                self.shared().turn.wake.set(0);
                codes::WORKING
            }
            End::Waiting => codes::WAITING,
            End::Done(why) => {
                self.drop_operation();
                self.0.restart.set(why);
                self.shared().before_restart(why);
                why
            }
            End::Cancelled => {
                self.drop_operation();
                self.cancelled()
            }
        }
    }

    /// How long the agent has nothing to do.
    pub fn idle_ms(&self) -> u32 {
        let shared = self.shared();
        let is_wanted = shared.is_idle.get() && shared.check_now.load(Ordering::Relaxed);
        if !self.0.is_agent.get() || is_wanted {
            return 0;
        }
        let left = shared.turn.wake.get().saturating_sub(shared.uptime_ms());
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// Drops the agent's loop if it only waits. The agent keeps the schedule.
    fn make_room(&mut self) -> Result<(), i32> {
        if self.0.operation.get().is_some() && !self.shared().is_idle.get() {
            return Err(codes::BUSY);
        }
        self.drop_operation();
        Ok(())
    }

    /// Puts an operation into the slot, which is empty.
    #[inline(never)]
    fn begin<F>(&mut self, begin: Begin<F>) -> Pin<&'static mut Operation>
    where
        F: Future<Output = i32> + 'static,
    {
        const {
            assert!(
                size_of::<F>() <= SLOT,
                "an operation that is not in SLOT's list"
            );
            assert!(align_of::<F>() <= align_of::<Slot>());
        }
        let slot = self.0.slot.get().cast::<F>();
        // SAFETY: the slot has room for the operation, which the assertions above check. The updates were written in `init`, and with the slot empty nobody refers to them. The
        // operation stays there until it is dropped there.
        unsafe {
            let updates = (*self.0.updates.get()).assume_init_mut();
            slot.write(begin(updates, self.shared()));
            let operation: &'static mut Operation = &mut *slot;
            self.0.operation.set(Some(NonNull::from_mut(operation)));
            Pin::new_unchecked(operation)
        }
    }

    fn drop_operation(&self) {
        self.0.is_agent.set(false);
        if let Some(operation) = self.0.operation.take() {
            // SAFETY: it lies in the slot, and is forgotten with this.
            unsafe { operation.drop_in_place() };
        }
    }

    /// What is left to do after an operation was dropped on its way.
    fn cancelled(&self) -> i32 {
        self.shared().stop();
        codes::CANCELLED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_workspace_is_zero() {
        // Made by the compiler, which leaves no byte of a static to chance: what is empty is zero in it.
        static WORKSPACE: Workspace = Workspace::new();
        // SAFETY: it is as long as that, and a static, all of which is in the program's image.
        let bytes = unsafe {
            core::slice::from_raw_parts((&raw const WORKSPACE).cast::<u8>(), size_of::<Workspace>())
        };
        assert!(bytes.iter().all(|byte| *byte == 0));
    }
}
