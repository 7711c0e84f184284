//! The seam to the journal: what is recorded of an operation, and by whom.

use std::fmt::Debug;

use serde_json::Value;

use crate::clock::Timestamp;
use crate::error::{ErrorBody, Result};

/// How an operation came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was done, and the answer is not a good one.
    Unhealthy,
    /// It was not done.
    Failed,
}

/// What is recorded of an operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// When it began.
    pub time: Timestamp,
    /// Its name.
    pub operation: String,
    /// How it came out.
    pub outcome: Outcome,
    /// How long it took.
    pub duration_seconds: f64,
    /// The process that ran it.
    pub pid: u32,
    /// What it was asked.
    pub request: Value,
    /// What it answered; null when it failed.
    pub response: Value,
    /// Why it failed.
    pub error: Option<ErrorBody>,
}

/// Keeps records. `Ops` alone calls it, once for each journalled operation, after it ended.
pub trait Recorder: Send + Sync + Debug {
    /// Keeps one. May block: it is called where blocking is allowed.
    fn record(&self, record: &Record) -> Result<()>;
}
