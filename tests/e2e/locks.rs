//! A host that holds a write transaction never loses its lock to an operation.
//!
//! POSIX locks belong to the process: when any code in it closes any descriptor of the database, every lock
//! that the process holds on it is gone. So this process plays the host: it embeds `Ops`, holds a write
//! transaction, runs every operation, and then asks a second process whether it gets the lock.

use std::process::Command;

use rusqlite::Connection;
use serde_json::{Value, json};
use uplifted_ops::Scope;
use uplifted_ops::ops::Ops;
use uplifted_ops_tests::scene::Scene;

use super::PROGRAM;

/// Whether another process can begin a write transaction on the scene's database.
fn a_second_process_gets_the_lock(scene: &Scene) -> bool {
    let output = Command::new("sqlite3")
        .args(["-cmd", ".timeout 0"])
        .arg(scene.root().join("data/uplifted.db"))
        .arg("BEGIN IMMEDIATE; INSERT INTO t(v) VALUES ('stranger'); ROLLBACK;")
        .output()
        .expect("the package sqlite3 is installed");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() || text.contains("locked"), "{text}");
    output.status.success()
}

fn embed(scene: &Scene) -> Ops {
    Ops::builder()
        .root(scene.root())
        .environment(Vec::<(String, String)>::new())
        .worker_command([PROGRAM])
        .build()
        .unwrap()
}

/// A request for every operation of the table; what an operation answers is not the point here.
fn request_for(name: &str, snapshot: &str, scene: &Scene) -> Value {
    match name {
        "backup.show" | "backup.verify" => json!({"snapshot_id": snapshot}),
        "backup.delete" => json!({"snapshot_id": snapshot, "dry_run": true}),
        "restore.plan" => json!({"snapshot_id": snapshot}),
        "restore.apply" => json!({"snapshot_id": snapshot, "into": scene.beside("restored")}),
        "restore.undo" => json!({"undo_id": "none"}),
        _ => json!({}),
    }
}

fn every_operation_leaves_the_lock(journal_mode: &str) {
    let scene = Scene::small(PROGRAM);
    scene.sql(&format!("PRAGMA journal_mode={journal_mode}"));
    let ops = embed(&scene);
    let first = ops.blocking().call(Scope::default(), "backup.create", json!({})).unwrap();
    let snapshot = first.response["snapshot_id"].as_str().unwrap().to_owned();

    let mut host = Connection::open(scene.root().join("data/uplifted.db")).unwrap();
    let transaction = host.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    transaction.execute("INSERT INTO t(v) VALUES ('held')", []).unwrap();
    for entry in uplifted_ops::ops::TABLE {
        let request = request_for(entry.name, &snapshot, &scene);
        // Some are refused while the database is open; none may take the lock away.
        let _ = ops.blocking().call(Scope::default(), entry.name, request);
        assert!(!a_second_process_gets_the_lock(&scene), "{} lost the host's lock ({journal_mode})", entry.name);
    }
    transaction.commit().unwrap();
    let rows: i64 = host.query_row("SELECT count(*) FROM t WHERE v = 'held'", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
    assert!(a_second_process_gets_the_lock(&scene));
}

#[test]
fn no_operation_takes_the_lock_of_a_host_in_wal_mode() {
    every_operation_leaves_the_lock("WAL");
}

#[test]
fn no_operation_takes_the_lock_of_a_host_with_a_rollback_journal() {
    every_operation_leaves_the_lock("DELETE");
}

/// The control: this is what opening the file in the host does, and that the test above can see it.
#[test]
fn opening_the_file_in_the_host_would_lose_the_lock() {
    let scene = Scene::small(PROGRAM);
    scene.sql("PRAGMA journal_mode=DELETE");
    let mut host = Connection::open(scene.root().join("data/uplifted.db")).unwrap();
    let transaction = host.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    transaction.execute("INSERT INTO t(v) VALUES ('held')", []).unwrap();
    assert!(!a_second_process_gets_the_lock(&scene));
    drop(std::fs::File::open(scene.root().join("data/uplifted.db")).unwrap());
    assert!(a_second_process_gets_the_lock(&scene));
}
