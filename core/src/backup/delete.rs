//! Deleting a snapshot: a plan with its reasons first, then the plan and nothing else.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::blocks::Objects;
use super::create::NamedTarget;
use super::lease::{Lease, LeaseTimes};
use super::list::{Listed, SEALED_SUFFIX, blocking, find, list};
use super::manifest::Outcome;
use super::repository::keyring::Keyring;
use super::repository::open::Repository;
use super::repository::{names, removal};
use super::seal::{Keys, SUMMARY_SUFFIX};
use super::target::BackupTarget;
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};

/// What deleting a snapshot removes, or why it must not be deleted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeletePlan {
    /// The snapshot.
    pub snapshot_id: String,
    /// What is removed.
    pub deletions: Vec<Deletion>,
    /// Why nothing may be removed.
    pub refused: Option<String>,
}

/// One object to remove.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Deletion {
    /// The target that has it.
    pub target: String,
    /// Its key there.
    pub key: String,
    /// The bytes that become free; of a snapshot in a repository those of its header, and the packs that nothing else
    /// needs are collected later.
    pub stored_bytes: u64,
    /// Why it is removed.
    pub reason: String,
}

/// Plans to delete the snapshot `wanted` (see [`find`]) from `targets`. Changes nothing.
///
/// `verified` are the identifiers of the snapshots that were verified, as the journal knows them. The last
/// complete snapshot of a service that was verified is not deleted, nor, while none was, the last complete
/// one; unless `force` is set.
pub async fn plan_delete(
    scope: &Scope,
    targets: &[NamedTarget],
    keys: &Keys,
    service: Option<&str>,
    wanted: &str,
    verified: &[String],
    force: bool,
) -> Result<DeletePlan> {
    let copies = find(scope, targets, keys, service, wanted).await?;
    let snapshot_id = copies.first().map(|copy| copy.snapshot_id.clone()).unwrap_or_default();
    let known = copies.iter().find_map(|copy| copy.listed.as_ref());
    let refused = match known {
        Some(snapshot) if !force => {
            let all = list(scope, targets, keys, Some(&snapshot.service)).await?.snapshots;
            refusal(snapshot, &all, verified)
        }
        _ => None,
    };
    let reason = match (known, force) {
        (None, _) => "named by the caller; it is too damaged to be read",
        (Some(_), true) => "named by the caller, by force",
        (Some(_), false) => "named by the caller",
    };
    let deletions = copies.into_iter().map(|copy| Deletion {
        target: copy.target,
        key: copy.object.key,
        stored_bytes: copy.object.size_bytes,
        reason: reason.to_owned(),
    });
    Ok(DeletePlan { snapshot_id, deletions: deletions.collect(), refused })
}

/// Why `snapshot` must stay, when it is the last of its worth.
fn refusal(snapshot: &Listed, all: &[Listed], verified: &[String]) -> Option<String> {
    let complete = || all.iter().filter(|listed| listed.outcome == Outcome::Complete);
    let is_verified = |listed: &&Listed| verified.contains(&listed.snapshot_id);
    let is_other = |listed: &Listed| listed.snapshot_id != snapshot.snapshot_id;
    if snapshot.outcome != Outcome::Complete {
        return None;
    }
    if complete().any(|listed| is_verified(&listed)) {
        let last = !complete().filter(is_verified).any(is_other);
        return last.then(|| format!("it is the last complete snapshot of {:?} that was verified", snapshot.service));
    }
    let last = !complete().any(is_other);
    last.then(|| format!("it is the last complete snapshot of {:?}", snapshot.service))
}

/// Removes an archive with what lies beside it, or a snapshot of a repository.
async fn delete_one(scope: &Scope, target: &Arc<dyn BackupTarget>, keys: &Keys, key: &str) -> Result<()> {
    if names::snapshot_of(key).is_some() {
        let (objects, keyring) = (Objects::new(scope, Arc::clone(target)), Arc::new(keys.clone()) as Arc<dyn Keyring>);
        let repository = blocking(move || Repository::open(&objects, &keyring)).await?;
        let gone = || Error::new(ErrorKind::NotFound, "the target has no repository any more");
        return removal::remove(scope, target, repository.ok_or_else(gone)?, key).await;
    }
    target.delete(scope, key).await?;
    if key.ends_with(SEALED_SUFFIX) {
        target.delete(scope, &format!("{key}{SUMMARY_SUFFIX}")).await?;
    }
    Ok(())
}

/// Removes what the plan names, holding each target's lease.
///
/// # Errors
/// [`ErrorKind::Refused`] for a plan that says so, with nothing removed. An error in the middle leaves the rest
/// of the plan undone; applying it again goes on.
pub async fn apply_delete(
    scope: &Scope,
    targets: &[NamedTarget],
    keys: &Keys,
    plan: &DeletePlan,
    host: &str,
    times: LeaseTimes,
) -> Result<()> {
    if let Some(why) = &plan.refused {
        return Err(Error::new(ErrorKind::Refused, format!("snapshot {} stays: {why}", plan.snapshot_id))
            .with_hint("make a new backup and verify it first, or delete this one by force"));
    }
    for deletion in &plan.deletions {
        let Some((name, target)) = targets.iter().find(|(name, _)| *name == deletion.target) else {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no target {:?}", deletion.target)));
        };
        let lease = Lease::acquire(scope, name, std::sync::Arc::clone(target), host, times).await?;
        let deleted = delete_one(scope, target, keys, &deletion.key).await;
        let released = lease.release().await;
        deleted?;
        released?;
    }
    Ok(())
}
