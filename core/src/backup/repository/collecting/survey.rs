//! Looking at a repository: everything that a decision rests on, in an order in which nothing can slip through.
//!
//! First the clock, so that ages are never overestimated. Then the headers; then the records, so that a header that
//! was removed meanwhile is explained; then the indexes; and last the packs, so that every pack that a listed header needs
//! and every pack that a listed index is of was there before.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::Collector;
use super::memory::Memory;
use crate::backup::blocks::Objects;
use crate::backup::collect::CollectRefusal;
use crate::backup::list::blocking;
use crate::backup::manifest::Digest;
use crate::backup::repository::collect::CollectRecord;
use crate::backup::repository::id::{PackId, RepositoryId, SnapshotId};
use crate::backup::repository::names;
use crate::backup::repository::open::{MAX_HEADER, Repository, StoredHeader};
use crate::backup::target::Object;
use crate::backup::target_clock::target_now;
use crate::clock::Timestamp;
use crate::error::{ErrorKind, Result};

/// What a repository has.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) repository: Repository,
    /// The target's time when the look began.
    pub(super) target_now: Timestamp,
    /// The machine's.
    pub(super) our_now: Timestamp,
    /// Between which two moments the target was asked for its time, by the clock that never jumps.
    pub(super) asked: (Duration, Duration),
    /// The snapshots whose headers are whole, with their macs.
    pub(super) snapshots: BTreeMap<SnapshotId, Digest>,
    /// The snapshots that headers name as predecessors, with the macs that they had.
    pub(super) named: HashSet<(SnapshotId, Digest)>,
    /// The packs that headers need.
    pub(super) needed: HashMap<PackId, Need>,
    pub(super) records: Vec<Standing>,
    pub(super) indexes: Vec<(PackId, Object)>,
    pub(super) packs: Vec<(PackId, Object)>,
    /// Snapshots that are gone and that nobody removed.
    pub(super) missing: BTreeMap<SnapshotId, Digest>,
    /// What forbids to do anything.
    pub(super) refusals: Vec<CollectRefusal>,
    /// What is wrong besides.
    pub(super) problems: Vec<String>,
    /// Bytes of headers and records.
    pub(super) record_bytes: u64,
}

/// Who needs a pack.
#[derive(Debug, Clone, Copy)]
pub(super) struct Need {
    /// The newest snapshot that does.
    pub(super) newest: SnapshotId,
    /// How many do.
    pub(super) snapshots: u64,
}

/// A collect record where it lies.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) object: Object,
    pub(super) record: CollectRecord,
}

/// The oldest time that a target can honestly say: nothing of this was written before.
const EARLIEST: &str = "2020-01-01T00:00:00Z";

/// Looks at the repository in the collector's target; `None` when there is none.
pub(super) async fn survey(collector: &Collector<'_>) -> Result<Option<Survey>> {
    let Collector { scope, job, .. } = collector;
    let (objects, keys) = (Objects::new(scope, Arc::clone(collector.target)), Arc::clone(&job.keys));
    let Some(repository) = blocking(move || Repository::open(&objects, &keys)).await? else { return Ok(None) };
    let (our_now, before) = (scope.clock.now(), scope.clock.monotonic());
    // A dry run does not write, and asking for the time does.
    let measured = if job.dry_run { None } else { Some(target_now(scope, &**collector.target).await?) };
    let asked = (before, scope.clock.monotonic());
    let memory = Memory::load(&job.state, repository.id, collector.name);
    let accept_missing = job.accept_missing;
    blocking(move || {
        let mut survey = Survey::empty(repository, measured.unwrap_or(our_now), our_now, asked);
        survey.headers()?;
        survey.read_records()?;
        if measured.is_none() {
            survey.estimate_time();
        }
        survey.list_packs()?;
        survey.judge_clock();
        survey.find_missing(&memory, accept_missing);
        Ok(Some(survey))
    })
    .await
}

impl Survey {
    fn empty(repository: Repository, target_now: Timestamp, our_now: Timestamp, asked: (Duration, Duration)) -> Self {
        let problems = repository.damage.clone().into_iter().collect();
        Self {
            repository,
            target_now,
            our_now,
            asked,
            snapshots: BTreeMap::new(),
            named: HashSet::new(),
            needed: HashMap::new(),
            records: Vec::new(),
            indexes: Vec::new(),
            packs: Vec::new(),
            missing: BTreeMap::new(),
            refusals: Vec::new(),
            problems,
            record_bytes: 0,
        }
    }

    /// Which repository it is.
    pub(super) fn id(&self) -> RepositoryId {
        self.repository.id
    }

    fn refuse(&mut self, message: impl Into<String>, hint: impl Into<String>) {
        self.refusals.push(CollectRefusal { message: message.into(), hint: hint.into() });
    }

    /// Reads every header. One that cannot be read may need any pack.
    fn headers(&mut self) -> Result<()> {
        let listed = self.repository.objects.list(names::SNAPSHOTS)?;
        self.record_bytes += listed.iter().map(|object| object.size_bytes).sum::<u64>();
        for object in listed.iter().filter(|object| names::snapshot_of(&object.key).is_none()) {
            self.refuse(
                format!("{:?} lies among the headers of snapshots and is none that this version knows", object.key),
                "move it away if it is not of a later version of uplifted-ops",
            );
        }
        let headers = self.repository.headers()?;
        let read: HashSet<&str> = headers.iter().map(|stored| stored.key.as_str()).collect();
        for object in listed.iter().filter(|object| names::snapshot_of(&object.key).is_some()) {
            if !read.contains(object.key.as_str()) && self.repository.objects.exists(&object.key)? {
                self.refuse(
                    format!("the target lists its objects incompletely: {:?} was there, and then was not", object.key),
                    "run it again; look at the target when this stays",
                );
            }
        }
        for StoredHeader { key, header, .. } in headers {
            match header {
                Ok((header, mac)) => {
                    for pack in &header.packs {
                        let need = self.needed.entry(pack.id).or_insert(Need { newest: header.snapshot, snapshots: 0 });
                        // Headers come in the order of time.
                        need.newest = header.snapshot;
                        need.snapshots += 1;
                    }
                    self.named.extend(header.previous);
                    self.snapshots.insert(header.snapshot, mac);
                }
                Err(error) => self.refuse(
                    format!("the header {key:?} cannot be read, so nobody knows what it needs: {}", error.message()),
                    "verify that snapshot; restore its header from another copy, or delete the snapshot",
                ),
            }
        }
        Ok(())
    }

    fn read_records(&mut self) -> Result<()> {
        let objects = self.repository.objects.list(names::COLLECT)?;
        self.record_bytes += objects.iter().map(|object| object.size_bytes).sum::<u64>();
        let keys: Vec<String> = objects.iter().map(|object| object.key.clone()).collect();
        let repository = self.repository.clone();
        repository.objects.read_each(&keys, MAX_HEADER, |number, bytes| {
            match bytes.and_then(|bytes| CollectRecord::read(&bytes, repository.id, &repository.key)) {
                Ok(record) => self.records.push(Standing { object: objects[number].clone(), record }),
                // Its work was done.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    let message = format!("{:?} counts as not there: {}", keys[number], error.message());
                    self.problems.push(message);
                }
                Err(error) if error.kind() == ErrorKind::Unsupported => self.refuse(
                    format!("{:?} was written by a later version: {}", keys[number], error.message()),
                    "collect with that version of uplifted-ops, or a later one",
                ),
                Err(error) => return Err(error),
            }
            Ok(())
        })
    }

    fn list_packs(&mut self) -> Result<()> {
        let objects = self.repository.objects.clone();
        let mut strange = Vec::new();
        for object in objects.list(names::INDEX)? {
            match names::index_of(&object.key) {
                Some(pack) => self.indexes.push((pack, object)),
                None => strange.push(object.key),
            }
        }
        for object in objects.list(names::PACKS)? {
            match names::pack_of(&object.key) {
                Some((pack, _)) => self.packs.push((pack, object)),
                None => strange.push(object.key),
            }
        }
        let strange = strange.into_iter().map(|key| format!("{key:?} is nothing that belongs there, and stays"));
        self.problems.extend(strange);
        let there: HashSet<PackId> = self.packs.iter().map(|(pack, _)| *pack).collect();
        let mut lost: Vec<(PackId, Need)> =
            self.needed.iter().filter(|(pack, _)| !there.contains(pack)).map(|(pack, need)| (*pack, *need)).collect();
        lost.sort_unstable_by_key(|(pack, _)| *pack);
        if let Some((pack, need)) = lost.first() {
            let more = match lost.len() {
                1 => String::new(),
                many => format!(", and {} more that snapshots need", many - 1),
            };
            self.refuse(
                format!(
                    "pack {pack}, which snapshot {} needs, is not in the target's list{more}: the list is incomplete, or \
                     the repository is damaged",
                    need.newest
                ),
                "verify the snapshots; bring the pack back, or delete the snapshots that are lost",
            );
        }
        Ok(())
    }

    /// Without having asked the target: its clock is as far from ours as it was from its maker's when the newest record was made.
    fn estimate_time(&mut self) {
        if let Some(newest) = self.records.iter().max_by_key(|standing| standing.object.modified_at) {
            let offset = newest.object.modified_at.duration_since(newest.record.time);
            self.target_now = self.our_now.saturating_add(offset).unwrap_or(self.our_now);
        }
    }

    fn judge_clock(&mut self) {
        let earliest = EARLIEST.parse::<Timestamp>().unwrap_or(Timestamp::UNIX_EPOCH);
        if self.target_now < earliest {
            self.refuse(
                format!("the target says that it is {}, which cannot be: it can tell no age", self.target_now),
                "set the target's clock",
            );
        }
    }

    /// Finds the snapshots that should be there and that nobody removed: whoever took one may have put an older state of
    /// the target back, and what looks unneeded now may be needed by what is missing.
    fn find_missing(&mut self, memory: &Memory, accept: bool) {
        let removed = self.records.iter().flat_map(|standing| standing.record.snapshots.iter().copied());
        let accounted: HashSet<(SnapshotId, Digest)> =
            self.snapshots.iter().map(|(snapshot, mac)| (*snapshot, *mac)).chain(removed).collect();
        let seen = memory.snapshots_at(self.target_now);
        let expected: Vec<(SnapshotId, Digest)> = self.named.iter().chain(&seen).copied().collect();
        for (snapshot, mac) in expected {
            if accounted.contains(&(snapshot, mac)) {
                continue;
            }
            if self.snapshots.contains_key(&snapshot) {
                self.refuse(
                    format!("the header of snapshot {snapshot} is not the one that was there before"),
                    "verify the snapshots, and find out who writes to the target",
                );
            } else {
                self.missing.insert(snapshot, mac);
            }
        }
        let Some((first, _)) = self.missing.first_key_value().filter(|_| !accept) else { return };
        let (what, it) = match self.missing.len() {
            1 => (format!("snapshot {first} is"), "it was"),
            many => (format!("{many} snapshots, {first} among them, are"), "they were"),
        };
        self.refuse(
            format!(
                "{what} gone and nobody recorded that {it} removed: somebody deleted headers, or put an older state of \
                 the target back"
            ),
            "bring the headers back; where they are lost for good, say so with accept_missing (--accept-missing)",
        );
    }
}
