//! The contract of a database under our care.
//!
//! A [`Store`] is asked for a consistent copy as a *path*, never as bytes. Drivers are one file each
//! (`sqlite`); whoever uses a store holds an `Arc<dyn Store>` and cannot tell where it lives.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

use follow::{FollowRequest, Follower, Increments, Reached, Until};
use swap::{SwapReport, SwapRequest};

/// A database under our care.
///
/// Clauses that hold for every method, each with a case in the public suite (`testing::store`):
/// - a missing, encrypted or foreign database is refused by name, and nothing is created in its place;
/// - the live database is never checkpointed, vacuumed or otherwise rewritten but by [`Store::maintain`] and
///   [`Store::restore_from`];
/// - `scope.cancel` is honoured within a second, and nothing is left in `dir`.
#[async_trait]
pub trait Store: Send + Sync + Debug {
    /// What this store can do. Does no I/O.
    fn capability(&self) -> StoreCapability;

    /// Sizes and settings of the live database. Cheap: reads no user data. What it is not allowed to see it leaves out, and
    /// names below `missing` in the details.
    async fn stats(&self, scope: &Scope) -> Result<StoreStats>;

    /// Checks the database's own integrity, on a consistent copy that is removed afterwards, so that the
    /// service is not slowed by a long read. Damage is a report, not an error.
    async fn verify(&self, scope: &Scope, depth: CheckDepth) -> Result<IntegrityReport>;

    /// Puts a consistent, self-contained copy into the empty folder `dir` while the service writes. The copy
    /// holds everything that was committed before the call. It is recovered but not yet checked: call
    /// [`Store::check_copy`].
    async fn snapshot_to(&self, scope: &Scope, dir: &Path) -> Result<StoreSnapshot>;

    /// Checks a copy made by [`Store::snapshot_to`], or restored from a backup, in `dir`.
    async fn check_copy(&self, scope: &Scope, dir: &Path, depth: CheckDepth) -> Result<IntegrityReport>;

    /// Asks the copy in `dir`, as for [`Store::check_copy`], how many rows its tables have and what `inspection`
    /// queries. Changes nothing in it. A query that the copy cannot answer is an answer that does not hold.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] from a store that cannot be asked, which is what it says when it does not
    /// implement this; [`ErrorKind::InvalidInput`] for a query that is none, or that would change something.
    async fn inspect_copy(&self, scope: &Scope, dir: &Path, inspection: &Inspection) -> Result<CopyFacts> {
        let _ = (scope, dir, inspection);
        let kind = self.capability().kind;
        Err(Error::new(ErrorKind::Unsupported, format!("a store of kind {kind:?} does not count rows or take queries")))
    }

    /// Replaces the database by the copy in `dir`, which is checked first and stays. Refused while another
    /// process has the database open. [`ErrorKind::Unsupported`] where the database is one of a server: it is restored
    /// beside, by [`Store::restore_as`].
    async fn restore_from(&self, scope: &Scope, dir: &Path) -> Result<()>;

    /// Puts the copy in `dir`, which stays, into a new database called `name` beside the live one, which is not touched, and
    /// holds it against the copy. When it cannot be done, no such database is left.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] from a store whose databases have no names, which is what it says when it does not implement
    /// this; [`ErrorKind::Refused`] where there is a database of that name already.
    async fn restore_as(&self, scope: &Scope, dir: &Path, name: &str) -> Result<RestoredDatabase> {
        let _ = (scope, dir, name);
        let kind = self.capability().kind;
        Err(Error::new(ErrorKind::Unsupported, format!("a store of kind {kind:?} has no database beside its own"))
            .with_hint("restore it into a folder: restore.apply with `into`"))
    }

    /// Lets a database that [`Store::restore_as`] made, and found as the copy has it, take the name of the live one, which stays
    /// beside it under another; takes that back; drops for good what was put aside. See [`swap`].
    ///
    /// Whatever moment it is interrupted at, asking for the same, or for the undo, finds out how far it came and ends it.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] from a store whose databases have no names, which is what it says when it does not implement
    /// this; [`ErrorKind::Refused`] with what is in the way; [`ErrorKind::Busy`] when a session does not end in time, and
    /// then the live database is as it was.
    async fn swap(&self, scope: &Scope, request: &SwapRequest) -> Result<SwapReport> {
        let _ = (scope, request);
        let kind = self.capability().kind;
        Err(Error::new(ErrorKind::Unsupported, format!("a store of kind {kind:?} has no database beside its own"))
            .with_hint("files are swapped by restore.apply, and back by restore.undo"))
    }

    /// Begins to follow the live database; see [`follow`].
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] from a store that cannot be followed, which is what it says when it does not implement this.
    async fn follow(&self, scope: &Scope, request: FollowRequest) -> Result<Box<dyn Follower>> {
        let _ = (scope, request);
        let kind = self.capability().kind;
        Err(Error::new(ErrorKind::Unsupported, format!("a store of kind {kind:?} cannot be followed")))
    }

    /// Adds `increments` to the copy in `dir`, up to `until`, and says which state it has then. The first increment is the one
    /// that [`follow`] says; `taken_at` is that of the copy. Fails, and leaves a copy that is worth nothing, where they do not
    /// follow each other, or do not reach a point of the copy's own time. Whoever keeps the copy has it on the device afterwards.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] from a store that cannot be followed; [`ErrorKind::NotFound`] where no point is at or before
    /// `until`; [`ErrorKind::Corrupt`] where an increment is missing or does not fit.
    async fn roll_forward(
        &self,
        scope: &Scope,
        dir: &Path,
        taken_at: Timestamp,
        increments: &mut dyn Increments,
        until: &Until,
    ) -> Result<Reached> {
        let _ = (scope, dir, taken_at, increments, until);
        let kind = self.capability().kind;
        Err(Error::new(ErrorKind::Unsupported, format!("a store of kind {kind:?} cannot be followed")))
    }

    /// Carries out upkeep. A task that the store does not know is reported as skipped, with the reason.
    async fn maintain(&self, scope: &Scope, tasks: &[MaintenanceTask]) -> Result<Vec<MaintenanceOutcome>>;
}

/// What a store can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreCapability {
    /// The kind, such as `sqlite`.
    pub kind: String,
    /// The live database file, absolute, for stores that are a file on this machine. A copy has its name there, and its place
    /// in a snapshot.
    pub file: Option<PathBuf>,
    /// For stores that are no file: the names of what [`Store::snapshot_to`] makes, the database itself first, which is what
    /// they are called in a snapshot, in the service's root. Without any a backup has nothing of such a store: it names it,
    /// and the snapshot is *partial*.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copy_files: Vec<PathBuf>,
    /// The files beside it that are part of the live database and never copied by themselves, absolute.
    pub side_files: Vec<PathBuf>,
    /// The upkeep it knows.
    pub maintenance: Vec<MaintenanceTask>,
}

/// A consistent copy in a folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoreSnapshot {
    /// The copy's files, relative to the folder. The first is the database itself; of a store that is no file all are among
    /// [`StoreCapability::copy_files`].
    pub files: Vec<PathBuf>,
    /// Their size together.
    pub size_bytes: u64,
    /// Everything committed before this moment is in the copy.
    pub taken_at: Timestamp,
    /// Facts about the database, by the driver's names: `page_size`, `journal_mode`, …. A store that can count the rows of its
    /// live tables at the very moment of the copy tells them as `rows`, and the copy is held against them.
    pub details: serde_json::Map<String, serde_json::Value>,
}

/// Sizes and settings of a live database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoreStats {
    /// Bytes of the database, without its log.
    pub size_bytes: u64,
    /// Bytes of its write-ahead log or journal. Nothing where the server does not let us see them.
    #[serde(default)]
    pub log_bytes: Option<u64>,
    /// Facts about the database, by the driver's names.
    pub details: serde_json::Map<String, serde_json::Value>,
}

/// How much of a database to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckDepth {
    /// Structure: every page is reachable and well-formed (SQLite's `quick_check`).
    Quick,
    /// Structure, and that every index agrees with its table (SQLite's `integrity_check`).
    Full,
}

/// What a check of integrity found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IntegrityReport {
    /// Whether nothing was wrong.
    pub ok: bool,
    /// What was wrong, in the engine's words; at most 100 entries.
    pub problems: Vec<String>,
}

/// What to ask a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// Whether to count the rows of each table.
    pub rows: bool,
    /// Queries in the database's own language.
    pub queries: Vec<String>,
}

/// What a copy answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyFacts {
    /// The tables whose rows could be counted, by name. Empty when that was not asked.
    pub rows: Vec<TableCount>,
    /// One answer for each query, in order.
    pub answers: Vec<QueryAnswer>,
}

/// How many rows a table has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TableCount {
    /// The table.
    pub table: String,
    /// Its rows.
    pub rows: u64,
}

/// What a query says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueryAnswer {
    /// Whether it returned a row whose first column is neither null nor zero.
    pub holds: bool,
    /// What it returned, without the service's data: a number, the kind of another value, or why it failed.
    pub message: String,
}

/// A database that was restored beside the live one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestoredDatabase {
    /// Its name.
    pub database: String,
    /// The version of the server that it is on.
    pub server_version: String,
    /// Whether everything is as the copy has it.
    pub ok: bool,
    /// Tables whose rows were counted.
    pub tables: u64,
    /// Their rows.
    pub rows: u64,
    /// Sequences that were looked at.
    pub sequences: u64,
    /// Tables, views, indexes, constraints, triggers and partitions that were looked for, with their owners.
    #[serde(default)]
    pub objects: u64,
    /// Large objects that there are.
    #[serde(default)]
    pub large_objects: u64,
    /// The extensions that the copy asks for.
    pub extensions: Vec<String>,
    /// What is not as the copy has it.
    pub problems: Vec<String>,
    /// What to know of it.
    pub notes: Vec<String>,
}

/// Upkeep of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MaintenanceTask {
    /// Refresh the planner's statistics where they are stale (SQLite's `PRAGMA optimize`).
    Optimize,
    /// Return free pages to the filesystem where that needs no rewrite (`PRAGMA incremental_vacuum`).
    ReleaseFreePages,
}

/// What became of one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MaintenanceOutcome {
    /// The task.
    pub task: MaintenanceTask,
    /// Whether it was carried out.
    pub done: bool,
    /// What changed, or why it was skipped.
    pub message: String,
}

pub mod follow;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod swap;
