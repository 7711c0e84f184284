//! What cannot be copied is refused by name.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::child::Child;
use super::*;
use crate::cancel::Progress;
use crate::clock::{ManualClock, Timestamp};
use crate::error::ErrorKind;
use crate::fs::Space;

async fn refusal(store: &SqliteStore, scene: &Scene) -> Error {
    let out = scene.out("refused");
    let error = store.snapshot_to(&Scope::default(), &out).await.unwrap_err();
    assert!(names(&out).is_empty(), "{error}");
    assert!(error.hint().is_some(), "{error}");
    error
}

#[tokio::test]
async fn what_is_no_database() {
    let mut random = vec![0_u8; 8192];
    random.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at * 167 + 31) as u8 | 0x80);
    let cut = [header::MAGIC, &[0; 20]].concat();
    let mut page_size = [header::MAGIC, &[0; 4096]].concat();
    page_size[16] = 3;
    for (bytes, kind, word) in [
        (b"just some notes\n".to_vec(), ErrorKind::Unsupported, "not a SQLite database"),
        (random, ErrorKind::Unsupported, "encrypted"),
        (cut, ErrorKind::Corrupt, "within its header"),
        (page_size, ErrorKind::Corrupt, "page size of 768"),
    ] {
        let scene = Scene::new();
        drop(scene.connect());
        std::fs::write(scene.db(), &bytes).unwrap();
        let error = refusal(&scene.store(), &scene).await;
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(word) && error.message().contains("app.db"), "{error}");
        assert_eq!(std::fs::read(scene.db()).unwrap(), bytes);
        assert_eq!(scene.data_names(), ["app.db"]);
    }
}

#[tokio::test]
async fn what_is_not_there_or_no_file() {
    let scene = Scene::new();
    let error = refusal(&scene.store(), &scene).await;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(!scene.db().exists() && !scene.db().parent().unwrap().exists());
    std::fs::create_dir_all(scene.db()).unwrap();
    let error = refusal(&scene.store(), &scene).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains("is a folder"), "{error}");
    std::fs::remove_dir(scene.db()).unwrap();
    let dir = crate::fs::Dir::open(scene.db().parent().unwrap()).unwrap();
    dir.fifo(Path::new("app.db"), 0o600).unwrap();
    assert_eq!(refusal(&scene.store(), &scene).await.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_log_beside_an_emptied_database_is_not_deleted() {
    let scene = Scene::new();
    drop(scene.connect());
    let wal = scene.folder.path().join("data/app.db-wal");
    std::fs::write(&wal, b"all that is left").unwrap();
    let error = refusal(&scene.store(), &scene).await;
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(wal.exists());
    assert!(!scene.store().verify(&Scope::default(), CheckDepth::Quick).await.unwrap().ok);
}

#[tokio::test]
async fn a_database_larger_than_the_free_space() {
    let scene = Scene::new();
    scene.create("wal", 10);
    let size = scene.db().metadata().unwrap().len();
    let space = |free| Seams {
        at: None,
        space: Some(Arc::new(move |_| {
            Ok(Space { free_bytes: free, total_bytes: 1 << 40, free_inodes: 1000, total_inodes: 1000 })
        })),
    };
    let error = refusal(&scene.store_with(serde_json::json!({}), space(size)), &scene).await;
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    let needed = ("needed_bytes".to_owned(), (size + size / 10).to_string());
    assert!(error.context().contains(&needed), "{error:?}");
    // On the database's own disk the reserve counts too.
    let keep = serde_json::json!({ "keep_free_bytes": "1MiB" });
    let error = refusal(&scene.store_with(keep.clone(), space(size * 2)), &scene).await;
    assert!(error.message().contains("1.0 MiB to stay free"), "{error}");
    assert_eq!(rows(&snapshot(&scene.store_with(keep, space(size * 2 + (1 << 20))), &scene.out("a")).await), 10);
}

#[tokio::test]
async fn a_log_that_grows_until_the_disk_is_full() {
    let scene = Scene::new();
    scene.create("wal", 10);
    let child = Arc::new(Child::open(&scene.db()));
    child.run("PRAGMA wal_autocheckpoint=0");
    child.insert(60_000);
    let free = Arc::new(AtomicU64::new(1 << 30));
    let (left, writing) = (Arc::clone(&free), Arc::clone(&child));
    let seams = Seams {
        at: Some(Arc::new(move |moment| {
            if moment == Moment::WalBlock(0) {
                writing.insert(10);
                left.store(99 << 20, Ordering::SeqCst);
            }
        })),
        space: Some(Arc::new(move |_| {
            let free_bytes = free.load(Ordering::SeqCst);
            Ok(Space { free_bytes, total_bytes: 1 << 40, free_inodes: 1000, total_inodes: 1000 })
        })),
    };
    let store = scene.store_with(serde_json::json!({ "keep_free_bytes": "100MiB" }), seams);
    let error = refusal(&store, &scene).await;
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(error.message().contains("99.0 MiB free while its log grows"), "{error}");
}

#[tokio::test]
async fn a_database_locked_by_somebody_is_busy_and_names_him() {
    for (mode, lock) in [
        ("wal", "PRAGMA locking_mode=EXCLUSIVE; INSERT INTO t (text) VALUES ('x')"),
        ("delete", "PRAGMA locking_mode=EXCLUSIVE; INSERT INTO t (text) VALUES ('x')"),
        ("delete", "BEGIN EXCLUSIVE"),
    ] {
        let scene = Scene::new();
        scene.create(mode, 10);
        let child = Child::open(&scene.db());
        child.close();
        child.run(lock);
        let error = refusal(&scene.store(), &scene).await;
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
        assert!(error.retryable());
        assert!(error.message().contains("locked for 0.3 s: process "), "{mode}: {error}");
        drop(child);
        assert!(rows(&snapshot(&scene.store(), &scene.out("a")).await) >= 10);
    }
}

#[tokio::test]
async fn a_rollback_copy_past_its_bound_releases_the_writers() {
    let scene = Scene::new();
    scene.create("delete", 0);
    let child = Arc::new(Child::open(&scene.db()));
    child.insert(40_000);
    assert!(scene.db().metadata().unwrap().len() > 2 << 20);
    let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
    let ticking = Arc::clone(&clock);
    let seams = Seams {
        at: Some(Arc::new(move |moment| {
            if matches!(moment, Moment::MainBlock(_)) {
                ticking.advance(Duration::from_millis(600));
            }
        })),
        space: None,
    };
    let out = scene.out("a");
    let scope = Scope { clock, ..Scope::default() };
    let store = scene.store_with(serde_json::json!({ "rollback_copy_seconds": 1.0 }), seams.clone());
    let error = store.snapshot_to(&scope, &out).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.message().contains("for 1 s, and was given up after 2.0 MiB"), "{error}");
    assert!(error.hint().unwrap().contains("journal_mode=WAL"));
    assert!(names(&out).is_empty());
    child.insert(1);
    let patient = scene.store_with(serde_json::json!({ "rollback_copy_seconds": 60.0 }), seams);
    patient.snapshot_to(&scope, &out).await.unwrap();
    assert_eq!(rows(&out.join("app.db")), 40_001);
}

#[tokio::test]
async fn a_folder_that_is_not_empty() {
    let scene = Scene::new();
    scene.create("wal", 1);
    let out = scene.out("a");
    std::fs::write(out.join("precious"), b"mine").unwrap();
    let error = scene.store().snapshot_to(&Scope::default(), &out).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(names(&out), ["precious"]);
}

#[tokio::test]
async fn a_cancel_during_the_copy() {
    for mode in ["wal", "delete"] {
        let scene = Scene::new();
        scene.create(mode, 0);
        let child = Child::open(&scene.db());
        child.insert(60_000);
        let scope = Scope::default();
        let cancel = scope.cancel.clone();
        let scope = Scope { progress: Progress::new(move |_| cancel.cancel()), ..scope };
        let out = scene.out("a");
        let error = scene.store().snapshot_to(&scope, &out).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert!(names(&out).is_empty());
        child.insert(1);
    }
}

#[tokio::test]
async fn a_cancel_while_waiting_for_a_lock() {
    let scene = Scene::new();
    scene.create("delete", 10);
    let child = Child::open(&scene.db());
    child.run("BEGIN EXCLUSIVE");
    let store = scene.store_with(serde_json::json!({ "busy_timeout_seconds": 3600 }), Seams::default());
    let scope = Scope::default();
    let cancel = scope.cancel.clone();
    let out = scene.out("a");
    let (result, ()) = tokio::join!(store.snapshot_to(&scope, &out), async move {
        tokio::time::sleep(Duration::from_millis(150)).await;
        cancel.cancel();
    });
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(names(&out).is_empty());
}

#[test]
fn settings_are_checked() {
    let scene = Scene::new();
    let context = BuildContext {
        name: "main".into(),
        root: scene.folder.path().into(),
        state: scene.folder.path().join("state"),
        service: "shop".into(),
    };
    let build = |json: Value| (KIND.build)(&context, json.as_object().unwrap());
    let store = build(serde_json::json!({ "path": "app.db" })).unwrap();
    let capability = store.capability();
    assert_eq!(capability.file.unwrap(), scene.folder.path().join("app.db"));
    assert_eq!(capability.side_files[0], scene.folder.path().join("app.db-wal"));
    for (bad, word) in [
        (serde_json::json!({}), "path"),
        (serde_json::json!({ "path": "a", "pth": 1 }), "pth"),
        (serde_json::json!({ "path": "a", "busy_timeout_seconds": -1 }), "busy_timeout_seconds"),
        (serde_json::json!({ "path": "a", "rollback_copy_seconds": 1e9 }), "rollback_copy_seconds"),
        (serde_json::json!({ "path": "/" }), "does not name a file"),
        (serde_json::json!({ "path": "a", "keep_free_bytes": "lots" }), "keep_free_bytes"),
    ] {
        let error = build(bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.message().contains(word), "{error}");
    }
    let detect = KIND.detect.unwrap();
    assert!((detect.head)(b"SQLite format 3\0...") && !(detect.head)(b"SQLite format 2") && !(detect.head)(b""));
    assert!(build(Value::Object((detect.settings)(Path::new("/srv/x.db")))).is_ok());
}
