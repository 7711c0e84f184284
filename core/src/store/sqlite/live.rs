//! Connections to the live database.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use super::blocking::Task;
use super::gate::{Gate, Identity};
use super::header::Header;
use super::{Database, holders};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::fs;

/// What SQLite adds to a database's name for the files beside it.
pub(super) const SIDE_SUFFIXES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The engine's own wait for a lock. Ours is many of these, so that a cancel is seen between two.
const BUSY_SLICE: Duration = Duration::from_millis(100);

/// `path` with `suffix` appended to its last component.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// A database file that exists, found and peeked at, with this process's gate to it.
#[derive(Debug)]
pub(super) struct LiveFile {
    /// Its real name: the engine puts the side files beside what a symlink points to.
    pub(super) path: PathBuf,
    pub(super) wal: PathBuf,
    pub(super) shm: PathBuf,
    pub(super) journal: PathBuf,
    pub(super) identity: Identity,
    /// Bytes of the main file when it was found.
    pub(super) main_bytes: u64,
    /// Whether there was a `-wal` before we came.
    had_wal: bool,
    _gate: Gate,
}

impl LiveFile {
    /// Finds the database and refuses, by name, what is none, before any connection is opened.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when missing, [`ErrorKind::InvalidInput`] for a directory or device,
    /// [`ErrorKind::Denied`] when unreadable, and those of [`Header::read`].
    pub(super) fn find(task: &Task, database: &Database) -> Result<Self> {
        let found = Self::enter(task, database)?;
        // Opened and closed here, where no connection of this process can lose its locks by it.
        let file = File::open(&found.path).map_err(|e| Error::io(format!("open database {:?}", found.path), e))?;
        let header = Header::read(&file, &found.path)?;
        if header.is_none() {
            found.refuse_orphaned_log()?;
        }
        Ok(found)
    }

    /// Finds the database without looking into it: a restore may replace what is damaged or foreign.
    pub(super) fn enter(task: &Task, database: &Database) -> Result<Self> {
        let named = &database.path;
        let look = || std::fs::metadata(named).map_err(|e| missing(database, e));
        let meta = look()?;
        if !meta.is_file() {
            let what = if meta.is_dir() { "a folder" } else { "a device, pipe or socket" };
            return Err(Error::invalid(format!("database {named:?} is {what}"))
                .with_hint("point `path` at the database file itself"));
        }
        let gate = Gate::enter(task, (meta.dev(), meta.ino()))?;
        let path = named.canonicalize().map_err(|e| missing(database, e))?;
        let now = look()?;
        if (now.dev(), now.ino()) != (meta.dev(), meta.ino()) {
            return Err(replaced(&path));
        }
        let wal = beside(&path, "-wal");
        Ok(Self {
            had_wal: fs::identity(&wal)?.is_some(),
            shm: beside(&path, "-shm"),
            journal: beside(&path, "-journal"),
            identity: (now.dev(), now.ino()),
            main_bytes: now.len(),
            wal,
            path,
            _gate: gate,
        })
    }

    /// Bytes of the log beside the database: the `-wal`, or else the `-journal`.
    pub(super) fn log_bytes(&self) -> u64 {
        [&self.wal, &self.journal].into_iter().filter_map(|log| log.metadata().ok()).map(|meta| meta.len()).sum()
    }

    /// The files on which the engine takes locks, those that exist.
    pub(super) fn lockable(&self) -> Vec<Identity> {
        let shm = fs::identity(&self.shm).ok().flatten();
        std::iter::once(self.identity).chain(shm).collect()
    }

    /// Fails unless the path still names the file that was found.
    pub(super) fn still_there(&self) -> Result<()> {
        if fs::identity(&self.path)? == Some(self.identity) { Ok(()) } else { Err(replaced(&self.path)) }
    }

    /// The engine deletes the log of an empty database when it reads, and with it what may be all that is left.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] where the log is the journal of a first transaction, which nothing was lost with;
    /// [`ErrorKind::Corrupt`] for every other log.
    fn refuse_orphaned_log(&self) -> Result<()> {
        let bytes = self.log_bytes();
        if bytes == 0 {
            return Ok(());
        }
        if fs::identity(&self.wal)?.is_none() && begins_a_database(&self.journal)? {
            return Err(Error::new(
                ErrorKind::Busy,
                format!("database {:?} is empty, and its first transaction is not committed", self.path),
            )
            .with_hint("try again when it is; where no process writes it any more, start the service once"));
        }
        Err(Error::new(
            ErrorKind::Corrupt,
            format!("database {:?} is empty, but its log beside it holds {bytes} bytes", self.path),
        )
        .with_hint("keep the log as it is, and restore the database from a backup"))
    }
}

/// Whether a rollback journal is that of a database which had no page before. Its header says so from the start:
/// magic and record count are zeros until it is synced, the nonce, the pages that there were and the sector size are
/// not (<https://www.sqlite.org/fileformat2.html#the_rollback_journal>). One of zeros alone is a journal that its transaction
/// is done with (`journal_mode=PERSIST`).
fn begins_a_database(journal: &Path) -> Result<bool> {
    const LEN: usize = 28;
    let mut header = Vec::with_capacity(LEN);
    let read = File::open(journal).and_then(|file| file.take(LEN as u64).read_to_end(&mut header));
    match read {
        // It was ended meanwhile: whoever asks again finds a database.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        other => other.map_err(|e| Error::io(format!("read journal {journal:?}"), e))?,
    };
    // Shorter, it is being written.
    Ok(header.len() < LEN || (header[16..20] == [0; 4] && header.iter().any(|byte| *byte != 0)))
}

fn missing(database: &Database, error: std::io::Error) -> Error {
    let missing = error.kind() == std::io::ErrorKind::NotFound;
    let error = Error::io(format!("find database {:?}", database.path), error);
    if missing { error.with_hint("correct `path` of the store, or start the service once to create it") } else { error }
}

fn replaced(path: &Path) -> Error {
    Error::new(ErrorKind::Busy, format!("database {path:?} was replaced by another file meanwhile"))
        .with_hint("try again when whoever replaces it is done")
}

/// A read transaction on the live database, with its locks in place.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) connection: Connection,
    /// The moment just before the locks were taken: everything committed until then is visible.
    pub(super) since: Timestamp,
}

impl Reader {
    /// Opens a read-only connection and starts a read transaction that really holds its locks: `BEGIN` alone
    /// takes none, the first read does.
    ///
    /// Read-only suffices for everything but one case. The engine still creates a missing `-wal` and `-shm`,
    /// and recovers the `-shm` of a writer that was killed, because it opens those two by themselves. A hot
    /// rollback journal, though, must be rolled back into the main file: for that the connection is
    /// opened again, for writing, and with `query_only`.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] with the processes that hold the lock, past `busy_timeout_seconds`.
    pub(super) fn begin(task: &Task, database: &Database, file: &LiveFile) -> Result<Self> {
        let begin = |flags| -> Result<Self> {
            let connection = connect(file, flags)?;
            task.watch(&connection);
            connection.pragma_update(None, "query_only", true).map_err(|e| sql_error("prepare", &file.path, e))?;
            let mut since = task.scope.clock.now();
            patiently(task, database, file, || {
                since = task.scope.clock.now();
                connection.execute_batch("BEGIN")?;
                // A value of page 1: it needs no schema, so that a damaged one can still be copied and reported.
                let read = connection.query_row("PRAGMA schema_version", [], |_| Ok(()));
                if read.is_err() {
                    let _ = connection.execute_batch("ROLLBACK");
                }
                read
            })?;
            Ok(Self { connection, since })
        };
        let reader = match begin(OpenFlags::SQLITE_OPEN_READ_ONLY) {
            Err(error) if is_hot_journal(&error) => begin(OpenFlags::SQLITE_OPEN_READ_WRITE)?,
            other => other?,
        };
        file.still_there()?;
        Ok(reader)
    }

    /// Ends the transaction and closes the connection, without a checkpoint.
    pub(super) fn close(self) {
        // Nothing was written: there is nothing that closing could fail to do.
        let _ = self.connection.close();
    }
}

/// Opens the live database with the settings that every connection of ours has: no checkpoint ever, short
/// waits. `flags` is read-only or read-write; nothing is ever created.
pub(super) fn connect(file: &LiveFile, flags: OpenFlags) -> Result<Connection> {
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(&file.path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY_SLICE)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.query_row("PRAGMA wal_autocheckpoint=0", [], |_| Ok(()))?;
        Ok(connection)
    };
    open().map_err(|e| sql_error("open", &file.path, e))
}

/// Repeats `attempt` while it fails busy, for the store's `busy_timeout_seconds`. Counted in waits of the engine, not on a
/// clock: one that a test holds still would wait for ever.
pub(super) fn patiently<T>(
    task: &Task,
    database: &Database,
    file: &LiveFile,
    mut attempt: impl FnMut() -> rusqlite::Result<T>,
) -> Result<T> {
    let attempts = database.busy_timeout.as_millis().div_ceil(BUSY_SLICE.as_millis()).max(1);
    for _ in 0..attempts {
        task.check()?;
        match attempt() {
            Err(error) if is_busy(&error) => {}
            Err(error) => return Err(sql_error("read", &file.path, error)),
            Ok(value) => return Ok(value),
        }
    }
    let holders = holders::sentence(&holders::lockers(&file.lockable()));
    Err(Error::new(
        ErrorKind::Busy,
        format!("database {:?} stayed locked for {} s{holders}", file.path, database.busy_timeout.as_secs_f64()),
    )
    .with_hint("try again when the writer is done, raise `busy_timeout_seconds`, or leave locking_mode=EXCLUSIVE"))
}

/// Removes the `-wal` and `-shm` that our connection had to create beside a database that nobody has open.
///
/// It does what the engine does at the last close, less the checkpoint: under the exclusive lock on the main
/// file no other connection exists or can come, and a `-wal` of 0 bytes holds nothing. Whenever anything is
/// different the files stay; they are harmless, and the next process to close the database removes them.
pub(super) fn tidy(file: &LiveFile) {
    let empty_log = || file.wal.symlink_metadata().is_ok_and(|meta| meta.is_file() && meta.len() == 0);
    if file.had_wal || !empty_log() {
        return;
    }
    let remove = || -> Result<()> {
        let connection = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let lock = || -> rusqlite::Result<()> {
            connection.busy_timeout(Duration::ZERO)?;
            // In this mode the first read takes the exclusive lock, and the index lives in our memory, not in `-shm`.
            connection.query_row("PRAGMA locking_mode=EXCLUSIVE", [], |_| Ok(()))?;
            connection.query_row("PRAGMA schema_version", [], |_| Ok(()))
        };
        lock().map_err(|e| sql_error("lock", &file.path, e))?;
        file.still_there()?;
        if empty_log() {
            fs::remove_file(&file.shm)?;
            fs::remove_file(&file.wal)?;
        }
        Ok(())
    };
    // Busy means that the host has come back: then the files are the host's.
    let _ = remove();
}

/// Whether somebody else's lock is in the way, and waiting can help.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed)
    )
}

fn is_hot_journal(error: &Error) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<rusqlite::Error>())
        .and_then(rusqlite::Error::sqlite_error)
        .is_some_and(|error| error.extended_code == ffi::SQLITE_READONLY_ROLLBACK)
}

/// An error of the engine about the database at `path`; `doing` completes "could not …".
pub(super) fn sql_error(doing: impl Display, path: &Path, error: rusqlite::Error) -> Error {
    const GRANT: &str = "run as the user that owns the database; its folder must be writable too, for -wal and -shm";
    let (kind, hint) = match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => {
            return Error::new(ErrorKind::Cancelled, "cancelled by the caller").with_source(error);
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
            (ErrorKind::Busy, "try again when the writer is done, or raise `busy_timeout_seconds`")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => (ErrorKind::Denied, GRANT),
        Some(ErrorCode::DatabaseCorrupt) => (ErrorKind::Corrupt, "restore the database from a backup"),
        Some(ErrorCode::NotADatabase) => (ErrorKind::Unsupported, "point `path` at an unencrypted database file"),
        Some(ErrorCode::DiskFull) => (ErrorKind::NoSpace, "free space on that filesystem, then try again"),
        Some(ErrorCode::SystemIoFailure) => {
            (ErrorKind::Unavailable, "the device or filesystem reported a failure: look at the kernel's log")
        }
        Some(ErrorCode::OutOfMemory) => (ErrorKind::Unavailable, "free memory, then try again"),
        _ => (ErrorKind::Internal, "this is a defect of uplifted-ops: please report it with this message"),
    };
    Error::new(kind, format!("could not {doing} database {path:?}: {}", plain(&error)))
        .with_hint(hint)
        .with_source(error)
}

/// The engine's own words.
pub(super) fn plain(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        other => other.to_string(),
    }
}
