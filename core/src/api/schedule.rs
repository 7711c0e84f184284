//! `schedule.*`: what runs by itself, when, and how it went.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{ErrorBody, Result};
use crate::ops::{Context, Effect, Operation, Place};
use crate::schedule::{JobFact, LastRun, Role, RunOutcome, RunReport, Trigger, Why};

/// Nothing to ask.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleListRequest {}

/// What runs by itself.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleListResponse {
    /// The jobs, those of `[backup]` first.
    pub jobs: Vec<KnownJob>,
    /// The process that runs them. Nothing when none does.
    pub leader: Option<Leader>,
    /// What the process that answers does about them.
    pub role: Role,
    /// What keeps it from running them.
    pub trouble: Option<ErrorBody>,
}

/// A job.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct KnownJob {
    /// Its name.
    pub name: String,
    /// The operation that it runs.
    pub operation: String,
    /// When it runs, as a cron expression.
    pub schedule: Option<String>,
    /// The time zone of the schedule.
    pub timezone: Option<String>,
    /// When it runs, in words.
    pub words: String,
    /// The job after whose success it runs.
    pub after: Option<String>,
    /// Whether it runs by itself.
    pub enabled: bool,
    /// When it runs next by itself. A time that is over says that it is due.
    pub next_run_at: Option<Timestamp>,
    /// The run that is going on.
    pub running: Option<RunningJob>,
    /// The last run that ended.
    pub last_run: Option<LastRun>,
    /// When a run last ended well.
    pub last_success_at: Option<Timestamp>,
    /// How late it is, in seconds.
    pub overdue_seconds: Option<f64>,
}

/// A run that is going on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RunningJob {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub why: Why,
    /// The process that runs it.
    pub pid: u32,
}

/// The process that runs the jobs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Leader {
    /// Its process id.
    pub pid: u32,
    /// Since when it leads.
    pub since: Timestamp,
    /// Whether it is the one that answers.
    pub is_this_process: bool,
}

impl From<JobFact> for KnownJob {
    fn from(fact: JobFact) -> Self {
        let JobFact { job, state, next_run_at, overdue } = fact;
        let (words, after) = match &job.trigger {
            Trigger::Schedule(schedule) => (schedule.cron().in_words(), None),
            Trigger::After(first) => (format!("after {first}"), Some(first.clone())),
            Trigger::ByHand => ("by hand".to_owned(), None),
        };
        Self {
            name: job.name.clone(),
            operation: job.operation.clone(),
            schedule: job.schedule().map(|schedule| schedule.cron().to_string()),
            timezone: job.schedule().map(|schedule| schedule.zone_name().to_owned()),
            words,
            after,
            enabled: job.enabled,
            next_run_at,
            running: state.running.map(|running| RunningJob {
                since: running.since,
                why: running.why,
                pid: running.owner.pid,
            }),
            last_run: state.last,
            last_success_at: state.last_success_at,
            overdue_seconds: overdue.map(|late| late.as_secs_f64()),
        }
    }
}

/// `schedule.list`
#[derive(Debug)]
pub struct List;

impl Operation for List {
    const NAME: &'static str = "schedule.list";
    const SUMMARY: &'static str = "List the jobs: when they run, how the last run went, who runs them";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Request = ScheduleListRequest;
    type Response = ScheduleListResponse;

    async fn run(context: Arc<Context>, scope: Scope, _: ScheduleListRequest) -> Result<ScheduleListResponse> {
        let room = &context.jobs;
        let (role, trouble) = room.standing();
        let leader = room.leader()?.map(|leader| Leader {
            pid: leader.owner.pid,
            since: leader.since,
            is_this_process: leader.owner == context.process.identity,
        });
        let jobs = room.look(scope.clock.now())?.into_iter().map(KnownJob::from).collect();
        Ok(ScheduleListResponse { jobs, leader, role, trouble })
    }
}

/// Which job.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleRunRequest {
    /// The job's name.
    pub job: String,
}

/// How the run went.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleRunResponse {
    /// The job's own run.
    #[serde(flatten)]
    pub run: RunReport,
    /// The runs of the jobs that follow it.
    pub then: Vec<RunReport>,
}

/// `schedule.run`
#[derive(Debug)]
pub struct Run;

impl Operation for Run {
    const NAME: &'static str = "schedule.run";
    const SUMMARY: &'static str = "Run a job now, and after its success those that follow it";
    const EFFECT: Effect = Effect::Change;
    const PLACE: Place = Place::Host;
    type Request = ScheduleRunRequest;
    type Response = ScheduleRunResponse;

    async fn run(context: Arc<Context>, scope: Scope, request: ScheduleRunRequest) -> Result<ScheduleRunResponse> {
        let mut reports = context.jobs.run(&request.job, &scope).await?.into_iter();
        let run = reports.next().ok_or_else(|| crate::Error::internal("a job ran and reported nothing"))?;
        // Whoever cancelled wants to hear that it was cancelled.
        if run.outcome == RunOutcome::Interrupted {
            scope.cancel.check()?;
        }
        Ok(ScheduleRunResponse { run, then: reports.collect() })
    }

    fn healthy(response: &ScheduleRunResponse) -> bool {
        std::iter::once(&response.run).chain(&response.then).all(|run| run.outcome == RunOutcome::Done)
    }
}
