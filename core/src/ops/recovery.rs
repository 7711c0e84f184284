//! Ending what a dead process left of a restore, before anything else is done.

use std::sync::Arc;

use serde_json::Value;

use crate::backup::restore::{self, Outcome, Recovered, Service, Site};
use crate::cancel::Scope;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Record, RecordOutcome};

use super::context::{Context, RunMode};

/// Finishes or undoes what is left, keeps it in the journal and in the context.
///
/// # Errors
/// [`ErrorKind::Refused`] inside a service whose folder may be half old and half new: it must not start.
pub(super) fn recover(context: &mut Context, clock: &Arc<dyn Clock>) -> Result<()> {
    let scope = Scope { clock: Arc::clone(clock), ..Scope::default() };
    let recovered = restore::recover(&scope, &site(context, Service::default()))?;
    for one in &recovered {
        if one.outcome != Outcome::Pending {
            context.journal.append(&record(clock.as_ref(), one)?)?;
        }
    }
    if let (RunMode::Embedded, Some(one)) =
        (context.mode, recovered.iter().find(|one| one.outcome == Outcome::Unfinished))
    {
        let error = Error::new(ErrorKind::Refused, one.message.clone()).with_hint(
            "run `uplifted-ops status` in the service's folder and repair what it names before the service starts",
        );
        return Err(match &one.error {
            Some(cause) => error.with_source(Error::from(cause.clone())),
            None => error,
        });
    }
    context.recovered = recovered;
    Ok(())
}

/// The service as a restore sees it.
pub(crate) fn site<'a>(context: &Context, service: Service<'a>) -> Site<'a> {
    Site {
        root: context.root.clone(),
        state: context.state.clone(),
        protect: context.target_folders(),
        databases: context.database_files(),
        embedded: context.mode == RunMode::Embedded,
        ignore_pids: Vec::new(),
        service,
    }
}

fn record(clock: &dyn Clock, one: &Recovered) -> Result<Record> {
    let response = serde_json::to_value(one)
        .map_err(|error| Error::internal(format!("what became of a restore is not JSON: {error}")))?;
    Ok(Record {
        time: clock.now(),
        operation: "restore.recover".to_owned(),
        outcome: if one.outcome == Outcome::Unfinished { RecordOutcome::Failed } else { RecordOutcome::Done },
        duration_seconds: 0.0,
        pid: std::process::id(),
        request: Value::Null,
        response,
        error: one.error.clone(),
    })
}
