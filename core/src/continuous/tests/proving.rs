//! Proving what is stored: samples of segments, and restores to moments that nobody asked for.

use super::*;
use crate::backup::checkers::Checkers;
use crate::backup::drill::{DrillJob, DrillPhase, DrillReport, drill};
use crate::backup::probe::Tester;
use crate::backup::sample::{SampleJob, SampleReport, sample};
use crate::continuous::rehearse::Rehearsal;

impl Scene {
    /// A run of samples that is due to read everything.
    async fn sample(&self) -> SampleReport {
        let job = SampleJob {
            targets: self.targets.clone(),
            keys: self.keys.clone(),
            days: 1.0 / 24.0,
            max_bytes: None,
            reached: [("memory".to_owned(), now() - Duration::from_secs(86_400))].into(),
            clean_since: Default::default(),
            state: self.base.path().join("sampling"),
        };
        sample(&Scope::default(), job).await.unwrap()
    }

    /// A drill of the newest snapshot, and the lines of the ledger that it leaves.
    async fn drill(&self, at: Option<Timestamp>, part: f64) -> (DrillReport, Vec<String>) {
        let mut kinds: Registry<dyn Store> = Registry::new("store");
        kinds.register(ledger::KIND);
        let checkers = Checkers { kinds, live: Vec::new() };
        let into = tempfile::tempdir().unwrap();
        let rehearsal = Rehearsal {
            targets: self.targets.clone(),
            keys: self.keys.clone(),
            checkers: checkers.clone(),
            stores: vec!["main".to_owned()],
            at,
            part,
        };
        let tester = Tester { checkers, settings: Default::default(), root: self.root(), environment: Vec::new() };
        let job = DrillJob {
            targets: self.targets.clone(),
            keys: self.keys.clone(),
            service: Some("uplifted".into()),
            snapshot: "latest".into(),
            into: Some(into.path().join("copy")),
            checks: Default::default(),
            tester,
            scratch: self.base.path().join("scratch"),
            scratch_in_memory: true,
            limits: Limits::default(),
            threads: 1,
            drilled: Vec::new(),
            earlier: Default::default(),
            onward: Some(Arc::new(rehearsal)),
        };
        let report = drill(&Scope::default(), job).await.unwrap();
        let copy = Ledger { path: into.path().join("copy/data/main.ledger") };
        (report, copy.lines().unwrap_or_default())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn samples_read_segments_and_find_what_is_wrong_with_them() {
    let scene = Scene::new();
    scene.back_up().await;
    let following = scene.follow().await;
    scene.commit("one").await;
    scene.commit("two").await;
    following.stop().await;
    let segments = scene.segments();
    let mut lengths = Vec::new();
    segments.iter().for_each(|key| scene.memory.tamper(key, |bytes| lengths.push(bytes.len())));
    let sound = scene.sample().await;
    assert!(sound.ok, "{sound:?}");
    assert!(sound.targets[0].read_bytes >= lengths.iter().sum::<usize>() as u64, "{sound:?}");

    for (key, len) in segments.iter().zip(lengths) {
        // A byte of the head, and the last one, which is of the payload where there is one.
        for at in [len / 2, len - 1] {
            let flip = |bytes: &mut Vec<u8>| bytes[at] ^= 1;
            scene.memory.tamper(key, flip);
            let found = scene.sample().await;
            let [problem] = &found.problems[..] else { panic!("{key} byte {at}: {found:?}") };
            assert_eq!(problem.kind, "damaged_segment");
            assert!(problem.message.starts_with(key), "{problem:?}");
            scene.memory.tamper(key, flip);
        }
    }
    assert!(scene.sample().await.ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_drill_goes_on_to_any_moment_and_finds_one_that_does_not_come_back() {
    let scene = Scene::new();
    scene.back_up().await;
    let (alone, _) = scene.drill(None, 0.5).await;
    assert!(alone.ok && alone.moment.is_none(), "nothing was followed: {alone:?}");
    assert!(alone.steps.iter().all(|step| step.step != DrillPhase::Moment), "{alone:?}");

    let following = scene.follow().await;
    until("a stream", async || !scene.segments().is_empty()).await;
    scene.back_up().await;
    let mut moments = Vec::new();
    for line in ["one", "two", "three", "four"] {
        moments.push(scene.commit(line).await);
    }
    following.stop().await;
    let all = scene.ledger().lines().unwrap();
    let lines_at = |at: Timestamp| all.len() - moments.iter().filter(|moment| **moment > at).count();

    for part in [0.0, 0.3, 0.6, 0.9, 1.0] {
        let (report, lines) = scene.drill(None, part).await;
        assert!(report.ok, "{report:?}");
        let moment = report.moment.unwrap();
        // `moments` is when a target had it; it was committed up to a look before.
        let least = lines_at(moment.at);
        assert!(lines.len() >= least && lines.len() <= least + 1 && all.starts_with(&lines), "{part}: {lines:?}");
        assert!(moment.stores.iter().all(|store| store.proven == Some(true) && store.time <= moment.at));
    }
    let (named, lines) = scene.drill(Some(moments[1]), 0.0).await;
    assert_eq!((named.moment.unwrap().at, &lines[..]), (moments[1], &all[..2]));

    // A payload that is not what it was: the way to the end does not come back any more, the snapshot does.
    let view = scene.view().await;
    let mut segments = view.stores[0].runs.iter().flat_map(|run| &run.segments);
    let last = segments.rfind(|stored| !stored.head.frames.is_empty()).unwrap().name.key();
    scene.memory.tamper(&last, |bytes| *bytes.last_mut().unwrap() ^= 1);
    let (damaged, _) = scene.drill(None, 1.0).await;
    assert!(!damaged.ok);
    let [problem] = &damaged.problems[..] else { panic!("{damaged:?}") };
    assert_eq!(problem.step, DrillPhase::Moment);
    assert!(damaged.warnings.iter().any(|warning| warning.contains("between two moments")), "{damaged:?}");
    assert!(damaged.steps.iter().any(|step| step.step == DrillPhase::Integrity && step.ok), "{damaged:?}");
}
