//! Every shape that a database has on disk.

use super::child::Child;
use super::*;

#[tokio::test]
async fn every_page_size_in_wal_and_rollback_mode() {
    for mode in ["wal", "delete"] {
        for page_size in [512_u32, 1024, 2048, 4096, 8192, 16384, 32768, 65536] {
            let scene = Scene::new();
            let db = scene.connect();
            db.pragma_update(None, "page_size", page_size).unwrap();
            drop(db);
            // The page size is set by the first write of the same connection.
            let child = Child::open(&scene.db());
            child.run(&format!("PRAGMA page_size={page_size}; PRAGMA journal_mode={mode}; CREATE TABLE t (id, text)"));
            child.run("PRAGMA wal_autocheckpoint=0");
            child.insert(2000);
            let store = scene.store();
            let out = scene.out("a");
            let taken = store.snapshot_to(&Scope::default(), &out).await.unwrap();
            assert_eq!(taken.details["page_size"], page_size);
            assert_eq!(taken.details["journal_mode"], mode, "{page_size}");
            assert_eq!(names(&out), ["app.db"]);
            assert!(store.check_copy(&Scope::default(), &out, CheckDepth::Full).await.unwrap().ok);
            assert_eq!(names(&out), ["app.db"]);
            assert_eq!(rows(&out.join("app.db")), 2000, "{mode} {page_size}");
        }
    }
}

#[tokio::test]
async fn a_closed_wal_database_is_left_without_litter() {
    let scene = Scene::new();
    scene.create("wal", 20);
    let before = std::fs::read(scene.db()).unwrap();
    let modified = scene.db().metadata().unwrap().modified().unwrap();
    assert_eq!(scene.data_names(), ["app.db"]);
    let store = scene.store();
    assert_eq!(rows(&snapshot(&store, &scene.out("a")).await), 20);
    assert_eq!(store.stats(&Scope::default()).await.unwrap().details["journal_mode"], "wal");
    assert!(store.verify(&Scope::default(), CheckDepth::Full).await.unwrap().ok);
    assert_eq!(scene.data_names(), ["app.db"]);
    assert_eq!(std::fs::read(scene.db()).unwrap(), before);
    assert_eq!(scene.db().metadata().unwrap().modified().unwrap(), modified);
}

#[tokio::test]
async fn a_host_that_comes_while_we_read_keeps_its_side_files() {
    let scene = Scene::new();
    scene.create("wal", 20);
    let path = scene.db();
    let host = Arc::new(std::sync::OnceLock::new());
    let coming = Arc::clone(&host);
    let store = scene.store_at(Moment::BetweenCopies, move || drop(coming.set(Child::open(&path))));
    assert_eq!(rows(&snapshot(&store, &scene.out("a")).await), 20);
    assert_eq!(scene.data_names(), ["app.db", "app.db-shm", "app.db-wal"]);
    host.get().unwrap().insert(5);
    assert_eq!(rows(&snapshot(&scene.store(), &scene.out("b")).await), 25);
}

#[tokio::test]
async fn an_empty_file_is_an_empty_database() {
    let scene = Scene::new();
    drop(scene.connect());
    assert_eq!(scene.db().metadata().unwrap().len(), 0);
    let store = scene.store();
    let out = scene.out("a");
    let taken = store.snapshot_to(&Scope::default(), &out).await.unwrap();
    assert_eq!((taken.size_bytes, names(&out)), (0, vec!["app.db".to_owned()]));
    assert!(store.check_copy(&Scope::default(), &out, CheckDepth::Full).await.unwrap().ok);
    assert!(store.verify(&Scope::default(), CheckDepth::Full).await.unwrap().ok);
    assert_eq!(store.stats(&Scope::default()).await.unwrap().size_bytes, 0);
    assert_eq!(scene.data_names(), ["app.db"]);
}

#[tokio::test]
async fn the_log_of_a_killed_writer_is_part_of_the_copy() {
    for without_index in [false, true] {
        let scene = Scene::new();
        scene.create("wal", 10);
        let child = Child::open(&scene.db());
        child.run("PRAGMA wal_autocheckpoint=0");
        child.insert(500);
        child.run("BEGIN; DELETE FROM t");
        child.kill();
        if without_index {
            // As after a loss of power on a system that cleans up, or a copy by other means.
            std::fs::remove_file(scene.folder.path().join("data/app.db-shm")).unwrap();
        }
        let main = std::fs::read(scene.db()).unwrap();
        let log = std::fs::read(scene.folder.path().join("data/app.db-wal")).unwrap();
        let store = scene.store();
        assert_eq!(rows(&snapshot(&store, &scene.out("a")).await), 510);
        assert!(store.verify(&Scope::default(), CheckDepth::Full).await.unwrap().ok);
        assert_eq!(std::fs::read(scene.db()).unwrap(), main, "never checkpointed");
        assert_eq!(std::fs::read(scene.folder.path().join("data/app.db-wal")).unwrap(), log);
    }
}

#[tokio::test]
async fn the_journal_of_a_killed_writer_is_rolled_back() {
    for mode in ["delete", "truncate", "persist"] {
        let scene = Scene::new();
        scene.create("delete", 0);
        let child = Child::open(&scene.db());
        child.run(&format!("PRAGMA journal_mode={mode}"));
        child.insert(5000);
        let sum = child.run("SELECT sum(length(text)) FROM t");
        let before = std::fs::read(scene.db()).unwrap();
        // A tiny cache makes the transaction spill into the main file before it is committed.
        child.run("PRAGMA cache_size=2; PRAGMA cache_spill=1; BEGIN; UPDATE t SET text = 'lost'");
        assert_ne!(std::fs::read(scene.db()).unwrap(), before, "the scene: pages must be in the main file");
        child.kill();
        let copy = snapshot(&scene.store(), &scene.out("a")).await;
        assert_eq!(rows(&copy), 5000);
        let db = Connection::open(&copy).unwrap();
        let copied: i64 = db.query_row("SELECT sum(length(text)) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(copied.to_string(), sum, "{mode}");
    }
}

#[tokio::test]
async fn a_first_transaction_is_waited_for_and_no_damage() {
    for mode in ["delete", "truncate", "persist"] {
        let scene = Scene::new();
        drop(scene.connect());
        std::fs::write(scene.db(), b"").unwrap();
        let child = Child::open(&scene.db());
        child.run(&format!(
            "PRAGMA journal_mode={mode}; BEGIN IMMEDIATE; CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)"
        ));
        child.insert(3);
        let journal = scene.folder.path().join("data/app.db-journal");
        let begun = std::fs::read(&journal).unwrap();
        assert_eq!(scene.db().metadata().unwrap().len(), 0, "the scene: nothing is in the main file");
        assert!(!begun.is_empty(), "the scene: the journal is begun");
        let asked = scene.store().stats(&Scope::default()).await.unwrap_err();
        let copied = scene.store().snapshot_to(&Scope::default(), &scene.out("a")).await.unwrap_err();
        for error in [asked, copied] {
            assert_eq!((error.kind(), error.retryable()), (ErrorKind::Busy, true), "{mode}: {error}");
            assert!(error.message().ends_with("is empty, and its first transaction is not committed"), "{error}");
            assert!(error.hint().unwrap().starts_with("try again"), "{error:?}");
        }
        assert_eq!(std::fs::read(&journal).unwrap(), begun, "what the writer needs is left alone");
        child.run("COMMIT");
        assert_eq!(rows(&snapshot(&scene.store(), &scene.out("b")).await), 3, "{mode}");
        drop(child);

        // What a transaction of a database with pages left behind is no beginning, nor is a journal that is done with.
        let done = std::fs::read(&journal).unwrap_or_default();
        std::fs::write(scene.db(), b"").unwrap();
        let mut orphan = begun.clone();
        orphan[16..20].copy_from_slice(&7_u32.to_be_bytes());
        for log in [orphan, done, vec![0; 512]].iter().filter(|log| !log.is_empty()) {
            std::fs::write(&journal, log).unwrap();
            let error = scene.store().stats(&Scope::default()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{mode}: {error}");
            assert_eq!(std::fs::read(&journal).unwrap(), *log, "it may be all that is left");
        }
    }
}

#[tokio::test]
async fn every_rollback_mode_while_a_writer_waits() {
    for mode in ["delete", "truncate", "persist", "memory"] {
        let scene = Scene::new();
        scene.create("delete", 50);
        let child = Arc::new(Child::open(&scene.db()));
        child.run(&format!("PRAGMA journal_mode={mode}; INSERT INTO t (text) VALUES ('one')"));
        let writing = Arc::clone(&child);
        let store = scene.store_at(Moment::MainBlock(0), move || {
            let answer = writing.ask("INSERT INTO t (text) VALUES ('two')");
            assert!(answer.unwrap_err().contains("locked"), "a writer waits while the file is copied");
        });
        assert_eq!(rows(&snapshot(&store, &scene.out("a")).await), 51, "{mode}");
        child.run("INSERT INTO t (text) VALUES ('two')");
        assert_eq!(rows(&snapshot(&scene.store(), &scene.out("b")).await), 52, "{mode}");
    }
}

#[tokio::test]
async fn the_copy_keeps_the_databases_name_and_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new();
    let odd = "a b?c#d%20&mode=memory é.db";
    std::fs::create_dir(scene.folder.path().join("data")).unwrap();
    let path = scene.folder.path().join("data").join(odd);
    let db = Connection::open_with_flags(
        &path,
        rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_CREATE,
    )
    .unwrap();
    db.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t (id); INSERT INTO t VALUES (1)").unwrap();
    drop(db);
    let store = scene.store_with(serde_json::json!({ "path": format!("data/{odd}") }), Seams::default());
    let out = scene.out("a");
    store.snapshot_to(&Scope::default(), &out).await.unwrap();
    assert_eq!(names(&out), [odd]);
    assert_eq!(out.join(odd).metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(store.check_copy(&Scope::default(), &out, CheckDepth::Full).await.unwrap().ok);
}

#[tokio::test]
async fn a_database_behind_a_symlink_is_found_with_its_log() {
    let scene = Scene::new();
    scene.create("wal", 5);
    let child = Child::open(&scene.db());
    child.insert(5);
    let elsewhere = scene.folder.path().join("link.db");
    std::os::unix::fs::symlink(scene.db(), &elsewhere).unwrap();
    let store = scene.store_with(serde_json::json!({ "path": "link.db" }), Seams::default());
    let out = scene.out("a");
    store.snapshot_to(&Scope::default(), &out).await.unwrap();
    assert_eq!(rows(&out.join("link.db")), 10);
}
