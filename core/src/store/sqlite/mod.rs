//! The SQLite store: a consistent copy of a live database, without slowing or touching it.
//!
//! ```toml
//! [[store]]
//! name = "main"
//! kind = "sqlite"
//! path = "data/uplifted.db"
//! # busy_timeout_seconds = 5       # how long to wait for a lock that somebody else holds
//! # rollback_copy_seconds = 2.0    # how long writers may wait while a database without WAL is copied
//! # keep_free_bytes = "256MiB"     # a copy stops before a growing -wal leaves less on the database's disk
//! ```
//!
//! # How a copy is made
//!
//! The worker holds a read transaction, copies the main file, then the `-wal`, never the `-shm`
//! (`snapshot` says why each order of events is consistent). The copy is recovered in its own folder, so
//! that one self-contained file stays. The live file is never checkpointed, not even when our connection is
//! the last to close: the engine that corrupts on a WAL reset (3.7.0 to 3.51.2) may be the host's.
//!
//! # Rules of this room
//!
//! POSIX locks belong to the process and vanish when it closes *any* descriptor of the file. Therefore:
//! - a database is looked at (`header`) before a connection to it is open, and copied through descriptors
//!   that are closed after the connection is;
//! - one `gate` per database file lets one task of this process at a time come near it;
//! - the `-shm` is opened by the engine alone.
//!
//! # What stays behind
//!
//! A WAL database cannot be read under a lock without its `-wal` and `-shm`: the engine creates them where
//! they are missing, with the database's owner and mode. A database whose host has closed it has neither, so
//! what we created is removed again under the engine's own exclusive lock (`live::tidy`); where somebody
//! has opened the database meanwhile the files are theirs, and stay. A hot rollback journal (a writer was
//! killed in the middle of a transaction) must be rolled back before anybody can read: that is the one case
//! in which taking a copy writes to the live file, and it is what the host's own next read would do.

mod blocking;
mod check;
mod follow;
mod gate;
mod header;
mod holders;
mod inspect;
mod live;
mod maintain;
mod reading;
mod restore;
mod scratch;
mod snapshot;
mod stats;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::follow::{FollowRequest, Follower, Increments, Reached, Until};
use super::{
    CheckDepth, CopyFacts, Inspection, IntegrityReport, MaintenanceOutcome, MaintenanceTask, Store, StoreCapability,
    StoreSnapshot, StoreStats,
};
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::component::{BuildContext, Detect, Kind, Placement};
use crate::error::{Error, ErrorKind, Result};
use crate::value::ByteSize;

/// The kind `sqlite`.
pub const KIND: Kind<dyn Store> = Kind {
    name: "sqlite",
    summary: "a SQLite database file, in any journal mode",
    placement: Placement::Worker,
    build: |context, settings| Ok(Arc::new(SqliteStore::new(context, context.settings(settings)?)?)),
    detect: Some(Detect {
        head: |head| head.starts_with(header::MAGIC),
        side_suffixes: &live::SIDE_SUFFIXES,
        settings: |path| Map::from_iter([("path".to_owned(), Value::from(path.to_string_lossy()))]),
    }),
};

/// Settings of a store of kind `sqlite`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqliteSettings {
    /// The database file; a relative path starts at the service's root.
    pub path: PathBuf,
    /// How long to wait for a lock that another process holds, in seconds (0 to 3600).
    #[serde(default = "default_busy_timeout")]
    pub busy_timeout_seconds: f64,
    /// For databases without WAL, whose writers wait while they are copied: how long the copy may take, in
    /// seconds (0 to 3600). Past it the lock is released and the copy fails.
    #[serde(default = "default_rollback_copy")]
    pub rollback_copy_seconds: f64,
    /// A copy stops before a growing write-ahead log leaves less than this on the database's own disk.
    #[serde(default = "default_keep_free")]
    pub keep_free_bytes: ByteSize,
}

fn default_busy_timeout() -> f64 {
    5.0
}

fn default_rollback_copy() -> f64 {
    2.0
}

fn default_keep_free() -> ByteSize {
    ByteSize(256 << 20)
}

/// A SQLite database under our care. Cheap to clone.
///
/// Its methods open the database in the calling process, so they belong in the worker: see the module.
#[derive(Debug, Clone)]
pub struct SqliteStore(Arc<Database>);

/// What every task of this store needs to know.
#[derive(Debug)]
struct Database {
    /// The store's name in the settings.
    name: String,
    /// The database file as configured, absolute.
    path: PathBuf,
    /// What a copy is called in its folder: the database's own file name.
    copy_name: OsString,
    busy_timeout: Duration,
    rollback_copy: Duration,
    keep_free_bytes: u64,
    /// Where `verify` puts its copies.
    scratch: PathBuf,
    seams: snapshot::Seams,
}

impl SqliteStore {
    /// Makes the store; opens nothing.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when a setting is out of its range.
    pub fn new(context: &BuildContext, settings: SqliteSettings) -> Result<Self> {
        let path = context.resolve(&settings.path);
        let copy_name = path.file_name().map(OsStr::to_owned).ok_or_else(|| {
            Error::invalid(format!("settings of {:?}: path {:?} does not name a file", context.name, settings.path))
                .with_hint("set path to the database file, such as data/uplifted.db")
        })?;
        let seconds = |field: &str, value: f64| {
            if (0.0..=3600.0).contains(&value) {
                return Ok(Duration::from_secs_f64(value));
            }
            Err(Error::invalid(format!("settings of {:?}: {field} is {value}, not 0 to 3600 seconds", context.name))
                .with_hint(format!("set {field} between 0 and 3600")))
        };
        Ok(Self(Arc::new(Database {
            name: context.name.clone(),
            copy_name,
            busy_timeout: seconds("busy_timeout_seconds", settings.busy_timeout_seconds)?,
            rollback_copy: seconds("rollback_copy_seconds", settings.rollback_copy_seconds)?,
            keep_free_bytes: settings.keep_free_bytes.0,
            scratch: context.state.join("scratch"),
            seams: snapshot::Seams::default(),
            path,
        })))
    }

    /// Runs `work` on a thread that may block.
    async fn run<T: Send + 'static>(
        &self,
        scope: &Scope,
        work: impl FnOnce(&blocking::Task, &Database) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let database = Arc::clone(&self.0);
        blocking::run(scope, move |task| {
            work(task, &database).map_err(|error| error.with_context("store", &database.name))
        })
        .await
    }
}

impl Database {
    /// The database's file in `dir`: the one with its name, or the only file there.
    fn copy_in(&self, dir: &Path) -> Result<PathBuf> {
        let named = dir.join(&self.copy_name);
        if named.is_file() {
            return Ok(named);
        }
        let mut files = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(|e| Error::io(format!("read folder {dir:?}"), e))? {
            let entry = entry.map_err(|e| Error::io(format!("read folder {dir:?}"), e))?;
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                files.push(entry.path());
            }
        }
        match <[PathBuf; 1]>::try_from(files) {
            Ok([only]) => Ok(only),
            Err(_) => {
                Err(Error::new(ErrorKind::NotFound, format!("{dir:?} holds no copy of database {:?}", self.name))
                    .with_hint(format!("name the folder that holds {:?}", self.copy_name)))
            }
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn capability(&self) -> StoreCapability {
        StoreCapability {
            kind: KIND.name.to_owned(),
            file: Some(self.0.path.clone()),
            side_files: live::SIDE_SUFFIXES.iter().map(|suffix| live::beside(&self.0.path, suffix)).collect(),
            copy_files: Vec::new(),
            maintenance: vec![MaintenanceTask::Optimize, MaintenanceTask::ReleaseFreePages],
        }
    }

    async fn stats(&self, scope: &Scope) -> Result<StoreStats> {
        self.run(scope, stats::read).await
    }

    async fn verify(&self, scope: &Scope, depth: CheckDepth) -> Result<IntegrityReport> {
        self.run(scope, move |task, database| check::live(task, database, depth)).await
    }

    async fn snapshot_to(&self, scope: &Scope, dir: &Path) -> Result<StoreSnapshot> {
        let dir = dir.to_owned();
        self.run(scope, move |task, database| snapshot::take(task, database, &dir)).await
    }

    async fn check_copy(&self, scope: &Scope, dir: &Path, depth: CheckDepth) -> Result<IntegrityReport> {
        let dir = dir.to_owned();
        self.run(scope, move |task, database| check::file(task, &database.copy_in(&dir)?, depth)).await
    }

    async fn inspect_copy(&self, scope: &Scope, dir: &Path, inspection: &Inspection) -> Result<CopyFacts> {
        let (dir, inspection) = (dir.to_owned(), inspection.clone());
        self.run(scope, move |task, database| inspect::file(task, &database.copy_in(&dir)?, &inspection)).await
    }

    async fn restore_from(&self, scope: &Scope, dir: &Path) -> Result<()> {
        let dir = dir.to_owned();
        self.run(scope, move |task, database| restore::replace(task, database, &dir)).await
    }

    async fn follow(&self, scope: &Scope, request: FollowRequest) -> Result<Box<dyn Follower>> {
        follow::begin(scope, &self.0, request).await.map_err(|error| error.with_context("store", &self.0.name))
    }

    async fn roll_forward(
        &self,
        scope: &Scope,
        dir: &Path,
        // The checksum proves what the time could only make likely.
        _taken_at: Timestamp,
        increments: &mut dyn Increments,
        until: &Until,
    ) -> Result<Reached> {
        let copy = self.0.copy_in(dir)?;
        follow::roll(scope, copy, increments, until).await.map_err(|error| error.with_context("store", &self.0.name))
    }

    async fn maintain(&self, scope: &Scope, tasks: &[MaintenanceTask]) -> Result<Vec<MaintenanceOutcome>> {
        let tasks = tasks.to_vec();
        self.run(scope, move |task, database| maintain::all(task, database, &tasks)).await
    }
}

/// What the first bytes of a database say, for tests of the parser.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn header_details(bytes: &[u8]) -> Result<Option<Map<String, Value>>> {
    Ok(header::Header::parse(bytes)?.map(|header| header.details()))
}
