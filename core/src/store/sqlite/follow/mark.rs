//! The read marks: what keeps the log from starting over before it is read.
//!
//! Three connections, each with the room's settings (no checkpoint, ever). One is never in a transaction: it says how long the
//! log is. The others take turns in holding a read transaction, and the older one ends only when everything up to where the
//! younger one began is read and stored, so that at each moment one of these holds
//! (`snapshot` has the locks):
//!
//! - *Read lock k > 0.* Nobody may start the log over: what comes after the mark stays in it.
//! - *Read lock 0.* The log was in the main file completely when the transaction began, and was read. It may start over, but
//!   nobody may write into the main file, so what comes after stays in the log too.
//!
//! A log starts over only when all of it is in the main file and nobody has lock k > 0. That is why the mark moves as soon as
//! the writer rests: the next checkpoint can bring everything into the main file, and the transaction that we begin after it
//! has lock 0. A writer that never rests and checkpoints only at its own commits finds us always one commit behind. Past a limit
//! of the log we therefore let go of everything, and prove by the log's salts what it did meanwhile.

use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::super::Database;
use super::super::blocking::Task;
use super::super::live::{self, LiveFile, sql_error};
use crate::error::{Error, ErrorKind, Result};

/// The first engine with `wal_checkpoint(NOOP)`. An older one would take the word for a checkpoint.
const NOOP_SINCE: i32 = 3_051_000;

/// How long the log is, as its writers know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// The last frame that is committed, and that readers may see.
    pub(super) committed: u32,
    /// Up to which frame the main file has everything.
    pub(super) backfilled: u32,
}

/// A transaction that holds a read lock.
#[derive(Debug, Clone, Copy)]
struct Held {
    slot: usize,
    /// The number of the increment that has everything before it; unknown until that is read.
    covered_by: Option<u64>,
}

/// The connections.
#[derive(Debug)]
pub(super) struct Mark {
    observer: Connection,
    readers: [Connection; 2],
    /// The one that what we read relies on.
    held: Option<Held>,
    /// The one that comes after it.
    next: Option<Held>,
    /// When the last one began, on the monotonic clock.
    pub(super) since: Duration,
}

impl Mark {
    /// Opens them, and holds nothing yet.
    pub(super) fn open(task: &Task, database: &Database, file: &LiveFile) -> Result<Self> {
        if rusqlite::version_number() < NOOP_SINCE {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the engine {} of this build cannot follow a database", rusqlite::version()),
            )
            .with_hint("build with the engine that uplifted-ops brings"));
        }
        let connect = || -> Result<Connection> {
            let connection = live::connect(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            live::patiently(task, database, file, || {
                connection.pragma_update(None, "query_only", true)?;
                // It reads a few pages of the schema and nothing else.
                connection.pragma_update(None, "cache_size", 10)?;
                connection.query_row("PRAGMA schema_version", [], |_| Ok(()))
            })?;
            Ok(connection)
        };
        Ok(Self {
            observer: connect()?,
            readers: [connect()?, connect()?],
            held: None,
            next: None,
            since: Duration::ZERO,
        })
    }

    /// How long the log is. Takes no lock.
    pub(super) fn observe(&self, task: &Task, database: &Database, file: &LiveFile) -> Result<Extent> {
        let (committed, backfilled) = live::patiently(task, database, file, || {
            let mut statement = self.observer.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?;
            statement.query_row([], |row| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))
        })?;
        match (u32::try_from(committed), u32::try_from(backfilled)) {
            (Ok(committed), Ok(backfilled)) => Ok(Extent { committed, backfilled }),
            _ => Err(super::not_wal(&file.path)),
        }
    }

    /// Begins the next transaction, unless there is one that waits for its turn. Says whether.
    pub(super) fn begin(&mut self, task: &Task, database: &Database, file: &LiveFile) -> Result<bool> {
        if self.next.is_some() {
            return Ok(false);
        }
        let slot = self.held.map_or(0, |held| 1 - held.slot);
        let connection = &self.readers[slot];
        live::patiently(task, database, file, || {
            connection.execute_batch("BEGIN")?;
            let read = connection.prepare_cached("PRAGMA schema_version")?.query_row([], |_| Ok(()));
            if read.is_err() {
                let _ = connection.execute_batch("ROLLBACK");
            }
            read
        })?;
        self.next = Some(Held { slot, covered_by: None });
        self.since = task.scope.clock.monotonic();
        Ok(true)
    }

    /// Everything before the one that began last is read, and is in increment `number` and those before it.
    pub(super) fn read_up_to(&mut self, number: u64) {
        if let Some(next) = &mut self.next {
            next.covered_by.get_or_insert(number);
            if self.held.is_none() {
                self.held = self.next.take();
            }
        }
    }

    /// Everything up to increment `number` is stored: the older transaction ends when its turn is over.
    pub(super) fn stored(&mut self, number: u64, file: &LiveFile) -> Result<()> {
        if let (Some(held), Some(next)) = (self.held, self.next)
            && next.covered_by.is_some_and(|covered| covered <= number)
        {
            self.end(held.slot, file)?;
            self.held = self.next.take();
        }
        Ok(())
    }

    /// Whether what comes after what was read cannot go away.
    pub(super) fn protects(&self) -> bool {
        self.held.is_some()
    }

    /// Lets go of everything.
    pub(super) fn release(&mut self, file: &LiveFile) -> Result<()> {
        for held in [self.held.take(), self.next.take()].into_iter().flatten() {
            self.end(held.slot, file)?;
        }
        Ok(())
    }

    fn end(&self, slot: usize, file: &LiveFile) -> Result<()> {
        self.readers[slot].execute_batch("COMMIT").map_err(|e| sql_error("end a read of", &file.path, e))
    }
}
