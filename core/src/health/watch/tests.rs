use std::collections::VecDeque;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;

use super::super::{CheckOutcome, CheckStatus, HealthCheck, Pace, RunnerEntry};
use super::*;
use crate::clock::{ManualClock, Timestamp};
use crate::config::HealthSettings;

/// What guards against a test that hangs.
const HANG: Duration = Duration::from_secs(60);
const PERIOD: Duration = Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_secs(10);

/// What a check does when it is asked.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Answer(CheckStatus),
    Hang,
    Panic,
}

/// A check that does what a test wrote down, and the last of it for ever.
struct Scripted {
    script: Mutex<VecDeque<Does>>,
    calls: AtomicUsize,
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

#[async_trait]
impl HealthCheck for Scripted {
    async fn check(&self, _: &Scope) -> Result<CheckOutcome> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let does = {
            let mut script = self.script.lock().unwrap();
            if script.len() > 1 { script.pop_front().unwrap() } else { script[0] }
        };
        match does {
            Does::Answer(status) => Ok(CheckOutcome::new(status, "postgres://me:hunter2@db as told")),
            // Deaf to a cancel as well.
            Does::Hang => std::future::pending().await,
            Does::Panic => panic!("on purpose"),
        }
    }
}

const PASS: Does = Does::Answer(CheckStatus::Pass);
const WARN: Does = Does::Answer(CheckStatus::Warn);
const FAIL: Does = Does::Answer(CheckStatus::Fail);

struct Scene {
    clock: Arc<ManualClock>,
    watch: Arc<Watch>,
    checks: Vec<Arc<Scripted>>,
    stop: Cancel,
    run: tokio::task::JoinHandle<()>,
}

/// A check of that name and script, which a test may change.
fn entry(name: &str, script: &[Does]) -> (RunnerEntry, Arc<Scripted>) {
    let check = Arc::new(Scripted { script: Mutex::new(script.to_vec().into()), calls: AtomicUsize::new(0) });
    let pace = Pace { jitter: 0.0, ..Pace::within(DEADLINE) };
    let entry = RunnerEntry {
        name: name.to_owned(),
        groups: Vec::new(),
        critical: true,
        parent: None,
        pace,
        check: Arc::clone(&check) as Arc<dyn HealthCheck>,
    };
    (entry, check)
}

impl Scene {
    /// Runs the checks, and returns when each was asked once.
    async fn new(entries: impl IntoIterator<Item = (RunnerEntry, Arc<Scripted>)>) -> Self {
        let mut runner = Runner::new(&HealthSettings { concurrency: 64, ..HealthSettings::default() }).unwrap();
        let mut checks = Vec::new();
        for (entry, check) in entries {
            runner.add(entry).unwrap();
            checks.push(check);
        }
        let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap()));
        let watch = Arc::new(Watch::new(Arc::new(runner)).unwrap());
        let stop = Cancel::new();
        let run = tokio::spawn(Arc::clone(&watch).run(clock.clone(), "here".to_owned(), stop.clone()));
        let scene = Self { clock, watch, checks, stop, run };
        scene.settled().await;
        scene
    }

    /// Returns when each check waits: for its time, or for an answer that does not come.
    async fn settled(&self) {
        tokio::time::timeout(HANG, self.clock.sleepers(self.checks.len())).await.expect("a check is still asked");
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.settled().await;
    }

    fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    fn view(&self) -> HealthView {
        self.watch.view(None, false, self.now()).unwrap()
    }

    fn states(&self) -> Vec<&'static str> {
        self.view().checks.iter().map(|check| check.status.as_str()).collect()
    }

    fn ready(&self) -> &'static str {
        self.watch.ready(self.now()).status.as_str()
    }

    fn calls(&self, number: usize) -> usize {
        self.checks[number].calls.load(Ordering::SeqCst)
    }

    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(HANG, self.run).await.expect("the watch does not end").unwrap();
        assert_eq!(self.watch.phase(), Phase::Stopped);
    }
}

#[tokio::test]
async fn each_check_is_asked_once_in_its_period_and_readers_ask_nobody() {
    let (mut slow, slow_check) = entry("slow", &[WARN]);
    slow.pace.period = PERIOD * 3;
    let scene = Scene::new([entry("quick", &[PASS]), (slow, slow_check)]).await;
    for round in 1..=9_usize {
        assert_eq!((scene.calls(0), scene.calls(1)), (round, round.div_ceil(3)));
        let view = scene.view();
        assert_eq!((view.status, view.phase), (HealthState::Warn, Phase::Ready));
        assert_eq!(view.checks[0].age_seconds, Some(0.0));
        scene.pass(PERIOD).await;
    }
    // The address of a database in a message shows no password.
    assert_eq!(scene.view().checks[0].message, "postgres://***@db as told");
    scene.end().await;
}

#[tokio::test]
async fn what_is_being_made_as_the_service_begins_is_looked_for_each_second() {
    let scene = Scene::new([entry("database", &[FAIL, FAIL, PASS, FAIL])]).await;
    assert_eq!(scene.ready(), "fail");
    scene.pass(WARM_UP).await;
    assert_eq!((scene.calls(0), scene.ready()), (2, "fail"));
    scene.pass(WARM_UP).await;
    assert_eq!((scene.calls(0), scene.ready()), (3, "pass"));
    // From then on at its pace, also when it fails again.
    for (time, calls) in [(WARM_UP, 3), (PERIOD - WARM_UP, 4), (WARM_UP, 4), (PERIOD - WARM_UP, 5)] {
        scene.pass(time).await;
        assert_eq!(scene.calls(0), calls, "{time:?}");
    }
    scene.end().await;
}

#[tokio::test]
async fn a_flapping_check_does_not_take_the_service_with_it() {
    let (mut flapping, check) =
        entry("flapping", &[PASS, FAIL, PASS, FAIL, FAIL, PASS, FAIL, FAIL, FAIL, PASS, FAIL, PASS, PASS]);
    (flapping.pace.rise, flapping.pace.fall) = (2, 3);
    let scene = Scene::new([(flapping, check)]).await;
    let mut seen = vec![scene.ready()];
    for _ in 0..12 {
        scene.pass(PERIOD).await;
        seen.push(scene.ready());
    }
    let expected =
        ["pass", "warn", "pass", "warn", "warn", "pass", "warn", "warn", "fail", "fail", "fail", "fail", "pass"];
    assert_eq!(seen, expected);
    scene.end().await;
}

#[tokio::test]
async fn a_hung_check_fails_at_its_deadline_and_is_never_asked_twice() {
    let scene = Scene::new([entry("hung", &[Does::Hang]), entry("fine", &[PASS])]).await;
    assert_eq!(scene.states(), ["unknown", "pass"]);
    assert_eq!((scene.ready(), scene.watch.phase()), ("unknown", Phase::Starting));
    scene.pass(DEADLINE).await;
    assert_eq!(scene.states(), ["fail", "pass"]);
    for _ in 0..50 {
        scene.pass(PERIOD).await;
        assert_eq!(scene.states(), ["fail", "pass"]);
    }
    let view = scene.view();
    assert_eq!(view.checks[0].message, "still running past its deadline of 10 s, so it was not started again");
    assert_eq!((scene.calls(0), scene.calls(1)), (1, 51), "{view:?}");
    scene.end().await;
}

#[tokio::test]
async fn a_hundred_thousand_probes_while_a_check_hangs_ask_nobody() {
    let (mut live, live_check) = entry("self", &[PASS]);
    live.groups.push("live".to_owned());
    let scene = Scene::new([entry("hung", &[PASS, Does::Hang]), (live, live_check)]).await;
    assert_eq!(scene.ready(), "pass");
    scene.pass(PERIOD).await;
    let calls = (scene.calls(0), scene.calls(1));
    for _ in 0..100_000 {
        assert_eq!(scene.ready(), "pass", "the last answer counts until the deadline of the next");
        assert_eq!(scene.watch.live(scene.now()), HealthState::Pass);
    }
    assert_eq!((scene.calls(0), scene.calls(1)), calls);
    scene.pass(DEADLINE).await;
    assert_eq!(scene.ready(), "fail");
    assert_eq!(scene.watch.live(scene.now()), HealthState::Pass);
    scene.end().await;
}

#[tokio::test]
async fn a_panic_is_a_failure_of_that_check_alone_and_it_is_asked_again() {
    let scene = Scene::new([entry("wild", &[Does::Panic, Does::Panic, PASS]), entry("fine", &[PASS])]).await;
    assert_eq!(scene.states(), ["fail", "pass"]);
    assert_eq!(scene.view().checks[0].message, "the check panicked: on purpose");
    scene.pass(PERIOD).await;
    assert_eq!(scene.states(), ["fail", "pass"]);
    scene.pass(PERIOD).await;
    assert_eq!(scene.states(), ["pass", "pass"]);
    scene.end().await;
}

#[tokio::test]
async fn an_expired_answer_is_unknown_and_fails_readiness() {
    let scene = Scene::new([entry("only", &[PASS])]).await;
    let max_age = PERIOD * 3 + DEADLINE;
    // Whoever asks the checks is gone, as a frozen process is.
    scene.stop.cancel();
    tokio::time::timeout(HANG, scene.run).await.unwrap().unwrap();
    let view = |now| scene.watch.view(None, false, now).unwrap();
    let fresh = view(max_age);
    assert_eq!((fresh.status, fresh.age_seconds), (HealthState::Pass, Some(100.0)));
    let expired = view(max_age + Duration::from_millis(1));
    assert_eq!((expired.status, expired.down), (HealthState::Unknown, vec!["only".to_owned()]));
    assert_eq!(expired.checks[0].message, "the last answer is 100 s old and counts no more");
    assert_eq!((expired.checks[0].observed, expired.checks[0].since), (None, None));
}

#[tokio::test]
async fn readiness_expires_though_it_was_worked_out_before() {
    let scene = Scene::new([entry("only", &[PASS]), entry("other", &[PASS, Does::Hang])]).await;
    let board = &scene.watch.board;
    let max_age = PERIOD * 3 + DEADLINE;
    for _ in 0..3 {
        assert_eq!(board.ready(max_age).status, HealthState::Pass);
    }
    for _ in 0..3 {
        assert_eq!(board.ready(max_age + Duration::from_nanos(1)).status, HealthState::Unknown);
    }
    scene.end().await;
}

#[tokio::test]
async fn a_jump_of_the_wall_clock_changes_nothing() {
    let scene = Scene::new([entry("only", &[PASS])]).await;
    for time in ["2030-01-01T00:00:00Z", "1970-01-01T00:00:00Z"] {
        scene.clock.jump_to(time.parse::<Timestamp>().unwrap());
        let (view, calls) = (scene.view(), scene.calls(0));
        assert_eq!((view.status, view.age_seconds, scene.ready()), (HealthState::Pass, Some(0.0), "pass"));
        scene.pass(PERIOD).await;
        assert_eq!(scene.calls(0), calls + 1);
    }
    scene.end().await;
}

/// `child` depends on `parent`, which depends on `root`.
fn family(root: &[Does], parent: &[Does], child: &[Does]) -> Vec<(RunnerEntry, Arc<Scripted>)> {
    let (root, mut parent, mut child) = (entry("root", root), entry("parent", parent), entry("child", child));
    parent.0.parent = Some("root".to_owned());
    child.0.parent = Some("parent".to_owned());
    vec![child, parent, root]
}

#[tokio::test]
async fn what_is_down_because_of_its_parent_is_told_once() {
    for (root, parent, child, down, of_parent, of_child) in [
        (FAIL, FAIL, FAIL, vec!["root"], Some("root"), Some("root")),
        (PASS, FAIL, FAIL, vec!["parent"], None, Some("parent")),
        // What is well in between explains nothing further down.
        (FAIL, PASS, FAIL, vec!["child", "root"], None, None),
        (FAIL, FAIL, PASS, vec!["root"], Some("root"), None),
        (PASS, PASS, FAIL, vec!["child"], None, None),
        (WARN, PASS, FAIL, vec!["child"], None, None),
    ] {
        let scene = Scene::new(family(&[root], &[parent], &[child])).await;
        let view = scene.view();
        assert_eq!(view.down, down);
        let because: Vec<_> = view.checks.iter().map(|check| check.because_of.as_deref()).collect();
        assert_eq!(because, [of_child, of_parent, None]);
        assert_eq!(view.status, HealthState::Fail);
        // Asked at once it says the same.
        let asked = scene.watch.runner.run(&Scope::default(), None).await.unwrap();
        let because: Vec<_> = asked.checks.iter().map(|check| check.because_of.as_deref()).collect();
        assert_eq!(because, [of_child, of_parent, None]);
        scene.end().await;
    }
}

#[tokio::test]
async fn a_parent_outside_the_group_explains_and_excuses_nothing() {
    let mut entries = family(&[FAIL], &[FAIL], &[FAIL]);
    entries[0].0.groups.push("ready".to_owned());
    let scene = Scene::new(entries).await;
    let view = scene.watch.view(Some("ready"), true, scene.now()).unwrap();
    assert_eq!((view.status, view.checks[0].because_of.as_deref()), (HealthState::Fail, Some("root")));
    assert_eq!((view.down, scene.ready()), (Vec::new(), "fail"));
    scene.end().await;
}

#[test]
fn families_that_cannot_be_are_refused() {
    let refused = |parents: &[(&str, &str)]| {
        let mut runner = Runner::new(&HealthSettings::default()).unwrap();
        for (name, parent) in parents {
            let (entry, _) = entry(name, &[PASS]);
            runner.add(RunnerEntry { parent: Some((*parent).to_owned()), ..entry }).unwrap();
        }
        Watch::new(Arc::new(runner)).unwrap_err()
    };
    let error = refused(&[("a", "b")]);
    assert_eq!(error.message(), "the parent of check \"a\" is \"b\", and there is no such check");
    assert_eq!(error.hint(), Some("name one of: a"));
    assert_eq!(refused(&[("a", "a")]).message(), "checks depend on each other in a circle: a -> a");
    let error = refused(&[("x", "a"), ("a", "b"), ("b", "a")]);
    assert_eq!(error.message(), "checks depend on each other in a circle: a -> b -> a");
}

#[tokio::test]
async fn a_life_goes_on_and_never_back() {
    let (mut startup, check) = entry("migrated", &[FAIL, PASS, FAIL]);
    (startup.groups, startup.critical) = (vec!["startup".to_owned()], false);
    let scene = Scene::new([(startup, check), entry("work", &[PASS])]).await;
    assert_eq!((scene.watch.phase(), scene.ready()), (Phase::Starting, "unknown"));
    scene.pass(PERIOD).await;
    assert_eq!((scene.watch.phase(), scene.ready()), (Phase::Ready, "pass"));
    scene.pass(PERIOD).await;
    assert_eq!((scene.watch.phase(), scene.ready()), (Phase::Ready, "pass"), "what has begun has begun");
    scene.watch.drain();
    assert_eq!((scene.watch.phase(), scene.ready()), (Phase::Draining, "fail"));
    scene.pass(PERIOD).await;
    assert_eq!((scene.watch.phase(), scene.view().status), (Phase::Draining, HealthState::Warn));
    scene.end().await;
}

#[test]
fn jitter_spreads_instances_and_stays_within_its_share() {
    let most = Duration::from_secs(3);
    let delays: Vec<_> = (0..1000).map(|run| later(&format!("host {run}"), "db", 0, most)).collect();
    assert!(delays.iter().all(|delay| *delay <= most));
    for third in 0..3 {
        let within = |delay: &&Duration| (Duration::from_secs(third)..Duration::from_secs(third + 1)).contains(*delay);
        assert!((250..420).contains(&delays.iter().filter(within).count()));
    }
    assert_eq!(later("a", "db", 7, most), later("a", "db", 7, most));
    assert_eq!(later("a", "db", 7, Duration::ZERO), Duration::ZERO);
}
