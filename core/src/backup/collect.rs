//! Collecting what nobody needs in the repositories of some targets: a plan with its reasons first, then the plan
//! and nothing else.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::create::NamedTarget;
use super::lease::{Lease, LeaseTimes};
use super::list::FailedTarget;
use super::memory::look_for;
use super::repository::collecting::{Collector, MIN_GRACE};
use super::repository::keyring::Keyring;
use super::target::BackupTarget;
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorBody, ErrorKind, Result};

/// What to collect, and how.
#[derive(Debug)]
pub struct CollectJob {
    /// The targets, each judged by itself.
    pub targets: Vec<NamedTarget>,
    /// The keys at hand.
    pub(crate) keys: Arc<dyn Keyring>,
    /// The state folder, where it is remembered which snapshots were there.
    pub state: PathBuf,
    /// The name of this machine.
    pub host: String,
    /// How the targets' leases are kept.
    pub lease: LeaseTimes,
    /// How long a pack stays after it was condemned. At least two hours.
    pub grace: Duration,
    /// Go on although snapshots are missing that nobody removed, and record them as removed.
    pub accept_missing: bool,
    /// Say what would be done, and change nothing.
    pub dry_run: bool,
}

/// What was planned for each target, and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CollectReport {
    /// The targets that have a repository.
    pub targets: Vec<TargetCollection>,
    /// The targets that have none: there is nothing to collect.
    pub without_repository: Vec<String>,
    /// The targets that could not be asked, or where it ended early.
    pub failed: Vec<FailedTarget>,
    /// Whether it was to be a plan alone.
    pub dry_run: bool,
}

impl CollectReport {
    /// Whether every target answered, none was refused, and all that was due is gone or would be.
    pub fn is_healthy(&self) -> bool {
        let fine = |target: &TargetCollection| {
            target.refusals.is_empty() && target.failures.is_empty() && target.problems.is_empty()
        };
        self.failed.is_empty() && self.targets.iter().all(fine)
    }
}

/// What is decided about the repository in a target, and what was done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TargetCollection {
    /// The target.
    pub target: String,
    /// The repository: 32 hexadecimal digits.
    pub repository_id: String,
    /// What time it is by the target's clock, which ages are judged by. In a dry run it is estimated, since asking a
    /// target for its time takes writing to it.
    pub target_time: Timestamp,
    /// How long a pack stays after it was condemned.
    pub grace_hours: f64,
    /// How many snapshots there are.
    pub snapshots: u64,
    /// How many packs there are.
    pub packs: u64,
    /// How many of them no snapshot needs.
    pub dead_packs: u64,
    /// Bytes of all packs, indexes and records.
    pub repository_bytes: u64,
    /// Bytes of the packs that no snapshot needs, with their indexes.
    pub dead_bytes: u64,
    /// Why nothing may be done here.
    pub refusals: Vec<CollectRefusal>,
    /// What is decided about each object that somebody could do without.
    pub decisions: Vec<CollectDecision>,
    /// Snapshots that are gone, and that are recorded as removed because the caller says that they are lost.
    pub accepted_missing: Vec<String>,
    /// What is wrong and does not stand in the way.
    pub problems: Vec<String>,
    /// Why what is due to be deleted is left for the next time.
    pub deferred: Option<String>,
    /// How many packs were condemned.
    pub condemned: u64,
    /// What was deleted, in this order.
    pub deleted: Vec<CollectedObject>,
    /// Bytes that became free.
    pub freed_bytes: u64,
    /// What should have been deleted and was not.
    pub failures: Vec<CollectFailure>,
}

impl TargetCollection {
    /// Whether the plan changes anything.
    pub(crate) fn has_work(&self) -> bool {
        let changes = self.decisions.iter().any(|decision| decision.action.changes());
        self.refusals.is_empty() && (changes || !self.accepted_missing.is_empty())
    }
}

/// Why nothing may be collected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CollectRefusal {
    /// What is wrong.
    pub message: String,
    /// The repair.
    pub hint: String,
}

/// What is decided about an object, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CollectDecision {
    /// Its key.
    pub key: String,
    /// What it is.
    pub kind: CollectKind,
    /// Its size; of a pack with its index.
    pub stored_bytes: u64,
    /// What is to be done.
    pub action: CollectAction,
    /// Why.
    pub reason: String,
}

/// What an object of a repository is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CollectKind {
    /// Content.
    Pack,
    /// An index whose pack is gone.
    Index,
    /// A collect record.
    Record,
}

/// What is done with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CollectAction {
    /// It is deleted.
    Delete,
    /// It is recorded that nobody needs it: no run uses it from then on, and a later collection deletes it.
    Condemn,
    /// Its time has not come.
    Wait,
    /// It stays as long as something needs it.
    Keep,
}

impl CollectAction {
    fn changes(self) -> bool {
        matches!(self, Self::Delete | Self::Condemn)
    }
}

/// An object that was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CollectedObject {
    /// Its key.
    pub key: String,
    /// The bytes that became free.
    pub stored_bytes: u64,
}

/// An object that could not be deleted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CollectFailure {
    /// Its key.
    pub key: String,
    /// Why.
    pub error: ErrorBody,
}

/// Plans for each target, and carries the plans out.
///
/// Where something is to be done the target's lease is taken and everything is looked at once more: the second plan is
/// carried out, and of it only what the first one deletes as well.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] for a grace time that is too short; [`ErrorKind::Cancelled`]; what a target said when none of
/// them could be asked. Otherwise a target that fails is in the report.
pub async fn collect(scope: &Scope, job: &CollectJob) -> Result<CollectReport> {
    if job.grace < MIN_GRACE {
        return Err(Error::invalid(format!(
            "a grace time of {:.1} hours is too short: a backup may stand still for longer",
            job.grace.as_secs_f64() / 3600.0
        ))
        .with_hint(format!("use at least {} hours; 24 is usual", MIN_GRACE.as_secs() / 3600)));
    }
    let mut report = CollectReport { dry_run: job.dry_run, ..CollectReport::default() };
    let mut first_error = None;
    for (name, target) in &job.targets {
        scope.progress.stage(format!("looking at the repository in {name}"));
        match collect_in(scope, job, name, target, &mut report).await {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => {
                report.failed.push(FailedTarget { target: name.clone(), error: error.to_body() });
                first_error = first_error.or(Some(error.with_context("target", name)));
            }
        }
    }
    match first_error {
        Some(error) if report.targets.is_empty() && report.without_repository.is_empty() => Err(error),
        _ => Ok(report),
    }
}

async fn collect_in(
    scope: &Scope,
    job: &CollectJob,
    name: &str,
    target: &Arc<dyn BackupTarget>,
    report: &mut CollectReport,
) -> Result<()> {
    let collector = Collector { scope, job, name, target };
    let Some(first) = collector.look().await? else {
        // There may have been one.
        look_for(scope, &job.state, &(name.to_owned(), Arc::clone(target))).await?;
        report.without_repository.push(name.to_owned());
        return Ok(());
    };
    report.targets.push(first.plan.clone());
    if job.dry_run || !first.plan.has_work() {
        return Ok(());
    }
    let lease = Lease::acquire(scope, name, Arc::clone(target), &job.host, job.lease).await?;
    let Some(shown) = report.targets.last_mut() else { return Err(Error::internal("a plan was lost")) };
    let applied = collector.apply(&first, Some(&lease), shown).await;
    let released = lease.release().await;
    // A lease that could not be given back ends by itself; what was deleted is deleted.
    applied.and(released)
}
