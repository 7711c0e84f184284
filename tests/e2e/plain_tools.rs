//! No lock-in: `tar` and `zstd` alone restore an archive.

use std::fs;
use std::process::Command;

use serde_json::json;
use uplifted_ops_tests::scene::Scene;
use uplifted_ops_tests::tree::Tree;

use super::PROGRAM;

#[test]
fn tar_and_zstd_alone_restore_an_archive() {
    let scene = Scene::small(PROGRAM);
    let created = scene.call("backup.create", &json!({})).done();
    assert_eq!(created["outcome"], "complete");
    let archives = scene.archives();
    assert_eq!(archives.len(), 1);

    let tested = Command::new("zstd").args(["-q", "-t"]).arg(&archives[0]).output().unwrap();
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));

    let into = scene.beside("by-tar");
    fs::create_dir(&into).unwrap();
    let done = Command::new("tar").args(["--zstd", "-xpf"]).arg(&archives[0]).arg("-C").arg(&into).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(done.stderr.is_empty(), "tar complains: {}", String::from_utf8_lossy(&done.stderr));

    let ours = scene.beside("by-us");
    scene.call("restore.apply", &json!({"snapshot_id": created["snapshot_id"], "into": ours})).done();
    let (by_tar, by_us) = (Tree::of(&into, &[]), Tree::of(&ours, &[]));
    assert!(!by_us.0.is_empty());
    assert_eq!(by_tar, by_us, "{:#?}", by_tar.difference(&by_us));
    let rows: i64 = rusqlite::Connection::open(into.join("data/uplifted.db"))
        .unwrap()
        .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 1);
}
