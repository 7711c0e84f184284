//! `restore.apply` and `restore.undo` at every point: the service is wholly old or wholly new.

use serde_json::{Value, json};
use uplifted_ops_tests::scene::{Answered, Scene, trace};
use uplifted_ops_tests::tree::Tree;

use super::{PROGRAM, at_every_point};

/// What is not part of the service's content.
const BESIDE: [&str; 2] = [".uplifted-ops", "ops.toml"];

/// A scene whose folder is no longer what its one snapshot holds, and the request that changes that. `old` and
/// `new` are the trees before and after it.
pub(super) struct Before {
    pub(super) scene: Scene,
    pub(super) operation: &'static str,
    pub(super) request: Value,
    old: Tree,
    new: Tree,
}

impl Before {
    /// Before a restore in place.
    pub(super) fn apply() -> Self {
        let scene = Scene::small(PROGRAM);
        scene.call("backup.create", &json!({})).done();
        scene.sql("INSERT INTO t(v) VALUES ('after the backup'); PRAGMA wal_checkpoint(TRUNCATE);");
        scene.write("config/config.yaml", "port: 1\n");
        scene.write("config/new.yaml", "made after the backup\n");
        scene.write("plugins/two/manifest.yaml", "name: two\n");
        std::fs::remove_file(scene.root().join("plugins/current")).unwrap();
        std::fs::remove_file(scene.root().join(".env")).unwrap();
        Self::new(scene, "restore.apply", json!({"snapshot_id": "latest"}))
    }

    /// Before that restore is undone.
    pub(super) fn undo() -> Self {
        let Self { scene, operation, request, .. } = Self::apply();
        let undo_id = scene.call(operation, &request).done()["undo_id"].clone();
        Self::new(scene, "restore.undo", json!({"undo_id": undo_id}))
    }

    fn new(scene: Scene, operation: &'static str, request: Value) -> Self {
        let old = Tree::of(&scene.root(), &BESIDE);
        let done = scene.copy();
        done.call(operation, &request).done();
        let new = Tree::of(&done.root(), &BESIDE);
        assert_ne!(old, new);
        Self { scene, operation, request, old, new }
    }

    /// Checks a copy of the scene in which the request was answered with `answer`, whatever happened to it.
    pub(super) fn check(&self, run: &Scene, answer: &Answered, plan: &str) {
        // Whatever was left is finished or undone by the next command.
        run.call("status", &json!({})).done();
        let is_new = self.is_new(run, plan);
        if answer.status == Some(0) {
            assert!(is_new, "{plan}: success was reported");
        }
        // And the next restore works.
        run.call("restore.apply", &json!({"snapshot_id": "latest"})).done();
        let expected = if self.operation == "restore.apply" { &self.new } else { &self.old };
        let now = Tree::of(&run.root(), &BESIDE);
        assert!(now == *expected, "{plan}: {:#?}", now.difference(expected));
        let snapshot = json!({"snapshot_id": "latest", "depth": "full"});
        run.call("backup.verify", &snapshot).done();
        run.call("journal.read", &json!({})).done();
        let check: String = run.database().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok", "{plan}");
    }

    fn is_new(&self, run: &Scene, plan: &str) -> bool {
        let Self { old, new, .. } = self;
        let now = Tree::of(&run.root(), &BESIDE);
        assert!(
            now == *old || now == *new,
            "{plan}: neither old nor new\nagainst old: {:#?}\nagainst new: {:#?}",
            now.difference(old),
            now.difference(new)
        );
        now == *new
    }

    fn every_point(&self, role: &str) {
        let count = trace(&self.scene.copy(), role, self.operation, &self.request).len();
        at_every_point(role, count, |plan, _| {
            let run = self.scene.copy();
            let answer = run.call_with(self.operation, &self.request, &[("UPLIFTED_OPS_FAULT", plan)]);
            self.check(&run, &answer, plan);
        });
    }
}

#[test]
fn a_restore_killed_or_failing_anywhere_in_the_worker_leaves_the_service_old_or_new() {
    Before::apply().every_point("worker");
}

#[test]
fn an_undo_killed_or_failing_anywhere_in_the_worker_leaves_the_service_old_or_new() {
    Before::undo().every_point("worker");
}

#[test]
fn a_restore_or_undo_killed_or_failing_anywhere_in_the_host_leaves_the_service_old_or_new() {
    Before::apply().every_point("host");
    Before::undo().every_point("host");
}
