//! `restore.apply` and `restore.undo` at every point: the service is wholly old or wholly new.

use serde_json::{Value, json};
use uplifted_ops_tests::scene::{Scene, trace};
use uplifted_ops_tests::tree::Tree;

use super::{PROGRAM, at_every_point};

/// What is not part of the service's content.
const BESIDE: [&str; 2] = [".uplifted-ops", "ops.toml"];

/// A scene whose folder is no longer what its one snapshot holds, with the trees before and after a restore.
struct Before {
    scene: Scene,
    request: Value,
    old: Tree,
    new: Tree,
}

fn before() -> Before {
    let scene = Scene::small(PROGRAM);
    scene.call("backup.create", &json!({})).done();
    scene.sql("INSERT INTO t(v) VALUES ('after the backup'); PRAGMA wal_checkpoint(TRUNCATE);");
    scene.write("config/config.yaml", "port: 1\n");
    scene.write("config/new.yaml", "made after the backup\n");
    scene.write("plugins/two/manifest.yaml", "name: two\n");
    std::fs::remove_file(scene.root().join("plugins/current")).unwrap();
    std::fs::remove_file(scene.root().join(".env")).unwrap();
    let request = json!({"snapshot_id": "latest"});
    let old = Tree::of(&scene.root(), &BESIDE);
    let done = scene.copy();
    done.call("restore.apply", &request).done();
    let new = Tree::of(&done.root(), &BESIDE);
    assert_ne!(old, new);
    Before { scene, request, old, new }
}

fn old_or_new(run: &Scene, old: &Tree, new: &Tree, plan: &str) -> bool {
    let now = Tree::of(&run.root(), &BESIDE);
    assert!(
        now == *old || now == *new,
        "{plan}: neither old nor new\nagainst old: {:#?}\nagainst new: {:#?}",
        now.difference(old),
        now.difference(new)
    );
    now == *new
}

fn every_point(role: &str) {
    let Before { scene, request, old, new } = before();
    let count = trace(&scene.copy(), role, "restore.apply", &request).len();
    at_every_point(role, count, |plan, _| {
        let run = scene.copy();
        let answer = run.call_with("restore.apply", &request, &[("UPLIFTED_OPS_FAULT", plan)]);
        // Whatever was left is finished or undone by the next command.
        run.call("status", &json!({})).done();
        let is_new = old_or_new(&run, &old, &new, plan);
        if answer.status == Some(0) {
            assert!(is_new, "{plan}: success was reported");
        }
        // And the next restore works.
        run.call("restore.apply", &request).done();
        assert!(old_or_new(&run, &new, &new, plan));
    });
}

#[test]
fn a_restore_killed_or_failing_anywhere_in_the_worker_leaves_the_service_old_or_new() {
    every_point("worker");
}

#[test]
fn an_undo_killed_or_failing_anywhere_leaves_the_service_old_or_new() {
    let Before { scene, request, old, new } = before();
    let undo_id = scene.call("restore.apply", &request).done()["undo_id"].clone();
    let request = json!({"undo_id": undo_id});
    let count = trace(&scene.copy(), "worker", "restore.undo", &request).len();
    at_every_point("worker", count, |plan, _| {
        let run = scene.copy();
        let answer = run.call_with("restore.undo", &request, &[("UPLIFTED_OPS_FAULT", plan)]);
        run.call("status", &json!({})).done();
        let is_new = old_or_new(&run, &old, &new, plan);
        if answer.status == Some(0) {
            assert!(!is_new, "{plan}: success was reported");
        }
    });
}
