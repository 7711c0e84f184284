//! The contract of a place where numbers go.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::cancel::Scope;
use crate::error::Result;

use super::MetricsSnapshot;

/// Where numbers go, in batches: never a call per increment.
///
/// Clauses, each with a case in the public suite (`testing::sink`): it is given each snapshot once; an error
/// loses nothing, since the next snapshot holds the same counters; it gives up when `scope.cancel` is raised.
#[async_trait]
pub trait MetricsSink: Send + Sync + Debug {
    /// Takes a snapshot of every series.
    async fn export(&self, scope: &Scope, snapshot: &MetricsSnapshot) -> Result<()>;
}
