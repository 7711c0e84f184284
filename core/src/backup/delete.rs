//! Deleting a snapshot: a plan with its reasons first, then the plan and nothing else.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::create::NamedTarget;
use super::layout::Layout;
use super::lease::{Lease, LeaseTimes};
use super::list::{find, list};
use super::retention::Proofs;
use super::retention::holds::{Hold, delete_unless_held, held, holds};
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
    /// How it is stored.
    pub layout: String,
    /// The bytes that become free.
    pub stored_bytes: u64,
    /// Why it is removed.
    pub reason: String,
}

/// Plans to delete the snapshot `wanted` (see [`find`]) from `targets`. Changes nothing.
///
/// From no target the last good snapshot of its service is deleted, nor, while none there is verified, the last complete
/// one ([`Proofs::last_of_its_worth`]), unless `force` is set. What is held stays in any case.
pub async fn plan_delete(
    scope: &Scope,
    targets: &[NamedTarget],
    service: Option<&str>,
    wanted: &str,
    proofs: &Proofs,
    force: bool,
) -> Result<DeletePlan> {
    let copies = find(scope, targets, service, wanted).await?;
    let snapshot_id = copies.first().map(|copy| copy.snapshot_id.clone()).unwrap_or_default();
    let known = copies.iter().any(|copy| copy.listed.is_some());
    let mut refused = None;
    let mut held = Vec::new();
    for copy in &copies {
        held.extend(holds(scope, &*copy.component).await?.remove(&snapshot_id).unwrap_or_default());
        if let Some(listed) = copy.listed.as_ref().filter(|_| !force && refused.is_none()) {
            let here = [(copy.target.clone(), Arc::clone(&copy.component))];
            let all = list(scope, &here, Some(&listed.service)).await?.snapshots;
            refused = proofs.last_of_its_worth(listed, &all);
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
        // What cannot be read was found by the name of an archive.
        layout: copy.listed.map_or_else(|| Layout::Archive.name().to_owned(), |listed| listed.layout),
        stored_bytes: copy.object.size_bytes,
        reason: reason.to_owned(),
    });
    Ok(DeletePlan { snapshot_id, deletions: deletions.collect(), refused, holds: held })
}

/// Does what a layout needs in a target before objects of its snapshots may be deleted there, for all of `keys` at once. The
/// one place that knows how a snapshot of each layout ends: with the deletion of its object, that is, of the archive.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a layout that this build cannot delete from; nothing of it is deleted then.
pub(super) async fn prepare_deletion(
    _scope: &Scope,
    _target: &dyn BackupTarget,
    layout: &str,
    _keys: &[&str],
) -> Result<()> {
    match Layout::named(layout) {
        // Nothing but the archive knows of the archive.
        Some(Layout::Archive) => Ok(()),
        _ => {
            Err(Error::new(ErrorKind::Unsupported, format!("this build cannot delete snapshots of layout {layout:?}"))
                .with_hint("use the version of uplifted-ops that made them, or a later one"))
        }
    }
}

/// Removes what the plan names, holding each target's lease.
///
/// # Errors
/// [`ErrorKind::Refused`] for a plan that says so, with nothing removed. An error in the middle leaves the rest
/// of the plan undone; applying it again goes on.
pub async fn apply_delete(
    scope: &Scope,
    targets: &[NamedTarget],
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
        let (id, key) = (&plan.snapshot_id, &deletion.key);
        let deleted = match prepare_deletion(scope, &**target, &deletion.layout, &[key]).await {
            Ok(()) => delete_unless_held(scope, &**target, id, key, lease.confirm()).await,
            Err(error) => Err(error),
        };
        let released = lease.release().await;
        deleted?;
        released?;
    }
    Ok(())
}
