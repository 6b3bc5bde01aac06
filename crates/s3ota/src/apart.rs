//! Two ways to less program memory.
//!
//! The compiler moves what is called in a single place there, however large; futures too. A whole update would become one
//! function whose locals and states lie so far apart that RISC-V needs three instructions for each access instead of one:
//! an access reaches 2 KiB. With its futures [apart](apart!) the same code takes a third less flash.
//!
//! And it takes an error to pieces wherever `?` passes it on: a hundred bytes each time. [`ok!`] leaves it whole.

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

/// What `?` does, in little code: the value of a result, or the caller returns its error.
macro_rules! ok {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => return crate::apart::fail(error),
        }
    };
}
pub(crate) use ok;

#[inline(never)]
pub(crate) fn fail<T, E: From<X>, X>(error: X) -> Result<T, E> {
    Err(error.into())
}
