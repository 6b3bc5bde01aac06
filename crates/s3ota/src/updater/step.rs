//! A way to less stack, for a function that awaits much.
//!
//! [`apart!`](crate::apart::apart) and [`ok!`](crate::apart::ok) in one. The compiler keeps room on the caller's stack for each error
//! that it may pass on, a hundred bytes each time: an attempt had more than a thousand of them below everything it does.

use core::pin::Pin;
use core::task::{Context, Poll};

use crate::error::Error;

/// Awaits a future in a function of its own, and returns its error, which all steps of the caller share in `$failure`.
macro_rules! step {
    ($failure:ident, $future:expr) => {{
        let mut future = core::pin::pin!($future);
        let step = core::future::poll_fn(|context| {
            crate::updater::step::poll_step(future.as_mut(), context, &mut $failure)
        });
        match step.await {
            Some(value) => value,
            None => return crate::updater::step::failed(&mut $failure),
        }
    }};
}
pub(crate) use step;

/// `None` once the future has failed.
#[inline(never)]
pub(crate) fn poll_step<T, E, F: Future<Output = Result<T, E>>>(
    future: Pin<&mut F>,
    context: &mut Context<'_>,
    failure: &mut Option<E>,
) -> Poll<Option<T>> {
    match future.poll(context) {
        Poll::Pending => Poll::Pending,
        Poll::Ready(Ok(value)) => Poll::Ready(Some(value)),
        Poll::Ready(Err(error)) => {
            *failure = Some(error);
            Poll::Ready(None)
        }
    }
}

#[inline(never)]
pub(crate) fn failed<T>(failure: &mut Option<Error>) -> Result<T, Error> {
    // It is there: the step that failed has left it.
    Err(failure.take().unwrap_or(Error::ConnectionClosed))
}
