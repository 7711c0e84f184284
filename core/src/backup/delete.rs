//! Deleting a snapshot: a plan with its reasons first, then the plan and nothing else.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::blocks::Objects;
use super::create::NamedTarget;
use super::lease::{Lease, LeaseTimes};
use super::list::{Found, Listing, SEALED_SUFFIX, blocking, find, list};
use super::repository::keyring::Keyring;
use super::repository::open::Repository;
use super::repository::{names, removal};
use super::retention::Proofs;
use super::retention::holds::{Hold, delete_unless_held, held, holds};
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
    /// Why nothing may be removed unless it is forced.
    pub refused: Option<String>,
    /// Who holds it. What is held is not removed by force either.
    pub holds: Vec<Hold>,
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
/// From no target the last good snapshot of its service is deleted, nor, while none there is verified, the last complete
/// one ([`Proofs::last_of_its_worth`]), nor what cannot be read for another reason than damage, unless `force` is set. What is
/// held stays in any case.
pub async fn plan_delete(
    scope: &Scope,
    targets: &[NamedTarget],
    keys: &Keys,
    service: Option<&str>,
    wanted: &str,
    proofs: &Proofs,
    force: bool,
) -> Result<DeletePlan> {
    let copies = find(scope, targets, keys, service, wanted).await?;
    let snapshot_id = copies.first().map(|copy| copy.snapshot_id.clone()).unwrap_or_default();
    let known = copies.iter().any(|copy| copy.listed.is_some());
    let mut refused = None;
    let mut held = Vec::new();
    for copy in &copies {
        held.extend(holds(scope, &*copy.component).await?.remove(&snapshot_id).unwrap_or_default());
        if !force && refused.is_none() {
            let here = [(copy.target.clone(), Arc::clone(&copy.component))];
            refused = refusal(copy, &list(scope, &here, keys, None).await?, proofs);
        }
    }
    held.sort_by(|a, b| (a.at, &a.by, &a.reason).cmp(&(b.at, &b.by, &b.reason)));
    held.dedup();
    let reason = match (known, force) {
        (false, _) => "named by the caller; it is too damaged to be read",
        (true, true) => "named by the caller, by force",
        (true, false) => "named by the caller",
    };
    let deletions = copies.into_iter().map(|copy| Deletion {
        target: copy.target,
        key: copy.object.key,
        stored_bytes: copy.object.size_bytes,
        reason: reason.to_owned(),
    });
    Ok(DeletePlan { snapshot_id, deletions: deletions.collect(), refused, holds: held })
}

/// Why this copy must not be deleted from its target, which has what `there` lists.
fn refusal(copy: &Found, there: &Listing, proofs: &Proofs) -> Option<String> {
    let of_copy = || there.snapshots.iter().find(|listed| listed.key == copy.object.key);
    if let Some(listed) = copy.listed.as_ref().or_else(of_copy) {
        return proofs.last_of_its_worth(listed, &there.snapshots);
    }
    // One that is damaged is nothing to fall back on. Of one that is encrypted, or in a target that is silent, nobody knows.
    let why = there.unreadable.iter().find(|unreadable| unreadable.key == copy.object.key).map(|it| &it.error);
    let why = why.or_else(|| there.failed.first().map(|failed| &failed.error));
    why.filter(|error| error.kind != ErrorKind::Corrupt).map(|error| {
        format!("in {} it cannot be read now, so it may be the last good one: {}", copy.target, error.message)
    })
}

/// Deletes the snapshot `id`, whose object is `key`, from a target whose lease is held, unless somebody holds the snapshot. The one
/// way in which snapshots go, whatever their layout.
///
/// # Errors
/// As [`delete_unless_held`].
pub(super) async fn delete_snapshot(
    scope: &Scope,
    target: &Arc<dyn BackupTarget>,
    keys: &Keys,
    lease: &Lease,
    id: &str,
    key: &str,
) -> Result<()> {
    let delete = async {
        lease.confirm().await?;
        delete_one(scope, target, keys, key).await
    };
    delete_unless_held(scope, &**target, id, key, delete).await
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
    if !plan.holds.is_empty() {
        return Err(held(&plan.snapshot_id));
    }
    if let Some(why) = &plan.refused {
        return Err(Error::new(ErrorKind::Refused, format!("snapshot {} stays: {why}", plan.snapshot_id))
            .with_hint("make a new backup and verify it first, or delete this one by force"));
    }
    for deletion in &plan.deletions {
        let Some((name, target)) = targets.iter().find(|(name, _)| *name == deletion.target) else {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no target {:?}", deletion.target)));
        };
        let lease = Lease::acquire(scope, name, Arc::clone(target), host, times).await?;
        let deleted = delete_snapshot(scope, target, keys, &lease, &plan.snapshot_id, &deletion.key).await;
        let released = lease.release().await;
        deleted?;
        released?;
    }
    Ok(())
}
