//! The end of a service, in the order that its callers need: not ready first, stopped later.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Error, Result};

use super::front::Ops;

impl Ops {
    /// `health.drain_seconds`: how long a service that is about to stop goes on serving.
    pub fn drain_delay(&self) -> Duration {
        Duration::try_from_secs_f64(self.context().settings.health.drain_seconds).unwrap_or_default()
    }

    /// Returns when the service is to stop: SIGTERM has come, and since then `/readyz` has said no for `health.drain_seconds`.
    /// A second SIGTERM ends the wait. `/livez` says `pass` all along.
    ///
    /// ```no_run
    /// # async fn example(ops: uplifted_ops::ops::Ops, serve: impl AsyncFnOnce(std::pin::Pin<Box<dyn Future<Output = ()> + Send>>)) {
    /// let ended = ops.terminated();
    /// serve(Box::pin(async { ended.await.unwrap_or_default() })).await; // axum: with_graceful_shutdown
    /// ops.close(std::time::Duration::from_secs(10)).await.ok();
    /// # }
    /// ```
    ///
    /// From this call on SIGTERM no longer ends the process by itself. What the host did with the signal before, or does through
    /// Tokio, goes on beside this.
    ///
    /// # Errors
    /// When signals cannot be listened to; [`ErrorKind::Refused`](crate::ErrorKind::Refused) in a forked child and once closed.
    pub fn terminated(&self) -> impl Future<Output = Result<()>> + Send + 'static {
        let listening = self.handle().and_then(|handle| {
            let _inside = handle.enter();
            let signals = signal(SignalKind::terminate()).map_err(|error| Error::io("listen for SIGTERM", error))?;
            let (send, receive) = tokio::sync::oneshot::channel();
            handle.spawn(drained(self.clone(), signals, send));
            Ok(receive)
        });
        async move {
            // Gone without a word: the `Ops` was closed, so the service is at its end.
            let _ = listening?.await;
            Ok(())
        }
    }
}

async fn drained(ops: Ops, mut signals: Signal, done: tokio::sync::oneshot::Sender<()>) {
    // An `Ops` that nobody else has is closed: to wait must not keep it.
    let (closing, delay) = (ops.closing(), ops.drain_delay());
    let context = std::sync::Arc::clone(ops.context());
    drop(ops);
    tokio::select! {
        () = closing.cancelled() => return,
        _ = signals.recv() => {}
    }
    context.watch.drain();
    tokio::select! {
        () = tokio::time::sleep(delay) => {}
        _ = signals.recv() => {}
    }
    let _ = done.send(());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{HealthState, Phase};

    fn raise() {
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM).unwrap();
    }

    // One test: a signal goes to all that listen in the process.
    #[tokio::test]
    async fn sigterm_is_not_ready_first_and_a_second_one_hurries() {
        let folder = tempfile::tempdir().unwrap();
        let ops = |seconds: f64| {
            let builder = Ops::builder().root(folder.path()).environment([]);
            builder.setting("health.drain_seconds", seconds).build().unwrap()
        };
        let (short, long, dropped) = (ops(0.0), ops(3600.0), ops(3600.0));
        let (first, second, third) = (short.terminated(), long.terminated(), dropped.terminated());
        drop(dropped);
        third.await.unwrap();
        raise();
        first.await.unwrap();
        let watch = &long.context().watch;
        while watch.phase() != Phase::Draining {
            tokio::task::yield_now().await;
        }
        assert_eq!(watch.ready(Duration::ZERO).status, HealthState::Fail);
        let mut second = std::pin::pin!(second);
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut second).await.is_err());
        raise();
        tokio::time::timeout(Duration::from_secs(30), second).await.unwrap().unwrap();
        long.close(Duration::from_secs(10)).await.unwrap();
        assert!(long.terminated().await.is_err());
    }
}
