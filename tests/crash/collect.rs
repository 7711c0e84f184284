//! `backup.collect` at every point, in both of its phases: what a snapshot needs stays, and the next run ends the work.

use serde_json::{Value, json};
use uplifted_ops_tests::scene::{Answered, Scene};

use super::assert_no_litter;
use super::repository::History;

/// Two snapshots and what a run left that died before it showed one, older than any run may be.
fn with_dead_packs() -> History {
    let mut history = History::new(false);
    history.back_up("one");
    history.leave_a_dead_pack();
    history.scene.pass(50);
    history.change(2);
    history.back_up("two");
    history.scene.pass(1);
    history
}

fn collection(run: &Scene) -> Value {
    run.call("backup.collect", &json!({})).done()["targets"][0].clone()
}

/// After the fault: what there is restores, and in the end nothing is there that no snapshot needs.
fn ends_the_work(history: &History, run: &Scene, labels: &[&str], plan: &str) {
    assert_eq!(history.all_restore(run, plan), labels, "{plan}");
    let mut later = run.copy();
    for _ in 0..3 {
        collection(&later);
        later.pass(26);
    }
    let last = collection(&later);
    assert_eq!((&last["dead_packs"], &last["problems"]), (&json!(0), &json!([])), "{plan}: {last}");
    assert_eq!(history.all_restore(&later, plan), labels, "{plan}");
    // And a backup goes on from there.
    later.call("backup.create", &json!({"label": history.now})).done();
    assert_eq!(history.all_restore(&later, plan).len(), labels.len() + 1, "{plan}");
    assert_no_litter(&later, plan);
    history.nothing_is_lost_to_collection(&later, plan);
}

/// A success tells how many were condemned and deleted; a failure of single objects is told as such.
fn told(answer: &Answered, what: &str, least: u64, plan: &str) {
    if answer.status == Some(0) {
        let target = &answer.json["targets"][0];
        let number = target[what].as_u64().unwrap_or_else(|| target[what].as_array().unwrap().len() as u64);
        assert!(number >= least, "{plan}: success was reported: {}", answer.json);
    }
}

#[test]
fn condemning_that_dies_or_fails_anywhere_keeps_what_is_needed() {
    let history = with_dead_packs();
    let history = &history;
    history.at_every_point(
        "backup.collect",
        |_| json!({}),
        6,
        |run, answer, plan| {
            told(answer, "condemned", 1, plan);
            ends_the_work(history, run, &["one", "two"], plan);
        },
    );
}

#[test]
fn deleting_what_was_condemned_dies_or_fails_anywhere_and_keeps_what_is_needed() {
    let mut history = with_dead_packs();
    // A snapshot of its own content goes as well: its removal condemns the packs that it alone needs.
    history.change(4);
    let three = history.back_up("three");
    history.scene.call("backup.delete", &json!({"snapshot_id": three["snapshot_id"]})).done();
    assert_eq!(collection(&history.scene)["condemned"], 1);
    history.scene.pass(26);
    let deleted = collection(&history.scene.copy());
    assert_eq!((&deleted["dead_packs"], deleted["deleted"].as_array().unwrap().len()), (&json!(0), 2), "{deleted}");
    let history = &history;
    history.at_every_point(
        "backup.collect",
        |_| json!({}),
        8,
        |run, answer, plan| {
            told(answer, "deleted", 2, plan);
            ends_the_work(history, run, &["one", "two"], plan);
        },
    );
}
