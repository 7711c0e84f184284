//! The way from the contracts to an object.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;

use crate::backup::target::{MAX_BLOCK, check_key};
use crate::cancel::{Cancel, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::health::CheckOutcome;
use crate::remote::{ComponentCall, Link, Payload, StoreAct, TargetAct, UploadAct};
use crate::store::{IntegrityReport, MaintenanceOutcome, MaintenanceTask, StoreStats};

use super::answer::Answer;
use super::caller::Caller;
use super::contract::{Contract, Method};

/// Calls an object.
#[derive(Debug)]
pub(super) struct PluginLink {
    caller: Caller,
    name: String,
    /// Whether uploads must have `read_back`.
    read_before_finish: bool,
    uploads: Mutex<HashMap<u64, Open>>,
    next_handle: AtomicU64,
}

/// An upload that is neither finished nor aborted.
#[derive(Debug, Clone)]
struct Open {
    upload: Caller,
    /// Where it is aborted when it is dropped.
    runtime: Handle,
}

impl PluginLink {
    pub(super) fn new(caller: Caller, name: &str, read_before_finish: bool) -> Self {
        Self {
            caller,
            name: name.to_owned(),
            read_before_finish,
            uploads: Mutex::default(),
            next_handle: AtomicU64::new(1),
        }
    }

    async fn ask<'a>(
        &self,
        caller: &'a Caller,
        scope: &Scope,
        method: &'static Method,
        arguments: Map<String, Value>,
        bytes: Option<Vec<u8>>,
    ) -> Result<Answer<'a>> {
        let reply = caller.call(scope, method, arguments, bytes).await?;
        Ok(Answer { caller, method, reply })
    }

    async fn store(&self, scope: &Scope, act: StoreAct) -> Result<Payload> {
        let method = Contract::Store.method(act.method())?;
        if let (StoreAct::Maintain { tasks }, false) = (&act, self.caller.has(method)) {
            // What is not there is refused all the same.
            let stats = Contract::Store.method("stats")?;
            self.caller.call(scope, stats, Map::new(), None).await?;
            return Payload::of(&skipped(tasks));
        }
        if let (StoreAct::InspectCopy { .. }, false) = (&act, self.caller.has(method)) {
            let message = format!("store {:?} does not count rows or take queries", self.name);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let asked = match &act {
            StoreAct::InspectCopy { queries, .. } => queries.len(),
            _ => 0,
        };
        let began = scope.clock.now();
        let answer = self.ask(&self.caller, scope, method, arguments(&act)?, None).await?;
        match act {
            StoreAct::Stats => answer.with_defaults::<StoreStats>([("log_bytes", json!(0)), ("details", json!({}))]),
            StoreAct::Verify { .. } | StoreAct::CheckCopy { .. } => {
                answer.with_defaults::<IntegrityReport>([("problems", json!([]))])
            }
            StoreAct::InspectCopy { .. } => answer.inspected(asked),
            StoreAct::SnapshotTo { dir } => answer.snapshot(&dir.0, began),
            StoreAct::RestoreFrom { .. } => Ok(answer.nothing()),
            StoreAct::Maintain { tasks } => answer.maintained(&tasks),
        }
    }

    async fn target(&self, scope: &Scope, act: TargetAct, body: Vec<u8>) -> Result<Payload> {
        let method = Contract::Target.method(act.method())?;
        match &act {
            TargetAct::Put { key, .. }
            | TargetAct::Upload { key, .. }
            | TargetAct::Get { key, .. }
            | TargetAct::Stat { key }
            | TargetAct::Delete { key } => check_key(key)?,
            TargetAct::FreeBytes if !self.caller.has(method) => return Payload::of(&None::<u64>),
            TargetAct::List { .. } | TargetAct::FreeBytes => {}
        }
        let bytes = match act {
            TargetAct::Put { .. } => Some(block(body)?),
            _ => None,
        };
        let answer = self.ask(&self.caller, scope, method, arguments(&act)?, bytes).await?;
        match act {
            TargetAct::Put { if_absent, .. } => answer.stored(if_absent),
            TargetAct::Upload { .. } => self.opened(answer),
            TargetAct::Get { key, .. } => answer.block_of(&key),
            TargetAct::List { prefix, after } => answer.list(&prefix, after.as_deref()),
            TargetAct::Stat { key } => answer.stat(&key),
            TargetAct::Delete { .. } => Ok(answer.nothing()),
            TargetAct::FreeBytes => answer.value::<Option<u64>>(),
        }
    }

    /// Keeps the object that `upload` returned.
    fn opened(&self, answer: Answer<'_>) -> Result<Payload> {
        let object = answer.object()?;
        let facts = object.facts();
        Contract::Upload.check(&self.name, &facts)?;
        let read_back = Contract::Upload.method("read_back")?;
        if self.read_before_finish && !facts.has(read_back.name) {
            Contract::Upload.refuse(&self.name, &facts, &[read_back])?;
        }
        let upload = self.caller.opened("upload", object, facts);
        let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
        self.uploads().insert(handle, Open { upload, runtime: Handle::current() });
        Payload::of(&handle)
    }

    async fn upload(&self, scope: &Scope, handle: u64, act: UploadAct, body: Vec<u8>) -> Result<Payload> {
        let closed = || Error::new(ErrorKind::Refused, format!("upload {handle} of {:?} is not open", self.name));
        let Open { upload, .. } = self.uploads().get(&handle).cloned().ok_or_else(closed)?;
        let method = Contract::Upload.method(act.method())?;
        if matches!(act, UploadAct::ReadBack { .. }) && !(self.read_before_finish && upload.has(method)) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("target {:?} cannot read an upload back before it is finished", self.name),
            ));
        }
        let bytes = match act {
            UploadAct::Write => Some(block(body)?),
            _ => None,
        };
        if act == UploadAct::Abort {
            self.uploads().remove(&handle);
        }
        let answer = self.ask(&upload, scope, method, arguments(&act)?, bytes).await;
        if act == UploadAct::Finish {
            self.uploads().remove(&handle);
            if answer.is_err() {
                // The object that could not be finished is not left lying about. Why it could not is what counts.
                let scope = Scope { cancel: Cancel::new(), ..scope.clone() };
                let abort = Contract::Upload.method("abort")?;
                let _ = upload.call(&scope, abort, Map::new(), None).await;
            }
        }
        match act {
            UploadAct::ReadBack { .. } => answer?.block(),
            UploadAct::Write | UploadAct::Finish | UploadAct::Abort => Ok(answer?.nothing()),
        }
    }

    async fn check(&self, scope: &Scope) -> Result<Payload> {
        let method = Contract::Check.method("check")?;
        self.ask(&self.caller, scope, method, Map::new(), None).await?.value::<CheckOutcome>()
    }

    fn uploads(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Link for PluginLink {
    async fn call(&self, scope: &Scope, call: ComponentCall, body: Vec<u8>, _: usize) -> Result<Payload> {
        match call {
            ComponentCall::Store { act, .. } => self.store(scope, act).await,
            ComponentCall::Target { act, .. } => self.target(scope, act, body).await,
            ComponentCall::Upload { handle, act, .. } => self.upload(scope, handle, act, body).await,
            ComponentCall::Check { .. } => self.check(scope).await,
            ComponentCall::Pause { .. } => Err(Error::internal("a pause is called without a link")),
        }
    }

    fn tell(&self, call: ComponentCall) {
        let ComponentCall::Upload { handle, act: UploadAct::Abort, .. } = call else { return };
        let (open, abort) = (self.uploads().remove(&handle), Contract::Upload.method("abort"));
        if let (Some(Open { upload, runtime }), Ok(abort)) = (open, abort) {
            runtime.spawn(async move {
                // Whoever dropped the upload is not there to be told.
                let _ = upload.call(&Scope::default(), abort, Map::new(), None).await;
            });
        }
    }

    fn keeps_handles(&self) -> bool {
        true
    }
}

/// The arguments of an act, in wire names.
fn arguments(act: &impl serde::Serialize) -> Result<Map<String, Value>> {
    match Payload::of(act)?.value {
        // `{"put": {"key": …}}`, or `"stats"`.
        Value::Object(act) => match act.into_iter().next() {
            Some((_, Value::Object(arguments))) => Ok(arguments),
            _ => Err(Error::internal("the arguments of a call have another shape")),
        },
        _ => Ok(Map::new()),
    }
}

/// A block that may cross.
fn block(bytes: Vec<u8>) -> Result<Vec<u8>> {
    if bytes.len() <= MAX_BLOCK {
        return Ok(bytes);
    }
    Err(Error::invalid(format!("a block of {} bytes was given: {MAX_BLOCK} is the limit", bytes.len()))
        .with_hint("give it in several blocks"))
}

/// The outcome of upkeep that a store does not do.
fn skipped(tasks: &[MaintenanceTask]) -> Vec<MaintenanceOutcome> {
    let skipped = |task: &MaintenanceTask| MaintenanceOutcome {
        task: *task,
        done: false,
        message: "skipped: this store does no upkeep".to_owned(),
    };
    tasks.iter().map(skipped).collect()
}
