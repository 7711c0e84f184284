//! What the journal says about backups.

use serde_json::{Value, json};

use super::{KnownBackups, backups, proofs};
use crate::backup::list::{Listed, list};
use crate::backup::manifest::Manifest;
use crate::backup::retention::Proofs;
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::journal::{Journal, Record, RecordOutcome};
use crate::testing::MemoryTarget;

fn at(hour: i8) -> Timestamp {
    format!("2026-01-01T{hour:02}:00:00Z").parse().unwrap()
}

fn journal(records: &[(i8, &str, Value)]) -> (tempfile::TempDir, Proofs) {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    for (hour, operation, response) in records {
        let record = Record {
            time: at(*hour),
            operation: (*operation).to_owned(),
            outcome: RecordOutcome::Done,
            duration_seconds: 0.0,
            pid: 1,
            request: Value::Null,
            response: response.clone(),
            error: None,
        };
        journal.append(&record).unwrap();
    }
    let proofs = proofs(&journal).unwrap();
    (folder, proofs)
}

fn verify(depth: &str, targets: &[&str], damaged: &[&str]) -> Value {
    let problems: Vec<Value> = damaged.iter().map(|target| json!({ "target": target, "kind": "x" })).collect();
    json!({ "snapshot_id": "aaaa11111111", "depth": depth, "ok": damaged.is_empty(), "targets": targets, "problems": problems })
}

/// The snapshot that all of it is about, in the target of that name.
async fn copy_in(target: &str) -> Listed {
    let memory = MemoryTarget::default();
    crate::backup::fake_snapshot::put(&memory, Manifest::of_nothing("aaaa11111111")).await;
    let named = [(target.to_owned(), std::sync::Arc::new(memory) as _)];
    list(&Scope::default(), &named, &None, None).await.unwrap().snapshots.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_verification_of_a_copy_that_could_tell_counts() {
    let (one, two) = (copy_in("one").await, copy_in("two").await);
    let both: &[&str] = &["one", "two"];
    let found = |records: &[(i8, &str, Value)]| {
        let (_folder, proofs) = journal(records);
        (proofs.verified_at(&one), proofs.verified_at(&two))
    };
    let name = "backup.verify";
    assert_eq!(found(&[(1, name, verify("full", both, &[]))]), (Some(at(1)), Some(at(1))));
    assert_eq!(found(&[(1, name, verify("full", &["one"], &[]))]), (Some(at(1)), None));
    // Not every depth proves a copy whole, and every depth proves it damaged.
    assert_eq!(found(&[(1, name, verify("data", both, &[]))]), (None, None));
    let damaged_later = [(1, name, verify("full", both, &[])), (2, name, verify("quick", both, &["two"]))];
    assert_eq!(found(&damaged_later), (Some(at(1)), None));
    // One copy may be whole where the other is not.
    assert_eq!(found(&[(1, name, verify("full", both, &["one"]))]), (None, Some(at(1))));
    // The order of the journal counts, and not that of the clocks.
    let clock_fell_back = [(9, name, verify("full", both, &["one"])), (3, name, verify("full", both, &[]))];
    assert_eq!(found(&clock_fell_back), (Some(at(3)), Some(at(3))));
    // A record that was cut lacks its lists: all copies are in doubt.
    let cut = json!({ "snapshot_id": "aaaa11111111", "depth": "full", "ok": false, "targets": both, "problems": { "cut_items": 9 } });
    assert_eq!(found(&[(1, name, verify("full", both, &[])), (2, name, cut)]), (None, None));
    assert_eq!(found(&[(1, "backup.create", verify("full", both, &[])), (2, name, Value::Null)]), (None, None));

    let drill = |ok: bool, level: &str, problems: Value| json!({ "snapshot_id": "aaaa11111111", "target": "one", "ok": ok, "level": level, "problems": problems });
    let whole = || (1, name, verify("full", both, &[]));
    let after_whole = |response: Value| found(&[whole(), (2, "backup.drill", response)]);
    assert_eq!(found(&[(1, "backup.drill", drill(true, "proven", json!([])))]), (Some(at(1)), None));
    assert_eq!(after_whole(drill(true, "proven", json!([]))), (Some(at(2)), Some(at(1))));
    // The service did not like what it saw: not damaged, and nothing to fall back on.
    let (_folder, proofs) =
        journal(&[whole(), (2, "backup.drill", drill(false, "proven", json!([{ "step": "queries" }])))]);
    assert_eq!((proofs.verified_at(&one), proofs.damaged_at(&one)), (None, None));
    let (_folder, proofs) =
        journal(&[whole(), (2, "backup.drill", drill(false, "proven", json!([{ "step": "restore" }])))]);
    assert_eq!((proofs.damaged_at(&one), proofs.verified_at(&two)), (Some(at(2)), Some(at(1))));

    // A sample found damage in the target: in which snapshot is open, so all that was proven before is.
    let sample = |targets: &[&str]| {
        let problems: Vec<Value> = targets.iter().map(|target| json!({ "target": target })).collect();
        json!({ "ok": problems.is_empty(), "problems": problems })
    };
    assert_eq!(found(&[whole(), (2, "backup.sample", sample(&[]))]), (Some(at(1)), Some(at(1))));
    assert_eq!(found(&[whole(), (2, "backup.sample", sample(&["two"]))]), (Some(at(1)), None));
    assert_eq!(found(&[whole(), (2, "backup.sample", json!({ "problems": { "cut_items": 9 } }))]), (None, None));
    let again = [(1, "backup.sample", sample(&["two"])), (2, name, verify("full", both, &[]))];
    assert_eq!(found(&again), (Some(at(2)), Some(at(2))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_that_went_round_prove_what_nobody_looked_at_more_closely() {
    let (one, two) = (copy_in("one").await, copy_in("two").await);
    let found = |records: &[(i8, &str, Value)]| {
        let (_folder, proofs) = journal(records);
        (proofs.verified_at(&one), proofs.verified_at(&two))
    };
    let sample = |whole: &[&str], damaged: &[&str]| {
        let targets: Vec<Value> =
            whole.iter().map(|target| json!({ "target": target, "whole": ["aaaa11111111"] })).collect();
        let problems: Vec<Value> = damaged.iter().map(|target| json!({ "target": target })).collect();
        json!({ "ok": problems.is_empty(), "targets": targets, "problems": problems })
    };
    let name = "backup.sample";
    assert_eq!(found(&[(1, name, sample(&["one"], &[]))]), (Some(at(1)), None));
    assert_eq!(found(&[(1, name, sample(&["one"], &[])), (2, name, sample(&[], &[]))]), (Some(at(1)), None));
    // What one found counts, and what came before it does not.
    assert_eq!(
        found(&[(1, name, sample(&["one", "two"], &[])), (2, name, sample(&[], &["two"]))]),
        (Some(at(1)), None)
    );
    assert_eq!(found(&[(1, name, sample(&[], &["one"])), (2, name, sample(&["one"], &[]))]), (Some(at(2)), None));
    // Bytes that are as they were stored say nothing to who has restored them and found them wanting.
    let damaged = (1, "backup.verify", verify("full", &["one", "two"], &["one"]));
    let later = (2, name, sample(&["one", "two"], &[]));
    assert_eq!(found(&[damaged, later]), (None, Some(at(2))));
}

#[test]
fn what_is_known_of_backups_follows_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    let known = KnownBackups::default();
    assert_eq!(known.of(&journal).unwrap().complete, 0);
    let record = |seconds: i64| Record {
        time: Timestamp::from_second(seconds).unwrap(),
        operation: "backup.create".to_owned(),
        outcome: RecordOutcome::Done,
        duration_seconds: 1.0,
        pid: 1,
        request: json!({}),
        response: json!({ "outcome": "complete", "size_bytes": 5, "stored_bytes": 3 }),
        error: None,
    };
    for made in 1..=3 {
        journal.append(&record(made)).unwrap();
        let history = known.of(&journal).unwrap();
        assert_eq!((history.complete, history.last_complete), (made as u64, Some(record(made).time)));
        assert_eq!(known.of(&journal).unwrap(), backups(&journal).unwrap());
    }
    std::fs::remove_dir_all(journal.folder()).unwrap();
    assert_eq!(known.of(&journal).unwrap().complete, 0);
}
