use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::sync::Notify;

use super::super::report::MAX_MESSAGE;
use super::super::{HealthCheck, Pace};
use super::*;
use crate::config::CheckSettings;

type Answer = Box<dyn Fn() -> Result<CheckOutcome> + Send + Sync>;

/// A check that does what a test tells it to.
struct Scripted {
    answer: Answer,
    calls: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    called: Notify,
    /// Waited for before the answer, when there is one.
    gate: Option<Semaphore>,
    heeds_cancel: bool,
    /// Waited for after a cancel, before giving up, when there is one.
    farewell: Option<Semaphore>,
}

impl Scripted {
    fn new(answer: impl Fn() -> Result<CheckOutcome> + Send + Sync + 'static) -> Self {
        Self {
            answer: Box::new(answer),
            calls: AtomicUsize::new(0),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
            called: Notify::new(),
            gate: None,
            heeds_cancel: true,
            farewell: None,
        }
    }

    fn status(status: CheckStatus) -> Self {
        Self::new(move || Ok(CheckOutcome::new(status, "as told")))
    }

    fn gated(mut self) -> Self {
        self.gate = Some(Semaphore::new(0));
        self
    }

    fn deaf(mut self) -> Self {
        self.heeds_cancel = false;
        self
    }

    fn open(&self, permits: usize) {
        self.gate.as_ref().unwrap().add_permits(permits);
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

#[async_trait]
impl HealthCheck for Scripted {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        self.called.notify_one();
        let mut cancelled = Ok(());
        if let Some(gate) = &self.gate {
            tokio::select! {
                permit = gate.acquire() => permit.unwrap().forget(),
                () = scope.cancel.cancelled(), if self.heeds_cancel => {
                    cancelled = scope.cancel.check();
                    if let Some(farewell) = &self.farewell {
                        farewell.acquire().await.unwrap().forget();
                    }
                }
            }
        }
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        cancelled?;
        (self.answer)()
    }
}

fn entry(name: &str, check: &Arc<Scripted>) -> Entry {
    Entry {
        name: name.to_owned(),
        groups: Vec::new(),
        critical: true,
        parent: None,
        pace: Pace::within(Duration::from_secs(60)),
        check: Arc::clone(check) as Arc<dyn HealthCheck>,
    }
}

/// Short, for checks that hang: the test waits for it to pass.
const SOON: Duration = Duration::from_millis(20);

fn runner(entries: impl IntoIterator<Item = Entry>) -> Runner {
    runner_of(4, entries)
}

fn runner_of(concurrency: usize, entries: impl IntoIterator<Item = Entry>) -> Runner {
    let mut runner = Runner::new(&HealthSettings { concurrency, ..HealthSettings::default() }).unwrap();
    for entry in entries {
        runner.add(entry).unwrap();
    }
    runner
}

#[tokio::test]
async fn verdicts_add_up_and_keep_their_order() {
    use CheckStatus::{Fail, Pass, Warn};
    let cases: [(&[(CheckStatus, bool)], CheckStatus); 7] = [
        (&[], Warn),
        (&[(Pass, true), (Pass, false)], Pass),
        (&[(Pass, true), (Warn, true)], Warn),
        (&[(Fail, true), (Pass, true), (Warn, true)], Fail),
        (&[(Fail, false), (Pass, true)], Warn),
        (&[(Warn, false)], Warn),
        (&[(Fail, false), (Fail, true)], Fail),
    ];
    for (checks, verdict) in cases {
        let entries = checks.iter().enumerate().map(|(at, (status, critical))| Entry {
            critical: *critical,
            ..entry(&format!("check {at}"), &Arc::new(Scripted::status(*status)))
        });
        let report = runner(entries).run(&Scope::default(), None).await.unwrap();
        assert_eq!(report.status, verdict, "{checks:?}");
        let statuses: Vec<_> = report.checks.iter().map(|check| (check.status, check.critical)).collect();
        assert_eq!(statuses, checks);
        assert!(report.checks.iter().enumerate().all(|(at, check)| check.name == format!("check {at}")));
    }
}

#[tokio::test]
async fn the_first_failure_does_not_stop_the_rest() {
    // Guide row 24: `set -e` with `((failures++))` ended the guide's script at its first failing check.
    let checks: Vec<_> = (0..20).map(|_| Arc::new(Scripted::status(CheckStatus::Fail))).collect();
    let entries = checks.iter().enumerate().map(|(at, check)| entry(&at.to_string(), check));
    let report = runner(entries).run(&Scope::default(), None).await.unwrap();
    assert_eq!(report.checks.len(), 20);
    assert!(checks.iter().all(|check| check.calls() == 1));
}

#[tokio::test]
async fn errors_and_panics_are_failures_with_their_reason() {
    let error = Arc::new(Scripted::new(|| Err(Error::invalid("the port is 0").with_hint("set a port"))));
    let panic = Arc::new(Scripted::new(|| panic!("index {} is out of bounds", 7)));
    let fine = Arc::new(Scripted::status(CheckStatus::Pass));
    let runner = runner([entry("error", &error), entry("panic", &panic), entry("fine", &fine)]);
    for _ in 0..2 {
        let report = runner.run(&Scope::default(), None).await.unwrap();
        let told: Vec<_> = report.checks.iter().map(|check| (check.status, check.message.as_str())).collect();
        assert_eq!(
            told,
            [
                (CheckStatus::Fail, "the port is 0: set a port"),
                (CheckStatus::Fail, "the check panicked: index 7 is out of bounds"),
                (CheckStatus::Pass, "as told"),
            ]
        );
    }
}

#[tokio::test]
async fn a_hung_check_is_reported_again_and_never_stacks() {
    let hung = Arc::new(Scripted::status(CheckStatus::Pass).gated().deaf());
    let runner = runner([Entry { pace: Pace::within(SOON), ..entry("hung", &hung) }]);
    let message = async || {
        let report = runner.run(&Scope::default(), None).await.unwrap();
        assert_eq!(report.status, CheckStatus::Fail);
        report.checks[0].message.clone()
    };
    assert_eq!(message().await, "did not answer within 0.02 s");
    for _ in 0..3 {
        assert_eq!(message().await, "still running past its deadline of 0.02 s, so it was not started again");
    }
    assert_eq!(hung.calls(), 1);
    // It comes back, and is asked again.
    hung.open(2);
    while hung.at_once.load(Ordering::SeqCst) > 0 || lock(&runner.slots[0].flight).is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(runner.run(&Scope::default(), None).await.unwrap().status, CheckStatus::Pass);
    assert_eq!(hung.calls(), 2);
}

#[tokio::test]
async fn a_check_that_heeds_its_deadline_is_asked_again() {
    let slow = Arc::new(Scripted::status(CheckStatus::Pass).gated());
    let runner = runner([Entry { pace: Pace::within(SOON), ..entry("slow", &slow) }]);
    assert_eq!(runner.run(&Scope::default(), None).await.unwrap().checks[0].message, "did not answer within 0.02 s");
    while lock(&runner.slots[0].flight).is_some() {
        tokio::task::yield_now().await;
    }
    slow.open(1);
    assert_eq!(runner.run(&Scope::default(), None).await.unwrap().status, CheckStatus::Pass);
    assert_eq!(slow.calls(), 2);
}

#[tokio::test]
async fn callers_at_the_same_time_share_one_call() {
    let check = Arc::new(Scripted::status(CheckStatus::Pass).gated());
    let runner = Arc::new(runner_of(16, [entry("shared", &check)]));
    let callers: Vec<_> = (0..10)
        .map(|_| {
            let runner = Arc::clone(&runner);
            tokio::spawn(async move { runner.run(&Scope::default(), None).await.unwrap().status })
        })
        .collect();
    while lock(&runner.slots[0].flight).as_ref().is_none_or(|flight| *lock(&flight.waiting) < 10) {
        tokio::task::yield_now().await;
    }
    check.open(1);
    for caller in callers {
        assert_eq!(caller.await.unwrap(), CheckStatus::Pass);
    }
    assert_eq!(check.calls(), 1);
}

#[tokio::test]
async fn no_more_run_at_once_than_allowed() {
    let check = Arc::new(Scripted::status(CheckStatus::Pass));
    let shared = Arc::new(Scripted { gate: None, ..Scripted::status(CheckStatus::Pass) });
    let entries = (0..40).map(|at| entry(&at.to_string(), if at % 2 == 0 { &check } else { &shared }));
    let report = runner_of(1, entries).run(&Scope::default(), None).await.unwrap();
    assert_eq!(report.checks.len(), 40);
    assert_eq!(check.most_at_once.load(Ordering::SeqCst), 1);
    assert_eq!(shared.most_at_once.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_hung_check_gives_its_place_to_others() {
    let hung = Arc::new(Scripted::status(CheckStatus::Pass).gated().deaf());
    let fine = Arc::new(Scripted::status(CheckStatus::Pass));
    let runner = runner_of(1, [Entry { pace: Pace::within(SOON), ..entry("hung", &hung) }, entry("fine", &fine)]);
    let report = runner.run(&Scope::default(), None).await.unwrap();
    assert_eq!(report.checks[1].status, CheckStatus::Pass);
}

#[tokio::test]
async fn a_cancelled_caller_stops_the_check_and_spoils_nobody_elses() {
    let check = Scripted { farewell: Some(Semaphore::new(0)), ..Scripted::status(CheckStatus::Pass).gated() };
    let check = Arc::new(check);
    let runner = Arc::new(runner([entry("slow", &check)]));
    let scope = Scope::default();
    let first = tokio::spawn({
        let (runner, scope) = (Arc::clone(&runner), scope.clone());
        async move { runner.run(&scope, None).await }
    });
    check.called.notified().await;
    scope.cancel.cancel();
    assert_eq!(first.await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    let left_behind = lock(&runner.slots[0].flight).clone().unwrap();
    while !left_behind.cancel.is_cancelled() {
        tokio::task::yield_now().await;
    }
    // The next caller comes while the cancelled call is still ending, and gets an answer of its own.
    let second = tokio::spawn({
        let runner = Arc::clone(&runner);
        async move { runner.run(&Scope::default(), None).await.unwrap() }
    });
    while *lock(&left_behind.waiting) == 0 {
        tokio::task::yield_now().await;
    }
    check.farewell.as_ref().unwrap().add_permits(1);
    check.open(1);
    let report = second.await.unwrap();
    assert_eq!(report.status, CheckStatus::Pass, "{report:?}");
    assert_eq!(check.calls(), 2);
}

#[tokio::test]
async fn a_dropped_caller_is_a_cancelled_one() {
    let check = Arc::new(Scripted::status(CheckStatus::Pass).gated());
    let runner = Arc::new(runner([entry("slow", &check)]));
    let caller = tokio::spawn({
        let runner = Arc::clone(&runner);
        async move { runner.run(&Scope::default(), None).await }
    });
    check.called.notified().await;
    caller.abort();
    while check.at_once.load(Ordering::SeqCst) > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn groups_are_chosen_by_name_and_unknown_ones_are_named() {
    let check = Arc::new(Scripted::status(CheckStatus::Pass));
    let grouped = |name: &str, group: &str| Entry { groups: vec![group.to_owned()], ..entry(name, &check) };
    let runner = runner([grouped("a", "live"), grouped("b", "ready"), entry("c", &check)]);
    let names = async |group| {
        let report = runner.run(&Scope::default(), group).await.unwrap();
        report.checks.into_iter().map(|check| check.name).collect::<Vec<_>>()
    };
    assert_eq!(names(None).await, ["a", "b", "c"]);
    assert_eq!(names(Some("all")).await, ["a", "b", "c"]);
    assert_eq!(names(Some("ready")).await, ["b"]);
    let error = runner.run(&Scope::default(), Some("reddy")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.hint(), Some("name one of: all, live, ready, startup"));
}

#[tokio::test]
async fn reports_hold_what_json_can_hold() {
    let wild = Arc::new(Scripted::new(|| {
        Ok(CheckOutcome::new(CheckStatus::Warn, "é".repeat(5_000)).observing(f64::NAN, "ratio"))
    }));
    let report = runner([entry("wild", &wild)]).run(&Scope::default(), None).await.unwrap();
    assert_eq!(report.checks[0].observed, None);
    assert!(report.checks[0].message.len() <= MAX_MESSAGE + '…'.len_utf8());
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<HealthReport>(&json).unwrap(), report);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let health = HealthSettings::default();
    assert!(Runner::new(&HealthSettings { concurrency: 0, ..health.clone() }).is_err());
    let check = Arc::new(Scripted::status(CheckStatus::Pass));
    let mut runner = runner([entry("a", &check)]);
    assert!(runner.add(entry("a", &check)).is_err());
    assert!(runner.add(entry("", &check)).is_err());
    let settings = |deadline_seconds| CheckSettings { deadline_seconds, ..CheckSettings::named("a") };
    for deadline in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300, 3600.1] {
        assert!(Entry::new(&settings(Some(deadline)), &health, check.clone()).is_err(), "{deadline}");
    }
    assert_eq!(Entry::new(&settings(None), &health, check).unwrap().pace.deadline, Duration::from_secs(10));
}
