//! Downtime, clocks that jump, runs that are cut short: each is made up for once, and nothing runs twice.

use std::time::Duration;

use serde_json::json;

use super::scene::{Scene, at, jobs, nightly};
use crate::process::ProcessIdentity;
use crate::schedule::RunOutcome::{Done, Interrupted};
use crate::schedule::Why::{CatchUp, Scheduled};
use crate::schedule::{JobState, Running, Why};

/// A scene in which everything up to `settled` is dealt with.
fn settled(now: &str, settled: &str) -> Scene {
    let scene = Scene::new(now, nightly("ok"));
    let state =
        JobState { schedule: "0 2 * * * (UTC)".to_owned(), settled_until: Some(at(settled)), ..JobState::default() };
    scene.folder().save("nightly", &state).unwrap();
    scene
}

#[tokio::test]
async fn a_job_runs_when_its_time_comes() {
    let scene = Scene::new("2026-03-10T01:30:00Z", nightly("ok"));
    let process = scene.start().await;
    scene.until("2026-03-10T01:59:59Z").await;
    assert_eq!(scene.known("nightly").settled_until, Some(at("2026-03-10T01:30:00Z")), "kept before anything is due");
    scene.until("2026-03-10T02:00:00Z").await;
    scene.ran(&process, 1).await;
    scene.until("2026-03-11T02:00:00Z").await;
    scene.ran(&process, 2).await;
    scene.until("2026-03-11T03:00:00Z").await;
    process.stop().await;
    let expected =
        [(Scheduled, Done, "2026-03-10T02:00:00Z".to_owned()), (Scheduled, Done, "2026-03-11T02:00:00Z".to_owned())];
    assert_eq!(scene.runs(), expected);
    let known = scene.known("nightly");
    assert_eq!(known.runs[&Done], 2);
    assert_eq!(known.running, None);
    assert_eq!(known.last_success_at, Some(at("2026-03-11T02:00:00Z")));
}

#[tokio::test]
async fn what_was_missed_once_or_fifty_times_is_made_up_for_once() {
    for since in ["2026-03-09T02:00:00Z", "2026-01-20T02:00:00Z"] {
        let scene = settled("2026-03-10T12:00:00Z", since);
        let process = scene.start().await;
        scene.pass(59).await;
        assert_eq!(scene.host.begun.borrow().len(), 0, "the service comes first");
        scene.pass(1).await;
        assert_eq!(scene.ran(&process, 1).await[0].why, CatchUp);
        scene.until("2026-03-11T01:59:59Z").await;
        assert_eq!(scene.host.reports.borrow().len(), 1);
        scene.until("2026-03-11T02:00:00Z").await;
        process.stop().await;
        assert_eq!(scene.runs()[1..], [(Scheduled, Done, "2026-03-11T02:00:00Z".to_owned())]);
        assert_eq!(scene.runs().len(), 2);
    }
}

#[tokio::test]
async fn a_restart_at_the_very_time_is_no_downtime() {
    let scene = settled("2026-03-10T02:00:20Z", "2026-03-09T02:00:00Z");
    let process = scene.start().await;
    scene.ran(&process, 1).await;
    process.stop().await;
    assert_eq!(scene.runs(), [(Scheduled, Done, "2026-03-10T02:00:00Z".to_owned())]);
}

#[tokio::test]
async fn a_clock_that_is_set_back_runs_nothing_twice() {
    for minutes in [1, 45, 3 * 60, 23 * 60] {
        let scene = settled("2026-03-10T01:59:00Z", "2026-03-09T02:00:00Z");
        let process = scene.start().await;
        scene.pass(90).await;
        scene.ran(&process, 1).await;
        scene.clock.jump_to(at("2026-03-10T02:00:30Z") - jiff::SignedDuration::from_mins(minutes));
        scene.until("2026-03-11T01:59:00Z").await;
        assert_eq!(scene.host.reports.borrow().len(), 1, "{minutes} minutes");
        // The same after a restart, which knows only what is on the disk.
        process.stop().await;
        let process = scene.start().await;
        scene.until("2026-03-11T02:00:00Z").await;
        process.stop().await;
        assert_eq!(scene.runs().len(), 2, "{minutes} minutes");
    }
}

#[tokio::test]
async fn a_clock_that_was_years_ahead_is_not_believed() {
    let scene = settled("2026-03-10T01:00:00Z", "2026-03-09T02:00:00Z");
    let process = scene.start().await;
    scene.clock.jump_to(at("2035-07-01T12:00:00Z"));
    scene.pass(90).await;
    assert_eq!(scene.ran(&process, 1).await[0].why, CatchUp);
    scene.clock.jump_to(at("2026-03-10T01:02:00Z"));
    scene.until("2026-03-10T02:00:00Z").await;
    scene.ran(&process, 2).await;
    process.stop().await;
    assert_eq!(scene.runs()[1], (Scheduled, Done, "2026-03-10T02:00:00Z".to_owned()));
    // The record of the years ahead, met by a process that was not there.
    let scene = settled("2026-03-10T01:00:00Z", "2035-07-01T12:00:00Z");
    let process = scene.start().await;
    scene.until("2026-03-10T02:00:00Z").await;
    process.stop().await;
    assert_eq!(scene.runs(), [(Scheduled, Done, "2026-03-10T02:00:00Z".to_owned())]);
}

#[tokio::test]
async fn a_clock_that_is_set_forward_runs_it_once() {
    let scene = settled("2026-03-10T01:30:00Z", "2026-03-09T02:00:00Z");
    let process = scene.start().await;
    scene.pass(600).await;
    scene.clock.jump_to(at("2026-03-14T05:00:00Z"));
    // As after a sleep of the machine, the rest of the world comes first.
    scene.pass(60).await;
    assert_eq!(scene.host.begun.borrow().len(), 0);
    scene.pass(60).await;
    scene.until("2026-03-14T23:00:00Z").await;
    process.stop().await;
    assert_eq!(scene.runs(), [(CatchUp, Done, "2026-03-10T02:00:00Z".to_owned())]);
}

#[tokio::test]
async fn a_run_that_the_end_of_its_process_cuts_short_is_made_up_for_once() {
    let scene = Scene::new("2026-03-10T01:59:50Z", nightly("gate"));
    let process = scene.start().await;
    scene.clock.advance(Duration::from_secs(10));
    scene.host.begun(1).await;
    process.die().await;
    // This process lives, so that only the lock says that nobody runs it.
    assert!(scene.known("nightly").running.is_some());
    scene.clock.advance(Duration::from_secs(3600));
    let process = scene.start().await;
    let cut_short = &scene.ran(&process, 1).await[0];
    assert_eq!((cut_short.outcome, cut_short.duration_seconds), (Interrupted, None));
    assert!(scene.known("nightly").owed);
    scene.pass(60).await;
    scene.host.begun(2).await;
    // It takes its process down again: then it waits for its time.
    process.die().await;
    let process = scene.start().await;
    assert!(!scene.known("nightly").owed);
    scene.pass(600).await;
    assert_eq!(scene.host.begun.borrow().len(), 2);
    scene.host.gate.send_replace(true);
    scene.until("2026-03-11T02:00:00Z").await;
    scene.ran(&process, 3).await;
    process.stop().await;
    let outcomes: Vec<_> = scene.runs().into_iter().map(|(why, outcome, _)| (why, outcome)).collect();
    assert_eq!(outcomes, [(Scheduled, Interrupted), (CatchUp, Interrupted), (Scheduled, Done)]);
    assert_eq!(scene.known("nightly").interrupted_in_a_row, 0);
}

#[tokio::test]
async fn a_run_of_a_process_that_is_long_dead_is_made_up_for() {
    let scene = settled("2026-03-10T12:00:00Z", "2026-03-10T02:00:00Z");
    let owner = ProcessIdentity { start_time: 1, ..ProcessIdentity::current() };
    let running =
        Running { since: at("2026-03-10T02:00:00Z"), why: Why::Scheduled, scheduled_for: None, owner: owner.clone() };
    let mut state = scene.known("nightly");
    state.running = Some(running.clone());
    scene.folder().save("nightly", &state).unwrap();
    let process = scene.start().await;
    scene.pass(60).await;
    scene.ran(&process, 2).await;
    process.stop().await;
    assert_eq!(scene.runs()[1].0, CatchUp);
    // Whoever asked by hand sees that it is gone.
    state.running = Some(Running { why: Why::ByHand, ..running });
    scene.folder().save("nightly", &state).unwrap();
    let process = scene.start().await;
    scene.pass(600).await;
    process.stop().await;
    assert_eq!(scene.runs().len(), 3);
    assert_eq!(scene.runs()[2], (Why::ByHand, Interrupted, String::new()));
}

#[tokio::test]
async fn another_schedule_begins_anew() {
    for changed in [
        json!([{ "name": "nightly", "operation": "ok", "schedule": "0 3 * * *" }]),
        json!([{ "name": "nightly", "operation": "ok", "schedule": "0 2 * * *", "timezone": "Asia/Tokyo" }]),
    ] {
        let mut scene = settled("2026-03-10T12:00:00Z", "2026-03-09T02:00:00Z");
        scene.jobs = jobs(changed);
        let process = scene.start().await;
        scene.pass(600).await;
        process.stop().await;
        assert_eq!(scene.runs(), []);
    }
}

#[tokio::test]
async fn a_lost_or_damaged_record_costs_what_was_missed_and_nothing_else() {
    for damage in [None, Some(&b"{\"settled_until\": \"2026-0"[..]), Some(b"\xff\0"), Some(b"[]")] {
        let scene = settled("2026-03-10T12:00:00Z", "2026-03-08T02:00:00Z");
        let file = scene.folder().path().join("nightly.json");
        match damage {
            None => std::fs::remove_file(&file).unwrap(),
            Some(bytes) => std::fs::write(&file, bytes).unwrap(),
        }
        let process = scene.start().await;
        scene.until("2026-03-11T02:00:00Z").await;
        scene.ran(&process, 1).await;
        process.stop().await;
        assert_eq!(scene.runs(), [(Scheduled, Done, "2026-03-11T02:00:00Z".to_owned())]);
    }
}
