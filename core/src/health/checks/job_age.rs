//! `job_age`: did a job end well lately.
//!
//! ```toml
//! [[check]]
//! name = "nightly-import"
//! kind = "job_age"
//! job = "import"                   # a [[job]], or what a schedule of [backup] is called
//! warn_hours = 26                  # since it last ended well; the defaults
//! fail_hours = 50
//! ```
//!
//! The check `jobs`, which comes by itself, holds each job to its own schedule. This one holds one job to an age, whatever its
//! schedule says, also when it is run by hand or started by another.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{age, bounds_in_order, level};
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::component::{Kind, Placement};
use crate::error::{Error, Result};
use crate::health::{Blocking, CheckOutcome, CheckStatus, HealthCheck};
use crate::schedule::{Folder, JobState};

/// The kind, for the registry.
pub const KIND: Kind<dyn HealthCheck> = Kind {
    name: "job_age",
    summary: "A job ended well lately",
    placement: Placement::Host,
    build: |context, settings| Ok(Arc::new(JobAgeCheck::new(context.state.clone(), context.settings(settings)?)?)),
    detect: None,
};

const HOUR: f64 = 3600.0;
/// A success may be this far in the future, in hours, before the clock is suspected.
const SLACK: f64 = 0.1;

/// Settings of [`JobAgeCheck`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobAgeSettings {
    /// The job's name, as `uplifted-ops schedule` shows it.
    pub job: String,
    /// Warn when it last ended well so many hours ago.
    #[serde(default = "a_day")]
    pub warn_hours: f64,
    /// Fail when it last ended well so many hours ago.
    #[serde(default = "two_days")]
    pub fail_hours: f64,
}

fn a_day() -> f64 {
    26.0
}

fn two_days() -> f64 {
    50.0
}

/// Looks when a job last ended well.
#[derive(Debug)]
pub struct JobAgeCheck {
    state: PathBuf,
    settings: JobAgeSettings,
    reading: Blocking,
}

impl JobAgeCheck {
    /// A check of the job of the service with this state folder.
    ///
    /// # Errors
    /// When the job has no name, or a number is out of range.
    pub fn new(state: PathBuf, settings: JobAgeSettings) -> Result<Self> {
        if settings.job.is_empty() {
            return Err(Error::invalid("job is empty").with_hint("name a job: `uplifted-ops schedule` lists them"));
        }
        for (name, hours) in [("warn_hours", settings.warn_hours), ("fail_hours", settings.fail_hours)] {
            age(name, hours * HOUR).map_err(|_| {
                Error::invalid(format!("{name} is {hours}")).with_hint(format!("set {name} to hours above 0"))
            })?;
        }
        bounds_in_order([("warn_hours", Some(settings.warn_hours)), ("fail_hours", Some(settings.fail_hours))])?;
        Ok(Self { state, settings, reading: Blocking::default() })
    }

    fn judge(&self, job: &JobState, now: Timestamp) -> CheckOutcome {
        let name = &self.settings.job;
        let Some(success) = job.last_success_at else {
            let (status, what) = match job.last {
                Some(_) => (CheckStatus::Fail, "has never ended well: look at"),
                None => (CheckStatus::Warn, "has not ended yet: look whether it is there, with"),
            };
            return CheckOutcome::new(status, format!("the job {name} {what} `uplifted-ops schedule`"));
        };
        let hours = now.duration_since(success).as_secs_f64() / HOUR;
        if hours < -SLACK {
            let message = format!("the job {name} last ended well at {success}, which is in the future: set the clock");
            return CheckOutcome::new(CheckStatus::Warn, message);
        }
        let hours = hours.max(0.0);
        let status = level(hours, self.settings.warn_hours, self.settings.fail_hours);
        let repair = match status {
            CheckStatus::Pass => "",
            _ => ": look at `uplifted-ops schedule`, and run it with `uplifted-ops schedule run`",
        };
        let message = format!("the job {name} last ended well {hours:.1} h ago{repair}");
        CheckOutcome::new(status, message).observing(hours, "hours")
    }
}

#[async_trait]
impl HealthCheck for JobAgeCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        let (state, name) = (self.state.clone(), self.settings.job.clone());
        let job = self.reading.run(scope, move || Folder::new(&state).load(&name)).await?;
        Ok(self.judge(&job, scope.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::schedule::{LastRun, RunOutcome, Why};

    #[tokio::test]
    async fn the_age_of_the_last_success_decides() {
        use CheckStatus::{Fail, Pass, Warn};
        let now: Timestamp = "2026-03-10T12:00:00Z".parse().unwrap();
        let scope = Scope { clock: Arc::new(ManualClock::new(now)), ..Scope::default() };
        let folder = tempfile::tempdir().unwrap();
        let jobs = Folder::new(folder.path());
        jobs.make().unwrap();
        let settings = JobAgeSettings { job: "import".to_owned(), warn_hours: a_day(), fail_hours: two_days() };
        let check = JobAgeCheck::new(folder.path().to_owned(), settings).unwrap();
        let outcome = check.check(&scope).await.unwrap();
        assert!(outcome.status == Warn && outcome.message.contains("has not ended yet"), "{outcome:?}");
        let ended = |hours: Option<f64>| JobState {
            last: Some(LastRun {
                started_at: now,
                duration_seconds: Some(1.0),
                why: Why::ByHand,
                scheduled_for: None,
                outcome: RunOutcome::Failed,
                error: None,
                ping_error: None,
            }),
            last_success_at: hours.map(|hours| now - jiff::SignedDuration::from_secs_f64(hours * HOUR)),
            ..JobState::default()
        };
        for (hours, status, word) in [
            (None, Fail, "never ended well"),
            (Some(1.0), Pass, "1.0 h ago"),
            (Some(26.1), Warn, "schedule run"),
            (Some(50.1), Fail, "50.1 h ago"),
            (Some(-1.0), Warn, "in the future"),
            (Some(-0.05), Pass, "0.0 h ago"),
        ] {
            jobs.save("import", &ended(hours)).unwrap();
            let outcome = check.check(&scope).await.unwrap();
            assert_eq!(outcome.status, status, "{hours:?} {outcome:?}");
            assert!(outcome.message.contains(word), "{hours:?} {outcome:?}");
        }
    }

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        for (job, warn_hours, fail_hours) in [("", 1.0, 2.0), ("a", 0.0, 2.0), ("a", 3.0, 2.0), ("a", 1.0, f64::NAN)] {
            let settings = JobAgeSettings { job: job.to_owned(), warn_hours, fail_hours };
            assert!(JobAgeCheck::new(PathBuf::new(), settings).is_err(), "{job} {warn_hours} {fail_hours}");
        }
    }
}
