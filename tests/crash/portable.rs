//! Export, import and copies at every point: a file or a snapshot is whole or not there, and what was there stays.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use uplifted_ops_tests::scene::Scene;
use uplifted_ops_tests::tree::Tree;

use super::repository::History;
use super::{assert_no_litter, hidden_below};

/// The file that is exported to, in a folder that is not ours.
fn output(run: &Scene) -> std::path::PathBuf {
    run.beside("exports/service.tar.zst")
}

/// What plain tools find in an exported file.
fn contents(run: &Scene, plan: &str) -> Tree {
    let into = run.beside("extracted");
    fs::create_dir(&into).unwrap();
    let done = Command::new("tar").args(["--zstd", "-xpf"]).arg(output(run)).arg("-C").arg(&into).output().unwrap();
    assert!(done.status.success(), "{plan}: {}", String::from_utf8_lossy(&done.stderr));
    let tree = History::without_the_readers_time(Tree::of(&into, &[]));
    fs::remove_dir_all(into).unwrap();
    tree
}

fn every_export(layout: &str, sealed: bool, tries: usize) {
    let mut history = History::with_layout(layout, sealed);
    history.back_up("one");
    fs::create_dir(history.scene.beside("exports")).unwrap();
    fs::write(history.scene.beside("exports/.theirs.partial"), b"somebody else's").unwrap();
    let request = |run: &Scene| history.reading(json!({"snapshot_id": "latest", "output": output(run)}));
    let target = Tree::of(&history.scene.target(), &[]);
    history.at_every_point("backup.export", request, tries, |run, answer, plan| {
        let now = Tree::of(&run.target(), &[]);
        assert!(now == target, "{plan}: an export changed the target: {:#?}", now.difference(&target));
        let there = output(run).exists();
        assert!(there || answer.status != Some(0), "{plan}: success was reported");
        if there {
            assert!(contents(run, plan) == history.states["one"], "{plan}: there is a file that is not whole");
            // It is replaced by nothing.
            let again = run.call("backup.export", &request(run));
            assert_eq!(again.error_kind(), "refused", "{plan}");
            fs::remove_file(output(run)).unwrap();
        }
        run.call("backup.export", &request(run)).done();
        assert!(contents(run, plan) == history.states["one"], "{plan}");
        let hidden = hidden_below(&run.beside("exports"));
        assert_eq!(hidden, [std::path::PathBuf::from(".theirs.partial")], "{plan}");
        assert_no_litter(run, plan);
    });
}

#[test]
fn an_export_of_a_repository_that_dies_or_fails_anywhere_leaves_a_whole_file_or_none() {
    every_export("repository", false, 7);
}

#[test]
fn so_does_one_of_an_encrypted_archive() {
    every_export("archive", true, 5);
}

/// An import into a target that has a backup.
fn every_import(layout: &str, sealed: bool, tries: usize) {
    let mut history = History::with_layout(layout, sealed);
    history.back_up("one");
    fs::create_dir(history.scene.beside("exports")).unwrap();
    let other = History::with_layout("repository", false);
    other.scene.call("backup.create", &json!({"label": "other"})).done();
    other.scene.call("backup.export", &json!({"snapshot_id": "latest", "output": output(&history.scene)})).done();
    let request = |run: &Scene| json!({"path": output(run)});
    let done = history.scene.copy();
    let made = done.call("backup.import", &request(&done)).done();
    let state = history.restored(&done, &made["snapshot_id"], "other");
    history.states.insert("other".to_owned(), state);
    let file = Tree::of(&history.scene.beside("exports"), &[]);
    let history = &history;
    history.at_every_point("backup.import", request, tries, |run, answer, plan| {
        let labels = history.all_restore(run, plan);
        let imported = labels.iter().filter(|label| *label == "other").count();
        assert_eq!(labels.len(), 1 + imported, "{plan}: {labels:?}");
        assert!(imported == 1 || !matches!(answer.status, Some(0 | 1)), "{plan}: success was reported");
        assert_eq!(run.call("backup.import", &request(run)).done()["outcome"], "complete", "{plan}");
        assert_eq!(history.all_restore(run, plan).len(), 2 + imported, "{plan}");
        assert!(Tree::of(&run.beside("exports"), &[]) == file, "{plan}: the file was touched");
        assert_no_litter(run, plan);
        if layout == "repository" {
            history.nothing_is_lost_to_collection(run, plan);
        }
    });
}

#[test]
fn an_import_into_a_repository_that_dies_or_fails_anywhere_is_whole_or_not_there() {
    every_import("repository", false, 8);
}

#[test]
fn so_is_one_into_an_archive() {
    every_import("archive", false, 6);
}

#[test]
fn so_is_one_into_an_encrypted_repository() {
    every_import("repository", true, 4);
}

fn every_copy(sealed: bool, tries: usize) {
    let history = History::with_layout("archive", sealed);
    let scene = &history.scene;
    let made = scene.call("backup.create", &json!({})).done();
    let id = &made["snapshot_id"];
    // From the service's folder, so that it is another one in each copy of the scene.
    let text = fs::read_to_string(scene.root().join("ops.toml")).unwrap();
    scene.write("ops.toml", &format!("{text}\n[[target]]\nname = \"second\"\nkind = \"fs\"\npath = \"../second\"\n"));
    let first = Tree::of(&scene.target(), &[]);
    let request = json!({"snapshot_id": id, "to": "second"});
    let whole = || history.reading(json!({"snapshot_id": id, "target": "second", "depth": "full"}));
    let has = |run: &Scene| {
        let listed = run.call("backup.list", &json!({"target": "second"})).done();
        assert_eq!(listed["unreadable"], json!([]));
        listed["snapshots"] != json!([])
    };
    history.at_every_point(
        "backup.copy",
        |_| request.clone(),
        tries,
        |run, answer, plan| {
            let now = Tree::of(&run.target(), &[]);
            assert!(now == first, "{plan}: the first target changed: {:#?}", now.difference(&first));
            let there = has(run);
            assert!(there || answer.status != Some(0), "{plan}: success was reported");
            if there {
                let verdict = run.call("backup.verify", &whole());
                assert_eq!(verdict.status, Some(0), "{plan}: {} {}", verdict.json, verdict.stderr);
            }
            let again: Value = run.call("backup.copy", &request).done();
            assert_eq!(again["copied"], json!(!there), "{plan}");
            run.call("backup.verify", &whole()).done();
            let hidden = hidden_below(&run.beside("second"));
            assert!(hidden.is_empty() || there, "{plan}: the second target keeps {hidden:?}");
            assert_no_litter(run, plan);
        },
    );
}

#[test]
fn a_copy_that_dies_or_fails_anywhere_is_whole_or_not_there() {
    every_copy(false, 6);
}

#[test]
fn so_is_one_of_an_encrypted_archive() {
    every_copy(true, 5);
}
