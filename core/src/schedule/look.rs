//! How the jobs stand, by what is on the disk: any process of the service sees the same.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::job::{Job, Jobs};
use super::ping;
use super::plan::{Due, overdue, plan};
use super::state::{Folder, JobState};
use crate::clock::Timestamp;
use crate::config::reference;
use crate::error::{Error, Result};
use crate::process::Liveness;

/// How a job stands.
#[derive(Debug, Clone)]
pub struct JobFact {
    /// The job.
    pub job: Arc<Job>,
    /// What is known of its runs. A run that its process's death cut short is not among them as running.
    pub state: JobState,
    /// When it runs next by itself.
    pub next_run_at: Option<Timestamp>,
    /// How late it is.
    pub overdue: Option<Duration>,
}

/// Looks at all of them. `place` is what their delays are drawn from.
///
/// # Errors
/// When a record is there and cannot be read.
pub fn look(jobs: &Jobs, folder: &Folder, place: &str, now: Timestamp) -> Result<Vec<JobFact>> {
    let facts = jobs.iter().map(|job| {
        let mut state = folder.load(&job.name)?;
        state.running.take_if(|running| running.owner.liveness() == Liveness::Dead);
        let schedule = job.schedule().filter(|_| job.enabled);
        let put_off = |time| job.put_off(time, place);
        // What is settled under another schedule says nothing about this one.
        let settled = state.settled_until.filter(|_| schedule.is_some_and(|it| it.to_string() == state.schedule));
        Ok(JobFact {
            next_run_at: schedule.and_then(|schedule| match plan(schedule, settled, now, put_off) {
                Due::Never => None,
                Due::At(at) => Some(at),
                Due::Now { scheduled_for, .. } => Some(scheduled_for),
            }),
            overdue: schedule.and_then(|schedule| overdue(schedule, settled, now, put_off)),
            job: Arc::clone(job),
            state,
        })
    });
    facts.collect()
}

/// What is wrong with the address of a `ping_url`, which may be a reference to a variable.
pub fn ping_problem(url: &str, root: &Path, environment: &[(String, String)]) -> Option<Error> {
    let of_name = |name: &str| environment.iter().rev().find(|(known, _)| known == name);
    let url = reference::resolve_with(url, root, |name| of_name(name).map(|(_, value)| value.clone()));
    url.and_then(|url| ping::check(url.reveal())).err()
}
