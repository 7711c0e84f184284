//! What the page of metrics tells beside what is counted: the journal, the jobs, the databases, the machine.

use std::sync::Arc;
use std::time::Duration;

use crate::cancel::Scope;
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::health::HealthState;
use crate::metrics::{Family, MetricKind, MetricsSnapshot, global, own};
use crate::schedule::{JobFact, RunOutcome};

use super::context::{Context, RunMode};

/// Whose counts are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Those of all processes that share them.
    Service,
    /// Those of this one.
    Process,
}

/// Every number of the service: those that this process counts, and those that are told.
///
/// # Errors
/// When the journal or the state of the jobs cannot be read.
pub(crate) async fn snapshot(context: &Arc<Context>, clock: &Arc<dyn Clock>, scale: Scale) -> Result<MetricsSnapshot> {
    let scope = Scope { clock: Arc::clone(clock), ..Scope::default() };
    let told = told(context, &scope).await?;
    let mut snapshot = match scale {
        Scale::Service => global().snapshot(),
        Scale::Process => global().snapshot_here(),
    };
    snapshot.merge(told);
    Ok(snapshot)
}

/// As [`snapshot`], but has no database asked: what is written down all the time is to keep no worker awake.
///
/// # Errors
/// As [`snapshot`].
pub(super) async fn quiet_snapshot(context: &Arc<Context>, clock: &Arc<dyn Clock>) -> Result<MetricsSnapshot> {
    let told = read_elsewhere(context, clock).await?;
    let mut snapshot = global().snapshot();
    snapshot.merge(told);
    Ok(snapshot)
}

/// What is told, read from disks and from the kernel on a thread that may wait.
///
/// # Errors
/// As [`snapshot`].
pub(crate) async fn told(context: &Arc<Context>, scope: &Scope) -> Result<Vec<Family>> {
    let settings = &context.settings.metrics;
    if settings.collects("stores") && !context.stores.is_empty() {
        let numbers = Arc::clone(&context.store_numbers);
        let refresh = numbers.refresh(context.stores.clone(), Arc::clone(&scope.clock));
        match context.mode {
            // A page of the service shows what is known, and never waits.
            RunMode::Embedded => drop(tokio::spawn(refresh)),
            // There is no next page.
            RunMode::CommandLine => refresh.await,
        }
    }
    read_elsewhere(context, &scope.clock).await
}

async fn read_elsewhere(context: &Arc<Context>, clock: &Arc<dyn Clock>) -> Result<Vec<Family>> {
    context.redis_numbers.refresh(clock).await;
    tell_unknown(context, clock.monotonic())?;
    let now = clock.now();
    let context = Arc::clone(context);
    let read = tokio::task::spawn_blocking(move || read(&context, now));
    read.await.map_err(|error| Error::internal(format!("what the page tells was not read: {error}")))?
}

/// An answer that has expired is no event: it is looked at when somebody asks for the numbers.
fn tell_unknown(context: &Context, now: Duration) -> Result<()> {
    if context.watch.is_running() {
        let view = context.watch.view(None, false, now)?;
        for check in view.checks.iter().filter(|check| check.status == HealthState::Unknown) {
            own::own()?.check(&check.name, check.status.as_str(), check.duration_seconds.unwrap_or(0.0))?;
        }
    }
    Ok(())
}

fn read(context: &Context, now: Timestamp) -> Result<Vec<Family>> {
    // Registered on first use, so that a page of a fresh process has their names.
    own::own()?;
    let settings = &context.settings.metrics;
    let mut families = service(context);
    if settings.collects("backups") {
        let mut backups = context.known_backups.of(&context.journal)?;
        backups.targets = context.targets.iter().map(|target| target.name.clone()).collect();
        families.extend(backups.families());
    }
    if settings.collects("jobs") {
        families.extend(jobs(&context.jobs.look(now)?));
    }
    if settings.collects("stores") {
        families.extend(super::follow_numbers::families(context, now)?);
        families.extend(context.store_numbers.families());
    }
    families.extend(context.redis_numbers.families());
    families.extend(context.collectors.families());
    families.extend(context.history.iter().flat_map(|history| history.families()));
    Ok(families)
}

/// That the service is there, and what it is. The names are fixed, as the guide's six are.
fn service(context: &Context) -> Vec<Family> {
    let name = context.service_name();
    let version = context.settings.service.version.clone().unwrap_or_default();
    let labels = [("service", name.as_str()), ("version", &version), ("ops_version", env!("CARGO_PKG_VERSION"))];
    let mut families = vec![
        Family::new("uplifted_build_info", MetricKind::Gauge, "The service and its version, in the labels")
            .number(&labels, 1.0),
    ];
    // On the command line it is not the service that answers.
    if context.mode == RunMode::Embedded {
        let help = "1 while the service is there: where numbers are pushed, nobody else says so";
        families.push(Family::new("uplifted_up", MetricKind::Gauge, help).number(&[], 1.0));
    }
    families
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
