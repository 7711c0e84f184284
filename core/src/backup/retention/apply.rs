//! Carrying a plan out, and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::create::NamedTarget;
use super::super::delete::delete_snapshot;
use super::super::lease::{Lease, LeaseTimes};
use super::super::list::{FailedTarget, list};
use super::super::seal::Keys;
use super::super::target::BackupTarget;
use super::holds;
use super::plan::{Action, Decision, RetentionPlan, Stock, TargetPlan, plan};
use super::policy::Policy;
use super::proof::Proofs;
use crate::cancel::Scope;
use crate::error::{Error, ErrorBody, ErrorKind, Result};

/// A target that fails so often in a row is left alone.
const PATIENCE: usize = 3;

/// What to thin out, and by which rules.
pub struct RetainJob<'a> {
    /// The targets, each judged by itself.
    pub targets: Vec<NamedTarget>,
    /// The keys to read them with.
    pub keys: Keys,
    /// Whose snapshots.
    pub service: String,
    /// The rules.
    pub policy: Policy,
    /// What verifications said, read again before anything is deleted.
    pub proofs: &'a (dyn Fn() -> Result<Proofs> + Sync),
    /// The name of this machine.
    pub host: String,
    /// How the targets' leases are kept.
    pub lease: LeaseTimes,
    /// Say what would be deleted, and delete nothing.
    pub dry_run: bool,
}

/// What was planned, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RetainReport {
    /// The plan: where something was deleted, the one that was made under the lease.
    #[serde(flatten)]
    pub plan: RetentionPlan,
    /// Whether it was to be a plan alone.
    pub dry_run: bool,
    /// What was deleted, in this order.
    pub deleted: Vec<Deleted>,
    /// What should have been deleted and was not.
    pub failures: Vec<FailedDeletion>,
}

impl RetainReport {
    /// Whether every target answered, all that no rule keeps is gone or would be, and everything there is readable.
    pub fn is_healthy(&self) -> bool {
        let fine = |target: &TargetPlan| target.withheld.is_empty() && target.unreadable.is_empty();
        self.failures.is_empty() && self.plan.failed.is_empty() && self.plan.targets.iter().all(fine)
    }
}

/// A snapshot that was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DeletedSnapshot")]
pub struct Deleted {
    /// The target that had it.
    pub target: String,
    /// The snapshot.
    pub snapshot_id: String,
    /// Its key there.
    pub key: String,
    /// The bytes that became free; of a repository, once they are collected.
    pub stored_bytes: u64,
}

/// A snapshot that could not be deleted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FailedDeletion {
    /// The target that has it.
    pub target: String,
    /// The snapshot.
    pub snapshot_id: String,
    /// Its key there.
    pub key: String,
    /// Why.
    pub error: ErrorBody,
}

/// Plans, and deletes what the plan does not keep.
///
/// A target with something to delete is taken under its lease, listed again and judged again, and of the first plan only
/// that is deleted which the second does not keep either: what was verified, held or added meanwhile changes the second.
/// Snapshots go one by one, the oldest first, so that an end in the middle leaves what another run deletes. Beside a
/// backup, or another retention, of the same target nothing is deleted there: its lease is taken.
///
/// # Errors
/// [`ErrorKind::Cancelled`]; what a target said when none of them could be asked. Otherwise a target that fails, and a
/// snapshot that could not be deleted, are in the report.
pub async fn retain(scope: &Scope, job: &RetainJob<'_>) -> Result<RetainReport> {
    let mut stocks = Vec::new();
    let mut failed = Vec::new();
    for (name, target) in &job.targets {
        match stock(scope, &job.keys, name, target).await {
            Ok(stock) => stocks.push(stock),
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => failed.push((name, error)),
        }
    }
    if stocks.is_empty() && !failed.is_empty() {
        let (name, error) = failed.swap_remove(0);
        return Err(error.with_context("target", name));
    }
    let mut plan = plan(&job.policy, &job.service, &stocks, &(job.proofs)()?, scope.clock.now());
    plan.failed = failed.iter().map(|(name, error)| failure(name, error)).collect();
    let mut report = RetainReport { plan, dry_run: job.dry_run, deleted: Vec::new(), failures: Vec::new() };
    if !job.dry_run {
        apply(scope, job, &mut report).await?;
    }
    Ok(report)
}

/// Carries out the plan in `report`.
async fn apply(scope: &Scope, job: &RetainJob<'_>, report: &mut RetainReport) -> Result<()> {
    let mut first_error = None;
    let mut done = 0;
    for at in 0..report.plan.targets.len() {
        if report.plan.targets[at].deletions == 0 {
            done += 1;
            continue;
        }
        match apply_in(scope, job, at, report).await {
            Ok(()) => done += 1,
            Err(error) if error.kind() == ErrorKind::Cancelled => {
                return Err(error.with_context("deleted", report.deleted.len()));
            }
            Err(error) => {
                report.plan.failed.push(failure(&report.plan.targets[at].target, &error));
                first_error = first_error.or(Some(error));
            }
        }
    }
    match first_error {
        Some(error) if done == 0 && report.deleted.is_empty() => Err(error),
        _ => Ok(()),
    }
}

/// Carries out the plan of one target, under its lease.
async fn apply_in(scope: &Scope, job: &RetainJob<'_>, at: usize, report: &mut RetainReport) -> Result<()> {
    let name = report.plan.targets[at].target.clone();
    let Some((_, target)) = job.targets.iter().find(|(known, _)| *known == name) else {
        return Err(Error::internal(format!("the plan names a target {name:?} that there is not")));
    };
    let lease = Lease::acquire(scope, &name, Arc::clone(target), &job.host, job.lease).await?;
    let applied = apply_under(scope, job, at, target, &lease, report).await;
    let released = lease.release().await;
    // A lease that could not be given back ends by itself; what was deleted is deleted.
    applied.and(released)
}

async fn apply_under(
    scope: &Scope,
    job: &RetainJob<'_>,
    at: usize,
    target: &Arc<dyn BackupTarget>,
    lease: &Lease,
    report: &mut RetainReport,
) -> Result<()> {
    let stale = report.plan.targets[at].clone();
    let stock = stock(scope, &job.keys, &stale.target, target).await?;
    let proofs = (job.proofs)()?;
    let fresh = plan(&job.policy, &job.service, std::slice::from_ref(&stock), &proofs, scope.clock.now());
    let fresh = fresh.targets.into_iter().next().unwrap_or_else(|| stale.clone());
    holds::sweep(scope, &**target).await?;
    let doomed = agreed(&stale, &fresh);
    report.plan.targets[at] = fresh;
    let mut left = stock.snapshots;
    let mut in_a_row = 0;
    let mut last_error: Option<Error> = None;
    for Decision { snapshot_id, key, stored_bytes, .. } in doomed {
        scope.cancel.check()?;
        scope.progress.stage(format!("deleting {snapshot_id} from {}", stale.target));
        let failed = |error: ErrorBody| FailedDeletion {
            target: stale.target.clone(),
            snapshot_id: snapshot_id.clone(),
            key: key.clone(),
            error,
        };
        if let (PATIENCE.., Some(error)) = (in_a_row, &last_error) {
            let error = Error::new(error.kind(), format!("not tried: the target failed {PATIENCE} times in a row"));
            report.failures.push(failed(error.to_body()));
            continue;
        }
        // What the plan promises, looked at once more where it is acted on.
        let worth = left.iter().find(|listed| listed.key == key).and_then(|it| proofs.last_of_its_worth(it, &left));
        if let Some(why) = worth {
            report.failures.push(failed(Error::internal(format!("snapshot {snapshot_id} stays: {why}")).to_body()));
            continue;
        }
        match delete_snapshot(scope, target, &job.keys, lease, &snapshot_id, &key).await {
            Ok(()) => {
                in_a_row = 0;
                left.retain(|listed| listed.key != key);
                report.deleted.push(Deleted { target: stale.target.clone(), snapshot_id, key, stored_bytes });
            }
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => {
                in_a_row += 1;
                report.failures.push(failed(error.to_body()));
                last_error = Some(error);
            }
        }
    }
    Ok(())
}

/// What both plans delete, the oldest first.
fn agreed(stale: &TargetPlan, fresh: &TargetPlan) -> Vec<Decision> {
    let deletes = |plan: &TargetPlan| {
        plan.decisions.iter().rev().filter(|decision| decision.action == Action::Delete).cloned().collect::<Vec<_>>()
    };
    let before: BTreeSet<String> = deletes(stale).into_iter().map(|decision| decision.key).collect();
    deletes(fresh).into_iter().filter(|decision| before.contains(&decision.key)).collect()
}

/// What a target has.
async fn stock(scope: &Scope, keys: &Keys, name: &str, target: &Arc<dyn BackupTarget>) -> Result<Stock> {
    let named = [(name.to_owned(), Arc::clone(target))];
    let listing = list(scope, &named, keys, None).await?;
    if let Some(FailedTarget { error, .. }) = listing.failed.into_iter().next() {
        return Err(Error::from(error));
    }
    let holds = holds::holds(scope, &**target).await?;
    Ok(Stock { target: name.to_owned(), snapshots: listing.snapshots, unreadable: listing.unreadable, holds })
}

fn failure(name: &str, error: &Error) -> FailedTarget {
    FailedTarget { target: name.to_owned(), error: error.to_body() }
}
