//! `metrics.render`: every number, as Prometheus reads it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::metrics::{Family, Format, MetricKind, MetricsSnapshot, global, own, render};
use crate::ops::history;
use crate::ops::{Context, Effect, Operation, Place};
use crate::schedule::{JobFact, RunOutcome};

/// How to write the numbers.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenderRequest {
    /// The format. `text` when missing.
    #[serde(default)]
    pub format: Option<Format>,
}

/// The numbers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RenderResponse {
    /// What to send as `Content-Type`.
    pub content_type: String,
    /// The text.
    pub body: String,
}

/// `metrics.render`
#[derive(Debug)]
pub struct Render;

impl Operation for Render {
    const NAME: &'static str = "metrics.render";
    const SUMMARY: &'static str = "Write every metric as Prometheus reads it";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Request = RenderRequest;
    type Response = RenderResponse;

    async fn run(context: Arc<Context>, scope: Scope, request: RenderRequest) -> Result<RenderResponse> {
        let format = request.format.unwrap_or_default();
        let snapshot = snapshot(&context, scope.clock.now())?;
        Ok(RenderResponse { content_type: format.content_type().to_owned(), body: render(&snapshot, format) })
    }
}

/// Every number of the service: those that this process counts, and those that the journal and the jobs tell.
pub(crate) fn snapshot(context: &Context, now: Timestamp) -> Result<MetricsSnapshot> {
    // Registered on first use, so that a page of a fresh process has their names.
    own::own()?;
    let mut snapshot = global().snapshot();
    let mut backups = history::backups(&context.journal)?;
    backups.targets = context.targets.iter().map(|target| target.name.clone()).collect();
    snapshot.merge(backups.families());
    snapshot.merge(jobs(&context.jobs.look(now)?));
    Ok(snapshot)
}

/// How the jobs stand, as metrics. A time that never was is 0, so that an alert on its age fires.
fn jobs(facts: &[JobFact]) -> Vec<Family> {
    if facts.is_empty() {
        return Vec::new();
    }
    let gauge = |name: &str, help: &str| Family::new(name, MetricKind::Gauge, help).unit("seconds");
    let seconds = |time: Option<Timestamp>| time.map_or(0.0, |time| time.as_millisecond() as f64 / 1000.0);
    let mut success = gauge(
        "uplifted_ops_job_last_success_timestamp_seconds",
        "When the job last ended well, in seconds since the epoch; 0 when it never did",
    );
    let mut next = gauge(
        "uplifted_ops_job_next_run_timestamp_seconds",
        "When the job runs next by itself, in seconds since the epoch; one that is over says that it is due",
    );
    let mut duration = gauge("uplifted_ops_job_last_duration_seconds", "How long the job's last run took");
    let mut runs = Family::new("uplifted_ops_job_runs", MetricKind::Counter, "Runs of the job, by outcome");
    for JobFact { job, state, next_run_at, .. } in facts {
        let of_job = [("job", job.name.as_str())];
        success = success.number(&of_job, seconds(state.last_success_at));
        if next_run_at.is_some() {
            next = next.number(&of_job, seconds(*next_run_at));
        }
        if let Some(took) = state.last.as_ref().and_then(|last| last.duration_seconds) {
            duration = duration.number(&of_job, took);
        }
        for outcome in RunOutcome::ALL {
            let count = state.runs.get(&outcome).copied().unwrap_or(0);
            runs = runs.number(&[("job", &job.name), ("outcome", outcome.as_str())], count as f64);
        }
    }
    vec![success, next, duration, runs]
}
