//! Ctrl-C in the middle of everything that works on a target: nothing half made is left, without another run that would
//! clean up, and the next run does the whole and uses what arrived.

use std::fs;

use serde_json::{Value, json};
use uplifted_ops_tests::held::Held;
use uplifted_ops_tests::scene::{Scene, trace};

use super::repository::History;
use super::{all, assert_no_litter, for_each, hidden_below, sample};

/// Stops `operation` while it stands at each of its points, or at `count` of them. Checks each run by itself, then
/// `check`s it.
fn at_every_point(
    history: &History,
    operation: &str,
    request: impl Fn(&Scene) -> Value + Sync,
    count: usize,
    check: impl Fn(&Scene, bool, &str) + Sync,
) {
    let run = history.scene.copy();
    let points = trace(&run, "worker", operation, &request(&run)).len();
    for_each(&sample(&format!("a cancel of {operation}"), (1..=points).collect(), count), |at| {
        let run = history.scene.copy();
        let plan = format!("a cancel of {operation} at {at}");
        let answer = match Held::try_start(&run, (operation, &request(&run)), ("worker", &at.to_string()), &[]) {
            Ok(mut held) => {
                held.interrupt();
                held.go_on()
            }
            // Another order of the threads has fewer.
            Err(ended) => ended,
        };
        if answer.status != Some(0) {
            assert_eq!(answer.error_kind(), "cancelled", "{plan}: {answer:?}");
        }
        assert_no_litter(&run, &plan);
        history.all_restore(&run, &plan);
        check(&run, answer.status == Some(0), &plan);
    });
}

#[test]
fn a_backup_that_is_cancelled_anywhere_leaves_nothing_half_made() {
    let mut history = History::new(false);
    history.back_up("one");
    history.change(2);
    let (done, request) = (history.scene.copy(), json!({"label": "two"}));
    let once = done.call("backup.create", &request).done()["stored_bytes"].as_u64().unwrap();
    history.learn("two", &done);
    let indexes = |run: &Scene| fs::read_dir(run.target().join("index")).unwrap().count();
    let before = indexes(&history.scene);
    let history = &history;
    at_every_point(
        history,
        "backup.create",
        |_| request.clone(),
        8,
        |run, done, plan| {
            assert_eq!(history.all_restore(run, plan).len(), 1 + usize::from(done), "{plan}");
            let arrived = indexes(run) > before;
            let again = run.call("backup.create", &request).done()["stored_bytes"].as_u64().unwrap();
            assert!(!arrived || again < once / 4, "{plan}: {again} bytes of {once} were stored again");
            history.all_restore(run, plan);
        },
    );
}

#[test]
fn a_removal_and_a_collection_that_are_cancelled_anywhere_go_on_later() {
    let mut history = History::new(false);
    history.back_up("one");
    history.leave_a_dead_pack();
    history.scene.pass(50);
    history.scene.call("backup.collect", &json!({})).done();
    history.scene.pass(26);
    history.change(2);
    let id = history.back_up("two")["snapshot_id"].clone();
    history.change(3);
    history.back_up("three");
    let request = json!({"snapshot_id": id});
    at_every_point(
        &history,
        "backup.delete",
        |_| request.clone(),
        4,
        |run, done, plan| {
            let again = run.call("backup.delete", &request);
            // The header may have gone before the cancel was seen.
            assert!(matches!(again.status, Some(0)) || again.error_kind() == "not_found", "{plan}: {again:?}");
            assert!(!done || again.status == Some(2), "{plan}");
            assert_eq!(history.all_restore(run, plan), ["one", "three"], "{plan}");
        },
    );
    at_every_point(
        &history,
        "backup.collect",
        |_| json!({}),
        4,
        |run, done, plan| {
            let again = run.call("backup.collect", &json!({})).done();
            assert_eq!(again["targets"][0]["dead_packs"], 0, "{plan}: {done} {again}");
            assert_eq!(history.all_restore(run, plan), ["one", "three", "two"], "{plan}");
        },
    );
}

#[test]
fn an_export_and_an_import_that_are_cancelled_anywhere_leave_nothing() {
    let mut history = History::new(false);
    history.back_up("one");
    fs::create_dir(history.scene.beside("exports")).unwrap();
    let output = |run: &Scene| run.beside("exports/service.tar.zst");
    let request = |run: &Scene| json!({"snapshot_id": "latest", "output": output(run)});
    at_every_point(&history, "backup.export", request, 4, |run, done, plan| {
        assert!(!done || output(run).exists(), "{plan}");
        assert_eq!(hidden_below(&run.beside("exports")), [] as [std::path::PathBuf; 0], "{plan}");
        let _ = fs::remove_file(output(run));
        run.call("backup.export", &request(run)).done();
    });
    history.scene.call("backup.export", &request(&history.scene)).done();
    let request = |run: &Scene| json!({"path": output(run)});
    at_every_point(&history, "backup.import", request, 4, |run, done, plan| {
        run.call("backup.import", &request(run)).done();
        assert_eq!(history.all_restore(run, plan).len(), 2 + usize::from(done), "{plan}");
    });
}

#[test]
fn a_copy_that_is_cancelled_anywhere_leaves_nothing() {
    let mut history = History::with_layout("archive", true);
    history.back_up("one");
    let text = fs::read_to_string(history.scene.root().join("ops.toml")).unwrap();
    let second = "[[target]]\nname = \"second\"\nkind = \"fs\"\npath = \"../second\"\n";
    history.scene.write("ops.toml", &format!("{text}\n{second}"));
    let request = json!({"snapshot_id": "latest", "to": "second"});
    at_every_point(
        &history,
        "backup.copy",
        |_| request.clone(),
        4,
        |run, done, plan| {
            assert_eq!(hidden_below(&run.beside("second")), [] as [std::path::PathBuf; 0], "{plan}");
            let again = run.call("backup.copy", &request).done();
            assert!(!done || again["copied"] == false, "{plan}: {again}");
            history.all_restore(run, plan);
        },
    );
}

/// The disk of the target hangs for ever: nobody in the worker hears the cancel.
#[test]
fn a_backup_that_hangs_is_cancelled_all_the_same() {
    let mut history = History::new(false);
    history.back_up("one");
    history.change(2);
    let text = fs::read_to_string(history.scene.root().join("ops.toml")).unwrap();
    history.scene.write("ops.toml", &format!("{text}\n[worker]\ncancel_grace_seconds = 0.5\n"));
    let places = ["Create:/packs/", "Write:/packs/", "Sync:/packs", "Rename:/index/", "Sync:/snapshots/"];
    for place in &places[if all() { 0 } else { 3 }..] {
        let run = history.scene.copy();
        let mut held = Held::start(&run, ("backup.create", &json!({"label": "two"})), ("worker", place));
        held.interrupt();
        let answer = held.end();
        assert_eq!(answer.error_kind(), "cancelled", "{place}: {answer:?}");
        assert_eq!(history.all_restore(&run, place), ["one"], "{place}");
        // It was killed, so what it left is removed by the next one.
        run.call("backup.create", &json!({"label": "one"})).done();
        assert_no_litter(&run, place);
    }
}
