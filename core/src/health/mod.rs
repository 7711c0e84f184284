//! The contract of a health check.
//!
//! A check answers one question and says what it observed. The runner ([`Runner`]) owns the deadline, the
//! concurrency and the verdict; a check that panics, hangs or is missing never passes.

mod blocking;
pub mod checks;
pub(crate) mod own;
mod runner;

use std::fmt::Debug;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cancel::Scope;
use crate::error::Result;

pub use blocking::Blocking;
pub use runner::{CheckReport, Entry as RunnerEntry, HealthReport, Runner};

/// One question about the service.
///
/// Clauses, each with a case in the public suite (`testing::check`): it changes nothing; it may be called
/// again at once; it gives up when `scope.cancel` is raised; an `Err` means that the question could not be
/// asked, and counts as a failure.
#[async_trait]
pub trait HealthCheck: Send + Sync + Debug {
    /// Asks.
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome>;
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckOutcome {
    /// The verdict.
    pub status: CheckStatus,
    /// The number behind it, when there is one.
    pub observed: Option<f64>,
    /// Its unit: `bytes`, `seconds`, `ratio`, ….
    pub unit: Option<String>,
    /// What was found, as a sentence without a full stop; the repair when the status is not `pass`.
    pub message: String,
}

impl CheckOutcome {
    /// An outcome without a number.
    pub fn new(status: CheckStatus, message: impl Into<String>) -> Self {
        Self { status, observed: None, unit: None, message: message.into() }
    }

    /// Adds the number behind it.
    #[must_use]
    pub fn observing(mut self, value: f64, unit: impl Into<String>) -> Self {
        self.observed = Some(value);
        self.unit = Some(unit.into());
        self
    }
}

/// A verdict. The order is that of severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// All is well.
    Pass,
    /// Somebody should look, the service works.
    Warn,
    /// The service does not do what it should.
    Fail,
}
