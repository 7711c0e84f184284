//! Crashes, panics, garbage: an error with a report, and the next call works.

use serde_json::json;
use uplifted_ops::{Error, ErrorKind};

use super::*;

fn context_of<'a>(error: &'a Error, name: &str) -> &'a str {
    let found = error.context().iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str()).unwrap_or_else(|| panic!("no {name} in {error:?}"))
}

#[tokio::test]
async fn a_worker_that_dies_is_reported_and_replaced() {
    let (_folder, builder) = builder();
    let ops = builder.build().unwrap();
    let cases = [
        (json!({"act": "signal", "number": 9}), ErrorKind::Unavailable, "was killed by signal 9 (SIGKILL)"),
        (json!({"act": "signal", "number": 6}), ErrorKind::Internal, "ended with signal 6 (SIGABRT)"),
        (json!({"act": "signal", "number": 15}), ErrorKind::Unavailable, "was stopped by signal 15 (SIGTERM)"),
        (json!({"act": "exit", "code": 3}), ErrorKind::Internal, "ended with exit status 3"),
        (json!({"act": "exit", "code": 0}), ErrorKind::Internal, "ended with exit status 0"),
    ];
    for (act, kind, message) in cases {
        let before = pid_of(&facts(&ops, "test.heavy").await);
        let error = call(&ops, "test.heavy", act.clone()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.message().starts_with("the worker of test.heavy"), "{error}");
        assert!(error.message().contains(message), "{error}");
        assert!(error.retryable());
        assert!(error.hint().unwrap().starts_with("nothing was lost: try again"));
        assert_eq!(context_of(&error, "stderr"), "last words");
        if act["act"] == "signal" {
            assert_eq!(context_of(&error, "stage"), "copying database main");
            assert!(error.message().ends_with("while copying database main"), "{error}");
        }
        assert_ne!(pid_of(&facts(&ops, "test.heavy").await), before);
    }
}

#[tokio::test]
async fn garbage_oversized_and_half_frames_are_reported() {
    let cases = [
        ("garbage", "sent garbage"),
        ("oversized", "sent garbage"),
        ("half", "sent garbage"),
        ("end", "ended with exit status 0"),
    ];
    for (how, message) in cases {
        let (_folder, builder) = builder_with(&[FIXTURE, "fake", how]);
        let ops = builder.build().unwrap();
        for _ in 0..2 {
            let error = call(&ops, "test.prompt", json!({"act": "facts"})).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Internal, "{how}: {error:?}");
            assert!(error.message().contains(message), "{how}: {error}");
        }
    }
}

#[tokio::test]
async fn an_idle_worker_that_was_killed_is_not_used() {
    let (_folder, builder) = builder();
    let ops = builder.build().unwrap();
    let pid = pid_of(&facts(&ops, "test.prompt").await);
    let watch = Watch::on(pid);
    let raw = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(raw, rustix::process::Signal::KILL).unwrap();
    watch.wait();
    no_hang(async {
        while ops.context().process.workers() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_ne!(pid_of(&facts(&ops, "test.prompt").await), pid);
}

#[tokio::test]
async fn a_panic_is_an_error_with_its_place_and_the_worker_is_replaced() {
    let (_folder, builder) = builder();
    let ops = builder.build().unwrap();
    let before = pid_of(&facts(&ops, "test.prompt").await);
    let error = call(&ops, "test.prompt", json!({"act": "panic", "message": "on purpose"})).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Internal, Some("test.prompt")));
    assert!(error.message().starts_with("panicked at tests/support/puppet.rs:"), "{error}");
    assert!(error.message().ends_with(": on purpose"), "{error}");
    assert_ne!(pid_of(&facts(&ops, "test.prompt").await), before);

    let error = call(&ops, "test.host", json!({"act": "panic", "message": "in the host"})).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Internal, "panicked: in the host"));
}

#[tokio::test]
async fn an_error_keeps_its_chain() {
    let (_folder, builder) = builder();
    let ops = builder.build().unwrap();
    let of_worker = call(&ops, "test.prompt", json!({"act": "fail"})).await.unwrap_err().to_body();
    let of_host = call(&ops, "test.host", json!({"act": "fail"})).await.unwrap_err().to_body();
    assert_eq!(of_worker.operation.as_deref(), Some("test.prompt"));
    assert_eq!((of_worker.kind, &of_worker.causes), (ErrorKind::Busy, &vec!["why".to_owned()]));
    assert_eq!((of_worker.hint, of_worker.message), (of_host.hint, of_host.message));
}

#[tokio::test]
async fn stray_prints_never_reach_the_frames() {
    let (_folder, builder) = builder();
    let ops = builder.build().unwrap();
    let before = pid_of(&facts(&ops, "test.prompt").await);
    // What it reads from standard input is nothing, rather than our frames.
    assert_eq!(call(&ops, "test.prompt", json!({"act": "print"})).await.unwrap(), json!(""));
    assert_eq!(pid_of(&facts(&ops, "test.prompt").await), before);
}
