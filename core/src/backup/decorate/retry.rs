//! Trying again: the policy, and a target that follows it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::backup::blocks::holds;
use crate::backup::target::{BackupTarget, Object, TargetCapability, Upload};
use crate::cancel::Scope;
use crate::error::Result;

/// When a call that failed is tried again: after a wait that doubles each time, less a random part of up to a
/// half, so that many callers who failed together do not come back together (AWS Architecture Blog, "Exponential
/// Backoff And Jitter").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How many more tries follow the first.
    pub retries: u32,
    /// The wait before the second try, at most.
    pub first_wait: Duration,
    /// No wait is longer.
    pub longest_wait: Duration,
    /// No try starts later than this after the first did.
    pub deadline: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            retries: 8,
            first_wait: Duration::from_millis(250),
            longest_wait: Duration::from_secs(20),
            deadline: Duration::from_secs(180),
        }
    }
}

impl RetryPolicy {
    /// Calls until it succeeds, fails for good ([`Error::retryable`]), the policy is at its end, or the caller
    /// cancels. `call` is told the number of the try, from 0. Its last error is returned; when it was not the
    /// first, it says in its context how many tries there were.
    pub async fn run<T, F>(&self, scope: &Scope, mut call: impl FnMut(u32) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let started = scope.clock.monotonic();
        let mut tries = 0;
        loop {
            scope.cancel.check()?;
            let error = match call(tries).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            tries += 1;
            let wait = self.wait_before(tries);
            let elapsed = scope.clock.monotonic().saturating_sub(started);
            if !error.retryable() || tries > self.retries || elapsed + wait > self.deadline {
                return Err(if tries > 1 { error.with_context("tries", tries) } else { error });
            }
            sleep(scope, wait).await?;
        }
    }

    /// The wait before the try with this number, from 1.
    fn wait_before(&self, number: u32) -> Duration {
        let doubled = self.first_wait.saturating_mul(1_u32.checked_shl(number - 1).unwrap_or(u32::MAX));
        let most = doubled.min(self.longest_wait);
        most.mul_f64(1.0 - random_fraction() / 2.0)
    }
}

/// At least 0 and less than 1. Without randomness everybody waits the whole time: no harm beside the crowd.
fn random_fraction() -> f64 {
    getrandom::u32().map_or(0.0, |random| f64::from(random) / (f64::from(u32::MAX) + 1.0))
}

/// Waits, unless the caller cancels.
pub(super) async fn sleep(scope: &Scope, wait: Duration) -> Result<()> {
    tokio::select! {
        () = tokio::time::sleep(wait) => Ok(()),
        () = scope.cancel.cancelled() => scope.cancel.check(),
    }
}

/// A target that tries calls again which failed for a passing reason.
///
/// A `put` with `if_absent` whose reply was lost, and that finds an object when it is tried again, looks whose it
/// is: its own bytes mean that the first try did it. An upload is begun again, but what fails in the middle of one
/// fails: its bytes are gone. A kind that can do better, such as `s3` with its parts, does it by itself.
#[derive(Debug, Clone)]
pub struct Retry {
    inner: Arc<dyn BackupTarget>,
    policy: RetryPolicy,
}

impl Retry {
    /// Tries `inner`'s calls again as `policy` says.
    pub fn new(inner: Arc<dyn BackupTarget>, policy: RetryPolicy) -> Self {
        Self { inner, policy }
    }
}

#[async_trait]
impl BackupTarget for Retry {
    fn capability(&self) -> TargetCapability {
        self.inner.capability()
    }

    async fn probe(&self, scope: &Scope) -> Result<TargetCapability> {
        self.policy.run(scope, |_| self.inner.probe(scope)).await
    }

    async fn put(&self, scope: &Scope, key: &str, bytes: &[u8], if_absent: bool) -> Result<bool> {
        let once = |number: u32| async move { Ok((self.inner.put(scope, key, bytes, if_absent).await?, number)) };
        match self.policy.run(scope, once).await? {
            (false, 1..) => self.policy.run(scope, |_| holds(scope, &*self.inner, key, bytes)).await,
            (put, _) => Ok(put),
        }
    }

    async fn upload(&self, scope: &Scope, key: &str, expected_bytes: Option<u64>) -> Result<Box<dyn Upload>> {
        self.policy.run(scope, |_| self.inner.upload(scope, key, expected_bytes)).await
    }

    async fn get(&self, scope: &Scope, key: &str, range: Range<u64>) -> Result<Vec<u8>> {
        self.policy.run(scope, |_| self.inner.get(scope, key, range.clone())).await
    }

    async fn list(&self, scope: &Scope, prefix: &str, after: Option<&str>) -> Result<Vec<Object>> {
        self.policy.run(scope, |_| self.inner.list(scope, prefix, after)).await
    }

    async fn stat(&self, scope: &Scope, key: &str) -> Result<Option<Object>> {
        self.policy.run(scope, |_| self.inner.stat(scope, key)).await
    }

    async fn delete(&self, scope: &Scope, key: &str) -> Result<()> {
        self.policy.run(scope, |_| self.inner.delete(scope, key)).await
    }

    async fn free_bytes(&self, scope: &Scope) -> Result<Option<u64>> {
        self.policy.run(scope, |_| self.inner.free_bytes(scope)).await
    }
}
