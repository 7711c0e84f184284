//! The run's side of garbage collection: which packs it must not use, and the check before its header.
//!
//! ```text
//! let marks = Marks::read(…)          before the packs and indexes are listed
//!     …                               packs for which marks.condemned(…) are not used
//! let cleared = marks.confirm(…)      everything is stored, the header is not
//!     put the header                  at once
//! cleared.shown(…)                    the snapshot is there to stay
//! ```

use std::collections::HashSet;
use std::time::Duration;

use super::apply::put_record;
use super::{MIN_GRACE, in_words, signed};
use crate::backup::blocks::{list_all, read_object};
use crate::backup::manifest::Digest;
use crate::backup::repository::collect::CollectRecord;
use crate::backup::repository::id::{IdKey, PackId, RepositoryId, SnapshotId};
use crate::backup::repository::names;
use crate::backup::repository::open::{MAX_HEADER, Repository};
use crate::backup::target::{BackupTarget, Object};
use crate::backup::target_clock::target_now;
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// How long the header may take after the check: with half a grace time before it, less than the shortest grace time.
const HEADER_WITHIN: Duration = Duration::from_secs(MIN_GRACE.as_secs() / 2);

/// What the collect records said when a run began.
#[derive(Debug, Clone)]
pub(crate) struct Marks {
    repository: RepositoryId,
    key: IdKey,
    /// The keys of the records that were whole.
    seen: HashSet<String>,
    condemned: HashSet<PackId>,
}

impl Marks {
    /// Reads the collect records of a repository. A run does so before it looks which packs there are. It waits.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when a record is of a later version, and those of the target.
    pub(crate) fn read(repository: &Repository) -> Result<Self> {
        let keys = repository.objects.list(names::COLLECT)?.into_iter().map(|object| object.key).collect::<Vec<_>>();
        let key = repository.key.clone();
        let mut marks = Self { repository: repository.id, key, seen: HashSet::new(), condemned: HashSet::new() };
        repository.objects.read_each(&keys, MAX_HEADER, |number, bytes| {
            if let Some(record) = whole(bytes, marks.repository, &marks.key)? {
                marks.condemned.extend(record.packs);
                marks.seen.insert(keys[number].clone());
            }
            Ok(())
        })?;
        Ok(marks)
    }

    /// Whether a pack must not be used, also when a snapshot needs it.
    pub(crate) fn condemned(&self, pack: &PackId) -> bool {
        self.condemned.contains(pack)
    }

    /// Makes sure that a header which needs `packs` may be put now, at once: they are all there, and none was condemned so
    /// long ago that somebody may be deleting it.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when one is gone or condemned: the backup is to be made again.
    pub(crate) async fn confirm(
        &self,
        scope: &Scope,
        target: &dyn BackupTarget,
        packs: impl IntoIterator<Item = PackId>,
    ) -> Result<Cleared> {
        let packs: HashSet<PackId> = packs.into_iter().collect();
        let at = (scope.clock.now(), scope.clock.monotonic());
        self.check(scope, target, &packs, |grace| grace / 2).await?;
        Ok(Cleared { marks: self.clone(), packs, at })
    }

    /// Looks at the records first and at the packs after them: a record that is gone has taken its packs along.
    async fn check(
        &self,
        scope: &Scope,
        target: &dyn BackupTarget,
        packs: &HashSet<PackId>,
        limit: impl Fn(Duration) -> Duration,
    ) -> Result<()> {
        if let Some(pack) = packs.iter().find(|pack| self.condemned(pack)) {
            return Err(Error::internal(format!("a backup used the pack {pack}, which was condemned before it began")));
        }
        let named: Vec<(Object, CollectRecord, PackId)> = self
            .unseen(scope, target)
            .await?
            .into_iter()
            .filter_map(|(object, record)| {
                let pack = record.packs.iter().find(|pack| packs.contains(pack)).copied()?;
                Some((object, record, pack))
            })
            .collect();
        if !named.is_empty() {
            let now = target_now(scope, target).await?;
            for (object, record, pack) in named {
                let age = now.duration_since(object.modified_at);
                // One that is written in the future proves that the target's clock jumped.
                if age.is_negative() || age >= signed(limit(record.grace)) {
                    return Err(busy(format!("condemned the pack {pack} {} ago", in_words(age))));
                }
            }
        }
        let there: HashSet<PackId> = list_all(scope, target, names::PACKS)
            .await?
            .iter()
            .filter_map(|object| names::pack_of(&object.key))
            .map(|(pack, _)| pack)
            .collect();
        match packs.iter().find(|pack| !there.contains(pack)) {
            Some(pack) => Err(busy(format!("deleted the pack {pack}"))),
            None => Ok(()),
        }
    }

    /// The records that came since the run began.
    async fn unseen(&self, scope: &Scope, target: &dyn BackupTarget) -> Result<Vec<(Object, CollectRecord)>> {
        let mut records = Vec::new();
        for object in list_all(scope, target, names::COLLECT).await? {
            if !self.seen.contains(&object.key) {
                let bytes = read_object(scope, target, &object.key, MAX_HEADER).await;
                records.extend(whole(bytes, self.repository, &self.key)?.map(|record| (object, record)));
            }
        }
        Ok(records)
    }
}

/// A record, unless it is gone or damaged. A damaged one condemns nothing: no collector acts on it either.
fn whole(bytes: Result<Vec<u8>>, repository: RepositoryId, key: &IdKey) -> Result<Option<CollectRecord>> {
    match bytes.and_then(|bytes| CollectRecord::read(&bytes, repository, key)) {
        Ok(record) => Ok(Some(record)),
        Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A snapshot whose header may be put, at once.
#[derive(Debug)]
pub(crate) struct Cleared {
    marks: Marks,
    packs: HashSet<PackId>,
    /// When the check began, by the wall clock and by the one that never jumps.
    at: (Timestamp, Duration),
}

impl Cleared {
    /// To be called when the header is visible. When that took long (the machine slept, the target did not answer), everything is
    /// looked at once more, and the header taken back when a pack may be going.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when the header was taken back, recorded as removed; those of the target.
    pub(crate) async fn shown(
        self,
        scope: &Scope,
        target: &dyn BackupTarget,
        header: &str,
        snapshot: (SnapshotId, Digest),
    ) -> Result<()> {
        // The one does not count the time that a machine sleeps, and the other one jumps.
        let wall = scope.clock.now().duration_since(self.at.0).abs();
        let longest = wall.max(signed(scope.clock.monotonic().saturating_sub(self.at.1)));
        if longest <= signed(HEADER_WITHIN) {
            return Ok(());
        }
        // Whoever deletes after this moment has seen the header, unless he began before it: when a record had its age then.
        let Err(error) = self.marks.check(scope, target, &self.packs, |grace| grace).await else { return Ok(()) };
        if error.kind() != ErrorKind::Busy {
            return Err(error);
        }
        let Marks { repository, key, .. } = &self.marks;
        let record = CollectRecord {
            repository: *repository,
            time: scope.clock.now(),
            grace: MIN_GRACE,
            snapshots: vec![snapshot],
            packs: Vec::new(),
        };
        put_record(scope, target, &record, key).await?;
        target.delete(scope, header).await?;
        Err(error)
    }
}

fn busy(what: String) -> Error {
    Error::new(ErrorKind::Busy, format!("garbage collection has {what} while the backup was made"))
        .with_hint("run the backup again: it stores anew what was collected")
}
