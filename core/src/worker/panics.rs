//! Panics become errors, with their message and place.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::Error;

thread_local! {
    /// Where the last panic of this thread happened.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Remembers the place of each panic, and lets the hook before it print as ever. The place is known to the hook
/// alone. For the worker's own process: a host keeps its hooks.
pub(super) fn remember_places() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PLACE.with_borrow_mut(|place| *place = info.location().map(ToString::to_string));
        before(info);
    }));
}

/// A future whose panic is an `Err`.
pub(crate) struct CatchPanic<F>(Pin<Box<F>>);

impl<F: Future> CatchPanic<F> {
    pub(crate) fn new(future: F) -> Self {
        Self(Box::pin(future))
    }
}

impl<F: Future> Future for CatchPanic<F> {
    type Output = Result<F::Output, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(payload) => Poll::Ready(Err(error_of(payload.as_ref()))),
        }
    }
}

fn error_of(payload: &(dyn std::any::Any + Send)) -> Error {
    let said = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    match PLACE.with_borrow_mut(Option::take) {
        Some(place) => Error::internal(format!("panicked at {place}: {said}")),
        None => Error::internal(format!("panicked: {said}")),
    }
}
