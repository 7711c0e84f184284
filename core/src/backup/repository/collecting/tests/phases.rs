//! What happens to a pack, an index, a record, and when.

use super::*;
use crate::backup::collect::CollectKind;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pack_that_nobody_needs_is_condemned_and_goes_a_grace_time_later() {
    let mut world = World::new().await;
    let (dead, needed) = (world.pack(1).await, world.pack(2).await);
    world.snapshot(1, &[needed]).await;
    world.pass(30 * HOUR);

    let plan = world.collect().await;
    assert_eq!(of(&plan, dead), (CollectAction::Condemn, "no snapshot needs it; it is 30 hours old".to_owned()));
    assert_eq!((plan.condemned, plan.packs, plan.dead_packs, plan.dead_bytes), (1, 2, 1, 105));
    assert_eq!(world.has(dead), (true, true));

    world.pass(23 * HOUR);
    let plan = world.collect().await;
    let waits = "it was condemned 23 hours ago, and goes after 24 hours";
    assert_eq!(of(&plan, dead), (CollectAction::Wait, waits.to_owned()));
    assert_eq!(world.has(dead), (true, true));
    assert_eq!(world.keys("collect/").len(), 1, "it is not condemned twice");

    world.pass(HOUR);
    let plan = world.collect().await;
    assert_eq!(of(&plan, dead).0, CollectAction::Delete);
    assert_eq!((plan.deleted.len(), plan.freed_bytes, plan.packs, plan.dead_bytes), (1, 105, 1, 0));
    assert_eq!((world.has(dead), world.has(needed)), ((false, false), (true, true)));

    let plan = world.collect().await;
    assert_eq!((plan.deleted[0].key.starts_with("collect/"), world.keys("collect/").len()), (true, 0));
    assert!(!world.collect().await.has_work());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_snapshot_takes_the_packs_along_that_only_it_needs() {
    let mut world = World::new().await;
    let (old, both, new) = (world.pack(1).await, world.pack(2).await, world.pack(3).await);
    let first = world.snapshot(1, &[old, both]).await;
    world.pass(HOUR);
    world.snapshot(2, &[both, new]).await;
    world.remove(&[first]).await;
    // The packs are an hour old: the record says that they are no running backup's.
    assert_eq!(of(&world.collect().await, old).0, CollectAction::Wait);
    world.pass(24 * HOUR);
    assert_eq!(world.collect().await.deleted.len(), 1);
    assert_eq!((world.has(old).0, world.has(both).0, world.has(new).0), (false, true, true));
    // The record tells which snapshot was removed, and a later one was made after it.
    let record = world.collect().await.decisions.remove(0);
    assert_eq!((record.kind, record.action), (CollectKind::Record, CollectAction::Keep));
    let second = world.headers[0].0.snapshot;
    let third = world.snapshot(3, &[both]).await;
    world.remove(&[second]).await;
    world.pass(28 * 24 * HOUR);
    world.collect().await;
    assert_eq!(world.keys("collect/").len(), 2);
    world.pass(2 * 24 * HOUR);
    world.collect().await;
    let left = world.keys("collect/");
    assert_eq!(left.len(), 1, "the one that names the predecessor of {third} stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condemned_pack_that_a_snapshot_came_to_need_stays_until_that_goes() {
    let mut world = World::new().await;
    let pack = world.pack(1).await;
    world.pass(30 * HOUR);
    world.collect().await;
    let snapshot = world.snapshot(1, &[pack]).await;
    for _ in 0..3 {
        world.pass(100 * HOUR);
        let (action, reason) = of(&world.collect().await, pack);
        assert_eq!(action, CollectAction::Keep);
        assert!(reason.contains(&format!("snapshot {snapshot} needs it")), "{reason}");
        assert_eq!(world.keys("collect/").len(), 1, "as long as the pack is there nobody may use it");
    }
    world.snapshot(2, &[]).await;
    world.remove(&[snapshot]).await;
    assert_eq!(of(&world.collect().await, pack).0, CollectAction::Delete);
    assert_eq!(world.has(pack), (false, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_grace_time_counts() {
    let mut world = World::new().await;
    let pack = world.pack(1).await;
    world.snapshot(1, &[]).await;
    world.pass(200 * HOUR);
    world.try_collect(|job| job.grace = 100 * HOUR).await.unwrap();
    world.pass(99 * HOUR);
    assert_eq!(of(&world.collect().await, pack).0, CollectAction::Wait);
    world.pass(HOUR);
    assert_eq!(
        of(&world.try_collect(|job| job.grace = 101 * HOUR).await.unwrap().targets[0], pack).0,
        CollectAction::Wait
    );
    assert_eq!(of(&world.collect().await, pack).0, CollectAction::Delete);
    let error = world.try_collect(|job| job.grace = HOUR).await.unwrap_err();
    assert!(error.message().contains("1.0 hours is too short"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_takes_days_keeps_its_packs() {
    let mut world = World::new().await;
    let ancient = world.pack(100).await;
    world.snapshot(1, &[]).await;
    world.pass(60 * HOUR);
    let mut stored = Vec::new();
    for number in 0..8_u8 {
        stored.push(world.pack(number).await);
        world.pass(20 * HOUR);
        let plan = world.collect().await;
        for pack in &stored {
            assert_eq!(of(&plan, *pack).0, CollectAction::Wait, "after {number} packs");
        }
        assert!(number > 1 || of(&plan, ancient).0 != CollectAction::Keep);
    }
    assert!(!world.has(ancient).0);
    // The run is dead when nothing came for a grace time; and it never lasts for months.
    world.pass(5 * HOUR);
    assert_eq!(world.collect().await.condemned, 8);
    for number in 10..60 {
        world.pack(number).await;
        world.pass(20 * HOUR);
    }
    assert!(world.collect().await.condemned > 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_dead_runs_left_goes() {
    let mut world = World::new().await;
    let (no_index, no_pack, fresh) = (PackId([1; 16]), PackId([2; 16]), PackId([3; 16]));
    world.put(&names::pack(no_index, true), b"pack").await;
    world.put(&names::index(no_pack), b"index").await;
    world.put("packs/notes.txt", b"somebody's").await;
    world.snapshot(1, &[]).await;
    world.pass(25 * HOUR);
    world.put(&names::index(fresh), b"index").await;
    let report = world.try_collect(|_| {}).await.unwrap();
    assert!(!report.is_healthy(), "what does not belong there is said");
    let plan = &report.targets[0];
    assert_eq!(plan.problems, ["\"packs/notes.txt\" is nothing that belongs there, and stays"]);
    assert_eq!(plan.deleted.iter().map(|it| it.key.clone()).collect::<Vec<_>>(), [names::index(no_pack)]);
    assert_eq!(of(plan, no_index).0, CollectAction::Condemn);
    world.pass(25 * HOUR);
    world.collect().await;
    assert_eq!((world.keys("packs/"), world.keys("index/")), (vec!["packs/notes.txt".to_owned()], vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_decides_the_same_and_writes_nothing() {
    let mut world = World::new().await;
    let mut seen = Vec::new();
    world.pack(1).await;
    world.snapshot(1, &[]).await;
    for _ in 0..4 {
        world.pass(25 * HOUR);
        let before = (world.target.keys(), std::fs::read_dir(&world.state).unwrap().count());
        let dry = world.try_collect(|job| job.dry_run = true).await.unwrap();
        assert!(dry.dry_run && dry.targets[0].deleted.is_empty());
        assert_eq!((world.target.keys(), std::fs::read_dir(&world.state).unwrap().count()), before);
        let real = world.collect().await;
        assert_eq!(dry.targets[0].decisions, real.decisions);
        seen.extend(real.decisions.iter().map(|decision| decision.action));
        std::fs::remove_dir_all(world.state.join("cache")).ok();
    }
    assert!(seen.contains(&CollectAction::Condemn) && seen.contains(&CollectAction::Delete));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_without_a_repository_has_nothing_to_collect() {
    let world = World::new().await;
    let empty = MemoryTarget::default();
    let report = world.try_collect(|job| job.targets.push(("other".into(), Arc::new(empty.clone())))).await.unwrap();
    assert_eq!((report.targets.len(), report.without_repository.clone()), (1, vec!["other".to_owned()]));
    assert!(report.is_healthy() && empty.keys().is_empty());
}
