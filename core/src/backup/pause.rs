//! Pausing the service's writes for the moment in which the databases are copied.
//!
//! Each database is copied as it was at one moment, while the service writes. Several databases, and the files beside
//! them, are of one moment only when the service stands still meanwhile. It knows how: a [`PauseHook`] is its own code,
//! or two of its programs (`[backup.pause]`).
//!
//! What pauses must let go again, whatever happens. So a *keeper* task in the service's process holds the pause: it lets
//! go when the databases are copied, when whoever asked for the pause is gone (a cancel, a crash of the worker), and at
//! the latest when the deadline is over. A `before` that hangs past the deadline is followed by `after`, and by another
//! `after` should it come to its end later.

mod programs;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::cancel::{Cancel, Scope};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

pub use programs::PausePrograms;

/// The service's own way to stop writing for a moment. It lives in the service's process.
#[async_trait]
pub trait PauseHook: Send + Sync + Debug {
    /// Returns when nothing is being written any more, neither to a database nor to a file of the backup. Gives up when
    /// `scope.cancel` is raised.
    async fn before(&self, scope: &Scope) -> Result<()>;

    /// Lets writing go on. Called whatever became of `before`, also while it still hangs, and then once more; so it
    /// must do no harm where nothing is paused.
    async fn after(&self, scope: &Scope) -> Result<()>;
}

/// Hooks by name, in the order in which they pause; they let go in the opposite one.
pub type NamedHook = (String, Arc<dyn PauseHook>);

/// Whoever can pause the service: its hooks, or the way to the process that has them.
#[async_trait]
pub trait Pauser: Send + Sync + Debug {
    /// Pauses. Returns when nothing is written any more.
    ///
    /// # Errors
    /// What a hook said, or [`ErrorKind::Timeout`]. Then the service is let go already.
    async fn begin(&self, scope: &Scope) -> Result<Box<dyn Hold>>;
}

/// A pause. Dropped, it ends in the background.
#[async_trait]
pub trait Hold: Send + Debug {
    /// Lets writing go on, and says how it went.
    async fn end(self: Box<Self>) -> Result<PauseReport>;
}

/// How a pause went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PauseReport {
    /// From when on nothing was written.
    pub from: Timestamp,
    /// When writing was let go on.
    pub until: Timestamp,
    /// Whether it lasted as long as it was wanted, and was not ended by its deadline.
    pub held: bool,
    /// What went wrong when writing was let go on: it may still be paused.
    pub error: Option<String>,
}

/// Pauses by the hooks of this process.
#[derive(Debug, Clone)]
pub struct Hooks {
    /// The hooks.
    pub hooks: Vec<NamedHook>,
    /// How long the pause may last, and each call of a hook.
    pub deadline: Duration,
}

#[async_trait]
impl Pauser for Hooks {
    async fn begin(&self, scope: &Scope) -> Result<Box<dyn Hold>> {
        Ok(Box::new(Pausing::begin(scope, self.clone()).await?))
    }
}

/// A pause that a keeper holds.
#[derive(Debug)]
pub(crate) struct Pausing {
    /// Dropped to let go.
    end: oneshot::Sender<()>,
    keeper: JoinHandle<Result<PauseReport>>,
}

impl Pausing {
    pub(crate) async fn begin(scope: &Scope, hooks: Hooks) -> Result<Self> {
        scope.cancel.check()?;
        let (end, ended) = oneshot::channel();
        let (paused, is_paused) = oneshot::channel();
        let keeper = tokio::spawn(keep(scope.clone(), hooks, paused, ended));
        match is_paused.await {
            Ok(()) => Ok(Self { end, keeper }),
            Err(_) => Err(match joined(keeper.await) {
                Err(error) => error,
                Ok(_) => Error::internal("a pause ended before it began"),
            }),
        }
    }

    /// Lets go, and returns when that is done.
    pub(crate) async fn end(self) -> Result<PauseReport> {
        drop(self.end);
        joined(self.keeper.await)
    }
}

#[async_trait]
impl Hold for Pausing {
    async fn end(self: Box<Self>) -> Result<PauseReport> {
        Self::end(*self).await
    }
}

fn joined<T>(result: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    result.unwrap_or_else(|error| Err(Error::internal(format!("the keeper of a pause did not end: {error}"))))
}

/// Holds a pause from its first `before` to its last `after`.
async fn keep(
    scope: Scope,
    hooks: Hooks,
    paused: oneshot::Sender<()>,
    mut ended: oneshot::Receiver<()>,
) -> Result<PauseReport> {
    let Hooks { hooks, deadline } = hooks;
    // What is let go runs under no cancel: it must come to its end above all when somebody cancels.
    let cancel = Cancel::new();
    let inner = Scope { cancel: cancel.clone(), ..scope.clone() };
    let mut late = std::pin::pin!(tokio::time::sleep(deadline));
    let mut begun: Vec<(NamedHook, Option<JoinHandle<Result<()>>>)> = Vec::new();
    let mut failed = None;
    for hook in hooks {
        let mut call = call(&hook.1, &inner, Act::Before);
        let name = hook.0.clone();
        let outcome = tokio::select! {
            outcome = &mut call => joined(outcome).map_err(|error| error.while_doing(format!("pausing {name:?}"))),
            () = &mut late => Err(too_late(&name, deadline)),
            () = scope.cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "cancelled by the caller")),
            _ = &mut ended => Err(Error::new(ErrorKind::Cancelled, "nobody waits for the pause any more")),
        };
        let hangs = !call.is_finished();
        begun.push((hook, hangs.then_some(call)));
        if let Err(error) = outcome {
            failed = Some(error);
            break;
        }
    }
    let from = scope.clock.now();
    let mut held = false;
    if failed.is_none() && paused.send(()).is_ok() {
        held = tokio::select! {
            _ = &mut ended => true,
            () = &mut late => false,
        };
    }
    cancel.cancel();
    let mut error = None;
    for (hook, hanging) in begun.into_iter().rev() {
        if let Err(why) = let_go(&hook, &scope, deadline).await {
            error = error.or(Some(why));
        }
        if let Some(hanging) = hanging {
            let scope = scope.clone();
            // Its end comes after our patience with it: what it paused then is let go then.
            tokio::spawn(async move {
                let _ = hanging.await;
                let _ = let_go(&hook, &scope, deadline).await;
            });
        }
    }
    match (failed, error) {
        (None, error) => {
            Ok(PauseReport { from, until: scope.clock.now(), held, error: error.map(|error| error.to_string()) })
        }
        (Some(failed), None) => Err(failed),
        (Some(failed), Some(error)) => Err(failed.with_context("after", error)),
    }
}

fn too_late(name: &str, deadline: Duration) -> Error {
    let seconds = deadline.as_secs_f64();
    Error::new(ErrorKind::Timeout, format!("{name:?} did not pause within {seconds} s"))
        .with_hint("look why it hangs, or raise backup.pause.deadline_seconds")
}

async fn let_go(hook: &NamedHook, scope: &Scope, deadline: Duration) -> Result<()> {
    let (name, hook) = hook;
    let scope = Scope { cancel: Cancel::new(), ..scope.clone() };
    let outcome = match tokio::time::timeout(deadline, call(hook, &scope, Act::After)).await {
        Ok(outcome) => joined(outcome),
        Err(_) => {
            scope.cancel.cancel();
            let seconds = deadline.as_secs_f64();
            Err(Error::new(ErrorKind::Timeout, format!("it did not end within {seconds} s")))
        }
    };
    outcome.map_err(|error| error.while_doing(format!("letting {name:?} write again")))
}

#[derive(Clone, Copy)]
enum Act {
    Before,
    After,
}

/// Calls a hook on a thread of its own: it is a stranger's code, which may block.
fn call(hook: &Arc<dyn PauseHook>, scope: &Scope, act: Act) -> JoinHandle<Result<()>> {
    let (hook, scope, runtime) = (Arc::clone(hook), scope.clone(), Handle::current());
    tokio::task::spawn_blocking(move || {
        runtime.block_on(async {
            match act {
                Act::Before => hook.before(&scope).await,
                Act::After => hook.after(&scope).await,
            }
        })
    })
}

#[cfg(test)]
mod tests;
