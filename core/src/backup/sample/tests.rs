//! Samples of real archives in a target in memory.

use std::time::Duration;

use super::*;
use crate::backup::create::{CreateJob, create};
use crate::backup::fake_store::kinds;
use crate::clock::{Clock, ManualClock};
use crate::config::BackupSettings;
use crate::testing::{Call, FaultyTarget, MemoryTarget};

/// A target with a few backups, and a clock.
struct Scene {
    base: tempfile::TempDir,
    target: MemoryTarget,
    clock: Arc<ManualClock>,
    keys: Vec<String>,
}

impl Scene {
    async fn new(backups: u32) -> Self {
        Self::of(backups, "archive").await
    }

    async fn of(backups: u32, layout: &str) -> Self {
        let clock = Arc::new(ManualClock::new("2025-10-28T02:00:00Z".parse().unwrap()));
        let target = MemoryTarget::default().with_clock(clock.clone());
        Self::with(backups, layout, clock, target).await
    }

    /// The same in a target with a clock of its own.
    async fn with(backups: u32, layout: &str, clock: Arc<ManualClock>, target: MemoryTarget) -> Self {
        let mut scene = Self { base: tempfile::tempdir().unwrap(), target, clock, keys: Vec::new() };
        let root = scene.base.path().join("root");
        std::fs::create_dir(&root).unwrap();
        for number in 0..backups {
            let mut noise = vec![0; 200_000];
            blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut noise);
            std::fs::write(root.join("noise"), noise).unwrap();
            let job = CreateJob {
                service: "app".into(),
                host: "here".into(),
                settings: BackupSettings {
                    scratch_in_memory: true,
                    layout: Some(layout.to_owned()),
                    ..BackupSettings::default()
                },
                targets: scene.targets(),
                ..CreateJob::new(root.clone(), scene.state(), kinds())
            };
            scene.keys.push(create(&Scope::default(), job).await.unwrap().key);
        }
        scene
    }

    fn state(&self) -> PathBuf {
        self.base.path().join("state")
    }

    fn targets(&self) -> Vec<NamedTarget> {
        vec![("memory".into(), Arc::new(self.target.clone()))]
    }

    fn job(&self, reached: Option<Timestamp>) -> SampleJob {
        SampleJob {
            keys: None,
            targets: self.targets(),
            days: 30.0,
            max_bytes: None,
            reached: reached.map(|reached| ("memory".to_owned(), reached)).into_iter().collect(),
            clean_since: Default::default(),
            state: self.state(),
        }
    }

    async fn run(&self, job: SampleJob) -> SampleReport {
        let scope = Scope { clock: Arc::clone(&self.clock) as Arc<dyn Clock>, ..Scope::default() };
        sample(&scope, job).await.unwrap()
    }

    fn days_ago(&self, days: u64) -> Option<Timestamp> {
        Some(self.clock.now() - Duration::from_secs(days * 86_400))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cycle_of_runs_reads_every_byte_and_finds_every_damage() {
    let scene = Scene::new(6).await;
    // One in the content, one in the index, one that is cut off, one that is no archive at all.
    scene.target.tamper(&scene.keys[0], |bytes| bytes[1000] ^= 1);
    scene.target.tamper(&scene.keys[1], |bytes| {
        let at = bytes.len() - 60;
        bytes[at] ^= 1;
    });
    scene.target.tamper(&scene.keys[2], |bytes| bytes.truncate(150_000));
    scene.target.tamper(&scene.keys[3], |bytes| bytes.fill(7));
    let (mut reached, mut read, mut damaged) = (scene.days_ago(0), 0, Vec::new());
    for _ in 0..23 {
        scene.clock.advance(Duration::from_secs(86_400));
        let report = scene.run(scene.job(reached)).await;
        let [sampled] = &report.targets[..] else { panic!("{report:#?}") };
        assert_eq!((sampled.since, sampled.left_bytes, sampled.objects), (reached.unwrap(), 0, 6));
        assert_eq!(report.ok, report.problems.is_empty());
        reached = Some(sampled.reached);
        read += sampled.read_bytes;
        damaged
            .extend(report.problems.into_iter().map(|problem| problem.message.split(':').next().unwrap().to_owned()));
    }
    let (objects, all) = {
        let report = scene.run(scene.job(reached)).await;
        (report.targets[0].objects, report.targets[0].stored_bytes)
    };
    assert_eq!(objects, 6);
    // A cycle is 22.5 days: some are read twice in 23.
    assert!(read >= all && read < 2 * all, "{read} of {all}");
    damaged.sort();
    damaged.dedup();
    let mut expected = scene.keys[..4].to_vec();
    expected.sort();
    assert_eq!(damaged, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_is_read_by_packs_and_indexes_and_its_headers_always() {
    let scene = Scene::of(4, "repository").await;
    let (mut reached, mut read) = (scene.days_ago(0), 0);
    for _ in 0..23 {
        scene.clock.advance(Duration::from_secs(86_400));
        let report = scene.run(scene.job(reached)).await;
        assert!(report.ok && report.failed.is_empty(), "{report:#?}");
        assert!(report.targets[0].objects >= 8, "{report:#?}");
        reached = Some(report.targets[0].reached);
        read += report.targets[0].read_bytes;
    }
    let run = async || scene.run(scene.job(scene.days_ago(23))).await;
    let all = run().await.targets.remove(0);
    assert!(read >= all.read_bytes && all.read_bytes == all.stored_bytes);

    let of = |folder: &str| scene.target.keys().into_iter().filter(|key| key.starts_with(folder)).collect::<Vec<_>>();
    let (packs, indexes, headers) = (of("packs/"), of("index/"), of("snapshots/"));
    scene.target.tamper(&packs[0], |bytes| bytes[100] ^= 1);
    scene.target.tamper(&indexes[1], |bytes| bytes[20] ^= 1);
    scene.target.tamper(&packs[2], |bytes| bytes.push(0));
    scene.target.delete(&Scope::default(), &packs[3]).await.unwrap();
    let of_report = |report: SampleReport| {
        let first = |problem: FoundProblem| {
            let key = problem.message.split([':', ' ']).next().unwrap_or_default().to_owned();
            (key, problem.kind)
        };
        let mut found: Vec<_> = report.problems.into_iter().map(first).collect();
        found.sort();
        found
    };
    let damaged = |key: &String, kind: &str| (key.clone(), kind.to_owned());
    let mut expected = vec![
        damaged(&indexes[1], "damaged_index"),
        damaged(&packs[0], "damaged_pack"),
        damaged(&packs[2], "damaged_pack"),
        damaged(&packs[3], "damaged_pack"),
    ];
    assert_eq!(of_report(run().await), expected);

    // A header that is damaged is told in each run, whatever is due; it no longer says which packs it needs.
    scene.target.tamper(&headers[0], |bytes| bytes.truncate(40));
    let report = of_report(scene.run(scene.job(scene.days_ago(0))).await);
    expected = vec![damaged(&headers[0], "damaged_index")];
    assert_eq!(report.into_iter().filter(|(key, _)| key.starts_with("snapshots/")).collect::<Vec<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_ends_meanwhile_is_no_damage() {
    let scene = Scene::of(2, "repository").await;
    // What the second backup brought comes at each of the calls in turn.
    let newest = scene.target.keys().into_iter().rfind(|key| key.starts_with("snapshots/")).unwrap();
    for number in 1.. {
        let (before, later) = (MemoryTarget::default(), Arc::new(std::sync::Mutex::new(Vec::new())));
        for key in scene.target.keys() {
            let mut content = Vec::new();
            scene.target.tamper(&key, |bytes| content.clone_from(bytes));
            let of_second = key == newest || needed_only_by(&scene, &newest).contains(&key);
            match of_second {
                true => later.lock().unwrap().push((key, content)),
                false => drop(before.put(&Scope::default(), &key, &content, true).await.unwrap()),
            }
        }
        assert!(later.lock().unwrap().len() >= 3);
        let (target, arriving) = (before.clone(), Arc::clone(&later));
        let racing = FaultyTarget::new(Arc::new(before), move |_, _, this| {
            if this == number {
                for (key, bytes) in arriving.lock().unwrap().drain(..) {
                    let put = async { target.put(&Scope::default(), &key, &bytes, true).await };
                    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(put)).unwrap();
                }
            }
            None
        });
        let job = SampleJob { targets: vec![("memory".into(), Arc::new(racing))], ..scene.job(scene.days_ago(23)) };
        let report = scene.run(job).await;
        assert!(report.ok && report.failed.is_empty(), "call {number}: {report:#?}");
        if !later.lock().unwrap().is_empty() {
            break;
        }
    }
}

/// The packs that a snapshot needs and no older one has, with their indexes: those of a header whose name sorts last.
fn needed_only_by(scene: &Scene, newest: &str) -> Vec<String> {
    let packs_of = |key: &str| -> Vec<String> {
        let mut text = String::new();
        scene.target.tamper(key, |bytes| text = String::from_utf8(bytes.clone()).unwrap());
        let ids = text.lines().filter_map(|line| line.strip_prefix("pack ")?.split(' ').next().map(str::to_owned));
        ids.collect()
    };
    let others: Vec<String> = scene
        .target
        .keys()
        .into_iter()
        .filter(|key| key.starts_with("snapshots/") && key != newest)
        .flat_map(|key| packs_of(&key))
        .collect();
    let own = packs_of(newest).into_iter().filter(|pack| !others.contains(pack));
    own.flat_map(|pack| [format!("packs/{pack}.tar.zst"), format!("index/{pack}.zst")]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bounded_run_leaves_the_rest_to_the_next() {
    let scene = Scene::new(5).await;
    let mut reached = scene.days_ago(23);
    let (mut runs, mut read) = (0, 0);
    loop {
        let report = scene.run(SampleJob { max_bytes: Some(250_000), ..scene.job(reached) }).await;
        let sampled = &report.targets[0];
        assert!(report.ok && sampled.read_bytes <= 250_000, "{report:#?}");
        assert!(sampled.reached > sampled.since);
        reached = Some(sampled.reached);
        (runs, read) = (runs + 1, read + sampled.read_bytes);
        if sampled.left_bytes == 0 {
            assert_eq!(read, sampled.stored_bytes);
            break;
        }
    }
    assert_eq!(runs, 5);
    // A bound below the smallest slice reads one: a run always comes further.
    let report = scene.run(SampleJob { max_bytes: Some(1), ..scene.job(scene.days_ago(23)) }).await;
    assert!(report.targets[0].read_bytes > 1);
    let report = scene.run(SampleJob { max_bytes: Some(0), ..scene.job(scene.days_ago(23)) }).await;
    assert_eq!((report.targets[0].read_bytes, report.targets[0].reached), (0, report.targets[0].since));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_fails_is_named_and_keeps_its_place() {
    let scene = Scene::new(2).await;
    let broken = FaultyTarget::new(Arc::new(scene.target.clone()), |call, _, _| {
        (call == Call::List).then_some(ErrorKind::Unavailable)
    });
    let mut job = scene.job(scene.days_ago(23));
    job.targets.insert(0, ("broken".into(), Arc::new(broken)));
    let report = scene.run(job).await;
    assert_eq!((report.failed.len(), report.failed[0].target.as_str()), (1, "broken"));
    assert_eq!((report.targets.len(), report.targets[0].left_bytes), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_run_at_a_time() {
    let scene = Scene::new(1).await;
    let held = turn(&scene.state()).unwrap();
    let error = sample(&Scope::default(), scene.job(None)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    drop(held);
    sample(&Scope::default(), scene.job(None)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_without_a_gap_prove_every_snapshot_once_they_went_round() {
    for layout in ["archive", "repository"] {
        let scene = Scene::of(3, layout).await;
        // Long after everything was stored, and read back: nothing is known yet.
        scene.clock.jump_to(Timestamp::now());
        scene.clock.advance(Duration::from_secs(40 * 86_400));
        let (mut reached, mut clean_since, mut proven_after) = (None, None, None);
        for day in 1..=30 {
            scene.clock.advance(Duration::from_secs(86_400));
            let mut job = scene.job(reached);
            job.clean_since = clean_since.map(|time| ("memory".to_owned(), time)).into_iter().collect();
            let report = scene.run(job).await;
            let [sampled] = &report.targets[..] else { panic!("{report:#?}") };
            assert!(report.ok && !sampled.sealed);
            (reached, clean_since) = (Some(sampled.reached), Some(sampled.clean_since));
            if sampled.whole.len() == 3 {
                proven_after = proven_after.or(Some(day));
            } else {
                assert!(sampled.whole.is_empty() && proven_after.is_none(), "{layout}, day {day}: {sampled:#?}");
            }
        }
        // The first run reads what became due in a quarter of the 30 days; a round takes three quarters of them.
        assert_eq!(proven_after, Some(16), "{layout}");

        // A gap: the chain begins anew, unless the run after it reads everything.
        let mut job = scene.job(None);
        job.clean_since = clean_since.map(|time| ("memory".to_owned(), time)).into_iter().collect();
        assert_eq!(
            scene.run(job.clone()).await.targets[0].whole,
            Vec::<String>::new(),
            "{layout}: nobody knows how far"
        );
        job.reached = [("memory".to_owned(), scene.days_ago(60).unwrap())].into();
        assert_eq!(scene.run(job).await.targets[0].whole.len(), 3, "{layout}: all of it was due");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_since_the_first_run_is_proven_at_once_and_damage_proves_nothing_for_a_round() {
    let scene = Scene::of(2, "repository").await;
    // The first run came before the backups, which read back what they stored.
    let before = scene.days_ago(1).unwrap();
    let job = SampleJob { clean_since: [("memory".to_owned(), before)].into(), ..scene.job(Some(before)) };
    let report = scene.run(job).await;
    assert_eq!((report.targets[0].whole.len(), report.targets[0].clean_since), (2, before));

    let pack = scene.target.keys().into_iter().find(|key| key.starts_with("packs/")).unwrap();
    scene.target.tamper(&pack, |bytes| bytes.truncate(bytes.len() - 1));
    let job = SampleJob { clean_since: [("memory".to_owned(), before)].into(), ..scene.job(Some(before)) };
    let report = scene.run(job).await;
    assert!(!report.ok);
    assert_eq!((&report.targets[0].whole, report.targets[0].clean_since), (&Vec::new(), report.targets[0].reached));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_targets_clock_that_is_off_makes_nothing_younger_than_it_is() {
    let at = |time: &str| Arc::new(ManualClock::new(time.parse().unwrap()));
    for (theirs, days) in [("2025-10-29T02:00:00Z", "ahead"), ("2025-10-27T02:00:00Z", "behind")] {
        let (ours, theirs) = (at("2025-10-28T02:00:00Z"), at(theirs));
        let target = MemoryTarget::default().with_clock(theirs.clone());
        let scene = Scene::with(2, "repository", ours.clone(), target).await;
        for clock in [&ours, &theirs] {
            clock.advance(Duration::from_secs(10 * 3600));
        }
        let since = |hours: u64| ours.now() - Duration::from_secs(hours * 3600);
        for (hours, proven) in [(9, 0), (11, 2)] {
            let clean_since = [("memory".to_owned(), since(hours))].into();
            let report = scene.run(SampleJob { clean_since, ..scene.job(Some(since(hours))) }).await;
            assert_eq!(report.targets[0].whole.len(), proven, "a day {days}, {hours} hours: {report:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_has_lost_its_repository_is_not_read_and_what_is_due_stays_due() {
    let scene = Scene::of(2, "repository").await;
    scene.target.clear();
    let report = scene.run(scene.job(scene.days_ago(2))).await;
    assert!(report.targets.is_empty(), "{report:?}");
    assert_eq!(report.failed.len(), 1);
    assert_eq!(report.failed[0].error.kind, ErrorKind::Refused);
}
