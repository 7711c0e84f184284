use std::os::unix::net::UnixListener;
use std::time::Instant;

use super::*;
use crate::ops::{OpsBuilder, RunMode};

fn builder(folder: &tempfile::TempDir, mode: RunMode) -> OpsBuilder {
    Ops::builder().root(folder.path()).environment([]).mode(mode)
}

fn beside(folder: &tempfile::TempDir) -> Ops {
    builder(folder, RunMode::CommandLine).build().unwrap()
}

fn socket(folder: &tempfile::TempDir) -> PathBuf {
    let state = folder.path().join(".uplifted-ops");
    std::fs::create_dir_all(&state).unwrap();
    state.join(SOCKET)
}

async fn running(ops: &Ops) -> Running {
    match Running::find(ops).await.unwrap() {
        Found::Service(running) => running,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_running_service_tells_what_it_alone_knows() {
    let folder = tempfile::tempdir().unwrap();
    let service = builder(&folder, RunMode::Embedded).build().unwrap();
    let beside = beside(&folder);
    let running = running(&beside).await;
    assert_eq!((running.pid, &running.complaint), (Some(std::process::id()), &None));
    let scope = beside.scope();
    let answer = running.ask("metrics.history", &json!({ "range_seconds": 60 }), &scope).await.unwrap();
    assert!(answer.healthy && answer.response["series"].is_array(), "{answer:?}");
    let answer = running.ask("status", &json!({}), &scope).await.unwrap();
    assert_eq!(
        (&answer.response["mode"], &answer.response["socket"]["state"]),
        (&json!("embedded"), &json!("serving"))
    );
    let error = running.ask("metrics.history", &json!({ "raneg_seconds": 60 }), &scope).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    // Who reads may not write, be it on the socket.
    let error = running.ask("backup.create", &json!({}), &scope).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    scope.cancel.cancel();
    let error = running.ask("status", &json!({}), &scope).await;
    assert!(error.is_err_and(|error| error.kind() == ErrorKind::Cancelled) || scope.cancel.is_cancelled());
    service.close(Duration::from_secs(30)).await.unwrap();
    assert!(!socket(&folder).exists());
    assert!(matches!(Running::find(&beside).await.unwrap(), Found::Nobody));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_hangs_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let service = builder(&folder, RunMode::Embedded).setting("health.heartbeat_seconds", 0.2).build().unwrap();
    let pulse = service.pulse("event loop");
    pulse.beat();
    let beside = beside(&folder);
    let until = Instant::now() + Duration::from_secs(30);
    let complaint = loop {
        if let Some(complaint) = running(&beside).await.complaint {
            break complaint;
        }
        assert!(Instant::now() < until, "it is believed");
    };
    assert!(complaint.starts_with("the service hangs: event loop of process "), "{complaint}");
}

#[tokio::test]
async fn one_that_died_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    drop(UnixListener::bind(socket(&folder)).unwrap());
    let Found::Gone(why) = Running::find(&beside(&folder)).await.unwrap() else { panic!("it is there") };
    assert!(why.contains("nobody listens on") && why.contains("ops.sock"), "{why}");
}

/// As a stopped process does: the kernel lets the client in, and that is all.
#[tokio::test]
async fn one_that_does_not_answer_meets_a_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let _listener = UnixListener::bind(socket(&folder)).unwrap();
    let beside = beside(&folder);
    tokio::time::pause();
    let error = Running::find(&beside).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    assert!(error.message().contains("has not answered for 5 s"), "{error:?}");
    assert!(error.hint().unwrap().contains("--local"));
}

#[tokio::test]
async fn something_else_that_listens_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let listener = tokio::net::UnixListener::bind(socket(&folder)).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0\r\n").await;
        }
    });
    let Found::Gone(why) = Running::find(&beside(&folder)).await.unwrap() else { panic!("it is believed") };
    assert!(why.contains("cannot be asked"), "{why}");
}
