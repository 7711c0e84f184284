//! What a drill says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backup::manifest::RelPath;
use crate::backup::restore::ReachedStore;
use crate::clock::Timestamp;

/// What a drill found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DrillReport {
    /// The snapshot.
    pub snapshot_id: String,
    /// When it was made: what is proven is that the service can be as it was then.
    pub snapshot_time: Option<Timestamp>,
    /// The target whose copy was restored.
    pub target: String,
    /// What the drill proves when it is `ok`.
    pub level: ProofLevel,
    /// Whether the snapshot was restored and stood every test.
    pub ok: bool,
    /// How long it took until the service's files were back, durable, and their databases proven sound, in seconds.
    /// Stopping and starting the service comes on top.
    pub recovery_seconds: f64,
    /// What was done, in order.
    pub steps: Vec<DrillStep>,
    /// What was wrong.
    pub problems: Vec<DrillProblem>,
    /// What to know, and what is no reason to doubt the snapshot.
    pub warnings: Vec<String>,
    /// The databases that were restored.
    pub databases: Vec<DrilledDatabase>,
    /// The moment behind the snapshot that the databases went on to. Nothing where no store is followed, or nothing was stored
    /// since.
    pub moment: Option<DrilledMoment>,
    /// Regular files that were restored.
    pub restored_files: u64,
    /// Bytes of the files' content, as the snapshot has it.
    pub size_bytes: u64,
    /// The folder that keeps the restored copy. Nothing when it was removed.
    pub into: Option<RelPath>,
    /// How long all of it took, in seconds.
    pub duration_seconds: f64,
}

/// How much is known of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProofLevel {
    /// Every stored byte is what was stored. Nobody has looked inside.
    Sealed,
    /// It was restored, and its databases are sound.
    Proven,
}

/// A step of a drill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DrillStep {
    /// Which step.
    pub step: DrillPhase,
    /// Whether nothing was wrong.
    pub ok: bool,
    /// How long it took, in seconds.
    pub duration_seconds: f64,
}

/// The steps of a drill, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DrillPhase {
    /// Finding the snapshot in its target.
    Find,
    /// Reading its index.
    Open,
    /// Restoring its files, until the disk has them.
    Restore,
    /// The integrity of every database.
    Integrity,
    /// The rows of every table, against those of the backup or of the drill before.
    Rows,
    /// Going on to a moment behind the snapshot, and the integrity of the databases there.
    Moment,
    /// The service's migrations on the restored copy.
    Migrate,
    /// Queries that must hold.
    Queries,
    /// The service's own look at the restored copy.
    Command,
}

impl DrillPhase {
    /// Whether it is part of bringing the service back.
    pub(super) fn is_recovery(self) -> bool {
        self <= Self::Integrity
    }

    /// What is being done, for progress.
    pub(super) fn doing(self) -> &'static str {
        match self {
            Self::Find => "finding the snapshot",
            Self::Open => "opening the snapshot",
            Self::Restore => "restoring",
            Self::Integrity => "checking the restored databases",
            Self::Rows => "counting rows",
            Self::Moment => "going on to a moment behind the snapshot",
            Self::Migrate => "migrating the restored copy",
            Self::Queries => "asking the restored databases",
            Self::Command => "letting the service look at the restored copy",
        }
    }
}

/// Something wrong that a drill found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrillProblem {
    /// The step that found it.
    pub step: DrillPhase,
    /// The file or database concerned, relative to the root, when it is one.
    pub path: Option<RelPath>,
    /// What is wrong, for a person.
    pub message: String,
}

/// A database that was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrilledDatabase {
    /// The store's name.
    pub name: String,
    /// Its file, relative to the root.
    pub path: RelPath,
    /// When its copy was taken.
    pub taken_at: Timestamp,
    /// Whether its integrity was checked and found whole.
    pub sound: bool,
    /// The tables whose rows were counted.
    pub tables: Vec<DrilledTable>,
}

/// A table of a restored database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrilledTable {
    /// Its name.
    pub table: String,
    /// Its rows in the restored copy.
    pub rows: u64,
    /// Its rows when the backup was made; nothing where they were not counted.
    pub rows_at_backup: Option<u64>,
}

/// A moment behind a snapshot that its databases went on to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrilledMoment {
    /// The moment: the one that was asked for, or any that is covered.
    pub at: Timestamp,
    /// How far each store that something was committed to came. A database whose checksum is not the one that was noted then is
    /// a problem.
    pub stores: Vec<ReachedStore>,
}
