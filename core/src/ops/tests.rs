//! Jobs in an [`Ops`]: who runs them, and what is said about their settings.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Ops, OpsBuilder, RunMode};
use crate::clock::{Clock, ManualClock};
use crate::error::{ErrorKind, Result};

mod numbers;
mod read_only;
mod sinks;
mod weeks;

/// Longer than anything here takes: only a hang meets it.
const HANG: Duration = Duration::from_secs(60);

const GOOD: &str =
    "[schedule]\ntimezone = \"UTC\"\n\n[[job]]\nname = \"tick\"\noperation = \"status\"\nschedule = \"0 2 * * *\"\n";

fn service(text: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("ops.toml"), text).unwrap();
    root
}

fn builder(root: &tempfile::TempDir, mode: RunMode) -> OpsBuilder {
    // Who waits for the clock is counted, so the past is not written down.
    let builder = Ops::builder().root(root.path()).environment([]).mode(mode).worker_command(["/bin/false"]);
    builder.setting("metrics.history_seconds", 0)
}

async fn call(ops: &Ops, name: &str, request: Value) -> Result<Value> {
    let answer = tokio::time::timeout(HANG, ops.call(ops.scope(), name, request)).await.expect("hangs");
    answer.map(|answer| answer.response)
}

fn clock(now: &str) -> Arc<ManualClock> {
    Arc::new(ManualClock::new(now.parse().unwrap()))
}

/// Within a runtime, as the command line does it: another one that is dropped there panics.
#[tokio::test]
async fn what_cannot_be_built_says_why_wherever_it_is_built() {
    let root = service(GOOD);
    std::fs::create_dir(root.path().join(".uplifted-ops")).unwrap();
    std::fs::write(root.path().join(".uplifted-ops/journal"), "").unwrap();
    let error = builder(&root, RunMode::CommandLine).build().unwrap_err();
    assert!(error.message().contains("is not a folder") && error.hint().is_some(), "{error:?}");
}

#[tokio::test]
async fn a_service_runs_its_jobs_and_says_so_everywhere() {
    let root = service(GOOD);
    let clock = clock("2026-03-10T01:59:50Z");
    let ops = builder(&root, RunMode::Embedded).clock(Arc::clone(&clock) as _).build().unwrap();
    tokio::time::timeout(HANG, clock.sleepers(1)).await.unwrap();
    let listed = call(&ops, "schedule.list", json!({})).await.unwrap();
    assert_eq!((&listed["role"], &listed["leader"]["is_this_process"]), (&json!("leader"), &json!(true)));
    assert_eq!(listed["jobs"][0]["next_run_at"], "2026-03-10T02:00:00Z");
    assert_eq!(listed["jobs"][0]["last_run"], Value::Null);

    clock.advance(Duration::from_secs(10));
    let ran = async {
        loop {
            let records = call(&ops, "journal.read", json!({})).await.unwrap()["records"].clone();
            if records.as_array().is_some_and(|records| !records.is_empty()) {
                return records;
            }
            tokio::task::yield_now().await;
        }
    };
    let records = tokio::time::timeout(HANG, ran).await.unwrap();
    assert_eq!(records[0]["operation"], "schedule.run");
    let request = json!({ "job": "tick", "why": "scheduled", "scheduled_for": "2026-03-10T02:00:00Z" });
    assert_eq!((&records[0]["request"], &records[0]["outcome"]), (&request, &json!("done")));
    let listed = call(&ops, "schedule.list", json!({})).await.unwrap();
    assert_eq!(listed["jobs"][0]["last_run"]["outcome"], "done");
    assert_eq!(listed["jobs"][0]["next_run_at"], "2026-03-11T02:00:00Z");
    let page = call(&ops, "metrics.render", json!({})).await.unwrap()["body"].as_str().unwrap().to_owned();
    for line in [
        "uplifted_ops_job_runs_total{job=\"tick\",outcome=\"done\"} 1",
        "uplifted_ops_job_runs_total{job=\"tick\",outcome=\"timed_out\"} 0",
        "uplifted_ops_job_last_success_timestamp_seconds{job=\"tick\"} 1773108000",
        "uplifted_ops_job_next_run_timestamp_seconds{job=\"tick\"} 1773194400",
        "uplifted_ops_job_last_duration_seconds{job=\"tick\"} 0",
    ] {
        assert!(page.contains(line), "{line} is not in {page}");
    }
    let health = call(&ops, "health.check", json!({})).await.unwrap();
    let check = health["checks"].as_array().unwrap().iter().find(|check| check["name"] == "jobs").unwrap().clone();
    assert_eq!((&check["status"], &check["message"]), (&json!("pass"), &json!("1 job is in order")));

    tokio::time::timeout(HANG, ops.close(HANG)).await.unwrap().unwrap();
    assert_eq!(ops.context().jobs.leader().unwrap(), None);
    // Beside the service it is overdue a day later, and nobody runs it.
    clock.advance(Duration::from_secs(25 * 3600));
    let beside = builder(&root, RunMode::CommandLine).clock(Arc::clone(&clock) as _).build().unwrap();
    let health = call(&beside, "health.check", json!({})).await.unwrap();
    let check = health["checks"].as_array().unwrap().iter().find(|check| check["name"] == "jobs").unwrap().clone();
    assert!(check["message"].as_str().unwrap().contains("overdue by 60 min"), "{check}");
    let listed = call(&beside, "schedule.list", json!({})).await.unwrap();
    assert_eq!((&listed["role"], &listed["leader"]), (&json!("off"), &Value::Null));
    assert_eq!(listed["jobs"][0]["overdue_seconds"], 3600.0);
    assert!(clock.now().to_string().starts_with("2026-03-11T03:00"));
}

#[tokio::test]
async fn neither_the_command_line_nor_a_service_that_is_told_not_to_runs_jobs() {
    let root = service(GOOD);
    for (mode, enabled) in [(RunMode::CommandLine, true), (RunMode::Embedded, false)] {
        let ops = builder(&root, mode).setting("schedule.enabled", enabled).build().unwrap();
        assert_eq!(call(&ops, "schedule.list", json!({})).await.unwrap()["role"], "off");
        // Asked for, they run all the same.
        assert_eq!(call(&ops, "schedule.run", json!({ "job": "tick" })).await.unwrap()["outcome"], "done");
        ops.close(HANG).await.unwrap();
    }
}

#[tokio::test]
async fn a_wrong_schedule_is_found_at_its_line() {
    let wrong = format!(
        "{GOOD}\n[[job]]\nname = \"b\"\noperation = \"status\"\nschedule = \"0 2 * * monday\"\n\n[backup]\nschedule = \
         \"@dayly\"\nping_url = \"https//x\"\n"
    );
    let root = service(&wrong);
    let error = builder(&root, RunMode::Embedded).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(error.message(), "ops.toml:15: the job \"backup\": \"@dayly\" is no schedule");
    assert_eq!(error.hint(), Some("did you mean @daily?"));
    // Beside the service everything else works, and `config.check` names all of it.
    let ops = builder(&root, RunMode::CommandLine).build().unwrap();
    let findings = call(&ops, "config.check", json!({})).await.unwrap()["findings"].clone();
    let found = |key: &str| {
        let of_key = findings.as_array().unwrap().iter().find(|finding| finding["key"] == key);
        of_key.unwrap_or_else(|| panic!("{key} is not in {findings:#}")).clone()
    };
    let backup = found("backup.schedule");
    assert_eq!((&backup["severity"], &backup["source"]), (&json!("error"), &json!("ops.toml:15")));
    let job = found("job.b.schedule");
    assert_eq!((&job["source"], &job["hint"]), (&json!("ops.toml:12"), &json!("did you mean mon?")));
    let error = call(&ops, "schedule.run", json!({ "job": "b" })).await.unwrap_err();
    assert_eq!((error.kind(), error.hint()), (ErrorKind::InvalidInput, Some("did you mean mon?")));
    assert_eq!(call(&ops, "schedule.run", json!({ "job": "tick" })).await.unwrap()["outcome"], "done");
}

#[tokio::test]
async fn what_is_unwise_is_found() {
    let root = service(
        "[schedule]\ntimezone = \"UTC\"\n[[job]]\nname = \"a\"\noperation = \"status\"\nschedule = \"*/5 * * * *\"\n\
         jitter_seconds = 300\nping_url = \"ftp://x\"\n[[job]]\nname = \"c\"\noperation = \"status\"\n\
         ping_url = \"http://h/s3cret\"\n",
    );
    let ops = builder(&root, RunMode::CommandLine).setting("schedule.enabled", false).build().unwrap();
    let findings = call(&ops, "config.check", json!({})).await.unwrap()["findings"].clone();
    for (key, source, message) in [
        ("job.a.jitter_seconds", "ops.toml:7", "put off past the next one"),
        ("job.a.ping_url", "ops.toml:8", "no address"),
        ("job.c.ping_url", "ops.toml:12", "a secret stands in the configuration file"),
        ("schedule.enabled", "code", "no job runs by itself"),
    ] {
        let of_key = |finding: &&Value| {
            finding["key"] == key && finding["message"].as_str().is_some_and(|text| text.contains(message))
        };
        let found = findings.as_array().unwrap().iter().find(of_key);
        assert_eq!(found.unwrap_or_else(|| panic!("{key} is not in {findings:#}"))["source"], source);
    }
    let shown = call(&ops, "config.show", json!({})).await.unwrap().to_string();
    assert!(!shown.contains("s3cret") && shown.contains("job.c.ping_url"), "{shown}");
    assert!(!format!("{:?} {findings}", ops.context()).contains("s3cret"));
}
