//! `store`: does a database answer, and is its log in bounds.
//!
//! Made for every `[[store]]` by itself; `health.without = ["store"]` in `ops.toml` leaves it out.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::health::{CheckOutcome, CheckStatus, HealthCheck};
use crate::store::{Store, StoreStats};
use crate::value::ByteSize;

/// Settings of [`StoreCheck`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StoreCheckSettings {
    /// Warn when the write-ahead log is larger than this.
    pub warn_log_bytes: ByteSize,
    /// Warn when the write-ahead log is larger than the database this many times…
    pub warn_log_ratio: f64,
    /// …and larger than this: the log of a small database is large beside it, and that is fine.
    pub small_log_bytes: ByteSize,
}

impl Default for StoreCheckSettings {
    fn default() -> Self {
        Self { warn_log_bytes: ByteSize(1 << 30), warn_log_ratio: 2.0, small_log_bytes: ByteSize(64 << 20) }
    }
}

/// Asks a database for its statistics. That it answers is the first thing; the runner's deadline is the bound.
#[derive(Debug)]
pub struct StoreCheck {
    name: String,
    store: Arc<dyn Store>,
    settings: StoreCheckSettings,
}

impl StoreCheck {
    /// A check of the store called `name`.
    pub fn new(name: impl Into<String>, store: Arc<dyn Store>, settings: StoreCheckSettings) -> Self {
        Self { name: name.into(), store, settings }
    }

    fn judge(&self, stats: &StoreStats) -> CheckOutcome {
        let size = ByteSize(stats.size_bytes);
        let name = &self.name;
        let mut message = format!("database {name} answers: {size}");
        if let Some(log) = stats.log_bytes.map(ByteSize) {
            if let Some(why) = self.is_too_large(log, stats) {
                let message = format!("the log of database {name} is {log} beside {size} of data: {why}");
                return CheckOutcome::new(CheckStatus::Warn, message).observing(log.0 as f64, "bytes");
            }
            message.push_str(&format!(", log {log}"));
        }
        if let Some(free) = free_ratio(stats) {
            message.push_str(&format!(", {:.0} % of its pages free", free * 100.0));
        }
        CheckOutcome::new(CheckStatus::Pass, message).observing(size.0 as f64, "bytes")
    }

    /// What to do about a log that is too large.
    fn is_too_large(&self, log: ByteSize, stats: &StoreStats) -> Option<&'static str> {
        let settings = &self.settings;
        // A server keeps a log of a size of its own, however small the database is.
        if let Some(target) = stats.details.get("log_target_bytes").and_then(serde_json::Value::as_u64) {
            return (log.0 > settings.warn_log_bytes.0.max(target.saturating_mul(2)))
                .then_some("look for a replication slot that nobody reads, and whether archiving fails");
        }
        let beside = log > settings.small_log_bytes && log.0 as f64 > settings.warn_log_ratio * stats.size_bytes as f64;
        (log > settings.warn_log_bytes || beside)
            .then_some("end long transactions and readers that keep it from being checkpointed")
    }
}

/// The share of free pages, where the driver tells `freelist_count` and `page_count` (SQLite's words).
fn free_ratio(stats: &StoreStats) -> Option<f64> {
    let number = |name: &str| stats.details.get(name).and_then(serde_json::Value::as_f64);
    let (free, all) = (number("freelist_count")?, number("page_count")?);
    (all > 0.0).then(|| free / all)
}

#[async_trait]
impl HealthCheck for StoreCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        scope.cancel.check()?;
        let stats = tokio::select! {
            biased;
            stats = self.store.stats(scope) => stats,
            () = scope.cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "cancelled by the caller")),
        };
        let stats = stats.map_err(|error| error.while_doing(format!("database {}", self.name)))?;
        Ok(self.judge(&stats))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::store::{
        CheckDepth, IntegrityReport, MaintenanceOutcome, MaintenanceTask, StoreCapability, StoreSnapshot,
    };

    use super::*;

    #[derive(Debug)]
    struct Fake(Option<StoreStats>);

    #[async_trait]
    impl Store for Fake {
        fn capability(&self) -> StoreCapability {
            StoreCapability {
                kind: "fake".into(),
                file: None,
                side_files: Vec::new(),
                copy_files: Vec::new(),
                maintenance: Vec::new(),
            }
        }

        async fn stats(&self, _: &Scope) -> Result<StoreStats> {
            match &self.0 {
                Some(stats) => Ok(stats.clone()),
                None => std::future::pending().await,
            }
        }

        async fn verify(&self, _: &Scope, _: CheckDepth) -> Result<IntegrityReport> {
            Err(Error::internal("not asked"))
        }

        async fn snapshot_to(&self, _: &Scope, _: &Path) -> Result<StoreSnapshot> {
            Err(Error::internal("not asked"))
        }

        async fn check_copy(&self, _: &Scope, _: &Path, _: CheckDepth) -> Result<IntegrityReport> {
            Err(Error::internal("not asked"))
        }

        async fn restore_from(&self, _: &Scope, _: &Path) -> Result<()> {
            Err(Error::internal("not asked"))
        }

        async fn maintain(&self, _: &Scope, _: &[MaintenanceTask]) -> Result<Vec<MaintenanceOutcome>> {
            Err(Error::internal("not asked"))
        }
    }

    fn check(stats: Option<StoreStats>) -> StoreCheck {
        StoreCheck::new("main", Arc::new(Fake(stats)), StoreCheckSettings::default())
    }

    fn stats(size_bytes: u64, log_bytes: u64) -> StoreStats {
        StoreStats { size_bytes, log_bytes: Some(log_bytes), details: serde_json::Map::new() }
    }

    #[tokio::test]
    async fn a_log_out_of_bounds_warns() {
        const MIB: u64 = 1 << 20;
        for (size, log, status) in [
            (100 * MIB, 4 * MIB, CheckStatus::Pass),
            (0, 0, CheckStatus::Pass),
            // The log of a small database grows to 4 MiB before SQLite checkpoints it.
            (MIB / 10, 4 * MIB, CheckStatus::Pass),
            (10 * MIB, 65 * MIB, CheckStatus::Warn),
            (100 * MIB, 65 * MIB, CheckStatus::Pass),
            (10 << 30, 1025 * MIB, CheckStatus::Warn),
        ] {
            let outcome = check(Some(stats(size, log))).check(&Scope::default()).await.unwrap();
            assert_eq!(outcome.status, status, "{size} {log}: {outcome:?}");
        }
    }

    #[tokio::test]
    async fn a_server_says_how_large_its_log_gets() {
        for (log, status) in
            [(Some(1 << 30), CheckStatus::Pass), (Some(5 << 30), CheckStatus::Warn), (None, CheckStatus::Pass)]
        {
            let mut stats = stats(8 << 20, 0);
            stats.log_bytes = log;
            stats.details.insert("log_target_bytes".into(), (2_u64 << 30).into());
            let outcome = check(Some(stats)).check(&Scope::default()).await.unwrap();
            assert_eq!(outcome.status, status, "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn free_pages_are_told() {
        let mut stats = stats(4096 * 100, 0);
        stats.details.insert("page_count".into(), 100.into());
        stats.details.insert("freelist_count".into(), 25.into());
        let outcome = check(Some(stats)).check(&Scope::default()).await.unwrap();
        assert!(outcome.message.ends_with("25 % of its pages free"), "{}", outcome.message);
    }

    #[tokio::test]
    async fn a_database_that_does_not_answer_is_given_up() {
        let scope = Scope::default();
        let check = check(None);
        let asked = check.check(&scope);
        tokio::pin!(asked);
        assert!(tokio::time::timeout(std::time::Duration::from_millis(1), &mut asked).await.is_err());
        scope.cancel.cancel();
        assert_eq!(asked.await.unwrap_err().kind(), ErrorKind::Cancelled);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn it_keeps_the_contract() {
        use crate::testing::{assert_all, check::Scene, check::run};
        let scene = Scene::new(|| Arc::new(check(Some(stats(1, 1))))).stuck(|| Arc::new(check(None)));
        assert_all(&run(scene).await);
    }
}
