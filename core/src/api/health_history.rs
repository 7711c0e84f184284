//! `health.history`: how the checks were, by the journal.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::health::{CheckHistory, Phase};
use crate::ops::{Context, Effect, Operation, Place, check_history};

/// Of which checks, and how far back.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryRequest {
    /// Only this check. All when missing.
    #[serde(default)]
    pub check: Option<String>,
    /// How many hours back. 168, a week, when missing.
    #[serde(default)]
    pub hours: Option<f64>,
    /// At most this many changes of each check, the newest. 20 when missing.
    #[serde(default)]
    pub changes: Option<usize>,
}

/// How the checks were.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryResponse {
    /// The beginning of the time that is told about.
    pub since: Timestamp,
    /// Its end: now.
    pub until: Timestamp,
    /// The checks, by name. Without any, nobody asked them in the background yet.
    pub checks: Vec<CheckHistory>,
}

/// `health.history`
#[derive(Debug)]
pub struct History;

impl Operation for History {
    const NAME: &'static str = "health.history";
    const SUMMARY: &'static str = "Tell how the checks were: uptime, failures, the last changes";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Request = HistoryRequest;
    type Response = HistoryResponse;

    async fn run(context: Arc<Context>, scope: Scope, request: HistoryRequest) -> Result<HistoryResponse> {
        let hours = request.hours.unwrap_or(168.0);
        let length = Duration::try_from_secs_f64(hours * 3600.0).ok().filter(|length| !length.is_zero());
        let length = length.filter(|_| hours <= 10.0 * 366.0 * 24.0).ok_or_else(|| {
            Error::invalid(format!("hours is {hours}")).with_hint("give hours above 0 and at most ten years")
        })?;
        let until = scope.clock.now();
        let since = until.checked_sub(length).unwrap_or(Timestamp::MIN);
        // What this process looks at, it knows to last until now.
        let observed = context.watch.is_running() && context.watch.phase() != Phase::Stopped;
        let most = request.changes.unwrap_or(20);
        let journal = context.journal.clone();
        let read = move || check_history::remembered(&journal, (since, until), observed, most);
        let mut checks = tokio::task::spawn_blocking(read)
            .await
            .map_err(|error| Error::internal(format!("the journal was not read: {error}")))??;
        if let Some(name) = &request.check {
            if !checks.iter().any(|check| check.name == *name) {
                return Err(check_history::unknown_check(name, &checks));
            }
            checks.retain(|check| check.name == *name);
        }
        Ok(HistoryResponse { since, until, checks })
    }
}
