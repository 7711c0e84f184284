//! A service with jobs, a clock, and operations that do as their names say.

use std::cell::Cell;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cancel::{Cancel, Scope};
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::config::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::schedule::{
    Called, Engine, Folder, Host, HostAnswer, JobState, Jobs, RunOutcome, RunReport, Runner, Standing, Why,
};
use crate::value::Secret;

/// Longer than anything here takes: only a hang meets it.
pub(super) const HANG: Duration = Duration::from_secs(60);

pub(super) async fn no_hang<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, future).await.expect("hangs")
}

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The jobs of settings in UTC.
pub(super) fn jobs(list: Value) -> Jobs {
    let settings: Settings = serde_json::from_value(json!({ "schedule": { "timezone": "UTC" }, "job": list })).unwrap();
    let (jobs, mistakes) = Jobs::read(&settings, &|_, _| Ok(()));
    assert!(mistakes.is_empty(), "{mistakes:?}");
    jobs
}

/// One job, `nightly`, at 02:00, that runs `operation`.
pub(super) fn nightly(operation: &str) -> Jobs {
    jobs(json!([{ "name": "nightly", "operation": operation, "schedule": "0 2 * * *" }]))
}

/// Operations: `ok`, `unwell`, `fail`; `gate` waits for the test; `hang` waits for the cancel.
#[derive(Debug)]
pub(super) struct FakeHost {
    pub(super) clock: Arc<ManualClock>,
    /// The operations that began.
    pub(super) begun: watch::Sender<Vec<String>>,
    /// The runs that were recorded.
    pub(super) reports: watch::Sender<Vec<RunReport>>,
    /// Open when true.
    pub(super) gate: watch::Sender<bool>,
    /// What stands for `env:PING`.
    pub(super) ping: Mutex<String>,
}

impl FakeHost {
    pub(super) fn new(clock: &Arc<ManualClock>) -> Arc<Self> {
        Arc::new(Self {
            clock: Arc::clone(clock),
            begun: watch::Sender::default(),
            reports: watch::Sender::default(),
            gate: watch::Sender::default(),
            ping: Mutex::default(),
        })
    }

    /// Waits until so many operations have begun.
    pub(super) async fn begun(&self, count: usize) {
        no_hang(self.begun.subscribe().wait_for(|begun| begun.len() >= count)).await.unwrap();
    }

    /// Waits until so many runs have been recorded.
    pub(super) async fn reports(&self, count: usize) -> Vec<RunReport> {
        no_hang(self.reports.subscribe().wait_for(|reports| reports.len() >= count)).await.unwrap().clone()
    }
}

impl Host for FakeHost {
    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock) as _
    }

    fn call(&self, operation: &str, _request: Value, scope: Scope) -> Called {
        self.begun.send_modify(|begun| begun.push(operation.to_owned()));
        let (operation, mut gate) = (operation.to_owned(), self.gate.subscribe());
        Box::pin(async move {
            let answer = |healthy| Ok(HostAnswer { response: json!({ "ran": true }), healthy });
            match operation.as_str() {
                "unwell" => answer(false),
                "fail" => Err(Error::new(ErrorKind::NoSpace, "the disk is full").with_hint("free space")),
                "hang" => {
                    scope.cancel.cancelled().await;
                    Err(Error::new(ErrorKind::Cancelled, "cancelled by the caller"))
                }
                "gate" => {
                    gate.wait_for(|open| *open).await.unwrap();
                    answer(true)
                }
                _ => answer(true),
            }
        })
    }

    fn resolve(&self, text: &str) -> Result<Secret> {
        let ping = self.ping.lock().unwrap().clone();
        Ok(Secret::new(if text == "env:PING" { ping } else { text.to_owned() }))
    }

    fn journal(&self, report: &RunReport) -> Result<()> {
        self.reports.send_modify(|reports| reports.push(report.clone()));
        Ok(())
    }
}

/// One process of the service.
pub(super) struct Process {
    pub(super) runner: Arc<Runner>,
    pub(super) standing: Arc<Standing>,
    stop: Cancel,
    engine: JoinHandle<()>,
}

impl Process {
    pub(super) fn start(state: &Path, jobs: &Jobs, host: &Arc<FakeHost>) -> Self {
        let runner = Arc::new(Runner::new(jobs.clone(), Folder::new(state), Arc::clone(host) as _));
        let (standing, stop) = (Arc::new(Standing::default()), Cancel::new());
        let engine = Engine {
            runner: Arc::clone(&runner),
            catch_up_delay: Duration::from_secs(60),
            place: "here".to_owned(),
            standing: Arc::clone(&standing),
            stop: stop.clone(),
        };
        Self { runner, standing, stop, engine: tokio::spawn(engine.run()) }
    }

    /// Ends it as closing does: what runs is cancelled by `cancel`, and waited for.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        no_hang(self.engine).await.unwrap();
    }

    /// Dies in the middle of whatever it does.
    pub(super) async fn die(self) {
        self.engine.abort();
        let _ = self.engine.await;
    }
}

/// A service of one process, and what is known of it.
pub(super) struct Scene {
    pub(super) state: tempfile::TempDir,
    pub(super) clock: Arc<ManualClock>,
    pub(super) host: Arc<FakeHost>,
    pub(super) jobs: Jobs,
    /// How many wait for the clock: the process, and a run for its deadline.
    pub(super) waiting: Cell<usize>,
}

impl Scene {
    pub(super) fn new(now: &str, jobs: Jobs) -> Self {
        let clock = Arc::new(ManualClock::new(at(now)));
        let host = FakeHost::new(&clock);
        Self { state: tempfile::tempdir().unwrap(), clock, host, jobs, waiting: Cell::new(1) }
    }

    pub(super) fn folder(&self) -> Folder {
        Folder::new(self.state.path())
    }

    pub(super) fn known(&self, job: &str) -> JobState {
        self.folder().load(job).unwrap()
    }

    /// Starts a process, and returns when it has looked at everything once.
    pub(super) async fn start(&self) -> Process {
        let process = Process::start(self.state.path(), &self.jobs, &self.host);
        self.looked().await;
        process
    }

    /// Returns when the process, and all that runs, waits for the clock.
    pub(super) async fn looked(&self) {
        no_hang(self.clock.sleepers(self.waiting.get())).await;
    }

    /// Lets time pass as it does: the process wakes whenever it wants to.
    pub(super) async fn pass(&self, seconds: u64) {
        let mut left = seconds;
        while left > 0 {
            let step = left.min(10);
            self.clock.advance(Duration::from_secs(step));
            self.looked().await;
            left -= step;
        }
    }

    /// Lets time pass until the wall clock shows `time`.
    pub(super) async fn until(&self, time: &str) {
        let seconds = at(time).duration_since(self.clock.now()).as_secs();
        self.pass(u64::try_from(seconds).unwrap()).await;
    }

    /// Waits until so many runs have been recorded, and `process` has nothing more to do with the last of them: a disk
    /// takes its time, whatever the clock of the test says.
    pub(super) async fn ran(&self, process: &Process, count: usize) -> Vec<RunReport> {
        let reports = self.host.reports(count).await;
        // A run has the runner, beside its process and the engine.
        let ended = async {
            while Arc::strong_count(&process.runner) > 2 {
                tokio::task::yield_now().await;
            }
        };
        no_hang(ended).await;
        reports
    }

    /// The runs so far, once the process has ended: `(why, outcome, scheduled for)`.
    pub(super) fn runs(&self) -> Vec<(Why, RunOutcome, String)> {
        let reports = self.host.reports.borrow().clone();
        let time = |report: &RunReport| report.scheduled_for.map(|time| time.to_string()).unwrap_or_default();
        reports.iter().map(|report| (report.why, report.outcome, time(report))).collect()
    }
}
