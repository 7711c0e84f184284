//! Answering the other process's calls of our components.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::backup::Upload;
use crate::backup::pause::Pausing;
use crate::cancel::{Cancel, CancelOnDrop, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::remote::{ComponentCall, PauseAct, Payload, StoreAct, TargetAct, UploadAct};
use crate::store::Inspection;

use super::components::{Components, find};
use super::panics::CatchPanic;

/// How long closing an upload that its caller left open may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// Answers calls of the components of this process.
#[derive(Debug)]
pub(super) struct ComponentServer {
    components: Components,
    uploads: Mutex<HashMap<u64, Slot>>,
    pauses: Mutex<HashMap<u64, Pausing>>,
    next_handle: AtomicU64,
    /// How long after a cancel a call is given up, its future dropped.
    give_up: Option<Duration>,
}

/// An upload in progress. `None` once finished, aborted or closed.
type Slot = Arc<tokio::sync::Mutex<Option<Box<dyn Upload>>>>;

impl ComponentServer {
    pub(super) fn new(components: Components, give_up: Option<Duration>) -> Self {
        Self {
            components,
            uploads: Mutex::default(),
            pauses: Mutex::default(),
            next_handle: AtomicU64::new(1),
            give_up,
        }
    }

    /// Answers one call, on a thread of its own: a component may be a stranger's code that blocks, and must not
    /// take the threads that read and write the pipe. A panic is an error.
    pub(super) async fn serve(self: &Arc<Self>, request: Payload, scope: Scope) -> Result<Payload> {
        let Payload { value, body } = request;
        let call: ComponentCall = serde_json::from_value(value)
            .map_err(|error| Error::new(ErrorKind::Corrupt, format!("the other process made a wrong call: {error}")))?;
        let server = Arc::clone(self);
        let runtime = tokio::runtime::Handle::current();
        let title = call.to_string();
        let patience = match call {
            // The contract gives these no scope to hear the cancel by: nobody waits for them.
            ComponentCall::Upload { act: UploadAct::Write | UploadAct::ReadBack { .. }, .. } => Some(Duration::ZERO),
            _ => server.give_up,
        };
        let (given_up, cancel) = (Cancel::new(), scope.cancel.clone());
        // Raised as well when the runtime goes down and drops this: the call must end before its timers do.
        let _guard = CancelOnDrop::new(&given_up);
        let answer = tokio::task::spawn_blocking(move || {
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = given_up.cancelled() => Err(Error::new(ErrorKind::Cancelled, "cancelled by the caller")),
                    answer = CatchPanic::new(server.answer(call, body, &scope)) => answer.and_then(|answer| answer),
                }
            })
        });
        let give_up = async {
            cancel.cancelled().await;
            match patience {
                Some(patience) => tokio::time::sleep(patience).await,
                None => std::future::pending().await,
            }
        };
        let answer = tokio::select! {
            answer = answer => answer.unwrap_or_else(|error| {
                // The runtime is going down, or the component panicked while it was dropped.
                Err(Error::new(ErrorKind::Unavailable, format!("{title} did not run to its end: {error}")))
            }),
            () = give_up => Err(Error::new(ErrorKind::Cancelled, "cancelled by the caller")),
        };
        answer.map_err(|error| error.with_context("component", title))
    }

    /// Ends what the caller left open, pauses of the service first, and uploads, which are aborted: called when the
    /// operation that opened them has ended.
    pub(super) async fn close_handles(&self) {
        let paused: Vec<Pausing> = self.pauses().drain().map(|(_, pausing)| pausing).collect();
        for pausing in paused {
            // The operation has failed: how its pause went is nobody's question any more.
            let _ = pausing.end().await;
        }
        let open: Vec<Slot> = self.uploads().drain().map(|(_, slot)| slot).collect();
        for slot in open {
            // One whose write hangs is dropped when that returns; dropped, it leaves nothing visible.
            let close = async {
                if let Some(upload) = slot.lock().await.take() {
                    let _ = CatchPanic::new(upload.abort()).await;
                }
            };
            let _ = tokio::time::timeout(CLOSE_PATIENCE, close).await;
        }
    }

    async fn answer(&self, call: ComponentCall, body: Vec<u8>, scope: &Scope) -> Result<Payload> {
        match call {
            ComponentCall::Store { name, act } => self.store(&name, act, scope).await,
            ComponentCall::Target { name, act } => self.target(&name, act, body, scope).await,
            ComponentCall::Upload { handle, act, .. } => self.upload(handle, act, &body).await,
            ComponentCall::Pause { act: PauseAct::Begin } => {
                let none = || Error::new(ErrorKind::NotFound, "the service has nothing to pause it");
                let hooks = self.components.pause.clone().ok_or_else(none)?;
                let pausing = Pausing::begin(scope, hooks).await?;
                let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
                self.pauses().insert(handle, pausing);
                Payload::of(&handle)
            }
            ComponentCall::Pause { act: PauseAct::End { handle } } => {
                let closed = || Error::new(ErrorKind::Refused, format!("pause {handle} is over"));
                let pausing = self.pauses().remove(&handle).ok_or_else(closed)?;
                Payload::of(&pausing.end().await?)
            }
            ComponentCall::Check { name } => {
                Payload::of(&find(&self.components.checks, "check", &name)?.check(scope).await?)
            }
        }
    }

    async fn store(&self, name: &str, act: StoreAct, scope: &Scope) -> Result<Payload> {
        let store = find(&self.components.stores, "store", name)?;
        match act {
            StoreAct::Stats => Payload::of(&store.stats(scope).await?),
            StoreAct::Verify { depth } => Payload::of(&store.verify(scope, depth).await?),
            StoreAct::SnapshotTo { dir } => Payload::of(&store.snapshot_to(scope, &dir.0).await?),
            StoreAct::CheckCopy { dir, depth } => Payload::of(&store.check_copy(scope, &dir.0, depth).await?),
            StoreAct::InspectCopy { dir, rows, queries } => {
                Payload::of(&store.inspect_copy(scope, &dir.0, &Inspection { rows, queries }).await?)
            }
            StoreAct::RestoreFrom { dir } => Payload::of(&store.restore_from(scope, &dir.0).await?),
            StoreAct::Maintain { tasks } => Payload::of(&store.maintain(scope, &tasks).await?),
        }
    }

    async fn target(&self, name: &str, act: TargetAct, body: Vec<u8>, scope: &Scope) -> Result<Payload> {
        let target = find(&self.components.targets, "target", name)?;
        match act {
            TargetAct::Put { key, if_absent } => Payload::of(&target.put(scope, &key, &body, if_absent).await?),
            TargetAct::Upload { key, expected_bytes } => {
                let upload = target.upload(scope, &key, expected_bytes).await?;
                let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
                self.uploads().insert(handle, Arc::new(tokio::sync::Mutex::new(Some(upload))));
                Payload::of(&handle)
            }
            TargetAct::Get { key, start, end } => {
                Ok(Payload { value: serde_json::Value::Null, body: target.get(scope, &key, start..end).await? })
            }
            TargetAct::List { prefix, after } => Payload::of(&target.list(scope, &prefix, after.as_deref()).await?),
            TargetAct::Stat { key } => Payload::of(&target.stat(scope, &key).await?),
            TargetAct::Delete { key } => Payload::of(&target.delete(scope, &key).await?),
            TargetAct::FreeBytes => Payload::of(&target.free_bytes(scope).await?),
        }
    }

    async fn upload(&self, handle: u64, act: UploadAct, body: &[u8]) -> Result<Payload> {
        let slot = match act {
            UploadAct::Write | UploadAct::ReadBack { .. } => self.uploads().get(&handle).cloned(),
            UploadAct::Finish | UploadAct::Abort => self.uploads().remove(&handle),
        };
        let closed = || Error::new(ErrorKind::Refused, format!("upload {handle} is not open"));
        let slot = slot.ok_or_else(closed)?;
        let mut slot = slot.lock().await;
        match act {
            UploadAct::Write => Payload::of(&slot.as_mut().ok_or_else(closed)?.write(body).await?),
            UploadAct::ReadBack { start, end } => {
                let body = slot.as_mut().ok_or_else(closed)?.read_back(start..end).await?;
                Ok(Payload { value: serde_json::Value::Null, body })
            }
            UploadAct::Finish => Payload::of(&slot.take().ok_or_else(closed)?.finish().await?),
            UploadAct::Abort => Payload::of(&slot.take().ok_or_else(closed)?.abort().await?),
        }
    }

    fn pauses(&self) -> MutexGuard<'_, HashMap<u64, Pausing>> {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn uploads(&self) -> MutexGuard<'_, HashMap<u64, Slot>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
