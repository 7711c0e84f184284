//! What is remembered of databases beside the live one: which were verified, and the swap that can be finished or undone.
//!
//! How far a swap came is not in it: the server knows. A database keeps its number (`oid`) through every rename, so that the
//! numbers in the record and the names on the server tell each state from every other.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, FileLock};

/// The version of [`Record`] that this code writes.
const FORMAT: u32 = 1;
/// Verified databases that are remembered.
const REMEMBERED: usize = 20;

/// A database that was restored and held against its copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store::postgres) struct Verified {
    pub(in crate::store::postgres) system: String,
    pub(in crate::store::postgres) oid: i64,
    pub(in crate::store::postgres) ok: bool,
    pub(in crate::store::postgres) time: Timestamp,
}

/// A swap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Swap {
    /// The server, by its `system_identifier`.
    pub(super) system: String,
    pub(super) live: String,
    /// The number of what was live. `None` where there was none.
    pub(super) old: Option<i64>,
    /// Whether that let people in.
    pub(super) was_open: bool,
    /// What that is called afterwards.
    pub(super) aside: String,
    pub(super) new: i64,
    /// What that was called before.
    pub(super) new_name: String,
    /// Whether it is being taken back.
    pub(super) undoing: bool,
    pub(super) time: Timestamp,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Record {
    format: u32,
    #[serde(default)]
    verified: Vec<Verified>,
    #[serde(default)]
    pub(super) swap: Option<Swap>,
}

/// The record of a store, which this process alone may change while it has this.
#[derive(Debug)]
pub(super) struct Book {
    file: PathBuf,
    _lock: Option<FileLock>,
    pub(super) record: Record,
}

impl Book {
    /// Opens the record of the store `stem` in the state folder, which is made when it is not there; without `writes` it is
    /// looked at alone.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] while another process has it, [`ErrorKind::Unsupported`] for one of a newer version,
    /// [`ErrorKind::Corrupt`] for one that cannot be read.
    pub(super) fn open(state: &Path, stem: &str, writes: bool) -> Result<Self> {
        let folder = state.join("databases");
        let file = folder.join(format!("{stem}.json"));
        if !writes {
            return Ok(Self { record: load(&file)?, file, _lock: None });
        }
        fs::create_dir_all(&folder, fs::PRIVATE_DIR)?;
        let lock = FileLock::try_acquire(&folder.join(format!("{stem}.lock")))?.ok_or_else(|| {
            Error::new(ErrorKind::Busy, "another swap of this database is under way")
                .with_hint("wait until it has ended, then try again")
        })?;
        fs::sweep_partials_of(&file)?;
        Ok(Self { record: load(&file)?, file, _lock: Some(lock) })
    }

    /// Writes the swap down, or that there is none.
    pub(super) fn keep(&mut self, swap: Option<Swap>) -> Result<()> {
        let before = std::mem::replace(&mut self.record.swap, swap);
        self.save().inspect_err(|_| self.record.swap = before)
    }

    /// Writes down that a database was verified.
    pub(super) fn note(&mut self, verified: Verified) -> Result<()> {
        let all = &mut self.record.verified;
        all.retain(|other| (other.oid, &other.system) != (verified.oid, &verified.system));
        all.push(verified);
        let excess = all.len().saturating_sub(REMEMBERED);
        all.drain(..excess);
        self.save()
    }

    /// Whether the database was verified, and how that went.
    pub(super) fn verdict(&self, system: &str, oid: i64) -> Option<bool> {
        let found = self.record.verified.iter().find(|it| it.oid == oid && it.system == system);
        found.map(|it| it.ok)
    }

    fn save(&mut self) -> Result<()> {
        self.record.format = FORMAT;
        let bytes = serde_json::to_vec_pretty(&self.record)
            .map_err(|error| Error::internal(format!("the record of a swap is not JSON: {error}")))?;
        fs::write_atomic(&self.file, fs::PRIVATE_FILE, &bytes)
    }
}

fn load(file: &Path) -> Result<Record> {
    match std::fs::read(file) {
        Ok(bytes) => read(file, &bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Record::default()),
        Err(error) => Err(Error::io(format!("read {file:?}"), error)),
    }
}

fn read(file: &Path, bytes: &[u8]) -> Result<Record> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let damaged = |error: serde_json::Error| {
        Error::new(ErrorKind::Corrupt, format!("the record of swapped databases {file:?} cannot be read"))
            .with_hint("look with psql -l which databases there are, then move the file away")
            .with_source(error)
    };
    let version: Version = serde_json::from_slice(bytes).map_err(damaged)?;
    if version.format > FORMAT {
        let message = format!("{file:?} was written by a newer version of uplifted-ops (format {})", version.format);
        return Err(
            Error::new(ErrorKind::Unsupported, message).with_hint("use that version to finish or undo the swap")
        );
    }
    serde_json::from_slice(bytes).map_err(damaged)
}
