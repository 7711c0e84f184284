//! Targets that fill up, become read-only or vanish in the middle of a backup: the error names the target, the other target of
//! the same backup has it whole, and the next run goes on.
//!
//! Where no disk of its own can be mounted, the tests that need one say so and end.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use uplifted_ops::testing::disk::Disk;
use uplifted_ops::testing::random::noise;
use uplifted_ops_tests::held::Held;
use uplifted_ops_tests::scene::{Answered, Scene};

use super::repository::History;
use super::{all, assert_no_litter, hidden_below};

/// A service with two targets, `local` and `second`, and a backup in both of them. What is in `local` is called `one`.
fn two_targets(layout: &str) -> History {
    let history = History::with_layout(layout, false);
    let text = fs::read_to_string(history.scene.root().join("ops.toml")).unwrap();
    let second = "[[target]]\nname = \"second\"\nkind = \"fs\"\npath = \"../second\"\n";
    history.scene.write("ops.toml", &format!("{text}\n{second}"));
    history
}

fn second(scene: &Scene) -> PathBuf {
    scene.beside("second")
}

/// The backup is in `local`, and the answer says what is wrong with `second`.
fn half_done(history: &History, answer: &Answered, before: usize, plan: &str) -> Value {
    assert_eq!(answer.status, Some(1), "{plan}: {answer:?}");
    let [local, second] = [0, 1].map(|number| answer.json["targets"][number].clone());
    assert_eq!((&local["target"], &local["error"]), (&json!("local"), &Value::Null), "{plan}: {local}");
    assert_eq!(second["target"], "second", "{plan}");
    assert!(second["error"].is_object(), "{plan}: {second}");
    let listed = history.scene.call("backup.list", &json!({"target": "local"})).done();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), before + 1, "{plan}: {listed}");
    let newest = json!({"snapshot_id": answer.json["snapshot_id"], "depth": "full", "target": "local"});
    assert_eq!(history.scene.call("backup.verify", &newest).done()["ok"], true, "{plan}");
    second
}

/// Both targets are whole again after the next run.
fn whole_again(history: &History, plan: &str) {
    let made = history.scene.call("backup.create", &json!({})).done();
    for target in ["local", "second"] {
        let newest = json!({"snapshot_id": made["snapshot_id"], "depth": "full", "target": target});
        assert_eq!(history.scene.call("backup.verify", &newest).done()["ok"], true, "{plan}");
    }
    // What is listed in the second target is whole, too.
    let listed = history.scene.call("backup.list", &json!({"target": "second"})).done();
    for snapshot in listed["snapshots"].as_array().unwrap() {
        let request = json!({"snapshot_id": snapshot["snapshot_id"], "depth": "full", "target": "second"});
        assert_eq!(history.scene.call("backup.verify", &request).done()["ok"], true, "{plan}");
    }
    assert_no_litter(&history.scene, plan);
    assert_eq!(hidden_below(&second(&history.scene)), [] as [PathBuf; 0], "{plan}");
}

/// Runs a backup that stands at `place` of the second target while `meanwhile` happens.
fn while_it_stands(history: &History, place: &str, meanwhile: impl FnOnce()) -> Answered {
    let held = Held::start(&history.scene, ("backup.create", &json!({})), ("worker", place));
    meanwhile();
    held.go_on()
}

#[test]
fn a_target_that_fills_up_is_named_and_the_other_one_has_the_backup() {
    let cases = [
        ("repository", "Create:second/packs/", "no_space"),
        ("repository", "Create:second/index/", "no_space"),
        ("archive", "Write:second/.uplifted_", "no_space"),
    ];
    for (layout, place, kind) in cases {
        let mut history = two_targets(layout);
        let Some(disk) = Disk::mount(&second(&history.scene), 3 << 20) else { return };
        history.back_up("one");
        fs::write(history.scene.root().join("data/bulk"), noise(400_000, 5)).unwrap();
        let mut ballast = PathBuf::new();
        let answer = while_it_stands(&history, place, || ballast = disk.fill());
        let told = half_done(&history, &answer, 1, place);
        assert_eq!(told["error"]["kind"], kind, "{place}: {told}");
        let said = told["error"].to_string();
        assert!(said.contains("second"), "{place}: {said}");
        // Full from the start.
        let answer = history.scene.call("backup.create", &json!({}));
        let told = half_done(&history, &answer, 2, place);
        assert_eq!(told["error"]["kind"], kind, "{place}: {told}");
        fs::remove_file(ballast).unwrap();
        whole_again(&history, place);
        drop(disk);
    }
}

#[test]
fn a_target_that_is_the_only_one_and_full_fails_the_backup() {
    for layout in ["repository", "archive"] {
        let mut history = History::with_layout(layout, false);
        let Some(disk) = Disk::mount(&history.scene.target(), 3 << 20) else { return };
        history.back_up("one");
        let ballast = disk.fill();
        let answer = history.scene.call("backup.create", &json!({}));
        assert_eq!(answer.error_kind(), "no_space", "{layout}: {answer:?}");
        let said = answer.json["error"].to_string();
        assert!(said.contains("local") || said.contains("backups"), "{layout}: {said}");
        assert!(answer.json["error"]["hint"].is_string(), "{layout}: {said}");
        assert_eq!(history.all_restore(&history.scene, layout), ["one"], "{layout}");
        fs::remove_file(ballast).unwrap();
        history.scene.call("backup.create", &json!({"label": "one"})).done();
        assert_eq!(history.all_restore(&history.scene, layout), ["one", "one"], "{layout}");
    }
}

#[test]
fn a_target_that_becomes_read_only_is_named_and_the_other_one_has_the_backup() {
    for (layout, place) in [("repository", "Create:second/packs/"), ("archive", "Create:second/.uplifted_")] {
        let mut history = two_targets(layout);
        let Some(disk) = Disk::mount(&second(&history.scene), 3 << 20) else { return };
        history.back_up("one");
        fs::write(history.scene.root().join("data/bulk"), noise(400_000, 5)).unwrap();
        for attempt in 0..2 {
            let answer = match attempt {
                0 => while_it_stands(&history, place, || disk.remount("ro")),
                _ => history.scene.call("backup.create", &json!({})),
            };
            let told = half_done(&history, &answer, 1 + attempt, place);
            let said = told["error"].to_string();
            assert!(said.contains("read-only") || said.contains("Read-only"), "{place}: {said}");
            assert!(said.contains("second"), "{place}: {said}");
        }
        // What is there can still be read.
        let listed = history.scene.call("backup.list", &json!({"target": "second"})).done();
        assert_eq!(listed["snapshots"].as_array().unwrap().len(), 1, "{place}");
        disk.remount("rw");
        whole_again(&history, place);
    }
}

/// Where the target goes away: before a pack, in it, before it is shown, between it and its index, before the header.
fn places() -> &'static [(&'static str, &'static str)] {
    let places = &[
        ("repository", "Create:second/index/"),
        ("archive", "Rename:second/uplifted_"),
        ("repository", "Create:second/packs/"),
        ("repository", "Create:second/snapshots/"),
        ("repository", "Write:second/packs/"),
        ("repository", "Rename:second/packs/"),
        ("repository", "Rename:second/snapshots/"),
        ("archive", "Write:second/.uplifted_"),
    ];
    &places[..if all() { places.len() } else { 4 }]
}

#[test]
fn a_folder_that_is_renamed_away_is_named_and_the_other_one_has_the_backup() {
    for (layout, place) in places() {
        let mut history = two_targets(layout);
        history.back_up("one");
        fs::write(history.scene.root().join("data/bulk"), noise(400_000, 5)).unwrap();
        let (here, away) = (second(&history.scene), history.scene.beside("away"));
        let answer = while_it_stands(&history, place, || fs::rename(&here, &away).unwrap());
        let told = half_done(&history, &answer, 1, place);
        let said = told["error"].to_string();
        assert!(said.contains("second"), "{place}: {said}");
        // Nothing that was not there before looks like a backup at either place.
        let _ = fs::remove_dir_all(&here);
        fs::rename(&away, &here).unwrap();
        let listed = history.scene.call("backup.list", &json!({"target": "second"})).done();
        assert_eq!(listed["snapshots"].as_array().unwrap().len(), 1, "{place}: {listed}");
        whole_again(&history, place);
    }
}

#[test]
fn a_disk_that_is_unmounted_is_named_and_its_mount_point_takes_no_backup() {
    for (layout, place) in places() {
        let mut history = two_targets(layout);
        let mount_point = second(&history.scene);
        let Some(disk) = Disk::mount(&mount_point, 3 << 20) else { return };
        history.back_up("one");
        fs::write(history.scene.root().join("data/bulk"), noise(400_000, 5)).unwrap();
        let answer = while_it_stands(&history, place, || disk.pull());
        let told = half_done(&history, &answer, 1, place);
        let said = told["error"].to_string();
        assert!(said.contains("second"), "{place}: {said}");
        // The folder below is on the service's own disk.
        let left = hidden_below(&mount_point);
        assert_eq!(left, [] as [PathBuf; 0], "{place}");
        for folder in ["packs", "snapshots"] {
            let there = fs::read_dir(mount_point.join(folder)).map_or(0, Iterator::count);
            assert_eq!(there, 0, "{place}: {folder} below the mount point");
        }
    }
}
