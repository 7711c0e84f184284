//! A backup target in one file: objects as rows of one SQLite database, for a disk or a share where a single file
//! is easier to carry away than a folder.
//!
//! ```toml
//! [[target]]
//! name = "vault"
//! kind = "vault"
//! path = "/mnt/usb/vault.db"
//! ```
//!
//! That is all of a plugin: settings, a type that implements [`BackupTarget`], a [`KIND`], and the one line
//! `.kind_target(KIND)`. The public suite certifies it, see the end of this file:
//!
//! ```sh
//! cargo test -p uplifted-example --example target_plugin    # the suite
//! cargo run -p uplifted-example --example target_plugin     # a backup into it, verified and restored
//! ```

#![allow(clippy::disallowed_methods, reason = "a host has its own clocks, files and programs")]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde::Deserialize;
use serde_json::json;
use uplifted_example::{Failure, say};
use uplifted_ops::backup::target::{BackupTarget, MAX_BLOCK, Object, TargetCapability, Upload, check_key};
use uplifted_ops::clock::Timestamp;
use uplifted_ops::component::{Kind, Placement};
use uplifted_ops::ops::Ops;
use uplifted_ops::{Error, ErrorKind, Result, Scope};

/// `kind = "vault"`: lives in the host, and the worker calls it there block by block.
const KIND: Kind<dyn BackupTarget> = Kind {
    name: "vault",
    summary: "Objects in one SQLite database",
    placement: Placement::Host,
    detect: None,
    build: |context, settings| {
        let settings: VaultSettings = context.settings(settings)?;
        Ok(Arc::new(Vault::open(&context.resolve(&settings.path))?))
    },
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VaultSettings {
    /// The database; it is made when it does not exist. Keep it outside the service's folder.
    path: PathBuf,
}

/// The target. Clones share one connection.
#[derive(Debug, Clone)]
struct Vault {
    path: PathBuf,
    connection: Arc<Mutex<Connection>>,
}

/// An object is a row of `object` that names a pile of `block`s. A pile that no object names is an upload under way,
/// or one that nobody will finish: either way nobody sees it.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS object (
        key TEXT PRIMARY KEY, pile INTEGER NOT NULL, size INTEGER NOT NULL, modified_ms INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS pile (id INTEGER PRIMARY KEY AUTOINCREMENT, began_ms INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS block (
        pile INTEGER NOT NULL, start INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (pile, start));";

/// A pile that has no object after so long belonged to a program that is gone.
const ABANDONED_MS: i64 = 7 * 24 * 3600 * 1000;

impl Vault {
    fn open(path: &Path) -> Result<Self> {
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(path)?;
            connection.busy_timeout(Duration::from_secs(30))?;
            // What a method returned from is on the disk.
            connection.pragma_update(None, "synchronous", "full")?;
            connection.execute_batch(SCHEMA)?;
            let abandoned = "DELETE FROM pile WHERE began_ms < ?1 AND id NOT IN (SELECT pile FROM object)";
            connection.execute(abandoned, [now_ms() - ABANDONED_MS])?;
            connection.execute("DELETE FROM block WHERE pile NOT IN (SELECT id FROM pile)", [])?;
            Ok(connection)
        };
        let connection = open().map_err(|error| failed(&format!("open the vault {path:?}"), error))?;
        Ok(Self { path: path.to_owned(), connection: Arc::new(Mutex::new(connection)) })
    }

    /// Runs `work` in one transaction, on a thread that may wait for the disk.
    async fn change<T: Send + 'static>(
        &self,
        doing: String,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let connection = Arc::clone(&self.connection);
        let done = tokio::task::spawn_blocking(move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        });
        let done = done.await.map_err(|error| Error::internal(format!("could not {doing}: {error}")))?;
        done.map_err(|error| failed(&doing, error))
    }
}

fn failed(doing: &str, error: rusqlite::Error) -> Error {
    let (kind, hint) = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            (ErrorKind::Busy, "try again when the other program is done with it")
        }
        Some(rusqlite::ErrorCode::DiskFull) => (ErrorKind::NoSpace, "free space where the vault is"),
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
            (ErrorKind::Corrupt, "name another file in [[target]] path")
        }
        Some(
            rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::PermissionDenied | rusqlite::ErrorCode::ReadOnly,
        ) => (ErrorKind::Denied, "make the folder, and let this user write to it"),
        _ => (ErrorKind::Unavailable, "look at the disk that the vault is on"),
    };
    Error::new(kind, format!("could not {doing}: {error}")).with_hint(hint).with_source(error)
}

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// SQLite's integers are signed, and no file is that long.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn check_block(length: u64) -> Result<()> {
    if length <= MAX_BLOCK as u64 {
        return Ok(());
    }
    Err(Error::invalid(format!("a block of {length} bytes is too long")).with_hint("read and write 8 MiB at once"))
}

/// A new pile, empty.
fn pile(transaction: &Transaction<'_>) -> rusqlite::Result<i64> {
    transaction.execute("INSERT INTO pile (began_ms) VALUES (?1)", [now_ms()])?;
    Ok(transaction.last_insert_rowid())
}

fn drop_pile(transaction: &Transaction<'_>, pile: i64) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM block WHERE pile = ?1", [pile])?;
    transaction.execute("DELETE FROM pile WHERE id = ?1", [pile]).map(drop)
}

/// The bytes of a pile within `range`, put together from the blocks that it touches.
fn read(transaction: &Transaction<'_>, pile: i64, range: &Range<u64>) -> rusqlite::Result<Vec<u8>> {
    let mut blocks = transaction.prepare_cached(
        "SELECT start, bytes FROM block WHERE pile = ?1 AND start < ?3 AND start + length(bytes) > ?2 ORDER BY start",
    )?;
    let mut rows = blocks.query(params![pile, signed(range.start), signed(range.end)])?;
    let mut read = Vec::new();
    while let Some(row) = rows.next()? {
        let (start, bytes) = (row.get::<_, i64>(0)?.unsigned_abs(), row.get_ref(1)?.as_blob()?);
        let within =
            |position: u64| usize::try_from(position.saturating_sub(start)).unwrap_or(usize::MAX).min(bytes.len());
        read.extend_from_slice(&bytes[within(range.start)..within(range.end)]);
    }
    Ok(read)
}

fn object(row: &rusqlite::Row<'_>) -> rusqlite::Result<Object> {
    Ok(Object {
        key: row.get(0)?,
        size_bytes: row.get::<_, i64>(1)?.unsigned_abs(),
        modified_at: Timestamp::from_millisecond(row.get(2)?).unwrap_or(Timestamp::UNIX_EPOCH),
    })
}

fn find(transaction: &Transaction<'_>, key: &str) -> rusqlite::Result<Option<i64>> {
    transaction.query_row("SELECT pile FROM object WHERE key = ?1", [key], |row| row.get(0)).optional()
}

#[async_trait]
impl BackupTarget for Vault {
    fn capability(&self) -> TargetCapability {
        TargetCapability {
            kind: KIND.name.to_owned(),
            location: self.path.display().to_string(),
            folder: None,
            put_if_absent: true,
            read_before_finish: true,
        }
    }

    async fn put(&self, _: &Scope, key: &str, bytes: &[u8], if_absent: bool) -> Result<bool> {
        check_key(key)?;
        check_block(bytes.len() as u64)?;
        let (key, bytes) = (key.to_owned(), bytes.to_vec());
        self.change(format!("put {key:?} into the vault"), move |transaction| {
            match find(transaction, &key)? {
                Some(_) if if_absent => return Ok(false),
                Some(replaced) => drop_pile(transaction, replaced)?,
                None => {}
            }
            let pile = pile(transaction)?;
            transaction.execute("INSERT INTO block VALUES (?1, 0, ?2)", params![pile, bytes])?;
            let size = signed(bytes.len() as u64);
            let row = params![key, pile, size, now_ms()];
            transaction.execute("INSERT OR REPLACE INTO object VALUES (?1, ?2, ?3, ?4)", row)?;
            Ok(true)
        })
        .await
    }

    async fn upload(&self, _: &Scope, key: &str, _: Option<u64>) -> Result<Box<dyn Upload>> {
        check_key(key)?;
        let pile = self.change(format!("begin {key:?} in the vault"), pile).await?;
        Ok(Box::new(VaultUpload { vault: self.clone(), key: key.to_owned(), pile, size: 0 }))
    }

    async fn get(&self, _: &Scope, key: &str, range: Range<u64>) -> Result<Vec<u8>> {
        check_key(key)?;
        check_block(range.end.saturating_sub(range.start))?;
        let wanted = key.to_owned();
        let found = self.change(format!("read {key:?} from the vault"), move |transaction| {
            find(transaction, &wanted)?.map(|pile| read(transaction, pile, &range)).transpose()
        });
        found.await?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("the vault has no object {key:?}")).with_hint("list what it has")
        })
    }

    async fn list(&self, _: &Scope, prefix: &str, after: Option<&str>) -> Result<Vec<Object>> {
        let (prefix, after) = (prefix.to_owned(), after.unwrap_or_default().to_owned());
        self.change("list the vault".to_owned(), move |transaction| {
            let mut objects = transaction.prepare_cached(
                "SELECT key, size, modified_ms FROM object
                 WHERE key > ?2 AND substr(key, 1, length(?1)) = ?1 ORDER BY key LIMIT 1000",
            )?;
            objects.query_map([prefix, after], object)?.collect()
        })
        .await
    }

    async fn stat(&self, _: &Scope, key: &str) -> Result<Option<Object>> {
        check_key(key)?;
        let key = key.to_owned();
        self.change(format!("look for {key:?} in the vault"), move |transaction| {
            let one = "SELECT key, size, modified_ms FROM object WHERE key = ?1";
            transaction.query_row(one, [key], object).optional()
        })
        .await
    }

    async fn delete(&self, _: &Scope, key: &str) -> Result<()> {
        check_key(key)?;
        let key = key.to_owned();
        self.change(format!("delete {key:?} from the vault"), move |transaction| {
            if let Some(pile) = find(transaction, &key)? {
                drop_pile(transaction, pile)?;
                transaction.execute("DELETE FROM object WHERE key = ?1", [key])?;
            }
            Ok(())
        })
        .await
    }

    async fn free_bytes(&self, _: &Scope) -> Result<Option<u64>> {
        Ok(None)
    }
}

/// An object under way: a pile that gets its row in `object` when it is finished.
#[derive(Debug)]
struct VaultUpload {
    vault: Vault,
    key: String,
    pile: i64,
    size: u64,
}

#[async_trait]
impl Upload for VaultUpload {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        check_block(bytes.len() as u64)?;
        if bytes.is_empty() {
            // Two blocks would begin at the same place.
            return Ok(());
        }
        let (pile, start, length) = (self.pile, signed(self.size), bytes.len() as u64);
        let bytes = bytes.to_vec();
        let write = self.vault.change(format!("write {:?} to the vault", self.key), move |transaction| {
            transaction.execute("INSERT INTO block VALUES (?1, ?2, ?3)", params![pile, start, bytes]).map(drop)
        });
        write.await?;
        self.size += length;
        Ok(())
    }

    async fn read_back(&mut self, range: Range<u64>) -> Result<Vec<u8>> {
        check_block(range.end.saturating_sub(range.start))?;
        let pile = self.pile;
        let doing = format!("read {:?} back from the vault", self.key);
        self.vault.change(doing, move |transaction| read(transaction, pile, &range)).await
    }

    async fn finish(self: Box<Self>) -> Result<()> {
        let Self { vault, key, pile, size } = *self;
        let named = key.clone();
        let first = vault.change(format!("finish {key:?} in the vault"), move |transaction| {
            let row = params![named, pile, signed(size), now_ms()];
            let first = transaction.execute("INSERT OR IGNORE INTO object VALUES (?1, ?2, ?3, ?4)", row)? == 1;
            if !first {
                drop_pile(transaction, pile)?;
            }
            Ok(first)
        });
        match first.await? {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Refused, format!("the vault has an object {key:?} already"))
                .with_hint("choose another key, or delete the object first")),
        }
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let pile = self.pile;
        let doing = format!("abort {:?} in the vault", self.key);
        self.vault.change(doing, move |transaction| drop_pile(transaction, pile)).await
    }
}

fn main() -> ExitCode {
    // First of all: the worker is this same program, started again. It makes the backup, and calls this process
    // for every block, since that is where the vault lives.
    uplifted_ops::worker::run_if_worker();
    match demonstrate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Backs a small folder up into a vault, verifies it, and restores it beside.
fn demonstrate() -> Result<(), Failure> {
    let work = std::env::temp_dir().join(format!("target-plugin-{}", std::process::id()));
    let root = work.join("service");
    std::fs::create_dir_all(&root)?;
    std::fs::write(root.join("hello.txt"), "hello")?;
    let done = || -> Result<(), Failure> {
        let ops = Ops::builder()
            .root(&root)
            .kind_target(KIND)
            .setting("target", json!([{ "name": "vault", "kind": "vault", "path": "../vault.db" }]))
            .build()?
            .blocking();
        let call = |name: &str, request| ops.call(Scope::default(), name, request).map(|answer| answer.response);
        let created = call("backup.create", json!({ "label": "first" }))?;
        let snapshot = &created["snapshot_id"];
        say!("backed up {} files as {snapshot}: {}", created["files"], created["outcome"])?;
        let verdict = call("backup.verify", json!({ "snapshot_id": snapshot }))?;
        say!("verified: ok is {}", verdict["ok"])?;
        let restored = call("restore.apply", json!({ "snapshot_id": snapshot, "into": work.join("copy") }))?;
        say!("restored {} files", restored["restored_files"])?;
        match std::fs::read_to_string(work.join("copy/hello.txt"))?.as_str() {
            "hello" => Ok(()),
            other => Err(format!("hello.txt came back as {other:?}").into()),
        }
    };
    let result = done();
    std::fs::remove_dir_all(&work)?;
    result
}

#[cfg(test)]
mod tests {
    use uplifted_ops::testing::{assert_all, target};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_vault_keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let count = std::sync::atomic::AtomicUsize::new(0);
        let fresh = || {
            let nth = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Arc::new(Vault::open(&folder.path().join(format!("{nth}.db"))).unwrap()) as Arc<dyn BackupTarget>
        };
        let outcomes = tokio::time::timeout(Duration::from_secs(120), target::run(fresh)).await.unwrap();
        assert_all(&outcomes);
    }

    #[tokio::test]
    async fn what_was_stored_is_there_when_the_vault_is_opened_again_and_what_was_dropped_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault.db");
        let scope = Scope::default();
        let vault = Vault::open(&path).unwrap();
        assert!(vault.put(&scope, "a/b", b"kept", true).await.unwrap());
        let mut upload = vault.upload(&scope, "a/c", None).await.unwrap();
        upload.write(b"half").await.unwrap();
        drop((upload, vault));
        // The program that began the upload has been gone for weeks.
        Connection::open(&path).unwrap().execute("UPDATE pile SET began_ms = 0", []).unwrap();
        let vault = Vault::open(&path).unwrap();
        assert_eq!(vault.get(&scope, "a/b", 0..10).await.unwrap(), b"kept");
        assert_eq!(vault.list(&scope, "a/", None).await.unwrap().len(), 1);
        let blocks = vault.change("count".to_owned(), |transaction| {
            transaction.query_row("SELECT count(*) FROM block", [], |row| row.get::<_, i64>(0))
        });
        assert_eq!(blocks.await.unwrap(), 1);
    }

    #[test]
    fn what_is_no_vault_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        std::fs::write(&path, vec![7; 8192]).unwrap();
        assert_eq!(Vault::open(&path).unwrap_err().kind(), ErrorKind::Corrupt);
        let nowhere = Vault::open(&folder.path().join("no/such/folder.db")).unwrap_err();
        assert_eq!(nowhere.kind(), ErrorKind::Denied);
    }
}
