//! Calls that block, and may block for ever, kept off the runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};

/// One call at a time on a thread of its own.
///
/// `statvfs` on a dead network mount, or a resolver without an answer, cannot be stopped from outside. The
/// thread is not one of the runtime's, so that it holds up neither other work nor the end of the process; and
/// while it is stuck no second one is started, so that a broken mount costs one thread and not one each minute.
#[derive(Debug, Default)]
pub struct Blocking {
    running: Arc<AtomicBool>,
}

/// Lowers the flag when the call ends, also when it panics.
struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Blocking {
    /// Runs `call`, and waits for it or for `scope.cancel`.
    ///
    /// # Errors
    /// [`Busy`](ErrorKind::Busy) while an earlier call has not returned, [`Cancelled`](ErrorKind::Cancelled) when
    /// the caller gave up (the call goes on), and what `call` returns.
    pub async fn run<T: Send + 'static>(
        &self,
        scope: &Scope,
        call: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        scope.cancel.check()?;
        if self.running.swap(true, Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Busy, "an earlier call has not returned")
                .with_hint("look for a dead network mount or a resolver that does not answer"));
        }
        let running = Running(Arc::clone(&self.running));
        let (send, receive) = oneshot::channel();
        std::thread::Builder::new()
            .name("ops-check".to_owned())
            .spawn(move || {
                let result = call();
                // Lowered before the result is seen, so that the next call finds it lowered.
                drop(running);
                let _ = send.send(result);
            })
            .map_err(|error| Error::io("start a thread", error))?;
        tokio::select! {
            // A result that is there is better than a cancel at the same moment.
            biased;
            result = receive => result.unwrap_or_else(|_| Err(Error::internal("a call of a check panicked"))),
            () = scope.cancel.cancelled() => Err(scope.cancel.check().err().unwrap_or_else(|| Error::internal("cancelled"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_stuck_call_is_left_behind_and_not_started_twice() {
        let (blocking, scope) = (Blocking::default(), Scope::default());
        let (release, stuck) = mpsc::channel::<()>();
        let (ended, end) = mpsc::channel::<()>();
        let cancel = scope.cancel.clone();
        let call = blocking.run(&scope, move || {
            cancel.cancel();
            let _ = stuck.recv();
            drop(ended);
            Ok(())
        });
        assert_eq!(call.await.unwrap_err().kind(), ErrorKind::Cancelled);
        let again = blocking.run(&Scope::default(), || Ok(())).await;
        assert_eq!(again.unwrap_err().kind(), ErrorKind::Busy);
        release.send(()).unwrap();
        assert!(end.recv().is_err());
        while blocking.running.load(Ordering::Acquire) {
            tokio::task::yield_now().await;
        }
        assert_eq!(blocking.run(&Scope::default(), || Ok(7)).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_frees_the_place() {
        let (blocking, scope) = (Blocking::default(), Scope::default());
        let error = blocking.run::<()>(&scope, || panic!("on purpose")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(blocking.run(&scope, || Ok(())).await.is_ok());
    }
}
