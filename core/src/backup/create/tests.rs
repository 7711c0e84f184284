//! The engine over small seeded trees, with a fake store.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use super::super::archive::Archive;
use super::super::fake_store::{self, FakeStore, content};
use super::super::list::{find, list};
use super::super::manifest::{Entry, Node, SkipReason};
use super::super::nodes::{ExtractOptions, Selection};
use super::super::targets::fs::FsTarget;
use super::*;
use crate::ErrorKind;
use crate::cancel::Progress;
use crate::fs::Dir;
use crate::testing::MemoryTarget;

mod faults;
mod pause;
mod reading;
mod repository;

/// A service's folder, and what is needed to back it up.
struct Scene {
    base: tempfile::TempDir,
    memory: MemoryTarget,
}

impl Scene {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let scene = Self { base: tempfile::tempdir().unwrap(), memory: MemoryTarget::default() };
        std::fs::create_dir(scene.root()).unwrap();
        for (path, bytes) in files {
            scene.write(path, bytes);
        }
        scene
    }

    fn root(&self) -> PathBuf {
        self.base.path().join("root")
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn job(&self) -> CreateJob {
        CreateJob {
            service: "uplifted".into(),
            service_version: Some("1.2.3".into()),
            host: "here".into(),
            settings: BackupSettings {
                scratch_in_memory: true,
                clear_secrets: Some(true),
                ..BackupSettings::default()
            },
            targets: vec![("memory".into(), Arc::new(self.memory.clone()))],
            check: CheckDepth::Full,
            lease: LeaseTimes { renew: Duration::from_secs(5), ..LeaseTimes::default() },
            ..CreateJob::new(self.root(), self.root().join(".uplifted-ops"), fake_store::kinds())
        }
    }

    fn store(&self, name: &str, path: &str) -> NamedStore {
        (name.to_owned(), Arc::new(FakeStore { path: self.root().join(path) }))
    }

    async fn create(&self) -> Result<CreateReport> {
        create(&Scope::default(), self.job()).await
    }

    /// The one archive in the memory target.
    async fn archive(&self) -> Archive {
        let targets: Vec<NamedTarget> = vec![("memory".into(), Arc::new(self.memory.clone()))];
        open_latest(&targets).await
    }

    fn archives(&self) -> Vec<String> {
        self.memory.keys().into_iter().filter(|key| key.ends_with(".tar.zst")).collect()
    }

    fn scratch_is_empty(&self) -> bool {
        let scratch = self.root().join(".uplifted-ops/scratch");
        !scratch.exists() || std::fs::read_dir(scratch).unwrap().count() == 0
    }
}

async fn open_latest(targets: &[NamedTarget]) -> Archive {
    let scope = Scope::default();
    let found = find(&scope, targets, &None, None, "latest").await.unwrap().remove(0);
    let blocks = found.blocks(&scope);
    blocking(move || Archive::open(Arc::new(blocks))).await.unwrap()
}

fn names(archive: &Archive) -> Vec<String> {
    archive.entries().iter().map(|entry| entry.path.to_string()).collect()
}

fn entry<'a>(archive: &'a Archive, path: &str) -> &'a Entry {
    archive.entries().iter().find(|entry| entry.path.as_path() == Path::new(path)).unwrap()
}

fn skips(report: &CreateReport) -> Vec<(String, SkipReason)> {
    report.skipped.iter().map(|skipped| (skipped.path.to_string(), skipped.reason)).collect()
}

/// Verifies every byte and extracts.
async fn extract(archive: Archive) -> tempfile::TempDir {
    let into = tempfile::tempdir().unwrap();
    let path = into.path().to_owned();
    blocking(move || {
        let scope = Scope::default();
        assert_eq!(archive.verify_full(&scope, 2).unwrap(), []);
        let dir = Dir::open(&path).unwrap();
        let extracted = archive.extract(&scope, &Selection::All, &dir, &ExtractOptions::default()).unwrap();
        assert_eq!(extracted.lost, []);
        Ok(())
    })
    .await
    .unwrap();
    into
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_comes_back() {
    let scene = Scene::new(&[
        ("config/app.yaml", b"a: 1\n"),
        ("data/big.bin", &[7; 3_000_000]),
        ("plugins/p/__init__.py", b""),
        (".env", b"SECRET=1"),
    ]);
    let root = scene.root();
    std::fs::set_permissions(root.join(".env"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::set_permissions(root.join("config"), std::fs::Permissions::from_mode(0o2750)).unwrap();
    symlink("../nowhere\u{e9}", root.join("plugins/link")).unwrap();
    std::fs::hard_link(root.join("data/big.bin"), root.join("data/big-again.bin")).unwrap();
    let sparse = std::fs::File::create(root.join("data/sparse")).unwrap();
    sparse.set_len(50 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"island", 20 << 20).unwrap();
    let long = format!("{}/{}/{}", "d".repeat(200), "e".repeat(200), "f".repeat(255));
    scene.write(&long, b"long");
    let odd: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(b"\xff\xfe\n".to_vec());
    std::fs::write(root.join(&odd), b"odd").unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, root.join("fifo"), rustix::fs::FileType::Fifo, 0o640.into(), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("sock")).unwrap();
    let old = rustix::fs::Timespec { tv_sec: -5, tv_nsec: 123_456_789 };
    let times = rustix::fs::Timestamps { last_access: old, last_modification: old };
    for path in ["config/app.yaml", "config"] {
        rustix::fs::utimensat(rustix::fs::CWD, root.join(path), &times, rustix::fs::AtFlags::empty()).unwrap();
    }
    let xattr =
        rustix::fs::setxattr(root.join(".env"), "user.note", b"\0\xff", rustix::fs::XattrFlags::empty()).is_ok();
    let before = root.metadata().unwrap();

    let report = scene.create().await.unwrap();
    assert_eq!(report.outcome, Outcome::Complete);
    assert!(report.is_healthy());
    assert_eq!(skips(&report), [("sock".to_owned(), SkipReason::Socket)]);
    assert_eq!(report.files, 8);
    assert_eq!(report.key, scene.archives()[0]);
    assert!(report.key.starts_with("uplifted_2") && report.key.ends_with(&format!("Z_{}.tar.zst", report.snapshot_id)));
    assert!(report.stored_bytes < 200_000 && report.size_bytes > 3_000_000, "{report:?}");
    assert!(scene.scratch_is_empty());

    let archive = scene.archive().await;
    let manifest = archive.manifest();
    assert_eq!((manifest.service.as_str(), manifest.host.as_str()), ("uplifted", "here"));
    assert_eq!(manifest.skipped, report.skipped);
    if xattr {
        let xattrs = &entry(&archive, ".env").xattrs;
        let note = xattrs.iter().find(|xattr| xattr.name.as_bytes() == b"user.note").unwrap();
        assert_eq!(note.value, "00ff");
    }
    let Node::File { data: Some(parts), .. } = &entry(&archive, "data/sparse").node else { panic!("not sparse") };
    assert!(parts.len() == 1 && parts[0].1 < 1 << 20, "{parts:?}");
    assert!(matches!(entry(&archive, "data/big.bin").node, Node::HardLink { .. }));
    let into = extract(archive).await;
    let there = |path: &str| into.path().join(path);
    for path in
        ["config/app.yaml", "data/big.bin", "data/big-again.bin", ".env", "plugins/p/__init__.py", &long, "data/sparse"]
    {
        assert!(std::fs::read(there(path)).unwrap() == std::fs::read(root.join(path)).unwrap(), "{path}");
        let (a, b) = (there(path).metadata().unwrap(), root.join(path).metadata().unwrap());
        assert_eq!((a.mode(), a.mtime(), a.mtime_nsec()), (b.mode(), b.mtime(), b.mtime_nsec()), "{path}");
    }
    assert_eq!(std::fs::read(into.path().join(&odd)).unwrap(), b"odd");
    assert_eq!(std::fs::read_link(there("plugins/link")).unwrap(), Path::new("../nowhere\u{e9}"));
    assert_eq!(there("data/big.bin").metadata().unwrap().ino(), there("data/big-again.bin").metadata().unwrap().ino());
    let folder = there("config").metadata().unwrap();
    assert_eq!((folder.mode() & 0o7777 & 0o777, folder.mtime(), folder.mtime_nsec()), (0o750, -5, 123_456_789));
    assert!(before.mtime() <= root.metadata().unwrap().mtime());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_products_own_places_and_excludes_are_left_out() {
    let scene = Scene::new(&[
        ("app.py", b"code"),
        (".uplifted-ops/journal/1", b"state"),
        ("backups/old.tar.zst", b"not ours"),
        ("p/__pycache__/x.pyc", b"cache"),
        ("elsewhere/scratch/left", b"scratch"),
        ("secret/key", b"key"),
    ]);
    let mut job = scene.job();
    let folder = scene.root().join("backups");
    // Under another name, as a mount or a link would have it.
    symlink("backups", scene.root().join("link-to-backups")).unwrap();
    job.targets = vec![("local".into(), Arc::new(FsTarget::new(scene.root().join("link-to-backups"))))];
    job.settings.exclude = vec!["**/__pycache__".into()];
    job.settings.scratch = Some("elsewhere/scratch".into());
    job.leave_out = vec!["secret".into()];
    let report = create(&Scope::default(), job.clone()).await.unwrap();
    assert!(folder.join(&report.key).exists());
    assert_eq!(folder.join(&report.key).metadata().unwrap().mode() & 0o7777, 0o600);
    let archive = open_latest(&job.targets).await;
    assert_eq!(names(&archive), ["app.py", "elsewhere", "link-to-backups", "p"]);
    assert_eq!(archive.manifest().excludes, ["**/__pycache__"]);
    // A foreign file is reported, never hidden and never fatal.
    let listing = list(&Scope::default(), &job.targets, &None, Some("uplifted")).await.unwrap();
    assert_eq!(listing.snapshots.len(), 1);
    assert_eq!(listing.unreadable.iter().map(|u| u.key.as_str()).collect::<Vec<_>>(), ["old.tar.zst"]);
    // Only the mark of the released lease stays beside the archives.
    let left: Vec<_> = std::fs::read_dir(folder.join("locks")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["writer.00000001"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_are_taken_through_their_stores_and_come_last() {
    let scene = Scene::new(&[
        ("data/main.db", &content("main")),
        ("data/main.db-wal", b"[log]"),
        ("data/main.db-shm", &[0; 500]),
        ("data/found.db", &content("found")),
        ("data/found.db-wal", b"[other log]"),
        ("data/short.db", b"FAKEDB"),
        ("data/notes-wal", b"a file of that name"),
        ("zz/after.txt", b"z"),
    ]);
    let root = scene.root();
    // The log lies beside one name only: a copy by another name would lack it.
    std::fs::hard_link(root.join("data/found.db"), root.join("data/a-second-name")).unwrap();
    std::fs::hard_link(root.join("data/main.db"), root.join("data/a-third-name")).unwrap();
    std::fs::set_permissions(root.join("data/main.db"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let mut job = scene.job();
    job.stores = vec![scene.store("main", "data/main.db")];
    let report = create(&Scope::default(), job).await.unwrap();
    assert_eq!(skips(&report), []);
    let archive = scene.archive().await;
    let expected = [
        "data/notes-wal",
        "data/short.db",
        "zz",
        "zz/after.txt",
        "data/main.db",
        "data/found.db",
        "data/a-second-name",
        "data/a-third-name",
        // After what is in it, so that `tar` leaves its time alone.
        "data",
    ];
    assert_eq!(names(&archive), expected);
    let records: Vec<_> = report.stores.iter().map(|r| (r.name.as_str(), r.path.to_string(), r.check.ok)).collect();
    let main = ("main", "data/main.db".to_owned(), true);
    assert_eq!(records, [main, ("data/found.db", "data/found.db".to_owned(), true)]);
    let live = root.join("data/main.db").metadata().unwrap();
    let stored = entry(&archive, "data/main.db");
    assert_eq!((stored.mode, stored.mtime, stored.mtime_nanos), (0o640, live.mtime(), live.mtime_nsec() as u32));
    let into = extract(archive).await;
    let copy = std::fs::read(into.path().join("data/main.db")).unwrap();
    assert_eq!(copy, [content("main"), b"[log]".to_vec()].concat());
    for name in ["data/found.db", "data/a-second-name"] {
        let copy = std::fs::read(into.path().join(name)).unwrap();
        assert_eq!(copy, [content("found"), b"[other log]".to_vec()].concat());
    }
    assert!(scene.scratch_is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_fails_is_named_and_the_rest_is_stored() {
    let wal: &[u8] = &[&[0x37, 0x7f, 0x06, 0x82][..], &[1; 60]].concat();
    let scene = Scene::new(&[
        ("busy.db", &content("refuse busy")),
        ("foreign.db", &content("refuse corrupt")),
        ("mine.db", &content("refuse unsupported")),
        ("rotten.db", &content("rotten")),
        ("encrypted.db", &[0x5a; 4096]),
        ("encrypted.db-wal", wal),
        ("plain.bin", &[0x5a; 4096]),
        ("plain.bin-wal", &[1; 100]),
    ]);
    let mut job = scene.job();
    job.stores = vec![scene.store("mine", "mine.db"), scene.store("gone", "gone.db"), scene.store("far", "../far.db")];
    std::fs::write(scene.base.path().join("far.db"), content("far")).unwrap();
    let report = create(&Scope::default(), job).await.unwrap();
    assert_eq!(report.outcome, Outcome::Partial);
    assert!(!report.is_healthy());
    let by_path = |path: &str| {
        let found: Vec<_> = report.skipped.iter().filter(|s| s.path.to_string().ends_with(path)).collect();
        assert_eq!(found.len(), 1, "{path}: {:?}", report.skipped);
        (found[0].reason, found[0].message.clone())
    };
    for path in ["busy.db", "foreign.db", "mine.db", "encrypted.db", "gone.db", "far.db"] {
        assert_eq!(by_path(path).0, SkipReason::Database, "{path}");
    }
    assert_eq!(by_path("rotten.db").0, SkipReason::Corrupt);
    assert!(by_path("rotten.db").1.contains("page 7 is rotten"));
    assert!(by_path("busy.db").1.contains("not copied") && by_path("busy.db").1.contains("as asked"));
    assert!(by_path("foreign.db").1.contains("copied as a file"));
    let archive = scene.archive().await;
    let expected = ["encrypted.db", "encrypted.db-wal", "plain.bin", "plain.bin-wal", "foreign.db", "rotten.db"];
    let mut stored = names(&archive);
    stored.sort();
    let mut expected = expected.map(str::to_owned);
    expected.sort();
    assert_eq!(stored, expected);
    assert!(scene.scratch_is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_fails_leaves_no_copy_and_no_second_name() {
    let scene = Scene::new(&[("a.db", &content("refuse busy")), ("b.db", &content("alone"))]);
    std::fs::hard_link(scene.root().join("a.db"), scene.root().join("z-name")).unwrap();
    let report = scene.create().await.unwrap();
    let expected = ["a.db", "z-name"].map(|path| (path.to_owned(), SkipReason::Database));
    assert_eq!(skips(&report), expected);
    let archive = scene.archive().await;
    assert_eq!(names(&archive), ["b.db"]);
    extract(archive).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_panics_ends_the_backup_and_no_database_is_missing_in_silence() {
    let scene = Scene::new(&[("a.db", &content("panics")), ("b.db", &content("fine")), ("c.txt", b"text")]);
    let error = scene.create().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
    assert!(scene.archives().is_empty() && scene.scratch_is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configured_database_is_in_it_though_no_include_names_it() {
    let scene = Scene::new(&[("config/a", b"a"), ("data/deep/main.db", &content("main")), ("data/other", b"o")]);
    std::fs::set_permissions(scene.root().join("data/deep"), std::fs::Permissions::from_mode(0o711)).unwrap();
    let mut job = scene.job();
    job.settings.include = vec!["config".into()];
    job.stores = vec![scene.store("main", "data/deep/main.db")];
    let report = create(&Scope::default(), job.clone()).await.unwrap();
    assert_eq!(report.outcome, Outcome::Complete);
    let archive = scene.archive().await;
    assert_eq!(names(&archive), ["data", "config", "config/a", "data/deep/main.db", "data/deep"]);
    assert_eq!(entry(&archive, "data/deep").mode, 0o711);
    let included: Vec<_> = archive.manifest().includes.iter().map(|i| i.path.to_string()).collect();
    assert_eq!(included, ["config", "data/deep/main.db"]);
    // Unless somebody says so.
    job.settings.exclude = vec!["data/deep".into()];
    let report = create(&Scope::default(), job).await.unwrap();
    assert_eq!((report.outcome, report.files), (Outcome::Complete, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_found_through_any_name_of_its_file() {
    let scene = Scene::new(&[("real/main.db", &content("main")), ("real/main.db-wal", b"[log]")]);
    symlink("real", scene.root().join("data")).unwrap();
    let mut job = scene.job();
    job.stores = vec![scene.store("main", "data/main.db")];
    let report = create(&Scope::default(), job).await.unwrap();
    assert_eq!(report.stores[0].path.to_string(), "real/main.db");
    assert_eq!(names(&scene.archive().await), ["data", "real/main.db", "real"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_refused_before_anything_happens() {
    let scene = Scene::new(&[("a", b"a")]);
    type Change = Box<dyn Fn(&mut CreateJob)>;
    let cases: Vec<(&str, Change)> = vec![
        ("no target", Box::new(|job| job.targets.clear())),
        ("level", Box::new(|job| job.settings.level = Some(0))),
        ("layout", Box::new(|job| job.settings.layout = Some("tape".into()))),
        ("include", Box::new(|job| job.settings.include = vec!["/etc".into()])),
        ("exclude", Box::new(|job| job.settings.exclude = vec!["[".into()])),
        ("root", Box::new(|job| job.root = job.root.join("missing"))),
    ];
    for (name, change) in cases {
        let mut job = scene.job();
        change(&mut job);
        let error = create(&Scope::default(), job).await.unwrap_err();
        assert!(error.hint().is_some(), "{name}: {error}");
    }
    // A target that is the service's own folder would hold itself.
    let mut job = scene.job();
    job.targets = vec![("local".into(), Arc::new(FsTarget::new(scene.root())))];
    assert_eq!(create(&Scope::default(), job).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(scene.memory.keys().is_empty());
    assert_eq!(std::fs::read_dir(scene.root()).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_is_asked_for_and_the_last_backup_says_how_much() {
    let scene = Scene::new(&[("zeros", &vec![0; 20 << 20])]);
    let mut job = scene.job();
    let small = scene.memory.clone().with_free_bytes(4 << 20);
    job.targets = vec![("small".into(), Arc::new(small))];
    let error = create(&Scope::default(), job.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(error.message().contains("4.0 MiB"), "{error}");
    // The same objects with room: then there is a backup that shows how well this compresses.
    scene.create().await.unwrap();
    create(&Scope::default(), job).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_backups_at_once_get_in_each_others_way_by_name() {
    let scene = Scene::new(&[("a", b"a")]);
    let inner = Mutex::new(None);
    let (sender, receiver) = std::sync::mpsc::channel();
    let job = scene.job();
    let runtime = tokio::runtime::Handle::current();
    let hook: Hook = Arc::new(move |moment, _| {
        if let files::Moment::Open = moment {
            let second = std::thread::scope(|threads| {
                threads.spawn(|| runtime.block_on(create(&Scope::default(), job.clone()))).join().unwrap()
            });
            *inner.lock().unwrap() = Some(());
            sender.send(second.unwrap_err()).unwrap();
        }
        Ok(())
    });
    create_with(&Scope::default(), scene.job(), Some(hook)).await.unwrap();
    let error = receiver.recv().unwrap();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.message().contains(&std::process::id().to_string()), "{error}");
    // And the next one has no trouble.
    scene.create().await.unwrap();
    assert_eq!(scene.archives().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_names_the_stages_and_never_goes_back() {
    let scene = Scene::new(&[("a", b"a"), ("main.db", &content("main"))]);
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&events);
    let progress = Progress::new(move |event| sink.lock().unwrap().push(event));
    create(&Scope { progress, ..Scope::default() }, scene.job()).await.unwrap();
    let events = events.lock().unwrap();
    for stage in
        ["looking at files", "copying database main.db", "storing files", "storing database main.db", "reading back"]
    {
        assert!(events.iter().any(|event| event.stage.starts_with(stage)), "{stage}: {events:?}");
    }
    for (at, event) in events.iter().enumerate() {
        let before = events[..at].iter().rev().find(|before| before.stage == event.stage);
        assert!(
            before.is_none_or(|before| before.done_bytes <= event.done_bytes && before.done_files <= event.done_files)
        );
        assert!(event.total_bytes.is_none_or(|total| event.done_bytes <= total), "{event:?}");
    }
}
