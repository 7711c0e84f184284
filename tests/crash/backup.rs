//! `backup.create` at every point: the old backup stays, no unfinished file has a final name.

use std::fs;

use serde_json::json;
use uplifted_ops_tests::scene::{Scene, trace};

use super::{PROGRAM, assert_no_litter, at_every_point};

fn every_point(role: &str) {
    let scene = Scene::small(PROGRAM);
    let first = scene.call("backup.create", &json!({})).done();
    scene.sql("INSERT INTO t(v) VALUES ('two')");
    let old = scene.archives();
    assert_eq!(old.len(), 1);
    let old_name = old[0].file_name().unwrap().to_owned();
    let old_bytes = fs::read(&old[0]).unwrap();
    let count = trace(&scene.copy(), role, "backup.create", &json!({})).len();

    at_every_point(role, count, |plan, fault| {
        let run = scene.copy();
        let answer = run.call_with("backup.create", &json!({}), &[("UPLIFTED_OPS_FAULT", plan)]);
        if fault == "short" {
            // A short write is not a failure: the rest is written next.
            assert_eq!(answer.status, Some(0), "{plan}: {} {}", answer.json, answer.stderr);
        }
        assert_eq!(fs::read(run.target().join(&old_name)).unwrap(), old_bytes, "{plan}: the old backup changed");
        let listed = run.call("backup.list", &json!({})).done();
        for snapshot in listed["snapshots"].as_array().unwrap() {
            let id = &snapshot["snapshot_id"];
            let verdict = run.call("backup.verify", &json!({"snapshot_id": id, "depth": "full"}));
            assert_eq!(verdict.status, Some(0), "{plan}: visible but broken: {} {}", verdict.json, verdict.stderr);
        }
        assert_eq!(listed["snapshots"].as_array().unwrap().len(), run.archives().len(), "{plan}: {listed}");
        if answer.status == Some(0) {
            let id = answer.json["snapshot_id"].as_str().unwrap();
            assert_ne!(id, first["snapshot_id"].as_str().unwrap());
            assert_eq!(run.archives().len(), 2, "{plan}: success was reported");
        }
        // The next run is not held up by the dead one, and cleans up after it.
        run.call("backup.create", &json!({})).done();
        assert_no_litter(&run, plan);
    });
}

#[test]
fn a_backup_killed_or_failing_anywhere_in_the_worker_leaves_the_old_ones_whole() {
    every_point("worker");
}
