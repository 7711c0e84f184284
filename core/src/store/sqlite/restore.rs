//! Putting a copy in the place of the database.
//!
//! A process killed at any point leaves the old database or the new one, whole. The new file is written beside
//! and synced first. Then, under the exclusive lock, the old database's log is folded into its main file: without
//! that, removing the `-wal` before the rename would cut the old database short, and removing it after
//! would let it replay over the new one. Only then do the side files go, and the rename decides.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::blocking::Task;
use super::gate::Identity;
use super::header;
use super::holders::{self, Holder};
use super::live::{self, LiveFile, SIDE_SUFFIXES, beside, sql_error};
use super::{CheckDepth, Database, check};
use crate::cancel::ProgressEvent;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, AtomicFile, PRIVATE_DIR, PRIVATE_FILE};
use crate::value::ByteSize;

/// Bytes copied at once.
const BLOCK: usize = 1 << 20;

/// Replaces the database by the copy in `dir`. Owner and mode of the replaced file are kept; a database that was
/// missing is created with mode 0600.
pub(super) fn replace(task: &Task, database: &Database, dir: &Path) -> Result<()> {
    let copy = database.copy_in(dir)?;
    let checked = check::file(task, &copy, CheckDepth::Full)?;
    if let Some(problem) = checked.problems.first() {
        return Err(Error::new(ErrorKind::Corrupt, format!("the copy {copy:?} is damaged: {problem}"))
            .with_hint("restore from another backup"));
    }
    let old = match LiveFile::enter(task, database) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        found => Some(found?),
    };
    let path = old.as_ref().map_or(&database.path, |old| &old.path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent, PRIVATE_DIR)?;
    }
    refuse_if_open(path)?;
    let mut new = write_beside(task, &copy, path)?;
    // From here on it is a matter of milliseconds, and a cancel must not fall between two of them.
    task.check()?;
    task.scope.progress.report(ProgressEvent {
        stage: format!("replacing database {}", database.name),
        done_bytes: 0,
        total_bytes: None,
        done_files: 0,
        total_files: None,
        uninterruptible: true,
    });
    new.sync()?;
    let lock = old.as_ref().map(settle).transpose()?;
    refuse_if_open(path)?;
    for suffix in SIDE_SUFFIXES {
        fs::remove_file(&beside(path, suffix))?;
    }
    let published = new.publish();
    // The lock on the replaced file is held until no path leads to it any more.
    drop(lock);
    published
}

/// Writes the copy to a hidden file beside `path`, with the owner and mode of what is there.
fn write_beside(task: &Task, copy: &Path, path: &Path) -> Result<AtomicFile> {
    let source = File::open(copy).map_err(|e| Error::io(format!("open {copy:?}"), e))?;
    let len = source.metadata().map_err(|e| Error::io(format!("look at {copy:?}"), e))?.len();
    let folder = path.parent().unwrap_or(Path::new("/"));
    let free = fs::space(folder)?.free_bytes;
    if free < len {
        let (needed, free) = (ByteSize(len), ByteSize(free));
        return Err(Error::new(ErrorKind::NoSpace, format!("the database needs {needed}, {folder:?} has {free} free"))
            .with_hint("free space there, then try again"));
    }
    let old = path.metadata().ok();
    let mut new = AtomicFile::create(path, old.as_ref().map_or(PRIVATE_FILE, |old| old.mode() & 0o7777))?;
    let out = new.out()?;
    if let Some(old) = &old {
        let now = out.file().metadata().map_err(|e| Error::io(format!("look at {:?}", out.path()), e))?;
        if (now.uid(), now.gid()) != (old.uid(), old.gid()) {
            out.set_owner(old.uid(), old.gid())?;
            // A change of owner may clear mode bits (chown(2)).
            out.set_mode(old.mode() & 0o7777)?;
        }
    }
    if out.reflink_from(&source)? {
        return Ok(new);
    }
    let mut buffer = vec![0; BLOCK];
    let mut done = 0;
    loop {
        task.check()?;
        let read =
            header::read_fully_at(&source, &mut buffer, done).map_err(|e| Error::io(format!("read {copy:?}"), e))?;
        if read == 0 {
            return Ok(new);
        }
        out.write_all_at(&buffer[..read], done)?;
        done += read as u64;
    }
}

/// Takes the old database exclusively and makes its main file whole without its side files. The lock is held
/// as long as the connection lives. `None` when it is too damaged for the engine: then nothing of it counts.
fn settle(old: &LiveFile) -> Result<Option<Connection>> {
    let connection = live::connect(old, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let fold = || -> rusqlite::Result<bool> {
        connection.busy_timeout(Duration::ZERO)?;
        connection.query_row("PRAGMA locking_mode=EXCLUSIVE", [], |_| Ok(()))?;
        connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
        let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))?;
        Ok(busy == 0)
    };
    match fold() {
        Ok(true) => Ok(Some(connection)),
        Ok(false) => Err(in_use(&old.path, &holders::lockers(&old.lockable()))),
        Err(error) if live::is_busy(&error) => Err(in_use(&old.path, &holders::lockers(&old.lockable()))),
        Err(error)
            if matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)) =>
        {
            Ok(None)
        }
        Err(error) => Err(sql_error("lock", &old.path, error)),
    }
}

/// Refuses while another process has the database, or a file beside it, open. A lock would not tell: a process
/// that is idle in rollback mode holds none, and would go on writing to the replaced file.
fn refuse_if_open(path: &Path) -> Result<()> {
    let names = SIDE_SUFFIXES.iter().map(|suffix| beside(path, suffix)).chain([path.to_owned()]);
    let mut files: Vec<Identity> = Vec::new();
    for name in names.collect::<Vec<PathBuf>>() {
        files.extend(fs::identity(&name)?);
    }
    let holders = holders::openers(&files);
    if holders.is_empty() { Ok(()) } else { Err(in_use(path, &holders)) }
}

fn in_use(path: &Path, holders: &[Holder]) -> Error {
    let who = holders::sentence(holders);
    Error::new(ErrorKind::Refused, format!("database {path:?} is open in another process{who}"))
        .with_hint("stop the service first, then restore")
}
