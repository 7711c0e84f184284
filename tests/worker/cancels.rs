//! Cancelling: asked, ignored, dropped, not now.

use rustix::fs::{CWD, FileType, mknodat};
use serde_json::json;
use uplifted_ops::ErrorKind;

use super::*;

#[tokio::test]
async fn a_cancel_is_heard_and_the_worker_stays() {
    let (_folder, builder) = builder();
    let ops = builder.build().unwrap();
    let before = pid_of(&facts(&ops, "test.heavy").await);
    let stages = Arc::new(Stages::default());
    let scope = stages.scope();
    let running = tokio::spawn({
        let (ops, scope) = (ops.clone(), scope.clone());
        async move { call_in(&ops, scope, "test.heavy", json!({"act": "wait"})).await }
    });
    stages.reached("waiting").await;
    scope.cancel.cancel();
    let error = no_hang(running).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Cancelled, "cancelled by the caller"));
    assert_eq!(pid_of(&facts(&ops, "test.heavy").await), before);
    // One that is cancelled already does not begin.
    assert_eq!(
        call_in(&ops, scope, "test.heavy", json!({"act": "wait"})).await.unwrap_err().kind(),
        ErrorKind::Cancelled
    );
}

#[tokio::test]
async fn one_that_ignores_the_cancel_is_killed_with_all_it_started() {
    let (_folder, builder) = builder();
    let ops = builder.setting("worker.cancel_grace_seconds", 0.2).build().unwrap();
    let stages = Arc::new(Stages::default());
    let scope = stages.scope();
    let running = tokio::spawn({
        let (ops, scope) = (ops.clone(), scope.clone());
        async move { call_in(&ops, scope, "test.heavy", json!({"act": "ignore"})).await }
    });
    let family = stages.family().await;
    assert_eq!(family.len(), 4);
    scope.cancel.cancel();
    let error = no_hang(running).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(error.message().contains("did not stop within 0.2 s and its worker was killed"), "{error}");
    family.iter().for_each(Watch::wait);
    facts(&ops, "test.heavy").await;
}

#[tokio::test]
async fn a_dropped_future_cancels() {
    let (_folder, builder) = builder();
    let ops = builder.setting("worker.cancel_grace_seconds", 0.2).build().unwrap();
    let stages = Arc::new(Stages::default());
    let running = tokio::spawn({
        let (ops, scope) = (ops.clone(), stages.scope());
        async move { call_in(&ops, scope, "test.prompt", json!({"act": "ignore"})).await }
    });
    let family = stages.family().await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    family.iter().for_each(Watch::wait);
}

#[tokio::test]
async fn what_must_not_be_interrupted_is_waited_for() {
    let (folder, builder) = builder();
    let ops = builder.setting("worker.cancel_grace_seconds", 0.05).build().unwrap();
    let gate = folder.path().join("gate");
    mknodat(CWD, &gate, FileType::Fifo, 0o600.into(), 0).unwrap();
    let stages = Arc::new(Stages::default());
    let scope = stages.scope();
    let running = tokio::spawn({
        let (ops, scope, gate) = (ops.clone(), scope.clone(), gate.clone());
        async move { call_in(&ops, scope, "test.heavy", json!({"act": "firm", "gate": gate})).await }
    });
    stages.reached("swapping").await;
    scope.cancel.cancel();
    // Many times the grace.
    assert!(tokio::time::timeout(Duration::from_millis(700), std::future::pending::<()>()).await.is_err());
    assert!(!running.is_finished());
    tokio::task::spawn_blocking(move || std::fs::write(gate, "go")).await.unwrap().unwrap();
    assert_eq!(no_hang(running).await.unwrap().unwrap(), json!("finished"));
}

#[tokio::test]
async fn lanes_do_not_wait_for_each_other_and_a_third_call_waits_its_turn() {
    let (_folder, builder) = builder();
    let ops = builder.build().unwrap();
    let busy: Vec<_> = (0..2).map(|_| busy(&ops)).collect();
    for (stages, ..) in &busy {
        stages.reached("waiting").await;
    }
    // The prompt lane is free.
    facts(&ops, "test.prompt").await;
    // The third waits, and can be cancelled there.
    let (third_stages, third_scope, third) = self::busy(&ops);
    let (fourth_stages, fourth_scope, fourth) = self::busy(&ops);
    facts(&ops, "test.prompt").await;
    assert!(third_stages.0.lock().unwrap().is_empty());
    third_scope.cancel.cancel();
    let error = no_hang(third).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(error.message().ends_with("before test.heavy began"), "{error}");
    // One that ends makes room.
    busy[0].1.cancel.cancel();
    fourth_stages.reached("waiting").await;
    assert_eq!(ops.context().process.workers(), 3);
    for scope in [&busy[1].1, &fourth_scope] {
        scope.cancel.cancel();
    }
    assert!(no_hang(fourth).await.unwrap().is_err());
}

type Running = tokio::task::JoinHandle<Result<Value>>;

fn busy(ops: &Ops) -> (Arc<Stages>, Scope, Running) {
    let stages = Arc::new(Stages::default());
    let scope = stages.scope();
    let (ops, theirs) = (ops.clone(), scope.clone());
    (stages, scope, tokio::spawn(async move { call_in(&ops, theirs, "test.heavy", json!({"act": "wait"})).await }))
}

#[tokio::test]
async fn an_interrupt_from_the_terminal_is_the_hosts_affair() {
    let (_folder, builder) = builder();
    let ops = builder.build().unwrap();
    let pid = pid_of(&facts(&ops, "test.prompt").await);
    let raw = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(raw, rustix::process::Signal::INT).unwrap();
    assert_eq!(pid_of(&facts(&ops, "test.prompt").await), pid);
}
