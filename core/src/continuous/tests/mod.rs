//! Following a ledger into targets in memory, and back to any moment.

mod fixture;
mod hostile;
mod plans;
mod proving;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::folder::{Folder, StoreFolder};
use super::follow::{FollowJob, follow};
use super::timeline::{View, Wanted, look};
use super::travel::Reading;
use crate::backup::BackupTarget;
use crate::backup::create::{CreateJob, NamedTarget, create};
use crate::backup::list::blocking;
use crate::backup::nodes::{ExtractOptions, Limits, Selection};
use crate::backup::repository::names::SegmentName;
use crate::backup::repository::snapshot::Snapshot;
use crate::backup::seal::Keys;
use crate::cancel::{Cancel, Scope};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::component::Registry;
use crate::config::{BackupSettings, ContinuousSettings};
use crate::error::{ErrorKind, Result};
use crate::fs::Dir;
use crate::store::Store;
use crate::store::follow::{Reached, Until};
use crate::testing::ledger::{self, Ledger};
use crate::testing::{Call, FaultyTarget, MemoryTarget};

/// A service with a ledger, and where its backups go.
struct Scene {
    base: tempfile::TempDir,
    memory: MemoryTarget,
    targets: Vec<NamedTarget>,
    keys: Keys,
    host: &'static str,
    settings: ContinuousSettings,
}

/// A worker, as far as it is one.
struct Following {
    cancel: Cancel,
    task: tokio::task::JoinHandle<Result<()>>,
}

impl Following {
    /// Ends cleanly.
    async fn stop(self) {
        self.cancel.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Is gone at once, as a worker that is killed.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

fn now() -> Timestamp {
    SystemClock.now()
}

/// Waits until `is` says so.
async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    for _ in 0..4000 {
        if is().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what} did not happen");
}

impl Scene {
    fn new() -> Self {
        let (base, memory) = (tempfile::tempdir().unwrap(), MemoryTarget::default());
        std::fs::create_dir_all(base.path().join("root/data")).unwrap();
        let targets: Vec<NamedTarget> = vec![("memory".to_owned(), Arc::new(memory.clone()) as Arc<dyn BackupTarget>)];
        let settings = ContinuousSettings { ship_seconds: 0.05, ..ContinuousSettings::default() };
        let scene = Self { base, memory, targets, keys: None, host: "here", settings };
        Ledger::create(&scene.ledger().path).unwrap();
        scene
    }

    fn root(&self) -> PathBuf {
        self.base.path().join("root")
    }

    fn ledger(&self) -> Ledger {
        Ledger { path: self.root().join("data/main.ledger") }
    }

    /// The state folder of the machine.
    fn folder(&self) -> StoreFolder {
        Folder::new(&self.base.path().join(format!("state-{}", self.host))).store("main")
    }

    async fn back_up(&self) -> String {
        let mut kinds: Registry<dyn Store> = Registry::new("store");
        kinds.register(ledger::KIND);
        let mut job = CreateJob::new(self.root(), self.root().join(".uplifted-ops"), kinds);
        job.service = "uplifted".into();
        job.host = self.host.into();
        job.settings = BackupSettings {
            scratch_in_memory: true,
            clear_secrets: Some(true),
            layout: Some("repository".into()),
            ..BackupSettings::default()
        };
        job.targets.clone_from(&self.targets);
        job.keys.clone_from(&self.keys);
        job.stores = vec![("main".to_owned(), Arc::new(self.ledger()))];
        create(&Scope::default(), job).await.unwrap().snapshot_id
    }

    async fn follow(&self) -> Following {
        let cancel = Cancel::new();
        let scope = Scope { cancel: cancel.clone(), ..Scope::default() };
        let job = FollowJob {
            name: "main".into(),
            store: Arc::new(self.ledger()),
            targets: self.targets.clone(),
            keys: self.keys.clone(),
            settings: self.settings.clone(),
            folder: self.folder(),
            host: self.host.into(),
        };
        let following = Following { cancel, task: tokio::spawn(async move { follow(&scope, job).await }) };
        let folder = self.folder();
        until("the following of the ledger", async || folder.is_followed() || following.task.is_finished()).await;
        following
    }

    /// Commits a line, and returns when a target has it: a moment after it and before the next.
    async fn commit(&self, line: &str) -> Timestamp {
        self.ledger().commit(line).unwrap();
        let position = std::fs::metadata(self.ledger().path).unwrap().len().to_string();
        let mut moment = Timestamp::MIN;
        until(&format!("storing {line:?}"), async || {
            let view = self.view().await;
            let runs = view.stores[0].runs.iter();
            let stored = runs.filter_map(|run| run.segments.last()).find(|last| last.head.to == position);
            moment = stored.and_then(|last| last.head.points().last()).map_or(moment, |point| point.time);
            stored.is_some()
        })
        .await;
        until("the next moment", async || now() > moment + Duration::from_millis(20)).await;
        moment
    }

    async fn view(&self) -> View {
        look(&Scope::default(), &self.targets, &self.keys, Wanted::Named(&["main".to_owned()])).await.unwrap()
    }

    fn segments(&self) -> Vec<String> {
        self.memory.keys().into_iter().filter(|key| SegmentName::of(key).is_some()).collect()
    }

    /// The lines that the ledger had at a moment.
    async fn go_back(&self, at: Timestamp) -> Result<Vec<String>> {
        let view = self.view().await;
        self.go_back_in(&view, at).await
    }

    async fn go_back_in(&self, view: &View, at: Timestamp) -> Result<Vec<String>> {
        let way = view.way(at)?;
        let store = way.stores[0].clone();
        let (repository, snapshot_id) = (store.shelf.repository.clone(), way.snapshot_id.clone());
        let (into, record) = blocking(move || {
            let headers = repository.headers()?.into_iter().filter_map(|stored| stored.header.ok());
            let header = headers.map(|(header, _)| header).find(|it| it.snapshot.to_string() == snapshot_id).unwrap();
            let scope = Scope::default();
            let snapshot = Snapshot::open(&scope, &repository, header, Limits::default().max_entries)?;
            let into = tempfile::tempdir().unwrap();
            let dir = Dir::open(into.path())?;
            snapshot.extract(&scope, &Selection::All, &dir, &ExtractOptions::default())?;
            Ok((into, snapshot.manifest().stores[0].clone()))
        })
        .await?;
        let copy = Ledger { path: into.path().join("data/main.ledger") };
        if store.point.is_some() {
            let mut reading = Reading::of(&store, record.taken_at);
            let folder = into.path().join("data");
            let Reached { point, proven } =
                copy.roll_forward(&Scope::default(), &folder, record.taken_at, &mut reading, &Until::Time(at)).await?;
            assert_eq!(proven, Some(true));
            assert!(point.time <= at);
        }
        copy.lines()
    }
}

/// A target that takes nothing while the flag is up.
fn breakable(target: &MemoryTarget) -> (Arc<dyn BackupTarget>, Arc<AtomicBool>) {
    let broken = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&broken);
    let faulty = FaultyTarget::new(Arc::new(target.clone()), move |call, _, _| {
        (call == Call::Put && flag.load(Ordering::SeqCst)).then_some(ErrorKind::Unavailable)
    });
    (Arc::new(faulty), broken)
}

fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_moment_comes_back_and_a_clean_stop_loses_nothing() {
    let scene = Scene::new();
    scene.ledger().commit("before").unwrap();
    let before_all = now();
    scene.back_up().await;
    let following = scene.follow().await;
    until("a stream", async || !scene.segments().is_empty()).await;
    // The first backup was made before anything was followed: it is no base.
    let error = scene.go_back(now()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("from its beginning"), "{error}");
    let standing = || scene.folder().standing().unwrap().unwrap_or_default();
    until("the wish for a base", async || standing().base_wanted_since.is_some()).await;
    scene.back_up().await;
    until("the base", async || standing().base_wanted_since.is_none()).await;
    let one = scene.commit("one").await;
    let two = scene.commit("two").await;
    let base = scene.back_up().await;
    let three = scene.commit("three").await;
    scene.ledger().commit("last words").unwrap();
    following.stop().await;

    assert_eq!(scene.go_back(one).await.unwrap(), lines(&["before", "one"]));
    assert_eq!(scene.go_back(two).await.unwrap(), lines(&["before", "one", "two"]));
    assert_eq!(scene.go_back(three).await.unwrap(), lines(&["before", "one", "two", "three"]));
    let view = scene.view().await;
    let timeline = view.stores[0].timeline();
    assert_eq!((timeline.bases.len(), timeline.coverage.len(), timeline.gaps.len()), (3, 1, 0), "{timeline:?}");
    let end = timeline.coverage[0].until;
    assert_eq!(scene.go_back(end).await.unwrap(), lines(&["before", "one", "two", "three", "last words"]));
    assert_eq!(view.way(end).unwrap().snapshot_id, base);
    for (moment, says) in [(before_all, "the first time after it"), (end + Duration::from_secs(60), "the last time")] {
        let error = view.way(moment).unwrap_err();
        assert!(error.hint().unwrap_or_default().contains(says), "{error:?}");
    }
    let standing = standing();
    assert!(!standing.following && standing.trouble.is_none(), "{standing:?}");
    assert_eq!(standing.targets[0].waiting_segments, 0);
    assert_eq!(standing.gaps_total, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_that_is_killed_is_followed_by_one_that_goes_on() {
    let scene = Scene::new();
    scene.back_up().await;
    let following = scene.follow().await;
    until("a stream", async || !scene.segments().is_empty()).await;
    scene.back_up().await;
    let mut moments = Vec::new();
    let mut following = Some(following);
    for round in 0..5 {
        moments.push(scene.commit(&format!("{round} seen")).await);
        following.take().unwrap().kill().await;
        // While nobody looks.
        scene.ledger().commit(&format!("{round} unseen")).unwrap();
        following = Some(scene.follow().await);
    }
    following.unwrap().stop().await;
    let view = scene.view().await;
    assert_eq!(view.stores[0].runs.len(), 1, "one stream, and nothing is missing in it");
    for (round, moment) in moments.into_iter().enumerate() {
        let expected: Vec<String> = (0..round)
            .flat_map(|round| [format!("{round} seen"), format!("{round} unseen")])
            .chain([format!("{round} seen")])
            .collect();
        assert_eq!(scene.go_back_in(&view, moment).await.unwrap(), expected);
    }
}

/// The state folder is gone: the targets say where to go on. A ledger that was replaced is a gap, by name.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_its_state_it_goes_on_and_another_database_is_a_gap() {
    let scene = Scene::new();
    scene.back_up().await;
    let following = scene.follow().await;
    until("a stream", async || !scene.segments().is_empty()).await;
    scene.back_up().await;
    scene.commit("one").await;
    following.stop().await;
    std::fs::remove_dir_all(scene.base.path().join("state-here")).unwrap();
    let following = scene.follow().await;
    let two = scene.commit("two").await;
    assert_eq!(scene.view().await.stores[0].runs.len(), 1);
    following.stop().await;

    std::fs::remove_file(scene.ledger().path).unwrap();
    Ledger::create(&scene.ledger().path).unwrap();
    scene.ledger().commit("another one, longer than the first was").unwrap();
    let following = scene.follow().await;
    let lost = scene.commit("in the gap").await;
    scene.back_up().await;
    let after = scene.commit("after").await;
    following.stop().await;
    assert_eq!(scene.go_back(two).await.unwrap(), lines(&["one", "two"]));
    let error = scene.go_back(lost).await.unwrap_err();
    assert!(error.message().contains("the ledger is another one than before"), "{error}");
    assert!(error.hint().unwrap().contains("the nearest times are"), "{error:?}");
    assert_eq!(scene.go_back(after).await.unwrap().len(), 3);
    let timeline = scene.view().await.stores[0].timeline();
    assert_eq!((timeline.coverage.len(), timeline.gaps.len()), (2, 1), "{timeline:?}");
}

/// A target that does not answer holds the other one up in nothing, and gets all of it later, also from another worker.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_target_that_fails_is_named_and_catches_up() {
    let mut scene = Scene::new();
    let second = MemoryTarget::default();
    let (faulty, broken) = breakable(&second);
    scene.targets.push(("second".to_owned(), faulty));
    scene.back_up().await;
    let following = scene.follow().await;
    until("a stream", async || !scene.segments().is_empty()).await;
    scene.back_up().await;
    scene.commit("one").await;
    broken.store(true, Ordering::SeqCst);
    let two = scene.commit("two").await;
    let standing = || scene.folder().standing().unwrap().unwrap_or_default();
    until("the error", async || standing().targets[1].error.is_some()).await;
    assert!(standing().targets[0].error.is_none());
    following.kill().await;
    let following = scene.follow().await;
    let three = scene.commit("three").await;
    broken.store(false, Ordering::SeqCst);
    until("catching up", async || {
        let standing = standing();
        standing.targets[1].waiting_segments == 0 && standing.targets[1].error.is_none() && standing.spool_segments <= 1
    })
    .await;
    following.stop().await;
    scene.targets.remove(0);
    let view = scene.view().await;
    assert_eq!(view.stores[0].runs.len(), 1);
    assert_eq!(scene.go_back_in(&view, two).await.unwrap(), lines(&["one", "two"]));
    assert_eq!(scene.go_back_in(&view, three).await.unwrap(), lines(&["one", "two", "three"]));
}

/// More waits than may: the target has a hole, a base is asked for, and what comes after it is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_too_much_for_this_disk_is_a_gap() {
    let mut scene = Scene::new();
    scene.settings.spool_limit_bytes = crate::value::ByteSize(4000);
    let (faulty, broken) = breakable(&scene.memory);
    scene.targets = vec![("memory".to_owned(), faulty)];
    scene.back_up().await;
    let following = scene.follow().await;
    until("a stream", async || !scene.segments().is_empty()).await;
    scene.back_up().await;
    let one = scene.commit("one").await;
    broken.store(true, Ordering::SeqCst);
    let standing = || scene.folder().standing().unwrap().unwrap_or_default();
    let mut number = 0;
    until("the loss", async || {
        number += 1;
        scene.ledger().commit(&format!("lost {number}")).unwrap();
        standing().targets[0].lost_segments > 0
    })
    .await;
    broken.store(false, Ordering::SeqCst);
    until("catching up", async || standing().targets[0].waiting_segments == 0).await;
    until("the wish for a base", async || standing().base_wanted_since.is_some()).await;
    let in_the_gap = now();
    scene.back_up().await;
    let after = scene.commit("after").await;
    following.stop().await;
    assert_eq!(scene.go_back(one).await.unwrap(), lines(&["one"]));
    assert!(scene.go_back(in_the_gap).await.is_err());
    assert_eq!(scene.go_back(after).await.unwrap(), scene.ledger().lines().unwrap());
}

/// Two machines that follow the same store: each has a stream of its own, and each is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_machines_do_not_get_in_each_others_way() {
    let scene = Scene::new();
    let other = Scene { host: "there", targets: scene.targets.clone(), memory: scene.memory.clone(), ..Scene::new() };
    std::fs::remove_file(other.ledger().path).unwrap();
    std::fs::hard_link(scene.ledger().path, other.ledger().path).unwrap();
    scene.back_up().await;
    let (first, second) = (scene.follow().await, other.follow().await);
    until("two streams", async || scene.view().await.stores[0].runs.len() == 2).await;
    scene.back_up().await;
    let one = scene.commit("one").await;
    first.stop().await;
    let two = scene.commit("two").await;
    second.stop().await;
    assert_eq!(scene.go_back(one).await.unwrap(), lines(&["one"]));
    assert_eq!(scene.go_back(two).await.unwrap(), lines(&["one", "two"]));
    assert_eq!(scene.view().await.stores[0].runs.len(), 2);
}

#[cfg(feature = "encryption")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_host_that_can_open_nothing_follows_and_puts_together() {
    use crate::backup::seal::{HostKeys, KeyRing, RepositoryIdentity, RepositoryKey, WrapTo, vault};

    let mut scene = Scene::new();
    let key = RepositoryKey::generate(now()).unwrap();
    let to = WrapTo::recipients(vec![RepositoryIdentity::generate().recipient()]).unwrap();
    vault::store(&Scope::default(), &scene.targets, &key, to, None).await.unwrap();
    scene.keys = Some(Arc::new(KeyRing::of_host(&HostKeys::of(&key))));
    scene.back_up().await;
    let following = scene.follow().await;
    until("a stream", async || !scene.segments().is_empty()).await;
    scene.back_up().await;
    let one = scene.commit("a secret line").await;
    following.kill().await;
    let following = scene.follow().await;
    let two = scene.commit("another").await;
    // Enough of them to be worth putting together.
    for more in ["a third", "a fourth", "a fifth"] {
        scene.commit(more).await;
    }
    following.stop().await;
    for name in scene.segments() {
        scene.memory.tamper(&name, |bytes| {
            assert!(!bytes.windows(8).any(|window| window == b"a secret"), "{name}");
        });
    }
    // The bases are known roughly, and the payload not at all.
    let view = scene.view().await;
    assert!(view.stores[0].bases.iter().all(|base| base.approximate), "{:?}", view.stores[0].bases);
    assert_eq!(view.stores[0].runs.len(), 1);
    assert_eq!(scene.go_back_in(&view, one).await.unwrap_err().kind(), ErrorKind::Denied);
    plans::put_all_together(&scene).await;
    assert!(scene.segments().len() < 3, "{:?}", scene.segments());
    scene.keys = Some(Arc::new(KeyRing::of_unwrapped(vec![key]).unwrap()));
    assert_eq!(scene.go_back(one).await.unwrap(), lines(&["a secret line"]));
    assert_eq!(scene.go_back(two).await.unwrap(), lines(&["a secret line", "another"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_followed_store_is_found_where_nobody_knows_its_name() {
    let scene = Scene::new();
    scene.back_up().await;
    let following = scene.follow().await;
    until("a stream", async || !scene.segments().is_empty()).await;
    scene.back_up().await;
    let one = scene.commit("one").await;
    following.stop().await;
    let names = lines(&["main"]);
    let look_for = async |wanted| look(&Scope::default(), &scene.targets, &scene.keys, wanted).await.unwrap();

    let found = look_for(Wanted::AndFound(&[])).await;
    assert_eq!(found.stores.iter().map(|store| store.store.as_str()).collect::<Vec<_>>(), ["main"]);
    assert_eq!(scene.go_back_in(&found, one).await.unwrap(), lines(&["one"]));
    // Named and found, it is one.
    assert_eq!(look_for(Wanted::AndFound(&names)).await.stores.len(), 1);
    assert!(look_for(Wanted::Named(&[])).await.stores.is_empty());
}
