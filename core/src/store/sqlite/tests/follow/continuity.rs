//! What goes on, what is bridged, and what begins anew.
use super::*;

fn written(scene: &Scene, rows: u32) -> Child {
    scene.create("wal", 10);
    let child = Child::open(&scene.db());
    child.insert(rows);
    child
}

#[tokio::test]
async fn the_first_increment_begins_and_the_next_continue() {
    let scene = Scene::new();
    let child = written(&scene, 50);
    let mut follower = scene.follow(None).await;
    let mut shelf = Shelf::default();
    let first = shelf.point(&mut *follower).await;
    assert_eq!(first.position, shelf.0[0].to);
    assert!(matches!(shelf.0[0].continuity, Continuity::Begins { .. }));
    let base = copy(&scene, "base");
    child.insert(5);
    let point = shelf.point(&mut *follower).await;
    assert!(point.time > first.time);
    assert_eq!(shelf.0[1].continuity, Continuity::Continues);
    assert_eq!(follower.next(&Scope::default(), QUIET).await.unwrap(), None);
    assert_eq!(follower.standing().position, point.position);
    assert_eq!(follower.standing().waits_for, None);
    assert!(follower.standing().log_bytes > 0);
    assert_eq!(rows(&scene.roll(&base, &shelf, Until::End).await.unwrap()), 65);
}

/// A follower that began, with a base copy and everything up to it on the shelf.
async fn followed(scene: &Scene) -> (Box<dyn Follower>, Shelf, (PathBuf, Timestamp)) {
    let mut follower = scene.follow(None).await;
    let mut shelf = Shelf::default();
    shelf.point(&mut *follower).await;
    (follower, shelf, copy(scene, "base"))
}

/// Nothing is missing: the copy becomes what the child sees.
async fn assert_current(scene: &Scene, child: &Child, shelf: &Shelf, base: &(PathBuf, Timestamp)) {
    assert_eq!(state_of(&scene.roll(base, shelf, Until::End).await.unwrap()), child.run(STATE));
}

#[tokio::test]
async fn a_follower_goes_on_where_the_last_one_stopped() {
    for (has_cache, told) in [(true, true), (true, false), (false, true)] {
        let scene = Scene::new();
        let child = written(&scene, 50);
        let (mut follower, mut shelf, base) = followed(&scene).await;
        child.insert(5);
        shelf.drain(&mut *follower).await;
        child.insert(500);
        if !told {
            // Handed over, and lost by whoever should have stored it.
            follower.next(&Scope::default(), PATIENCE).await.unwrap().unwrap();
        }
        drop(follower);
        child.run("UPDATE t SET text = hex(randomblob(17)) WHERE id % 7 = 0");
        if !has_cache {
            std::fs::remove_dir_all(scene.folder.path().join("cache")).unwrap();
        }
        let mut follower = scene.follow(shelf.resume()).await;
        shelf.drain(&mut *follower).await;
        child.insert(1);
        shelf.drain(&mut *follower).await;
        assert_eq!(shelf.breaks().len(), 1, "{has_cache} {told}: {:?}", shelf.breaks());
        assert_current(&scene, &child, &shelf, &base).await;
    }
}

#[tokio::test]
async fn what_happened_while_nobody_followed_is_a_difference_or_a_new_beginning() {
    for has_cache in [true, false] {
        let scene = Scene::new();
        let child = written(&scene, 50);
        let (mut follower, mut shelf, base) = followed(&scene).await;
        child.insert(500);
        shelf.drain(&mut *follower).await;
        drop(follower);
        if !has_cache {
            std::fs::remove_dir_all(scene.folder.path().join("cache")).unwrap();
        }
        for _ in 0..3 {
            child.run("UPDATE t SET text = hex(randomblob(17)) WHERE id % 7 = 0; PRAGMA wal_checkpoint(TRUNCATE)");
            child.insert(100);
        }
        let mut follower = scene.follow(shelf.resume()).await;
        shelf.drain(&mut *follower).await;
        child.insert(1);
        shelf.drain(&mut *follower).await;
        let breaks = shelf.breaks();
        assert_eq!(breaks.len(), 2, "{breaks:?}");
        if has_cache {
            assert!(breaks[1].starts_with("difference: the log "), "{breaks:?}");
            assert_current(&scene, &child, &shelf, &base).await;
        } else {
            assert!(breaks[1].starts_with("begins: the state that was stored last is no longer known"), "{breaks:?}");
            let error = scene.roll(&base, &shelf, Until::End).await.unwrap_err();
            assert_eq!(error.kind(), crate::error::ErrorKind::Corrupt, "{error}");
            let base = copy(&scene, "newer");
            child.insert(1);
            shelf.drain(&mut *follower).await;
            assert_current(&scene, &child, &shelf, &base).await;
        }
    }
}

#[tokio::test]
async fn a_host_that_went_away_and_came_back_has_changed_nothing() {
    let scene = Scene::new();
    let child = written(&scene, 50);
    let (mut follower, mut shelf, _) = followed(&scene).await;
    child.insert(10);
    shelf.drain(&mut *follower).await;
    drop(follower);
    // The last one to close removes the log.
    child.close();
    assert_eq!(scene.data_names(), ["app.db"]);
    let mut follower = scene.follow(shelf.resume()).await;
    shelf.drain(&mut *follower).await;
    assert_eq!(shelf.breaks().len(), 1, "{:?}", shelf.breaks());
    drop(follower);
    assert_eq!(scene.data_names(), ["app.db"], "and nothing of ours is left");
}

#[tokio::test]
async fn the_host_closes_dies_and_checkpoints_while_it_is_followed() {
    let scene = Scene::new();
    let mut child = written(&scene, 50);
    let (mut follower, mut shelf, base) = followed(&scene).await;
    child.close();
    assert!(scene.data_names().contains(&"app.db-wal".to_owned()), "its log stays while it is followed");
    child.insert(10);
    shelf.drain(&mut *follower).await;
    // Killed with frames in the log that nobody committed.
    child.run("PRAGMA cache_size=2; PRAGMA cache_spill=1; BEGIN; UPDATE t SET text = hex(randomblob(400))");
    child.kill();
    shelf.drain(&mut *follower).await;
    child = Child::open(&scene.db());
    child.insert(3);
    shelf.drain(&mut *follower).await;
    assert_current(&scene, &child, &shelf, &base).await;
    // Each kind of checkpoint gets what it wants, as soon as the mark has moved.
    child.run("PRAGMA wal_autocheckpoint=0");
    for mode in ["FULL", "RESTART", "TRUNCATE"] {
        child.insert(20);
        let mut tries = 0;
        while child.run(&format!("PRAGMA wal_checkpoint({mode})")) != "0" {
            tries += 1;
            assert!(tries < 500, "{mode} never got through");
            shelf.take(&mut *follower, Duration::from_millis(20)).await;
        }
        child.insert(20);
        shelf.drain(&mut *follower).await;
    }
    assert_eq!(shelf.breaks().len(), 1, "{:?}", shelf.breaks());
    assert_current(&scene, &child, &shelf, &base).await;
}

#[tokio::test]
async fn past_the_limit_the_log_starts_over_and_is_proven_to_go_on() {
    for setting in ["PRAGMA wal_autocheckpoint=100", "PRAGMA wal_autocheckpoint=100; PRAGMA journal_size_limit=0"] {
        let scene = Scene::new();
        let child = written(&scene, 50);
        child.run(setting);
        let mut follower = scene.follow_with(None, 600_000).await.unwrap();
        let mut shelf = Shelf::default();
        shelf.point(&mut *follower).await;
        let base = copy(&scene, "base");
        let mut longest = 0;
        let mut committed = Vec::new();
        for burst in 0..300 {
            // Between two looks, so that what is after a new beginning is there as well.
            for number in 1..=5 {
                child.insert(3);
                committed.push((Timestamp::now(), 60 + 3 * (5 * burst + number)));
            }
            longest = longest.max(scene.folder.path().join("data/app.db-wal").metadata().unwrap().len());
            shelf.take(&mut *follower, Duration::from_millis(1)).await;
        }
        shelf.drain(&mut *follower).await;
        assert!(longest < 3_000_000, "{setting}: the log started over, it had {longest} bytes");
        assert_current(&scene, &child, &shelf, &base).await;
        println!("{setting}: {longest} {:?}", shelf.breaks());
        assert!(shelf.breaks().iter().skip(1).all(|reason| reason.starts_with("difference: ")), "{:?}", shelf.breaks());
        if !setting.contains("size_limit") {
            assert_eq!(shelf.breaks().len(), 1, "{:?}", shelf.breaks());
        }
        // Of the end of a log that started over it is not said that it has what the new one began with.
        let log_of = |position: &str| position.split('.').nth(1).unwrap().to_owned();
        let ends = shelf.0.windows(2).filter(|pair| log_of(&pair[0].to) != log_of(&pair[1].to)).map(|pair| &pair[0]);
        let ends: Vec<&Increment> = ends.filter(|it| it.until > base.1 && !it.points.is_empty()).collect();
        assert!(ends.len() > 2, "it started over {} times", ends.len());
        println!("{setting}: {} ends", ends.len());
        // Each is rolled forward from the beginning: a dozen of them.
        for end in ends.iter().step_by(ends.len().div_ceil(12)) {
            let file = scene.roll(&base, &shelf, Until::Position(end.to.clone())).await.unwrap();
            let rows: u32 = state_of(&file).split(' ').next().unwrap().parse().unwrap();
            let before = committed.iter().take_while(|(time, _)| *time <= end.until).last();
            assert!(before.is_none_or(|(_, count)| rows >= *count), "{setting}: {rows}, {before:?}: {end:?}");
        }
    }
}

#[tokio::test]
async fn another_file_in_its_place_begins_anew() {
    let scene = Scene::new();
    let child = written(&scene, 50);
    let (mut follower, mut shelf, base) = followed(&scene).await;
    child.insert(10);
    shelf.drain(&mut *follower).await;
    child.close();
    let names = ["app.db", "app.db-wal", "app.db-shm"].map(|name| scene.folder.path().join("data").join(name));
    names.iter().for_each(|name| std::fs::remove_file(name).unwrap());
    let patience = QUIET * 2;
    // First that it is gone, then that it is not found.
    let missing = |waits_for: &String| waits_for.contains("could not find database");
    while !follower.standing().waits_for.as_ref().is_some_and(missing) {
        assert_eq!(follower.next(&Scope::default(), patience).await.unwrap(), None);
    }
    let waits_for = follower.standing().waits_for.unwrap();
    assert!(
        waits_for.ends_with("(correct `path` of the store, or start the service once to create it)"),
        "{waits_for}"
    );
    std::fs::copy(base.0.join("app.db"), scene.folder.path().join("data/new.db")).unwrap();
    std::fs::rename(scene.folder.path().join("data/new.db"), scene.db()).unwrap();
    shelf.point(&mut *follower).await;
    let breaks = shelf.breaks();
    assert_eq!(breaks[1..], ["begins: another file is in the place of the database"], "{breaks:?}");
    // The look that found it has an end.
    while follower.standing().waits_for.is_some() {
        assert_eq!(follower.next(&Scope::default(), patience).await.unwrap(), None);
    }
    let error = scene.roll(&base, &shelf, Until::End).await.unwrap_err();
    assert!(error.to_string().contains("another file is in the place"), "{error}");
}

#[tokio::test]
async fn without_wal_it_waits_and_says_so() {
    let scene = Scene::new();
    let child = written(&scene, 50);
    let (mut follower, mut shelf, base) = followed(&scene).await;
    child.insert(10);
    shelf.drain(&mut *follower).await;
    let answer = child.ask("PRAGMA journal_mode=DELETE");
    assert!(answer.as_deref() == Ok("wal") || answer.is_err(), "it cannot leave WAL mode meanwhile: {answer:?}");
    drop(follower);
    for mode in ["delete", "truncate", "persist"] {
        assert_eq!(child.run(&format!("PRAGMA journal_mode={mode}")), mode);
        child.insert(30);
        let mut follower = scene.follow(shelf.resume()).await;
        while follower.standing().waits_for.is_none() {
            assert_eq!(follower.next(&Scope::default(), Duration::from_millis(20)).await.unwrap(), None);
        }
        let waits_for = follower.standing().waits_for.unwrap();
        assert!(
            waits_for.ends_with(
                "is not in WAL mode, and cannot be followed without it (switch it once: PRAGMA journal_mode=WAL)"
            ),
            "{waits_for}"
        );
        child.insert(30);
        assert_eq!(child.run("PRAGMA journal_mode=WAL"), "wal");
        shelf.point(&mut *follower).await;
        child.insert(1);
        shelf.drain(&mut *follower).await;
        assert!(shelf.breaks().last().unwrap().starts_with("difference: "), "{mode}: {:?}", shelf.breaks());
        assert_current(&scene, &child, &shelf, &base).await;
    }
    // With other pages it is another database.
    child.run("PRAGMA journal_mode=DELETE; PRAGMA page_size=8192; VACUUM; PRAGMA journal_mode=WAL");
    let mut follower = scene.follow(shelf.resume()).await;
    shelf.point(&mut *follower).await;
    assert_eq!(shelf.breaks().last().unwrap(), "begins: its page size changed from 4096 to 8192 bytes");
}

#[tokio::test]
async fn what_is_no_database_is_refused() {
    use crate::error::ErrorKind;
    let scene = Scene::new();
    assert_eq!(scene.follow_with(None, 1 << 20).await.unwrap_err().kind(), ErrorKind::NotFound);
    scene.create("wal", 1);
    std::fs::write(scene.db(), [0x9f; 8192]).unwrap();
    assert_eq!(scene.follow_with(None, 1 << 20).await.unwrap_err().kind(), ErrorKind::Unsupported);
}
