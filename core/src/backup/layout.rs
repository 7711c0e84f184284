//! What both layouts are to whoever makes a backup: something that takes entries, in the order of the walk.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::archive::{NodeHead, Special};
use super::discover::Database;
use super::manifest::{Manifest, StoreRecord};
use super::meter::Meter;
use super::walk::Found;
use crate::cancel::Scope;
use crate::error::{Error, Result};

/// How a snapshot is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// One standard `.tar.zst` for each snapshot.
    #[default]
    Archive,
    /// Packs that snapshots share: each adds only what changed.
    Repository,
}

impl Layout {
    /// The layout that a setting names.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Archive, Self::Repository].into_iter().find(|layout| layout.name() == name)
    }

    /// The zstd level of what is stored so, unless the settings name one.
    pub fn level(self) -> i32 {
        match self {
            Self::Archive => 3,
            Self::Repository => 1,
        }
    }

    /// Its name in settings and requests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Repository => "repository",
        }
    }
}

/// How much of a copy is read at once.
const BLOCK: usize = 1 << 20;

/// Takes the entries of a snapshot. After an error nothing but dropping it makes sense.
pub(super) trait SnapshotWriter: Send {
    /// Whether it has the content of this file from an earlier run, so that nobody needs to read it.
    fn knows(&mut self, found: &Found) -> bool {
        let _ = found;
        false
    }

    /// Adds the file that [`SnapshotWriter::knows`] was asked for last, and knew.
    fn add_known(&mut self, found: &Found) -> Result<()> {
        Err(Error::internal(format!("nobody knows {:?}", found.path)))
    }

    /// What an earlier run said of a database that has not changed since, and that nobody needs to copy.
    fn knows_database(&mut self, database: &Database) -> Option<StoreRecord> {
        let _ = database;
        None
    }

    /// Adds a database that [`SnapshotWriter::knows_database`] knew.
    fn add_known_database(&mut self, head: NodeHead, database: &Database) -> Result<()> {
        let _ = head;
        Err(Error::internal(format!("nobody knows the database {:?}", database.name)))
    }

    /// Adds an entry without content.
    fn add(&mut self, head: NodeHead, special: Special) -> Result<()>;

    /// Begins a regular file of `size` bytes, `data` being the parts of a sparse one that hold data.
    fn begin_file(&mut self, head: NodeHead, size: u64, data: Option<Vec<(u64, u64)>>) -> Result<()>;

    /// Takes the file's next bytes: those of its data parts.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Ends the file. `valid` says where it ended when it became shorter than announced. `steady` is what it looked like
    /// when all of it was read and nothing of it changed meanwhile.
    fn end_file(&mut self, valid: Option<u64>, steady: Option<&Found>) -> Result<()>;

    /// Adds a database by its consistent copy.
    fn add_database(&mut self, head: NodeHead, copy: &DatabaseCopy<'_>) -> Result<()> {
        stream_copy(self, head, copy)
    }

    /// Says that the database that was added last is whole, and what the manifest says of it.
    fn remember_database(&mut self, database: &Database, record: &StoreRecord) {
        let _ = (database, record);
    }

    /// Ends the snapshot. The manifest's counts are filled in.
    fn finish(self: Box<Self>, manifest: Manifest) -> Result<Finished>;
}

/// A consistent copy of a database.
#[derive(Debug)]
pub(super) struct DatabaseCopy<'a> {
    pub(super) scope: &'a Scope,
    pub(super) database: &'a Database,
    /// The copy.
    pub(super) file: &'a Path,
    /// Bytes of a page, when the driver says so.
    pub(super) page_size: Option<u32>,
}

impl DatabaseCopy<'_> {
    /// Opens the copy; its length.
    pub(super) fn open(&self) -> Result<(std::fs::File, u64)> {
        let file = std::fs::File::open(self.file).map_err(|error| self.unreadable(error))?;
        let len = file.metadata().map_err(|error| self.unreadable(error))?.len();
        Ok((file, len))
    }

    /// Starts to count what is stored of it.
    pub(super) fn meter(&self, len: u64) -> Meter {
        Meter::start(self.scope, format!("storing database {}", self.database.name), Some(len), Some(1))
    }

    /// What is said when the copy cannot be read.
    pub(super) fn unreadable(&self, error: std::io::Error) -> Error {
        Error::io(format!("read the copy {:?}", self.file), error)
    }
}

/// What [`SnapshotWriter::finish`] made.
pub(super) struct Finished {
    /// The manifest as it is stored.
    pub(super) manifest: Manifest,
    /// Bytes that the target got.
    pub(super) stored_bytes: u64,
    /// What makes the next run faster, to be kept when the target has the snapshot.
    pub(super) keep: Option<Box<dyn FnOnce() -> Result<()> + Send>>,
}

/// Adds a database's copy as a file.
pub(super) fn stream_copy(
    writer: &mut (impl SnapshotWriter + ?Sized),
    head: NodeHead,
    copy: &DatabaseCopy<'_>,
) -> Result<()> {
    let (mut source, size) = copy.open()?;
    let mut meter = copy.meter(size);
    writer.begin_file(head, size, None)?;
    let mut buffer = vec![0; BLOCK];
    let mut left = size;
    while left > 0 {
        copy.scope.cancel.check()?;
        let want = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        std::io::Read::read_exact(&mut source, &mut buffer[..want]).map_err(|error| copy.unreadable(error))?;
        writer.write(&buffer[..want])?;
        left -= want as u64;
        meter.bytes(want as u64);
    }
    writer.end_file(None, None)
}
