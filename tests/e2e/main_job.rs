//! The main job through the command line: set up, back up, verify, restore, undo, and look.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::{Value, json};
use uplifted_ops_tests::scene::Scene;
use uplifted_ops_tests::tree::Tree;

use super::PROGRAM;

const BESIDE: [&str; 2] = [".uplifted-ops", "ops.toml"];

#[test]
fn a_backup_restores_every_file_mode_and_time() {
    let scene = Scene::small(PROGRAM);
    let source = Tree::of(&scene.root(), &[".uplifted-ops", "ops.toml", "logs"]);
    let created = scene.call("backup.create", &json!({"label": "first"})).done();
    assert_eq!(created["outcome"], "complete");
    assert_eq!(created["skipped"], json!([]));
    for depth in ["quick", "full"] {
        let verdict =
            scene.call("backup.verify", &json!({"snapshot_id": created["snapshot_id"], "depth": depth})).done();
        assert_eq!((&verdict["ok"], &verdict["problems"]), (&json!(true), &json!([])));
    }
    let listed = scene.call("backup.list", &json!({})).done();
    let first = &listed["snapshots"][0];
    assert_eq!(first["snapshot_id"], created["snapshot_id"]);
    assert_eq!(first["layout"], "archive");
    assert!(first["verified_at"].is_string(), "{listed}");

    let into = scene.beside("restored");
    let restored = scene.call("restore.apply", &json!({"snapshot_id": created["snapshot_id"], "into": into})).done();
    assert!(restored["restored_files"].as_u64().unwrap() >= 6, "{restored}");
    let mut copy = Tree::of(&into, &[]);
    let mut original = source;
    // The database's bytes may differ by its log; its content is compared below.
    for tree in [&mut copy, &mut original] {
        tree.0.retain(|path, _| {
            !path.starts_with("data/uplifted.db") && !path.to_string_lossy().contains("uplifted.db-")
        });
    }
    assert_eq!(original, copy, "{:#?}", original.difference(&copy));
    let database = rusqlite::Connection::open(into.join("data/uplifted.db")).unwrap();
    let verdict: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

#[test]
fn a_restore_in_place_keeps_what_it_replaced_and_can_be_undone() {
    let scene = Scene::small(PROGRAM);
    scene.call("backup.create", &json!({})).done();
    let at_backup = Tree::of(&scene.root(), &BESIDE);
    scene.sql("INSERT INTO t(v) VALUES ('later'); PRAGMA wal_checkpoint(TRUNCATE)");
    scene.write("config/config.yaml", "broken");
    fs::remove_file(scene.root().join(".env")).unwrap();
    let before = Tree::of(&scene.root(), &BESIDE);

    let plan = scene.call("restore.plan", &json!({"snapshot_id": "latest"})).done();
    assert_eq!(Tree::of(&scene.root(), &BESIDE), before, "a plan changes nothing");
    assert!(plan.to_string().contains("config"), "{plan}");

    let done = scene.call("restore.apply", &json!({"snapshot_id": "latest"})).done();
    let after = Tree::of(&scene.root(), &BESIDE);
    let differs: Vec<String> =
        after.difference(&at_backup).into_iter().filter(|line| !line.contains("uplifted.db")).collect();
    // Only what was never backed up, the logs, and the database's own files may differ.
    assert!(differs.iter().all(|line| line.starts_with("\"logs") || line.starts_with("\"data\"")), "{differs:#?}");

    scene.call("restore.undo", &json!({"undo_id": done["undo_id"]})).done();
    let undone = Tree::of(&scene.root(), &BESIDE);
    assert_eq!(undone, before, "{:#?}", undone.difference(&before));
}

#[test]
fn a_single_name_that_is_not_utf8_is_restored() {
    let scene = Scene::small(PROGRAM);
    let name = OsStr::from_bytes(b"plugins/one/\xff\xfe.bin");
    let file = scene.root().join(name);
    fs::write(&file, "before").unwrap();
    scene.call("backup.create", &json!({})).done();
    fs::write(&file, "after").unwrap();
    scene.write("plugins/one/manifest.yaml", "name: after\n");
    let others = |scene: &Scene| fs::read_to_string(scene.root().join("plugins/one/manifest.yaml")).unwrap();

    // What the plan says can be asked for.
    let request = json!({"snapshot_id": "latest", "paths": [{"bytes": "706c7567696e732f6f6e652ffffe2e62696e"}]});
    let plan = scene.call("restore.plan", &request).done();
    assert_eq!(plan["paths"], request["paths"]);
    scene.call("restore.apply", &request).done();
    assert_eq!(fs::read_to_string(&file).unwrap(), "before");
    assert_eq!(others(&scene), "name: after\n", "only the one name comes back");

    let beside = scene.beside("beside");
    let output = Command::new(PROGRAM)
        .arg("--root")
        .arg(scene.root())
        .args(["restore", "apply", "latest", "--into"])
        .arg(&beside)
        .arg(name)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_to_string(beside.join(name)).unwrap(), "before");
    assert_eq!(Tree::of(&beside, &[]).0.len(), 3, "the file and the two folders above it");
}

#[test]
fn a_database_that_is_in_use_is_not_replaced() {
    let scene = Scene::small(PROGRAM);
    scene.call("backup.create", &json!({})).done();
    let database = rusqlite::Connection::open(scene.root().join("data/uplifted.db")).unwrap();
    database.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap();
    let before = Tree::of(&scene.root(), &[".uplifted-ops", "data"]);
    let answer = scene.call("restore.apply", &json!({"snapshot_id": "latest"}));
    assert_eq!(answer.error_kind(), "refused", "{}", answer.json);
    assert!(answer.json["error"]["hint"].is_string());
    assert_eq!(Tree::of(&scene.root(), &[".uplifted-ops", "data"]), before);
}

#[test]
fn what_cannot_be_read_is_named_and_makes_the_backup_partial() {
    let scene = Scene::small(PROGRAM);
    // The owner of everything reads everything: a dangling mount or a bad disk is simulated by a file that
    // is not readable even for root, `/proc/self/mem` behind a link is followed by nobody, so: a directory
    // entry that vanishes is covered by the engine's own tests. Here: a corrupt database.
    scene.write("data/other.db", &("SQLite format 3\0".to_owned() + &"x".repeat(5000)));
    let answer = scene.call("backup.create", &json!({}));
    assert_eq!(answer.status, Some(1), "{} {}", answer.json, answer.stderr);
    assert_eq!(answer.json["outcome"], "partial");
    assert_eq!(answer.json["skipped"][0]["path"], "data/other.db");
    assert!(answer.json["snapshot_id"].is_string());
}

#[test]
fn state_and_archives_are_private_whatever_the_umask() {
    let scene = Scene::small(PROGRAM);
    let output = std::process::Command::new("sh")
        .args(["-c", "umask 000; exec \"$0\" --root \"$1\" call backup.create", PROGRAM])
        .arg(scene.root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&scene.archives()[0]), 0o600);
    assert_eq!(mode(&scene.root().join(".uplifted-ops")), 0o700);
    assert_eq!(mode(&scene.target()), 0o700);
}

#[test]
fn mistakes_are_answered_with_a_kind_and_a_hint() {
    let scene = Scene::small(PROGRAM);
    let cases: [(&str, Value, &str); 5] = [
        ("backup.crate", json!({}), "not_found"),
        ("backup.create", json!({"lable": "x"}), "invalid_input"),
        ("backup.verify", json!({"snapshot_id": "nothing"}), "not_found"),
        ("backup.create", json!({"target": "elsewhere"}), "not_found"),
        ("restore.undo", json!({"undo_id": "nothing"}), "not_found"),
    ];
    for (name, request, kind) in cases {
        let answer = scene.call(name, &request);
        assert_eq!(answer.error_kind(), kind, "{name} {request}: {}", answer.json);
        assert!(answer.json["error"]["hint"].is_string(), "{name} {request}: {}", answer.json);
    }
}

#[test]
fn init_writes_a_file_that_works_at_once() {
    let scene = Scene::small(PROGRAM);
    fs::remove_file(scene.root().join("ops.toml")).unwrap();
    let output = scene.run(&["init"], &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(scene.root().join("ops.toml")).unwrap();
    assert!(text.contains("[[store]]") && text.contains("data/uplifted.db") && text.contains("[[target]]"), "{text}");
    let again = scene.run(&["init"], &[]);
    assert_eq!(again.status.code(), Some(2), "an ops.toml is never overwritten unasked");
    assert_eq!(fs::read_to_string(scene.root().join("ops.toml")).unwrap(), text);
}

#[test]
fn init_replaces_a_broken_file_when_it_is_told_to_and_keeps_it() {
    let scene = Scene::small(PROGRAM);
    let broken = "[backup]\ninclude = [\"data\"\nlevle = 3\n";
    scene.write("ops.toml", broken);
    for request in [json!({}), json!({"dry_run": true})] {
        assert_eq!(scene.call("config.init", &request).error_kind(), "invalid_input");
    }
    let preview = scene.call("config.init", &json!({"force": true, "dry_run": true})).done();
    assert_eq!(fs::read_to_string(scene.root().join("ops.toml")).unwrap(), broken);
    let output = scene.run(&["init", "--force"], &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let kept = scene.root().join("ops.toml.old");
    assert_eq!(preview["kept"], kept.to_str().unwrap());
    assert!(String::from_utf8_lossy(&output.stdout).contains("the former file: "), "{output:?}");
    assert_eq!(fs::read_to_string(kept).unwrap(), broken);
    assert_eq!(fs::read_to_string(scene.root().join("ops.toml")).unwrap(), preview["text"].as_str().unwrap());
    scene.call("config.show", &json!({})).done();
}

#[test]
fn health_metrics_and_the_journal_speak_of_the_backup() {
    let scene = Scene::small(PROGRAM);
    scene.call("backup.create", &json!({})).done();
    let health = scene.call("health.check", &json!({}));
    assert_ne!(health.json["status"], "fail", "{}", health.json);
    assert!(health.json["checks"].as_array().unwrap().len() >= 3, "{}", health.json);
    let metrics = scene.call("metrics.render", &json!({})).done();
    let body = metrics["body"].as_str().unwrap();
    for name in [
        "process_resident_memory_bytes",
        "uplifted_ops_build_info",
        "uplifted_ops_backup_last_success_timestamp_seconds",
    ] {
        assert!(body.contains(name), "{name} is missing:\n{body}");
    }
    let journal = scene.call("journal.read", &json!({})).done();
    assert!(journal.to_string().contains("backup.create"), "{journal}");
    let status = scene.call("status", &json!({})).done();
    assert!(status["pid"].is_u64(), "{status}");
}
