//! What crosses: arguments in their order, answers with their defaults, and garbage of many kinds.

use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use uplifted_ops::backup::BackupTarget;
use uplifted_ops::backup::target::MAX_BLOCK;
use uplifted_ops::embed::{self, Argument, PluginReply, Spelling};
use uplifted_ops::health::CheckStatus;
use uplifted_ops::store::{CheckDepth, MaintenanceTask, Store};
use uplifted_ops::{Error, ErrorKind, Result, Scope};
use uplifted_ops_tests::plugins::{Memory, Object, all_methods, answering, stuck};

use super::HANG;

/// A target whose every method gives this answer.
fn target(reply: impl Fn() -> PluginReply + Send + Sync + 'static) -> Arc<dyn BackupTarget> {
    let object =
        Object::quick("Foo", &all_methods(), move |_| Ok(reply())).capability(json!({"read_before_finish": true}));
    embed::target("t", object.shared(), HANG).unwrap()
}

fn store(reply: Value) -> Arc<dyn Store> {
    let object = Object::quick("Foo", &all_methods(), move |_| Ok(PluginReply::json(reply.clone())));
    let object = object.capability(json!({"kind": "x", "file": null, "maintenance": ["optimize"]}));
    embed::store("s", object.shared(), HANG).unwrap()
}

fn message<T>(result: Result<T>) -> String {
    let error = result.err().expect("garbage was taken for an answer");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.hint().unwrap().starts_with("correct Foo."), "{:?}", error.hint());
    error.message().to_owned()
}

#[tokio::test]
async fn garbage_names_the_component_the_method_what_came_and_what_was_wanted() {
    let scope = Scope::default();
    let list = |value: Value| target(move || PluginReply::json(value.clone()));
    let object = |key: &str| json!({"key": key, "size_bytes": 1, "modified_at": "2026-01-01T00:00:00Z"});
    let wanted = "not a list of {key, size_bytes, modified_at}, sorted by key";
    for (value, came, why) in [
        (json!(null), "nothing", "invalid type: null, expected a sequence"),
        (json!("abc"), "\"abc\"", "invalid type: string \"abc\", expected a sequence"),
        (json!({"a": 1}), "{\"a\":1}", "invalid type: map, expected a sequence"),
        (json!([1]), "[1]", "[0]: invalid type: integer `1`, expected struct Object"),
        (json!([{"key": "a"}]), "[{\"key\":\"a\"}]", "[0]: missing field `size_bytes`"),
    ] {
        let said = message(list(value).list(&scope, "", None).await);
        assert_eq!(said, format!("target \"t\".list answered {came}, {wanted}: {why}"));
    }
    for (value, why) in [
        (
            json!([{"key": "a", "size_bytes": -1, "modified_at": "2026-01-01T00:00:00Z"}]),
            "[0].size_bytes: invalid value: integer `-1`, expected u64",
        ),
        (json!([object("p/b"), object("p/a")]), "\"p/a\" does not come after \"p/b\" in byte order"),
        (json!([object("p/a"), object("p/a")]), "\"p/a\" does not come after \"p/a\" in byte order"),
        (json!([object("p/0")]), "\"p/0\" does not come after \"p/1\" in byte order"),
        (json!([object("q/9")]), "\"q/9\" does not start with \"p/\""),
        (
            json!((0..1001).map(|n| object(&format!("p/a{n:04}"))).collect::<Vec<_>>()),
            "1001 objects came, 1000 are the most",
        ),
    ] {
        let said = message(list(value).list(&scope, "p/", Some("p/1")).await);
        assert!(said.ends_with(why), "{said}");
    }
    let said = message(target(|| PluginReply::bytes(*b"xyz")).stat(&scope, "a").await);
    assert_eq!(said, "target \"t\".stat answered 3 bytes, not {key, size_bytes, modified_at} or nothing");
    let said = message(list(object("b")).stat(&scope, "a").await);
    assert!(said.ends_with("or nothing: \"a\" was asked for"), "{said}");
    let said = message(list(json!("yes")).put(&scope, "a", b"", true).await);
    assert!(said.starts_with("target \"t\".put answered \"yes\", not true when it stored"), "{said}");
    message(list(json!(null)).put(&scope, "a", b"", true).await);
    message(list(json!(false)).put(&scope, "a", b"", false).await);
    let said = message(list(json!("abc")).get(&scope, "a", 0..1).await);
    assert_eq!(said, "target \"t\".get answered \"abc\", not bytes, or nothing when there is no such object");
    message(list(json!(-1)).free_bytes(&scope).await);
    let long = message(list(json!("x".repeat(100_000))).free_bytes(&scope).await);
    assert!(long.len() < 600, "{long}");
    let said = message(list(json!({})).upload(&scope, "a", None).await.map(drop));
    assert_eq!(said, "target \"t\".upload answered {}, not an object with write, finish and abort");
    let returns_object = || target(|| PluginReply::object(stuck("Half", "write finish").shared()));
    let said = message(returns_object().list(&scope, "", None).await);
    assert!(said.starts_with("target \"t\".list answered an object of class Half, not a list"), "{said}");
    let error = returns_object().upload(&scope, "a", None).await.unwrap_err();
    assert_eq!(
        (error.message(), error.hint()),
        ("upload \"t\" (class Half) has no method abort", Some("add to class Half: abort()"))
    );
    let no_read_back = target(|| PluginReply::object(stuck("Half", "write finish abort").shared()));
    let error = no_read_back.upload(&scope, "a", None).await.unwrap_err();
    assert_eq!(error.message(), "upload \"t\" (class Half) has no method read_back");
}

#[tokio::test]
async fn sizes_are_held_on_both_sides() {
    let scope = Scope::default();
    let long = target(|| PluginReply::bytes(vec![0; 11]));
    let error = long.get(&scope, "a", 0..10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(error.message(), "target \"t\" answered with 11 bytes where 10 were asked for");
    assert_eq!(long.get(&scope, "a", 0..11).await.unwrap(), [0; 11]);
    // What must not be asked never reaches the object.
    let untouched = target(|| panic!("called"));
    let invalid = |error: Option<Error>| assert_eq!(error.unwrap().kind(), ErrorKind::InvalidInput);
    invalid(untouched.get(&scope, "a", 0..MAX_BLOCK as u64 + 1).await.err());
    invalid(untouched.put(&scope, "a", &vec![0; MAX_BLOCK + 1], false).await.err());
    invalid(untouched.put(&scope, "../a", b"", false).await.err());
    invalid(untouched.upload(&scope, "", None).await.err());
    invalid(untouched.stat(&scope, "/").await.err());
    scope.cancel.cancel();
    assert_eq!(untouched.delete(&scope, "a").await.unwrap_err().kind(), ErrorKind::Cancelled);
}

#[tokio::test]
async fn answers_of_stores_are_filled_in_or_refused() {
    let (scope, folder) = (Scope::default(), tempfile::tempdir().unwrap());
    let dir = folder.path();
    std::fs::write(dir.join("db"), [0; 42]).unwrap();
    let stats = store(json!({"size_bytes": 7})).stats(&scope).await.unwrap();
    assert_eq!(json!(stats), json!({"size_bytes": 7, "log_bytes": 0, "details": {}}));
    let report = store(json!({"ok": true})).verify(&scope, CheckDepth::Full).await.unwrap();
    assert!(report.ok && report.problems.is_empty());
    let before = scope.clock.now();
    let snapshot = store(json!({"files": ["db"]})).snapshot_to(&scope, dir).await.unwrap();
    assert!(snapshot.taken_at >= before && snapshot.taken_at <= scope.clock.now());
    assert_eq!((snapshot.size_bytes, snapshot.details.len()), (42, 0));
    store(json!(["whatever"])).restore_from(&scope, dir).await.unwrap();

    for (files, why) in [
        (json!([]), "no file is named"),
        (json!(["../db"]), "\"../db\" is not a name below the folder"),
        (json!([dir.join("db")]), "is not a name below the folder"),
        (json!(["other"]), "\"other\" cannot be looked at"),
        (json!(["."]), "\".\" is not a plain file"),
        (json!("db"), "files: invalid type: string \"db\", expected a sequence"),
    ] {
        let said = message(store(json!({ "files": files })).snapshot_to(&scope, dir).await);
        assert!(said.ends_with(why), "{said}");
    }
    message(store(json!("fine")).stats(&scope).await);
    message(store(json!({"problems": []})).check_copy(&scope, dir, CheckDepth::Quick).await);
    let tasks = [MaintenanceTask::Optimize];
    let said = message(store(json!([])).maintain(&scope, &tasks).await);
    assert!(said.ends_with("the tasks are not those that were asked for, in their order"), "{said}");
    let done = json!([{"task": "optimize", "done": true, "message": "done"}]);
    assert!(store(done).maintain(&scope, &tasks).await.unwrap()[0].done);
    let lazy =
        Object::quick("Foo", "stats verify snapshot_to check_copy restore_from", |call| match call.method.name {
            "stats" => Ok(PluginReply::json(json!({"size_bytes": 1}))),
            other => panic!("{other} was called"),
        });
    let lazy = embed::store("s", lazy.capability(json!({"kind": "x", "file": null})).shared(), HANG).unwrap();
    assert_eq!(lazy.maintain(&scope, &tasks).await.unwrap()[0].message, "skipped: this store does no upkeep");
}

#[tokio::test]
async fn answers_of_checks_are_outcomes() {
    let ask =
        async |reply: Value| embed::check("c", answering(reply).shared(), HANG).unwrap().check(&Scope::default()).await;
    let outcome = ask(json!({"status": "fail", "message": "no plugins"})).await.unwrap();
    assert_eq!((outcome.status, outcome.observed, outcome.unit), (CheckStatus::Fail, None, None));
    for wrong in [json!(true), json!({"status": "green", "message": ""}), json!({"status": "pass"}), json!(null)] {
        let error = ask(wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains("not {status: pass, warn or fail, message, observed, unit}"), "{error}");
    }
}

/// What each method is given, in the order of its parameters.
#[tokio::test]
async fn arguments_come_in_order_and_in_the_spelling_of_the_language() {
    let given = Arc::new(Mutex::new(Vec::<String>::new()));
    let record = |object_spelling: Spelling| {
        let given = Arc::clone(&given);
        Object::quick("Foo", &all_methods(), move |mut call| {
            let mut names: Vec<String> = call.arguments.keys().cloned().collect();
            names.sort();
            let arguments: Vec<String> = call.positional(object_spelling).iter().map(shown).collect();
            let line = format!("{}({}) {}", call.method.name, arguments.join(", "), names.join(" "));
            given.lock().unwrap().push(line);
            Ok(PluginReply::default())
        })
        .capability(json!({"kind": "x", "file": null}))
    };
    fn shown(argument: &Argument) -> String {
        match argument {
            Argument::Json(value) => value.to_string(),
            Argument::Bytes(bytes) => format!("<{}>", bytes.len()),
        }
    }
    let scope = Scope::default();
    let target = embed::target("t", record(Spelling::Camel).camel().shared(), HANG).unwrap();
    let _ = target.put(&scope, "k", b"xyz", true).await;
    let _ = target.upload(&scope, "k", Some(9)).await;
    let _ = target.upload(&scope, "k", None).await;
    let _ = target.get(&scope, "k", 3..8).await;
    let _ = target.list(&scope, "p", None).await;
    let _ = target.delete(&scope, "k").await;
    let store = embed::store("s", record(Spelling::Snake).shared(), HANG).unwrap();
    let _ = store.check_copy(&scope, Path::new("/a"), CheckDepth::Quick).await;
    let _ = store.maintain(&scope, &[MaintenanceTask::ReleaseFreePages]).await;
    let _ = store.stats(&scope).await;
    assert_eq!(
        *given.lock().unwrap(),
        [
            "put(\"k\", <3>, true) ifAbsent key",
            "upload(\"k\", 9) expectedBytes key",
            "upload(\"k\", null) expectedBytes key",
            "get(\"k\", 3, 8) end key start",
            "list(\"p\", null) after prefix",
            "delete(\"k\") key",
            "check_copy(\"/a\", \"quick\") depth dir",
            "maintain([\"release_free_pages\"]) tasks",
            "stats() ",
        ]
    );
}

/// The facts that a driver of another language gives are its own words.
#[tokio::test]
async fn details_are_not_renamed() {
    let object = Object::quick("Foo", &all_methods(), |_| {
        Ok(PluginReply::json(json!({"sizeBytes": 1, "details": {"pageSize": {"inBytes": 4096}}})))
    });
    let object = object.camel().capability(json!({"kind": "x", "file": null, "sideFiles": []}));
    let stats = embed::store("s", object.shared(), HANG).unwrap().stats(&Scope::default()).await.unwrap();
    assert_eq!(json!(stats), json!({"size_bytes": 1, "log_bytes": 0, "details": {"pageSize": {"inBytes": 4096}}}));
}

#[tokio::test]
async fn an_upload_is_finished_aborted_or_dropped() {
    let scope = Scope::default();
    let memory = Memory::default();
    let target = embed::target("t", memory.object(false).shared(), HANG).unwrap();
    let aborted = || *memory.aborted.lock().unwrap();
    let mut upload = target.upload(&scope, "a", None).await.unwrap();
    upload.write(b"x").await.unwrap();
    upload.finish().await.unwrap();
    assert_eq!((memory.keys(), aborted()), (vec!["a".to_owned()], 0));
    // One that cannot be finished is aborted before the error is returned.
    let upload = target.upload(&scope, "a", None).await.unwrap();
    let error = upload.finish().await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Refused, "target \"t\".upload.finish: Error: EEXIST"));
    assert_eq!(aborted(), 1);
    target.upload(&scope, "b", None).await.unwrap().abort().await.unwrap();
    assert_eq!(aborted(), 2);
    drop(target.upload(&scope, "b", None).await.unwrap());
    super::no_hang(async {
        while aborted() < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
