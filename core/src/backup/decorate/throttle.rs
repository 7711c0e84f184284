//! A limit on the bytes a second.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::retry::sleep;
use crate::backup::target::{BackupTarget, Object, TargetCapability, Upload};
use crate::cancel::Scope;
use crate::error::Result;

/// Blocks up to this long do not wait, though they are charged: a lease that waits its turn behind a backup's own
/// blocks would expire.
const SMALL: u64 = 64 << 10;

/// A target that sends and reads no more than so many bytes a second, over everything that this process does with
/// it.
#[derive(Debug, Clone)]
pub struct Throttle {
    inner: Arc<dyn BackupTarget>,
    up: Option<Arc<Bucket>>,
    down: Option<Arc<Bucket>>,
}

impl Throttle {
    /// Limits what is sent to `inner` and what is read from it, in bytes a second, 0 counting as 1.
    pub fn new(inner: Arc<dyn BackupTarget>, up: Option<u64>, down: Option<u64>) -> Self {
        let bucket = |rate: Option<u64>| rate.map(|rate| Arc::new(Bucket::new(rate)));
        Self { inner, up: bucket(up), down: bucket(down) }
    }
}

/// A token bucket that holds what a second brings. A block larger than that takes it into debt, and whoever comes
/// next waits until the debt is paid.
#[derive(Debug)]
struct Bucket {
    rate: f64,
    level: Mutex<Level>,
}

#[derive(Debug, Default)]
struct Level {
    /// The debt in bytes at `at`; negative is credit.
    debt: f64,
    /// By the scope's monotonic clock; nothing before the first use.
    at: Option<Duration>,
}

impl Bucket {
    fn new(rate: u64) -> Self {
        Self { rate: rate.max(1) as f64, level: Mutex::default() }
    }

    /// Charges `bytes`, and returns how long to wait for them.
    fn charge(&self, now: Duration, bytes: u64) -> Duration {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = level.at.map_or(Duration::from_secs(1), |at| now.saturating_sub(at));
        level.at = Some(now);
        level.debt = (level.debt - elapsed.as_secs_f64() * self.rate).max(-self.rate) + bytes as f64;
        Duration::try_from_secs_f64(level.debt.max(0.0) / self.rate).unwrap_or(Duration::MAX)
    }
}

/// Charges `bytes` to `bucket` and waits for them.
async fn pay(scope: &Scope, bucket: Option<&Arc<Bucket>>, bytes: u64) -> Result<()> {
    let Some(bucket) = bucket else { return Ok(()) };
    let wait = bucket.charge(scope.clock.monotonic(), bytes);
    if bytes <= SMALL || wait.is_zero() { Ok(()) } else { sleep(scope, wait).await }
}

#[async_trait]
impl BackupTarget for Throttle {
    fn capability(&self) -> TargetCapability {
        self.inner.capability()
    }

    async fn probe(&self, scope: &Scope) -> Result<TargetCapability> {
        self.inner.probe(scope).await
    }

    async fn put(&self, scope: &Scope, key: &str, bytes: &[u8], if_absent: bool) -> Result<bool> {
        pay(scope, self.up.as_ref(), bytes.len() as u64).await?;
        self.inner.put(scope, key, bytes, if_absent).await
    }

    async fn upload(&self, scope: &Scope, key: &str, expected_bytes: Option<u64>) -> Result<Box<dyn Upload>> {
        let inner = self.inner.upload(scope, key, expected_bytes).await?;
        Ok(Box::new(ThrottledUpload { inner, target: self.clone(), scope: scope.clone() }))
    }

    async fn get(&self, scope: &Scope, key: &str, range: Range<u64>) -> Result<Vec<u8>> {
        let bytes = self.inner.get(scope, key, range).await?;
        // How much there was is known only now: it is paid for afterwards.
        pay(scope, self.down.as_ref(), bytes.len() as u64).await?;
        Ok(bytes)
    }

    async fn list(&self, scope: &Scope, prefix: &str, after: Option<&str>) -> Result<Vec<Object>> {
        self.inner.list(scope, prefix, after).await
    }

    async fn stat(&self, scope: &Scope, key: &str) -> Result<Option<Object>> {
        self.inner.stat(scope, key).await
    }

    async fn delete(&self, scope: &Scope, key: &str) -> Result<()> {
        self.inner.delete(scope, key).await
    }

    async fn free_bytes(&self, scope: &Scope) -> Result<Option<u64>> {
        self.inner.free_bytes(scope).await
    }
}

#[derive(Debug)]
struct ThrottledUpload {
    inner: Box<dyn Upload>,
    target: Throttle,
    scope: Scope,
}

#[async_trait]
impl Upload for ThrottledUpload {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        pay(&self.scope, self.target.up.as_ref(), bytes.len() as u64).await?;
        self.inner.write(bytes).await
    }

    async fn read_back(&mut self, range: Range<u64>) -> Result<Vec<u8>> {
        let bytes = self.inner.read_back(range).await?;
        pay(&self.scope, self.target.down.as_ref(), bytes.len() as u64).await?;
        Ok(bytes)
    }

    async fn finish(self: Box<Self>) -> Result<()> {
        self.inner.finish().await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort().await
    }
}
