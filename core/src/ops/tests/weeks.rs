//! Weeks of a service, on a clock that the test owns: backups by schedule, and everything that follows them.
//!
//! The operations are the real ones, run in this process instead of a worker, since a worker goes by the machine's clock.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{HANG, builder, service};
use crate::cancel::{Cancel, Scope};
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::error::{Error, Result};
use crate::journal::{Query, Record, RecordOutcome};
use crate::ops::table::find_operation;
use crate::ops::{Context, Ops, RunMode};
use crate::schedule::{Called, Engine, Folder, Host, HostAnswer, RunOutcome, RunReport, Runner, Standing};
use crate::testing::MemoryTarget;
use crate::value::Secret;

const SETTINGS: &str = "
[service]
name = \"app\"
timezone = \"UTC\"
[backup]
include = [\"data\"]
clear_secrets = true
scratch_in_memory = true
schedule = \"0 2 * * *\"
verify_schedule = \"0 4 * * *\"
drill_schedule = \"0 5 * * sun\"
retention = { keep_last = 2, daily = 5, min_verified = 2 }
";
/// How long anything takes in this world.
const HOUR: u64 = 3600;

/// The operations, recorded as an [`Ops`] records them.
#[derive(Debug)]
struct Here {
    context: Arc<Context>,
    clock: Arc<ManualClock>,
    reports: watch::Sender<Vec<RunReport>>,
}

impl Host for Here {
    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock) as _
    }

    fn call(&self, operation: &str, request: Value, scope: Scope) -> Called {
        let (context, entry, time) = (Arc::clone(&self.context), find_operation(operation, &[]), self.clock.now());
        Box::pin(async move {
            let entry = entry?;
            let answer = entry.run(Arc::clone(&context), scope, request.clone()).await;
            let record = Record {
                time,
                operation: entry.name.to_owned(),
                outcome: match &answer {
                    Ok(answer) if answer.healthy => RecordOutcome::Done,
                    Ok(_) => RecordOutcome::Unhealthy,
                    Err(_) => RecordOutcome::Failed,
                },
                duration_seconds: 0.0,
                pid: 1,
                request,
                response: answer.as_ref().map(|answer| answer.response.clone()).unwrap_or_default(),
                error: answer.as_ref().err().map(Error::to_body),
            };
            context.journal.append(&record)?;
            answer.map(|answer| HostAnswer { response: answer.response, healthy: answer.healthy })
        })
    }

    fn resolve(&self, text: &str) -> Result<Secret> {
        Ok(Secret::new(text.to_owned()))
    }

    fn journal(&self, report: &RunReport) -> Result<()> {
        self.reports.send_modify(|reports| reports.push(report.clone()));
        Ok(())
    }
}

/// A service with a target in memory, whose clock is that of the test.
struct World {
    root: tempfile::TempDir,
    clock: Arc<ManualClock>,
    target: MemoryTarget,
    host: Arc<Here>,
    _ops: Ops,
    engine: Option<(Cancel, JoinHandle<()>)>,
    runner: Option<Arc<Runner>>,
    seen: usize,
}

impl World {
    fn new() -> Self {
        let root = service(SETTINGS);
        std::fs::create_dir(root.path().join("data")).unwrap();
        // After every file was made, so that none is too young to be believed; at midnight.
        let seconds = Timestamp::now().as_second() / 86_400 * 86_400 + 2 * 86_400;
        let clock = Arc::new(ManualClock::new(Timestamp::from_second(seconds).unwrap()));
        let target = MemoryTarget::default().with_clock(Arc::clone(&clock) as _);
        let ops = builder(&root, RunMode::CommandLine)
            .clock(Arc::clone(&clock) as _)
            .target("memory", Arc::new(target.clone()))
            .build()
            .unwrap();
        let context = Arc::clone(ops.context());
        let host = Arc::new(Here { context, clock: Arc::clone(&clock), reports: watch::Sender::default() });
        Self { root, clock, target, host, _ops: ops, engine: None, runner: None, seen: 0 }
    }

    /// Starts the service, and returns when it has looked at everything once.
    async fn start(&mut self) {
        let context = &self.host.context;
        let folder = Folder::new(&context.state);
        let runner = Runner::new(context.jobs.jobs().clone(), folder, Arc::clone(&self.host) as _);
        let (runner, stop) = (Arc::new(runner), Cancel::new());
        self.runner = Some(Arc::clone(&runner));
        let engine = Engine {
            runner,
            catch_up_delay: Duration::from_secs(60),
            place: "here".to_owned(),
            standing: Arc::new(Standing::default()),
            stop: stop.clone(),
        };
        self.engine = Some((stop, tokio::spawn(engine.run())));
        tokio::time::timeout(HANG, self.clock.sleepers(1)).await.expect("nobody leads");
    }

    async fn stop(&mut self) {
        let (stop, engine) = self.engine.take().unwrap();
        stop.cancel();
        tokio::time::timeout(HANG, engine).await.unwrap().unwrap();
    }

    /// Puts today's content where yesterday's was.
    fn live(&self, day: u64) {
        let mut noise = vec![0; 150_000];
        blake3::Hasher::new().update(&day.to_le_bytes()).finalize_xof().fill(&mut noise);
        std::fs::write(self.root.path().join("data/today"), noise).unwrap();
    }

    /// Lets time pass until `hours` after midnight of the day.
    fn until(&self, day: u64, hours: u64, midnight: Timestamp) {
        let then = midnight + Duration::from_secs(day * 86_400 + hours * HOUR);
        let left = then.duration_since(self.clock.now()).as_secs();
        self.clock.advance(Duration::from_secs(u64::try_from(left).unwrap_or(0)));
    }

    /// The next so many runs. Time trickles on meanwhile: whoever looked at the clock a moment ago looks again.
    async fn runs(&mut self, count: usize) -> Vec<RunReport> {
        let mut reports = self.host.reports.subscribe();
        let all = async {
            loop {
                let wait = reports.wait_for(|reports| reports.len() >= self.seen + count);
                match tokio::time::timeout(Duration::from_millis(100), wait).await {
                    Ok(reports) => return reports.unwrap().clone(),
                    Err(_) => self.clock.advance(Duration::from_secs(5)),
                }
            }
        };
        let all = tokio::time::timeout(HANG, all).await.unwrap_or_else(|_| {
            let came = self.host.reports.borrow()[self.seen..].to_vec();
            panic!("{count} runs were to come, and these came: {came:#?}")
        });
        // A run has the runner, beside the engine and us: one that was reported may not have ended yet.
        let ended = async {
            while self.runner.as_ref().is_some_and(|runner| Arc::strong_count(runner) > 2) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(HANG, ended).await.expect("a run does not end");
        let new = all[self.seen..].to_vec();
        self.seen = all.len();
        new
    }

    fn records(&self, operation: &str) -> Vec<Record> {
        let query =
            Query { operations: vec![operation.to_owned()], limit: 1000, newest_first: false, ..Query::default() };
        self.host.context.journal.read(&query).unwrap().records
    }

    fn count(&self, prefix: &str) -> usize {
        self.target.keys().iter().filter(|key| key.starts_with(prefix)).count()
    }

    async fn call(&self, operation: &str, request: Value) -> Value {
        let scope = Scope { clock: Arc::clone(&self.clock) as _, ..Scope::default() };
        let entry = find_operation(operation, &[]).unwrap();
        entry.run(Arc::clone(&self.host.context), scope, request).await.unwrap().response
    }
}

fn names(runs: &[RunReport]) -> Vec<(&str, RunOutcome)> {
    runs.iter().map(|run| (run.job.as_str(), run.outcome)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_weeks_of_backups_keep_what_the_policy_keeps_and_no_more() {
    use RunOutcome::Done;

    let mut world = World::new();
    let midnight = world.clock.now();
    let names_of = world.host.context.jobs.jobs();
    let jobs: Vec<(String, String)> = names_of.iter().map(|job| (job.name.clone(), job.operation.clone())).collect();
    let expected = [
        ("backup", "backup.create"),
        ("retain", "backup.retain"),
        ("collect", "backup.collect"),
        ("verify", "backup.sample"),
        ("drill", "backup.drill"),
    ];
    assert_eq!(jobs, expected.map(|(name, operation)| (name.to_owned(), operation.to_owned())));
    world.live(0);
    world.start().await;
    let is_sunday = |day: u64| {
        let then = midnight + Duration::from_secs(day * 86_400);
        then.to_zoned(jiff::tz::TimeZone::UTC).weekday() == jiff::civil::Weekday::Sunday
    };
    let (mut drills, mut most_packs) = (0, 0);
    for day in 0..21 {
        if day == 9 {
            // The service is down for two days, and comes back in the afternoon.
            world.stop().await;
            world.until(11, 15, midnight);
            world.live(day);
            world.start().await;
            let drill = (9..=11).any(is_sunday);
            let caught_up = world.runs(4 + usize::from(drill)).await;
            let mut found = names(&caught_up);
            found.sort_by_key(|(name, _)| *name);
            found.retain(|(name, _)| *name != "drill");
            assert_eq!(found, [("backup", Done), ("collect", Done), ("retain", Done), ("verify", Done)]);
            drills += usize::from(drill);
            continue;
        }
        if day == 10 || day == 11 {
            continue;
        }
        world.live(day);
        world.until(day, 2, midnight);
        let night = world.runs(3).await;
        assert_eq!(names(&night), [("backup", Done), ("retain", Done), ("collect", Done)], "day {day}: {night:#?}");
        world.until(day, 4, midnight);
        assert_eq!(names(&world.runs(1).await), [("verify", Done)], "day {day}");
        world.until(day, 5, midnight);
        if is_sunday(day) {
            assert_eq!(names(&world.runs(1).await), [("drill", Done)], "day {day}");
            drills += 1;
        }
        most_packs = most_packs.max(world.count("packs/"));
    }
    world.stop().await;
    assert_eq!(drills, 3);

    // Repository snapshots, and of them what the policy keeps.
    let listed = world.call("backup.list", json!({})).await;
    let snapshots = listed["snapshots"].as_array().unwrap();
    assert!(snapshots.iter().all(|snapshot| snapshot["layout"] == "repository"), "{listed:#}");
    assert_eq!(snapshots.len(), 5, "{listed:#}");
    assert_eq!(world.count("snapshots/"), 5);
    assert!(snapshots[1..].iter().all(|snapshot| !snapshot["verified_at"].is_null()), "{listed:#}");
    // Two of them may go any day, and wait until the grace time is over.
    assert!(most_packs <= 5 + 1 + 3, "{most_packs} packs for 5 snapshots");
    assert_eq!(world.records("backup.create").len(), 19);

    // What retention removed, collection freed, and not before its time.
    let removed = world
        .records("backup.retain")
        .into_iter()
        .find(|record| record.response["targets"][0]["deletions"].as_u64().is_some_and(|deletions| deletions > 0));
    let removed = removed.expect("nothing was removed").time;
    let collections = world.records("backup.collect");
    let freed = |record: &Record| record.response["targets"][0]["freed_bytes"].as_u64().unwrap_or(0);
    let first = collections.iter().find(|record| freed(record) > 100_000).expect("nothing was freed").time;
    let waited = first.duration_since(removed).as_hours();
    assert!((24..=72).contains(&waited), "{waited} hours between removal and collection");
    let all: u64 = collections.iter().map(freed).sum();
    assert!(all > 9 * 150_000, "{all} bytes were freed");
    // And what is left is whole.
    for snapshot in snapshots {
        let verified = world.call("backup.verify", json!({ "snapshot_id": snapshot["snapshot_id"] })).await;
        assert_eq!(verified["ok"], true, "{verified:#}");
    }
}
