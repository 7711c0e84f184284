//! Putting a copy in place.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::child::Child;
use super::*;
use crate::error::ErrorKind;

#[tokio::test]
async fn a_restore_removes_the_stale_log_and_keeps_owner_and_mode() {
    for mode in ["wal", "delete"] {
        let scene = Scene::new();
        scene.create(mode, 100);
        let store = scene.store();
        let out = scene.out("a");
        snapshot(&store, &out).await;
        // The writer is killed: its log is hot, and would replay over whatever lies beside it.
        let child = Child::open(&scene.db());
        child.run("PRAGMA wal_autocheckpoint=0");
        child.insert(500);
        child.kill();
        std::fs::set_permissions(scene.db(), std::fs::Permissions::from_mode(0o640)).unwrap();
        // As root the owner can be told apart from our own.
        let _ = std::os::unix::fs::chown(scene.db(), Some(12345), Some(12346));
        let old = scene.db().metadata().unwrap();
        store.restore_from(&Scope::default(), &out).await.unwrap();
        let new = scene.db().metadata().unwrap();
        assert_eq!(scene.data_names(), ["app.db"], "{mode}");
        assert_eq!((new.uid(), new.gid(), new.mode()), (old.uid(), old.gid(), old.mode()));
        assert_ne!(new.ino(), old.ino());
        assert_eq!(rows(&scene.db()), 100);
        assert_eq!(rows(&out.join("app.db")), 100, "the copy stays");
    }
}

#[tokio::test]
async fn a_database_that_is_open_is_refused_with_the_holder() {
    for (mode, act) in
        [("wal", "SELECT count(*) FROM t"), ("delete", "SELECT count(*) FROM t"), ("delete", "BEGIN IMMEDIATE")]
    {
        let scene = Scene::new();
        scene.create(mode, 10);
        let store = scene.store();
        let out = scene.out("a");
        snapshot(&store, &out).await;
        let child = Child::open(&scene.db());
        child.insert(5);
        child.run(act);
        let before = scene.data_names();
        let error = store.restore_from(&Scope::default(), &out).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(error.message().contains("process ") && error.hint().unwrap().contains("stop the service"), "{error}");
        assert_eq!(scene.data_names(), before);
        assert_eq!(child.run("SELECT count(*) FROM t"), "15");
    }
}

#[tokio::test]
async fn a_damaged_copy_is_never_put_in_place() {
    let scene = Scene::new();
    scene.create("wal", 1000);
    let store = scene.store();
    let out = scene.out("a");
    let copy = snapshot(&store, &out).await;
    let before = std::fs::read(scene.db()).unwrap();
    let bytes = std::fs::read(&copy).unwrap();
    std::fs::write(&copy, &bytes[..bytes.len() - 4096]).unwrap();
    let error = store.restore_from(&Scope::default(), &out).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(std::fs::read(scene.db()).unwrap(), before);
    assert_eq!(scene.data_names(), ["app.db"]);
}

#[tokio::test]
async fn what_was_missing_foreign_or_damaged_is_replaced() {
    let scene = Scene::new();
    scene.create("wal", 42);
    let store = scene.store();
    let out = scene.out("a");
    snapshot(&store, &out).await;
    let good = std::fs::read(scene.db()).unwrap();
    let mut damaged = good.clone();
    damaged[100..4096].fill(0xff);
    let wal = scene.folder.path().join("data/app.db-wal");
    for (what, bytes) in
        [("foreign", Some(&b"text"[..])), ("damaged", Some(&damaged)), ("empty", Some(&[])), ("missing", None)]
    {
        match bytes {
            Some(bytes) => std::fs::write(scene.db(), bytes).unwrap(),
            None => std::fs::remove_dir_all(scene.db().parent().unwrap()).unwrap(),
        }
        if bytes.is_some() {
            std::fs::write(&wal, b"stale").unwrap();
        }
        store.restore_from(&Scope::default(), &out).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(scene.data_names(), ["app.db"], "{what}");
        assert_eq!(rows(&scene.db()), 42, "{what}");
    }
    assert_eq!(scene.db().metadata().unwrap().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_symlink_stays_and_its_database_is_replaced() {
    let scene = Scene::new();
    scene.create("wal", 7);
    std::os::unix::fs::symlink(scene.db(), scene.folder.path().join("link.db")).unwrap();
    let store = scene.store_with(serde_json::json!({ "path": "link.db" }), Seams::default());
    let out = scene.out("a");
    store.snapshot_to(&Scope::default(), &out).await.unwrap();
    let db = scene.connect();
    insert(&db, 3);
    drop(db);
    store.restore_from(&Scope::default(), &out).await.unwrap();
    assert!(scene.folder.path().join("link.db").is_symlink());
    assert_eq!(rows(&scene.db()), 7);
}

#[tokio::test]
async fn a_copy_under_another_name_is_found_when_it_is_the_only_one() {
    let scene = Scene::new();
    scene.create("wal", 7);
    let store = scene.store();
    let out = scene.out("a");
    let copy = snapshot(&store, &out).await;
    std::fs::rename(copy, out.join("renamed.db")).unwrap();
    assert!(store.check_copy(&Scope::default(), &out, CheckDepth::Quick).await.unwrap().ok);
    std::fs::write(out.join("other"), b"").unwrap();
    let error = store.check_copy(&Scope::default(), &out, CheckDepth::Quick).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
