//! [`Ops`] for hosts without `async`.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use serde_json::Value;

use crate::cancel::Scope;
use crate::error::Result;

use super::front::{Ops, from_answer, to_value};
use super::operation::{Answer, Operation};

/// [`Ops`] whose calls return when they are done. They block the thread, whatever it is: inside an async
/// runtime use [`Ops`] itself.
#[derive(Debug, Clone)]
pub struct Blocking(Ops);

impl Blocking {
    pub(super) fn new(ops: Ops) -> Self {
        Self(ops)
    }

    /// As [`Ops::call`].
    ///
    /// # Errors
    /// As [`Ops::call`].
    pub fn call(&self, scope: Scope, name: &str, request: Value) -> Result<Answer> {
        wait(self.0.call(scope, name, request))
    }

    /// As [`Ops::close`].
    ///
    /// # Errors
    /// As [`Ops::close`].
    pub fn close(&self, patience: Duration) -> Result<()> {
        wait(self.0.close(patience))
    }

    /// As [`Ops::run`].
    ///
    /// # Errors
    /// As [`Ops::call`].
    pub fn run<O: Operation>(&self, scope: Scope, request: O::Request) -> Result<O::Response> {
        from_answer::<O>(self.call(scope, O::NAME, to_value::<O>(&request)?)?)
    }
}

/// Waits on this thread for a future that needs no executor.
fn wait<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
