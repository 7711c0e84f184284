//! Work of the engine on a thread that may block, stopped within a tenth of a second.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, InterruptHandle};

use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};

/// One piece of blocking work: its scope, and how to interrupt the statement that it runs.
#[derive(Clone)]
pub(super) struct Task {
    pub(super) scope: Scope,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Nobody waits for the result any more: the future was dropped.
    abandoned: AtomicBool,
    running: Mutex<Option<InterruptHandle>>,
}

impl Task {
    /// For a thread of its own, which ends when `scope` is cancelled.
    pub(super) fn alone(scope: Scope) -> Self {
        Self { scope, shared: Arc::default() }
    }

    /// The [`ErrorKind::Cancelled`] error when the caller has cancelled or gone away: in every loop.
    pub(super) fn check(&self) -> Result<()> {
        if self.shared.abandoned.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Cancelled, "cancelled: nobody waits for the result"));
        }
        self.scope.cancel.check()
    }

    /// Lets a cancel interrupt what `connection` runs from now on.
    pub(super) fn watch(&self, connection: &Connection) {
        *self.shared.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.get_interrupt_handle());
    }
}

impl Shared {
    fn interrupt(&self) {
        if let Some(handle) = &*self.running.lock().unwrap_or_else(PoisonError::into_inner) {
            handle.interrupt();
        }
    }
}

/// Stops the work when the future that waits for it is dropped.
struct Waiting(Arc<Shared>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.abandoned.store(true, Ordering::SeqCst);
        self.0.interrupt();
    }
}

/// Runs `work` on a blocking thread and returns its result. Always waits for it to end, cancelled or not, so that
/// nothing still runs when the caller cleans up.
pub(super) async fn run<T: Send + 'static>(
    scope: &Scope,
    work: impl FnOnce(&Task) -> Result<T> + Send + 'static,
) -> Result<T> {
    scope.cancel.check()?;
    let shared = Arc::new(Shared::default());
    let _waiting = Waiting(Arc::clone(&shared));
    let task = Task { scope: scope.clone(), shared: Arc::clone(&shared) };
    let mut running = tokio::task::spawn_blocking(move || work(&task));
    let ended = tokio::select! {
        ended = &mut running => ended,
        () = scope.cancel.cancelled() => loop {
            // Again and again: an interrupt ends the statements that run now, not the one that starts next.
            shared.interrupt();
            tokio::select! {
                ended = &mut running => break ended,
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
        },
    };
    ended.unwrap_or_else(|error| Err(Error::internal(format!("the SQLite store's thread ended early: {error}"))))
}
