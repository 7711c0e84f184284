//! What runs the jobs of a service by themselves, in the one process that leads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::task::JoinSet;

use super::job::Job;
use super::leader::Leadership;
use super::plan::{Due, credible, plan};
use super::run::{RunReport, Runner, aside};
use super::state::{Folder, LastRun, RunOutcome, Why};
use crate::cancel::{Cancel, Scope};
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, ErrorBody, ErrorKind, Result};

/// How often a process that does not lead tries to.
const ELECTION: Duration = Duration::from_secs(2);
/// The longest wait without a look at the clock, which may have been set, or have gone on while the machine slept.
const STEP: Duration = Duration::from_secs(20);
/// A clock that moved by this much more than time passed was set, or the machine slept.
const JUMP: Duration = Duration::from_secs(60);

/// What a process does about the jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Nothing: it is no service, or there are no jobs that run by themselves.
    #[default]
    Off,
    /// It waits to lead.
    Follower,
    /// It runs them.
    Leader,
}

/// How the engine of this process stands.
#[derive(Debug, Default)]
pub struct Standing(Mutex<(Role, Option<ErrorBody>)>);

impl Standing {
    /// What it does, and the trouble that it has.
    pub fn get(&self) -> (Role, Option<ErrorBody>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, role: Role) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = role;
    }

    /// Keeps the trouble, or that there is none any more.
    fn trouble(&self, result: Result<()>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = result.err().map(|error| error.to_body());
    }
}

/// Runs jobs by themselves.
#[derive(Debug)]
pub struct Engine {
    /// What runs one.
    pub runner: Arc<Runner>,
    /// How long what was missed waits after a start.
    pub catch_up_delay: Duration,
    /// What the delays of the jobs are drawn from: the name of the machine and of the service.
    pub place: String,
    /// Where it says how it stands.
    pub standing: Arc<Standing>,
    /// Raised to end it.
    pub stop: Cancel,
}

/// What the leader keeps in mind.
struct Term {
    /// Up to when each job's times are dealt with.
    settled: HashMap<String, Timestamp>,
    /// The jobs whose last run was cut short, and what it was for.
    owed: HashMap<String, Timestamp>,
    /// When what was missed may run, on the monotonic clock.
    calm_at: Duration,
    /// Both clocks at the last look.
    looked: (Timestamp, Duration),
}

type Runs = JoinSet<(String, Result<Vec<RunReport>>)>;
/// The jobs that run, and their tasks.
type Busy = HashMap<String, tokio::task::Id>;

impl Engine {
    /// Leads as often as it can, and runs jobs while it does. Returns when [`stop`](Self::stop) is raised and what runs
    /// has ended.
    pub async fn run(self) {
        let mut runs = Runs::new();
        let mut busy = Busy::new();
        while let Some(lead) = self.elected().await {
            self.lead(&lead, &mut runs, &mut busy).await;
            if self.stop.is_cancelled() {
                // The operations have been told. As long as they go on, nobody else begins.
                while let Some(ended) = runs.join_next().await {
                    self.ended(ended, &mut busy);
                }
                break;
            }
        }
        self.standing.set(Role::Off);
    }

    /// Returns with the lead, or without when it is to end.
    async fn elected(&self) -> Option<Leadership> {
        let clock = self.clock();
        loop {
            if self.stop.is_cancelled() {
                return None;
            }
            let (folder, now) = (self.folder().clone(), clock.now());
            match aside(move || Leadership::try_take(&folder, now)).await {
                Ok(Some(lead)) => {
                    self.standing.trouble(Ok(()));
                    return Some(lead);
                }
                Ok(None) => {
                    self.standing.set(Role::Follower);
                    self.standing.trouble(Ok(()));
                }
                Err(error) => self.standing.trouble(Err(error.while_doing("no job runs by itself"))),
            }
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = clock.sleep(ELECTION) => {}
            }
        }
    }

    /// Runs jobs until the lead is lost or it is to end.
    async fn lead(&self, lead: &Leadership, runs: &mut Runs, busy: &mut Busy) {
        let clock = self.clock();
        let mut term = self.begin().await;
        self.standing.set(Role::Leader);
        while lead.is_held() && !self.stop.is_cancelled() {
            let wait = self.look(&mut term, runs, busy).await;
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {}
                Some(ended) = runs.join_next() => self.ended(ended, busy),
                () = clock.sleep(wait) => {}
            }
        }
        self.standing.set(Role::Follower);
    }

    /// Takes over what the last leader left.
    async fn begin(&self) -> Term {
        let clock = self.clock();
        let looked = (clock.now(), clock.monotonic());
        let mut term = Term {
            settled: HashMap::new(),
            owed: HashMap::new(),
            calm_at: looked.1.saturating_add(self.catch_up_delay),
            looked,
        };
        for job in self.by_themselves() {
            let (folder, of, now) = (self.folder().clone(), Arc::clone(&job), looked.0);
            let taken = match aside(move || take_over(&folder, &of, now)).await {
                Ok(taken) => taken,
                Err(error) => {
                    self.standing.trouble(Err(error));
                    Taken { settled: now, owed: None, cut_short: None }
                }
            };
            term.settled.insert(job.name.clone(), taken.settled);
            if let Some(cut_short) = taken.owed {
                term.owed.insert(job.name.clone(), cut_short);
            }
            if let Some(report) = taken.cut_short {
                self.keep(report).await;
            }
        }
        term
    }

    /// Begins what is due, and says how long to wait until the next look.
    async fn look(&self, term: &mut Term, runs: &mut Runs, busy: &mut Busy) -> Duration {
        let clock = self.clock();
        let (now, monotonic) = (clock.now(), clock.monotonic());
        let passed = monotonic.saturating_sub(term.looked.1);
        let moved = Duration::try_from(now.duration_since(term.looked.0)).unwrap_or_default();
        if moved > passed.saturating_add(JUMP) {
            term.calm_at = monotonic.saturating_add(self.catch_up_delay);
        }
        term.looked = (now, monotonic);
        let mut wait = STEP;
        for job in self.by_themselves() {
            let settled = term.settled.entry(job.name.clone()).or_insert(now);
            if credible(Some(*settled), now).is_none() {
                *settled = now;
            }
            let mut due = match job.schedule() {
                Some(schedule) => plan(schedule, Some(*settled), now, |time| job.put_off(time, &self.place)),
                None => Due::Never,
            };
            if let (Some(cut_short), Due::Never | Due::At(_)) = (term.owed.get(&job.name), due) {
                due = Due::Now { scheduled_for: *cut_short, why: Why::CatchUp };
            }
            match due {
                Due::Never => {}
                Due::At(at) => wait = wait.min(Duration::try_from(at.duration_since(now)).unwrap_or_default()),
                Due::Now { why: Why::CatchUp, .. } if monotonic < term.calm_at => {
                    wait = wait.min(term.calm_at.saturating_sub(monotonic));
                }
                Due::Now { scheduled_for, why } => {
                    *settled = now;
                    term.owed.remove(&job.name);
                    if busy.contains_key(&job.name) {
                        self.keep(self.runner.skip(&job, why, Some(scheduled_for))).await;
                    } else {
                        let task = self.start(&job, why, scheduled_for, runs);
                        busy.insert(job.name.clone(), task);
                    }
                    // What comes after it is looked for at once.
                    wait = Duration::ZERO;
                }
            }
        }
        // Clocks are read in turn: never spin for the moment between them.
        wait.max(Duration::from_millis(1))
    }

    fn start(&self, job: &Arc<Job>, why: Why, time: Timestamp, runs: &mut Runs) -> tokio::task::Id {
        let (runner, job) = (Arc::clone(&self.runner), Arc::clone(job));
        let scope = Scope { clock: self.clock(), ..Scope::default() };
        let task = runs.spawn(async move {
            let reports = match runner.run(&job, why, Some(time), &scope).await {
                // Somebody runs it by hand, in another process.
                Err(error) if error.kind() == ErrorKind::Busy => {
                    let report = runner.skip(&job, why, Some(time));
                    runner.keep(report.clone()).await.map(|()| vec![report])
                }
                other => other,
            };
            (job.name.clone(), reports)
        });
        task.id()
    }

    fn ended(&self, ended: Result<(String, Result<Vec<RunReport>>), tokio::task::JoinError>, busy: &mut Busy) {
        let result = match ended {
            Ok((name, result)) => {
                busy.remove(&name);
                result.map(drop)
            }
            Err(error) => {
                busy.retain(|_, task| *task != error.id());
                Err(Error::internal(format!("a job ended without an answer: {error}")))
            }
        };
        self.standing.trouble(result);
    }

    async fn keep(&self, report: RunReport) {
        if let Err(error) = self.runner.keep(report).await {
            self.standing.trouble(Err(error));
        }
    }

    fn by_themselves(&self) -> Vec<Arc<Job>> {
        self.runner.jobs.iter().filter(|job| job.enabled).cloned().collect()
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.runner.host.clock()
    }

    fn folder(&self) -> &Folder {
        &self.runner.folder
    }
}

/// What the last leader left of a job.
struct Taken {
    settled: Timestamp,
    /// What a run was for that is to be made up for.
    owed: Option<Timestamp>,
    /// The run that its process's death cut short.
    cut_short: Option<RunReport>,
}

fn take_over(folder: &Folder, job: &Job, now: Timestamp) -> Result<Taken> {
    let Some(lock) = folder.lock(&job.name)? else {
        // It runs at this moment, by hand or in a process that lost the lead: nothing was cut short.
        let settled = folder.load(&job.name)?.settled_until;
        return Ok(Taken { settled: credible(settled, now).unwrap_or(now), owed: None, cut_short: None });
    };
    let before = folder.load(&job.name)?;
    let mut state = before.clone();
    let mut cut_short = None;
    if let Some(running) = state.running.take() {
        let error = Error::new(
            ErrorKind::Unavailable,
            format!("process {}, which ran the job {:?}, ended before it", running.owner.pid, job.name),
        );
        let run = LastRun {
            started_at: running.since,
            duration_seconds: None,
            why: running.why,
            scheduled_for: running.scheduled_for,
            outcome: RunOutcome::Interrupted,
            error: Some(error.to_body()),
            ping_error: None,
        };
        cut_short = Some(RunReport {
            job: job.name.clone(),
            operation: job.operation.clone(),
            why: run.why,
            scheduled_for: run.scheduled_for,
            started_at: run.started_at,
            duration_seconds: None,
            outcome: run.outcome,
            response: Value::Null,
            error: run.error.clone(),
            ping_error: None,
        });
        state.ended(run, running.why != Why::ByHand);
    }
    let schedule = job.schedule().map(ToString::to_string).unwrap_or_default();
    let settled = credible(state.settled_until, now).filter(|_| state.schedule == schedule).unwrap_or(now);
    state.settled_until = job.schedule().map(|_| settled);
    state.schedule = schedule;
    if state != before {
        folder.save(&job.name, &state)?;
    }
    drop(lock);
    let owed = state.last.as_ref().filter(|_| state.owed).map(|last| last.scheduled_for.unwrap_or(last.started_at));
    Ok(Taken { settled, owed, cut_short })
}
