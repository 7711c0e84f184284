//! Stats and maintenance.

use super::child::Child;
use super::*;
use crate::error::ErrorKind;

#[tokio::test]
async fn stats_name_the_facts_and_leave_the_log_alone() {
    let scene = Scene::new();
    scene.create("wal", 10);
    let child = Child::open(&scene.db());
    child.run("PRAGMA wal_autocheckpoint=0; PRAGMA user_version=-7; PRAGMA application_id=42");
    child.insert(2000);
    let log = std::fs::read(scene.folder.path().join("data/app.db-wal")).unwrap();
    let main = std::fs::read(scene.db()).unwrap();
    child.kill();
    let stats = scene.store().stats(&Scope::default()).await.unwrap();
    assert_eq!(stats.size_bytes, main.len() as u64);
    assert_eq!(stats.log_bytes, Some(log.len() as u64));
    for (name, value) in [
        ("page_size", Value::from(4096)),
        ("journal_mode", "wal".into()),
        ("encoding", "UTF-8".into()),
        ("user_version", (-7).into()),
        ("application_id", 42.into()),
        ("auto_vacuum", "none".into()),
        ("wal_bytes", log.len().into()),
        ("engine_version", rusqlite::version().into()),
    ] {
        assert_eq!(stats.details[name], value, "{name}");
    }
    for name in ["page_count", "freelist_count", "schema_version"] {
        assert!(stats.details[name].is_u64(), "{name}");
    }
    // Ours was the last connection: it checkpointed nothing.
    assert_eq!(std::fs::read(scene.folder.path().join("data/app.db-wal")).unwrap(), log);
    assert_eq!(std::fs::read(scene.db()).unwrap(), main);
}

#[tokio::test]
async fn optimize_refreshes_what_is_stale_without_a_checkpoint() {
    let scene = Scene::new();
    scene.create("wal", 2000);
    let store = scene.store();
    let main = std::fs::read(scene.db()).unwrap();
    let outcome = &store.maintain(&Scope::default(), &[MaintenanceTask::Optimize]).await.unwrap()[0];
    assert!(outcome.done && outcome.message.contains("1 table"), "{outcome:?}");
    assert_eq!(std::fs::read(scene.db()).unwrap(), main, "the statistics are in the log");
    let outcome = &store.maintain(&Scope::default(), &[MaintenanceTask::Optimize]).await.unwrap()[0];
    assert!(outcome.done && outcome.message.contains("fresh"), "{outcome:?}");
    assert_eq!(std::fs::read(scene.db()).unwrap(), main);
    let db = scene.connect();
    let analysed: i64 = db.query_row("SELECT count(*) FROM sqlite_stat1", [], |row| row.get(0)).unwrap();
    assert!(analysed > 0);
}

#[tokio::test]
async fn free_pages_are_returned_where_that_needs_no_rewrite() {
    for (auto_vacuum, done) in [("INCREMENTAL", true), ("NONE", false), ("FULL", false)] {
        let scene = Scene::new();
        let db = scene.connect();
        db.execute_batch(&format!(
            "PRAGMA auto_vacuum={auto_vacuum}; CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)"
        ))
        .unwrap();
        db.execute_batch("BEGIN").unwrap();
        insert(&db, 60_000);
        db.execute_batch("DELETE FROM t WHERE id > 10; COMMIT").unwrap();
        drop(db);
        let before = scene.db().metadata().unwrap().len();
        let outcome = scene.store().maintain(&Scope::default(), &[MaintenanceTask::ReleaseFreePages]).await.unwrap();
        assert_eq!(outcome[0].done, done, "{outcome:?}");
        assert_eq!(scene.db().metadata().unwrap().len() < before, done, "{outcome:?}");
        if !done {
            assert!(outcome[0].message.starts_with("skipped: auto_vacuum"));
        }
        let stats = scene.store().stats(&Scope::default()).await.unwrap();
        assert_eq!(stats.details["auto_vacuum"], auto_vacuum.to_lowercase());
        if done {
            assert_eq!(stats.details["freelist_count"], 0);
        }
    }
}

#[tokio::test]
async fn maintenance_waits_for_a_writer_and_then_gives_up() {
    let scene = Scene::new();
    scene.create("wal", 2000);
    let child = Child::open(&scene.db());
    child.run("BEGIN IMMEDIATE");
    let error = scene.store().maintain(&Scope::default(), &[MaintenanceTask::Optimize]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.message().contains("process "), "{error}");
    assert!(scene.store().maintain(&Scope::default(), &[]).await.unwrap().is_empty());
}
