//! `backup.create` at every point: the old backup stays, no unfinished file has a final name.

use std::ffi::OsString;
use std::fs;

use serde_json::{Value, json};
use uplifted_ops_tests::scene::{Answered, Scene, trace};

use super::{PROGRAM, assert_no_litter, at_every_point};

/// A service with one backup, and what must be as it was after the next one, however that ends.
pub(super) struct Before {
    pub(super) scene: Scene,
    first_id: Value,
    old_name: OsString,
    old_bytes: Vec<u8>,
    rows: i64,
    database: Vec<u8>,
    wal: Option<Vec<u8>>,
}

impl Before {
    /// The service, with rows that are in the `-wal` file alone: the copy has something to recover.
    pub(super) fn new() -> Self {
        let scene = Scene::small(PROGRAM);
        let first = scene.call("backup.create", &json!({})).done();
        let writer = scene.database();
        writer
            .execute_batch(
                "PRAGMA wal_autocheckpoint=0; CREATE TABLE more(v BLOB); INSERT INTO t(v) VALUES ('two');
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
                 INSERT INTO more SELECT zeroblob(3000) FROM n;",
            )
            .unwrap();
        // As a crash of the service leaves it: closing the connection would empty the `-wal` file.
        let scene = scene.copy();
        let old = scene.archives();
        assert_eq!(old.len(), 1);
        Self {
            first_id: first["snapshot_id"].clone(),
            old_name: old[0].file_name().unwrap().to_owned(),
            old_bytes: fs::read(&old[0]).unwrap(),
            rows: 22,
            database: fs::read(scene.root().join("data/uplifted.db")).unwrap(),
            wal: Self::wal(&scene),
            scene,
        }
    }

    fn wal(scene: &Scene) -> Option<Vec<u8>> {
        fs::read(scene.root().join("data/uplifted.db-wal")).ok()
    }

    /// Checks a copy of the scene in which `backup.create` answered `answer`, whatever happened to it.
    pub(super) fn check(&self, run: &Scene, answer: &Answered, plan: &str) {
        if answer.status == Some(1) {
            // The scratch folder's disk failed: all but the database is in the snapshot, and that is named.
            assert_eq!(answer.json["skipped"][0]["path"], "data/uplifted.db", "{plan}: {}", answer.json);
        }
        assert_eq!(
            fs::read(run.target().join(&self.old_name)).unwrap(),
            self.old_bytes,
            "{plan}: the old backup changed"
        );
        assert!(
            fs::read(run.root().join("data/uplifted.db")).unwrap() == self.database,
            "{plan}: the database changed"
        );
        assert!(Self::wal(run) == self.wal, "{plan}: the -wal file changed");
        let listed = run.call("backup.list", &json!({})).done();
        for snapshot in listed["snapshots"].as_array().unwrap() {
            let id = &snapshot["snapshot_id"];
            let verdict = run.call("backup.verify", &json!({"snapshot_id": id, "depth": "full"}));
            assert_eq!(verdict.status, Some(0), "{plan}: visible but broken: {} {}", verdict.json, verdict.stderr);
        }
        assert_eq!(listed["snapshots"].as_array().unwrap().len(), run.archives().len(), "{plan}: {listed}");
        if matches!(answer.status, Some(0 | 1)) {
            assert_ne!(answer.json["snapshot_id"], self.first_id);
            assert_eq!(run.archives().len(), 2, "{plan}: success was reported");
        }
        // The next run is not held up by the dead one, and cleans up after it.
        let next = run.call("backup.create", &json!({})).done();
        assert_no_litter(run, plan);
        self.check_journal(run, &next, plan);
        let count = "SELECT (SELECT count(*) FROM t) + (SELECT count(*) FROM more)";
        let rows: i64 = run.database().query_row(count, [], |row| row.get(0)).unwrap();
        assert_eq!(rows, self.rows, "{plan}: the live database");
    }

    /// A record that was torn hides neither those before it nor those after it.
    fn check_journal(&self, run: &Scene, next: &Value, plan: &str) {
        let journal = run.call("journal.read", &json!({"operation": "backup.create"})).done();
        let ids: Vec<&Value> =
            journal["records"].as_array().unwrap().iter().map(|record| &record["response"]["snapshot_id"]).collect();
        for id in [&self.first_id, &next["snapshot_id"]] {
            assert!(ids.contains(&id), "{plan}: the journal lacks {id}: {journal}");
        }
    }
}

fn every_point(role: &str) {
    let before = Before::new();
    let count = trace(&before.scene.copy(), role, "backup.create", &json!({})).len();
    at_every_point(role, count, |plan, fault| {
        let run = before.scene.copy();
        let answer = run.call_with("backup.create", &json!({}), &[("UPLIFTED_OPS_FAULT", plan)]);
        if fault == "short" && role == "worker" {
            // A short write is not a failure: the rest is written next. One of the journal's is.
            assert_eq!(answer.status, Some(0), "{plan}: {} {}", answer.json, answer.stderr);
        }
        before.check(&run, &answer, plan);
    });
}

#[test]
fn a_backup_killed_or_failing_anywhere_in_the_worker_leaves_the_old_ones_whole() {
    every_point("worker");
}

#[test]
fn a_backup_killed_or_failing_anywhere_in_the_host_leaves_the_old_ones_whole() {
    every_point("host");
}
