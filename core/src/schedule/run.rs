//! One run of a job, from the lock to the record of how it went.

use std::collections::HashMap;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::job::{Job, Jobs};
use super::ping;
use super::state::{Folder, JobState, LastRun, RunOutcome, Running, Why};
use crate::cancel::{Cancel, Scope};
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, ErrorBody, ErrorKind, Result};
use crate::fs::ProcessLock;
use crate::process::{Liveness, ProcessIdentity};
use crate::value::Secret;

/// How often a lock is tried that somebody holds who does not run the job: for two seconds, longer than anybody looks at
/// its record.
const LOOKS: u32 = 400;
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// An operation that runs.
pub type Called = Pin<Box<dyn Future<Output = Result<HostAnswer>> + Send>>;

/// What a run needs of whoever has the operations.
pub trait Host: Send + Sync + Debug + 'static {
    /// The clock that everything goes by.
    fn clock(&self) -> Arc<dyn Clock>;

    /// Runs an operation, which obeys `scope.cancel`.
    fn call(&self, operation: &str, request: Value, scope: Scope) -> Called;

    /// What a setting that may be `env:NAME` stands for.
    ///
    /// # Errors
    /// When the variable is not set.
    fn resolve(&self, text: &str) -> Result<Secret>;

    /// Keeps the record of a run that nobody asked for.
    ///
    /// # Errors
    /// When it cannot be written.
    fn journal(&self, report: &RunReport) -> Result<()>;
}

/// What an operation answered.
#[derive(Debug, Clone)]
pub struct HostAnswer {
    /// The response.
    pub response: Value,
    /// Whether it is a good one.
    pub healthy: bool,
}

/// How a run of a job went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunReport {
    /// The job.
    pub job: String,
    /// The operation that it ran.
    pub operation: String,
    /// Why it ran.
    pub why: Why,
    /// The time of the schedule that it ran for.
    pub scheduled_for: Option<Timestamp>,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, in seconds. Nothing when its process died.
    pub duration_seconds: Option<f64>,
    /// How it ended.
    pub outcome: RunOutcome,
    /// What the operation answered. Null when it did not.
    pub response: Value,
    /// Why it did not end well.
    pub error: Option<ErrorBody>,
    /// Why the address of `ping_url` could not be told.
    pub ping_error: Option<String>,
}

impl RunReport {
    fn last_run(&self) -> LastRun {
        LastRun {
            started_at: self.started_at,
            duration_seconds: self.duration_seconds,
            why: self.why,
            scheduled_for: self.scheduled_for,
            outcome: self.outcome,
            error: self.error.clone(),
            ping_error: self.ping_error.clone(),
        }
    }
}

/// Runs jobs, by hand or by itself.
#[derive(Debug)]
pub struct Runner {
    /// The jobs.
    pub jobs: Jobs,
    /// Where their state is.
    pub folder: Folder,
    /// Who has the operations.
    pub host: Arc<dyn Host>,
    /// Runs that were left out and are not yet in the state, which is the running one's.
    pub(super) skipped: Mutex<HashMap<String, u64>>,
}

impl Runner {
    /// Makes one.
    pub fn new(jobs: Jobs, folder: Folder, host: Arc<dyn Host>) -> Self {
        Self { jobs, folder, host, skipped: Mutex::default() }
    }

    /// Runs `job`, and after its success those that follow it. The first report is its own.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when it runs already; what [`crate::fs`] says when its record cannot be kept: then it did
    /// not run, or the error says that it did.
    pub async fn run(
        &self,
        job: &Arc<Job>,
        why: Why,
        scheduled_for: Option<Timestamp>,
        scope: &Scope,
    ) -> Result<Vec<RunReport>> {
        let mut reports = Vec::new();
        let mut waiting = vec![(Arc::clone(job), why)];
        while let Some((job, why)) = waiting.pop() {
            let first = reports.is_empty();
            let report = match self.run_one(&job, why, scheduled_for.filter(|_| first), scope).await {
                Ok(report) => report,
                Err(error) if first => return Err(error),
                // Somebody runs it by hand at this moment.
                Err(error) if error.kind() == ErrorKind::Busy => self.skip(&job, why, None),
                Err(error) => return Err(error.while_doing(format!("the job {:?}", job.name))),
            };
            if report.outcome == RunOutcome::Done {
                waiting.extend(self.jobs.after(&job.name).into_iter().rev().map(|next| (next, Why::After)));
            }
            // Who asked by hand records it with the answer.
            if !(first && why == Why::ByHand) {
                self.keep(report.clone()).await?;
            }
            reports.push(report);
        }
        Ok(reports)
    }

    async fn run_one(
        &self,
        job: &Arc<Job>,
        why: Why,
        scheduled_for: Option<Timestamp>,
        scope: &Scope,
    ) -> Result<RunReport> {
        let clock = self.host.clock();
        let (folder, of) = (self.folder.clone(), Arc::clone(job));
        let now = clock.now();
        let begun = aside(move || {
            let lock = lock_to_run(&folder, &of)?;
            let mut state = folder.load(&of.name)?;
            if matches!(why, Why::Scheduled | Why::CatchUp) && of.schedule().is_some() {
                state.settled_until = Some(now.max(state.settled_until.unwrap_or(now)));
            }
            state.running = Some(Running { since: now, why, scheduled_for, owner: ProcessIdentity::current() });
            folder.save(&of.name, &state)?;
            Ok((lock, state))
        });
        let (lock, mut state) = begun.await?;

        let began = clock.monotonic();
        let (result, late) = self.call(job, scope, &clock).await;
        let duration_seconds = Some(clock.monotonic().saturating_sub(began).as_secs_f64());
        let (outcome, response, error) = match result {
            Ok(HostAnswer { response, healthy: true }) => (RunOutcome::Done, response, None),
            Ok(HostAnswer { response, healthy: false }) => (RunOutcome::Unhealthy, response, None),
            Err(error) if error.kind() == ErrorKind::Cancelled && late => {
                let seconds = job.deadline.as_secs_f64();
                let error = Error::new(
                    ErrorKind::Timeout,
                    format!("{} did not end within {seconds} s and was cancelled", job.operation),
                )
                .with_hint("find out what it waited for, or raise deadline_seconds");
                (RunOutcome::TimedOut, Value::Null, Some(error))
            }
            Err(error) if error.kind() == ErrorKind::Cancelled => (RunOutcome::Interrupted, Value::Null, Some(error)),
            Err(error) => (RunOutcome::Failed, Value::Null, Some(error)),
        };
        let mut report = RunReport {
            job: job.name.clone(),
            operation: job.operation.clone(),
            why,
            scheduled_for,
            started_at: now,
            duration_seconds,
            outcome,
            response,
            error: error.as_ref().map(Error::to_body),
            ping_error: None,
        };
        // Before anybody is told, which may take its time. Told, it is written again.
        let skipped = self.skipped().remove(&job.name).unwrap_or(0);
        if skipped > 0 {
            *state.runs.entry(RunOutcome::Skipped).or_default() += skipped;
        }
        state.ended(report.last_run(), why != Why::ByHand);
        self.save(job, &state).await?;
        report.ping_error = self.tell(job, &report, &clock).await;
        if let (Some(last), Some(_)) = (&mut state.last, &report.ping_error) {
            last.ping_error.clone_from(&report.ping_error);
            self.save(job, &state).await?;
        }
        drop(lock);
        Ok(report)
    }

    /// Calls the operation, and cancels it at the deadline. It is waited for all the same: as long as it has not ended,
    /// the job runs. Says also whether the deadline passed.
    async fn call(&self, job: &Job, scope: &Scope, clock: &Arc<dyn Clock>) -> (Result<HostAnswer>, bool) {
        let cancel = Cancel::new();
        let inner = Scope { clock: Arc::clone(clock), cancel: cancel.clone(), progress: scope.progress.clone() };
        let mut work = self.host.call(&job.operation, job.request.clone(), inner);
        let mut deadline = clock.sleep(job.deadline);
        let late = tokio::select! {
            biased;
            result = &mut work => return (result, false),
            () = scope.cancel.cancelled() => false,
            () = &mut deadline => true,
        };
        cancel.cancel();
        (work.await, late)
    }

    async fn save(&self, job: &Job, state: &JobState) -> Result<()> {
        let (folder, name, state) = (self.folder.clone(), job.name.clone(), state.clone());
        aside(move || folder.save(&name, &state)).await.map_err(|error| {
            let operation = &job.operation;
            error.while_doing(format!("the job {name:?} ran {operation}, but could not be recorded", name = job.name))
        })
    }

    /// Tells the address of the job, and returns why it could not be told.
    async fn tell(&self, job: &Job, report: &RunReport, clock: &Arc<dyn Clock>) -> Option<String> {
        // A service that is restarted is no failure: the run is made up for.
        if report.outcome == RunOutcome::Interrupted {
            return None;
        }
        let url = match self.host.resolve(job.ping_url.as_deref()?) {
            Ok(url) => url,
            Err(error) => return Some(error.message().to_owned()),
        };
        let failure = (report.outcome != RunOutcome::Done).then(|| {
            let why = report.error.as_ref().map(|error| format!(": {}", error.message)).unwrap_or_default();
            format!("{}: {}{why}", report.job, report.outcome.as_str())
        });
        ping::tell(clock, &url, failure).await.err().map(|error| error.message().to_owned())
    }

    /// Leaves a run out, because the one before it goes on.
    pub(super) fn skip(&self, job: &Job, why: Why, scheduled_for: Option<Timestamp>) -> RunReport {
        *self.skipped().entry(job.name.clone()).or_default() += 1;
        let error = Error::new(ErrorKind::Busy, format!("the job {:?} still runs, and is not begun again", job.name))
            .with_hint("give it a schedule that leaves it time, or a deadline_seconds");
        RunReport {
            job: job.name.clone(),
            operation: job.operation.clone(),
            why,
            scheduled_for,
            started_at: self.host.clock().now(),
            duration_seconds: Some(0.0),
            outcome: RunOutcome::Skipped,
            response: Value::Null,
            error: Some(error.to_body()),
            ping_error: None,
        }
    }

    pub(super) async fn keep(&self, report: RunReport) -> Result<()> {
        let host = Arc::clone(&self.host);
        aside(move || host.journal(&report)).await
    }

    fn skipped(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.skipped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the lock of a job that is to run. A leader that takes over holds it for a moment to look at the record, so who
/// finds it held by nobody that runs tries again.
fn lock_to_run(folder: &Folder, job: &Job) -> Result<ProcessLock> {
    let mut looks = 0;
    loop {
        if let Some(lock) = folder.lock(&job.name)? {
            return Ok(lock);
        }
        let runs = folder
            .load(&job.name)
            .is_ok_and(|state| state.running.is_some_and(|running| running.owner.liveness() != Liveness::Dead));
        if runs || looks >= LOOKS {
            return Err(runs_already(folder, job));
        }
        looks += 1;
        std::thread::sleep(BETWEEN_LOOKS);
    }
}

fn runs_already(folder: &Folder, job: &Job) -> Error {
    let running = folder.load(&job.name).ok().and_then(|state| state.running);
    let who = running.map_or_else(String::new, |running| {
        format!(" in process {} since {}", running.owner.pid, running.since.strftime("%Y-%m-%d %H:%M:%S UTC"))
    });
    Error::new(ErrorKind::Busy, format!("the job {:?} runs already{who}", job.name))
        .with_hint("wait until it has ended: `uplifted-ops schedule` shows it")
}

/// Runs what waits for a disk on a thread that may wait.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(Error::internal(format!("keeping a job's record ended without an answer: {error}")))
    })
}
