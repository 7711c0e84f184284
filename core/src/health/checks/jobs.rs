//! `jobs`: did what runs by itself run, and well.
//!
//! Made by itself where there are jobs; `health.without = ["jobs"]` leaves it out.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Finding, worst};
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{ErrorBody, Result};
use crate::health::{Blocking, CheckOutcome, CheckStatus, HealthCheck};
use crate::schedule::{JobFact, RunOutcome, Trigger};

/// A job may be this late, beside what it may be put off, before it counts as overdue.
const LATE: Duration = Duration::from_secs(15 * 60);

/// What is known of the jobs.
#[derive(Debug, Clone)]
pub struct JobsSeen {
    /// Each job.
    pub facts: Vec<JobFact>,
    /// What keeps this process from running them.
    pub trouble: Option<ErrorBody>,
    /// Whether this process is one that could run them: then one that never ran has only not run yet.
    pub is_service: bool,
    /// How long what was missed waits after a start.
    pub catch_up_delay: Duration,
}

/// Where the check learns about the jobs. Called on a thread of its own: it may read files.
pub type JobsSource = Arc<dyn Fn(Timestamp) -> Result<JobsSeen> + Send + Sync>;

/// Judges the last run of each job, and whether the next is overdue.
pub struct JobsCheck {
    source: JobsSource,
    reading: Blocking,
}

impl JobsCheck {
    /// A check of the jobs that `source` tells.
    pub fn new(source: JobsSource) -> Self {
        Self { source, reading: Blocking::default() }
    }
}

impl fmt::Debug for JobsCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobsCheck").finish_non_exhaustive()
    }
}

#[async_trait]
impl HealthCheck for JobsCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        let (source, now) = (Arc::clone(&self.source), scope.clock.now());
        let seen = self.reading.run(scope, move || source(now)).await?;
        Ok(judge(&seen, now))
    }
}

fn judge(seen: &JobsSeen, now: Timestamp) -> CheckOutcome {
    let by_themselves: Vec<&JobFact> =
        seen.facts.iter().filter(|fact| fact.job.enabled && !matches!(fact.job.trigger, Trigger::ByHand)).collect();
    let mut bad: Vec<(CheckStatus, String)> = by_themselves.iter().filter_map(|fact| of_one(fact, seen, now)).collect();
    if let Some(trouble) = &seen.trouble {
        bad.push((CheckStatus::Fail, trouble.message.clone()));
    }
    if bad.is_empty() {
        let count = by_themselves.len();
        let jobs = if count == 1 { "1 job is".to_owned() } else { format!("{count} jobs are") };
        return CheckOutcome::new(CheckStatus::Pass, format!("{jobs} in order")).observing(0.0, "jobs");
    }
    let observed = bad.len() as f64;
    let findings = bad.into_iter().map(|(status, message)| Finding { status, message, observed, unit: "jobs" });
    // There is one, so there is a worst.
    worst(findings.collect()).unwrap_or_else(|| CheckOutcome::new(CheckStatus::Fail, "no verdict"))
}

/// What is wrong with a job, and how bad it is.
fn of_one(fact: &JobFact, seen: &JobsSeen, now: Timestamp) -> Option<(CheckStatus, String)> {
    let (job, state) = (&fact.job, &fact.state);
    let name = &job.name;
    if let Some(running) = &state.running {
        let over = now.duration_since(running.since).as_secs_f64() - job.deadline.as_secs_f64();
        let stuck = over > LATE.as_secs_f64();
        return stuck.then(|| {
            let message = format!("the job {name} does not end, {} after its deadline", hours(over));
            (CheckStatus::Fail, format!("{message}: look at process {}", running.owner.pid))
        });
    }
    let allowed = LATE.saturating_add(seen.catch_up_delay);
    if let Some(late) = fact.overdue.filter(|late| *late > allowed) {
        let message = format!("the job {name} is overdue by {}", hours(late.as_secs_f64()));
        return Some((CheckStatus::Fail, format!("{message}: start the service, which runs it")));
    }
    let Some(last) = &state.last else {
        let never = state.settled_until.is_none() && job.schedule().is_some() && !seen.is_service;
        return never.then(|| {
            let message = format!("the job {name} never ran, and no process of the service has looked at it yet");
            (CheckStatus::Warn, format!("{message}: start the service with uplifted-ops in it"))
        });
    };
    let why = last.error.as_ref().map(|error| format!(": {}", error.message)).unwrap_or_default();
    match last.outcome {
        RunOutcome::Failed => Some((CheckStatus::Fail, format!("the job {name} failed{why}"))),
        RunOutcome::TimedOut => Some((CheckStatus::Fail, format!("the job {name} was cancelled at its deadline"))),
        RunOutcome::Unhealthy => Some((
            CheckStatus::Warn,
            format!(
                "the job {name} ended, and not all is well: run `uplifted-ops journal --operation {}`",
                job.operation
            ),
        )),
        RunOutcome::Interrupted if !state.owed => {
            Some((CheckStatus::Warn, format!("the job {name} was cut short{why}")))
        }
        RunOutcome::Interrupted | RunOutcome::Done | RunOutcome::Skipped => last
            .ping_error
            .as_ref()
            .map(|error| (CheckStatus::Warn, format!("the job {name} is done, but nobody was told: {error}"))),
    }
}

fn hours(seconds: f64) -> String {
    if seconds < 7200.0 { format!("{:.0} min", seconds / 60.0) } else { format!("{:.1} h", seconds / 3600.0) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Settings;
    use crate::process::ProcessIdentity;
    use crate::schedule::{JobState, Jobs, LastRun, Running, Why};

    fn now() -> Timestamp {
        "2026-03-10T12:00:00Z".parse().unwrap()
    }

    fn fact(outcome: Option<RunOutcome>) -> JobFact {
        let settings: Settings = serde_json::from_value(json!({
            "schedule": { "timezone": "UTC" },
            "job": [{ "name": "nightly", "operation": "x", "schedule": "0 2 * * *", "deadline_seconds": 3600 }],
        }))
        .unwrap();
        let (jobs, mistakes) = Jobs::read(&settings, &|_, _| Ok(()));
        assert!(mistakes.is_empty());
        let last = outcome.map(|outcome| LastRun {
            started_at: now(),
            duration_seconds: Some(1.0),
            why: Why::Scheduled,
            scheduled_for: None,
            outcome,
            error: None,
            ping_error: None,
        });
        let state = JobState { settled_until: Some(now()), last, ..JobState::default() };
        JobFact { job: Arc::clone(jobs.get("nightly").unwrap()), state, next_run_at: None, overdue: None }
    }

    fn outcome(fact: JobFact, is_service: bool) -> (CheckStatus, String) {
        let seen = JobsSeen { facts: vec![fact], trouble: None, is_service, catch_up_delay: Duration::from_secs(60) };
        let outcome = judge(&seen, now());
        (outcome.status, outcome.message)
    }

    #[test]
    fn each_way_of_not_being_in_order_is_told() {
        use CheckStatus::{Fail, Pass, Warn};
        let running = |since: &str| Running {
            since: since.parse().unwrap(),
            why: Why::Scheduled,
            scheduled_for: None,
            owner: ProcessIdentity::current(),
        };
        let with = |change: &dyn Fn(&mut JobFact)| {
            let mut fact = fact(Some(RunOutcome::Done));
            change(&mut fact);
            fact
        };
        for (fact, status, word) in [
            (fact(Some(RunOutcome::Done)), Pass, "1 job is in order"),
            (fact(None), Pass, "in order"),
            (fact(Some(RunOutcome::Failed)), Fail, "nightly failed"),
            (fact(Some(RunOutcome::TimedOut)), Fail, "deadline"),
            (fact(Some(RunOutcome::Unhealthy)), Warn, "not all is well"),
            (fact(Some(RunOutcome::Interrupted)), Warn, "cut short"),
            (with(&|fact| fact.overdue = Some(Duration::from_secs(600))), Pass, "in order"),
            (with(&|fact| fact.overdue = Some(Duration::from_secs(9000))), Fail, "overdue by 2.5 h"),
            (with(&|fact| fact.state.running = Some(running("2026-03-10T11:00:00Z"))), Pass, "in order"),
            (with(&|fact| fact.state.running = Some(running("2026-03-10T10:00:00Z"))), Fail, "does not end"),
            (
                with(&|fact| fact.state.last.as_mut().unwrap().ping_error = Some("it answers 500".into())),
                Warn,
                "nobody was told: it answers 500",
            ),
            (with(&|fact| fact.state = JobState::default()), Warn, "no process of the service"),
        ] {
            let (found, message) = outcome(fact, false);
            assert!(found == status && message.contains(word), "{found:?} {message:?}, not {status:?} {word:?}");
        }
        // The service itself has only just begun.
        assert_eq!(outcome(with(&|fact| fact.state = JobState::default()), true).0, Pass);
        let trouble = Some(crate::Error::internal("no lock").to_body());
        let seen = JobsSeen { facts: Vec::new(), trouble, is_service: true, catch_up_delay: Duration::ZERO };
        assert_eq!(judge(&seen, now()).status, Fail);
    }
}
