//! Putting segments together, and removing what is too old.

use super::*;
use crate::backup::repository::streams::{Shelf, Stored, by_stream};
use crate::continuous::compact::{CompactPlan, apply, merged};
use crate::continuous::gather::{Gather, STEP_BACK, Who};
use crate::store::follow::{Continuity, Increment, Point};

async fn shelf(scene: &Scene) -> Shelf {
    let (name, target) = &scene.targets[0];
    Shelf::open(&Scope::default(), name, target, &scene.keys).await.unwrap().unwrap()
}

async fn heads(scene: &Scene, shelf: &Shelf) -> Vec<Stored> {
    let _ = scene;
    let listed = shelf.list(&Scope::default(), "main").await.unwrap();
    let mut all = Vec::new();
    for (_, segments) in by_stream(listed) {
        let names = segments.into_iter().map(|(name, _)| name).collect();
        all.extend(shelf.heads(&Scope::default(), names).await.unwrap().into_iter().map(|head| head.unwrap()));
    }
    all
}

/// Everything is over an hour old.
fn later() -> Timestamp {
    now() + Duration::from_secs(3 * 3600)
}

fn at_once() -> ContinuousSettings {
    ContinuousSettings { compact_after_hours: 0.0, ..ContinuousSettings::default() }
}

pub(super) async fn put_all_together(scene: &Scene) {
    let shelf = shelf(scene).await;
    let plan = CompactPlan::of(&heads(scene, &shelf).await, &at_once(), later(), Timestamp::MIN);
    apply(&Scope::default(), &shelf, &plan).await.unwrap();
}

async fn followed() -> (Scene, Vec<Timestamp>) {
    let scene = Scene::new();
    scene.back_up().await;
    let following = scene.follow().await;
    until("a stream", async || !scene.segments().is_empty()).await;
    scene.back_up().await;
    let mut moments = Vec::new();
    for number in 0..6 {
        moments.push(scene.commit(&format!("line {number}")).await);
    }
    following.stop().await;
    (scene, moments)
}

/// At each step on the way, with what was there before and what is there after, every moment comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn putting_together_changes_nothing_at_any_step() {
    let (scene, moments) = followed().await;
    let shelf = shelf(&scene).await;
    let all = heads(&scene, &shelf).await;
    assert!(CompactPlan::of(&all, &at_once(), now(), Timestamp::MIN).merges.is_empty(), "the hour is not over");
    let plan = CompactPlan::of(&all, &at_once(), later(), Timestamp::MIN);
    // The hour may have ended while the test ran.
    assert!((1..=2).contains(&plan.merges.len()) && plan.removals.is_empty(), "{plan:?}");
    let scope = Scope::default();
    let check = async |what: &str| {
        let view = scene.view().await;
        assert_eq!(view.stores[0].runs.len(), 1, "{what}");
        for (number, moment) in moments.iter().enumerate() {
            assert_eq!(scene.go_back_in(&view, *moment).await.unwrap().len(), number + 1, "{what}");
        }
    };
    for parts in &plan.merges {
        let mut payload = Vec::new();
        for part in parts {
            for number in 0..part.head.frames.len() {
                payload.extend(shelf.stored_frame(&scope, part, number).await.unwrap());
            }
        }
        shelf.put_segment(&scope, &merged(parts).unwrap(), &payload).await.unwrap();
        check("both are there").await;
        for part in parts.iter().take(parts.len() / 2) {
            shelf.delete(&scope, &part.name).await.unwrap();
            check("some parts are gone").await;
        }
    }
    // The one that did that is dead. The next one clears away what it left.
    let all = heads(&scene, &shelf).await;
    let plan = CompactPlan::of(&all, &at_once(), later(), Timestamp::MIN);
    assert!(plan.merges.is_empty() && !plan.removals.is_empty(), "{plan:?}");
    apply(&scope, &shelf, &plan).await.unwrap();
    check("the parts are gone").await;
    assert!(scene.segments().len() <= 5, "{:?}", scene.segments());
    // Whoever follows goes on behind it.
    let following = scene.follow().await;
    let after = scene.commit("after").await;
    following.stop().await;
    assert_eq!(scene.view().await.stores[0].runs.len(), 1);
    assert_eq!(scene.go_back(after).await.unwrap().len(), 7);
}

/// A merged segment that is damaged is no reason to remove its parts, and they are taken instead of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_damaged_whole_leaves_its_parts() {
    let (scene, moments) = followed().await;
    let shelf = shelf(&scene).await;
    let all = heads(&scene, &shelf).await;
    let segment = merged(&all).unwrap();
    let scope = Scope::default();
    shelf.put_segment(&scope, &segment, b"").await.unwrap();
    let key = shelf.name_of(&segment.place).key();
    scene.memory.tamper(&key, |bytes| bytes[40] ^= 1);
    for (number, moment) in moments.iter().enumerate() {
        assert_eq!(scene.go_back(*moment).await.unwrap().len(), number + 1);
    }
    let plan = crate::continuous::compact::plan(&scope, &shelf, "main", &at_once()).await.unwrap();
    assert!(plan.is_empty(), "{plan:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_no_base_needs_goes_and_the_rest_comes_back() {
    let (scene, moments) = followed().await;
    let following = scene.follow().await;
    scene.back_up().await;
    let after = scene.commit("after").await;
    following.stop().await;
    let shelf = shelf(&scene).await;
    let all = heads(&scene, &shelf).await;
    let plan = CompactPlan::of(&all, &ContinuousSettings::default(), now(), moments[5]);
    assert!(plan.merges.is_empty() && plan.removals.len() >= 4, "{plan:?}");
    apply(&Scope::default(), &shelf, &plan).await.unwrap();
    assert_eq!(scene.go_back(after).await.unwrap().len(), 7);
    assert!(scene.go_back(moments[2]).await.is_err());
    let again = CompactPlan::of(&heads(&scene, &shelf).await, &ContinuousSettings::default(), now(), moments[5]);
    assert!(again.is_empty(), "{again:?}");
}

fn increment(from: u64, to: u64, second: i64) -> Increment {
    let time = Timestamp::from_second(1_000_000 + second).unwrap();
    Increment {
        from: from.to_string(),
        to: to.to_string(),
        continuity: Continuity::Continues,
        points: vec![Point { time, position: to.to_string(), checksum: None }],
        since: time,
        until: time,
        payload: vec![1],
    }
}

/// A clock that is set back a little is waited for; one that is set back further ends the stream, and so does a driver that
/// went on elsewhere.
#[test]
fn times_in_a_stream_never_go_back() {
    let who = Who { store: "main".into(), kind: "fake".into(), host: "here".into() };
    let mut gather = Gather::new(who, None);
    let at = Timestamp::from_second(1_000_000).unwrap();
    let mut take = |increment| gather.take(increment, at).unwrap();
    assert!(take(increment(0, 1, 10)).1.unwrap().reason.contains("for the first time"));
    assert_eq!(take(increment(1, 2, 10 - STEP_BACK.as_secs() as i64)).1, None);
    assert_eq!(take(increment(2, 3, 11)).1, None);
    let (before, begun) = take(increment(3, 4, 11 - STEP_BACK.as_secs() as i64 - 1));
    assert_eq!(begun.unwrap().reason, "the clock of this machine was set back by 6 s");
    let head = before.unwrap().head;
    let seconds: Vec<i64> = head.points().map(|point| point.time.as_second() - 1_000_000).collect();
    assert_eq!(seconds, [10, 10, 11]);
    let (_, begun) = take(increment(9, 10, 20));
    assert_eq!(begun.unwrap().reason, "the store was followed up to 4, and went on at 9");
    let ready = gather.end().unwrap().unwrap();
    assert_eq!((ready.head.place.first, ready.head.increments.len()), (1, 1));
}
