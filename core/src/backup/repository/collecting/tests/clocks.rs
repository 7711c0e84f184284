//! Clocks that are wrong, and clocks that jump.

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_are_days_apart_change_nothing() {
    for days in [-400, -1, 1, 400] {
        let mut world = World::new().await;
        let pack = world.pack(1).await;
        world.ours.jump_to(start() + jiff::SignedDuration::from_hours(24 * days));
        world.snapshot(1, &[]).await;
        world.pass(DAY);
        assert_eq!(of(&world.collect().await, pack).0, CollectAction::Condemn, "{days}");
        world.pass(DAY - HOUR);
        assert_eq!(of(&world.collect().await, pack).0, CollectAction::Wait, "{days}");
        world.pass(HOUR);
        let dry = world.try_collect(|job| job.dry_run = true).await.unwrap();
        assert_eq!(of(&dry.targets[0], pack).0, CollectAction::Delete, "{days}");
        world.collect().await;
        assert_eq!(world.has(pack), (false, false), "{days}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_whose_clock_jumps_ahead_deletes_nothing_early() {
    let mut world = World::new().await;
    let pack = world.pack(1).await;
    world.snapshot(1, &[]).await;
    world.pass(DAY);
    world.collect().await;
    world.clock.advance(100 * DAY);
    world.ours.advance(HOUR);
    let (action, reason) = of(&world.collect().await, pack);
    assert_eq!(action, CollectAction::Condemn);
    assert!(reason.contains("a clock has jumped"), "{reason}");
    world.pass(DAY - HOUR);
    assert_eq!(of(&world.collect().await, pack).0, CollectAction::Wait);
    world.pass(HOUR);
    assert_eq!(of(&world.collect().await, pack).0, CollectAction::Delete);
    // And back: everything is younger than nothing.
    let pack = world.pack(2).await;
    world.clock.jump_to(start());
    for expected in [CollectAction::Wait, CollectAction::Wait] {
        world.pass(DAY);
        assert_eq!(of(&world.collect().await, pack).0, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_machines_whose_clocks_are_a_day_apart_each_trusts_its_own_records() {
    let mut world = World::new().await;
    let pack = world.pack(1).await;
    world.snapshot(1, &[]).await;
    world.pass(DAY);
    world.collect().await;
    // The other machine, a day ahead.
    world.ours.jump_to(world.ours.now() + DAY);
    world.pass(DAY);
    assert_eq!(of(&world.collect().await, pack).0, CollectAction::Condemn);
    assert_eq!(of(&world.collect().await, pack).0, CollectAction::Wait, "once");
    // Back on the first one, whose record is old enough.
    world.ours.jump_to(world.ours.now() - DAY);
    assert_eq!(of(&world.collect().await, pack).0, CollectAction::Delete);
    assert_eq!(world.keys("collect/").len(), 2);
    world.collect().await;
    assert_eq!(world.keys("collect/").len(), 0);
}

/// A target whose clock jumps when it is asked for the second time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jump_between_the_two_looks_defers_what_is_to_be_deleted() {
    use crate::testing::{Call, FaultyTarget};
    use std::sync::atomic::{AtomicU64, Ordering};
    let mut world = World::new().await;
    let dead = world.pack(1).await;
    world.snapshot(1, &[]).await;
    world.pass(DAY);
    world.collect().await;
    world.pass(2 * DAY);
    let other = world.pack(2).await;
    world.pass(DAY);
    for jump in [-120, 120] {
        let (clock, asked) = (world.clock.clone(), AtomicU64::new(0));
        let jumping = FaultyTarget::new(Arc::new(world.target.clone()), move |call, key, _| {
            if call == Call::Put && key.starts_with("locks/clock.") && asked.fetch_add(1, Ordering::SeqCst) == 1 {
                clock.jump_to(clock.now() + jiff::SignedDuration::from_secs(jump));
            }
            None
        });
        let report = world.try_collect(|job| job.targets = vec![("local".into(), Arc::new(jumping))]).await.unwrap();
        let why = report.targets[0].deferred.clone().unwrap();
        assert!(why.contains(&format!("moved by {jump} s while 0 s went by")), "{why}");
        assert_eq!((report.targets[0].deleted.len(), world.has(dead).0), (0, true));
    }
    assert_eq!(of(&world.collect().await, other).0, CollectAction::Wait, "what was condemned is");
    assert!(!world.has(dead).0);
}
