//! Copies from one repository to another, which has snapshots of its own, at every point: what it had stays, a snapshot is
//! listed there when it is whole, the next copy ends the work with what arrived, and the first repository is only read.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use uplifted_ops::testing::random::noise;
use uplifted_ops_tests::scene::Scene;
use uplifted_ops_tests::tree::Tree;

use super::repository::History;
use super::{assert_no_litter, hidden_below};

/// Two targets: the snapshots `one` and `two` in `local`, which the second lacks, and `other` in `second`.
struct Targets {
    history: History,
    /// The snapshot that is copied: `two`.
    id: Value,
    /// What a copy is told beside it: an identity, or nothing.
    more: Value,
}

fn second(scene: &Scene) -> PathBuf {
    scene.beside("second")
}

/// Names the second target, from the service's folder, so that it is another one in each copy of the scene.
fn add_second(history: &History) {
    let text = fs::read_to_string(history.scene.root().join("ops.toml")).unwrap();
    let second = "[[target]]\nname = \"second\"\nkind = \"fs\"\npath = \"../second\"\n";
    history.scene.write("ops.toml", &format!("{text}\n{second}"));
}

impl Targets {
    /// In clear. The second repository was made by another machine, with an id key of its own.
    fn of_two_machines() -> Self {
        let mut other = History::new(false);
        fs::write(other.scene.root().join("data/bulk"), noise(200_000, 99)).unwrap();
        other.back_up("other");
        let mut history = History::new(false);
        let id = Self::backups(&mut history);
        fs::rename(other.scene.target(), second(&history.scene)).unwrap();
        add_second(&history);
        history.states.extend(other.states);
        Self { history, id, more: json!({}) }
    }

    /// Sealed to one identity, which is given to the copy or not: its content is sealed anew, or its packs go as they are.
    fn sealed(opened: bool) -> Self {
        let mut history = History::new(true);
        add_second(&history);
        let bulk = history.scene.root().join("data/bulk");
        let later = fs::read(&bulk).unwrap();
        fs::write(&bulk, noise(200_000, 99)).unwrap();
        history.back_up("other");
        fs::write(bulk, later).unwrap();
        let id = Self::backups(&mut history);
        let more = if opened { history.reading(json!({})) } else { json!({}) };
        Self { history, id, more }
    }

    fn backups(history: &mut History) -> Value {
        history.back_up_to("local", "one");
        history.change(2);
        history.back_up_to("local", "two")["snapshot_id"].clone()
    }

    fn request(&self, id: &Value) -> Value {
        let mut request = self.more.clone();
        request["snapshot_id"] = id.clone();
        request["to"] = json!("second");
        request
    }

    /// What the second target lists, by label; each snapshot is verified in full.
    fn verified(&self, run: &Scene, plan: &str) -> BTreeMap<String, Value> {
        let listed = run.call("backup.list", &json!({"target": "second"})).done();
        assert_eq!((&listed["failed"], &listed["unreadable"]), (&json!([]), &json!([])), "{plan}");
        let mut found = BTreeMap::new();
        for snapshot in listed["snapshots"].as_array().unwrap() {
            let (label, id) = (snapshot["label"].as_str().unwrap(), &snapshot["snapshot_id"]);
            let request = json!({"snapshot_id": id, "target": "second", "depth": "full"});
            let verdict = run.call("backup.verify", &self.history.reading(request));
            assert_eq!(verdict.status, Some(0), "{plan}: {label}: {} {}", verdict.json, verdict.stderr);
            found.insert(label.to_owned(), id.clone());
        }
        found
    }

    /// The labels of what is in the second target, which is verified, and restores to what was backed up.
    fn restored(&self, run: &Scene, plan: &str) -> Vec<String> {
        let found = self.verified(run, plan);
        let into = run.beside("restored");
        for (label, id) in &found {
            let request = json!({"snapshot_id": id, "target": "second", "into": into});
            run.call("restore.apply", &self.history.reading(request)).done();
            let (now, then) = (History::without_the_readers_time(Tree::of(&into, &[])), &self.history.states[label]);
            assert!(now == *then, "{plan}: {label} restores to {:#?}", now.difference(then));
            fs::remove_dir_all(&into).unwrap();
        }
        found.into_keys().collect()
    }
}

/// Bytes of the packs in the second target that have their index, and so are there for everybody.
fn arrived(run: &Scene) -> u64 {
    let names = |folder: &str| {
        let entries = fs::read_dir(second(run).join(folder)).unwrap();
        entries.map(|entry| entry.unwrap()).filter_map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            let (id, _) = name.split_once('.')?;
            // What a dead run was writing has a hidden name, and is not there for anybody.
            (!id.is_empty()).then(|| (id.to_owned(), entry.metadata().unwrap().len()))
        })
    };
    let indexed: BTreeMap<String, u64> = names("index").collect();
    names("packs").filter(|(name, _)| indexed.contains_key(name)).map(|(_, size)| size).sum()
}

fn stored(copied: &Value) -> u64 {
    copied["stored_bytes"].as_u64().unwrap()
}

fn every_copy(targets: &Targets, tries: usize) {
    let history = &targets.history;
    let (request, first) = (targets.request(&targets.id), Tree::of(&history.scene.target(), &[]));
    let listed = history.scene.call("backup.list", &json!({"target": "local"})).done();
    let one = listed["snapshots"].as_array().unwrap().iter().find(|snapshot| snapshot["label"] == "one").unwrap();
    let earlier = targets.request(&one["snapshot_id"]);
    let done = history.scene.copy();
    let once = stored(&done.call("backup.copy", &request).done());
    assert!(once > 200_000, "{once} bytes: the second repository had nearly all of it");
    let before = arrived(&history.scene);
    history.at_every_point(
        "backup.copy",
        |_| request.clone(),
        tries,
        |run, answer, plan| {
            let there = targets.verified(run, plan);
            let copied = there.contains_key("two");
            assert!(there.contains_key("other") && there.len() == 1 + usize::from(copied), "{plan}: {there:?}");
            assert!(copied || answer.status != Some(0), "{plan}: success was reported");
            let arrived = arrived(run) - before;
            let again = run.call("backup.copy", &request).done();
            assert_eq!(again["copied"], json!(!copied), "{plan}");
            if !copied {
                let sent = stored(&again);
                assert!(
                    sent + arrived < once + once / 10,
                    "{plan}: {arrived} of {once} bytes were there, {sent} were sent"
                );
            }
            // What is there is not stored again, by a copy of the same or of the snapshot before.
            let size = Tree::of(&second(run), &[]);
            assert_eq!(run.call("backup.copy", &request).done()["copied"], false, "{plan}");
            assert!(Tree::of(&second(run), &[]) == size, "{plan}: a copy of what is there changed something");
            let copied = run.call("backup.copy", &earlier).done();
            assert!(stored(&copied) < once / 2, "{plan}: {copied}: the two share what does not compress");
            assert_eq!(targets.restored(run, plan), ["one", "other", "two"], "{plan}");

            let now = Tree::of(&run.target(), &[]);
            assert!(now == first, "{plan}: the first target changed: {:#?}", now.difference(&first));
            assert_eq!(hidden_below(&second(run)), [] as [PathBuf; 0], "{plan}");
            assert_no_litter(run, plan);
            let collected = run.call("backup.collect", &json!({"dry_run": true})).done();
            for target in collected["targets"].as_array().unwrap() {
                assert_eq!((&target["problems"], &target["refusals"]), (&json!([]), &json!([])), "{plan}: {target}");
            }
        },
    );
}

#[test]
fn a_copy_that_dies_or_fails_anywhere_is_listed_when_it_is_whole_and_the_next_one_uses_what_arrived() {
    every_copy(&Targets::of_two_machines(), 6);
}

#[test]
fn so_is_one_whose_packs_go_as_they_are() {
    every_copy(&Targets::sealed(false), 4);
}

#[test]
fn so_is_one_that_is_opened_and_sealed_anew() {
    every_copy(&Targets::sealed(true), 4);
}
