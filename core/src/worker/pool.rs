//! Lending workers: one call at a time each, two for each lane, idle ones kept warm. Whoever follows a store has one of its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use crate::cancel::{Cancel, CancelOnDrop, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::Lane;
use crate::remote::Payload;

use super::spawn::{Launch, Worker};

/// How many workers of a lane there may be. A third call waits its turn.
const PER_LANE: usize = 2;
/// How many stores may be followed, each by a worker of its own.
const FOLLOWERS: usize = 64;
/// How long an idle worker may take to end.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// A call for some worker.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) payload: Payload,
    /// The largest block that the answer may hold.
    pub(crate) reply_bytes: usize,
    /// What is called, for errors: `backup.create`.
    pub(crate) doing: String,
}

impl Request {
    /// A call without a block.
    pub(crate) fn new(method: &'static str, doing: &str, params: &impl serde::Serialize) -> Result<Self> {
        Ok(Self { method, payload: Payload::of(params)?, reply_bytes: 0, doing: doing.to_owned() })
    }
}

/// The workers of one `Ops`. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    launch: Launch,
    runtime: Handle,
    heavy: LaneState,
    prompt: LaneState,
    follow: LaneState,
    alive: watch::Sender<usize>,
    closing: Cancel,
    /// Nobody waits any longer for what does not stop.
    abandoned: Cancel,
    /// Wakes the task that ends idle workers.
    returned: Notify,
}

#[derive(Debug)]
struct LaneState {
    /// First come, first served.
    slots: Arc<Semaphore>,
    /// How many slots there are.
    workers: u32,
    /// The one used last is at the end, and is taken first.
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    worker: Worker,
    since: Instant,
}

impl LaneState {
    fn new(workers: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(workers)), workers: workers as u32, idle: Mutex::default() }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// A pool without workers yet. They run on `runtime`.
    pub(crate) fn new(launch: Launch, runtime: Handle) -> Self {
        let pool = Self(Arc::new(Shared {
            launch,
            runtime: runtime.clone(),
            heavy: LaneState::new(PER_LANE),
            prompt: LaneState::new(PER_LANE),
            follow: LaneState::new(FOLLOWERS),
            alive: watch::Sender::new(0),
            closing: Cancel::new(),
            abandoned: Cancel::new(),
            returned: Notify::new(),
        }));
        runtime.spawn(pool.clone().end_idle_ones());
        pool
    }

    /// How many worker processes there are.
    pub(crate) fn alive(&self) -> usize {
        *self.0.alive.borrow()
    }

    /// Calls a worker of `lane`, starting one when none is idle. Dropped, the call is cancelled and its worker
    /// dealt with in the background.
    pub(crate) async fn call(&self, lane: Lane, request: Request, scope: &Scope) -> Result<Payload> {
        let cancel = Cancel::new();
        let _cancel_when_dropped = CancelOnDrop::new(&cancel);
        let work = self.clone().work(lane, request, scope.clone(), cancel);
        match self.0.runtime.spawn(work).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => Err(Error::internal("calling the worker panicked")),
            Err(_) => Err(closed()),
        }
    }

    /// Cancels what runs, ends every worker, and returns when none is left.
    pub(crate) async fn close(&self) {
        self.0.closing.cancel();
        for lane in [Lane::Heavy, Lane::Prompt, Lane::Follow] {
            let state = self.lane(lane);
            // Having every slot means that nothing runs.
            let _all = state.slots.acquire_many(state.workers).await;
            let idle = std::mem::take(&mut *state.idle());
            for idle in idle {
                idle.worker.end(END_PATIENCE).await;
            }
        }
        let _ = self.0.alive.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Kills the workers that run something, with all that they started. Afterwards [`Pool::close`] does not wait for
    /// them.
    pub(crate) fn abandon(&self) {
        self.0.abandoned.cancel();
    }

    async fn work(self, lane: Lane, request: Request, scope: Scope, dropped: Cancel) -> Result<Payload> {
        // One flag for the three who may stop it.
        let cancel = Cancel::new();
        let stop = async {
            tokio::select! {
                () = scope.cancel.cancelled() => {}
                () = dropped.cancelled() => {}
                () = self.0.closing.cancelled() => {}
            }
            cancel.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            result = self.lend(lane, request, &scope, &cancel) => result,
            () = stop => Err(closed()),
        }
    }

    async fn lend(&self, lane: Lane, request: Request, scope: &Scope, cancel: &Cancel) -> Result<Payload> {
        let state = self.lane(lane);
        let slot = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(cancelled_early(&request.doing)),
            slot = Arc::clone(&state.slots).acquire_owned() => slot.map_err(|_| closed())?,
        };
        let worker = match self.take_idle(state) {
            Some(worker) => worker,
            None => tokio::select! {
                started = Worker::start(&self.0.launch, lane, self.0.alive.clone()) => started?,
                () = cancel.cancelled() => return Err(cancelled_early(&request.doing)),
            },
        };
        let result = tokio::select! {
            result = worker.call(request, scope, cancel, self.0.launch.cancel_grace) => result,
            () = self.0.abandoned.cancelled() => {
                worker.kill().await;
                return Err(closed());
            }
        };
        self.give_back(state, worker, slot);
        result
    }

    fn take_idle(&self, state: &LaneState) -> Option<Worker> {
        let mut idle = state.idle();
        while let Some(Idle { worker, .. }) = idle.pop() {
            if worker.is_open() {
                return Some(worker);
            }
            self.end_later(worker);
        }
        None
    }

    fn give_back(&self, state: &LaneState, worker: Worker, slot: OwnedSemaphorePermit) {
        if worker.is_open() && !self.0.launch.idle.is_zero() && !self.0.closing.is_cancelled() {
            state.idle().push(Idle { worker, since: Instant::now() });
            self.0.returned.notify_one();
        } else {
            self.end_later(worker);
        }
        // Only now: whoever waits for the slot finds the worker.
        drop(slot);
    }

    fn end_later(&self, worker: Worker) {
        self.0.runtime.spawn(async move { worker.end(END_PATIENCE).await });
    }

    /// Ends the workers that nobody has used for a while.
    async fn end_idle_ones(self) {
        loop {
            let mut next = None::<Instant>;
            for state in [&self.0.heavy, &self.0.prompt, &self.0.follow] {
                let mut idle = state.idle();
                let now = Instant::now();
                while let Some(oldest) = idle.first() {
                    // A worker that ended by itself is not kept either.
                    let until = oldest.since + self.0.launch.idle;
                    if until <= now || !oldest.worker.is_open() {
                        let gone = idle.remove(0);
                        self.end_later(gone.worker);
                    } else {
                        next = Some(next.map_or(until, |next| next.min(until)));
                        break;
                    }
                }
            }
            let wait = async {
                match next {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = wait => {}
                () = self.0.returned.notified() => {}
                () = self.0.closing.cancelled() => return,
            }
        }
    }

    fn lane(&self, lane: Lane) -> &LaneState {
        match lane {
            Lane::Heavy => &self.0.heavy,
            Lane::Prompt => &self.0.prompt,
            Lane::Follow => &self.0.follow,
        }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Cancelled, "the Ops was closed")
}

fn cancelled_early(doing: &str) -> Error {
    Error::new(ErrorKind::Cancelled, format!("cancelled by the caller before {doing} began"))
}
