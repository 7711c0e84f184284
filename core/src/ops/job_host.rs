//! What jobs see of the core: the operations, recorded as if somebody had called them.

use std::sync::{Arc, Weak};

use serde_json::{Value, json};

use crate::cancel::{Cancel, Scope};
use crate::clock::Clock;
use crate::config::reference;
use crate::error::{Error, Result};
use crate::journal::{Record, RecordOutcome};
use crate::schedule::{Called, Host, HostAnswer, RunOutcome, RunReport};
use crate::value::Secret;

use super::front::{Core, closed};
use super::table::find_operation;

/// The core, which it does not keep alive.
#[derive(Debug)]
pub(super) struct CoreHost {
    core: Weak<Core>,
    clock: Arc<dyn Clock>,
}

impl CoreHost {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self { core: Arc::downgrade(core), clock: Arc::clone(&core.clock) }
    }

    fn core(&self) -> Result<Arc<Core>> {
        self.core.upgrade().ok_or_else(closed)
    }
}

impl Host for CoreHost {
    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    fn call(&self, operation: &str, request: Value, scope: Scope) -> Called {
        let found = self.core().and_then(|core| Ok((find_operation(operation, core.operations)?, core)));
        Box::pin(async move {
            let (entry, core) = found?;
            let answer = core.journalled(entry, scope, request, None)(Cancel::new()).await?;
            Ok(HostAnswer { response: answer.response, healthy: answer.healthy })
        })
    }

    fn resolve(&self, text: &str) -> Result<Secret> {
        let core = self.core()?;
        let context = &core.context;
        let of_name = |name: &str| context.environment.iter().rev().find(|(known, _)| known == name);
        reference::resolve_with(text, &context.root, |name| of_name(name).map(|(_, value)| value.clone()))
    }

    fn journal(&self, report: &RunReport) -> Result<()> {
        self.core()?.context.journal.append(&record(report)?)
    }
}

/// The record of a run that nobody asked for, as if somebody had called `schedule.run`. What the operation answered is
/// in the record of the operation.
fn record(report: &RunReport) -> Result<Record> {
    let mut response = serde_json::to_value(report)
        .map_err(|error| Error::internal(format!("the report of a job is not JSON: {error}")))?;
    response["response"] = Value::Null;
    Ok(Record {
        time: report.started_at,
        operation: "schedule.run".to_owned(),
        outcome: match report.outcome {
            RunOutcome::Done => RecordOutcome::Done,
            RunOutcome::Unhealthy | RunOutcome::Skipped => RecordOutcome::Unhealthy,
            RunOutcome::Failed | RunOutcome::TimedOut | RunOutcome::Interrupted => RecordOutcome::Failed,
        },
        duration_seconds: report.duration_seconds.unwrap_or(0.0),
        pid: std::process::id(),
        request: json!({ "job": report.job, "why": report.why, "scheduled_for": report.scheduled_for }),
        response,
        error: report.error.clone(),
    })
}
