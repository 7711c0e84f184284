//! Operations with components of another language, those that run in a worker included; and the end of it all.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use uplifted_ops::embed::{self, Contract};
use uplifted_ops::ops::Ops;
use uplifted_ops::{Error, ErrorKind, Progress, Result, Scope};
use uplifted_ops_tests::plugins::{Memory, answering, commit, lines, stuck};

use super::{HANG, builder, no_hang};

async fn call(ops: &Ops, name: &str, request: Value) -> Result<Value> {
    let answered = no_hang(embed::call(ops, Scope::default(), name, &request.to_string(), None)).await?;
    Ok(serde_json::from_str(&answered.response).unwrap())
}

#[tokio::test]
async fn a_backup_of_a_foreign_store_to_a_foreign_target_is_restored() {
    for camel in [false, true] {
        let (folder, builder) = builder();
        let root = folder.path();
        fs::write(root.join("plain.txt"), "plain").unwrap();
        commit(root, 30_000);
        let memory = Memory::default();
        let ops = builder
            .setting("backup.include", json!(["."]))
            .plugin(Contract::Target, "offsite", memory.object(camel).shared())
            .and_then(|builder| builder.plugin(Contract::Store, "main", lines(root).shared()))
            .unwrap()
            .build()
            .unwrap();
        let created = call(&ops, "backup.create", json!({})).await.unwrap();
        assert_eq!(created["outcome"], "complete", "{created}");
        let id = &created["snapshot_id"];
        assert!(!memory.keys().is_empty());
        // What is written after the copy is not in it.
        commit(root, 1);
        let listed = call(&ops, "backup.list", json!({})).await.unwrap();
        assert_eq!(listed["snapshots"][0]["snapshot_id"], *id, "{listed}");
        let verified = call(&ops, "backup.verify", json!({"snapshot_id": id, "depth": "full"})).await.unwrap();
        assert_eq!(verified["ok"], true, "{verified}");
        let into = tempfile::tempdir().unwrap();
        let into = into.path().join("restored");
        call(&ops, "restore.apply", json!({"snapshot_id": id, "into": into})).await.unwrap();
        assert_eq!(fs::read_to_string(into.join("plain.txt")).unwrap(), "plain");
        assert_eq!(fs::read(into.join("rows.txt")).unwrap().len(), 5 + 30_000 * 4);
        let stats = call(&ops, "store.stats", json!({})).await.unwrap();
        assert_eq!(stats["stores"][0]["kind"], "lines", "{stats}");
        no_hang(ops.close(HANG)).await.unwrap();
    }
}

#[tokio::test]
async fn a_store_without_a_file_makes_a_backup_partial_and_is_named() {
    let (folder, builder) = builder();
    fs::write(folder.path().join("plain.txt"), "plain").unwrap();
    commit(folder.path(), 3);
    let memory = Memory::default();
    let server = lines(folder.path()).capability(json!({"kind": "server", "file": null}));
    let ops = builder
        .setting("backup.include", json!(["plain.txt"]))
        .plugin(Contract::Target, "offsite", memory.object(false).shared())
        .and_then(|builder| builder.plugin(Contract::Store, "orders", server.shared()))
        .unwrap()
        .build()
        .unwrap();
    let made = no_hang(embed::call(&ops, Scope::default(), "backup.create", "{}", None)).await.unwrap();
    assert!(!made.healthy, "it exits 1");
    let created: Value = serde_json::from_str(&made.response).unwrap();
    assert_eq!(created["outcome"], "partial", "{created}");
    let [skipped] = created["skipped"].as_array().unwrap().as_slice() else { panic!("{created}") };
    assert_eq!((&skipped["path"], &skipped["reason"]), (&json!("orders"), &json!("database")));
    let message = skipped["message"].as_str().unwrap();
    assert!(message.starts_with("the database of store \"orders\" is missing: its store names no file"), "{message}");
    assert_eq!(created["files"], 1, "what is a file is in it");
    // Whoever looks at the snapshot later is told the same.
    let listed = call(&ops, "backup.list", json!({})).await.unwrap();
    assert_eq!(listed["snapshots"][0]["outcome"], "partial", "{listed}");
    // Its own operations work.
    let stats = call(&ops, "store.stats", json!({"store": "orders"})).await.unwrap();
    assert_eq!(stats["stores"][0]["ok"], true, "{stats}");
    no_hang(ops.close(HANG)).await.unwrap();
}

#[tokio::test]
async fn a_backup_that_its_target_garbles_is_an_error_that_names_it() {
    let (folder, builder) = builder();
    fs::write(folder.path().join("plain.txt"), "plain").unwrap();
    let target = answering(json!("yes")).shared();
    let error = builder.plugin(Contract::Target, "offsite", target).unwrap_err();
    assert!(error.message().starts_with("target \"offsite\" (class Asked) has no methods put, upload, get"), "{error}");
    let (folder, builder) = super::builder();
    fs::write(folder.path().join("plain.txt"), "plain").unwrap();
    let garbles = uplifted_ops_tests::plugins::Object::quick("Garbles", Memory::METHODS, |_| {
        Ok(uplifted_ops::embed::PluginReply::json(json!("garbage")))
    });
    let ops = builder.plugin(Contract::Target, "offsite", garbles.shared()).unwrap().build().unwrap();
    let said = match call(&ops, "backup.create", json!({})).await {
        Ok(response) => response.to_string(),
        Err(error) => json!(error.to_body()).to_string(),
    };
    assert!(said.contains("answered") && said.contains("garbage"), "{said}");
}

#[tokio::test]
async fn text_goes_in_and_text_comes_out() {
    let (_folder, builder) = builder();
    let ops = builder.build().unwrap();
    let run =
        async |name: &str, text: &str, timeout| no_hang(embed::call(&ops, Scope::default(), name, text, timeout)).await;
    let answered = run("status", "", None).await.unwrap();
    assert!(answered.healthy && answered.response.starts_with('{'));
    let big =
        run("test.prompt", r#"{"act": "echo", "value": [18446744073709551615, -9223372036854775808]}"#, None).await;
    assert_eq!(big.unwrap().response, r#"{"value":[18446744073709551615,-9223372036854775808]}"#);
    assert!(!run("test.host", r#"{"act": "echo", "value": "unwell"}"#, None).await.unwrap().healthy);
    let error = run("status", "{", None).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidInput, Some("status")));
    let error = run("test.prompt", r#"{"act": "wait"}"#, Some(Duration::from_millis(200))).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Timeout, Some("test.prompt")));
    assert_eq!(error.message(), "test.prompt did not end within 0.2 s and was cancelled");
    let error = run("test.host", r#"{"act": "wait"}"#, Some(Duration::from_millis(10))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    // In time, the limit changes nothing.
    assert!(run("test.host", r#"{"act": "echo", "value": 1}"#, Some(HANG)).await.is_ok());
}

/// Starts an operation that waits, and returns once it does.
async fn waiting(ops: &Ops, name: &str) -> tokio::task::JoinHandle<Result<embed::Answered>> {
    let begun = Arc::new(tokio::sync::Notify::new());
    let bell = Arc::clone(&begun);
    let scope = Scope { progress: Progress::new(move |_| bell.notify_one()), ..Scope::default() };
    let task = tokio::spawn(embed::call(ops, scope, name, r#"{"act": "wait"}"#, None));
    no_hang(begun.notified()).await;
    task
}

#[tokio::test]
async fn closing_cancels_what_runs_and_refuses_what_comes() {
    let (_folder, builder) = builder();
    let ops = builder.build().unwrap();
    let clone = ops.clone();
    let (in_host, in_worker) = (waiting(&ops, "test.host").await, waiting(&ops, "test.heavy").await);
    assert!(ops.context().process.workers() > 0 && !ops.is_closed());
    let (one, two) = no_hang(async { tokio::join!(ops.close(HANG), clone.close(HANG)) }).await;
    one.and(two).unwrap();
    assert_eq!((clone.is_closed(), ops.context().process.workers()), (true, 0));
    for task in [in_host, in_worker] {
        let error = no_hang(task).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert!(error.message().ends_with("was cancelled: the Ops was closed"), "{error}");
    }
    let refused = |error: Error| {
        assert_eq!((error.kind(), error.message()), (ErrorKind::Refused, "this Ops is closed"));
        assert!(error.hint().unwrap().starts_with("build another one"));
    };
    refused(call(&clone, "status", json!({})).await.unwrap_err());
    let blocking = tokio::task::spawn_blocking(move || clone.blocking().call(Scope::default(), "status", json!({})));
    refused(no_hang(blocking).await.unwrap().unwrap_err());
    no_hang(ops.close(Duration::ZERO)).await.unwrap();
    // Blocking, on a thread of a runtime: the worst place for it.
    ops.blocking().close(Duration::ZERO).unwrap();
}

#[tokio::test]
async fn closing_does_not_wait_for_ever() {
    let (_folder, builder) = builder();
    let ops = builder.setting("worker.cancel_grace_seconds", 1000).build().unwrap();
    let (told, mut stage) = tokio::sync::mpsc::unbounded_channel();
    let progress = Progress::new(move |event| told.send(event.stage).unwrap());
    let scope = Scope { progress, ..Scope::default() };
    let ignores = tokio::spawn(ops.call(scope, "test.heavy", json!({"act": "ignore"})));
    let pids = no_hang(stage.recv()).await.unwrap();
    let error = no_hang(ops.close(Duration::from_millis(300))).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Timeout, "what ran did not stop within 0.3 s and was abandoned")
    );
    assert_eq!(no_hang(ignores).await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    // Its worker was killed all the same, with what it had started: what is left of them is nobody's child.
    assert_eq!(ops.context().process.workers(), 0);
    for pid in pids.split_whitespace().skip(1) {
        let gone = async {
            // Those in the middle of ending are still listed, as zombies of whoever reaps them.
            while std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
                tokio::task::yield_now().await;
            }
        };
        no_hang(gone).await;
    }
}

#[tokio::test]
async fn an_object_of_the_settings_name_takes_its_place() {
    let (_folder, builder) = builder();
    let hangs = stuck("Hangs", "check").shared();
    let ops = builder
        .setting("check", json!([{"name": "api", "kind": "tcp", "address": "127.0.0.1:1", "critical": false}]))
        .plugin(Contract::Check, "api", hangs);
    let ops = ops.unwrap().callback_deadline(Duration::from_millis(50)).build().unwrap();
    let report = call(&ops, "health.check", json!({})).await.unwrap();
    let api = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "api").unwrap();
    assert!(api["message"].as_str().unwrap().contains("check \"api\".check did not answer within 0.05 s"), "{api}");
}
