//! Collectors that die at every call, targets that fail in the middle, two collectors at once.

use super::*;
use crate::backup::collect::CollectKind;
use crate::error::ErrorKind;
use crate::testing::{Call, FaultyTarget};

/// A repository with everything to do: packs to delete and to condemn, an index without a pack, records that are done.
async fn scene() -> World {
    let mut world = World::new().await;
    let needed = world.pack(1).await;
    let gone = world.pack(2).await;
    for number in 3..6 {
        world.pack(number).await;
    }
    let first = world.snapshot(1, &[needed, gone]).await;
    world.pass(HOUR);
    world.snapshot(2, &[needed]).await;
    world.pass(HOUR);
    world.snapshot(3, &[needed]).await;
    world.remove(&[first]).await;
    world.pass(30 * HOUR);
    world.collect().await;
    world.put(&names::index(PackId([9; 16])), b"lonely").await;
    world.pass(30 * HOUR);
    world.pack(10).await;
    world.pass(30 * HOUR);
    world
}

fn whole(world: &World) {
    assert_eq!(world.has(PackId([1; 16])), (true, true));
    assert_eq!(world.keys("snapshots/").len(), 2);
}

async fn ends_as_always(world: &World, at: &str) {
    for _ in 0..4 {
        world.pass(30 * HOUR);
        let plan = world.collect().await;
        assert!(plan.failures.is_empty() && plan.refusals.is_empty(), "{at}: {plan:#?}");
    }
    whole(world);
    assert_eq!((world.keys("packs/").len(), world.keys("index/").len()), (1, 1), "{at}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_dies_at_any_call_leaves_what_the_next_one_ends() {
    let mut calls = 0;
    for at in 1.. {
        let world = scene().await;
        let dying = FaultyTarget::new(Arc::new(world.target.clone()), move |_, _, number| {
            (number >= at).then_some(ErrorKind::Unavailable)
        });
        let report = world.try_collect(|job| job.targets = vec![("local".into(), Arc::new(dying.clone()))]).await;
        whole(&world);
        // A pack never outlives its chance to be found: the index goes first.
        let packs: Vec<_> = world.keys("packs/").iter().filter_map(|key| names::pack_of(key)).collect();
        for index in world.keys("index/").iter().filter_map(|key| names::index_of(key)) {
            assert!(index == PackId([9; 16]) || packs.iter().any(|(pack, _)| *pack == index), "call {at}");
        }
        // The lease of the dead one has expired.
        world.target.keys().iter().filter(|key| key.starts_with("locks/writer")).for_each(|key| {
            world.target.tamper(key, |bytes| *bytes = br#"{"released":true}"#.to_vec());
        });
        let ended = report.is_ok_and(|report| report.is_healthy());
        if ended && dying.calls().len() < at as usize {
            break;
        }
        calls = at;
        for key in world.keys("locks/") {
            world.target.delete(&Scope::default(), &key).await.unwrap();
        }
        ends_as_always(&world, &format!("call {at}")).await;
    }
    assert!(calls > 30, "only {calls} calls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_call_that_fails_costs_no_more_than_itself() {
    for call in [Call::Put, Call::Get, Call::List, Call::Stat, Call::Delete] {
        for number in 1.. {
            let world = scene().await;
            let faulty = FaultyTarget::nth(Arc::new(world.target.clone()), call, number);
            let report = world.try_collect(|job| job.targets = vec![("local".into(), Arc::new(faulty.clone()))]).await;
            whole(&world);
            if faulty.calls().iter().filter(|(kind, _)| *kind == call).count() < number as usize {
                break;
            }
            if let Ok(report) = report {
                let told = !report.is_healthy() || report.targets[0].deleted.len() >= 4;
                assert!(told, "{call:?} {number}: {report:#?}");
            }
            for key in world.keys("locks/") {
                world.target.delete(&Scope::default(), &key).await.unwrap();
            }
            ends_as_always(&world, &format!("{call:?} {number}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_keeps_what_is_deleted_is_told_and_left_alone() {
    let world = scene().await;
    let locked = FaultyTarget::new(Arc::new(world.target.clone()), |call, key, _| {
        let deletes = call == Call::Delete && (key.starts_with("packs/") || key.starts_with("index/"));
        deletes.then_some(ErrorKind::Denied)
    });
    let report = world.try_collect(|job| job.targets = vec![("local".into(), Arc::new(locked.clone()))]).await.unwrap();
    let failures = &report.targets[0].failures;
    assert_eq!((failures.len(), report.targets[0].deleted.len(), report.is_healthy()), (4, 0, false), "{report:#?}");
    assert!(failures[3].error.message.contains("failed 3 times in a row"), "{failures:#?}");
    assert_eq!(
        locked.calls().iter().filter(|(call, key)| *call == Call::Delete && key.starts_with("index/")).count(),
        3
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_collectors_at_once_do_the_work_of_one() {
    let world = scene().await;
    let (one, two) = tokio::join!(world.try_collect(|_| {}), world.try_collect(|_| {}));
    let reports = [one, two];
    // The one that came late finds the lease taken, or nothing to do.
    for error in reports.iter().filter_map(|report| report.as_ref().err()) {
        assert_eq!(error.kind(), ErrorKind::Busy);
    }
    let deleted: usize = reports.iter().flatten().flat_map(|report| &report.targets).map(|it| it.deleted.len()).sum();
    assert!(deleted >= 4, "{reports:#?}");
    let plan = world.try_collect(|_| {}).await.unwrap().targets.remove(0);
    assert!(plan.decisions.iter().all(|it| it.kind != CollectKind::Pack || it.action != CollectAction::Delete));
    whole(&world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_ends_it_between_two_objects() {
    let world = scene().await;
    let scope = world.scope();
    let cancel = scope.cancel.clone();
    let cancelling = FaultyTarget::new(Arc::new(world.target.clone()), move |call, key, _| {
        if call == Call::Delete && key.starts_with("packs/") {
            cancel.cancel();
        }
        None
    });
    let error = collect(&scope, &world.job(Arc::new(cancelling))).await.unwrap_err();
    assert_eq!((error.kind(), world.keys("packs/").len()), (ErrorKind::Cancelled, 4));
    whole(&world);
}
