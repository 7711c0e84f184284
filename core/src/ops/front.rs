//! [`Ops`]: whoever wants something done comes here.

use std::sync::Arc;

use serde_json::Value;
use tokio::runtime::Runtime;

use crate::cancel::{Cancel, CancelOnDrop, Scope};
use crate::clock::Clock;
use crate::config::redact;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Journal, Record, RecordOutcome};
use crate::metrics::own::own;
use crate::worker::{CatchPanic, Pool, RunRequest, WorkerRequest, method};

use super::blocking::Blocking;
use super::builder::OpsBuilder;
use super::context::Context;
use super::operation::{Answer, Entry, Operation, Place};
use super::table::find_operation;

/// Operations built into a service. A handle: clones are cheap and share everything.
///
/// It has two threads of its own, so its futures run on any executor. When the last clone is dropped, running
/// operations are cancelled and the workers end, in the background.
#[derive(Debug, Clone)]
pub struct Ops(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    core: Arc<Core>,
    /// Taken when dropped.
    runtime: Option<Runtime>,
    /// The process that made it. A forked child has the memory, but neither the threads nor the workers.
    pid: u32,
}

/// What running operations hold: not the threads that they run on.
#[derive(Debug)]
struct Core {
    context: Arc<Context>,
    pool: Pool,
    clock: Arc<dyn Clock>,
    operations: &'static [Entry],
    /// Raised by [`Ops::close`].
    closing: Cancel,
}

impl Ops {
    /// Begins making one.
    pub fn builder() -> OpsBuilder {
        OpsBuilder::default()
    }

    pub(super) fn assemble(
        context: Context,
        pool: Pool,
        runtime: Runtime,
        clock: Arc<dyn Clock>,
        operations: &'static [Entry],
    ) -> Self {
        let core = Core { context: Arc::new(context), pool, clock, operations, closing: Cancel::new() };
        Self(Arc::new(Shared { core: Arc::new(core), runtime: Some(runtime), pid: std::process::id() }))
    }

    /// What operations work with in this process.
    pub fn context(&self) -> &Arc<Context> {
        &self.0.core.context
    }

    /// A scope with the clock of this `Ops`, that nobody cancels and that reports nowhere.
    pub fn scope(&self) -> Scope {
        Scope { clock: Arc::clone(&self.0.core.clock), ..Scope::default() }
    }

    /// The same without `async`.
    pub fn blocking(&self) -> Blocking {
        Blocking::new(self.clone())
    }

    /// Runs the operation `name`. The future may be awaited on any executor; dropped, it cancels the operation,
    /// which ends in the background.
    ///
    /// # Errors
    /// Those of the operation; [`ErrorKind::NotFound`] for a name that is none; [`ErrorKind::Internal`] for a
    /// panic.
    pub fn call(
        &self,
        scope: Scope,
        name: &str,
        request: Value,
    ) -> impl Future<Output = Result<Answer>> + Send + 'static {
        let (ops, name) = (self.clone(), name.to_owned());
        async move {
            let entry = find_operation(&name, ops.0.core.operations)?;
            if ops.0.core.closing.is_cancelled() {
                return Err(closed().in_operation(entry.name));
            }
            let work = Arc::clone(&ops.0.core).journalled(entry, scope, request);
            ops.in_background(work).await?.map_err(|error| error.in_operation(entry.name))
        }
    }

    /// Runs an operation with its own types.
    ///
    /// # Errors
    /// As [`Ops::call`].
    pub fn run<O: Operation>(
        &self,
        scope: Scope,
        request: O::Request,
    ) -> impl Future<Output = Result<O::Response>> + Send + 'static {
        let request = to_value::<O>(&request);
        let ops = self.clone();
        async move { from_answer::<O>(ops.call(scope, O::NAME, request?).await?) }
    }

    /// Cancels what runs, refuses what comes later, and returns when no worker is left. Clones are closed with it;
    /// closing again, or in a forked child, does nothing.
    pub async fn close(&self) {
        if std::process::id() != self.0.pid {
            return;
        }
        self.0.core.closing.cancel();
        let pool = self.0.core.pool.clone();
        // On our own threads: the caller's executor may have no timers.
        let _ = self.in_background(|_| async move { pool.close().await }).await;
    }

    /// Starts `work` on our own threads, for whoever waits for it in another way.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] in a forked child.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        self.runtime()?.spawn(work);
        Ok(())
    }

    /// Our own threads.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] in a forked child.
    fn runtime(&self) -> Result<&Runtime> {
        if std::process::id() != self.0.pid {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("this Ops was made by process {}, and this is a fork of it without its threads", self.0.pid),
            )
            .with_hint("build the Ops after the fork, in each worker process of the service (gunicorn: post_fork)"));
        }
        self.0.runtime.as_ref().ok_or_else(closed)
    }

    /// Runs `work`, which is given a flag, on our own threads. The flag is raised when the future is dropped.
    async fn in_background<T, W, F>(&self, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(Cancel) -> F,
        F: Future<Output = T> + Send + 'static,
    {
        let dropped = Cancel::new();
        let _guard = CancelOnDrop::new(&dropped);
        match self.runtime()?.spawn(CatchPanic::new(work(dropped))).await {
            Ok(result) => result,
            Err(_) => Err(closed()),
        }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Cancelled, "the Ops was closed")
}

pub(super) fn to_value<O: Operation>(request: &O::Request) -> Result<Value> {
    serde_json::to_value(request)
        .map_err(|error| Error::invalid(format!("the request of {} is not JSON: {error}", O::NAME)))
}

pub(super) fn from_answer<O: Operation>(answer: Answer) -> Result<O::Response> {
    serde_json::from_value(answer.response)
        .map_err(|error| Error::internal(format!("the response of {} has another shape: {error}", O::NAME)))
}

impl Core {
    /// What runs `entry` and records it, once it is given the flag of the caller's future.
    fn journalled(
        self: Arc<Self>,
        entry: &'static Entry,
        scope: Scope,
        request: Value,
    ) -> impl FnOnce(Cancel) -> std::pin::Pin<Box<dyn Future<Output = Result<Answer>> + Send>> {
        move |dropped| {
            Box::pin(async move {
                let (time, began) = (self.clock.now(), self.clock.monotonic());
                let asked = if entry.journalled { request.clone() } else { Value::Null };
                let result = match CatchPanic::new(self.cancellable(entry, scope, request, dropped)).await {
                    Ok(result) => result.map_err(|error| error.in_operation(entry.name)),
                    Err(panic) => Err(panic.in_operation(entry.name)),
                };
                let duration_seconds = self.clock.monotonic().saturating_sub(began).as_secs_f64();
                let (outcome, word) = match &result {
                    Ok(answer) if answer.healthy => (RecordOutcome::Done, "done"),
                    Ok(_) => (RecordOutcome::Unhealthy, "unhealthy"),
                    Err(error) => (RecordOutcome::Failed, error.kind().as_str()),
                };
                // A number that cannot be counted is no reason to lose an answer.
                let _ = own().and_then(|own| own.operation(entry.name, word, duration_seconds));
                if !entry.journalled {
                    return result;
                }
                let record = Record {
                    time,
                    operation: entry.name.to_owned(),
                    outcome,
                    duration_seconds,
                    pid: self.context.process.identity.pid,
                    request: redact::value("", &asked),
                    response: result.as_ref().map(|answer| answer.response.clone()).unwrap_or_default(),
                    error: result.as_ref().err().map(Error::to_body),
                };
                let journal = self.context.journal.clone();
                let kept = tokio::task::spawn_blocking(move || match journal.append(&record) {
                    Ok(()) => Ok(()),
                    Err(error) => Err(Journal::not_recorded(&record, error)),
                });
                let kept = kept.await.unwrap_or_else(|_| Err(Error::internal("writing to the journal panicked")));
                match (result, kept) {
                    (result, Ok(())) => result,
                    (Ok(_), Err(error)) => Err(error),
                    (Err(error), Err(journal)) => Err(error.with_context("journal", journal)),
                }
            })
        }
    }

    /// Runs `entry` under a flag that either of the two callers' flags raises.
    async fn cancellable(
        &self,
        entry: &'static Entry,
        scope: Scope,
        request: Value,
        dropped: Cancel,
    ) -> Result<Answer> {
        let cancel = Cancel::new();
        let inner = Scope { cancel: cancel.clone(), ..scope.clone() };
        let stop = async {
            tokio::select! {
                () = scope.cancel.cancelled() => {}
                () = dropped.cancelled() => {}
                () = self.closing.cancelled() => {}
            }
            cancel.cancel();
            std::future::pending::<Result<Answer>>().await
        };
        tokio::select! {
            biased;
            stopped = stop => stopped,
            result = self.run(entry, inner, request) => result,
        }
    }

    async fn run(&self, entry: &'static Entry, scope: Scope, request: Value) -> Result<Answer> {
        match entry.place {
            Place::Host => entry.run(Arc::clone(&self.context), scope, request).await,
            Place::Worker(lane) => {
                let params = RunRequest { name: entry.name.to_owned(), request };
                let request = WorkerRequest::new(method::RUN, entry.name, &params)?;
                self.pool.call(lane, request, &scope).await?.parse()
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        if std::process::id() != self.pid {
            // The threads and workers are the parent's. Tearing anything down here would reach for them.
            std::mem::forget(runtime);
            std::mem::forget(Arc::clone(&self.core));
            return;
        }
        // On a thread of its own: a runtime must not be dropped by one of its threads nor inside another runtime,
        // and the workers are to be waited for.
        let slot = Arc::new(std::sync::Mutex::new(Some(runtime)));
        let take = |slot: &std::sync::Mutex<Option<Runtime>>| {
            slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
        };
        let (core, theirs) = (Arc::clone(&self.core), Arc::clone(&slot));
        let closing = std::thread::Builder::new().name("uplifted-ops-end".into()).spawn(move || {
            if let Some(runtime) = take(&theirs) {
                runtime.block_on(core.pool.close());
                drop(core);
                runtime.shutdown_background();
            }
        });
        if closing.is_err()
            && let Some(runtime) = take(&slot)
        {
            // The pipes close, and with them the workers end.
            runtime.shutdown_background();
        }
    }
}
