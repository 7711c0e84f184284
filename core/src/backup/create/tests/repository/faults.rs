//! Targets that fail and callers that give up: whatever happens, the snapshots that there are can be restored, and the
//! next run uses what arrived.

use super::super::faults::Liar;
use super::*;
use crate::backup::repository::removal;
use crate::testing::random::noise;
use crate::testing::{Call, FaultyTarget};

fn scene() -> Scene {
    Scene::new(&[("data/a.bin", &noise(3 << 20, 1)), ("main.db", &content("main")), ("small", b"s"), ("z", b"z")])
}

/// Nothing but finished packs with their indexes, and what the repository is.
fn no_litter(scene: &Scene) {
    let names = |prefix: &str, end: &str| -> HashSet<String> {
        scene.keys(prefix).iter().map(|key| key[prefix.len()..].strip_suffix(end).unwrap().to_owned()).collect()
    };
    // A pack without an index is one whose run ended between the two.
    assert!(names("index/", ".zst").is_subset(&names("packs/", ".tar.zst")));
    for key in scene.memory.keys() {
        let known = ["packs/", "index/", "snapshots/", "repository", "RECOVER.md", "recover.sh", "locks/"];
        assert!(known.iter().any(|known| key.starts_with(known)), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_call_fails_the_snapshots_stay_whole_and_the_next_run_goes_on() {
    let calls = {
        let scene = scene();
        let traced = FaultyTarget::new(Arc::new(scene.memory.clone()), |_, _, _| None);
        let mut job = scene.repository_job();
        job.targets = vec![("traced".into(), Arc::new(traced.clone()))];
        create(&later(1), job).await.unwrap();
        traced.calls()
    };
    assert!(calls.iter().any(|(call, _)| *call == Call::Finish), "{calls:?}");
    for number in 1..=calls.len() as u64 {
        let scene = scene();
        let what = &calls[number as usize - 1];
        let faulty = FaultyTarget::new(Arc::new(scene.memory.clone()), move |_, _, this| {
            (this == number).then_some(ErrorKind::Unavailable)
        });
        let mut job = scene.repository_job();
        job.targets = vec![("faulty".into(), Arc::new(faulty))];
        let result = create(&later(1), job).await;
        no_litter(&scene);
        match &result {
            Ok(report) => assert!(report.is_healthy(), "{number} {what:?}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{number} {what:?}: {error}"),
        }
        // The last call asks once more whether a snapshot that was read back is where the packs are.
        let optional = matches!(what.0, Call::FreeBytes | Call::Abort) || number as usize == calls.len();
        assert!(result.is_err() || optional, "{number} {what:?} was not noticed");
        let arrived = scene.keys("index/").len();
        let (report, _) = scene.back_up(2).await;
        assert!(report.is_healthy());
        // What arrived with its index is not sent again.
        assert_eq!(arrived > 0, report.stored_bytes < 1 << 20, "{number} {what:?}");
        let (_, into) = restore_memory(&scene).await;
        same(&scene.root(), into.path());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_target_that_fails_is_reported_alone() {
    let scene = scene();
    for (call, rest) in [(Call::Upload, 1), (Call::Finish, 2), (Call::Get, 3), (Call::List, 4)] {
        let faulty = FaultyTarget::nth(Arc::new(MemoryTarget::default()), call, 1);
        let mut job = scene.repository_job();
        job.targets.push(("faulty".into(), Arc::new(faulty)));
        let report = create(&later(rest), job).await.unwrap();
        let errors: Vec<bool> = report.targets.iter().map(|target| target.error.is_some()).collect();
        assert_eq!(errors, [false, true], "{call:?}");
        assert!(!report.is_healthy() && report.outcome == Outcome::Complete);
        assert_eq!(report.targets[1].error.as_ref().unwrap().kind, ErrorKind::Unavailable, "{call:?}");
        let (_, into) = restore_memory(&scene).await;
        same(&scene.root(), into.path());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_keeps_something_else_is_caught() {
    for which in ["packs/", "index/", "snapshots/"] {
        for memory in [MemoryTarget::default(), MemoryTarget::default().without_read_back()] {
            let scene = Scene { memory: memory.clone(), ..scene() };
            let mut job = scene.repository_job();
            job.targets = vec![("liar".into(), Arc::new(Liar(memory, which)))];
            let error = create(&later(1), job).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{which}");
            assert!(error.message().contains("liar"), "{error}");
            assert_eq!(scene.keys(which), [] as [&str; 0], "what is wrong is removed");
            assert_eq!(scene.keys("snapshots/"), [] as [&str; 0], "{which}");
            let (report, _) = scene.back_up(2).await;
            assert!(report.is_healthy());
            let (_, into) = restore_memory(&scene).await;
            same(&scene.root(), into.path());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_header_goes_before_its_removal_is_recorded_and_read_back() {
    let scene = scene();
    let (report, _) = scene.back_up(1).await;
    scene.back_up(2).await;
    let before = scene.keys("snapshots/");
    let liar: Arc<dyn BackupTarget> = Arc::new(Liar(scene.memory.clone(), "collect/"));
    let objects = Objects::new(&Scope::default(), Arc::clone(&liar));
    let keys: Arc<dyn Keyring> = Arc::new(NoKeys);
    let repository = blocking(move || Repository::open(&objects, &keys)).await.unwrap().unwrap();
    let error = removal::remove(&Scope::default(), &liar, repository, &report.key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(scene.keys("snapshots/"), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_at_any_event_leaves_whole_snapshots_alone() {
    let scene = scene();
    scene.back_up(1).await;
    for at in 1.. {
        // Everything is new each time.
        let mut random = random::seeded("cancel");
        std::fs::write(scene.root().join("data/a.bin"), random::bytes(&mut random, 3 << 20)).unwrap();
        let before = scene.keys("snapshots/").len();
        let count = Arc::new(AtomicUsize::new(0));
        let mut scope = later(at + 1);
        let cancel = scope.cancel.clone();
        let counted = Arc::clone(&count);
        scope.progress = Progress::new(move |_| {
            if counted.fetch_add(1, Ordering::SeqCst) + 1 == at as usize {
                cancel.cancel();
            }
        });
        let result = create(&scope, scene.repository_job()).await;
        no_litter(&scene);
        let after = scene.keys("snapshots/").len();
        match result {
            Ok(_) => assert_eq!(after, before + 1),
            Err(error) => assert_eq!((error.kind(), after), (ErrorKind::Cancelled, before), "event {at}: {error}"),
        }
        assert!(scene.scratch_is_empty());
        let (_, into) = restore_memory(&scene).await;
        assert!(into.path().join("z").exists());
        if count.load(Ordering::SeqCst) < at as usize {
            break;
        }
    }
}

/// Its disk is unmounted after the `number`-th call: an empty folder goes on in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_vanishes_at_any_call_takes_no_more_packs_and_no_snapshot() {
    let scene = scene();
    scene.back_up(1).await;
    let mut random = random::seeded("vanishing");
    std::fs::write(scene.root().join("data/a.bin"), random::bytes(&mut random, 3 << 20)).unwrap();
    let before: Vec<(String, Vec<u8>)> =
        scene.memory.keys().into_iter().map(|key| (key.clone(), scene.bytes(&key))).collect();
    let mut refused = 0;
    for number in 1.. {
        let memory = MemoryTarget::default();
        for (key, bytes) in &before {
            memory.put(&Scope::default(), key, bytes, true).await.unwrap();
        }
        // Nothing is remembered, so that each run stores the same, and of a target that is new each time.
        scene.lose_caches();
        let _ = std::fs::remove_dir_all(scene.root().join(".uplifted-ops/targets"));
        let vanishing = memory.clone();
        let vanishing = FaultyTarget::new(Arc::new(memory.clone()), move |_, _, this| {
            if this == number {
                vanishing.clear();
            }
            None
        });
        let mut job = scene.repository_job();
        job.targets = vec![("gone".into(), Arc::new(vanishing.clone()))];
        let result = create(&later(2), job).await;
        let what = vanishing.calls().get(number as usize - 1).cloned();
        let has = |prefix: &str| memory.keys().iter().any(|key| key.starts_with(prefix));
        let Some(what) = what else {
            result.unwrap();
            break;
        };
        match result {
            // Before the run had looked, it is a new target.
            Ok(_) => assert!(has("RECOVER.md") && has("packs/") && has("snapshots/"), "call {number} {what:?}"),
            Err(error) => {
                refused += 1;
                assert!(!has("snapshots/"), "call {number} {what:?}: {error}");
                // At most the pack that was under way came to the wrong place.
                assert!(
                    memory.keys().iter().filter(|key| key.starts_with("packs/")).count() <= 1,
                    "call {number} {what:?}"
                );
            }
        }
    }
    assert!(refused > 5, "{refused}");
}
