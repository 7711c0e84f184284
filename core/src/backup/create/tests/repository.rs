//! The repository layout: what a run stores, what the next one need not read, and what survives a lost cache.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::Connection;

use super::super::super::blocks::Objects;
use super::super::super::nodes::Limits;
use super::super::super::repository::header::Header;
use super::super::super::repository::keyring::{Keyring, NoKeys};
use super::super::super::repository::open::Repository;
use super::super::super::repository::snapshot::Snapshot;
use super::*;
use crate::clock::{ManualClock, Timestamp};
use crate::store::sqlite;
use crate::testing::random::{self, Rng};
use crate::testing::{Call, FaultyTarget};

mod damage;
mod elsewhere;
mod faults;
mod pages;

/// A scope whose clock is ahead of every file, so that nothing is too young to be believed.
fn later(hours: i64) -> Scope {
    let clock = ManualClock::new(Timestamp::now() + jiff::SignedDuration::from_hours(hours));
    Scope { clock: Arc::new(clock), ..Scope::default() }
}

impl Scene {
    fn repository_job(&self) -> CreateJob {
        let mut job = self.job();
        job.settings.layout = Some("repository".into());
        job.kinds.register(sqlite::KIND);
        job
    }

    /// A backup into the memory target's repository; which files were opened.
    async fn back_up(&self, hours: i64) -> (CreateReport, Vec<String>) {
        self.back_up_job(hours, self.repository_job()).await
    }

    async fn back_up_job(&self, hours: i64, job: CreateJob) -> (CreateReport, Vec<String>) {
        let opened = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&opened);
        let hook: Hook = Arc::new(move |moment, path| {
            if let files::Moment::Open = moment {
                seen.lock().unwrap().push(path.display().to_string());
            }
            Ok(())
        });
        let report = create_with(&later(hours), job, Some(hook)).await.unwrap();
        assert!(self.scratch_is_empty());
        let opened = opened.lock().unwrap().clone();
        (report, opened)
    }

    fn caches(&self) -> PathBuf {
        let all = self.root().join(".uplifted-ops/cache/repository");
        std::fs::read_dir(all).unwrap().next().unwrap().unwrap().path()
    }

    fn lose_caches(&self) {
        std::fs::remove_dir_all(self.root().join(".uplifted-ops/cache")).unwrap();
    }

    fn keys(&self, prefix: &str) -> Vec<String> {
        self.memory.keys().into_iter().filter(|key| key.starts_with(prefix)).collect()
    }

    fn bytes(&self, key: &str) -> Vec<u8> {
        let mut content = Vec::new();
        self.memory.tamper(key, |bytes| content.clone_from(bytes));
        content
    }

    fn stored_bytes(&self) -> u64 {
        self.memory.keys().iter().map(|key| self.bytes(key).len() as u64).sum()
    }
}

/// The newest snapshot in a target, verified as it is extracted.
async fn restore(target: &Arc<dyn BackupTarget>) -> (Header, tempfile::TempDir) {
    let objects = Objects::new(&Scope::default(), Arc::clone(target));
    blocking(move || {
        let scope = Scope::default();
        let keys: Arc<dyn Keyring> = Arc::new(NoKeys);
        let repository = Repository::open(&objects, &keys)?.unwrap();
        assert_eq!(repository.damage, None);
        let headers = repository.headers()?;
        assert_eq!(super::super::super::repository::open::broken_links(&headers, &[]), []);
        let (header, _) = headers.last().unwrap().header.as_ref().unwrap().clone();
        let snapshot = Snapshot::open(&scope, &repository, header.clone(), Limits::default().max_entries)?;
        assert_eq!(snapshot.problems(), []);
        let into = tempfile::tempdir().unwrap();
        let dir = Dir::open(into.path())?;
        snapshot.extract(&scope, &Selection::All, &dir, &ExtractOptions::default())?;
        assert_eq!(
            (snapshot.manifest().files, snapshot.manifest().size_bytes),
            (header.counts.files, header.counts.bytes)
        );
        Ok((header, into))
    })
    .await
    .unwrap()
}

async fn restore_memory(scene: &Scene) -> (Header, tempfile::TempDir) {
    let target: Arc<dyn BackupTarget> = Arc::new(scene.memory.clone());
    restore(&target).await
}

/// Whether two trees have the same names and the same content.
fn same(a: &Path, b: &Path) {
    let list = |root: &Path| -> Vec<PathBuf> {
        let mut all = Vec::new();
        let mut pending = vec![root.to_owned()];
        while let Some(folder) = pending.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let relative = path.strip_prefix(root).unwrap().to_owned();
                if relative == Path::new(".uplifted-ops") {
                    continue;
                }
                if path.is_dir() && !path.is_symlink() {
                    pending.push(path);
                }
                all.push(relative);
            }
        }
        all.sort();
        all
    };
    assert_eq!(list(a), list(b));
    for path in list(a).iter().filter(|path| a.join(path).is_file()) {
        assert!(std::fs::read(a.join(path)).unwrap() == std::fs::read(b.join(path)).unwrap(), "{path:?}");
    }
}

fn many() -> Scene {
    let mut random = random::seeded("many");
    let big = random::bytes(&mut random, 9 << 20);
    let files: Vec<(String, Vec<u8>)> = (0..200)
        .map(|at| (format!("data/{:02}/{at:03}.json", at % 17), random::bytes(&mut random, at * 31 % 5000)))
        .chain([("big.bin".to_owned(), big), ("empty".to_owned(), Vec::new())])
        .collect();
    let scene = Scene::new(&files.iter().map(|(path, bytes)| (path.as_str(), &bytes[..])).collect::<Vec<_>>());
    let root = scene.root();
    symlink("big.bin", root.join("link")).unwrap();
    std::fs::hard_link(root.join("big.bin"), root.join("big-again.bin")).unwrap();
    let sparse = std::fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(50 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"island", 20 << 20).unwrap();
    let hole = std::fs::File::create(root.join("hole")).unwrap();
    hole.set_len(3 << 20).unwrap();
    scene
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_backup_reads_nothing_and_stores_nothing() {
    let scene = many();
    let (first, opened) = scene.back_up(1).await;
    assert!(first.is_healthy() && opened.len() >= 204, "{}", opened.len());
    assert!(first.key.starts_with("snapshots/2") && first.key.ends_with(&first.snapshot_id), "{}", first.key);
    let (header, into) = restore_memory(&scene).await;
    assert_eq!(header.counts.stored, first.stored_bytes);
    same(&scene.root(), into.path());
    assert!(into.path().join("sparse").metadata().unwrap().blocks() * 512 < 1 << 20);
    assert_eq!(
        into.path().join("big.bin").metadata().unwrap().ino(),
        into.path().join("big-again.bin").metadata().unwrap().ino()
    );
    for key in ["repository", "RECOVER.md", "recover.sh"] {
        assert_eq!(scene.keys(key), [key]);
    }
    assert_eq!(scene.keys("locks/"), [] as [&str; 0], "a target that creates only what is absent needs no lease");

    let before = scene.stored_bytes();
    let (second, opened) = scene.back_up(2).await;
    assert_eq!(opened, [] as [&str; 0]);
    assert!(second.stored_bytes < 10_000, "{} bytes for a new root and manifest", second.stored_bytes);
    assert!(scene.stored_bytes() - before < 20_000);
    let (again, into) = restore_memory(&scene).await;
    assert_eq!(again.previous.map(|(id, _)| id), Some(header.snapshot));
    same(&scene.root(), into.path());

    // One file changes: it alone is opened, and little is stored.
    scene.write("data/03/003.json", b"changed");
    std::fs::remove_file(scene.root().join("data/04/004.json")).unwrap();
    let (third, opened) = scene.back_up(3).await;
    assert_eq!(opened, ["data/03/003.json"]);
    assert!(third.stored_bytes < 60_000, "{}", third.stored_bytes);
    let (_, into) = restore_memory(&scene).await;
    same(&scene.root(), into.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_products_own_places_are_left_out_of_the_first_backup_too() {
    let scene = Scene::new(&[("a", b"one")]);
    let mut job = scene.repository_job();
    let local: Arc<dyn BackupTarget> = Arc::new(FsTarget::new(scene.root().join("backups")));
    job.targets = vec![("local".into(), Arc::clone(&local))];
    for hours in 1..3 {
        let (report, _) = scene.back_up_job(hours, job.clone()).await;
        assert_eq!(report.files, 1);
        let (header, into) = restore(&local).await;
        assert_eq!(header.counts.entries, 1, "{:?}", std::fs::read_dir(into.path()).unwrap().collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_young_is_read_again() {
    let scene = Scene::new(&[("a", b"one"), ("b", b"two")]);
    let now = create_with(&Scope::default(), scene.repository_job(), None).await.unwrap();
    assert!(now.is_healthy());
    let (_, opened) = scene.back_up(1).await;
    assert_eq!(opened, ["a", "b"]);
    let (_, opened) = scene.back_up(2).await;
    assert_eq!(opened, [] as [&str; 0]);
}

/// The kernel marks the time of a write through a mapping when it is the first since the page was written out, and of no
/// further one: two writes of a page within half a minute look like one.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_through_a_mapping_after_a_backup_is_in_the_next_one() {
    let scene = Scene::new(&[("mapped", &[0; 4096]), ("note", b"x")]);
    if crate::fs::is_in_memory(&scene.root()).unwrap() {
        eprintln!("skipped: a filesystem in memory never writes a page out, and has no time for it");
        return;
    }
    let mapping = Mapping::of(&scene.root().join("mapped"));
    mapping.write(1);
    let (_, opened) = scene.back_up(1).await;
    assert_eq!(opened, ["mapped", "note"]);
    mapping.write(2);
    let (_, opened) = scene.back_up(2).await;
    assert_eq!(opened, ["mapped"]);
    let (_, into) = restore_memory(&scene).await;
    assert_eq!(std::fs::read(into.path().join("mapped")).unwrap()[0], 2);
}

/// The first page of a file, mapped.
#[cfg(target_os = "linux")]
struct Mapping(*mut libc::c_void);

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "there is no other way to write as a mapping does")]
impl Mapping {
    fn of(path: &Path) -> Self {
        let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the file has a page, and the mapping keeps it open.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, access, libc::MAP_SHARED, fd, 0) };
        assert_ne!(at, libc::MAP_FAILED);
        Self(at)
    }

    fn write(&self, byte: u8) {
        // SAFETY: the page is mapped for writing until the value is dropped, and nobody else has it.
        unsafe { self.0.cast::<u8>().write_volatile(byte) };
    }
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "there is no other way to write as a mapping does")]
impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and nobody uses it any more.
        unsafe { libc::munmap(self.0, 4096) };
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_or_damaged_cache_costs_reading_and_no_upload() {
    let scene = many();
    scene.back_up(1).await;
    let mut random = random::seeded("damaged caches");
    for round in 0..12 {
        let files: Vec<PathBuf> =
            std::fs::read_dir(scene.caches()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 4, "{files:?}");
        match round {
            0 => scene.lose_caches(),
            1 => files.iter().for_each(|file| std::fs::write(file, b"").unwrap()),
            _ => {
                let file = &files[random.usize(..4)];
                let mut bytes = std::fs::read(file).unwrap();
                let at = random.usize(..bytes.len());
                if round % 2 == 0 {
                    bytes.truncate(at);
                } else {
                    bytes[at] ^= 0x10;
                }
                std::fs::write(file, bytes).unwrap();
            }
        }
        let (report, _) = scene.back_up(2 + round).await;
        assert!(report.is_healthy() && report.stored_bytes < 10_000, "{report:?}");
    }
    let (_, opened) = scene.back_up(50).await;
    assert_eq!(opened, [] as [&str; 0]);
    let (_, into) = restore_memory(&scene).await;
    same(&scene.root(), into.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pack_that_is_gone_cut_or_condemned_is_stored_anew() {
    use super::super::super::repository::collect::CollectRecord;
    use super::super::super::repository::names;

    let scene = many();
    for hours in 1..4 {
        scene.back_up(2 * hours).await;
        // Of those that the snapshot needs: the ones that were damaged before are there as well.
        let (before, _) = restore_memory(&scene).await;
        let id = before.packs.iter().max_by_key(|pack| pack.stored_bytes).unwrap().id;
        let pack = names::pack(id, false);
        match hours {
            1 => scene.memory.delete(&Scope::default(), &pack).await.unwrap(),
            2 => scene.memory.tamper(&pack, |bytes| bytes.truncate(bytes.len() - 1)),
            _ => {
                let objects = Objects::new(&Scope::default(), Arc::new(scene.memory.clone()));
                let keys: Arc<dyn Keyring> = Arc::new(NoKeys);
                let repository = blocking(move || Repository::open(&objects, &keys)).await.unwrap().unwrap();
                let time = Timestamp::now();
                let record = CollectRecord {
                    repository: repository.id,
                    time,
                    grace: Duration::from_secs(7 * 86_400),
                    snapshots: Vec::new(),
                    packs: vec![id],
                };
                let key = names::collect(time, super::super::super::repository::id::SnapshotId([1; 6]));
                scene.memory.put(&Scope::default(), &key, &record.write(&repository.key), true).await.unwrap();
            }
        }
        let (report, opened) = scene.back_up(2 * hours + 1).await;
        assert!(report.is_healthy() && !opened.is_empty() && report.stored_bytes > 1 << 20, "{hours}: {opened:?}");
        let (header, into) = restore_memory(&scene).await;
        same(&scene.root(), into.path());
        assert!(header.packs.iter().all(|pack| pack.id != id), "{hours}");
    }
}

/// A backup that builds on packs which are deleted while it is made shows nothing, and the next one stores them anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packs_that_are_collected_while_a_backup_is_made_are_missed_before_it_is_shown() {
    let scene = many();
    scene.back_up(1).await;
    let (first, doomed) = (scene.keys("snapshots/").remove(0), [scene.keys("index/"), scene.keys("packs/")].concat());
    scene.memory.delete(&Scope::default(), &first).await.unwrap();
    // As another host has it, which does not know of the header that is gone.
    scene.lose_caches();
    scene.write("new.txt", b"so that a pack is stored");
    let memory = scene.memory.clone();
    let collecting = FaultyTarget::new(Arc::new(scene.memory.clone()), move |call, _, _| {
        if call == Call::Upload {
            let (memory, doomed) = (memory.clone(), doomed.clone());
            // A rule does not wait, and the target's calls do.
            let collector = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                for key in doomed {
                    runtime.block_on(memory.delete(&Scope::default(), &key)).unwrap();
                }
            });
            collector.join().unwrap();
        }
        None
    });
    let mut job = scene.repository_job();
    job.targets = vec![("memory".into(), Arc::new(collecting))];
    let error = create(&later(2), job).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(error.message().contains("garbage collection has deleted the pack"), "{error}");
    assert_eq!(scene.keys("snapshots/"), [] as [&str; 0]);
    let (report, _) = scene.back_up(3).await;
    assert!(report.is_healthy());
    let (_, into) = restore_memory(&scene).await;
    same(&scene.root(), into.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_make_one_repository_and_two_snapshots() {
    let scene = many();
    let other = Scene::new(&[("elsewhere.txt", b"another host"), ("big.bin", &[7; 3 << 20])]);
    let mut second = other.repository_job();
    second.targets = vec![("memory".into(), Arc::new(scene.memory.clone()))];
    let scopes = [later(1), later(1)];
    let (a, b) = tokio::join!(create(&scopes[0], scene.repository_job()), create(&scopes[1], second));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert!(a.is_healthy() && b.is_healthy());
    assert_eq!(scene.keys("snapshots/").len(), 2);
    let objects = Objects::new(&Scope::default(), Arc::new(scene.memory.clone()));
    let headers = blocking(move || {
        let keys: Arc<dyn Keyring> = Arc::new(NoKeys);
        let repository = Repository::open(&objects, &keys)?.unwrap();
        for stored in repository.headers()? {
            let (header, _) = stored.header.unwrap();
            let snapshot = Snapshot::open(&Scope::default(), &repository, header, 10_000)?;
            assert_eq!(snapshot.problems(), []);
        }
        repository.headers()
    })
    .await
    .unwrap();
    assert_eq!(headers.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_targets_get_repositories_of_their_own_from_one_reading() {
    let scene = many();
    let folder = tempfile::tempdir().unwrap();
    let local: Arc<dyn BackupTarget> = Arc::new(FsTarget::new(folder.path().to_owned()));
    let mut job = scene.repository_job();
    job.targets.push(("local".into(), Arc::clone(&local)));
    let (report, opened) = scene.back_up_job(1, job.clone()).await;
    assert!(report.is_healthy());
    let unique: HashSet<&String> = opened.iter().collect();
    assert_eq!(unique.len(), opened.len(), "a file was read twice");
    for target in [Arc::new(scene.memory.clone()) as Arc<dyn BackupTarget>, Arc::clone(&local)] {
        let (_, into) = restore(&target).await;
        same(&scene.root(), into.path());
    }
    // One of them knows nothing any more: the files are read for it, and the other stores nothing.
    let kept = scene.memory.keys();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
    }
    let (report, opened) = scene.back_up_job(2, CreateJob { anew: true, ..job.clone() }).await;
    assert!(report.is_healthy() && opened.len() > 200);
    assert!(scene.memory.keys().len() <= kept.len() + 3);
    let (_, into) = restore(&local).await;
    same(&scene.root(), into.path());
    let (_, opened) = scene.back_up_job(3, job).await;
    assert_eq!(opened, [] as [&str; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_that_did_not_change_are_neither_copied_nor_read() {
    static COPIES: AtomicUsize = AtomicUsize::new(0);
    let scene = Scene::new(&[
        ("data/main.db", &content("main")),
        ("data/main.db-wal", b"[log]"),
        ("data/main.db-shm", &[0; 500]),
        ("data/notes.txt", b"note"),
    ]);
    std::fs::hard_link(scene.root().join("data/main.db"), scene.root().join("data/z-other-name")).unwrap();
    let store = async |hours| {
        let job = scene.repository_job();
        let copies = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&copies);
        let mut scope = later(hours);
        scope.progress = Progress::new(move |event| {
            counted.fetch_add(usize::from(event.stage.starts_with("copying database")), Ordering::SeqCst);
        });
        let report = create_with(&scope, job, None).await.unwrap();
        assert!(report.is_healthy(), "{report:?}");
        assert_eq!(report.stores.len(), 1);
        COPIES.fetch_add(copies.load(Ordering::SeqCst), Ordering::SeqCst);
        (report, copies.load(Ordering::SeqCst))
    };
    assert_eq!(store(1).await.1, 1);
    let (report, copies) = store(2).await;
    assert_eq!(copies, 0);
    assert!(report.stores[0].taken_at > Timestamp::now(), "it shows what is there now");
    // Only readers write the shared memory.
    scene.write("data/main.db-shm", &[1; 500]);
    assert_eq!(store(3).await.1, 0);
    scene.write("data/main.db-wal", b"[gol]");
    assert_eq!(store(4).await.1, 1);
    scene.lose_caches();
    assert_eq!(store(5).await.1, 1);
    let (_, into) = restore_memory(&scene).await;
    assert_eq!(std::fs::read(into.path().join("data/main.db")).unwrap(), [content("main"), b"[gol]".to_vec()].concat());
    assert_eq!(into.path().join("data/z-other-name").metadata().unwrap().nlink(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_more_than_a_file_is_looked_at_every_time() {
    let scene = Scene::new(&[("mine.db", &content("refuse unsupported")), ("zz.db", &content("refuse unsupported"))]);
    for hours in 1..4 {
        let (report, _) = scene.back_up(hours).await;
        assert_eq!(report.outcome, Outcome::Partial, "{hours}");
        assert_eq!(skips(&report).len(), 2);
    }
}
