//! `backup.keys_*` at every point: what is encrypted can be opened, before and after, however the run ends.

use serde_json::{Value, json};
use uplifted_ops_tests::keys::{OperatorKey, encrypt_with, encrypted, wrapped};
use uplifted_ops_tests::scene::{Scene, trace};

use super::repository::{History, IDENTITY};
use super::{PROGRAM, assert_no_litter, for_each, points};

/// Kills, and fails once, at every point of `operation` in the worker; `check` looks at what became of a copy.
fn at_every_point(scene: &Scene, operation: &str, request: &Value, check: impl Fn(&Scene, bool, &str) + Sync) {
    let count = trace(&scene.copy(), "worker", operation, request).len();
    assert!(count > 0, "no point was traced: is the binary built with fault points?");
    let plans: Vec<String> =
        points(count).flat_map(|at| ["kill", "eio"].map(|fault| format!("worker:{fault}@{at}"))).collect();
    for_each(&plans, |plan| {
        let run = scene.copy();
        let answer = run.call_with(operation, request, &[("UPLIFTED_OPS_FAULT", plan)]);
        check(&run, answer.status == Some(0), plan);
    });
}

/// Whether the operator opens the newest backup.
fn opens(run: &Scene, operator: &OperatorKey) -> bool {
    run.call("backup.keys_check", &json!({"identity_file": operator.file})).status == Some(0)
}

#[test]
fn wrapping_anew_leaves_a_key_that_opens_at_every_point() {
    let (scene, old) = encrypted(PROGRAM);
    scene.call("backup.create", &json!({})).done();
    let new = OperatorKey::make(&scene, "new.txt");
    encrypt_with(&scene, &format!("{{ recipients = [{:?}] }}", new.public));
    let request = json!({"identity_file": old.file, "proof_file": new.file});
    at_every_point(&scene, "backup.keys_rewrap", &request, |run, done, plan| {
        let (by_old, by_new) = (opens(run, &old), opens(run, &new));
        assert!(by_old || by_new, "{plan}: nobody opens the backup: {:?}", wrapped(run));
        assert!(!done || (by_new && !by_old), "{plan}: it said that it was done: {:?}", wrapped(run));
        // Whoever can open it goes on from there.
        let again = json!({"identity_file": if by_old { &old.file } else { &new.file }, "proof_file": new.file});
        run.call("backup.keys_rewrap", &again).done();
        assert!(opens(run, &new), "{plan}: {:?}", wrapped(run));
    });
}

#[test]
fn a_rotation_encrypts_to_nothing_that_cannot_be_opened_at_every_point() {
    let (scene, operator) = encrypted(PROGRAM);
    let old = scene.call("backup.create", &json!({})).done();
    at_every_point(&scene, "backup.keys_rotate", &json!({}), |run, done, plan| {
        let made = run.call("backup.create", &json!({})).done();
        assert!(!done || made["encrypted_to"] != old["encrypted_to"], "{plan}: it said that it was done");
        assert!(opens(run, &operator), "{plan}: {:?}", wrapped(run));
        let first = json!({"snapshot_id": old["snapshot_id"], "identity_file": operator.file, "depth": "data"});
        assert_eq!(run.call("backup.verify", &first).done()["level"], "proven", "{plan}");
    });
}

#[test]
fn set_up_ends_with_a_key_that_opens_or_with_none_at_every_point() {
    let scene = Scene::small(PROGRAM);
    let operator = OperatorKey::make(&scene, "operator.txt");
    encrypt_with(&scene, &format!("{{ recipients = [{:?}] }}", operator.public));
    at_every_point(&scene, "backup.keys_init", &json!({}), |run, done, plan| {
        let made = run.call("backup.create", &json!({}));
        assert!(!done || made.status == Some(0), "{plan}: {}", made.json);
        if made.status != Some(0) {
            // Nothing was stored, and the way on is in the hint: a key that nobody uses may lie there.
            assert!(run.archives().is_empty(), "{plan}");
            run.call("backup.keys_init", &json!({"anew": true})).done();
            run.call("backup.create", &json!({})).done();
        }
        assert!(opens(run, &operator), "{plan}: {:?}", wrapped(run));
    });
}

/// Snapshots in an encrypted repository, and a key change at every point: whoever could open them all can, or the new
/// operator can, and the next backup goes on in the same repository.
fn in_a_repository(operation: &str, request: &Value, history: &History, operators: &[&str]) {
    history.at_every_point(
        operation,
        |_| request.clone(),
        6,
        |run, answer, plan| {
            let opens = |name: &&&str| {
                let check = run.call("backup.keys_check", &json!({"identity_file": run.beside(name)}));
                check.status == Some(0)
            };
            let able: Vec<&&str> = operators.iter().filter(opens).collect();
            assert!(!able.is_empty(), "{plan}: nobody opens the backups: {:?}", wrapped(run));
            if answer.status == Some(0) {
                assert_eq!(able.last(), operators.last().as_ref(), "{plan}: success was reported");
            }
            let next = run.call("backup.create", &json!({"label": "two"})).done();
            // Under another key nothing of what is there is found again; under the same one all of it is.
            assert!(next["outcome"] == "complete", "{plan}: {next}");
            for name in able {
                let labels = history.all_restore_with(run, Some(&run.beside(name)), plan);
                assert_eq!(labels, ["one", "two", "two"], "{plan}: {name}");
            }
            assert_no_litter(run, plan);
            history.nothing_is_lost_to_collection(run, plan);
        },
    );
}

fn sealed_history() -> History {
    let mut history = History::new(true);
    history.back_up("one");
    history.change(2);
    history.back_up("two");
    history
}

#[test]
fn a_repository_whose_keys_are_wrapped_anew_can_be_opened_at_every_point() {
    let history = sealed_history();
    let new = OperatorKey::make(&history.scene, "new.txt");
    encrypt_with(&history.scene, &format!("{{ recipients = [{:?}] }}", new.public));
    let request = json!({"identity_file": history.scene.beside(IDENTITY), "proof_file": new.file});
    in_a_repository("backup.keys_rewrap", &request, &history, &[IDENTITY, "new.txt"]);
}

#[test]
fn a_repository_whose_key_is_rotated_can_be_opened_at_every_point() {
    in_a_repository("backup.keys_rotate", &json!({}), &sealed_history(), &[IDENTITY]);
}
