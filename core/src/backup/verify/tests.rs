use std::path::Path;

use super::*;
use crate::backup::checkers::Checkers;
use crate::backup::create::{CreateJob, create};
use crate::backup::fake_store::{FakeStore, content, kinds};
use crate::backup::manifest::Outcome;
use crate::backup::target::BackupTarget;
use crate::component::Registry;
use crate::config::BackupSettings;
use crate::testing::{Call, FaultyTarget, MemoryTarget};

struct Scene {
    base: tempfile::TempDir,
    one: MemoryTarget,
    two: MemoryTarget,
    key: String,
}

impl Scene {
    /// A backup in two targets: a file, a configured database and one that nobody configured.
    async fn new(second: &str) -> Self {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("root");
        std::fs::create_dir_all(root.join("data")).unwrap();
        std::fs::write(root.join("data/main.db"), content("main")).unwrap();
        std::fs::write(root.join("data/other.db"), content(second)).unwrap();
        std::fs::write(root.join("file"), vec![9; 100_000]).unwrap();
        let (one, two) = (MemoryTarget::default(), MemoryTarget::default());
        let job = CreateJob {
            service: "app".into(),
            host: "here".into(),
            settings: BackupSettings {
                scratch_in_memory: true,
                clear_secrets: Some(true),
                ..BackupSettings::default()
            },
            stores: vec![("main".into(), Arc::new(FakeStore { path: root.join("data/main.db") }))],
            targets: vec![("one".into(), Arc::new(one.clone())), ("two".into(), Arc::new(two.clone()))],
            ..CreateJob::new(root.clone(), root.join(".state"), kinds())
        };
        let report = create(&Scope::default(), job).await.unwrap();
        assert_eq!(report.outcome == Outcome::Complete, second != "rotten");
        Self { base, one, two, key: report.key }
    }

    fn job(&self, depth: VerifyDepth) -> VerifyJob {
        VerifyJob {
            targets: vec![("one".into(), Arc::new(self.one.clone())), ("two".into(), Arc::new(self.two.clone()))],
            service: Some("app".into()),
            snapshot: "latest".into(),
            depth,
            scratch: self.scratch(),
            scratch_in_memory: true,
            checkers: Checkers { kinds: kinds(), live: Vec::new() },
            keys: None,
            state: std::env::temp_dir().join("no-state"),
            threads: 1,
        }
    }

    fn scratch(&self) -> PathBuf {
        self.base.path().join("scratch")
    }

    async fn verify(&self, depth: VerifyDepth) -> VerifyReport {
        let report = verify(&Scope::default(), self.job(depth)).await.unwrap();
        assert_eq!(report.ok, report.problems.is_empty());
        assert!(is_empty(&self.scratch()));
        report
    }
}

fn is_empty(folder: &Path) -> bool {
    !folder.exists() || std::fs::read_dir(folder).unwrap().count() == 0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_snapshot_is_ok_in_every_target() {
    let scene = Scene::new("other").await;
    let quick = scene.verify(VerifyDepth::Quick).await;
    assert!(quick.ok && quick.databases.is_empty());
    let data = scene.verify(VerifyDepth::Data).await;
    assert!(data.ok && data.databases.is_empty());
    let full = scene.verify(VerifyDepth::Full).await;
    assert!(full.ok, "{full:?}");
    assert_eq!(full.targets, ["one", "two"]);
    assert_eq!(full.databases, ["main", "data/other.db", "main", "data/other.db"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_anywhere_is_found_in_its_target() {
    let scene = Scene::new("other").await;
    let len = scene.one.stat(&Scope::default(), &scene.key).await.unwrap().unwrap().size_bytes as usize;
    for at in (0..len).step_by(len / 37).chain([len - 1]) {
        scene.two.tamper(&scene.key, |bytes| bytes[at] ^= 0x10);
        for depth in [VerifyDepth::Data, VerifyDepth::Full] {
            let report = scene.verify(depth).await;
            assert!(!report.ok, "byte {at} of {len}, {depth:?}");
            assert!(report.problems.iter().all(|problem| problem.target == "two"), "byte {at}: {report:?}");
        }
        scene.two.tamper(&scene.key, |bytes| bytes[at] ^= 0x10);
    }
    assert!(scene.verify(VerifyDepth::Full).await.ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_archive_is_a_report_and_not_an_error() {
    let scene = Scene::new("other").await;
    let mut job = scene.job(VerifyDepth::Full);
    job.snapshot = crate::backup::list::find(&Scope::default(), &job.targets, &None, None, "latest").await.unwrap()[0]
        .snapshot_id
        .clone();
    for target in [&scene.one, &scene.two] {
        target.tamper(&scene.key, |bytes| bytes.truncate(100));
    }
    for depth in [VerifyDepth::Quick, VerifyDepth::Data, VerifyDepth::Full] {
        let report = verify(&Scope::default(), VerifyJob { depth, ..job.clone() }).await.unwrap();
        assert!(!report.ok);
        let targets: Vec<_> = report.problems.iter().map(|problem| problem.target.as_str()).collect();
        assert_eq!(targets, ["one", "two"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_damaged_inside_is_found_though_every_byte_is_right() {
    let scene = Scene::new("rotten").await;
    assert!(scene.verify(VerifyDepth::Quick).await.ok);
    assert!(scene.verify(VerifyDepth::Data).await.ok);
    let report = scene.verify(VerifyDepth::Full).await;
    assert_eq!(report.problems.len(), 2);
    let problem = &report.problems[0];
    assert_eq!(problem.kind, "corrupt_database");
    assert_eq!(problem.path.as_ref().unwrap().to_string(), "data/other.db");
    assert_eq!(problem.message, "page 7 is rotten");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_asked_is_an_error_and_leaves_nothing() {
    let scene = Scene::new("other").await;
    let mut job = scene.job(VerifyDepth::Full);
    job.checkers.kinds = Registry::new("store");
    let error = verify(&Scope::default(), job.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(is_empty(&scene.scratch()));
    job.snapshot = "nope".into();
    assert_eq!(verify(&Scope::default(), job.clone()).await.unwrap_err().kind(), ErrorKind::NotFound);
    let broken = FaultyTarget::new(Arc::new(scene.one.clone()), {
        let reads = std::sync::atomic::AtomicU32::new(0);
        move |call, _, _| {
            let later = call == Call::Get && reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst) > 0;
            later.then_some(ErrorKind::Unavailable)
        }
    });
    let mut job = scene.job(VerifyDepth::Full);
    job.targets = vec![("broken".into(), Arc::new(broken))];
    assert_eq!(verify(&Scope::default(), job).await.unwrap_err().kind(), ErrorKind::Unavailable);
    let scope = Scope::default();
    scope.cancel.cancel();
    assert_eq!(verify(&scope, scene.job(VerifyDepth::Full)).await.unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(is_empty(&scene.scratch()));
}
