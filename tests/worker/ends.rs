//! Ends: of the host, of an `Ops`, of an idle worker, and what a fork must not end.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::json;
use uplifted_ops::ErrorKind;

use super::*;

#[test]
fn the_worker_and_all_it_started_go_with_a_host_that_is_killed() {
    let mut host = Command::new(FIXTURE).arg("host").stdout(Stdio::piped()).spawn().unwrap();
    let mut stage = String::new();
    BufReader::new(host.stdout.take().unwrap()).read_line(&mut stage).unwrap();
    let family = watches(&stage);
    assert_eq!(family.len(), 4, "{stage}");
    host.kill().unwrap();
    host.wait().unwrap();
    family.iter().for_each(Watch::wait);
}

#[test]
fn a_fork_of_the_host_gets_a_clear_error_and_harms_nothing() {
    let output = Command::new("timeout").args(["60", FIXTURE, "fork"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "well\n", "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn an_ops_dropped_in_async_code_ends_its_workers_and_what_they_do() {
    let (_folder, builder) = builder();
    let ops = builder.setting("worker.cancel_grace_seconds", 0.2).build().unwrap();
    let idle = Watch::on(pid_of(&facts(&ops, "test.prompt").await));
    let stages = Arc::new(Stages::default());
    // The call's future is alive and holds no handle that was dropped: it is never polled again.
    let mut running = Box::pin(ops.call(stages.scope(), "test.heavy", json!({"act": "ignore"})));
    let family = no_hang(async {
        tokio::select! {
            _ = &mut running => panic!("it does not end"),
            family = stages.family() => family,
        }
    })
    .await;
    drop(running);
    drop(ops);
    idle.wait();
    family.iter().for_each(Watch::wait);
}

#[test]
fn an_ops_works_and_ends_without_any_runtime() {
    let (_folder, builder) = builder();
    let ops = builder.build().unwrap();
    let answer = ops.blocking().call(Scope::default(), "test.prompt", json!({"act": "facts"})).unwrap();
    let worker = Watch::on(pid_of(&answer.response["value"]));
    drop(ops);
    worker.wait();
}

#[tokio::test]
async fn two_ops_in_one_process_have_their_own_workers() {
    let ((_a, first), (_b, second)) = (builder(), builder());
    let (first, second) = (first.build().unwrap(), second.build().unwrap());
    let of_first = facts(&first, "test.prompt").await;
    let of_second = facts(&second, "test.prompt").await;
    assert_ne!(of_first["pid"], of_second["pid"]);
    assert_ne!(of_first["root"], of_second["root"]);
    let gone = Watch::on(pid_of(&of_first));
    drop(first);
    gone.wait();
    assert_eq!(facts(&second, "test.prompt").await["pid"], of_second["pid"]);
}

#[tokio::test]
async fn idle_workers_end_after_their_time() {
    let (_folder, builder) = builder();
    let ops = builder.setting("worker.idle_seconds", 0.3).build().unwrap();
    for name in ["test.prompt", "test.heavy"] {
        Watch::on(pid_of(&facts(&ops, name).await)).wait();
    }
    let (_folder, builder) = self::builder();
    let ops = builder.setting("worker.idle_seconds", 0).build().unwrap();
    let first = facts(&ops, "test.prompt").await;
    assert_ne!(facts(&ops, "test.prompt").await["pid"], first["pid"]);
    let error = self::builder().1.setting("worker.idle_seconds", -1).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_worker_stays_while_its_ops_does() {
    let (_folder, builder) = builder();
    let ops = builder.build().unwrap();
    let worker = Watch::on(pid_of(&facts(&ops, "test.prompt").await));
    let clone = ops.clone();
    drop(ops);
    facts(&clone, "test.prompt").await;
    assert!(!worker.has_ended());
}
