//! The contracts, by calls over a [`Link`].

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use crate::backup::pause::{Hold, PauseReport, Pauser};
use crate::backup::target::MAX_BLOCK;
use crate::backup::{BackupTarget, Object, TargetCapability, Upload};
use crate::cancel::{Cancel, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::health::{CheckOutcome, HealthCheck};
use crate::store::{
    CheckDepth, CopyFacts, Inspection, IntegrityReport, MaintenanceOutcome, MaintenanceTask, Store, StoreCapability,
    StoreSnapshot, StoreStats,
};

use super::call::{ComponentCall, PauseAct, StoreAct, TargetAct, UploadAct};
use super::link::{Link, Payload};
use super::path::WirePath;

/// A database whose store lives elsewhere.
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

    async fn inspect_copy(&self, scope: &Scope, dir: &Path, inspection: &Inspection) -> Result<CopyFacts> {
        let Inspection { rows, queries } = inspection.clone();
        self.act(scope, StoreAct::InspectCopy { dir: wire(dir), rows, queries }).await
    }

    async fn restore_from(&self, scope: &Scope, dir: &Path) -> Result<()> {
        self.act(scope, StoreAct::RestoreFrom { dir: wire(dir) }).await
    }

    async fn maintain(&self, scope: &Scope, tasks: &[MaintenanceTask]) -> Result<Vec<MaintenanceOutcome>> {
        self.act(scope, StoreAct::Maintain { tasks: tasks.to_vec() }).await
    }
}

/// A check that lives elsewhere.
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

/// The way to the process that can pause the service.
#[derive(Debug)]
pub(crate) struct RemotePauser {
    pub(crate) link: Arc<dyn Link>,
}

#[async_trait]
impl Pauser for RemotePauser {
    async fn begin(&self, scope: &Scope) -> Result<Box<dyn Hold>> {
        let call = ComponentCall::Pause { act: PauseAct::Begin };
        let handle = self.link.call(scope, call, Vec::new(), 0).await?.parse()?;
        Ok(Box::new(RemoteHold { handle, scope: scope.clone(), link: Arc::clone(&self.link), open: true }))
    }
}

/// A pause that the other process holds.
#[derive(Debug)]
struct RemoteHold {
    handle: u64,
    scope: Scope,
    link: Arc<dyn Link>,
    open: bool,
}

#[async_trait]
impl Hold for RemoteHold {
    async fn end(mut self: Box<Self>) -> Result<PauseReport> {
        self.open = false;
        // Whoever cancels wants the service to go on all the more.
        let scope = Scope { cancel: Cancel::new(), ..self.scope.clone() };
        let call = ComponentCall::Pause { act: PauseAct::End { handle: self.handle } };
        self.link.call(&scope, call, Vec::new(), 0).await?.parse()
    }
}

impl Drop for RemoteHold {
    fn drop(&mut self) {
        if self.open {
            self.link.tell(ComponentCall::Pause { act: PauseAct::End { handle: self.handle } });
        }
    }
}

/// A place for backups that lives elsewhere.
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

/// An upload to a target that lives elsewhere. Dropped while open, it is aborted there.
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
