//! How an operation is driven: until it is done, or until the time of a turn is over.
//!
//! The operation is a future. It is polled, and what it waited for is seen by what its parts left in [`Shared`]: the network, a
//! time, or nothing but its turn to go on. Only then does anything wait, for no longer than the next time that matters: the
//! end of the turn, or the earliest limit. So limits hold to the millisecond over a port that waits as long as it is allowed to.

use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use crate::shared::Shared;

/// An operation. It ends with a result.
pub type Operation = dyn Future<Output = i32>;

/// The longest wait of any kind, so that a wish is noticed soon.
const LONGEST_WAIT: u64 = 100;

/// How long nothing is asked of a port that does not wait, though it may.
const PAUSE: u32 = 10;

/// How a turn ended.
pub enum End {
    /// The operation is over, with this result.
    Done(i32),
    /// Somebody has cancelled.
    Cancelled,
    /// The time is over, and there is more to do.
    Working,
    /// There is nothing to do but wait for a time.
    Waiting,
}

/// A turn that blocks until the operation is over.
pub fn to_the_end(shared: &Shared, operation: Pin<&mut Operation>) -> End {
    turn(shared, operation, None)
}

/// A turn of so many milliseconds, which does not sleep.
pub fn for_a_while(shared: &Shared, operation: Pin<&mut Operation>, budget_ms: u32) -> End {
    turn(shared, operation, Some(budget_ms))
}

fn turn(shared: &Shared, mut operation: Pin<&mut Operation>, budget_ms: Option<u32>) -> End {
    let turn = &shared.turn;
    let until = match budget_ms {
        Some(ms) => shared.uptime_ms().saturating_add(ms.into()),
        None => u64::MAX,
    };
    turn.begin(until);
    let (mut wait_ms, mut asked_at) = (0, 0);
    loop {
        turn.pass(wait_ms);
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(result) = operation.as_mut().poll(&mut context) {
            return End::Done(result);
        }
        if shared.is_cancelled() {
            return End::Cancelled;
        }
        let now = shared.uptime_ms();
        if turn.has_worked.get() {
            if now >= until {
                return End::Working;
            }
            wait_ms = 0;
            continue;
        }
        let wake = turn.wake.get();
        if turn.awaits_network.get() {
            if now >= until {
                return End::Working;
            }
            // A port that has not waited, though it was allowed to, must not keep the processor busy.
            if wait_ms > 0 && now == asked_at {
                if budget_ms.is_some() {
                    return End::Working;
                }
                shared.sleep_ms(PAUSE);
            }
            wait_ms = until_then(now, until.min(wake));
            asked_at = now;
            continue;
        }
        wait_ms = 0;
        if wake <= now {
            continue;
        }
        if budget_ms.is_some() {
            return End::Waiting;
        }
        shared.sleep_ms(until_then(now, wake));
    }
}

fn until_then(now: u64, then: u64) -> u32 {
    u32::try_from(then.saturating_sub(now).min(LONGEST_WAIT)).unwrap_or(0)
}
