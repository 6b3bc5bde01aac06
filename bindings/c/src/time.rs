//! The port's clocks and its randomness, behind the library's traits.

use core::future::{Future, poll_fn};
use core::task::Poll;
use core::time::Duration;

use rand_core::{CryptoRng, RngCore};

use crate::shared::Shared;

impl Shared {
    /// The port's uptime.
    pub fn uptime_ms(&self) -> u64 {
        match self.port.uptime_ms {
            // SAFETY: the caller's function, with its `ctx`.
            Some(uptime) => unsafe { uptime(self.port.ctx) },
            None => 0,
        }
    }

    /// Lets other tasks run.
    pub fn sleep_ms(&self, ms: u32) {
        if let Some(sleep) = self.port.sleep_ms {
            // SAFETY: the caller's function, with its `ctx`.
            unsafe { sleep(self.port.ctx, ms) };
        }
    }
}

/// Milliseconds of a time. The longest that can be told is long enough.
fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The clocks of a state.
#[derive(Clone, Copy)]
pub struct Clock(pub &'static Shared);

impl s3ota::Clock for Clock {
    fn uptime(&self) -> Duration {
        Duration::from_millis(self.0.uptime_ms())
    }

    fn since_power_on(&self) -> Duration {
        match self.0.port.since_power_on_ms {
            // SAFETY: the caller's function, with its `ctx`.
            Some(since) => Duration::from_millis(unsafe { since(self.0.port.ctx) }),
            None => self.uptime(),
        }
    }

    fn unix_time(&self) -> Option<u64> {
        let unix_time = self.0.port.unix_time?;
        // SAFETY: the caller's function, with its `ctx`.
        u64::try_from(unsafe { unix_time(self.0.port.ctx) }).ok()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> {
        let shared = self.0;
        let end = shared.uptime_ms().saturating_add(ms(duration));
        poll_fn(move |_| {
            if shared.uptime_ms() >= end {
                return Poll::Ready(());
            }
            shared.turn.wait_until(end);
            Poll::Pending
        })
    }
}

/// The randomness of a state.
pub struct Random(pub &'static Shared);

impl CryptoRng for Random {}

impl RngCore for Random {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        let Some(random) = self.0.port.random else {
            return;
        };
        // No chip has memory for more at once.
        for chunk in bytes.chunks_mut(u16::MAX as usize) {
            // SAFETY: the caller's function, with its `ctx`; the chunk is writable, and as long.
            unsafe {
                random(
                    self.0.port.ctx,
                    chunk.as_mut_ptr().cast(),
                    chunk.len() as u32,
                )
            };
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}
