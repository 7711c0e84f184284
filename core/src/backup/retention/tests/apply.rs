//! What becomes of a plan: deletions one by one, faults, crashes, others at the same time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::ErrorKind;
use crate::backup::BackupTarget;
use crate::backup::fake_snapshot;
use crate::backup::lease::{Lease, LeaseTimes};
use crate::backup::manifest::Manifest;
use crate::cancel::Scope;
use crate::clock::{Clock, ManualClock};
use crate::testing::{Call, FaultyTarget, MemoryTarget};

/// Eight nights in a target in memory, all verified.
struct Nights {
    memory: MemoryTarget,
    scope: Scope,
    keys: Vec<String>,
}

impl Nights {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::new(at("2026-01-01T02:00:00Z")));
        let memory = MemoryTarget::default().with_clock(clock.clone());
        let mut keys = Vec::new();
        for night in 1..=8 {
            let manifest = Manifest {
                service: "app".to_owned(),
                time: clock.now(),
                ..Manifest::of_nothing(&format!("{night:012}"))
            };
            keys.push(fake_snapshot::put(&memory, manifest).await);
            clock.advance(Duration::from_secs(24 * 3600));
        }
        Self { memory, scope: Scope { clock, ..Scope::default() }, keys }
    }

    fn proofs(&self, targets: &[&str]) -> Proofs {
        let mut proofs = Proofs::default();
        for night in 1..=8 {
            for target in targets {
                proofs.note(&format!("{night:012}"), Some(target), Proof::Whole(at("2026-01-09T00:00:00Z")));
            }
        }
        proofs
    }

    /// Keeps the last three.
    async fn retain(&self, target: Arc<dyn BackupTarget>) -> crate::Result<RetainReport> {
        self.retain_in(vec![("one".to_owned(), target)], false, &|| Ok(self.proofs(&["one"]))).await
    }

    async fn retain_in(
        &self,
        targets: Vec<(String, Arc<dyn BackupTarget>)>,
        dry_run: bool,
        proofs: &(dyn Fn() -> crate::Result<Proofs> + Sync),
    ) -> crate::Result<RetainReport> {
        let rules = RetentionSettings { keep_last: 3, ..RetentionSettings::default() };
        let keys = None;
        let lease = LeaseTimes { watch: Duration::from_millis(20), ..LeaseTimes::default() };
        let (service, host) = ("app".to_owned(), "here".to_owned());
        retain(&self.scope, &RetainJob { targets, keys, service, policy: policy(rules), proofs, host, lease, dry_run })
            .await
    }

    fn archives(&self) -> Vec<String> {
        self.memory.keys().into_iter().filter(|key| key.ends_with(".tar.zst")).collect()
    }

    fn assert_thinned_out(&self) {
        assert_eq!(self.archives(), self.keys[5..]);
        let litter: Vec<String> = self.memory.keys().into_iter().filter(|key| key.starts_with("holds/")).collect();
        assert!(litter.is_empty(), "{litter:?}");
    }
}

fn ids_of(report: &RetainReport) -> Vec<u64> {
    report.deleted.iter().map(|deleted| deleted.snapshot_id.parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_rule_keeps_goes_the_oldest_first_and_a_dry_run_writes_nothing() {
    let nights = Nights::new().await;
    let before = nights.memory.keys();
    let target: Arc<dyn BackupTarget> = Arc::new(nights.memory.clone());
    let proofs = || Ok(nights.proofs(&["one"]));
    let dry = nights.retain_in(vec![("one".to_owned(), Arc::clone(&target))], true, &proofs).await.unwrap();
    assert_eq!(nights.memory.keys(), before);
    assert!(dry.is_healthy() && dry.dry_run && dry.deleted.is_empty());
    assert_eq!(dry.plan.targets[0].deletions, 5);

    let done = nights.retain(Arc::clone(&target)).await.unwrap();
    assert_eq!(ids_of(&done), [1, 2, 3, 4, 5]);
    assert_eq!(done.plan.targets, dry.plan.targets, "what was shown is what was done");
    assert!(done.is_healthy());
    nights.assert_thinned_out();
    let again = nights.retain(target).await.unwrap();
    assert_eq!((again.deleted.len(), again.plan.targets[0].kept), (0, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_gone_stale_deletes_nothing_that_the_fresh_one_keeps() {
    let nights = Nights::new().await;
    // Between the plan and the lease somebody finds all but two of them damaged: then those two are all there is.
    let asked = AtomicUsize::new(0);
    let proofs = || {
        let mut proofs = Proofs::default();
        if asked.fetch_add(1, Ordering::SeqCst) > 0 {
            (3..=8).for_each(|n| proofs.note(&format!("{n:012}"), None, Proof::Damaged(at("2026-01-09T01:00:00Z"))));
        }
        for night in 1..=8 {
            proofs.note(&format!("{night:012}"), Some("one"), Proof::Whole(at("2026-01-09T00:00:00Z")));
        }
        Ok(proofs)
    };
    let target: Arc<dyn BackupTarget> = Arc::new(nights.memory.clone());
    let report = nights.retain_in(vec![("one".to_owned(), target)], false, &proofs).await.unwrap();
    assert!(asked.load(Ordering::SeqCst) >= 2);
    assert!(report.deleted.is_empty(), "{:?}", report.deleted);
    assert_eq!(report.plan.targets[0].deletions, 0, "the report has the plan that counted");
    assert_eq!(nights.archives(), nights.keys);

    // What the fresh plan would delete and the first did not is left for the next time.
    let asked = AtomicUsize::new(0);
    let proofs = || match asked.fetch_add(1, Ordering::SeqCst) {
        0 => {
            let mut some = Proofs::default();
            (3..=4).for_each(|n| some.note(&format!("{n:012}"), Some("one"), Proof::Whole(at("2026-01-09T00:00:00Z"))));
            Ok(some)
        }
        _ => Ok(nights.proofs(&["one"])),
    };
    let target: Arc<dyn BackupTarget> = Arc::new(nights.memory.clone());
    let report = nights.retain_in(vec![("one".to_owned(), target)], false, &proofs).await.unwrap();
    assert_eq!(ids_of(&report), [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_comes_during_the_deletions_holds() {
    let nights = Nights::new().await;
    let (memory, third) = (nights.memory.clone(), format!("holds/{:012}.ann", 3));
    let target = FaultyTarget::new(Arc::new(nights.memory.clone()), move |call, key, _| {
        if call == Call::Delete && key.contains("_000000000001.") {
            let memory = memory.clone();
            let third = third.clone();
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(async move {
                    memory.put(&Scope::default(), &third, b"{}", true).await.unwrap();
                });
            });
        }
        None
    });
    let report = nights.retain(Arc::new(target)).await.unwrap();
    assert_eq!(ids_of(&report), [1, 2, 4, 5]);
    assert_eq!(report.failures.len(), 1);
    assert!(report.failures[0].error.message.ends_with("is held"), "{:?}", report.failures);
    assert!(!report.is_healthy());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_fails_in_the_middle_is_reported_snapshot_by_snapshot() {
    let nights = Nights::new().await;
    let target = FaultyTarget::new(Arc::new(nights.memory.clone()), |call, key, _| {
        (call == Call::Delete && key.contains("_000000000002.")).then_some(ErrorKind::Denied)
    });
    let report = nights.retain(Arc::new(target)).await.unwrap();
    assert_eq!(ids_of(&report), [1, 3, 4, 5]);
    assert_eq!(report.failures.len(), 1);
    assert_eq!(
        (report.failures[0].snapshot_id.as_str(), report.failures[0].error.kind),
        ("000000000002", ErrorKind::Denied)
    );
    assert!(!report.is_healthy());
    nights.retain(Arc::new(nights.memory.clone())).await.unwrap();
    nights.assert_thinned_out();

    // One that refuses everything is left alone after three.
    let nights = Nights::new().await;
    let tried = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tried);
    let target = FaultyTarget::new(Arc::new(nights.memory.clone()), move |call, key, _| {
        let hit = call == Call::Delete && key.ends_with(".tar.zst");
        hit.then(|| count.fetch_add(1, Ordering::SeqCst)).map(|_| ErrorKind::Unavailable)
    });
    let report = nights.retain(Arc::new(target)).await.unwrap();
    assert_eq!((tried.load(Ordering::SeqCst), report.failures.len(), report.deleted.len()), (3, 5, 0));
    assert!(report.failures[4].error.message.starts_with("not tried"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_target_that_cannot_be_asked_does_not_hold_up_the_other() {
    let nights = Nights::new().await;
    let down: Arc<dyn BackupTarget> =
        Arc::new(FaultyTarget::new(Arc::new(MemoryTarget::default()), |_, _, _| Some(ErrorKind::Unavailable)));
    let up: Arc<dyn BackupTarget> = Arc::new(nights.memory.clone());
    let both = vec![("down".to_owned(), Arc::clone(&down)), ("one".to_owned(), up)];
    let report = nights.retain_in(both, false, &|| Ok(nights.proofs(&["one"]))).await.unwrap();
    assert_eq!((report.deleted.len(), report.plan.failed.len(), report.is_healthy()), (5, 1, false));
    let error = nights.retain(down).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unreadable_is_left_alone_and_said() {
    let nights = Nights::new().await;
    nights.memory.tamper(&nights.keys[0], |bytes| bytes.truncate(20));
    nights.memory.put(&nights.scope, "foreign.tar.zst", b"something", false).await.unwrap();
    let report = nights.retain(Arc::new(nights.memory.clone())).await.unwrap();
    assert_eq!(ids_of(&report), [2, 3, 4, 5]);
    assert_eq!(report.plan.targets[0].unreadable.len(), 2);
    assert!(!report.is_healthy());
    assert!(nights.archives().contains(&nights.keys[0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_backup_or_another_retention_nothing_is_deleted() {
    let nights = Nights::new().await;
    let target: Arc<dyn BackupTarget> = Arc::new(nights.memory.clone());
    // Whoever writes to the target holds its lease.
    let lease = Lease::acquire(&nights.scope, "one", Arc::clone(&target), "here", LeaseTimes::default()).await.unwrap();
    let error = nights.retain(Arc::clone(&target)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert_eq!(nights.archives(), nights.keys);
    lease.release().await.unwrap();

    // Two at once: each snapshot goes once, and whoever came second says so or finds nothing left.
    let (a, b) = tokio::join!(nights.retain(Arc::clone(&target)), nights.retain(Arc::clone(&target)));
    let mut all = Vec::new();
    for outcome in [a, b] {
        match outcome {
            Ok(report) => all.extend(ids_of(&report)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Busy),
        }
    }
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
    nights.retain(target).await.unwrap();
    nights.assert_thinned_out();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_at_any_call_loses_nothing_that_is_kept_and_the_next_run_goes_on() {
    let calls = {
        let nights = Nights::new().await;
        let target = FaultyTarget::new(Arc::new(nights.memory.clone()), |_, _, _| None);
        nights.retain(Arc::new(target.clone())).await.unwrap();
        target.calls().len() as u64
    };
    assert!(calls > 30, "{calls}");
    let mut in_the_middle = 0;
    for last in 0..=calls {
        let nights = Nights::new().await;
        // After its last call the process is gone: nothing reaches the target any more, no clearing up either.
        let target = FaultyTarget::new(Arc::new(nights.memory.clone()), move |_, _, number| {
            (number > last).then_some(ErrorKind::Unavailable)
        });
        drop(nights.retain(Arc::new(target)).await);
        let left = nights.archives();
        assert!(nights.keys[5..].iter().all(|key| left.contains(key)), "after call {last}: {left:?}");
        assert!(nights.keys.ends_with(&left), "after call {last}: not the oldest first: {left:?}");
        in_the_middle += usize::from(left.len() > 3 && left.len() < 8);
        nights.retain(Arc::new(nights.memory.clone())).await.unwrap();
        assert_eq!(nights.archives(), nights.keys[5..], "after call {last}");
        // The mark of the last deletion may stay until there is another one to make.
        let marks = nights.memory.keys().into_iter().filter(|key| key.starts_with("holds/"));
        assert!(marks.into_iter().all(|key| key == "holds/000000000005.deleting"), "after call {last}");
    }
    assert!(in_the_middle > 10, "{in_the_middle}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_between_two_deletions_stops_there() {
    let nights = Nights::new().await;
    let (cancel, hit) = (nights.scope.cancel.clone(), Arc::new(AtomicBool::new(false)));
    let seen = Arc::clone(&hit);
    let target = FaultyTarget::new(Arc::new(nights.memory.clone()), move |call, key, _| {
        if call == Call::Delete && key.contains("_000000000002.") {
            seen.store(true, Ordering::SeqCst);
            cancel.cancel();
        }
        None
    });
    let error = nights.retain(Arc::new(target)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(hit.load(Ordering::SeqCst));
    let left = nights.archives();
    assert!(left == nights.keys[2..] || left == nights.keys[1..], "{left:?}");
}
