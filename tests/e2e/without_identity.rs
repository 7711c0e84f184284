//! An encrypted service whose operator is not there: what can be told without the identity is told and called sealed; what
//! cannot is refused with the name of the key that it takes, and leaves nothing behind.

use std::fs;

use serde_json::{Value, json};
use uplifted_ops_tests::keys::{OperatorKey, encrypted};
use uplifted_ops_tests::scene::Scene;
use uplifted_ops_tests::tree::Tree;

use super::PROGRAM;

/// A service with backups of two keys in a layout, and the fingerprint of each key.
fn service(layout: &str) -> (Scene, OperatorKey, [String; 2]) {
    let (scene, operator) = encrypted(PROGRAM);
    let path = scene.root().join("ops.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("[backup]\n", &format!("[backup]\nlayout = {layout:?}\n"))).unwrap();
    let fingerprint = |made: Value| made["encrypted_to"].as_str().unwrap().to_owned();
    let old = fingerprint(scene.call("backup.create", &json!({})).done());
    scene.call("backup.keys_rotate", &json!({})).done();
    scene.write("config/later.yaml", "one: 1\n");
    let new = fingerprint(scene.call("backup.create", &json!({})).done());
    assert_ne!(old, new);
    (scene, operator, [old, new])
}

/// What a failed reader must leave as it is: the service, the target, and what is beside them.
fn everything(scene: &Scene) -> Tree {
    // The journal tells of the refusal, and a cache may be made anew. Who asks for the size of a database, as the page of
    // metrics does, makes its log and removes it again: of that folder the time alone has changed.
    let mut tree = Tree::of(&scene.beside(""), &[]);
    let changes = ["uplifted", "uplifted/data"].map(std::path::Path::new);
    tree.0.retain(|path, _| !path.starts_with("uplifted/.uplifted-ops") && !changes.contains(&path.as_path()));
    tree
}

/// The newest restore that was proven, as the metrics tell it.
fn proven(scene: &Scene) -> Vec<String> {
    let page = scene.call("metrics.render", &json!({})).done()["body"].as_str().unwrap().to_owned();
    let name = "uplifted_ops_backup_last_verified_restore_timestamp_seconds";
    page.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
}

#[test]
fn what_has_to_be_opened_is_refused_by_the_name_of_its_key_and_leaves_nothing() {
    for layout in ["repository", "archive"] {
        let (scene, operator, [old, new]) = service(layout);
        let (into, output) = (scene.beside("into"), scene.beside("out.tar.zst"));
        let (before, proofs) = (everything(&scene), proven(&scene));
        let oldest = scene.call("backup.list", &json!({})).done()["snapshots"]
            .as_array()
            .unwrap()
            .iter()
            .min_by_key(|snapshot| snapshot["time"].as_str().unwrap().to_owned())
            .unwrap()["snapshot_id"]
            .clone();
        // In a repository the newest snapshot needs what was stored before the rotation, too.
        let of_newest = if layout == "repository" { vec![&old, &new] } else { vec![&new] };
        for (operation, request, keys) in [
            ("backup.drill", json!({}), &of_newest),
            ("backup.drill", json!({"into": into}), &of_newest),
            ("backup.drill", json!({"snapshot_id": oldest}), &vec![&old]),
            ("backup.bisect", json!({"check": "integrity"}), &of_newest),
            ("backup.export", json!({"snapshot_id": "latest", "output": output}), &of_newest),
            ("restore.plan", json!({"snapshot_id": "latest"}), &of_newest),
            ("restore.apply", json!({"snapshot_id": "latest"}), &of_newest),
            ("restore.apply", json!({"snapshot_id": "latest", "into": into}), &of_newest),
            ("restore.apply", json!({"snapshot_id": "latest", "into": into, "paths": ["config"]}), &of_newest),
            ("restore.apply", json!({"snapshot_id": oldest, "into": into}), &vec![&old]),
        ] {
            let said = format!("{layout}: {operation} {request}");
            let answer = scene.call(operation, &request);
            assert_eq!(answer.error_kind(), "denied", "{said}: {}", answer.json);
            let error = &answer.json["error"];
            let message = error["message"].as_str().unwrap();
            assert!(keys.iter().any(|key| message.contains(key.as_str())), "{said}: {error}");
            assert!(error["hint"].as_str().unwrap().contains("identity"), "{said}: {error}");
            assert_eq!(error["retryable"], false, "{said}: {error}");
            let now = everything(&scene);
            assert!(now == before, "{said} left {:#?}", now.difference(&before));
            let scratch = scene.root().join(".uplifted-ops/scratch");
            let left: Vec<_> =
                fs::read_dir(&scratch).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
            assert!(left.iter().all(|path| !path.is_dir()), "{said} left {left:?}");
            assert_eq!(scene.call("restore.undo_list", &json!({})).done()["areas"], json!([]), "{said}");
            assert_eq!(proven(&scene), proofs, "{said}: a proof that is none");
        }
        // The operator comes, and each of them works.
        for (operation, mut request) in [
            ("backup.drill", json!({})),
            ("backup.export", json!({"snapshot_id": "latest", "output": output})),
            ("restore.apply", json!({"snapshot_id": "latest", "into": into})),
        ] {
            request["identity_file"] = json!(operator.file);
            scene.call(operation, &request).done();
        }
        assert_ne!(proven(&scene), proofs, "{layout}");
    }
}

#[test]
fn a_verification_says_that_it_was_sealed_and_still_finds_damage() {
    for layout in ["repository", "archive"] {
        let (scene, operator, [_, key]) = service(layout);
        let before = everything(&scene);
        for depth in ["quick", "data", "full"] {
            let request = json!({"snapshot_id": "latest", "depth": depth});
            let sealed = scene.call("backup.verify", &request).done();
            assert_eq!(
                (&sealed["ok"], &sealed["level"]),
                (&json!(true), &json!("sealed")),
                "{layout} {depth}: {sealed}"
            );
            let said = scene.run(&["backup", "verify", "latest", "--depth", depth], &[]);
            let said = String::from_utf8(said.stdout).unwrap();
            assert!(said.contains("sealed") && said.contains(&key), "{layout} {depth}: {said}");
            let mut request = request;
            request["identity_file"] = json!(operator.file);
            assert_eq!(scene.call("backup.verify", &request).done()["level"], "proven", "{layout} {depth}");
        }
        let now = everything(&scene);
        assert!(now == before, "{layout}: {:#?}", now.difference(&before));

        // A byte in each object of content: no identity is needed to see it.
        let content = |path: &std::path::PathBuf| path.to_string_lossy().ends_with(".tar.zst.age");
        let damaged = Tree::of(&scene.target(), &[]).0.into_keys().filter(content);
        for path in damaged {
            let path = scene.target().join(path);
            let mut bytes = fs::read(&path).unwrap();
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
        let answer = scene.call("backup.verify", &json!({"snapshot_id": "latest", "depth": "data"}));
        assert_eq!((answer.status, &answer.json["ok"]), (Some(1), &json!(false)), "{layout}: {}", answer.json);
        let kind = answer.json["problems"][0]["kind"].as_str().unwrap();
        assert!(kind.starts_with("damaged"), "{layout}: {}", answer.json);
    }
}
