//! Archives and repositories side by side: a copy keeps its layout wherever it goes, and an export with an import changes it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use uplifted_ops::testing::random::noise;
use uplifted_ops_tests::scene::Scene;
use uplifted_ops_tests::tree::Tree;

use super::PROGRAM;

const LARGE: usize = 400_000;

/// A service with two targets.
fn service() -> Scene {
    let scene = Scene::small(PROGRAM);
    fs::write(scene.root().join("data/large"), noise(LARGE, 1)).unwrap();
    let text = fs::read_to_string(scene.root().join("ops.toml")).unwrap();
    let second = scene.beside("second");
    scene.write("ops.toml", &format!("{text}\n[[target]]\nname = \"second\"\nkind = \"fs\"\npath = {second:?}\n"));
    scene
}

fn back_up(scene: &Scene, target: &str, layout: &str) -> Value {
    let made = scene.call("backup.create", &json!({"target": target, "layout": layout})).done();
    made["snapshot_id"].clone()
}

/// The layouts of a target's snapshots, by identifier; each is whole.
fn layouts(scene: &Scene, target: &str) -> Vec<(Value, String)> {
    let listed = scene.call("backup.list", &json!({"target": target})).done();
    assert_eq!((&listed["failed"], &listed["unreadable"]), (&json!([]), &json!([])));
    let mut found = Vec::new();
    for snapshot in listed["snapshots"].as_array().unwrap() {
        let id = snapshot["snapshot_id"].clone();
        let verdict =
            scene.call("backup.verify", &json!({"snapshot_id": id, "target": target, "depth": "full"})).done();
        assert_eq!(verdict["ok"], true);
        found.push((id, snapshot["layout"].as_str().unwrap().to_owned()));
    }
    found
}

fn restored(scene: &Scene, target: &str, id: &Value) -> Tree {
    let into = scene.beside("into");
    scene.call("restore.apply", &json!({"snapshot_id": id, "target": target, "into": into})).done();
    let mut tree = Tree::of(&into, &[]);
    // Whoever reads the database leaves another time there.
    let line = tree.0.get_mut(Path::new("data")).unwrap();
    line.truncate(line.rfind(' ').unwrap());
    fs::remove_dir_all(into).unwrap();
    tree
}

#[test]
fn a_copy_keeps_its_layout_beside_the_other_one() {
    let scene = service();
    let (archive, repository) = (back_up(&scene, "local", "archive"), back_up(&scene, "second", "repository"));
    for (id, from, to) in [(&archive, "local", "second"), (&repository, "second", "local")] {
        let copied = scene.call("backup.copy", &json!({"snapshot_id": id, "from": from, "to": to})).done();
        assert_eq!((&copied["copied"], &copied["snapshot_id"]), (&json!(true), id));
        assert_eq!(scene.call("backup.copy", &json!({"snapshot_id": id, "to": to})).done()["copied"], false);
        assert!(restored(&scene, from, id) == restored(&scene, to, id), "{to}");
    }
    let both = [(&archive, "archive"), (&repository, "repository")];
    for target in ["local", "second"] {
        let found = layouts(&scene, target);
        assert_eq!(found.len(), 2, "{target}: {found:?}");
        for (id, layout) in both {
            assert!(found.contains(&(id.clone(), layout.to_owned())), "{target}: {found:?}");
        }
    }
    // Nothing of the one is litter to the other.
    let before = [Tree::of(&scene.target(), &[]), Tree::of(&scene.beside("second"), &[])];
    let collected = scene.call("backup.collect", &json!({"dry_run": true})).done();
    for target in collected["targets"].as_array().unwrap() {
        assert_eq!((&target["problems"], &target["refusals"]), (&json!([]), &json!([])), "{target}");
    }
    scene.call("backup.collect", &json!({})).done();
    for (folder, before) in [scene.target(), scene.beside("second")].iter().zip(&before) {
        let now = Tree::of(folder, &[]);
        assert!(before.0.keys().all(|path| now.0.contains_key(path)), "{:#?}", now.difference(before));
    }
    // One goes, and the other stays.
    scene.call("backup.delete", &json!({"snapshot_id": archive})).done();
    for target in ["local", "second"] {
        assert_eq!(layouts(&scene, target), [(repository.clone(), "repository".to_owned())], "{target}");
    }
}

#[test]
fn an_export_and_an_import_change_the_layout() {
    let scene = service();
    let (archive, repository) = (back_up(&scene, "local", "archive"), back_up(&scene, "second", "repository"));
    for (id, layout, other) in [(&archive, "archive", "repository"), (&repository, "repository", "archive")] {
        let file = scene.beside(&format!("{layout}.tar.zst"));
        scene.call("backup.export", &json!({"snapshot_id": id, "output": file})).done();
        let request = json!({"path": file, "target": "second", "layout": other});
        let made = scene.call("backup.import", &request).done();
        let found = layouts(&scene, "second");
        assert!(found.contains(&(made["snapshot_id"].clone(), other.to_owned())), "{other}: {found:?}");
        let from = if layout == "archive" { "local" } else { "second" };
        assert!(restored(&scene, "second", &made["snapshot_id"]) == restored(&scene, from, id), "{layout}");
        if other == "repository" {
            // What the repository has is not stored again.
            assert!(made["stored_bytes"].as_u64().unwrap() < LARGE as u64 / 4, "{made}");
        }
        let wrong = scene.call("backup.import", &json!({"path": file, "layout": "tape"}));
        assert_eq!(wrong.error_kind(), "invalid_input");
        // As the command line has it.
        let (file, target) = (file.to_str().unwrap(), "second");
        let output = scene.run(&["backup", "import", file, "--target", target, "--layout", other], &[]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(layouts(&scene, "second").len(), 5);
}
