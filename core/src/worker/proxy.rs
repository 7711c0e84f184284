//! Components that live in the other process.
//!
//! A proxy implements the contract by calls over a [`Link`]. In the worker the link leads to the host and
//! every call has a deadline, since what answers is a stranger's code; in the host it leads to a worker of the
//! prompt lane, which the pool watches.

use std::fmt::Debug;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::backup::target::MAX_BLOCK;
use crate::backup::{BackupTarget, Object, TargetCapability, Upload};
use crate::cancel::{Progress, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::health::{CheckOutcome, HealthCheck};
use crate::ops::Lane;
use crate::store::{
    CheckDepth, IntegrityReport, MaintenanceOutcome, MaintenanceTask, Store, StoreCapability, StoreSnapshot, StoreStats,
};

use super::components::{ComponentCall, StoreAct, TargetAct, UploadAct};
use super::peer::{CallError, Payload, Peer};
use super::pool::{Pool, Request};
use super::protocol::{WirePath, method};

/// The way to the other process.
#[async_trait]
pub(crate) trait Link: Send + Sync + Debug {
    /// Calls. `reply_bytes` is the largest block that the answer may hold.
    async fn call(&self, scope: &Scope, call: ComponentCall, body: Vec<u8>, reply_bytes: usize) -> Result<Payload>;

    /// Calls without waiting for the answer.
    fn tell(&self, call: ComponentCall);

    /// Whether something opened by one call is still open for the next.
    fn keeps_handles(&self) -> bool;
}

/// From the worker to the host.
#[derive(Debug)]
pub(super) struct HostLink {
    pub(super) peer: Peer,
    /// How long the host may be silent.
    pub(super) deadline: Duration,
}

/// How long a cancelled call into the host may still take.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);
/// Methods that go through a whole database may be silent this many times longer.
const LONG_FACTOR: u32 = 10;

#[async_trait]
impl Link for HostLink {
    async fn call(&self, scope: &Scope, call: ComponentCall, body: Vec<u8>, reply_bytes: usize) -> Result<Payload> {
        scope.cancel.check()?;
        let silence = if call.is_long() { self.deadline * LONG_FACTOR } else { self.deadline };
        let title = call.to_string();
        let request = Payload { body, ..Payload::of(&call)? };
        let gone = || Error::new(ErrorKind::Unavailable, format!("the host ended before it answered {title}"));
        let silent = || {
            let seconds = silence.as_secs_f64();
            Error::new(ErrorKind::Timeout, format!("the host did not answer {title} within {seconds} s")).with_hint(
                "look at the host: this component of it hangs, or its event loop or interpreter lock is blocked",
            )
        };
        let cancelled = || Error::new(ErrorKind::Cancelled, "cancelled by the caller");

        // A sign of life restarts the deadline.
        let heard = Arc::new(Notify::new());
        let progress = {
            let (heard, outer) = (Arc::clone(&heard), scope.progress.clone());
            Progress::new(move |event| {
                heard.notify_one();
                outer.report(event);
            })
        };
        let mut open = tokio::select! {
            open = self.peer.begin(method::COMPONENT, request, reply_bytes, progress) => match open {
                Ok(open) => open,
                Err(CallError::Lost) => return Err(gone()),
                Err(CallError::Refused(error)) => return Err(error),
            },
            () = scope.cancel.cancelled() => return Err(cancelled()),
            () = tokio::time::sleep(silence) => return Err(silent()),
        };
        let mut until = Instant::now() + silence;
        let mut asked = false;
        loop {
            tokio::select! {
                reply = open.reply() => return reply.unwrap_or_else(|_| Err(gone())),
                () = heard.notified(), if !asked => until = Instant::now() + silence,
                () = scope.cancel.cancelled(), if !asked => {
                    asked = true;
                    open.cancel();
                    until = Instant::now() + CANCEL_PATIENCE;
                }
                () = tokio::time::sleep_until(until) => return Err(if asked { cancelled() } else { silent() }),
            }
        }
    }

    fn tell(&self, call: ComponentCall) {
        if let Ok(value) = serde_json::to_value(&call) {
            self.peer.tell(method::COMPONENT, value);
        }
    }

    fn keeps_handles(&self) -> bool {
        true
    }
}

/// From the host to whichever worker of the prompt lane is free.
#[derive(Debug)]
pub(crate) struct PoolLink(pub(crate) Pool);

#[async_trait]
impl Link for PoolLink {
    async fn call(&self, scope: &Scope, call: ComponentCall, body: Vec<u8>, reply_bytes: usize) -> Result<Payload> {
        let doing = call.to_string();
        let payload = Payload { body, ..Payload::of(&call)? };
        let request = Request { method: method::COMPONENT, payload, reply_bytes, doing };
        self.0.call(Lane::Prompt, request, scope).await
    }

    fn tell(&self, _: ComponentCall) {}

    fn keeps_handles(&self) -> bool {
        false
    }
}

/// A database whose store lives in the other process.
#[derive(Debug)]
pub(crate) struct RemoteStore {
    pub(crate) name: String,
    pub(crate) capability: StoreCapability,
    pub(crate) link: Arc<dyn Link>,
}

impl RemoteStore {
    async fn act<T: serde::de::DeserializeOwned>(&self, scope: &Scope, act: StoreAct) -> Result<T> {
        let call = ComponentCall::Store { name: self.name.clone(), act };
        self.link.call(scope, call, Vec::new(), 0).await?.parse()
    }
}

fn wire(path: &Path) -> WirePath {
    WirePath(path.to_owned())
}

#[async_trait]
impl Store for RemoteStore {
    fn capability(&self) -> StoreCapability {
        self.capability.clone()
    }

    async fn stats(&self, scope: &Scope) -> Result<StoreStats> {
        self.act(scope, StoreAct::Stats).await
    }

    async fn verify(&self, scope: &Scope, depth: CheckDepth) -> Result<IntegrityReport> {
        self.act(scope, StoreAct::Verify { depth }).await
    }

    async fn snapshot_to(&self, scope: &Scope, dir: &Path) -> Result<StoreSnapshot> {
        self.act(scope, StoreAct::SnapshotTo { dir: wire(dir) }).await
    }

    async fn check_copy(&self, scope: &Scope, dir: &Path, depth: CheckDepth) -> Result<IntegrityReport> {
        self.act(scope, StoreAct::CheckCopy { dir: wire(dir), depth }).await
    }

    async fn restore_from(&self, scope: &Scope, dir: &Path) -> Result<()> {
        self.act(scope, StoreAct::RestoreFrom { dir: wire(dir) }).await
    }

    async fn maintain(&self, scope: &Scope, tasks: &[MaintenanceTask]) -> Result<Vec<MaintenanceOutcome>> {
        self.act(scope, StoreAct::Maintain { tasks: tasks.to_vec() }).await
    }
}

/// A check that lives in the other process.
#[derive(Debug)]
pub(crate) struct RemoteCheck {
    pub(crate) name: String,
    pub(crate) link: Arc<dyn Link>,
}

#[async_trait]
impl HealthCheck for RemoteCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        self.link.call(scope, ComponentCall::Check { name: self.name.clone() }, Vec::new(), 0).await?.parse()
    }
}

/// A place for backups that lives in the other process.
#[derive(Debug)]
pub(crate) struct RemoteTarget {
    pub(crate) name: String,
    pub(crate) capability: TargetCapability,
    pub(crate) link: Arc<dyn Link>,
}

impl RemoteTarget {
    async fn act(&self, scope: &Scope, act: TargetAct, body: Vec<u8>, reply_bytes: usize) -> Result<Payload> {
        let call = ComponentCall::Target { name: self.name.clone(), act };
        self.link.call(scope, call, body, reply_bytes).await
    }
}

/// The length of a range that is asked for, at most a block.
fn length(range: &Range<u64>) -> Result<usize> {
    let length = range.end.saturating_sub(range.start);
    usize::try_from(length)
        .ok()
        .filter(|length| *length <= MAX_BLOCK)
        .ok_or_else(|| Error::invalid(format!("{length} bytes were asked for at once: {MAX_BLOCK} is the limit")))
}

/// The block of an answer, unless it is longer than what was asked for.
fn block(payload: Payload, asked: usize, name: &str) -> Result<Vec<u8>> {
    if payload.body.len() > asked {
        let got = payload.body.len();
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("target {name:?} answered with {got} bytes where {asked} were asked for"),
        )
        .with_hint("correct the target: `get` and `read_back` return the range and nothing more"));
    }
    Ok(payload.body)
}

#[async_trait]
impl BackupTarget for RemoteTarget {
    fn capability(&self) -> TargetCapability {
        self.capability.clone()
    }

    async fn put(&self, scope: &Scope, key: &str, bytes: &[u8], if_absent: bool) -> Result<bool> {
        self.act(scope, TargetAct::Put { key: key.to_owned(), if_absent }, bytes.to_vec(), 0).await?.parse()
    }

    async fn upload(&self, scope: &Scope, key: &str, expected_bytes: Option<u64>) -> Result<Box<dyn Upload>> {
        if !self.link.keeps_handles() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("target {:?} lives in the worker: uploads to it run there", self.name),
            ));
        }
        let act = TargetAct::Upload { key: key.to_owned(), expected_bytes };
        let handle = self.act(scope, act, Vec::new(), 0).await?.parse()?;
        Ok(Box::new(RemoteUpload {
            name: self.name.clone(),
            handle,
            scope: scope.clone(),
            link: Arc::clone(&self.link),
            open: true,
        }))
    }

    async fn get(&self, scope: &Scope, key: &str, range: Range<u64>) -> Result<Vec<u8>> {
        let asked = length(&range)?;
        let act = TargetAct::Get { key: key.to_owned(), start: range.start, end: range.end };
        block(self.act(scope, act, Vec::new(), asked).await?, asked, &self.name)
    }

    async fn list(&self, scope: &Scope, prefix: &str, after: Option<&str>) -> Result<Vec<Object>> {
        let act = TargetAct::List { prefix: prefix.to_owned(), after: after.map(str::to_owned) };
        self.act(scope, act, Vec::new(), 0).await?.parse()
    }

    async fn stat(&self, scope: &Scope, key: &str) -> Result<Option<Object>> {
        self.act(scope, TargetAct::Stat { key: key.to_owned() }, Vec::new(), 0).await?.parse()
    }

    async fn delete(&self, scope: &Scope, key: &str) -> Result<()> {
        self.act(scope, TargetAct::Delete { key: key.to_owned() }, Vec::new(), 0).await?.parse()
    }

    async fn free_bytes(&self, scope: &Scope) -> Result<Option<u64>> {
        self.act(scope, TargetAct::FreeBytes, Vec::new(), 0).await?.parse()
    }
}

/// An upload to a target in the other process. Dropped while open, it is aborted there.
#[derive(Debug)]
struct RemoteUpload {
    name: String,
    handle: u64,
    /// Of the call that opened it: the contract's later methods have none.
    scope: Scope,
    link: Arc<dyn Link>,
    open: bool,
}

impl RemoteUpload {
    fn call(&self, act: UploadAct) -> ComponentCall {
        ComponentCall::Upload { name: self.name.clone(), handle: self.handle, act }
    }
}

#[async_trait]
impl Upload for RemoteUpload {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.link.call(&self.scope, self.call(UploadAct::Write), bytes.to_vec(), 0).await?.parse()
    }

    async fn read_back(&mut self, range: Range<u64>) -> Result<Vec<u8>> {
        let asked = length(&range)?;
        let call = self.call(UploadAct::ReadBack { start: range.start, end: range.end });
        block(self.link.call(&self.scope, call, Vec::new(), asked).await?, asked, &self.name)
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        self.link.call(&self.scope, self.call(UploadAct::Finish), Vec::new(), 0).await?.parse::<()>()?;
        self.open = false;
        Ok(())
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        self.open = false;
        // What is cancelled is cleaned up all the same.
        let scope = Scope { cancel: crate::cancel::Cancel::new(), ..self.scope.clone() };
        self.link.call(&scope, self.call(UploadAct::Abort), Vec::new(), 0).await?.parse()
    }
}

impl Drop for RemoteUpload {
    fn drop(&mut self) {
        if self.open {
            self.link.tell(self.call(UploadAct::Abort));
        }
    }
}
