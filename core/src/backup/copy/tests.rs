use super::*;
use crate::backup::create::{CreateJob, create};
use crate::backup::fake_store::kinds;
use crate::backup::target::BackupTarget;
use crate::config::BackupSettings;
use crate::store::CheckDepth;
use crate::testing::{Call, FaultyTarget, MemoryTarget};

mod repository;

struct Scene {
    _base: tempfile::TempDir,
    one: MemoryTarget,
    two: MemoryTarget,
    key: String,
}

impl Scene {
    /// A backup of 6 MB in two targets.
    async fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("root");
        std::fs::create_dir_all(&root).unwrap();
        let mut noise = vec![0; 6_000_000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        std::fs::write(root.join("file"), noise).unwrap();
        let (one, two) = (MemoryTarget::default(), MemoryTarget::default());
        let job = CreateJob {
            keys: None,
            anew: false,
            time: None,
            service: "app".into(),
            service_version: None,
            host: "here".into(),
            state: root.join(".state"),
            settings: BackupSettings { scratch_in_memory: true, ..BackupSettings::default() },
            label: None,
            tags: Vec::new(),
            stores: Vec::new(),
            kinds: kinds(),
            targets: vec![("one".into(), Arc::new(one.clone())), ("two".into(), Arc::new(two.clone()))],
            leave_out: Vec::new(),
            check: CheckDepth::Quick,
            lease: LeaseTimes::default(),
            pause: None,
            root,
        };
        let key = create(&Scope::default(), job).await.unwrap().key;
        Self { _base: base, one, two, key }
    }

    async fn copy_to(&self, to: Arc<dyn BackupTarget>) -> Result<CopyReport> {
        self.copy_with(&Scope::default(), to).await
    }

    async fn copy_with(&self, scope: &Scope, to: Arc<dyn BackupTarget>) -> Result<CopyReport> {
        let job = CopyJob {
            keys: None,
            from: vec![("one".into(), Arc::new(self.one.clone())), ("two".into(), Arc::new(self.two.clone()))],
            to: ("three".into(), to),
            service: Some("app".into()),
            snapshot: "latest".into(),
            host: "here".into(),
            lease: LeaseTimes::default(),
            threads: 1,
            level: 3,
            state: self._base.path().join("state"),
        };
        copy(scope, job).await
    }

    async fn bytes(&self, target: &MemoryTarget) -> Vec<u8> {
        target.get(&Scope::default(), &self.key, 0..8 << 20).await.unwrap()
    }
}

fn has_archive(target: &MemoryTarget) -> bool {
    target.keys().iter().any(|key| key.ends_with(".tar.zst"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_the_same_bytes_and_a_second_one_is_not_made() {
    let scene = Scene::new().await;
    for target in [MemoryTarget::default(), MemoryTarget::default().without_read_back()] {
        let report = scene.copy_to(Arc::new(target.clone())).await.unwrap();
        assert!(report.copied);
        assert_eq!((report.from.as_str(), report.to.as_str(), report.key.as_str()), ("one", "three", &*scene.key));
        let bytes = scene.bytes(&target).await;
        assert!(bytes == scene.bytes(&scene.one).await);
        assert_eq!(report.stored_bytes, bytes.len() as u64);

        let again = FaultyTarget::new(Arc::new(target.clone()), |_, _, _| None);
        assert!(!scene.copy_to(Arc::new(again.clone())).await.unwrap().copied);
        assert!(again.calls().iter().all(|(call, _)| !matches!(call, Call::Put | Call::Upload)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_not_spread() {
    let scene = Scene::new().await;
    scene.one.tamper(&scene.key, |bytes| bytes[3_000_000] ^= 1);
    let target = MemoryTarget::default();
    assert_eq!(scene.copy_to(Arc::new(target.clone())).await.unwrap().from, "two");

    // A damaged one that is there already is neither trusted nor replaced.
    target.tamper(&scene.key, |bytes| bytes[3_000_000] ^= 1);
    let error = scene.copy_to(Arc::new(target.clone())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("three"), "{error}");

    scene.two.tamper(&scene.key, |bytes| bytes[3_000_000] ^= 1);
    let target = MemoryTarget::default();
    let error = scene.copy_to(Arc::new(target.clone())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(target.keys().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_on_the_way_leaves_nothing() {
    let scene = Scene::new().await;
    for call in [Call::Upload, Call::Write, Call::ReadBack, Call::Finish, Call::List, Call::FreeBytes] {
        let target = MemoryTarget::default();
        let faulty = Arc::new(FaultyTarget::nth(Arc::new(target.clone()), call, 1));
        let error = scene.copy_to(faulty).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{call:?}: {error}");
        assert!(!has_archive(&target), "{call:?}");
        // And the lease is free.
        assert!(scene.copy_to(Arc::new(target.clone())).await.unwrap().copied, "{call:?}");
    }
    let full = MemoryTarget::default().with_free_bytes(1_000_000);
    assert_eq!(scene.copy_to(Arc::new(full.clone())).await.unwrap_err().kind(), ErrorKind::NoSpace);
    assert!(full.keys().is_empty());

    // A cancel in the middle: the first write raises it.
    let target = MemoryTarget::default();
    let scope = Scope::default();
    let cancel = scope.cancel.clone();
    let faulty = FaultyTarget::new(Arc::new(target.clone()), move |call, _, _| {
        if call == Call::Write {
            cancel.cancel();
        }
        None
    });
    let error = scene.copy_with(&scope, Arc::new(faulty)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(!has_archive(&target));
}
