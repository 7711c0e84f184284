//! Targets that fail, and callers that give up: the old backups stay, and nothing unfinished is visible.

use std::ops::Range;

use async_trait::async_trait;

use super::super::super::target::{Object, TargetCapability, Upload};
use super::*;
use crate::testing::random::noise;
use crate::testing::{Call, FaultyTarget};

fn scene() -> Scene {
    Scene::new(&[("data/a.bin", &noise(3 << 20, 1)), ("main.db", &content("main")), ("z", b"z")])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_call_fails_the_old_backup_stays_and_nothing_half_is_seen() {
    let scene = scene();
    let first = scene.create().await.unwrap();
    let calls = {
        let traced = FaultyTarget::new(Arc::new(scene.memory.clone()), |_, _, _| None);
        let mut job = scene.job();
        job.targets = vec![("traced".into(), Arc::new(traced.clone()))];
        create(&Scope::default(), job).await.unwrap();
        traced.calls()
    };
    assert!(calls.iter().filter(|(call, _)| *call == Call::Write).count() >= 3, "{calls:?}");
    let mut archives = scene.archives();
    assert_eq!(archives.len(), 2);
    for number in 1..=calls.len() as u64 + 2 {
        let faulty = FaultyTarget::new(Arc::new(scene.memory.clone()), move |_, _, this| {
            (this == number).then_some(ErrorKind::Unavailable)
        });
        let mut job = scene.job();
        job.targets = vec![("faulty".into(), Arc::new(faulty.clone()))];
        let result = create(&Scope::default(), job).await;
        let hit = faulty.calls().get(number as usize - 1).cloned();
        let now = scene.archives();
        match result {
            // A failure in giving the lease back, or in clearing old ones away, does not spoil the backup.
            Ok(report) => assert!(now.len() == archives.len() + 1 && now.contains(&report.key), "{number} {hit:?}"),
            Err(error) => {
                assert_eq!(now, archives, "call {number} {hit:?} left something");
                assert!(error.message().contains("injected"), "call {number} {hit:?}: {error}");
            }
        }
        assert!(scene.scratch_is_empty(), "call {number} {hit:?}");
        assert!(now.contains(&first.key));
        archives = now;
    }
    for key in archives {
        let object = scene.memory.stat(&Scope::default(), &key).await.unwrap().unwrap();
        let blocks =
            super::super::super::blocks::TargetBlocks::new(&Scope::default(), Arc::new(scene.memory.clone()), object);
        blocking(move || {
            assert_eq!(Archive::open(Arc::new(blocks))?.verify_full(&Scope::default(), 1)?, []);
            Ok(())
        })
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_fails_half_way_does_not_stop_the_other() {
    let scene = scene();
    for (call, nth) in [(Call::Upload, 1), (Call::Write, 2), (Call::ReadBack, 1), (Call::Finish, 1), (Call::List, 1)] {
        let broken = MemoryTarget::default();
        let faulty = FaultyTarget::nth(Arc::new(broken.clone()), call, nth);
        let mut job = scene.job();
        job.targets.insert(0, ("broken".into(), Arc::new(faulty)));
        let report = create(&Scope::default(), job).await.unwrap();
        assert_eq!(report.outcome, Outcome::Complete);
        assert!(!report.is_healthy());
        let errors: Vec<_> = report.targets.iter().map(|t| (t.target.as_str(), t.error.is_some())).collect();
        assert_eq!(errors, [("broken", true), ("memory", false)], "{call:?}");
        assert!(broken.keys().iter().all(|key| key.starts_with("locks/")), "{call:?}: {:?}", broken.keys());
        assert!(scene.archives().contains(&report.key));
        extract(scene.archive().await).await;
    }
}

/// A target that keeps something else than it was given: of uploads, or of whatever has a key that begins so.
#[derive(Debug)]
pub(super) struct Liar(pub(super) MemoryTarget, pub(super) &'static str);

#[derive(Debug)]
struct LiarUpload(Box<dyn Upload>, bool);

#[async_trait]
impl BackupTarget for Liar {
    fn capability(&self) -> TargetCapability {
        self.0.capability()
    }
    async fn put(&self, scope: &Scope, key: &str, bytes: &[u8], if_absent: bool) -> Result<bool> {
        let mut bytes = bytes.to_vec();
        if !self.1.is_empty() && key.starts_with(self.1) {
            bytes[20] ^= 4;
        }
        self.0.put(scope, key, &bytes, if_absent).await
    }
    async fn upload(&self, scope: &Scope, key: &str, expected: Option<u64>) -> Result<Box<dyn Upload>> {
        Ok(Box::new(LiarUpload(self.0.upload(scope, key, expected).await?, !key.starts_with(self.1))))
    }
    async fn get(&self, scope: &Scope, key: &str, range: Range<u64>) -> Result<Vec<u8>> {
        self.0.get(scope, key, range).await
    }
    async fn list(&self, scope: &Scope, prefix: &str, after: Option<&str>) -> Result<Vec<Object>> {
        self.0.list(scope, prefix, after).await
    }
    async fn stat(&self, scope: &Scope, key: &str) -> Result<Option<Object>> {
        self.0.stat(scope, key).await
    }
    async fn delete(&self, scope: &Scope, key: &str) -> Result<()> {
        self.0.delete(scope, key).await
    }
    async fn free_bytes(&self, scope: &Scope) -> Result<Option<u64>> {
        self.0.free_bytes(scope).await
    }
}

#[async_trait]
impl Upload for LiarUpload {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let mut bytes = bytes.to_vec();
        if !std::mem::replace(&mut self.1, true) {
            bytes[1000] ^= 4;
        }
        self.0.write(&bytes).await
    }
    async fn read_back(&mut self, range: Range<u64>) -> Result<Vec<u8>> {
        self.0.read_back(range).await
    }
    async fn finish(self: Box<Self>) -> Result<()> {
        self.0.finish().await
    }
    async fn abort(self: Box<Self>) -> Result<()> {
        self.0.abort().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_reads_back_otherwise_is_no_backup() {
    let scene = scene();
    for memory in [MemoryTarget::default(), MemoryTarget::default().without_read_back()] {
        let mut job = scene.job();
        job.targets = vec![("liar".into(), Arc::new(Liar(memory.clone(), "")))];
        let error = create(&Scope::default(), job).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains("liar"), "{error}");
        assert_eq!(memory.keys(), ["locks/writer.00000001"]);
        // An honest target of either kind has it.
        let mut job = scene.job();
        job.targets = vec![("honest".into(), Arc::new(memory.clone()))];
        create(&Scope::default(), job).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_at_any_moment_leaves_nothing() {
    let scene = scene();
    let folder = scene.base.path().join("target");
    let mut job = scene.job();
    job.targets = vec![("fs".into(), Arc::new(FsTarget::new(&folder)))];
    let count = Arc::new(Mutex::new(0));
    let counting = Arc::clone(&count);
    let progress = Progress::new(move |_| *counting.lock().unwrap() += 1);
    create(&Scope { progress, ..Scope::default() }, job.clone()).await.unwrap();
    let events = *count.lock().unwrap();
    let visible = || {
        let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.retain(|name| name != "locks");
        names
    };
    let mut before = visible();
    assert_eq!(before.len(), 1);
    for at in 1..=events {
        let cancel = Cancel::new();
        let (raise, seen) = (cancel.clone(), Mutex::new(0));
        let progress = Progress::new(move |_| {
            let mut seen = seen.lock().unwrap();
            *seen += 1;
            if *seen == at {
                raise.cancel();
            }
        });
        let result = create(&Scope { progress, cancel, ..Scope::default() }, job.clone()).await;
        let now = visible();
        match result {
            Ok(_) => assert_eq!(now.len(), before.len() + 1, "event {at}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Cancelled, "event {at}: {error}");
                assert_eq!(now, before, "event {at}");
            }
        }
        assert!(scene.scratch_is_empty(), "event {at}");
        before = now;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_stops_the_work() {
    let scene = scene();
    let (reached, wait) = tokio::sync::oneshot::channel();
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let (reached, gate) = (Mutex::new(Some(reached)), Mutex::new(gate));
    let hook: Hook = Arc::new(move |_, _| {
        if let Some(reached) = reached.lock().unwrap().take() {
            reached.send(()).unwrap();
            let _ = gate.lock().unwrap().recv();
        }
        Ok(())
    });
    let task = tokio::spawn({
        let job = scene.job();
        async move { create_with(&Scope::default(), job, Some(hook)).await }
    });
    wait.await.unwrap();
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    go.send(()).unwrap();
    // The lease is given back when the last part has ended: then the next backup goes through.
    while scene.create().await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.archives().len(), 1);
    assert!(scene.scratch_is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_was_lost_shows_nothing() {
    let scene = scene();
    let memory = scene.memory.clone();
    let hook: Hook = Arc::new(move |moment, _| {
        if let files::Moment::Read = moment {
            // Another writer believes us dead.
            let taken = memory.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(taken.put(&Scope::default(), "locks/writer.00000077", b"{}", true)).unwrap();
            })
            .join()
            .unwrap();
        }
        Ok(())
    });
    let error = create_with(&Scope::default(), scene.job(), Some(hook)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(scene.archives().is_empty());
}
