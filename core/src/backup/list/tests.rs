use super::*;
use crate::backup::delete::{apply_delete, plan_delete};
use crate::backup::fake_snapshot;
use crate::backup::lease::LeaseTimes;
use crate::backup::retention::{Proof, Proofs};
use crate::testing::{Call, FaultyTarget, MemoryTarget};

fn manifest(service: &str, id: &str, time: &str, outcome: Outcome) -> Manifest {
    Manifest {
        service: service.to_owned(),
        label: Some("tagged".into()),
        time: time.parse().unwrap(),
        outcome,
        ..Manifest::of_nothing(id)
    }
}

/// Puts an empty snapshot and returns its key.
async fn put(target: &MemoryTarget, service: &str, id: &str, time: &str, outcome: Outcome) -> String {
    fake_snapshot::put(target, manifest(service, id, time, outcome)).await
}

fn named(name: &str, target: &MemoryTarget) -> NamedTarget {
    (name.to_owned(), Arc::new(target.clone()))
}

const DAY1: &str = "2026-01-01T02:00:00Z";
const DAY2: &str = "2026-01-02T02:00:00Z";
const DAY3: &str = "2026-01-03T02:00:00Z";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newest_first_by_service_and_what_is_damaged_apart() {
    let (one, two) = (MemoryTarget::default(), MemoryTarget::default());
    put(&one, "app", "aaaaaaaaaaaa", DAY1, Outcome::Complete).await;
    put(&two, "app", "aaaaaaaaaaaa", DAY1, Outcome::Complete).await;
    put(&one, "app", "bbbbbbbbbbbb", DAY3, Outcome::Partial).await;
    put(&one, "other", "cccccccccccc", DAY2, Outcome::Complete).await;
    let cut = put(&two, "app", "dddddddddddd", DAY2, Outcome::Complete).await;
    two.tamper(&cut, |bytes| bytes.truncate(40));
    two.put(&Scope::default(), "foreign.tar.zst", b"hello", false).await.unwrap();
    two.put(&Scope::default(), "notes.txt", b"hello", false).await.unwrap();
    let down = FaultyTarget::nth(Arc::new(MemoryTarget::default()), Call::List, 1);
    let targets =
        [named("one", &one), named("two", &two), ("down".to_owned(), Arc::new(down) as Arc<dyn BackupTarget>)];
    let listing = list(&Scope::default(), &targets, &None, Some("app")).await.unwrap();
    let rows: Vec<_> = listing.snapshots.iter().map(|s| (s.snapshot_id.as_str(), s.target.as_str())).collect();
    assert_eq!(rows, [("bbbbbbbbbbbb", "one"), ("aaaaaaaaaaaa", "one"), ("aaaaaaaaaaaa", "two")]);
    assert_eq!(listing.snapshots[0].outcome, Outcome::Partial);
    assert_eq!(listing.snapshots[0].label.as_deref(), Some("tagged"));
    let unreadable: Vec<_> = listing.unreadable.iter().map(|u| u.key.as_str()).collect();
    assert_eq!(unreadable, [cut.as_str(), "foreign.tar.zst"]);
    assert_eq!(listing.failed[0].target, "down");
    assert_eq!(list(&Scope::default(), &targets[..1], &None, None).await.unwrap().snapshots.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_found_by_id_prefix_and_latest() {
    let (one, two) = (MemoryTarget::default(), MemoryTarget::default());
    put(&one, "app", "aaaa11111111", DAY1, Outcome::Complete).await;
    put(&two, "app", "aaaa11111111", DAY1, Outcome::Complete).await;
    put(&one, "app", "aaaa22222222", DAY2, Outcome::Complete).await;
    put(&one, "other", "bbbb00000000", DAY3, Outcome::Complete).await;
    let cut = put(&two, "app", "cccc00000000", DAY3, Outcome::Complete).await;
    two.tamper(&cut, |bytes| bytes.truncate(40));
    let targets = [named("one", &one), named("two", &two)];
    let scope = Scope::default();
    let id =
        async |wanted: &str| find(&scope, &targets, &None, Some("app"), wanted).await.map(|f| f[0].snapshot_id.clone());
    assert_eq!(id("aaaa1").await.unwrap(), "aaaa11111111");
    assert_eq!(find(&scope, &targets, &None, None, "aaaa11111111").await.unwrap().len(), 2);
    // Nobody gets an older one for the latest, unless he names it.
    let error = id("latest").await.unwrap_err();
    assert!(error.kind() == ErrorKind::Corrupt && error.message().contains("cccc00000000 in two"), "{error:?}");
    assert!(error.hint().unwrap().contains("aaaa22222222 of 2026-01-02"), "{error:?}");
    // Neither another service's newer one counts, be it readable or not, nor one that another target has whole.
    let damaged = put(&two, "other", "dddd00000000", DAY3, Outcome::Complete).await;
    two.tamper(&damaged, |bytes| bytes.truncate(40));
    put(&one, "app", "cccc00000000", DAY3, Outcome::Complete).await;
    assert_eq!(id("latest").await.unwrap(), "cccc00000000");
    one.delete(&scope, &cut).await.unwrap();
    put(&one, "app", "aaaa22222222", DAY2, Outcome::Complete).await;
    put(&two, "app", "aaaa22222222", DAY2, Outcome::Complete).await;
    assert_eq!(id("latest").await.unwrap(), "aaaa22222222", "the damaged one is older");
    two.delete(&scope, &damaged).await.unwrap();
    let error = find(&scope, &targets, &None, None, "latest").await.unwrap_err();
    assert!(error.hint().unwrap().contains("bbbb00000000 of 2026-01-03"), "of all services it is newer: {error:?}");
    // One that is too damaged to say so is still found by its name.
    let damaged = find(&scope, &targets, &None, Some("app"), "cccc").await.unwrap();
    assert!(damaged[0].listed.is_none());
    let error = id("aaaa").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains("aaaa11111111, aaaa22222222"), "{error}");
    let error = id("aaaa1111111x").await.unwrap_err();
    assert_eq!((error.kind(), error.hint()), (ErrorKind::NotFound, Some("did you mean aaaa11111111?")));
    let error = id("ffffffffffff").await.unwrap_err();
    assert!(error.hint().unwrap().contains("bbbb00000000"), "{error:?}");
    assert_eq!(id("").await.unwrap_err().kind(), ErrorKind::InvalidInput);
    let none = [named("empty", &MemoryTarget::default())];
    assert_eq!(find(&scope, &none, &None, Some("app"), "latest").await.unwrap_err().kind(), ErrorKind::NotFound);
    // With a target that cannot be asked, nobody knows that it is not there.
    let down = FaultyTarget::nth(Arc::new(MemoryTarget::default()), Call::List, 1);
    let error = find(&scope, &[("down".to_owned(), Arc::new(down))], &None, None, "aaaa").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn show_reads_a_whole_copy_when_another_is_damaged() {
    let (one, two) = (MemoryTarget::default(), MemoryTarget::default());
    let key = put(&one, "app", "aaaa11111111", DAY1, Outcome::Complete).await;
    put(&two, "app", "aaaa11111111", DAY1, Outcome::Complete).await;
    one.tamper(&key, |bytes| bytes.truncate(30));
    let targets = [named("one", &one), named("two", &two)];
    let shown = show(&Scope::default(), &targets, &None, None, "aaaa").await.unwrap();
    assert_eq!(shown.manifest.label.as_deref(), Some("tagged"));
    assert_eq!((shown.targets.len(), shown.snapshot.target.as_str()), (2, "two"));
    let error = show(&Scope::default(), &targets[..1], &None, None, "aaaa").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_good_one_is_not_deleted_unless_forced() {
    let target = MemoryTarget::default();
    put(&target, "app", "aaaa11111111", DAY1, Outcome::Complete).await;
    put(&target, "app", "bbbb11111111", DAY2, Outcome::Complete).await;
    put(&target, "app", "cccc11111111", DAY3, Outcome::Partial).await;
    put(&target, "other", "dddd11111111", DAY3, Outcome::Complete).await;
    let targets = [named("one", &target)];
    let scope = Scope::default();
    let (mut verified, none) = (Proofs::default(), Proofs::default());
    verified.note("aaaa11111111", Some("one"), Proof::Whole(DAY3.parse().unwrap()));
    let plan = async |id: &str, verified: &Proofs, force: bool| {
        plan_delete(&scope, &targets, &None, Some("app"), id, verified, force).await.unwrap()
    };
    let refused = async |id: &str, verified: &Proofs| plan(id, verified, false).await.refused.is_some();
    assert!(refused("aaaa", &verified).await);
    assert!(!refused("bbbb", &verified).await);
    assert!(!refused("cccc", &verified).await);
    assert!(!refused("aaaa", &none).await);
    assert!(refused("dddd", &none).await);
    assert!(plan("aaaa", &verified, true).await.refused.is_none());

    let stays = plan("aaaa", &verified, false).await;
    let error = apply_delete(&scope, &targets, &None, &stays, "here", LeaseTimes::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let plan = plan("bbbb", &verified, false).await;
    assert_eq!(plan.deletions.len(), 1);
    let before = target.keys();
    apply_delete(&scope, &targets, &None, &plan, "here", LeaseTimes::default()).await.unwrap();
    let gone: Vec<_> = before.iter().filter(|key| !target.keys().contains(key)).collect();
    assert_eq!(gone, [&plan.deletions[0].key]);
    // Applying it again changes nothing.
    apply_delete(&scope, &targets, &None, &plan, "here", LeaseTimes::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_for_now_is_not_deleted_unless_forced() {
    let target = MemoryTarget::default();
    let key = put(&target, "app", "aaaa11111111", DAY1, Outcome::Complete).await;
    let scope = Scope::default();
    let plan = async |target: Arc<dyn BackupTarget>, force: bool| {
        let targets = [("one".to_owned(), target)];
        plan_delete(&scope, &targets, &None, Some("app"), "aaaa", &Proofs::default(), force).await.unwrap()
    };
    let silent: Arc<dyn BackupTarget> = Arc::new(FaultyTarget::new(Arc::new(target.clone()), |call, _, _| {
        (call == Call::Get).then_some(ErrorKind::Unavailable)
    }));
    let refused = plan(Arc::clone(&silent), false).await.refused.unwrap();
    assert!(refused.contains("cannot be read now"), "{refused}");
    assert!(plan(silent, true).await.refused.is_none());
    // What is damaged is nothing to fall back on.
    target.tamper(&key, |bytes| bytes.truncate(40));
    assert!(plan(Arc::new(target), false).await.refused.is_none());
}

#[test]
fn keys_are_keys_whatever_the_service_is_called() {
    let time: Timestamp = "2026-01-02T03:04:05.678Z".parse().unwrap();
    for (service, expected) in [
        ("uplifted", "uplifted_20260102T030405Z_0123456789ab.tar.zst"),
        ("my_app.v2", "my_app.v2_20260102T030405Z_0123456789ab.tar.zst"),
        ("../Zürich app", "-Z-rich-app_20260102T030405Z_0123456789ab.tar.zst"),
        ("", "service_20260102T030405Z_0123456789ab.tar.zst"),
    ] {
        let key = archive_key(service, time, "0123456789ab", false);
        assert_eq!(key, expected);
        super::super::target::check_key(&key).unwrap();
        assert_eq!(id_in_key(&key), Some("0123456789ab"));
    }
    super::super::target::check_key(&archive_key(&"x".repeat(500), time, "0123456789ab", false)).unwrap();
    assert_eq!(id_in_key("foreign.tar.zst"), None);
}
