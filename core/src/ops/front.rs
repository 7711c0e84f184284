//! [`Ops`]: whoever wants something done comes here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;

use crate::cancel::{Cancel, CancelOnDrop, Scope};
use crate::clock::Clock;
use crate::config::redact;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Journal, Record, RecordOutcome};
use crate::metrics::own::own;
use crate::worker::{CatchPanic, Pool, RunRequest, WorkerRequest, method};

use super::blocking::Blocking;
use super::builder::OpsBuilder;
use super::check_history::CheckRecorder;
use super::context::{Context, RunMode};
use super::exports;
use super::follow_host;
use super::job_host::CoreHost;
use super::operation::{Answer, Entry, Operation, Place};
use super::recorder::Recorder;
use super::table::{TABLE, find_operation};

#[cfg(feature = "http")]
mod serve;
#[cfg(feature = "http")]
pub(crate) use serve::WeakOps;

/// Operations built into a service. A handle: clones are cheap and share everything.
///
/// It has two threads of its own, so its futures run on any executor. When the last clone is dropped, running
/// operations are cancelled and the workers end, in the background; [`Ops::close`] does the same and waits.
#[derive(Debug, Clone)]
pub struct Ops(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    core: Arc<Core>,
    handle: Handle,
    /// Taken by whoever ends it.
    runtime: Mutex<Option<Runtime>>,
    /// How it ended: whether everything had stopped in time.
    ended: watch::Sender<Option<bool>>,
    /// The process that made it. A forked child has the memory, but neither the threads nor the workers.
    pid: u32,
}

/// How long the end of workers that were killed may take.
const KILL_PATIENCE: Duration = Duration::from_secs(2);
/// How long what runs may take to stop when the last clone is dropped. Nobody waits for it.
const DROP_PATIENCE: Duration = Duration::from_secs(60);

/// What running operations hold: not the threads that they run on.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) context: Arc<Context>,
    pub(super) pool: Pool,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) operations: &'static [Entry],
    /// Raised when it is closed or dropped.
    pub(super) closing: Cancel,
    /// How many operations run.
    running: watch::Sender<usize>,
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
        let core = Core {
            context: Arc::new(context),
            pool,
            clock,
            operations,
            closing: Cancel::new(),
            running: watch::Sender::new(0),
        };
        let core = Arc::new(core);
        core.context.jobs.connect(Arc::new(CoreHost::new(&core)));
        if core.context.mode == RunMode::Embedded
            && let Some(engine) = core.context.jobs.engine(&core.closing)
        {
            // Counted, so that closing waits until it has kept how things stand.
            let counted = Counted::new(&core.running);
            runtime.spawn(async move {
                engine.run().await;
                drop(counted);
            });
        }
        if let Some(engine) = follow_host::engine(&core) {
            // Counted, so that closing waits for what was committed last.
            let counted = Counted::new(&core.running);
            runtime.spawn(async move {
                engine.run().await;
                drop(counted);
            });
        }
        for exporter in exports::exporters(&core) {
            // Counted, so that the sinks get what was counted until the end.
            let counted = Counted::new(&core.running);
            runtime.spawn(async move {
                exporter.run().await;
                drop(counted);
            });
        }
        if let Some(recorder) = Recorder::of(&core) {
            runtime.spawn(recorder.run());
        }
        let background = core.context.mode == RunMode::Embedded && core.context.settings.health.background;
        let ops = Self(Arc::new(Shared {
            core,
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
            ended: watch::Sender::new(None),
            pid: std::process::id(),
        }));
        if background {
            // Nothing has closed it, and this is no fork.
            let _ = ops.watch_health();
        }
        ops
    }

    /// Begins to ask the checks in the background, each at its own pace, until this is closed. Later calls change nothing.
    ///
    /// [`http::Responder`](crate::http::Responder) and the setting `health.background` call it: a program that serves no
    /// probes pays for no checks.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] in a forked child, and once closed.
    pub fn watch_health(&self) -> Result<()> {
        let handle = self.handle()?;
        let core = &self.0.core;
        if core.context.watch.claim() {
            let (watch, clock, stop) = (Arc::clone(&core.context.watch), Arc::clone(&core.clock), core.closing.clone());
            let identity = &core.context.process.identity;
            let place = format!("{} {} {}", identity.boot_id, identity.pid_namespace, identity.pid);
            let counted = Counted::new(&core.running);
            let context = &core.context;
            let recorder =
                Arc::new(CheckRecorder::new(context.journal.clone(), &context.state, Arc::clone(&core.clock)));
            let observer = Arc::clone(&recorder);
            watch.observe(move |answered| observer.take(answered));
            handle.spawn(async move {
                watch.run(clock, place, stop).await;
                let _ = tokio::task::spawn_blocking(move || recorder.end()).await;
                drop(counted);
            });
        }
        Ok(())
    }

    /// Says that the service is about to stop, and returns when `delay` has passed: from the first moment on it is not
    /// ready, so that no more work is sent here, and all else goes on as before. First thing on SIGTERM; `delay` is the time
    /// that a load balancer takes to see it (period times failures of its probe).
    pub fn drain(&self, delay: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.0.core.context.watch.drain();
        let clock = Arc::clone(&self.0.core.clock);
        async move { clock.sleep(delay).await }
    }

    /// What operations work with in this process.
    pub fn context(&self) -> &Arc<Context> {
        &self.0.core.context
    }

    /// The operations that this `Ops` runs, sorted by name.
    pub fn operations(&self) -> impl Iterator<Item = &'static Entry> + use<> {
        self.0.core.operations.iter().chain(TABLE)
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
    /// panic; [`ErrorKind::Refused`] once it is closed, and in a forked child.
    pub fn call(
        &self,
        scope: Scope,
        name: &str,
        request: Value,
    ) -> impl Future<Output = Result<Answer>> + Send + 'static {
        self.start(scope, name, request, None)
    }

    /// As [`Ops::call`], but cancels the operation when `timeout` has passed.
    ///
    /// # Errors
    /// As [`Ops::call`]; [`ErrorKind::Timeout`] once the cancelled operation has ended.
    pub fn call_within(
        &self,
        scope: Scope,
        name: &str,
        request: Value,
        timeout: Duration,
    ) -> impl Future<Output = Result<Answer>> + Send + 'static {
        self.start(scope, name, request, Some(timeout))
    }

    fn start(
        &self,
        scope: Scope,
        name: &str,
        request: Value,
        timeout: Option<Duration>,
    ) -> impl Future<Output = Result<Answer>> + Send + 'static {
        let (ops, name) = (self.clone(), name.to_owned());
        async move {
            let entry = find_operation(&name, ops.0.core.operations)?;
            let work = Arc::clone(&ops.0.core).journalled(entry, scope, request, timeout);
            let result = match (entry.place, timeout) {
                // A hop to another thread and back costs more than the work.
                (Place::Inline, None) => ops.here(work).await?,
                _ => ops.in_background(work).await?,
            };
            result.map_err(|error| error.in_operation(entry.name))
        }
    }

    /// Ends it: cancels what runs, ends the workers, and returns when nothing is left or `patience` is over. From now
    /// on every call of every clone is refused. May be called again, and dropped: the end goes on without anybody.
    ///
    /// In a forked child there is nothing to end.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] when something did not stop in time. It was abandoned, and its worker killed.
    pub fn close(&self, patience: Duration) -> impl Future<Output = Result<()>> + Send + 'static {
        let ops = self.clone();
        async move {
            if std::process::id() != ops.0.pid {
                return Ok(());
            }
            ops.0.end(patience);
            let mut ended = ops.0.ended.subscribe();
            let in_time = ended.wait_for(Option::is_some).await.is_ok_and(|ended| *ended == Some(true));
            if in_time {
                return Ok(());
            }
            let seconds = patience.as_secs_f64();
            Err(Error::new(ErrorKind::Timeout, format!("what ran did not stop within {seconds} s and was abandoned"))
                .with_hint("look for a component of this program that hangs, or give close more time"))
        }
    }

    /// Raised when it is closed.
    pub(super) fn closing(&self) -> Cancel {
        self.0.core.closing.clone()
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.0.core.closing.is_cancelled()
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

    /// Starts `work` on our own threads, for whoever waits for it in another way: a host whose event loop is not
    /// Rust's makes a [`call`](Self::call), and hands its answer over from here.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] in a forked child, and once closed. What runs when it is closed is dropped at the end.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        self.handle()?.spawn(work);
        Ok(())
    }

    /// Our own threads.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] in a forked child, and once closed.
    pub(super) fn handle(&self) -> Result<&Handle> {
        if std::process::id() != self.0.pid {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("this Ops was made by process {}, and this is a fork of it without its threads", self.0.pid),
            )
            .with_hint("build the Ops after the fork, in each worker process of the service (gunicorn: post_fork)"));
        }
        if self.is_closed() {
            return Err(Error::new(ErrorKind::Refused, "this Ops is closed")
                .with_hint("build another one; close it when the service ends, and not before"));
        }
        Ok(&self.0.handle)
    }

    /// Runs `work`, which is given a flag, on the thread that polls.
    async fn here<T, W, F>(&self, work: W) -> Result<T>
    where
        W: FnOnce(Cancel) -> F,
        F: Future<Output = T>,
    {
        let _counted = Counted::new(&self.0.core.running);
        self.handle()?;
        CatchPanic::new(work(Cancel::new())).await
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
        // Counted before it is known whether it may run: closing waits for all that it did not refuse.
        let counted = Counted::new(&self.0.core.running);
        let handle = self.handle()?;
        let work = CatchPanic::new(work(dropped));
        let task = handle.spawn(async move {
            let result = work.await;
            drop(counted);
            result
        });
        task.await.unwrap_or_else(|_| Err(closed()))
    }
}

/// Something that runs.
struct Counted(watch::Sender<usize>);

impl Counted {
    fn new(running: &watch::Sender<usize>) -> Self {
        running.send_modify(|count| *count += 1);
        Self(running.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Cancelled, "the Ops was closed")
}

/// Why an operation was told to stop before its end.
#[derive(Debug, Clone, Copy)]
enum Stopped {
    /// The caller cancelled, or went away.
    Caller,
    TimedOut(Duration),
    Closed,
}

pub(super) fn to_value<O: Operation>(request: &O::Request) -> Result<Value> {
    serde_json::to_value(request)
        .map_err(|error| Error::invalid(format!("the request of {} is not JSON: {error}", O::NAME)))
}

pub(super) fn from_answer<O: Operation>(answer: Answer) -> Result<O::Response> {
    serde_json::from_value(answer.response)
        .map_err(|error| Error::internal(format!("the response of {} has another shape: {error}", O::NAME)))
}

/// What the journal keeps of a request: where an operator's secret lies is nobody's business but his.
fn recorded(mut request: Value) -> Value {
    if let Some(fields) = request.as_object_mut() {
        fields.retain(|name, _| name != "identity_file" && name != "proof_file");
    }
    request
}

impl Core {
    /// What runs `entry` and records it, once it is given the flag of the caller's future.
    pub(super) fn journalled(
        self: Arc<Self>,
        entry: &'static Entry,
        scope: Scope,
        request: Value,
        timeout: Option<Duration>,
    ) -> impl FnOnce(Cancel) -> std::pin::Pin<Box<dyn Future<Output = Result<Answer>> + Send>> {
        move |dropped| {
            Box::pin(async move {
                let (time, began) = (self.clock.now(), self.clock.monotonic());
                let asked = if entry.journalled { request.clone() } else { Value::Null };
                let result = match CatchPanic::new(self.cancellable(entry, scope, request, timeout, dropped)).await {
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
                    request: redact::value("", &recorded(asked)),
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

    /// Runs `entry` under a flag that is raised for any of the reasons to stop.
    async fn cancellable(
        &self,
        entry: &'static Entry,
        scope: Scope,
        request: Value,
        timeout: Option<Duration>,
        dropped: Cancel,
    ) -> Result<Answer> {
        let cancel = Cancel::new();
        let inner = Scope { cancel: cancel.clone(), ..scope.clone() };
        let why = Mutex::new(Stopped::Caller);
        let time_over = async {
            match timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        let stop = async {
            let stopped = tokio::select! {
                () = scope.cancel.cancelled() => Stopped::Caller,
                () = dropped.cancelled() => Stopped::Caller,
                () = self.closing.cancelled() => Stopped::Closed,
                () = time_over => Stopped::TimedOut(timeout.unwrap_or_default()),
            };
            *why.lock().unwrap_or_else(PoisonError::into_inner) = stopped;
            cancel.cancel();
            std::future::pending::<Result<Answer>>().await
        };
        let result = tokio::select! {
            biased;
            stopped = stop => stopped,
            result = self.run(entry, inner, request) => result,
        };
        let stopped = *why.lock().unwrap_or_else(PoisonError::into_inner);
        result.map_err(|error| match (error.kind(), stopped) {
            (ErrorKind::Cancelled, Stopped::TimedOut(after)) => Error::new(
                ErrorKind::Timeout,
                format!("{} did not end within {} s and was cancelled", entry.name, after.as_secs_f64()),
            )
            .with_hint("allow it more time, or none at all"),
            (ErrorKind::Cancelled, Stopped::Closed) => {
                Error::new(ErrorKind::Cancelled, format!("{} was cancelled: the Ops was closed", entry.name))
            }
            _ => error,
        })
    }

    async fn run(&self, entry: &'static Entry, scope: Scope, request: Value) -> Result<Answer> {
        match entry.place {
            Place::Inline | Place::Host => entry.run(Arc::clone(&self.context), scope, request).await,
            Place::Worker(lane) => {
                let params = RunRequest { name: entry.name.to_owned(), request };
                let request = WorkerRequest::new(method::RUN, entry.name, &params)?;
                self.pool.call(lane, request, &scope).await?.parse()
            }
        }
    }
}

impl Shared {
    /// Begins the end, unless somebody has.
    fn end(&self, patience: Duration) {
        self.core.closing.cancel();
        let Some(runtime) = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        // On a thread of its own: a runtime must not be dropped by one of its threads nor inside another runtime,
        // and the workers are to be waited for.
        let slot = Arc::new(Mutex::new(Some(runtime)));
        let take = |slot: &Mutex<Option<Runtime>>| slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (core, theirs, ended) = (Arc::clone(&self.core), Arc::clone(&slot), self.ended.clone());
        let closing = std::thread::Builder::new().name("uplifted-ops-end".into()).spawn(move || {
            if let Some(runtime) = take(&theirs) {
                let all = async {
                    core.pool.close().await;
                    let _ = core.running.subscribe().wait_for(|count| *count == 0).await;
                };
                let in_time = runtime.block_on(async {
                    let mut all = std::pin::pin!(all);
                    let in_time = tokio::time::timeout(patience, &mut all).await.is_ok();
                    if !in_time {
                        core.pool.abandon();
                        let _ = tokio::time::timeout(KILL_PATIENCE, all).await;
                    }
                    in_time
                });
                drop(core);
                runtime.shutdown_background();
                ended.send_replace(Some(in_time));
            }
        });
        if closing.is_err()
            && let Some(runtime) = take(&slot)
        {
            // The pipes close, and with them the workers end.
            runtime.shutdown_background();
            self.ended.send_replace(Some(false));
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if std::process::id() == self.pid {
            self.end(DROP_PATIENCE);
            return;
        }
        // The threads and workers are the parent's. Tearing anything down here would reach for them.
        std::mem::forget(self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take());
        std::mem::forget(Arc::clone(&self.core));
    }
}
