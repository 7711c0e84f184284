//! Snapshots of a repository on their way into another one.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;

use super::super::*;
use crate::backup::create::{CreateJob, CreateReport, create};
use crate::backup::fake_store::kinds;
use crate::backup::list::list;
use crate::backup::nodes::{ExtractOptions, Selection};
use crate::clock::{ManualClock, Timestamp};
use crate::config::BackupSettings;
use crate::fs::Dir;
use crate::store::sqlite;
use crate::testing::random::{self, Rng};
use crate::testing::{Call, FaultyTarget, MemoryTarget};

/// A service with a database, and two targets that get its backups.
struct Scene {
    base: tempfile::TempDir,
    random: Rng,
    database: Connection,
    one: MemoryTarget,
    two: MemoryTarget,
    keys: Keys,
    day: i64,
}

impl Scene {
    fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("root");
        std::fs::create_dir_all(root.join("data")).unwrap();
        let database = Connection::open(root.join("data/app.db")).unwrap();
        database
            .execute_batch(
                "CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB);
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
                 INSERT INTO t SELECT i, randomblob(900) FROM n;",
            )
            .unwrap();
        let mut random = random::seeded("copy");
        for number in 0..40 {
            std::fs::write(root.join(format!("data/{number:02}.json")), random::bytes(&mut random, number * 97))
                .unwrap();
        }
        std::fs::write(root.join("big"), random::bytes(&mut random, 3 << 20)).unwrap();
        std::os::unix::fs::symlink("big", root.join("link")).unwrap();
        std::fs::hard_link(root.join("big"), root.join("again")).unwrap();
        let sparse = std::fs::File::create(root.join("sparse")).unwrap();
        sparse.set_len(5 << 20).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"island", 2 << 20).unwrap();
        let (one, two) = (MemoryTarget::default(), MemoryTarget::default());
        Self { base, random, database, one, two, keys: None, day: 0 }
    }

    fn root(&self) -> PathBuf {
        self.base.path().join("root")
    }

    /// A day goes by: a few rows change, and a file.
    fn live(&mut self) {
        self.day += 1;
        let changed = "UPDATE t SET x = randomblob(900) WHERE id % 100 = ?1";
        self.database.execute(changed, [self.day]).unwrap();
        let news = random::bytes(&mut self.random, 20_000);
        std::fs::write(self.root().join(format!("data/new-{}", self.day)), news).unwrap();
    }

    async fn back_up(&self) -> CreateReport {
        let mut job = CreateJob {
            service: "app".into(),
            service_version: Some("1.2".into()),
            host: "there".into(),
            label: Some(format!("day {}", self.day)),
            tags: vec!["b".into(), "a".into()],
            settings: BackupSettings {
                scratch_in_memory: true,
                layout: Some("repository".into()),
                ..BackupSettings::default()
            },
            targets: vec![named("one", &self.one), named("two", &self.two)],
            keys: self.keys.clone(),
            ..CreateJob::new(self.root(), self.base.path().join("state"), kinds())
        };
        job.kinds.register(sqlite::KIND);
        let clock = ManualClock::new(Timestamp::now() + jiff::SignedDuration::from_hours(24 * self.day));
        create(&Scope { clock: Arc::new(clock), ..Scope::default() }, job).await.unwrap()
    }

    /// To a target that nobody knows yet.
    fn job(&self, snapshot: &str, to: Arc<dyn BackupTarget>) -> CopyJob {
        let _ = std::fs::remove_dir_all(self.base.path().join("elsewhere/targets"));
        CopyJob {
            from: vec![named("one", &self.one), named("two", &self.two)],
            to: ("three".into(), to),
            keys: self.keys.clone(),
            service: Some("app".into()),
            snapshot: snapshot.into(),
            host: "here".into(),
            lease: LeaseTimes::default(),
            threads: 1,
            level: 3,
            state: self.base.path().join("elsewhere"),
        }
    }

    async fn copy(&self, snapshot: &str, to: &MemoryTarget) -> Result<CopyReport> {
        copy(&Scope::default(), self.job(snapshot, Arc::new(to.clone()))).await
    }

    async fn found(&self, target: &MemoryTarget, snapshot: &str) -> Found {
        let keys = self.keys.clone();
        find(&Scope::default(), &[named("it", target)], &keys, None, snapshot).await.unwrap().remove(0)
    }

    /// What a snapshot says of itself, and all of its files.
    async fn content(&self, target: &MemoryTarget, snapshot: &str) -> (Manifest, BTreeMap<PathBuf, Vec<u8>>) {
        let found = self.found(target, snapshot).await;
        verify(&Scope::default(), &found, Reading::Existing, 1).await.unwrap();
        let source = found.source(&Scope::default(), 10_000, false).await.unwrap();
        blocking(move || {
            let into = tempfile::tempdir().unwrap();
            let dir = Dir::open(into.path())?;
            source.extract(&Scope::default(), &Selection::All, &dir, &ExtractOptions::default())?;
            Ok((source.manifest().clone(), files(into.path())))
        })
        .await
        .unwrap()
    }
}

fn named(name: &str, target: &MemoryTarget) -> NamedTarget {
    (name.to_owned(), Arc::new(target.clone()))
}

/// Every file and link below a folder, with its content.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.read_link() {
                Ok(target) => drop(files.insert(path, target.into_os_string().into_encoded_bytes())),
                Err(_) if path.is_dir() => pending.push(path),
                Err(_) => drop(files.insert(path.clone(), std::fs::read(&path).unwrap())),
            }
        }
    }
    files.into_iter().map(|(path, bytes)| (path.strip_prefix(folder).unwrap().to_owned(), bytes)).collect()
}

fn stored(target: &MemoryTarget, prefix: &str) -> u64 {
    let mut sum = 0;
    for key in target.keys().iter().filter(|key| key.starts_with(prefix)) {
        target.tamper(key, |bytes| sum += bytes.len() as u64);
    }
    sum
}

fn headers(target: &MemoryTarget) -> usize {
    target.keys().iter().filter(|key| key.starts_with("snapshots/")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_snapshots_one_after_the_other_take_what_they_took_and_are_the_same() {
    let mut scene = Scene::new();
    let mut reports = vec![scene.back_up().await];
    for _ in 0..4 {
        scene.live();
        reports.push(scene.back_up().await);
    }
    // It has a repository of its own, with a snapshot of something else.
    let other = Scene { one: MemoryTarget::default(), ..Scene::new() };
    other.back_up().await;
    let target = other.one.clone();
    let before = stored(&target, "");
    for report in &reports {
        let copied = scene.copy(&report.snapshot_id, &target).await.unwrap();
        assert!(copied.copied);
        assert_eq!((copied.from.as_str(), copied.to.as_str(), &copied.key), ("one", "three", &report.key));
    }
    let (took, takes) = (stored(&scene.one, ""), stored(&target, "") - before);
    assert!(takes < took + took / 20, "{takes} bytes for what took {took}");

    let all = |target: &MemoryTarget| {
        let target = named("it", target);
        async move { list(&Scope::default(), &[target], &None, Some("app")).await.unwrap().snapshots }
    };
    let (there, here) = (all(&scene.one).await, all(&target).await);
    assert_eq!((there.len(), here.len()), (5, 6));
    for old in &there {
        let new = here.iter().find(|new| new.snapshot_id == old.snapshot_id).unwrap();
        assert_eq!((&new.label, &new.tags, new.time), (&old.label, &old.tags, old.time));
        assert_eq!((&new.host, &new.service_version, new.outcome), (&old.host, &old.service_version, old.outcome));
        assert_eq!((new.files, new.size_bytes, new.stores), (old.files, old.size_bytes, old.stores));
        let (old, new) =
            (scene.content(&scene.one, &old.snapshot_id).await, scene.content(&target, &old.snapshot_id).await);
        assert_eq!(old.0, new.0, "the manifests");
        assert!(old.1 == new.1, "the files");
    }

    // What is there is not sent again, and the next day takes what the day changed.
    let watched = FaultyTarget::new(Arc::new(target.clone()), |_, _, _| None);
    let again = copy(&Scope::default(), scene.job("latest", Arc::new(watched.clone()))).await.unwrap();
    assert!(!again.copied);
    assert!(watched.calls().iter().all(|(call, _)| !matches!(call, Call::Put | Call::Upload | Call::Delete)));
    scene.live();
    let made = scene.back_up().await;
    let copied = scene.copy("latest", &target).await.unwrap();
    assert!(copied.stored_bytes < made.stored_bytes + 20_000, "{copied:?} for {}", made.stored_bytes);

    // The caches lost, and in the opposite order: what is shared is still found.
    std::fs::remove_dir_all(scene.base.path().join("elsewhere")).unwrap();
    let fresh = MemoryTarget::default();
    for report in reports.iter().rev() {
        scene.copy(&report.snapshot_id, &fresh).await.unwrap();
        std::fs::remove_dir_all(scene.base.path().join("elsewhere")).unwrap();
    }
    let takes = stored(&fresh, "");
    assert!(takes < took + took / 20, "{takes} bytes for what took {took}");
    assert!(
        scene.content(&fresh, &reports[2].snapshot_id).await.1
            == scene.content(&scene.one, &reports[2].snapshot_id).await.1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_named_and_not_spread() {
    let scene = Scene::new();
    let report = scene.back_up().await;
    let pack = |target: &MemoryTarget| target.keys().into_iter().find(|key| key.starts_with("packs/")).unwrap();
    let middle = |bytes: &mut Vec<u8>| {
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
    };
    scene.one.tamper(&pack(&scene.one), middle);
    let target = MemoryTarget::default();
    assert_eq!(scene.copy("latest", &target).await.unwrap().from, "two", "the whole one is taken");
    assert_eq!(headers(&target), 1);
    scene.content(&target, &report.snapshot_id).await;

    // A copy that is there and damaged is neither trusted nor replaced.
    target.tamper(&pack(&target), middle);
    let error = scene.copy("latest", &target).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("target \"three\" is damaged"), "{error}");

    type Tamper = fn(&mut Vec<u8>);
    let cases: [(&str, Tamper); 4] = [
        ("packs/", |bytes| {
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
        }),
        ("packs/", |bytes| bytes.truncate(bytes.len() - 1)),
        ("index/", |bytes| bytes.truncate(20)),
        ("snapshots/", |bytes| bytes[40] ^= 1),
    ];
    for (prefix, tamper) in cases {
        let scene = Scene::new();
        let report = scene.back_up().await;
        for target in [&scene.one, &scene.two] {
            let key = target.keys().into_iter().find(|key| key.starts_with(prefix)).unwrap();
            target.tamper(&key, tamper);
        }
        let target = MemoryTarget::default();
        let error = scene.copy(&report.snapshot_id, &target).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{prefix}: {error}");
        let named = error.message().contains(&report.snapshot_id) && error.message().contains("\"one\"");
        assert!(named && error.hint().is_some(), "{prefix}: {error}");
        assert_eq!(headers(&target), 0, "{prefix}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arrived_before_an_interruption_is_used_by_the_next_copy() {
    let scene = Scene::new();
    let report = scene.back_up().await;
    let target = MemoryTarget::default();
    let no_header =
        |call, key: &str, _| (call == Call::Put && key.starts_with("snapshots/")).then_some(ErrorKind::Unavailable);
    let faulty = FaultyTarget::new(Arc::new(target.clone()), no_header);
    let error = copy(&Scope::default(), scene.job("latest", Arc::new(faulty))).await.unwrap_err();
    assert_eq!((error.kind(), headers(&target)), (ErrorKind::Unavailable, 0));
    let arrived = stored(&target, "packs/");
    assert!(arrived > 5 << 20);

    let copied = scene.copy("latest", &target).await.unwrap();
    assert!(copied.copied);
    assert!(copied.stored_bytes < 200_000, "{copied:?}: only what tells the trees apart is new");
    assert!(stored(&target, "packs/") < arrived + 200_000);
    assert!(scene.content(&target, &report.snapshot_id).await == scene.content(&scene.one, &report.snapshot_id).await);

    // Each call may be the last: nothing is visible then, no lease stays, and the next copy succeeds.
    for call in [Call::Upload, Call::Write, Call::ReadBack, Call::Finish, Call::Put] {
        for put_if_absent in [true, false] {
            let target =
                if put_if_absent { MemoryTarget::default() } else { MemoryTarget::default().without_put_if_absent() };
            let faulty = Arc::new(FaultyTarget::nth(Arc::new(target.clone()), call, 2));
            match copy(&Scope::default(), scene.job("latest", faulty)).await {
                // There were not so many.
                Ok(_) => assert_eq!(headers(&target), 1),
                Err(error) => {
                    assert_eq!((error.kind(), headers(&target)), (ErrorKind::Unavailable, 0), "{call:?}: {error}")
                }
            }
            scene.copy("latest", &target).await.unwrap();
            assert_eq!(headers(&target), 1, "{call:?}");
        }
    }
    // A cancel in the middle.
    let target = MemoryTarget::default();
    let scope = Scope::default();
    let cancel = scope.cancel.clone();
    let faulty = FaultyTarget::new(Arc::new(target.clone()), move |call, _, _| {
        if call == Call::Write {
            cancel.cancel();
        }
        None
    });
    let error = copy(&scope, scene.job("latest", Arc::new(faulty))).await.unwrap_err();
    assert_eq!((error.kind(), headers(&target)), (ErrorKind::Cancelled, 0));
}

#[cfg(feature = "encryption")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sealed_is_opened_on_the_way_and_sealed_again() {
    use crate::backup::seal::{HostKeys, KeyRing, RepositoryIdentity, RepositoryKey, WrapTo, vault};

    let mut scene = Scene::new();
    let (key, operator) = (RepositoryKey::generate(Timestamp::UNIX_EPOCH).unwrap(), RepositoryIdentity::generate());
    let to = WrapTo::recipients(vec![operator.recipient()]).unwrap();
    let targets = [named("one", &scene.one), named("two", &scene.two)];
    vault::store(&Scope::default(), &targets, &key, to, None).await.unwrap();
    let host = HostKeys::of(&key);
    let sealed: Keys = Some(Arc::new(KeyRing::of_host(&host)));
    let opening: Keys = {
        let mut ring = KeyRing::of_host(&host);
        ring.add(key).unwrap();
        Some(Arc::new(ring))
    };
    scene.keys = sealed.clone();
    let first = scene.back_up().await;
    scene.live();
    let report = scene.back_up().await;

    // Without the identity: the packs as they are, each once, and what opens them.
    let target = MemoryTarget::default();
    for made in [&first, &report] {
        assert!(scene.copy(&made.snapshot_id, &target).await.unwrap().copied);
    }
    assert!(!scene.copy("latest", &target).await.unwrap().copied);
    let packs = |target: &MemoryTarget| -> Vec<String> {
        target.keys().into_iter().filter(|key| key.starts_with("packs/") || key.starts_with("keys/")).collect()
    };
    assert_eq!(packs(&target), packs(&scene.one));
    let damaged = packs(&scene.one).into_iter().rfind(|key| key.starts_with("packs/")).unwrap();
    for target in [&scene.one, &scene.two] {
        target.tamper(&damaged, |bytes| bytes[1000] ^= 1);
    }
    let broken = MemoryTarget::default();
    let job = CopyJob { from: vec![named("one", &scene.one)], ..scene.job("latest", Arc::new(broken.clone())) };
    let error = copy(&Scope::default(), job).await.unwrap_err();
    assert_eq!((error.kind(), headers(&broken)), (ErrorKind::Corrupt, 0));
    assert!(error.message().contains("\"one\"") && error.message().contains("pack"), "{error}");
    scene.one.tamper(&damaged, |bytes| bytes[1000] ^= 1);
    // One that ended between a pack and its index.
    let index = damaged.replace("packs/", "index/").replace(".tar.zst.age", ".zst");
    let half = move |call, key: &str, _| (call == Call::Put && key == index).then_some(ErrorKind::Unavailable);
    let faulty = FaultyTarget::new(Arc::new(broken.clone()), half);
    let mut job = scene.job("latest", Arc::new(faulty));
    job.from.truncate(1);
    let error = copy(&Scope::default(), job.clone()).await.unwrap_err();
    assert_eq!((error.kind(), headers(&broken)), (ErrorKind::Unavailable, 0));
    job.to = named("three", &broken);
    assert!(copy(&Scope::default(), job).await.unwrap().copied);
    let host_only = scene.keys.take();

    scene.keys = opening;
    for target in [&target, &broken] {
        assert!(
            scene.content(target, &report.snapshot_id).await == scene.content(&scene.one, &report.snapshot_id).await
        );
    }
    let target = MemoryTarget::default();
    assert!(scene.copy("latest", &target).await.unwrap().copied);
    let keys = target.keys();
    assert!(keys.iter().any(|key| key.starts_with("keys/")), "what opens it came along");
    assert!(keys.iter().filter(|key| key.starts_with("packs/")).all(|key| key.ends_with(".age")), "{keys:?}");
    assert!(scene.content(&target, &report.snapshot_id).await == scene.content(&scene.one, &report.snapshot_id).await);
    // The same key: what another target of the same service has is not sent.
    let shared = scene.two.clone();
    let before = stored(&shared, "packs/");
    let header = shared.keys().into_iter().rfind(|key| key.starts_with("snapshots/")).unwrap();
    shared.delete(&Scope::default(), &header).await.unwrap();
    let job = CopyJob { from: vec![named("one", &scene.one)], ..scene.job("latest", Arc::new(shared.clone())) };
    assert!(copy(&Scope::default(), job).await.unwrap().copied);
    assert!(stored(&shared, "packs/") < before + 20_000, "the same ids, so the same blobs");
    scene.content(&shared, &report.snapshot_id).await;

    // Into the clear it does not go.
    let clear = Scene { keys: None, ..Scene::new() };
    clear.back_up().await;
    for keys in [scene.keys.clone(), host_only] {
        scene.keys = keys;
        let error = scene.copy("latest", &clear.one).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    }
    // From the clear to a host that seals it does.
    let job = CopyJob { keys: sealed, ..clear.job("latest", Arc::new(target.clone())) };
    assert!(copy(&Scope::default(), job).await.unwrap().copied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_has_lost_its_repository_takes_no_copy() {
    let scene = Scene::new();
    let report = scene.back_up().await;
    let three = MemoryTarget::default();
    let job = scene.job(&report.snapshot_id, Arc::new(three.clone()));
    copy(&Scope::default(), job.clone()).await.unwrap();
    three.clear();
    let error = copy(&Scope::default(), job).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.message().contains("target \"three\" has no repository"), "{error}");
    assert!(three.keys().is_empty());
}
