//! Keeps functions apart that the compiler would make one.
//!
//! What is called in a single place is moved there, be it ever so large; futures too. A whole update would become one
//! function whose locals and states lie so far apart that RISC-V needs three instructions for each access instead of
//! one: it reaches 2 KiB. In pieces the same code takes a third less flash.

use core::pin::Pin;
use core::task::{Context, Poll};

/// Awaits a future in a function of its own.
macro_rules! apart {
    ($future:expr) => {{
        let mut future = core::pin::pin!($future);
        core::future::poll_fn(|context| crate::apart::poll(future.as_mut(), context)).await
    }};
}
pub(crate) use apart;

#[inline(never)]
pub(crate) fn poll<F: Future>(future: Pin<&mut F>, context: &mut Context<'_>) -> Poll<F::Output> {
    future.poll(context)
}
