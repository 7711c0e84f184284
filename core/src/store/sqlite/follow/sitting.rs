//! The connections and descriptors through which a database is followed.

use super::super::blocking::Task;
use super::super::header::Header;
use super::super::live::LiveFile;
use super::super::reading::Reading;
use super::super::{Database, live};
use super::hashes::Table;
use super::mark::Mark;
use super::scan::{self, Whole};
use super::wal::{Head, Log, Place};
use crate::error::{Error, ErrorKind, Result};
use crate::fs;

/// All of them. Dropped in this order: the connections, then the descriptors, then the gate.
pub(super) struct Sitting {
    pub(super) mark: Mark,
    pub(super) main: Reading,
    pub(super) log: Log,
    pub(super) file: LiveFile,
    pub(super) page_size: u32,
    /// How long the log's file was in this pass of it, in bytes.
    pub(super) longest: u64,
}

impl Sitting {
    /// Opens them.
    ///
    /// # Errors
    /// Those of [`LiveFile::find`]; [`ErrorKind::Refused`] for a database that is not in WAL mode;
    /// [`ErrorKind::Unavailable`] for an empty one.
    pub(super) fn open(task: &Task, database: &Database) -> Result<Self> {
        let file = LiveFile::find(task, database)?;
        // Here no connection of this process can lose its locks by it.
        let page_size = page_size(&file)?;
        let mark = Mark::open(task, database, &file)?;
        let main = Reading::open(&file.path)?;
        let log = Log::open(&file.wal)?;
        let sitting = Self { mark, main, log, file, page_size, longest: 0 };
        sitting.require_files()?;
        Ok(sitting)
    }

    /// The database and its log are the files that are open. A log that was removed under our lock means that the lock is gone.
    pub(super) fn require_files(&self) -> Result<()> {
        self.file.still_there()?;
        if fs::identity(&self.file.wal)? == Some(self.log.identity()?) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unavailable, format!("the log of database {:?} was removed", self.file.path))
            .with_hint("let only SQLite touch -wal files"))
    }

    /// Bytes of the log up to `place`.
    pub(super) fn log_bytes(&self, place: &Place) -> u64 {
        match self.log.head() {
            Ok(Head::Is(header)) => header.end_of(place.frame),
            _ => 0,
        }
    }

    /// The hashes of the whole database, and where the log ends in that state.
    pub(super) fn table(&self, task: &Task, database: &Database) -> Result<(Table, Place)> {
        let whole = Whole { main: &self.main, log: &self.log, path: &self.file.path };
        scan::table(&whole, task, || self.mark.observe(task, database, &self.file))
    }

    /// Closes them, and leaves nothing beside a database that nobody else has open.
    pub(super) fn close(self) {
        let Self { mark, main, log, file, .. } = self;
        drop(mark);
        drop((main, log));
        live::tidy(&file);
    }
}

/// The size of the pages of a database in WAL mode, in bytes. To be asked while no connection is open.
fn page_size(file: &LiveFile) -> Result<u32> {
    let opened = std::fs::File::open(&file.path).map_err(|e| Error::io(format!("open database {:?}", file.path), e))?;
    match Header::read(&opened, &file.path)? {
        Some(header) if header.wal => Ok(header.page_size),
        Some(_) => Err(super::not_wal(&file.path)),
        None => Err(Error::new(ErrorKind::Unavailable, format!("database {:?} is empty", file.path))
            .with_hint("nothing needs to be done: it is followed from its first table on")),
    }
}
