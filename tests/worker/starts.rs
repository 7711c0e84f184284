//! Starting: who is a worker, and who is not.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use uplifted_ops::ErrorKind;
use uplifted_ops::process::ProcessIdentity;
use uplifted_ops::worker::{MARKER, PROTOCOL_VERSION};

use super::*;

fn echo() -> Value {
    json!({"act": "echo", "value": 1})
}

#[tokio::test]
async fn a_worker_has_its_own_session_priority_and_settings() {
    let (folder, builder) = builder();
    let target = json!([{"name": "memory", "kind": "none", "token": "hunter2"}]);
    // A live object replaces what the settings say, and its secrets still travel.
    let ops = builder
        .setting("target", target)
        .target("memory", Arc::new(uplifted_ops::testing::MemoryTarget::default()))
        .build()
        .unwrap();
    let mine = rustix::process::getpriority_process(None).unwrap();
    for (name, nice) in [("test.heavy", 10), ("test.prompt", mine)] {
        let facts = facts(&ops, name).await;
        let pid = facts["pid"].clone();
        assert_eq!([&facts["parent"], &facts["group"], &facts["session"]], [&json!(std::process::id()), &pid, &pid]);
        assert_eq!(facts["nice"], nice, "{name}");
        assert_eq!(facts["settings"]["target"][0]["token"], "hunter2");
        assert_eq!(facts["root"], json!(folder.path()));
        assert_eq!(facts["state"], json!(folder.path().join(".uplifted-ops")));
        assert_eq!(facts["mode"], "embedded");
        for public in ["command_line", "environment"] {
            assert!(!facts[public].as_str().unwrap().contains("hunter2"), "{public}");
        }
    }
    assert_eq!(ops.context().process.workers(), 2);
}

#[tokio::test]
async fn another_version_is_refused_by_the_host_by_name() {
    let (_folder, builder) = builder_with(&[FIXTURE, "fake", "version"]);
    let error = call(&builder.build().unwrap(), "test.prompt", echo()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(
        error.message().starts_with("the worker is uplifted-ops 9.8.7 with worker protocol 99, this is"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("worker.command"));
    assert_eq!(error.operation(), Some("test.prompt"));
}

#[test]
fn another_version_is_refused_by_the_worker_by_name() {
    let mut worker = by_hand(&["prompt", &identity_of(std::process::id())]);
    let hello = json!({"hello": {"product": "uplifted-ops", "protocol": 99, "version": "9.8.7", "pid": 1}}).to_string();
    let mut stdin = worker.stdin.take().unwrap();
    stdin.write_all(&(hello.len() as u32).to_le_bytes()).unwrap();
    stdin.write_all(&[0; 4]).unwrap();
    stdin.write_all(hello.as_bytes()).unwrap();
    let output = worker.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(70));
    let said: Value = serde_json::from_slice(&output.stdout[8..]).unwrap();
    assert_eq!(said["hello"]["protocol"], PROTOCOL_VERSION);
    assert_eq!(said["hello"]["refused"]["kind"], "unsupported");
    let message = said["hello"]["refused"]["message"].as_str().unwrap();
    assert!(message.starts_with("the host is uplifted-ops 9.8.7 with worker protocol 99"), "{message}");
    drop(stdin);
}

#[tokio::test]
async fn a_program_that_is_no_worker_is_told_what_to_do() {
    let cases: [(&[&str], &str); 5] = [
        (&[FIXTURE, "fake", "silent"], "did not greet within 0.5 s"),
        (&[FIXTURE, "fake", "prints"], "printed something else than a greeting"),
        (&[FIXTURE, "fake", "exits"], "ended before it greeted"),
        (&["cat"], "ended before it greeted"),
        (&["/no/such/program"], "there is no such program"),
    ];
    for (command, message) in cases {
        let (_folder, builder) = builder_with(command);
        let ops = builder.greeting_deadline(Duration::from_millis(500)).build().unwrap();
        let error = call(&ops, "test.prompt", echo()).await.unwrap_err();
        assert!(error.message().contains(message), "{command:?}: {error}");
        assert!(error.hint().unwrap().contains("worker.command"), "{command:?}");
        if command.contains(&"exits") {
            assert!(error.context().contains(&("stderr".into(), "no module named uplifted_ops".into())), "{error:?}");
            assert!(error.context().contains(&("ended".into(), "exit status 3".into())), "{error:?}");
        }
        no_hang(async {
            while ops.context().process.workers() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_service_that_forgot_that_it_may_be_a_worker_does_not_run_twice() {
    let (_folder, builder) = builder_with(&["env", "FORGETFUL=1", FIXTURE]);
    let error = call(&builder.build().unwrap(), "test.prompt", echo()).await.unwrap_err();
    assert!(error.hint().unwrap().contains("run_if_worker()"), "{error:?}");
    let (_, said) = error.context().iter().find(|(name, _)| name == "stderr").unwrap();
    assert!(said.starts_with("this process was started to be a worker, and went on as the service"), "{said}");
}

#[test]
fn an_orphan_and_a_stray_call_end_at_once_with_the_reason() {
    let mut stranger = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let unrelated = identity_of(stranger.id());
    let mut gone = serde_json::from_str::<Value>(&identity_of(std::process::id())).unwrap();
    gone["start_time"] = json!(1);
    let cases = [
        (vec!["prompt".to_owned(), unrelated], "did not start this worker"),
        (vec!["heavy".to_owned(), gone.to_string()], "has ended"),
        (vec![], "are not a lane and a host"),
        (vec!["sideways".to_owned(), identity_of(std::process::id())], "are not a lane and a host"),
        (vec!["prompt".to_owned(), "{}".to_owned()], "are not a lane and a host"),
    ];
    for (arguments, reason) in cases {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = by_hand(&arguments).wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(70), "{said}");
        assert!(said.contains(reason), "{said}");
        assert!(said.contains("not by hand") || reason == "has ended", "{said}");
    }
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn a_wrapper_may_stand_between() {
    let (_folder, builder) = builder_with(&["sh", "-c", "\"$0\" \"$@\"; exit $?", FIXTURE]);
    let ops = builder.setting("worker.cancel_grace_seconds", 0.1).build().unwrap();
    let facts = facts(&ops, "test.heavy").await;
    assert_ne!(facts["parent"], json!(std::process::id()));
    let shell = Watch::on(u32::try_from(facts["parent"].as_u64().unwrap()).unwrap());
    let stages = Arc::new(Stages::default());
    let scope = stages.scope();
    let running = tokio::spawn({
        let (ops, scope) = (ops.clone(), scope.clone());
        async move { call_in(&ops, scope, "test.heavy", json!({"act": "ignore"})).await }
    });
    let family = stages.family().await;
    scope.cancel.cancel();
    assert_eq!(no_hang(running).await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    shell.wait();
    family.iter().for_each(Watch::wait);
}

fn identity_of(pid: u32) -> String {
    serde_json::to_string(&ProcessIdentity::of(pid).unwrap()).unwrap()
}

fn by_hand(arguments: &[&str]) -> std::process::Child {
    let mut command = Command::new(FIXTURE);
    command.arg(MARKER).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn a_worker_whose_host_says_nothing_and_closes_the_pipe_just_ends() {
    let mut worker = by_hand(&["prompt", &identity_of(std::process::id())]);
    drop(worker.stdin.take());
    let mut said = Vec::new();
    worker.stdout.take().unwrap().read_to_end(&mut said).unwrap();
    assert_eq!((worker.wait().unwrap().code(), said.len()), (Some(0), 0));
}
