//! A repository in memory, with a clock for the target and one for each machine.

mod clocks;
mod faults;
mod interleaved;
mod phases;
mod refusals;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::super::collect::CollectRecord;
use super::super::header::{self, Header, NeededPack};
use super::super::id::{IdKey, PackId, RepositoryId, SnapshotId};
use super::super::identity::Identity;
use super::super::keyring::NoKeys;
use super::super::names;
use super::{DEFAULT_GRACE, removal};
use crate::backup::collect::{CollectAction, CollectJob, CollectReport, TargetCollection, collect};
use crate::backup::lease::LeaseTimes;
use crate::backup::manifest::Digest;
use crate::backup::target::BackupTarget;
use crate::cancel::Scope;
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::error::Result;
use crate::testing::MemoryTarget;

const HOUR: Duration = Duration::from_secs(3600);

fn start() -> Timestamp {
    "2026-03-01T02:00:00Z".parse().unwrap()
}

/// A repository in a target in memory.
struct World {
    target: MemoryTarget,
    clock: Arc<ManualClock>,
    /// The machine's own.
    ours: Arc<ManualClock>,
    id: RepositoryId,
    key: IdKey,
    state: PathBuf,
    _folder: Option<tempfile::TempDir>,
    headers: Vec<(Header, Digest)>,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().to_owned();
        Self { _folder: Some(folder), ..Self::without_memory(state).await }
    }

    async fn without_memory(state: PathBuf) -> Self {
        let clock = Arc::new(ManualClock::new(start()));
        let target = MemoryTarget::default().with_clock(clock.clone());
        let key = IdKey::new([7; 32]);
        let identity = Identity::new(start(), Some(key.clone())).unwrap();
        let ours = Arc::new(ManualClock::new(start()));
        let (id, headers) = (identity.id, Vec::new());
        let world = Self { target, clock, ours, id, key, state, _folder: None, headers };
        world.put(names::REPOSITORY, &identity.write(&world.key)).await;
        world
    }

    async fn put(&self, key: &str, bytes: &[u8]) {
        assert!(self.target.put(&Scope::default(), key, bytes, true).await.unwrap());
    }

    /// Time goes by, everywhere.
    fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.ours.advance(time);
    }

    /// A pack of 100 bytes with an index of 5.
    async fn pack(&self, number: u8) -> PackId {
        let pack = PackId([number; 16]);
        self.put(&names::pack(pack, false), &[number; 100]).await;
        self.put(&names::index(pack), b"index").await;
        pack
    }

    /// A snapshot that needs these packs, made after the one before.
    async fn snapshot(&mut self, number: u8, packs: &[PackId]) -> SnapshotId {
        let header = self.header(number, packs);
        let (bytes, mac) = header.write(&self.key);
        self.put(&names::snapshot(header.time, header.snapshot), &bytes).await;
        self.headers.push((header, mac));
        SnapshotId([number; 6])
    }

    fn header(&self, number: u8, packs: &[PackId]) -> Header {
        let mut packs: Vec<NeededPack> = packs
            .iter()
            .map(|id| NeededPack { id: *id, stored_bytes: 100, digest: Digest([0; 32]), fingerprint: None })
            .collect();
        packs.sort_by_key(|pack| pack.id);
        Header {
            repository: self.id,
            snapshot: SnapshotId([number; 6]),
            time: self.ours.now(),
            previous: self.headers.last().map(|(header, mac)| (header.snapshot, *mac)),
            packs,
            ..header::tests::sample()
        }
    }

    /// Removes snapshots as a deletion does.
    async fn remove(&mut self, removed: &[SnapshotId]) {
        let record = removal(self.id, &self.headers, removed, self.ours.now(), DEFAULT_GRACE);
        self.record(&record).await;
        for (header, _) in self.headers.iter().filter(|(header, _)| removed.contains(&header.snapshot)) {
            self.target.delete(&Scope::default(), &names::snapshot(header.time, header.snapshot)).await.unwrap();
        }
        self.headers.retain(|(header, _)| !removed.contains(&header.snapshot));
    }

    /// Removes the header alone, as somebody's hand does.
    async fn lose(&mut self, number: u8) {
        let at = self.headers.iter().position(|(header, _)| header.snapshot == SnapshotId([number; 6])).unwrap();
        let (header, _) = self.headers.remove(at);
        self.target.delete(&Scope::default(), &names::snapshot(header.time, header.snapshot)).await.unwrap();
    }

    async fn record(&self, record: &CollectRecord) {
        let number = self.keys("collect/").len() as u8;
        self.put(&names::collect(record.time, SnapshotId([number; 6])), &record.write(&self.key)).await;
    }

    fn keys(&self, prefix: &str) -> Vec<String> {
        self.target.keys().into_iter().filter(|key| key.starts_with(prefix)).collect()
    }

    fn has(&self, pack: PackId) -> (bool, bool) {
        let keys = self.target.keys();
        (keys.contains(&names::pack(pack, false)), keys.contains(&names::index(pack)))
    }

    fn scope(&self) -> Scope {
        Scope { clock: self.ours.clone(), ..Scope::default() }
    }

    fn job(&self, target: Arc<dyn BackupTarget>) -> CollectJob {
        CollectJob {
            targets: vec![("local".into(), target)],
            keys: Arc::new(NoKeys),
            state: self.state.clone(),
            host: "here".into(),
            lease: LeaseTimes::default(),
            grace: DEFAULT_GRACE,
            accept_missing: false,
            dry_run: false,
        }
    }

    async fn collect(&self) -> TargetCollection {
        let mut report = self.try_collect(|_| {}).await.unwrap();
        assert!(report.failed.is_empty(), "{report:#?}");
        report.targets.remove(0)
    }

    async fn try_collect(&self, change: impl FnOnce(&mut CollectJob)) -> Result<CollectReport> {
        let mut job = self.job(Arc::new(self.target.clone()));
        change(&mut job);
        collect(&self.scope(), &job).await
    }
}

/// What is decided about a pack.
fn of(plan: &TargetCollection, pack: PackId) -> (CollectAction, String) {
    let decision =
        plan.decisions.iter().find(|decision| names::pack_of(&decision.key).is_some_and(|(id, _)| id == pack));
    let decision = decision.unwrap_or_else(|| panic!("nothing is decided about {pack}: {plan:#?}"));
    (decision.action, decision.reason.clone())
}
