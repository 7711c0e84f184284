//! One run: its lock, its deadline, what follows it, who is told.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::scene::{HANG, Scene, jobs, nightly, no_hang};
use crate::cancel::Scope;
use crate::error::ErrorKind;
use crate::schedule::RunOutcome::{Done, Failed, Interrupted, Skipped, TimedOut, Unhealthy};
use crate::schedule::Why::{After, ByHand, Scheduled};

#[tokio::test]
async fn a_job_that_hangs_is_cancelled_at_its_deadline() {
    let hangs = json!([{ "name": "nightly", "operation": "hang", "schedule": "0 2 * * *", "deadline_seconds": 300 }]);
    let scene = Scene::new("2026-03-10T01:59:50Z", jobs(hangs));
    let process = scene.start().await;
    scene.clock.advance(Duration::from_secs(10));
    scene.host.begun(1).await;
    scene.waiting.set(2);
    scene.looked().await;
    scene.pass(299).await;
    assert_eq!(scene.host.reports.borrow().len(), 0);
    scene.waiting.set(1);
    scene.pass(1).await;
    let report = scene.host.reports(1).await.remove(0);
    assert_eq!(report.outcome, TimedOut);
    let error = report.error.unwrap();
    assert_eq!(error.message, "hang did not end within 300 s and was cancelled");
    assert!(error.hint.unwrap().contains("deadline_seconds"));
    process.stop().await;
    assert_eq!(scene.known("nightly").runs[&TimedOut], 1);
}

#[tokio::test]
async fn a_job_that_still_runs_is_not_begun_again() {
    let often = json!([{ "name": "often", "operation": "gate", "schedule": "*/5 * * * *" }]);
    let scene = Scene::new("2026-03-10T01:59:50Z", jobs(often));
    let process = scene.start().await;
    scene.clock.advance(Duration::from_secs(10));
    scene.host.begun(1).await;
    scene.waiting.set(2);
    scene.looked().await;
    scene.pass(11 * 60).await;
    let skipped = scene.host.reports(2).await;
    assert!(skipped.iter().all(|report| report.outcome == Skipped), "{skipped:?}");
    assert_eq!(scene.host.begun.borrow().len(), 1);
    scene.host.gate.send_replace(true);
    scene.ran(&process, 3).await;
    scene.waiting.set(1);
    scene.pass(4 * 60).await;
    scene.host.reports(4).await;
    process.stop().await;
    let known = scene.known("often");
    assert_eq!((known.runs[&Skipped], known.runs[&Done]), (2, 2));
}

#[tokio::test]
async fn by_hand_and_by_itself_exclude_each_other() {
    let scene = Scene::new("2026-03-10T01:59:00Z", nightly("gate"));
    let process = scene.start().await;
    let job = Arc::clone(scene.jobs.get("nightly").unwrap());
    let by_hand = tokio::spawn({
        let (runner, job) = (Arc::clone(&process.runner), Arc::clone(&job));
        async move { runner.run(&job, ByHand, None, &Scope::default()).await }
    });
    scene.host.begun(1).await;
    scene.waiting.set(2);
    let again = process.runner.run(&job, ByHand, None, &Scope::default()).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Busy);
    assert!(again.message().contains(&format!("in process {}", std::process::id())), "{again}");
    scene.pass(60).await;
    assert_eq!(scene.host.reports(1).await[0].outcome, Skipped);
    scene.host.gate.send_replace(true);
    let reports = no_hang(by_hand).await.unwrap().unwrap();
    assert_eq!((reports[0].outcome, reports[0].why, &reports[0].response), (Done, ByHand, &json!({ "ran": true })));
    process.stop().await;
    // By hand settles nothing, and is recorded by whoever asked.
    assert_eq!(scene.host.reports.borrow().len(), 1);
    assert_eq!(scene.known("nightly").runs[&Skipped], 1);
}

#[tokio::test]
async fn whoever_only_looks_at_a_record_makes_no_job_busy() {
    let scene = Scene::new("2026-03-10T01:59:00Z", nightly("ok"));
    let process = scene.start().await;
    let looking = scene.folder().lock("nightly").unwrap().unwrap();
    let by_hand = tokio::spawn({
        let (runner, job) = (Arc::clone(&process.runner), Arc::clone(scene.jobs.get("nightly").unwrap()));
        async move { runner.run(&job, ByHand, None, &Scope::default()).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    drop(looking);
    assert_eq!(no_hang(by_hand).await.unwrap().unwrap()[0].outcome, Done);
    process.stop().await;
}

#[tokio::test]
async fn what_follows_runs_after_a_success_alone() {
    for (operation, outcome, follow) in [("ok", Done, true), ("unwell", Unhealthy, false), ("fail", Failed, false)] {
        let list = json!([
            { "name": "first", "operation": operation, "schedule": "0 2 * * *" },
            { "name": "second", "operation": "ok", "after": "first" },
            { "name": "third", "operation": "unwell", "after": "second" },
            { "name": "fourth", "operation": "ok", "after": "third" },
            { "name": "off", "operation": "ok", "after": "first", "enabled": false },
        ]);
        let scene = Scene::new("2026-03-10T01:59:50Z", jobs(list));
        let process = scene.start().await;
        scene.pass(10).await;
        scene.host.reports(if follow { 3 } else { 1 }).await;
        process.stop().await;
        let runs: Vec<_> =
            scene.host.reports.borrow().iter().map(|run| (run.job.clone(), run.why, run.outcome)).collect();
        let mut expected = vec![("first".to_owned(), Scheduled, outcome)];
        if follow {
            expected.extend([("second".to_owned(), After, Done), ("third".to_owned(), After, Unhealthy)]);
        }
        assert_eq!(runs, expected);
    }
}

#[tokio::test]
async fn a_caller_who_cancels_cuts_the_run_short() {
    let scene = Scene::new("2026-03-10T01:59:00Z", nightly("hang"));
    let process = scene.start().await;
    let job = Arc::clone(scene.jobs.get("nightly").unwrap());
    let scope = Scope::default();
    scope.cancel.cancel();
    let reports = no_hang(process.runner.run(&job, ByHand, None, &scope)).await.unwrap();
    assert_eq!(reports[0].outcome, Interrupted);
    process.stop().await;
    assert!(!scene.known("nightly").owed, "nobody waits for it");
}

#[tokio::test]
async fn the_address_is_told_of_each_end() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let (send, mut asked) = tokio::sync::mpsc::unbounded_channel();
    // Refuses the first try, to be asked again.
    std::thread::spawn(move || {
        for (count, stream) in server.incoming().enumerate() {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(HANG)).unwrap();
            let mut text = String::new();
            let mut block = [0; 4096];
            loop {
                let read = stream.read(&mut block).unwrap_or(0);
                text.push_str(&String::from_utf8_lossy(&block[..read]));
                let body = text.split_once("\r\n\r\n").map(|(_, body)| body.len());
                let wanted =
                    text.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
                if read == 0 || body.is_some_and(|body| body >= wanted.unwrap_or(0)) {
                    break;
                }
            }
            let status = if count == 0 { "503 Later" } else { "200 OK" };
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            let _ = send.send(text);
        }
    });
    for (operation, line, body) in [
        ("ok", "GET /ping/s3cret HTTP/1.1", ""),
        ("fail", "POST /ping/s3cret/fail HTTP/1.1", "nightly: failed: the disk is full"),
        ("unwell", "POST /ping/s3cret/fail HTTP/1.1", "nightly: unhealthy"),
    ] {
        let list = json!([{ "name": "nightly", "operation": operation, "ping_url": "env:PING" }]);
        let scene = Scene::new("2026-03-10T01:59:00Z", jobs(list));
        *scene.host.ping.lock().unwrap() = format!("http://{address}/ping/s3cret");
        let process = scene.start().await;
        let job = Arc::clone(scene.jobs.get("nightly").unwrap());
        let runner = Arc::clone(&process.runner);
        let run = tokio::spawn(async move { runner.run(&job, ByHand, None, &Scope::default()).await });
        let mut request = no_hang(asked.recv()).await.unwrap();
        if operation == "ok" {
            // Of two that wait, one waits to try again.
            no_hang(scene.clock.sleepers(2)).await;
            scene.clock.advance(Duration::from_secs(2));
            request = no_hang(asked.recv()).await.unwrap();
        }
        assert_eq!(request.lines().next(), Some(line));
        assert!(request.ends_with(&format!("\r\n\r\n{body}")), "{request}");
        let report = no_hang(run).await.unwrap().unwrap().remove(0);
        assert_eq!(report.ping_error, None);
        process.stop().await;
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_told_does_not_spoil_the_run() {
    let list = json!([{ "name": "nightly", "operation": "ok", "ping_url": "ftp://h/s3cret" }]);
    let scene = Scene::new("2026-03-10T01:59:00Z", jobs(list));
    let process = scene.start().await;
    let job = Arc::clone(scene.jobs.get("nightly").unwrap());
    let report = no_hang(process.runner.run(&job, ByHand, None, &Scope::default())).await.unwrap().remove(0);
    assert_eq!(report.outcome, Done);
    assert_eq!(report.ping_error.as_deref(), Some("ping_url is no address"));
    process.stop().await;
    assert_eq!(scene.known("nightly").last.unwrap().ping_error.as_deref(), Some("ping_url is no address"));
    assert!(!format!("{job:?} {report:?}").contains("s3cret"));
}
