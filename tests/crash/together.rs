//! Two machines on one repository, one of them standing still in the middle of its work; and machines whose clocks are a day
//! apart. Whatever comes of it, every snapshot that is listed restores.

use std::fs;

use serde_json::{Value, json};
use uplifted_ops::testing::random::noise;
use uplifted_ops_tests::held::Held;
use uplifted_ops_tests::scene::{Answered, Scene};

use super::repository::History;
use super::{all, assert_no_litter, for_each};

const DAY: i64 = 86_400;

/// Where a backup stands still: before a pack, in it, before it is shown, before its index and before the header.
const PLACES: [&str; 6] =
    ["Create:/packs/", "Write:/packs/", "Rename:/packs/", "Create:/index/", "Create:/snapshots/", "Rename:/snapshots/"];

/// Another machine with the same target and a service of its own, and what its backups, called `other`, restore to.
fn other_machine(history: &mut History) -> Scene {
    let other = history.scene.other_machine();
    fs::write(other.root().join("data/bulk"), noise(200_000, 99)).unwrap();
    other.write("config/config.yaml", "port: 99\n");
    // Elsewhere, so that nothing is known of it here.
    let elsewhere = other.copy();
    elsewhere.call("backup.create", &json!({"label": "other"})).done();
    history.learn("other", &elsewhere);
    other
}

/// A target is in the scene of the one machine, so the two are copied together.
fn copies(history: &History, other: &Scene) -> (Scene, Scene) {
    let (ours, theirs) = (history.scene.copy(), other.copy());
    theirs.name_target(&ours.target());
    (ours, theirs)
}

#[test]
fn two_that_make_the_repository_at_once_agree_on_one() {
    let mut history = History::new(false);
    let other = other_machine(&mut history);
    let done = history.scene.copy();
    done.call("backup.create", &json!({"label": "one"})).done();
    history.learn("one", &done);
    for_each(&["Create:backups/.repository", "Rename:backups/repository", "Rename:backups/RECOVER.md"], |place| {
        let (ours, theirs) = copies(&history, &other);
        let request = json!({"label": "one"});
        let held = Held::start(&ours, ("backup.create", &request), ("worker", place));
        theirs.call("backup.create", &json!({"label": "other"})).done();
        held.go_on().done();
        assert_eq!(history.all_restore(&ours, place), ["one", "other"], "{place}");
        assert_no_litter(&ours, place);
        history.nothing_is_lost_to_collection(&theirs, place);
    });
}

#[test]
fn a_backup_of_one_machine_passes_that_of_another_anywhere() {
    let mut history = History::new(false);
    history.back_up("one");
    let other = other_machine(&mut history);
    history.change(2);
    let done = history.scene.copy();
    done.call("backup.create", &json!({"label": "two"})).done();
    history.learn("two", &done);
    for_each(&PLACES, |place| {
        let (ours, theirs) = copies(&history, &other);
        let held = Held::start(&ours, ("backup.create", &json!({"label": "two"})), ("worker", place));
        theirs.call("backup.create", &json!({"label": "other"})).done();
        assert_eq!(history.all_restore(&theirs, place), ["one", "other"], "{place}");
        // Nor does a collection mind, by the real time or with another clock: what is young may be needed.
        let collected = theirs.call("backup.collect", &json!({})).done();
        assert_eq!(collected["targets"][0]["condemned"], 0, "{place}: {collected}");
        held.go_on().done();
        assert_eq!(history.all_restore(&ours, place), ["one", "other", "two"], "{place}");
        // What the one stored, the other one has no need to.
        let again = theirs.call("backup.create", &json!({"label": "other"})).done();
        assert!(again["stored_bytes"].as_u64().unwrap() < 20_000, "{place}: {again}");
        history.nothing_is_lost_to_collection(&theirs, place);
        assert_no_litter(&ours, place);
    });
}

#[test]
fn two_backups_and_a_collection_side_by_side_are_all_whole() {
    let mut history = History::new(false);
    history.back_up("one");
    let other = other_machine(&mut history);
    let rounds = if all() { 12 } else { 2 };
    let (ours, theirs) = copies(&history, &other);
    for round in 1..=rounds {
        std::thread::scope(|threads| {
            threads.spawn(|| ours.call("backup.create", &json!({"label": "one"})).done());
            threads.spawn(|| theirs.call("backup.create", &json!({"label": "other"})).done());
            threads.spawn(|| ours.call("backup.collect", &json!({})).done());
        });
        assert_eq!(history.all_restore(&ours, "side by side").len(), 1 + 2 * round);
    }
    history.nothing_is_lost_to_collection(&ours, "side by side");
}

/// A backup that wants a pack which nobody needed when it began, and a collector that is faster. `hours` go by between the
/// moment at which the pack is condemned and the one at which the backup goes on. What the backup answers.
fn overtaken(place: &str, hours: u64, clock_off: i64) -> (History, Scene, Answered) {
    let mut history = History::new(false);
    history.back_up("one");
    history.leave_a_dead_pack();
    history.scene.pass(50);
    // What is in the pack is there again: the backup needs to send none of it.
    fs::write(history.scene.root().join("data/gone"), noise(100_000, 77)).unwrap();
    let done = history.scene.copy();
    let made = done.call("backup.create", &json!({"label": "again"})).done();
    assert!(made["stored_bytes"].as_u64().unwrap() < 20_000, "the pack is not used: {made}");
    history.learn("again", &done);
    let mut theirs = history.scene.other_machine();
    theirs.clock_off_seconds = history.scene.clock_off_seconds + clock_off;
    let held = Held::start(&history.scene, ("backup.create", &json!({"label": "again"})), ("worker", place));
    let collected = theirs.call("backup.collect", &json!({})).done();
    assert_eq!(collected["targets"][0]["condemned"], 1, "{collected}");
    if hours > 0 {
        theirs.name_target(&history.scene.target());
        history.scene.pass(hours);
        theirs.clock_off_seconds += i64::try_from(hours).unwrap() * 3600;
        let collected = theirs.call("backup.collect", &json!({})).done();
        assert_eq!(collected["targets"][0]["deleted"].as_array().unwrap().len(), 1, "{collected}");
    }
    let answer = held.go_on();
    (history, theirs, answer)
}

#[test]
fn a_backup_whose_pack_is_collected_meanwhile_fails_and_the_next_one_stores_it_anew() {
    for place in if all() { &["Create:/packs/", "Rename:/index/"][..] } else { &["Rename:/index/"] } {
        for clock_off in [-DAY, 0, DAY] {
            let (history, theirs, answer) = overtaken(place, 26, clock_off);
            assert_eq!(answer.error_kind(), "busy", "{place} {clock_off}: {answer:?}");
            let said = answer.json["error"]["message"].as_str().unwrap();
            assert!(said.contains("garbage collection has"), "{said}");
            assert_eq!(history.all_restore(&theirs, place), ["one"], "{place}");
            let next = history.scene.call("backup.create", &json!({"label": "again"})).done();
            assert!(next["stored_bytes"].as_u64().unwrap() > 100_000, "{place}: {next}");
            assert_eq!(history.all_restore(&theirs, place), ["again", "one"], "{place}");
        }
    }
}

#[test]
fn a_backup_whose_pack_was_condemned_a_moment_ago_keeps_it() {
    for clock_off in [-DAY, DAY] {
        let (mut history, mut theirs, answer) = overtaken("Rename:/index/", 0, clock_off);
        answer.done();
        for _ in 0..3 {
            assert_eq!(history.all_restore(&theirs, "condemned"), ["again", "one"]);
            history.scene.pass(26);
            theirs.clock_off_seconds += 26 * 3600;
            theirs.call("backup.collect", &json!({})).done();
            history.scene.call("backup.collect", &json!({})).done();
        }
        assert_eq!(history.all_restore(&theirs, "condemned"), ["again", "one"]);
    }
}

#[test]
fn two_machines_whose_clocks_are_a_day_apart_keep_what_is_needed_and_free_the_rest() {
    for_each(&[-DAY, DAY], |off| {
        let mut history = History::new(false);
        let first = history.back_up("one")["snapshot_id"].clone();
        let mut other = other_machine(&mut history);
        other.clock_off_seconds = *off;
        let plan = format!("a clock that is {off} s off");
        other.call("backup.create", &json!({"label": "other"})).done();
        history.change(2);
        other.name_target(&history.scene.target());
        history.back_up("two");
        history.leave_a_dead_pack();
        assert_eq!(history.all_restore(&other, &plan), ["one", "other", "two"], "{plan}");
        // The one whose clock is wrong removes, both collect, as days go by.
        other.call("backup.delete", &json!({"snapshot_id": first})).done();
        for day in 0..5 {
            for machine in [&other, &history.scene] {
                let report = machine.call("backup.collect", &json!({}));
                assert_eq!(report.status, Some(0), "{plan}, day {day}: {}", report.json);
                assert_eq!(history.all_restore(machine, &plan), ["other", "two"], "{plan}, day {day}");
            }
            history.scene.pass(26);
            other.clock_off_seconds += 26 * 3600;
        }
        let last = history.scene.call("backup.collect", &json!({})).done();
        assert_eq!(last["targets"][0]["dead_packs"], 0, "{plan}: {last}");
        other.call("backup.create", &json!({"label": "other"})).done();
        assert_eq!(history.all_restore(&other, &plan), ["other", "other", "two"], "{plan}");
    });
}

/// An archive's writer holds a lease.
fn archives() -> (History, Scene) {
    let mut history = History::with_layout("archive", false);
    history.back_up("one");
    let other = history.scene.other_machine();
    (history, other)
}

#[test]
fn a_lease_is_respected_whatever_the_clocks_say_and_taken_over_from_the_dead() {
    let (history, other) = archives();
    let request = json!({"label": "one"});
    for off in [-DAY, 0, DAY] {
        let (ours, mut theirs) = copies(&history, &other);
        theirs.clock_off_seconds = off;
        let held = Held::start(&ours, ("backup.create", &request), ("worker", "Create:/.uplifted_"));
        let refused = theirs.call("backup.create", &request);
        assert_eq!(refused.error_kind(), "busy", "{off}: {refused:?}");
        assert!(refused.json["error"]["message"].as_str().unwrap().contains("is writing to it"), "{refused:?}");
        held.go_on().done();
        theirs.call("backup.create", &request).done();
        // The next owner dies with the lease in its hands.
        let dies = [("UPLIFTED_OPS_FAULT", "worker:kill@Rename:.tar.zst")];
        assert_eq!(ours.call_with("backup.create", &request, &dies).status, Some(2), "{off}");
        theirs.call("backup.create", &request).done();
        ours.call("backup.create", &request).done();
        assert_eq!(history.all_restore(&theirs, "lease"), ["one"; 5], "{off}");
        assert_no_litter(&ours, "lease");
    }
}

/// The owner was on another machine, where nobody can see that it is dead: its lease ends by itself. It takes 30 s.
#[test]
fn a_lease_whose_owner_died_elsewhere_ends_by_itself() {
    if !all() {
        return;
    }
    let (history, other) = archives();
    let request: Value = json!({"label": "one"});
    let elsewhere: Vec<String> = ["unshare", "--pid", "--fork", "--mount-proc"].map(str::to_owned).to_vec();
    let dies = [("UPLIFTED_OPS_FAULT", "worker:kill@Rename:.tar.zst")];
    let died = other.run_in(&elsewhere, &["call", "backup.create", &request.to_string()], &dies);
    assert_eq!(Answered::of(&died).status, Some(2), "{}", String::from_utf8_lossy(&died.stderr));
    let refused = history.scene.call("backup.create", &request);
    assert_eq!(refused.error_kind(), "busy", "{refused:?}");
    let mut later = history.scene.copy();
    later.pass(1);
    later.call("backup.create", &request).done();
    assert_eq!(history.all_restore(&later, "lease"), ["one", "one"]);
    assert_no_litter(&later, "lease");
}
