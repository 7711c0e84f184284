//! `backup.retain` at every point of the worker: what the policy keeps is whole, and the next run ends the work.

use std::fs;
use std::path::PathBuf;

use serde_json::json;
use uplifted_ops_tests::scene::{Scene, trace};

use super::{PROGRAM, for_each, points};

/// Five backups, the last two verified, and a policy that keeps these two.
fn five_backups() -> (Scene, Vec<PathBuf>) {
    let scene = Scene::small(PROGRAM);
    let text = fs::read_to_string(scene.root().join("ops.toml")).unwrap();
    scene.write("ops.toml", &text.replace("[backup]\n", "[backup]\nretention = { keep_last = 1 }\n"));
    let mut kept = Vec::new();
    for n in 0..5 {
        let made = scene.call("backup.create", &json!({})).done();
        if n >= 3 {
            scene.call("backup.verify", &json!({ "snapshot_id": made["snapshot_id"] })).done();
            kept.push(PathBuf::from(made["key"].as_str().unwrap()));
        }
    }
    (scene, kept)
}

#[test]
fn a_retention_killed_or_failing_anywhere_keeps_what_it_keeps() {
    let (scene, kept) = five_backups();
    let count = trace(&scene.copy(), "worker", "backup.retain", &json!({})).len();
    assert!(count > 10, "{count}");
    let plans: Vec<String> =
        points(count).flat_map(|at| ["kill", "eio"].map(|fault| format!("worker:{fault}@{at}"))).collect();
    for_each(&plans, |plan| {
        let run = scene.copy();
        let before: Vec<Vec<u8>> = kept.iter().map(|key| fs::read(run.target().join(key)).unwrap()).collect();
        let answer = run.call_with("backup.retain", &json!({}), &[("UPLIFTED_OPS_FAULT", plan)]);
        let left = run.archives();
        assert!((2..=5).contains(&left.len()), "{plan}: {left:?}");
        if answer.status == Some(0) {
            assert_eq!(left.len(), 2, "{plan}: success was reported: {}", answer.json);
        }
        let again = run.call("backup.retain", &json!({}));
        assert_eq!(again.status, Some(0), "{plan}: {} {}", again.json, again.stderr);
        assert_eq!(run.archives().len(), 2, "{plan}");
        for (key, bytes) in kept.iter().zip(before) {
            assert!(fs::read(run.target().join(key)).unwrap() == bytes, "{plan}: {key:?} changed");
        }
    });
}
