//! What forbids to do anything: whatever could hide that a pack is needed.

use super::*;
use crate::error::ErrorKind;
use crate::testing::{Call, FaultyTarget};

/// A repository with a pack that is to be deleted, one to be condemned, and two snapshots.
async fn scene() -> World {
    let mut world = World::new().await;
    let (needed, _) = (world.pack(1).await, world.pack(2).await);
    world.snapshot(1, &[needed]).await;
    world.pass(HOUR);
    world.snapshot(2, &[needed]).await;
    world.pass(30 * HOUR);
    world.collect().await;
    world.pass(30 * HOUR);
    world.pack(3).await;
    world.pass(30 * HOUR);
    world
}

async fn refused(world: &World, with: &str) {
    let before = world.target.keys();
    let report = world.try_collect(|_| {}).await.unwrap();
    let refusals = &report.targets[0].refusals;
    assert!(refusals.iter().any(|refusal| refusal.message.contains(with)), "{with}: {report:#?}");
    assert!(!report.is_healthy() && refusals.iter().all(|refusal| !refusal.hint.is_empty()));
    assert_eq!(world.target.keys(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_stands_in_the_way_of_the_scene() {
    let plan = scene().await.collect().await;
    assert_eq!((plan.condemned, plan.deleted.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_cannot_be_read() {
    let world = scene().await;
    let key = world.keys("snapshots/").remove(0);
    world.target.tamper(&key, |bytes| bytes[40] ^= 1);
    refused(&world, "cannot be read, so nobody knows what it needs").await;
    world.target.tamper(&key, |bytes| {
        bytes[40] ^= 1;
        bytes.truncate(100);
    });
    refused(&world, "cannot be read").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_under_another_name_or_of_a_later_version() {
    let world = scene().await;
    world.put("snapshots/20270101T000000Z_010101010101.v2", b"?").await;
    refused(&world, "is none that this version knows").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_a_later_one_names_and_nobody_removed() {
    let mut world = scene().await;
    world.lose(1).await;
    refused(&world, "snapshot 010101010101 is gone and nobody recorded").await;
    // The caller says that it is lost for good: that is recorded, and everything goes on.
    let report = world.try_collect(|job| job.accept_missing = true).await.unwrap();
    assert_eq!(report.targets[0].accepted_missing, ["010101010101"]);
    assert_eq!(report.targets[0].deleted.len(), 1);
    assert!(world.try_collect(|_| {}).await.unwrap().is_healthy());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_header_that_this_machine_has_seen() {
    let mut world = scene().await;
    world.lose(2).await;
    refused(&world, "snapshot 020202020202 is gone and nobody recorded").await;
    // Another machine cannot know, and after a long time this one cannot either.
    std::fs::remove_dir_all(world.state.join("cache")).unwrap();
    assert!(world.try_collect(|job| job.dry_run = true).await.unwrap().is_healthy());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_was_exchanged() {
    let mut world = scene().await;
    world.lose(1).await;
    world.headers.clear();
    world.ours.jump_to(start());
    let forged = Header { label: Some("another".into()), ..world.header(1, &[]) };
    let name = names::snapshot(forged.time, forged.snapshot);
    world.put(&name, &forged.write(&world.key).0).await;
    refused(&world, "snapshot 010101010101 is not the one that was there before").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pack_that_is_needed_and_not_listed() {
    let world = scene().await;
    world.target.delete(&Scope::default(), &names::pack(PackId([1; 16]), false)).await.unwrap();
    refused(&world, "which snapshot 020202020202 needs, is not in the target's list").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_tells_no_time() {
    let world = scene().await;
    world.clock.jump_to(Timestamp::UNIX_EPOCH);
    refused(&world, "the target says that it is 1970-01-01T00:00:00Z, which cannot be").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_a_later_version_and_not_a_damaged_one() {
    let world = scene().await;
    let key = world.keys("collect/").remove(0);
    world.target.tamper(&key, |bytes| bytes[50] ^= 1);
    let plan = world.collect().await;
    assert!(plan.problems[0].contains("counts as not there") && plan.deleted.is_empty(), "{plan:#?}");
    assert_eq!(plan.condemned, 2, "what it said is said again");
    world.target.tamper(&key, |bytes| *bytes = b"uplifted-ops collect 2\nwhatever\n".to_vec());
    refused(&world, "was written by a later version").await;
}

/// A list that lacks what is there, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_fails_to_list() {
    let world = scene().await;
    let before = world.target.keys();
    for prefix in [names::SNAPSHOTS, names::COLLECT, names::INDEX, names::PACKS] {
        let faulty = FaultyTarget::new(Arc::new(world.target.clone()), move |call, key, _| {
            (call == Call::List && key == prefix).then_some(ErrorKind::Unavailable)
        });
        let error = world.try_collect(|job| job.targets = vec![("local".into(), Arc::new(faulty))]).await.unwrap_err();
        assert_eq!((error.kind(), world.target.keys()), (ErrorKind::Unavailable, before.clone()), "{prefix}");
    }
}
