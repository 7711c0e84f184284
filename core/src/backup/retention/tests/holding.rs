//! Holds, and the race between a hold and a deletion.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

use super::super::holds::{self, delete_unless_held, hold_looking, release, sweep};
use super::*;
use crate::ErrorKind;
use crate::backup::target::BackupTarget;
use crate::cancel::Scope;
use crate::testing::{FaultyTarget, MemoryTarget};

const ID: &str = "aaaa11111111";
const KEY: &str = "app_20260101T020000Z_aaaa11111111.tar.zst";
/// Two looks, at once.
const LOOKS: (u32, Duration) = (2, Duration::from_millis(1));

async fn with_snapshot() -> MemoryTarget {
    let target = MemoryTarget::default();
    target.put(&Scope::default(), KEY, b"x", false).await.unwrap();
    target
}

fn evidence() -> Hold {
    Hold { by: "ann on web1".to_owned(), at: at("2026-01-05T00:00:00Z"), reason: "incident 42".to_owned() }
}

async fn delete(target: &dyn BackupTarget) -> crate::Result<()> {
    let scope = Scope::default();
    delete_unless_held(&scope, target, ID, KEY, target.delete(&scope, KEY)).await
}

#[tokio::test]
async fn a_hold_is_seen_by_everybody_and_ends_when_it_is_released() {
    let (scope, target) = (Scope::default(), with_snapshot().await);
    holds::hold(&scope, &target, ID, KEY, &evidence()).await.unwrap();
    let second = Hold { by: "bob".to_owned(), at: at("2026-01-04T00:00:00Z"), reason: "audit".to_owned() };
    holds::hold(&scope, &target, ID, KEY, &second).await.unwrap();
    assert_eq!(holds::holds(&scope, &target).await.unwrap()[ID], [second, evidence()]);
    assert_eq!(delete(&target).await.unwrap_err().kind(), ErrorKind::Refused);
    assert!(!target.keys().iter().any(|key| key.ends_with("deleting")), "{:?}", target.keys());
    // Of another snapshot, whose identifier begins alike, nothing is released.
    target.put(&scope, "holds/aaaa111111112.x", b"{}", false).await.unwrap();
    assert_eq!(release(&scope, &target, ID).await.unwrap(), 2);
    assert_eq!(release(&scope, &target, ID).await.unwrap(), 0);
    delete(&target).await.unwrap();
    assert_eq!(target.keys(), ["holds/aaaa111111112.x"]);
}

#[tokio::test]
async fn a_hold_that_cannot_be_read_holds() {
    let (scope, target) = (Scope::default(), with_snapshot().await);
    for (name, bytes) in [("1", &b"not JSON"[..]), ("2", b""), ("3", b"{\"by\": 7}")] {
        target.put(&scope, &format!("holds/{ID}.{name}"), bytes, false).await.unwrap();
    }
    let held = holds::holds(&scope, &target).await.unwrap();
    assert_eq!(held[ID].len(), 3);
    assert!(held[ID].iter().all(|hold| hold.by == "somebody" && hold.reason.ends_with("cannot be read")));
    assert_eq!(delete(&target).await.unwrap_err().kind(), ErrorKind::Refused);
}

#[tokio::test]
async fn what_is_gone_cannot_be_held() {
    let (scope, target) = (Scope::default(), MemoryTarget::default());
    let error = holds::hold(&scope, &target, ID, KEY, &evidence()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(target.keys().is_empty(), "no litter: {:?}", target.keys());
    let endless = Hold { reason: "x".repeat(70_000), ..evidence() };
    assert_eq!(holds::hold(&scope, &target, ID, KEY, &endless).await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// Wraps `inner` so that `meanwhile` runs, whole, before the call of that number.
fn interrupted(inner: &MemoryTarget, before: u64, meanwhile: impl AsyncFn() + Send + Sync + 'static) -> FaultyTarget {
    FaultyTarget::new(Arc::new(inner.clone()), move |_, _, number| {
        if number == before {
            tokio::task::block_in_place(|| Handle::current().block_on(meanwhile()));
        }
        None
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_at_any_moment_of_a_deletion_is_kept_or_reported_as_too_late() {
    let (mut kept, mut too_late) = (0, 0);
    for before in 1..=6 {
        let memory = with_snapshot().await;
        let outcome = Arc::new(std::sync::Mutex::new(None));
        let (inner, result) = (memory.clone(), Arc::clone(&outcome));
        let target = interrupted(&memory, before, async move || {
            let held = hold_looking(&Scope::default(), &inner, ID, KEY, &evidence(), LOOKS).await;
            *result.lock().unwrap() = Some(held.map_err(|error| error.kind()));
        });
        let deleted = delete(&target).await;
        let held = outcome.lock().unwrap().take();
        let exists = memory.keys().iter().any(|key| key == KEY);
        assert_eq!(deleted.is_ok(), !exists);
        match held {
            Some(Ok(())) => {
                assert!(exists, "before call {before}: held, and deleted all the same");
                kept += 1;
            }
            // It cannot know: the deletion may go on or step back. It says so.
            Some(Err(ErrorKind::Busy | ErrorKind::NotFound)) => too_late += 1,
            None => assert_eq!(before, 6, "a deletion makes five calls"),
            other => panic!("before call {before}: {other:?}"),
        }
        assert!(!memory.keys().iter().any(|key| key.ends_with("deleting")), "before call {before}");
    }
    assert!(kept >= 1 && too_late >= 2, "{kept} {too_late}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_at_any_moment_of_a_hold_steps_back_or_is_reported() {
    for before in 1..=4 {
        let memory = with_snapshot().await;
        let inner = memory.clone();
        let target = interrupted(&memory, before, async move || drop(delete(&inner).await));
        let held = hold_looking(&Scope::default(), &target, ID, KEY, &evidence(), LOOKS).await;
        let exists = memory.keys().iter().any(|key| key == KEY);
        assert_eq!(held.is_ok(), exists, "before call {before}: {held:?}");
        assert_eq!(exists, before > 1, "only a deletion that was first goes through");
    }
}

#[tokio::test]
async fn what_a_dead_deletion_left_is_in_nobodys_way_for_long() {
    let scope = Scope::default();
    let clock = Arc::new(crate::clock::ManualClock::new(at("2026-01-05T00:00:00Z")));
    let target = MemoryTarget::default().with_clock(clock.clone());
    target.put(&scope, KEY, b"x", false).await.unwrap();
    target.put(&scope, &format!("holds/{ID}.deleting"), b"", false).await.unwrap();
    let fresh = hold_looking(&scope, &target, ID, KEY, &evidence(), LOOKS).await.unwrap_err();
    assert_eq!(fresh.kind(), ErrorKind::Busy);
    assert_eq!(holds::holds(&scope, &target).await.unwrap()[ID].len(), 1, "the hold stays");
    clock.advance(Duration::from_secs(601));
    hold_looking(&scope, &target, ID, KEY, &evidence(), LOOKS).await.unwrap();
    sweep(&scope, &target).await.unwrap();
    assert!(!target.keys().iter().any(|key| key.ends_with("deleting")));
    assert_eq!(holds::holds(&scope, &target).await.unwrap()[ID].len(), 2);
}

#[tokio::test]
async fn a_deletion_that_the_target_only_claims_is_no_deletion() {
    // It has it again at once, as a bucket that keeps versions may.
    let memory = with_snapshot().await;
    let count = AtomicU64::new(0);
    let copy = memory.clone();
    let target = FaultyTarget::new(Arc::new(memory.clone()), move |call, key, _| {
        if call == crate::testing::Call::Stat && key == KEY && count.fetch_add(1, Ordering::SeqCst) == 0 {
            futures_now(copy.put(&Scope::default(), KEY, b"x", false)).unwrap();
        }
        None
    });
    let error = delete(&target).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.hint().unwrap().contains("object lock"));
}

/// The result of a future that is ready at once, as those of [`MemoryTarget`] are.
fn futures_now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("a target in memory waits for nothing"),
    }
}
