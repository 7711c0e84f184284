//! Carrying a plan out, and nothing else.

use std::collections::HashSet;
use std::time::Duration;

use jiff::SignedDuration;

use super::judge::judge;
use super::memory::Memory;
use super::survey::{Survey, survey};
use super::{Collector, Look, signed};
use crate::backup::collect::{
    CollectAction, CollectDecision, CollectFailure, CollectKind, CollectedObject, TargetCollection,
};
use crate::backup::lease::Lease;
use crate::backup::manifest::Digest;
use crate::backup::repository::collect::CollectRecord;
use crate::backup::repository::id::{IdKey, PackId, SnapshotId, random};
use crate::backup::repository::names;
use crate::backup::target::{BackupTarget, MAX_BLOCK};
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};

/// A target that fails so often in a row is left alone.
const PATIENCE: usize = 3;
/// How many packs one record names at most: it is put at once, in a block.
const PACKS_PER_RECORD: usize = 100_000;
/// How far the target's clock and ours may come apart between two looks.
const JUMP: SignedDuration = SignedDuration::from_secs(60);

impl Collector<'_> {
    /// Looks at the repository, and judges; `None` when the target has none.
    pub(crate) async fn look(&self) -> Result<Option<Look>> {
        let Some(survey) = survey(self).await? else { return Ok(None) };
        let mut plan = judge(&survey, self.name, self.job.grace);
        if plan.refusals.is_empty() {
            plan.accepted_missing = survey.missing.keys().map(ToString::to_string).collect();
        }
        if plan.refusals.is_empty() && !self.job.dry_run {
            let saved = Memory::save(&self.job.state, survey.id(), self.name, survey.target_now, &survey.snapshots);
            // Without it a rollback is noticed by the chain of headers alone.
            if let Err(error) = saved {
                plan.problems.push(format!("it could not be remembered which snapshots were there: {error}"));
            }
        }
        Ok(Some(Look { plan, survey }))
    }

    /// Looks once more, and carries out of `first` what still holds. `shown` becomes the plan that was carried out, and
    /// what became of it.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`], [`ErrorKind::Busy`] when the lease was lost, and those of the target but for deletions, which are in
    /// `shown`. What was done stays done, and another run goes on.
    pub(crate) async fn apply(&self, first: &Look, lease: Option<&Lease>, shown: &mut TargetCollection) -> Result<()> {
        let Some(second) = self.look().await? else {
            return Err(Error::new(ErrorKind::Unavailable, "the repository was there and is not any more")
                .with_hint("find out who deletes from the target"));
        };
        *shown = second.plan.clone();
        if !shown.refusals.is_empty() {
            return Ok(());
        }
        confirm(lease).await?;
        self.condemn(&second, shown).await?;
        if let Some(why) = jumped(&first.survey, &second.survey) {
            shown.deferred = Some(why);
            return Ok(());
        }
        let before = keys_to_delete(&first.plan);
        for decision in shown.decisions.iter_mut().filter(|decision| !before.contains(&decision.key)) {
            if decision.action == CollectAction::Delete {
                decision.action = CollectAction::Wait;
                decision.reason.push_str("; it was not so a moment before");
            }
        }
        self.delete(lease, shown).await
    }

    /// Records what nobody needs.
    async fn condemn(&self, look: &Look, shown: &mut TargetCollection) -> Result<()> {
        let condemned = look.plan.decisions.iter().filter(|decision| decision.action == CollectAction::Condemn);
        let packs: Vec<PackId> =
            condemned.filter_map(|decision| names::pack_of(&decision.key)).map(|(id, _)| id).collect();
        let mut snapshots: Vec<(SnapshotId, Digest)> =
            look.survey.missing.iter().map(|(snapshot, mac)| (*snapshot, *mac)).collect();
        let mut chunks: Vec<&[PackId]> = packs.chunks(PACKS_PER_RECORD).collect();
        if chunks.is_empty() && !snapshots.is_empty() {
            chunks.push(&[]);
        }
        for packs in chunks {
            let record = CollectRecord {
                repository: look.survey.id(),
                time: self.scope.clock.now(),
                grace: self.job.grace,
                snapshots: std::mem::take(&mut snapshots),
                packs: packs.to_vec(),
            };
            self.scope.progress.stage(format!("condemning {} packs in {}", packs.len(), self.name));
            put_record(self.scope, &**self.target, &record, &look.survey.repository.key).await?;
            shown.condemned += packs.len() as u64;
        }
        Ok(())
    }

    async fn delete(&self, lease: Option<&Lease>, shown: &mut TargetCollection) -> Result<()> {
        let doomed: Vec<CollectDecision> =
            shown.decisions.iter().filter(|decision| decision.action == CollectAction::Delete).cloned().collect();
        let (mut in_a_row, mut last_error) = (0, None);
        for CollectDecision { key, kind, stored_bytes, .. } in doomed {
            self.scope.cancel.check()?;
            self.scope.progress.stage(format!("deleting {key} from {}", self.name));
            if let (PATIENCE.., Some(kind)) = (in_a_row, last_error) {
                let error = Error::new(kind, format!("not tried: the target failed {PATIENCE} times in a row"));
                shown.failures.push(CollectFailure { key, error: error.to_body() });
                continue;
            }
            confirm(lease).await?;
            match self.delete_object(&key, kind).await {
                Ok(()) => {
                    in_a_row = 0;
                    shown.freed_bytes += stored_bytes;
                    shown.repository_bytes = shown.repository_bytes.saturating_sub(stored_bytes);
                    if kind == CollectKind::Pack {
                        shown.packs = shown.packs.saturating_sub(1);
                        shown.dead_packs = shown.dead_packs.saturating_sub(1);
                        shown.dead_bytes = shown.dead_bytes.saturating_sub(stored_bytes);
                    }
                    shown.deleted.push(CollectedObject { key, stored_bytes });
                }
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => {
                    in_a_row += 1;
                    last_error = Some(error.kind());
                    shown.failures.push(CollectFailure { key, error: error.to_body() });
                }
            }
        }
        Ok(())
    }

    /// Deletes an object, and makes sure that it is gone. Of a pack the index goes first: a pack without index is known to
    /// no run.
    async fn delete_object(&self, key: &str, kind: CollectKind) -> Result<()> {
        let pack = names::pack_of(key).map(|(id, _)| id).filter(|_| kind == CollectKind::Pack);
        if let Some(pack) = pack {
            self.delete_for_good(&names::index(pack)).await?;
        }
        if let Some(pack) = names::index_of(key).filter(|_| kind == CollectKind::Index) {
            for sealed in [false, true] {
                if self.target.stat(self.scope, &names::pack(pack, sealed)).await?.is_some() {
                    return Err(Error::new(ErrorKind::Unavailable, format!("{key:?} has its pack again"))
                        .with_hint("look at the target: its list of objects lacked one that is there"));
                }
            }
        }
        self.delete_for_good(key).await
    }

    async fn delete_for_good(&self, key: &str) -> Result<()> {
        self.target.delete(self.scope, key).await?;
        if self.target.stat(self.scope, key).await?.is_some() {
            return Err(Error::new(ErrorKind::Unavailable, format!("the target still has {key:?} after deleting it"))
                .with_hint("look whether the target keeps what is deleted: versions, object lock, a read-only mount"));
        }
        Ok(())
    }
}

/// Puts a collect record and reads it back; its key.
pub(in crate::backup::repository) async fn put_record(
    scope: &Scope,
    target: &dyn BackupTarget,
    record: &CollectRecord,
    key: &IdKey,
) -> Result<String> {
    let name = names::collect(record.time, SnapshotId(random()?));
    let bytes = record.write(key);
    target.put(scope, &name, &bytes, true).await?;
    if target.get(scope, &name, 0..MAX_BLOCK as u64).await? != bytes {
        return Err(Error::new(ErrorKind::Corrupt, format!("the target did not keep {name:?} as it was given"))
            .with_hint("look at the disk and the memory of the target; nothing was deleted"));
    }
    Ok(name)
}

async fn confirm(lease: Option<&Lease>) -> Result<()> {
    match lease {
        Some(lease) => lease.confirm().await,
        None => Ok(()),
    }
}

fn keys_to_delete(plan: &TargetCollection) -> HashSet<String> {
    let deleted = plan.decisions.iter().filter(|decision| decision.action == CollectAction::Delete);
    deleted.map(|decision| decision.key.clone()).collect()
}

/// Says so when the target's clock did not run as ours between two looks.
fn jumped(first: &Survey, second: &Survey) -> Option<String> {
    let theirs = second.target_now.duration_since(first.target_now);
    // The clock was read at some moment between the two.
    let shortest = signed(second.asked.0.saturating_sub(first.asked.1));
    let longest = signed(second.asked.1.saturating_sub(first.asked.0));
    let fine = theirs >= shortest.saturating_sub(JUMP) && theirs <= longest.saturating_add(JUMP);
    let seconds = |span: Duration| span.as_secs_f64();
    (!fine).then(|| {
        format!(
            "the target's clock moved by {:.0} s while {:.0} s went by here: nothing is deleted by such a clock",
            theirs.as_secs_f64(),
            seconds(second.asked.0) - seconds(first.asked.0)
        )
    })
}
