//! Taking a consistent copy of a live database.
//!
//! # Why main file, then `-wal`, under a held read transaction, is consistent
//!
//! The read transaction of a WAL database holds the shared lock on the main file and one of the read locks
//! on the `-shm` (<https://www.sqlite.org/walformat.html#locks>).
//!
//! - *Shared lock on the main file.* Nobody can take it exclusively, so no last close deletes the `-wal`, and
//!   nobody leaves WAL mode, until we let go.
//! - *Read lock k > 0, the usual case.* A checkpoint may write into the main file while we copy it, but only
//!   pages from frames up to our read mark; and nobody may start the log over. So whatever mixture of old, new
//!   and torn pages we copy, each page in doubt is in the `-wal` that we copy afterwards, and replaying it settles all.
//! - *Read lock 0, when the whole log was in the main file already.* No checkpoint may write into the main
//!   file: it stands still. But a writer may start the log over, and a copy taken across that moment could
//!   begin with old frames and lack the newer ones of the same pages: replayed over the main file they
//!   would turn pages back. A new log writes its header before its first frame, so: the header is read before
//!   and after the copy, and a copy across a change is thrown away. With no checkpoint possible the log
//!   starts over at most twice under our lock, and a second or third copy is stable.
//! - *The tail.* Frames are appended, and those after the last commit rewritten, while we copy. Their checksums form a
//!   chain, and recovery stops at the last commit whose chain is whole. Frames committed before our read mark never change.
//!
//! # Without WAL
//!
//! The shared lock alone keeps every writer from the main file, so it stands still, and nothing else is
//! copied: a `-journal` beside it belongs to a writer who waits. Because he waits, the copy is bounded.
//!
//! # Descriptors
//!
//! Those that we copy through are opened after the transaction has begun, and closed after its connection is:
//! see [`Source`], whose fields are dropped in that order.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::blocking::Task;
use super::header::{self, Header};
use super::live::{self, LiveFile, Reader, sql_error};
use super::reading::{Block, Reading};
use super::{Database, StoreSnapshot};
use crate::cancel::ProgressEvent;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, OutFile, PRIVATE_FILE, Space};
use crate::value::ByteSize;

/// Bytes read and written at once.
const BLOCK: usize = 1 << 20;
/// How many threads read: one alone leaves the device idle between two blocks.
const LANES: u64 = 2;
/// How many blocks each has.
const AHEAD: usize = 2;
/// How often the log is copied before its restlessness is called busy.
const WAL_ATTEMPTS: usize = 5;

/// Where tests take part in a copy. Nothing hangs here otherwise.
#[derive(Clone, Default)]
pub(super) struct Seams {
    /// Called at each moment, on the copying thread.
    pub(super) at: Option<Arc<dyn Fn(Moment) + Send + Sync>>,
    /// Answers for the free space of a folder.
    pub(super) space: Option<Arc<AskSpace>>,
}

/// Says how much room a folder has.
type AskSpace = dyn Fn(&Path) -> Result<Space> + Send + Sync;

/// A moment of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// A block of the main file was copied; the number counts from 0.
    MainBlock(u64),
    /// The main file is copied, the log is next.
    BetweenCopies,
    /// A block of the log was copied.
    WalBlock(u64),
    /// Everything is copied; the locks are still held.
    Copied,
}

impl fmt::Debug for Seams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seams").finish_non_exhaustive()
    }
}

impl Seams {
    fn at(&self, moment: Moment) {
        if let Some(at) = &self.at {
            at(moment);
        }
    }

    fn space(&self, path: &Path) -> Result<Space> {
        self.space.as_ref().map_or_else(|| fs::space(path), |space| space(path))
    }
}

/// Copies the database into the empty folder `dir`.
pub(super) fn take(task: &Task, database: &Database, dir: &Path) -> Result<StoreSnapshot> {
    require_empty(dir)?;
    let file = LiveFile::find(task, database)?;
    let disk = Disk::prepare(database, &file, dir)?;
    let copy = Copy::into(dir, database);
    let copied = Source::open(task, database, &file).and_then(|source| {
        let held_since = source.held_since;
        Copier { task, database, file: &file, disk, held_since }.run(&source, &copy)?;
        Ok(source.close())
    });
    live::tidy(&file);
    // Others may come near the database while the copy is recovered.
    drop(file);
    let taken_at = copied?;
    copy.recover(task)?;
    let (details, size_bytes) = copy.describe()?;
    copy.keep();
    Ok(StoreSnapshot { files: vec![PathBuf::from(&database.copy_name)], size_bytes, taken_at, details })
}

fn require_empty(dir: &Path) -> Result<()> {
    let mut entries = std::fs::read_dir(dir).map_err(|e| Error::io(format!("read folder {dir:?}"), e))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => {
            Err(Error::invalid(format!("folder {dir:?} for the copy is not empty")).with_hint("name an empty folder"))
        }
    }
}

/// The live database, open and locked. Dropped in this order: the connection, then the descriptors.
struct Source {
    reader: Reader,
    main: Reading,
    /// The log, in WAL mode.
    wal: Option<Reading>,
    /// When the locks were taken, on the monotonic clock.
    held_since: Duration,
}

impl Source {
    fn open(task: &Task, database: &Database, file: &LiveFile) -> Result<Self> {
        let reader = Reader::begin(task, database, file)?;
        let held_since = task.scope.clock.monotonic();
        // Together in one struct at once, so that an early return drops them in the right order too.
        let main = Reading::open(&file.path)?;
        let mut source = Self { reader, main, wal: None, held_since };
        if identity(source.main.file(), &file.path)? != file.identity {
            return file.still_there().and(Err(Error::internal(format!("{:?} is not the file it names", file.path))));
        }
        // The engine goes by the header, but also opens a `-wal` that it finds beside a header of the other mode.
        let wal_mode = Header::read(source.main.file(), &file.path)?.is_some_and(|header| header.wal);
        if wal_mode || file.wal.exists() {
            source.wal = Some(Reading::open_cached(&file.wal)?);
        }
        Ok(source)
    }

    /// The locks are held, as far as can be seen from outside: a `-wal` that was removed or replaced means that
    /// somebody closed a descriptor of the database in this process, and with it our locks.
    fn require_locks(&self, file: &LiveFile) -> Result<()> {
        file.still_there()?;
        let Some(wal) = &self.wal else { return Ok(()) };
        if fs::identity(&file.wal)? == Some(identity(wal.file(), &file.wal)?) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("the log of database {:?} was removed while it was copied under a lock", file.path),
        )
        .with_hint("something in this process, or no process at all, removed it: let only SQLite touch -wal files"))
    }

    /// Releases the locks, then the descriptors. Returns the moment that the copy shows.
    fn close(self) -> Timestamp {
        let Self { reader, main, wal, .. } = self;
        let since = reader.since;
        reader.close();
        drop((main, wal));
        since
    }
}

fn identity(file: &File, path: &Path) -> Result<(u64, u64)> {
    let meta = file.metadata().map_err(|e| Error::io(format!("look at {path:?}"), e))?;
    Ok((meta.dev(), meta.ino()))
}

/// The space that the copy takes and that the log may take meanwhile.
#[derive(Debug)]
struct Disk {
    /// The database's own folder.
    folder: PathBuf,
    /// Bytes of the log before the copy.
    log_bytes: u64,
    /// Whether the copy goes to the same disk.
    shared: bool,
}

impl Disk {
    /// Refuses before anything is written when the copy cannot fit.
    fn prepare(database: &Database, file: &LiveFile, dir: &Path) -> Result<Self> {
        let log_bytes = file.log_bytes();
        let needed = (file.main_bytes + log_bytes).saturating_add((file.main_bytes + log_bytes) / 10);
        let shared = fs::identity(dir)?.map(|(device, _)| device) == Some(file.identity.0);
        let reserve = if shared { database.keep_free_bytes } else { 0 };
        let free = database.seams.space(dir)?.free_bytes;
        if free < needed.saturating_add(reserve) {
            let kept = if reserve > 0 { format!(" and {} to stay free", ByteSize(reserve)) } else { String::new() };
            return Err(Error::new(
                ErrorKind::NoSpace,
                format!(
                    "a copy of database {:?} needs {}{kept}, {dir:?} has {} free",
                    file.path,
                    ByteSize(needed),
                    ByteSize(free)
                ),
            )
            .with_context("needed_bytes", needed.saturating_add(reserve))
            .with_context("free_bytes", free)
            .with_hint("free space there, or name a folder on another disk"));
        }
        let folder = file.path.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Self { folder, log_bytes, shared })
    }

    /// Gives up when the log, which cannot shrink while we read, is about to fill the database's disk.
    fn watch(&self, database: &Database, file: &LiveFile) -> Result<()> {
        let free = database.seams.space(&self.folder)?.free_bytes;
        if free >= database.keep_free_bytes || !(self.shared || file.log_bytes() > self.log_bytes) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::NoSpace,
            format!(
                "the disk of database {:?} is down to {} free while its log grows, less than the {} to stay free",
                file.path,
                ByteSize(free),
                ByteSize(database.keep_free_bytes)
            ),
        )
        .with_context("free_bytes", free)
        .with_hint("free space on the database's disk, or lower `keep_free_bytes`"))
    }
}

/// Copies under the locks.
struct Copier<'a> {
    task: &'a Task,
    database: &'a Database,
    file: &'a LiveFile,
    disk: Disk,
    held_since: Duration,
}

impl Copier<'_> {
    fn run(&self, source: &Source, copy: &Copy) -> Result<()> {
        self.main(source, copy)?;
        self.database.seams.at(Moment::BetweenCopies);
        if let Some(wal) = &source.wal {
            self.wal(wal, copy)?;
        }
        self.database.seams.at(Moment::Copied);
        source.require_locks(self.file)
    }

    fn main(&self, source: &Source, copy: &Copy) -> Result<()> {
        let out = OutFile::create_new(&copy.main, PRIVATE_FILE)?;
        let len =
            source.main.file().metadata().map_err(|e| Error::io(format!("look at {:?}", self.file.path), e))?.len();
        // A test that takes part wants to see blocks, on whatever filesystem it runs.
        if self.database.seams.at.is_none() && out.reflink_from(source.main.file())? {
            self.report(len, len);
            return self.task.check();
        }
        let bounded = source.wal.is_none();
        self.bytes(&source.main, &out, len, |copier, block| {
            copier.database.seams.at(Moment::MainBlock(block));
            if bounded { copier.bound(block, len) } else { Ok(()) }
        })
    }

    /// Copies the log until a copy was not crossed by a new beginning.
    fn wal(&self, wal: &Reading, copy: &Copy) -> Result<()> {
        let path = &self.file.wal;
        for _ in 0..WAL_ATTEMPTS {
            fs::remove_file(&copy.wal)?;
            // No header: every commit is in the main file, which stands still.
            let Some(before) = header::read_wal(wal.file(), path)? else { return Ok(()) };
            let out = OutFile::create_new(&copy.wal, PRIVATE_FILE)?;
            let len = wal.file().metadata().map_err(|e| Error::io(format!("look at {path:?}"), e))?.len();
            let len = header::used_len(wal.file(), &before, len, path)?;
            self.bytes(wal, &out, len, |copier, block| {
                copier.database.seams.at(Moment::WalBlock(block));
                Ok(())
            })?;
            if header::read_wal(wal.file(), path)? == Some(before) {
                return Ok(());
            }
        }
        Err(Error::new(ErrorKind::Busy, format!("the log {path:?} started over during each of {WAL_ATTEMPTS} copies"))
            .with_hint("try again; let the service checkpoint less often"))
    }

    /// Copies `len` bytes, fewer where the file ends before. `between` is called after each block.
    ///
    /// Threads of their own read ahead, every other block each: they wait for the device while this one fills the page cache.
    fn bytes(&self, from: &Reading, to: &OutFile, len: u64, between: impl Fn(&Self, u64) -> Result<()>) -> Result<()> {
        // Whatever ends this closure ends the channels, and with them the threads.
        std::thread::scope(move |threads| {
            let mut lanes = Vec::new();
            for lane in 0..LANES {
                let (fill, to_fill) = mpsc::channel::<Block>();
                let (filled, blocks) = mpsc::channel();
                for _ in 0..AHEAD {
                    let _ = fill.send(Block::new(BLOCK));
                }
                let reading = move || {
                    let mut at = lane * BLOCK as u64;
                    while at < len
                        && let Ok(mut buffer) = to_fill.recv()
                    {
                        let want = BLOCK.min(usize::try_from(len - at).unwrap_or(BLOCK));
                        let read = from.read(&mut buffer, want, at);
                        let whole = read.as_ref().is_ok_and(|read| *read == want);
                        at += LANES * BLOCK as u64;
                        if filled.send(read.map(|read| (buffer, read))).is_err() || !whole {
                            break;
                        }
                    }
                };
                std::thread::Builder::new()
                    .name("copy".to_owned())
                    .spawn_scoped(threads, reading)
                    .map_err(|e| Error::io("start a thread", e))?;
                lanes.push((fill, blocks));
            }
            let (mut done, mut number) = (0, 0);
            // A lane ends where the file does: what the other one read beyond is nothing.
            while let (fill, blocks) = &lanes[(number % LANES) as usize]
                && let Ok(block) = blocks.recv()
            {
                self.task.check()?;
                self.disk.watch(self.database, self.file)?;
                let (mut buffer, read) =
                    block.map_err(|e| Error::io(format!("read database {:?}", self.file.path), e))?;
                to.write_all_at(&buffer.bytes()[..read], done)?;
                between(self, number)?;
                done += read as u64;
                number += 1;
                self.report(done, len);
                if read < BLOCK {
                    break;
                }
                let _ = fill.send(buffer);
            }
            Ok(())
        })
    }

    /// Fails when the writers of a database without WAL have waited long enough.
    fn bound(&self, block: u64, len: u64) -> Result<()> {
        let held = self.task.scope.clock.monotonic().saturating_sub(self.held_since);
        if held <= self.database.rollback_copy {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Timeout,
            format!(
                "copying database {:?} ({}) kept its writers waiting for {} s, and was given up after {}",
                self.file.path,
                ByteSize(len),
                self.database.rollback_copy.as_secs_f64(),
                ByteSize((block + 1) * BLOCK as u64)
            ),
        )
        .with_retryable(false)
        .with_hint("switch the database to WAL (PRAGMA journal_mode=WAL), or raise `rollback_copy_seconds`"))
    }

    fn report(&self, done: u64, total: u64) {
        self.task.scope.progress.report(ProgressEvent {
            stage: format!("copying database {}", self.database.name),
            done_bytes: done,
            total_bytes: Some(total.max(done)),
            done_files: 0,
            total_files: None,
            uninterruptible: false,
        });
    }
}

/// The copy, removed when dropped unless it is kept.
struct Copy {
    main: PathBuf,
    wal: PathBuf,
    kept: bool,
}

impl Copy {
    fn into(dir: &Path, database: &Database) -> Self {
        let main = dir.join(&database.copy_name);
        Self { wal: live::beside(&main, "-wal"), main, kept: false }
    }

    /// Replays the copied log into the copy, so that one file is left. Its header keeps the journal mode.
    fn recover(&self, task: &Task) -> Result<()> {
        if !self.wal.exists() {
            return Ok(());
        }
        task.check()?;
        let recover = || -> rusqlite::Result<()> {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(&self.main, flags)?;
            task.watch(&connection);
            // Nobody else has it: the index stays in memory. Whoever publishes the copy syncs it.
            connection.query_row("PRAGMA locking_mode=EXCLUSIVE", [], |_| Ok(()))?;
            connection.pragma_update(None, "synchronous", "OFF")?;
            match connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)) {
                // A damaged schema stops the pragma, which wants to read it, but not the checkpoint of a last close.
                Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseCorrupt) => {
                    connection.query_row("PRAGMA schema_version", [], |_| Ok(()))?;
                }
                other => drop(other?),
            }
            connection.close().map_err(|(_, error)| error)
        };
        recover().map_err(|e| sql_error("recover the copy of", &self.main, e))?;
        match self.wal.metadata() {
            Ok(meta) if meta.len() > 0 => Err(Error::new(
                ErrorKind::Corrupt,
                format!("the log of the copy {:?} could not be replayed", self.main),
            )
            .with_hint("check the free space there; then verify the database")),
            _ => fs::remove_file(&self.wal),
        }
    }

    fn describe(&self) -> Result<(serde_json::Map<String, serde_json::Value>, u64)> {
        let file = File::open(&self.main).map_err(|e| Error::io(format!("open {:?}", self.main), e))?;
        let size = file.metadata().map_err(|e| Error::io(format!("look at {:?}", self.main), e))?.len();
        let mut details = Header::read(&file, &self.main)?.map(|header| header.details()).unwrap_or_default();
        details.insert("engine_version".to_owned(), rusqlite::version().into());
        Ok((details, size))
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if !self.kept {
            for path in [&self.main, &self.wal] {
                let _ = fs::remove_file(path);
            }
            for suffix in ["-shm", "-journal"] {
                let _ = fs::remove_file(&live::beside(&self.main, suffix));
            }
        }
    }
}
