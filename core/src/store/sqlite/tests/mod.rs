//! Tests against the real engine. Where locks matter, the other side is another process: [`child`].

mod child;
mod damage;
mod follow;
mod load;
mod locks;
mod refusals;
mod restore;
mod shapes;
mod suite;
mod upkeep;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;

use super::snapshot::{Moment, Seams};
use super::*;
use crate::component::BuildContext;

/// A folder with a database `app.db` and room for copies.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn db(&self) -> PathBuf {
        self.folder.path().join("data/app.db")
    }

    /// A connection in this process. It must be closed before the store comes near the database.
    fn connect(&self) -> Connection {
        std::fs::create_dir_all(self.folder.path().join("data")).unwrap();
        Connection::open(self.db()).unwrap()
    }

    /// The database in a journal mode, with some rows, closed by its last user.
    fn create(&self, journal_mode: &str, rows: u32) {
        let db = self.connect();
        db.query_row(&format!("PRAGMA journal_mode={journal_mode}"), [], |_| Ok(())).unwrap();
        db.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT); CREATE INDEX i ON t (text)").unwrap();
        insert(&db, rows);
    }

    fn store(&self) -> SqliteStore {
        self.store_with(serde_json::json!({}), Seams::default())
    }

    fn store_with(&self, extra: Value, seams: Seams) -> SqliteStore {
        let mut settings =
            serde_json::json!({ "path": "data/app.db", "busy_timeout_seconds": 0.3, "keep_free_bytes": 0 });
        settings.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let context = BuildContext {
            name: "main".into(),
            root: self.folder.path().into(),
            state: self.folder.path().join(".uplifted-ops"),
            service: "shop".into(),
        };
        let settings = context.settings(settings.as_object().unwrap()).unwrap();
        let store = SqliteStore::new(&context, settings).unwrap();
        let mut database = Arc::into_inner(store.0).unwrap();
        database.seams = seams;
        SqliteStore(Arc::new(database))
    }

    /// A store that calls `act` at one moment of its copies.
    fn store_at(&self, moment: Moment, act: impl Fn() + Send + Sync + 'static) -> SqliteStore {
        let at = move |now| {
            if now == moment {
                act();
            }
        };
        self.store_with(serde_json::json!({}), Seams { at: Some(Arc::new(at)), space: None })
    }

    /// A new empty folder.
    fn out(&self, name: &str) -> PathBuf {
        let out = self.folder.path().join("out").join(name);
        std::fs::create_dir_all(&out).unwrap();
        out
    }

    /// The names beside the database, sorted.
    fn data_names(&self) -> Vec<String> {
        names(&self.folder.path().join("data"))
    }
}

fn insert(db: &Connection, rows: u32) {
    for _ in 0..rows {
        db.execute("INSERT INTO t (text) VALUES (hex(randomblob(16)))", []).unwrap();
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Rows of `t` in a copy, whose integrity is checked with a plain connection of the engine.
fn rows(copy: &Path) -> i64 {
    let db = Connection::open_with_flags(copy, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let ok: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(ok, "ok");
    db.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

/// Takes a snapshot and returns the copy's path; nothing else is in the folder.
async fn snapshot(store: &SqliteStore, out: &Path) -> PathBuf {
    let snapshot = store.snapshot_to(&Scope::default(), out).await.unwrap();
    assert_eq!(names(out), ["app.db"]);
    assert_eq!(snapshot.files, [PathBuf::from("app.db")]);
    assert_eq!(snapshot.size_bytes, out.join("app.db").metadata().unwrap().len());
    out.join("app.db")
}
