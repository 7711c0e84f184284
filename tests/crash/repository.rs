//! Backups in a repository, and the removal of one, at every point: every snapshot that is listed restores to what
//! was backed up, the next run ends the work and uses what arrived, and the service is never touched.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use uplifted_ops::testing::random::noise;
use uplifted_ops_tests::keys::{OperatorKey, encrypt_with};
use uplifted_ops_tests::scene::{Answered, Scene, trace};
use uplifted_ops_tests::tree::Tree;

use super::{FAULTS, PROGRAM, assert_no_litter, for_each, sample};

/// Bytes of a file that do not compress: so much is sent again when what arrived is not used.
const BULK: usize = 300_000;
/// The operator's identity, in a file beside the service.
pub(super) const IDENTITY: &str = "operator.txt";

/// A service whose backups go to a repository, and what each of its snapshots must restore to, by the snapshot's label.
#[derive(Debug)]
pub(super) struct History {
    pub(super) scene: Scene,
    pub(super) states: BTreeMap<String, Tree>,
    /// The label of what the service is now, when it was backed up.
    pub(super) now: String,
    sealed: bool,
}

impl History {
    /// No backup yet.
    pub(super) fn new(sealed: bool) -> Self {
        Self::with_layout("repository", sealed)
    }

    /// The same with another layout.
    pub(super) fn with_layout(layout: &str, sealed: bool) -> Self {
        let scene = Scene::small(PROGRAM);
        let text = fs::read_to_string(scene.root().join("ops.toml")).unwrap();
        scene.write("ops.toml", &text.replace("[backup]\n", &format!("[backup]\nlayout = {layout:?}\n")));
        fs::write(scene.root().join("data/bulk"), noise(BULK, 1)).unwrap();
        scene.sql(
            "CREATE TABLE more(v BLOB);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60)
             INSERT INTO more SELECT randomblob(2000) FROM n; PRAGMA wal_checkpoint(TRUNCATE);",
        );
        if sealed {
            let operator = OperatorKey::make(&scene, IDENTITY);
            encrypt_with(&scene, &format!("{{ recipients = [{:?}] }}", operator.public));
            scene.call("backup.keys_init", &json!({"identity_file": operator.file})).done();
        }
        Self { scene, states: BTreeMap::new(), now: String::new(), sealed }
    }

    /// Changes a part of everything: rows (which stay in the `-wal` file), a file's content, a name, a link.
    pub(super) fn change(&mut self, seed: u64) {
        let writer = self.scene.database();
        writer
            .execute_batch("PRAGMA wal_autocheckpoint=0; UPDATE more SET v = randomblob(2000) WHERE rowid % 9 = 4;")
            .unwrap();
        // As a crash of the service leaves it: closing the connection would empty the `-wal` file.
        self.scene = self.scene.copy();
        drop(writer);
        self.scene.write(&format!("config/{seed}.yaml"), "made later\n");
        self.scene.write("config/config.yaml", &format!("port: {seed}\n"));
        fs::write(self.scene.root().join("data/changing"), noise(BULK / 3, seed)).unwrap();
    }

    /// Makes a backup called `label`, and learns what it restores to.
    pub(super) fn back_up(&mut self, label: &str) -> Value {
        self.back_up_with(&json!({"label": label}), label)
    }

    /// The same in one target alone.
    pub(super) fn back_up_to(&mut self, target: &str, label: &str) -> Value {
        self.back_up_with(&json!({"label": label, "target": target}), label)
    }

    fn back_up_with(&mut self, request: &Value, label: &str) -> Value {
        let made = self.scene.call("backup.create", request).done();
        let state = self.restored(&self.scene, &made["snapshot_id"], label);
        self.states.insert(label.to_owned(), state);
        self.now = label.to_owned();
        made
    }

    /// Learns from a run without a fault, whose newest snapshot is called `label`.
    pub(super) fn learn(&mut self, label: &str, done: &Scene) {
        let state = self.restored(done, &json!("latest"), label);
        self.states.insert(label.to_owned(), state);
    }

    /// A request with the operator's identity, where one is needed to read.
    pub(super) fn reading(&self, request: Value) -> Value {
        with(request, self.sealed.then(|| self.scene.beside(IDENTITY)).as_deref())
    }

    /// What a snapshot restores to.
    pub(super) fn restored(&self, run: &Scene, id: &Value, plan: &str) -> Tree {
        let into = run.beside("restored");
        restore(run, &self.reading(json!({"snapshot_id": id, "into": into})), &into, plan)
    }

    /// A reader of the database comes and goes with a `-shm` file: then the folder has another time.
    pub(super) fn without_the_readers_time(mut tree: Tree) -> Tree {
        if let Some(line) = tree.0.get_mut(Path::new("data")) {
            line.truncate(line.rfind(' ').unwrap());
        }
        tree
    }

    /// Leaves a pack that nothing needs: that of a run which died before it showed its snapshot.
    pub(super) fn leave_a_dead_pack(&self) {
        let gone = self.scene.root().join("data/gone");
        fs::write(&gone, noise(BULK / 3, 77)).unwrap();
        let dies = [("UPLIFTED_OPS_FAULT", "worker:kill@Create:/snapshots/")];
        let died = self.scene.call_with("backup.create", &json!({}), &dies);
        assert_eq!(died.error_kind(), "unavailable", "{died:?}");
        fs::remove_file(gone).unwrap();
    }

    /// Every snapshot that is listed restores to what was backed up; their labels, sorted.
    pub(super) fn all_restore(&self, run: &Scene, plan: &str) -> Vec<String> {
        self.all_restore_with(run, self.sealed.then(|| self.scene.beside(IDENTITY)).as_deref(), plan)
    }

    /// The same, read with another identity.
    pub(super) fn all_restore_with(&self, run: &Scene, identity: Option<&Path>, plan: &str) -> Vec<String> {
        let listed = run.call("backup.list", &with(json!({}), identity)).done();
        assert_eq!((&listed["failed"], &listed["unreadable"]), (&json!([]), &json!([])), "{plan}");
        let mut labels = Vec::new();
        for snapshot in listed["snapshots"].as_array().unwrap() {
            let (label, id) = (snapshot["label"].as_str().unwrap_or_default(), &snapshot["snapshot_id"]);
            let into = run.beside("restored");
            let now = restore(run, &with(json!({"snapshot_id": id, "into": into}), identity), &into, plan);
            let then = &self.states[label];
            if snapshot["outcome"] == "complete" {
                assert!(now == *then, "{plan}: {label} restores to {:#?}", now.difference(then));
            } else {
                // The disk of the scratch folder failed: all is there but the database, and it is named.
                let shown = run.call("backup.show", &with(json!({"snapshot_id": id}), identity)).done();
                let skipped = shown["skipped"].as_array().or_else(|| shown["manifest"]["skipped"].as_array()).unwrap();
                let named = skipped.iter().map(|skipped| PathBuf::from(skipped["path"].as_str().unwrap()));
                let missing = then.0.keys().filter(|path| !now.0.contains_key(*path)).cloned();
                assert!(named.eq(missing), "{plan}: {skipped:?}");
                assert!(now.0.iter().all(|(path, line)| then.0[path] == *line), "{plan}: {:#?}", now.difference(then));
            }
            labels.push(label.to_owned());
        }
        labels.sort();
        labels
    }

    /// Everything in the target is the repository's, and collection knows what to do with all of it.
    pub(super) fn nothing_is_lost_to_collection(&self, run: &Scene, plan: &str) {
        for path in Tree::of(&run.target(), &[]).0.keys() {
            let known = [
                "repository",
                "RECOVER.md",
                "recover.sh",
                "keys",
                "holds",
                "packs",
                "index",
                "snapshots",
                "collect",
                "locks",
            ];
            assert!(known.iter().any(|name| path.starts_with(name)), "{plan}: {path:?}");
        }
        let report = run.call("backup.collect", &json!({"dry_run": true})).done();
        let target = &report["targets"][0];
        assert_eq!((&target["problems"], &target["refusals"]), (&json!([]), &json!([])), "{plan}");
    }

    /// Runs `operation` with every fault at every point of the host and the worker, or a sample of them, and `check`
    /// after each.
    pub(super) fn at_every_point(
        &self,
        operation: &str,
        request: impl Fn(&Scene) -> Value + Sync,
        count: usize,
        check: impl Fn(&Scene, &Answered, &str) + Sync,
    ) {
        let mut plans = Vec::new();
        for role in ["worker", "host"] {
            let run = self.scene.copy();
            let points = trace(&run, role, operation, &request(&run)).len();
            assert!(points > 0, "no point was traced: is the binary built with fault points?");
            plans.extend((1..=points).flat_map(|at| FAULTS.map(|fault| format!("{role}:{fault}@{at}"))));
        }
        let source = self.source(&self.scene);
        for_each(&sample(operation, plans, count), |plan| {
            let run = self.scene.copy();
            let answer = run.call_with(operation, &request(&run), &[("UPLIFTED_OPS_FAULT", plan)]);
            let plan = format!("{operation} {plan}");
            assert!(matches!(answer.status, None | Some(0..=2)), "{plan}: {answer:?}");
            if plan.contains("worker:short") {
                // A short write is no failure: the rest is written next.
                assert_eq!(answer.status, Some(0), "{plan}: {answer:?}");
            }
            self.source_is(&source, &run, &plan);
            check(&run, &answer, &plan);
            self.source_is(&source, &run, &plan);
        });
    }

    /// The service's folder. A reader of the database makes its `-shm` file anew, and one that dies leaves that and an empty
    /// `-wal` file: they have no content.
    fn source(&self, scene: &Scene) -> Tree {
        let mut tree = Tree::of(&scene.root(), &[".uplifted-ops", "ops.toml"]);
        let wal = scene.root().join("data/uplifted.db-wal");
        let is_empty = fs::metadata(wal).is_ok_and(|meta| meta.len() == 0);
        tree.0.retain(|path, _| match path.to_str() {
            Some("data" | "data/uplifted.db-shm") => false,
            Some("data/uplifted.db-wal") => !is_empty,
            _ => true,
        });
        tree
    }

    fn source_is(&self, source: &Tree, run: &Scene, plan: &str) {
        let now = self.source(run);
        assert!(now == *source, "{plan}: the service was touched: {:#?}", now.difference(source));
    }
}

/// A request with an operator's identity.
fn with(mut request: Value, identity: Option<&Path>) -> Value {
    if let Some(identity) = identity {
        request["identity_file"] = json!(identity);
    }
    request
}

/// What a request restores into a folder, which is removed again.
fn restore(run: &Scene, request: &Value, into: &Path, plan: &str) -> Tree {
    let answer = run.call("restore.apply", request);
    assert_eq!(answer.status, Some(0), "{plan}: {} {}", answer.json, answer.stderr);
    let tree = History::without_the_readers_time(Tree::of(into, &[]));
    fs::remove_dir_all(into).unwrap();
    tree
}

/// How many objects with a final name are in a folder of the target.
fn count(run: &Scene, folder: &str) -> usize {
    Tree::of(&run.target().join(folder), &[]).0.keys().filter(|path| !path.to_string_lossy().starts_with('.')).count()
}

/// A backup called `label` at every point, over what `history` has.
fn every_backup(mut history: History, label: &str, tries: usize) {
    let done = history.scene.copy();
    let request = json!({"label": label});
    let whole = done.call("backup.create", &request).done();
    history.learn(label, &done);
    let (packs, before) = (count(&history.scene, "index"), history.all_restore(&history.scene, "before"));
    let history = &history;
    history.at_every_point(
        "backup.create",
        |_| request.clone(),
        tries,
        |run, answer, plan| {
            let labels = history.all_restore(run, plan);
            if matches!(answer.status, Some(0 | 1)) {
                assert_eq!(labels.len(), before.len() + 1, "{plan}: success was reported");
            }
            if answer.status == Some(1) {
                assert_eq!(answer.json["outcome"], "partial", "{plan}: {}", answer.json);
                assert_eq!(answer.json["skipped"][0]["path"], "data/uplifted.db", "{plan}: {}", answer.json);
            }
            assert!(before.iter().all(|label| labels.contains(label)), "{plan}: {labels:?}");
            let arrived = count(run, "index") > packs;
            let next = run.call("backup.create", &request).done();
            if arrived && answer.status != Some(1) {
                let (again, once) = (next["stored_bytes"].as_u64().unwrap(), whole["stored_bytes"].as_u64().unwrap());
                assert!(again < once / 4, "{plan}: {again} bytes of {once} were stored again");
            }
            assert_eq!(history.all_restore(run, plan).len(), labels.len() + 1, "{plan}");
            assert_no_litter(run, plan);
            history.nothing_is_lost_to_collection(run, plan);
        },
    );
}

fn second(sealed: bool) -> History {
    let mut history = History::new(sealed);
    history.back_up("one");
    history.change(2);
    history
}

#[test]
fn a_first_backup_that_dies_or_fails_anywhere_leaves_what_the_next_one_uses() {
    every_backup(History::new(false), "one", 14);
}

#[test]
fn a_second_backup_that_dies_or_fails_anywhere_leaves_the_first_one_whole() {
    every_backup(second(false), "two", 14);
}

#[test]
fn so_it_is_where_they_are_encrypted() {
    every_backup(second(true), "two", 8);
}

#[test]
fn a_removal_that_dies_or_fails_anywhere_removes_that_snapshot_or_none() {
    let mut history = second(false);
    history.back_up("two");
    let listed = history.scene.call("backup.list", &json!({})).done();
    let snapshots = listed["snapshots"].as_array().unwrap();
    let one = snapshots.iter().find(|snapshot| snapshot["label"] == "one").unwrap();
    let request = json!({"snapshot_id": one["snapshot_id"]});
    let history = &history;
    history.at_every_point(
        "backup.delete",
        |_| request.clone(),
        10,
        |run, answer, plan| {
            let labels = history.all_restore(run, plan);
            assert!(labels.contains(&"two".to_owned()), "{plan}: {labels:?}");
            if answer.status == Some(0) {
                assert_eq!(labels, ["two"], "{plan}: success was reported");
            }
            let again = run.call("backup.delete", &request);
            match labels.len() {
                2 => drop(again.done()),
                _ => assert_eq!(again.error_kind(), "not_found", "{plan}"),
            }
            // Whatever was left half made is gone after the next run that writes there.
            let mut next = run.call("backup.create", &json!({"label": "two"})).done();
            assert_eq!(history.all_restore(run, plan), ["two", "two"], "{plan}");
            next = run.call("backup.delete", &json!({"snapshot_id": next["snapshot_id"]})).done();
            assert_eq!(next["deleted"], true, "{plan}");
            assert_no_litter(run, plan);
            history.nothing_is_lost_to_collection(run, plan);
        },
    );
}
