//! A decorator that lets chosen calls of a target fail.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::backup::target::{BackupTarget, Object, TargetCapability, Upload};
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};

/// A call of [`BackupTarget`] or of its [`Upload`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the method of that name")]
pub enum Call {
    Put,
    Upload,
    Get,
    List,
    Stat,
    Delete,
    FreeBytes,
    Write,
    ReadBack,
    Finish,
    Abort,
}

/// Decides by call, key and running number (from 1) whether a call fails, and with what.
type Rule = Arc<dyn Fn(Call, &str, u64) -> Option<ErrorKind> + Send + Sync>;

/// A target that passes every call on to another, except for those that a rule picks to fail instead.
#[derive(Clone)]
pub struct FaultyTarget {
    inner: Arc<dyn BackupTarget>,
    plan: Arc<Plan>,
}

struct Plan {
    rule: Rule,
    calls: AtomicU64,
    seen: Mutex<Vec<(Call, String)>>,
}

impl FaultyTarget {
    /// Wraps `inner`. `rule` is asked before each call, with the call's number from 1.
    pub fn new(
        inner: Arc<dyn BackupTarget>,
        rule: impl Fn(Call, &str, u64) -> Option<ErrorKind> + Send + Sync + 'static,
    ) -> Self {
        let plan = Plan { rule: Arc::new(rule), calls: AtomicU64::new(0), seen: Mutex::default() };
        Self { inner, plan: Arc::new(plan) }
    }

    /// Wraps `inner` and lets the `number`-th call of that kind fail as unavailable.
    pub fn nth(inner: Arc<dyn BackupTarget>, call: Call, number: u64) -> Self {
        let count = AtomicU64::new(0);
        Self::new(inner, move |this, _, _| {
            let hit = this == call && count.fetch_add(1, Ordering::SeqCst) + 1 == number;
            hit.then_some(ErrorKind::Unavailable)
        })
    }

    /// Every call so far, in order, with its key (the prefix for `list`, nothing for `free_bytes`).
    pub fn calls(&self) -> Vec<(Call, String)> {
        self.plan.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Plan {
    fn pass(&self, call: Call, key: &str) -> Result<()> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push((call, key.to_owned()));
        match (self.rule)(call, key, number) {
            Some(kind) => Err(Error::new(kind, format!("injected: call {number}, {call:?} of {key:?}"))),
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for FaultyTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("FaultyTarget").field(&self.inner).finish()
    }
}

#[async_trait]
impl BackupTarget for FaultyTarget {
    fn capability(&self) -> TargetCapability {
        self.inner.capability()
    }

    async fn probe(&self, scope: &Scope) -> Result<TargetCapability> {
        self.inner.probe(scope).await
    }

    async fn put(&self, scope: &Scope, key: &str, bytes: &[u8], if_absent: bool) -> Result<bool> {
        self.plan.pass(Call::Put, key)?;
        self.inner.put(scope, key, bytes, if_absent).await
    }

    async fn upload(&self, scope: &Scope, key: &str, expected_bytes: Option<u64>) -> Result<Box<dyn Upload>> {
        self.plan.pass(Call::Upload, key)?;
        let inner = self.inner.upload(scope, key, expected_bytes).await?;
        Ok(Box::new(FaultyUpload { inner, plan: Arc::clone(&self.plan), key: key.to_owned() }))
    }

    async fn get(&self, scope: &Scope, key: &str, range: Range<u64>) -> Result<Vec<u8>> {
        self.plan.pass(Call::Get, key)?;
        self.inner.get(scope, key, range).await
    }

    async fn list(&self, scope: &Scope, prefix: &str, after: Option<&str>) -> Result<Vec<Object>> {
        self.plan.pass(Call::List, prefix)?;
        self.inner.list(scope, prefix, after).await
    }

    async fn stat(&self, scope: &Scope, key: &str) -> Result<Option<Object>> {
        self.plan.pass(Call::Stat, key)?;
        self.inner.stat(scope, key).await
    }

    async fn delete(&self, scope: &Scope, key: &str) -> Result<()> {
        self.plan.pass(Call::Delete, key)?;
        self.inner.delete(scope, key).await
    }

    async fn free_bytes(&self, scope: &Scope) -> Result<Option<u64>> {
        self.plan.pass(Call::FreeBytes, "")?;
        self.inner.free_bytes(scope).await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn Upload>,
    plan: Arc<Plan>,
    key: String,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan").field("calls", &self.calls).finish_non_exhaustive()
    }
}

#[async_trait]
impl Upload for FaultyUpload {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.plan.pass(Call::Write, &self.key)?;
        self.inner.write(bytes).await
    }

    async fn read_back(&mut self, range: Range<u64>) -> Result<Vec<u8>> {
        self.plan.pass(Call::ReadBack, &self.key)?;
        self.inner.read_back(range).await
    }

    async fn finish(self: Box<Self>) -> Result<()> {
        self.plan.pass(Call::Finish, &self.key)?;
        self.inner.finish().await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.plan.pass(Call::Abort, &self.key)?;
        self.inner.abort().await
    }
}
