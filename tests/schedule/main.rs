//! Several processes of one service: one runs the jobs, and its death is noticed at once.

#![allow(clippy::disallowed_methods, reason = "tests set up their own scenes")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use uplifted_ops::journal::{Journal, Query, Record};

/// The program that is the service.
const FIXTURE: &str = env!("CARGO_BIN_EXE_worker-fixture");

/// Longer than anything here takes: only a hang meets it.
const HANG: Duration = Duration::from_secs(60);

/// A process of the service. Killed at the end, whatever becomes of the test.
struct Process(Child);

impl Process {
    fn start(root: &TempDir, jobs: &Value, more: &[&str]) -> Self {
        let mut command = Command::new(FIXTURE);
        command.arg("jobs").arg(root.path()).arg(jobs.to_string()).args(more);
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The runs in the journal, oldest first.
fn runs(root: &Path) -> Vec<Record> {
    let journal = Journal::open(&root.join(".uplifted-ops")).unwrap();
    let query =
        Query { operations: vec!["schedule.run".to_owned()], limit: 10_000, newest_first: false, ..Query::default() };
    journal.read(&query).unwrap().records
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < HANG, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for so many runs of the process.
fn runs_of(root: &TempDir, pid: u32, count: usize) {
    wait_for(&format!("{count} runs of {pid}"), || {
        (runs(root.path()).iter().filter(|run| run.pid == pid).count() >= count).then_some(())
    });
}

fn leader(root: &TempDir) -> u32 {
    let path = root.path().join(".uplifted-ops/schedule/leader.json");
    wait_for("an election", || {
        let record: Value = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        u32::try_from(record["owner"]["pid"].as_u64()?).ok()
    })
}

fn every_second() -> Value {
    json!([{ "name": "tick", "operation": "test.host", "request": { "act": "echo", "value": 1 }, "schedule": "* * * * * *" }])
}

#[test]
fn one_of_several_runs_the_jobs_and_a_killed_one_is_followed_at_once() {
    let root = tempfile::tempdir().unwrap();
    let mut processes: Vec<Process> = (0..3).map(|_| Process::start(&root, &every_second(), &[])).collect();
    for _ in 0..2 {
        let first = leader(&root);
        runs_of(&root, first, 2);
        let at = processes.iter().position(|process| process.pid() == first).expect("the leader is one of them");
        processes.remove(at).kill();
        wait_for("another leader", || (leader(&root) != first).then_some(()));
    }
    runs_of(&root, leader(&root), 2);
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    for run in runs(root.path()) {
        if run.response["outcome"] != "interrupted" {
            *times.entry(run.request["scheduled_for"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    assert!(times.values().all(|count| *count == 1), "{times:?}");
}

#[test]
fn a_forked_child_that_outlives_the_leader_does_not_keep_the_lead() {
    let root = tempfile::tempdir().unwrap();
    let mut first = Process::start(&root, &every_second(), &["fork"]);
    let child: i32 = first.line().parse().unwrap();
    runs_of(&root, first.pid(), 1);
    let second = Process::start(&root, &every_second(), &[]);
    first.kill();
    let child = rustix::process::Pid::from_raw(child).unwrap();
    assert!(rustix::process::test_kill_process(child).is_ok(), "the child lives");
    runs_of(&root, second.pid(), 2);
    rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
    let strangers: Vec<u32> =
        runs(root.path()).iter().map(|run| run.pid).filter(|pid| *pid != first.pid() && *pid != second.pid()).collect();
    assert_eq!(strangers, Vec::<u32>::new());
}

#[test]
fn a_run_that_dies_with_its_process_is_made_up_for_by_the_next() {
    let root = tempfile::tempdir().unwrap();
    let far = "0 0 1 1 *";
    let waits = |schedule: &str, act: Value| json!([{ "name": "long", "operation": "test.host", "request": act, "schedule": schedule }]);
    // Its first time has come and gone: the state says so.
    let schedule = root.path().join(".uplifted-ops/schedule");
    std::fs::create_dir_all(&schedule).unwrap();
    let state = json!({ "schedule": format!("{far} (UTC)"), "settled_until": "2020-06-01T00:00:00Z" });
    std::fs::write(schedule.join("long.json"), state.to_string()).unwrap();
    let mut first = Process::start(&root, &waits(far, json!({ "act": "wait" })), &[]);
    let known = || serde_json::from_slice::<Value>(&std::fs::read(schedule.join("long.json")).ok()?).ok();
    wait_for("the run", || known().filter(|state| state["running"]["owner"]["pid"] == first.pid()));
    first.kill();
    let second = Process::start(&root, &waits(far, json!({ "act": "echo", "value": 1 })), &[]);
    wait_for("the run that makes up for it", || (runs(root.path()).len() >= 2).then_some(()));
    let found: Vec<_> = runs(root.path())
        .iter()
        .map(|run| (run.pid, run.response["outcome"].clone(), run.response["why"].clone()))
        .collect();
    let expected =
        [(second.pid(), json!("interrupted"), json!("catch_up")), (second.pid(), json!("done"), json!("catch_up"))];
    assert_eq!(found, expected);
}

#[test]
fn closing_cuts_a_run_short_keeps_that_and_lets_the_lead_go() {
    let root = tempfile::tempdir().unwrap();
    let jobs =
        json!([{ "name": "long", "operation": "test.host", "request": { "act": "wait" }, "schedule": "* * * * * *" }]);
    let mut process = Process::start(&root, &jobs, &["close"]);
    let path = root.path().join(".uplifted-ops/schedule/long.json");
    let known = || serde_json::from_slice::<Value>(&std::fs::read(&path).ok()?).ok();
    wait_for("the run", || known().filter(|state| state["running"].is_object()));
    process.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    wait_for("the end", || process.0.try_wait().unwrap().map(|status| assert!(status.success())));
    let state = known().unwrap();
    assert_eq!((&state["running"], &state["owed"]), (&Value::Null, &json!(true)));
    assert_eq!(state["last"]["outcome"], "interrupted");
    assert!(!root.path().join(".uplifted-ops/schedule/leader.json").exists());
}

#[test]
fn the_command_line_runs_the_jobs_of_a_service_without_it_until_it_is_stopped() {
    let root = tempfile::tempdir().unwrap();
    let program = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_under-test"));
        command
            .arg("--root")
            .arg(root.path())
            .args(["schedule", "serve"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    };
    std::fs::write(root.path().join("ops.toml"), "[backup]\nschedule = \"@dayly\"\n").unwrap();
    let refused = program().output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("did you mean @daily?"), "{refused:?}");
    std::fs::write(root.path().join("ops.toml"), "").unwrap();
    assert_eq!(program().output().unwrap().status.code(), Some(2));

    let job = "[[job]]\nname = \"tick\"\noperation = \"status\"\nschedule = \"* * * * * *\"\n";
    std::fs::write(root.path().join("ops.toml"), job).unwrap();
    let mut process = Process(program().spawn().unwrap());
    runs_of(&root, process.pid(), 2);
    let shown = Command::new(env!("CARGO_BIN_EXE_under-test")).arg("--root").arg(root.path()).arg("schedule").output();
    let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
    assert!(shown.contains("every second") && shown.contains(&format!("run by process {}", process.pid())), "{shown}");
    let pid = rustix::process::Pid::from_child(&process.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    wait_for("the end", || process.0.try_wait().unwrap().map(|status| assert_eq!(status.code(), Some(0))));
}
