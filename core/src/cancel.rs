//! Cancellation and progress: what a caller and a long piece of work say to each other.
//!
//! Both travel in a [`Scope`], the one argument that every contract method and engine takes beside its
//! own.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};

/// A flag that the caller raises and the work looks at. Clones share it.
#[derive(Clone, Default)]
pub struct Cancel(Arc<CancelState>);

#[derive(Default)]
struct CancelState {
    raised: AtomicBool,
    notify: Notify,
}

impl Cancel {
    /// A token that nobody has cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the work to stop. Calling it again changes nothing.
    pub fn cancel(&self) {
        self.0.raised.store(true, Ordering::SeqCst);
        self.0.notify.notify_waiters();
    }

    /// Whether somebody has asked.
    pub fn is_cancelled(&self) -> bool {
        self.0.raised.load(Ordering::SeqCst)
    }

    /// The [`ErrorKind::Cancelled`] error if somebody has asked: `scope.cancel.check()?` in every loop.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::new(ErrorKind::Cancelled, "cancelled by the caller")) } else { Ok(()) }
    }

    /// Returns when somebody asks.
    pub async fn cancelled(&self) {
        loop {
            // Registered before the flag is read, so that a cancel between the two is not missed.
            let mut notified = std::pin::pin!(self.0.notify.notified());
            notified.as_mut().enable();
            if self.is_cancelled() {
                return;
            }
            notified.await;
        }
    }
}

/// Cancels when dropped: how the work of a future that its caller drops is told to stop.
#[derive(Debug)]
pub struct CancelOnDrop(Cancel);

impl CancelOnDrop {
    /// Raises `cancel` when this is dropped.
    pub fn new(cancel: &Cancel) -> Self {
        Self(cancel.clone())
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancel").field(&self.is_cancelled()).finish()
    }
}

/// How far a piece of work has come. Counts only grow within a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProgressEvent {
    /// What is being done, as a person would say it: `copying database main`.
    pub stage: String,
    /// Bytes done in this stage.
    pub done_bytes: u64,
    /// Bytes that this stage will do, when known.
    pub total_bytes: Option<u64>,
    /// Files done in this stage.
    pub done_files: u64,
    /// Files that this stage will do, when known.
    pub total_files: Option<u64>,
    /// While true the work is inside a step that must not be interrupted; a cancel waits.
    #[serde(default)]
    pub uninterruptible: bool,
}

/// Where progress goes. Cheap to clone; does nothing by default.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<dyn Fn(ProgressEvent) + Send + Sync>>);

impl Progress {
    /// Calls `sink` with every event, on whichever thread reports it: `sink` must be quick.
    pub fn new(sink: impl Fn(ProgressEvent) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(sink)))
    }

    /// Reports an event.
    pub fn report(&self, event: ProgressEvent) {
        if let Some(sink) = &self.0 {
            sink(event);
        }
    }

    /// Reports the start of a stage about which no counts are known.
    pub fn stage(&self, stage: impl Into<String>) {
        self.report(ProgressEvent {
            stage: stage.into(),
            done_bytes: 0,
            total_bytes: None,
            done_files: 0,
            total_files: None,
            uninterruptible: false,
        });
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Progress").field(&self.0.is_some()).finish()
    }
}

/// What surrounds a piece of work: its clock, its cancellation, its progress.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Where the work takes time from.
    pub clock: Arc<dyn Clock>,
    /// How the caller stops it.
    pub cancel: Cancel,
    /// Where it says how far it is.
    pub progress: Progress,
}

impl Scope {
    /// The same where a cancel changes nothing: for what must be cleaned up also after one.
    pub(crate) fn uncancelled(&self) -> Self {
        Self { cancel: Cancel::new(), ..self.clone() }
    }
}

impl Default for Scope {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), cancel: Cancel::new(), progress: Progress::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn cancelled_returns_for_waiters_before_and_after() {
        let cancel = Cancel::new();
        let waiter = tokio::spawn({
            let cancel = cancel.clone();
            async move { cancel.cancelled().await }
        });
        tokio::task::yield_now().await;
        cancel.cancel();
        waiter.await.unwrap();
        cancel.cancelled().await;
        assert_eq!(cancel.check().unwrap_err().kind(), ErrorKind::Cancelled);
    }
}
