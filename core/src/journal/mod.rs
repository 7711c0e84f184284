//! The append-only record of what was done.
//!
//! `<state>/journal/` holds segments, `00000001.jsonl` and up, of one JSON line a record. Any number of
//! processes append at once: a record is one `O_APPEND` write, and nothing is held open or locked in between,
//! so a fork or a crash leaves nothing behind but, at worst, one torn line. Each line carries a checksum of
//! its record; a line that does not match is skipped and counted, and never hides the ones after it.
//!
//! ```text
//! {"sum":"9f86d081884c7d65","record":{"time":"2025-10-28T02:00:00Z","operation":"backup.create",…}}
//! ```
//!
//! `sum` is the first 16 hexadecimal digits of the BLAKE3 hash of the bytes of `record`.
//!
//! ```
//! use uplifted_ops::journal::{Journal, Query, Record, RecordOutcome};
//!
//! let state = tempfile::tempdir()?;
//! let journal = Journal::open(state.path())?;
//! let record = Record {
//!     time: "2025-10-28T02:00:00Z".parse()?,
//!     operation: "backup.create".into(),
//!     outcome: RecordOutcome::Done,
//!     duration_seconds: 3.5,
//!     pid: 4711,
//!     request: serde_json::json!({}),
//!     response: serde_json::json!({ "snapshot_id": "a1" }),
//!     error: None,
//! };
//! journal.append(&record)?;
//! assert_eq!(journal.last("backup.create", |_| true)?, Some(record));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod lines;
mod read;
mod record;
mod segments;

#[cfg(test)]
mod tests;

use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, OutFile};

pub use read::{JournalPage, Query};
pub use record::{Record, RecordOutcome};
pub(crate) use segments::JournalStamp;
pub use segments::{JournalRetention, Segment};

/// The name of the journal's folder in the state folder.
const FOLDER: &str = "journal";

/// A segment that has reached this size, in bytes, is followed by the next one.
pub const SEGMENT_BYTES: u64 = 8 << 20;

/// A record that would take more than this, in bytes, has its response cut to a summary.
pub const MAX_RECORD_BYTES: usize = 1 << 20;

/// When a record counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When the device has it: for what changed or destroyed something.
    Synced,
    /// When the kernel has it: it survives this process, not a power failure. For what only read.
    Written,
}

/// The journal of one state folder. Holds no file open; clones and processes share it freely.
#[derive(Debug, Clone)]
pub struct Journal {
    folder: PathBuf,
    segment_bytes: u64,
}

impl Journal {
    /// The journal in the state folder `state`. Creates nothing until something is appended.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when something that is not a folder stands in its place.
    pub fn open(state: &Path) -> Result<Self> {
        let folder = state.join(FOLDER);
        match folder.metadata() {
            Ok(meta) if !meta.is_dir() => {
                Err(Error::new(ErrorKind::Refused, format!("the journal {folder:?} is not a folder"))
                    .with_hint("move what is there away; the journal makes its own folder"))
            }
            _ => Ok(Self { folder, segment_bytes: SEGMENT_BYTES }),
        }
    }

    /// The folder that holds the segments. It need not exist.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Appends a record, durable when it returns.
    ///
    /// A record of more than [`MAX_RECORD_BYTES`] is stored with its response, then its request and its
    /// texts, cut to a summary that says so.
    ///
    /// # Errors
    /// What [`crate::fs`] says: above all [`ErrorKind::NoSpace`] and [`ErrorKind::Denied`]. The operation that
    /// the record is about is done all the same: see [`Journal::not_recorded`].
    pub fn append(&self, record: &Record) -> Result<()> {
        self.append_with(record, Durability::Synced)
    }

    /// Appends a record with the given durability.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn append_with(&self, record: &Record, durability: Durability) -> Result<()> {
        let line = record::encode(record)?;
        fs::create_dir_all(&self.folder, fs::PRIVATE_DIR)?;
        // A retention in another process may remove the segment between our look and our write. Then the
        // record is written again; a third time would mean that retention races on purpose.
        for _ in 0..3 {
            if self.append_once(&line, durability)? {
                return Ok(());
            }
        }
        Err(Error::new(ErrorKind::Busy, format!("the journal {:?} is removed while it is written", self.folder))
            .with_hint("stop what removes its segments"))
    }

    /// Whether the line was written to a segment that still has its name afterwards.
    fn append_once(&self, line: &[u8], durability: Durability) -> Result<bool> {
        let mut number = self.segment_to_append()?;
        let mut file = match self.open_segment(number) {
            // `sudo uplifted-ops` left a segment that only root may write: the service goes on in the next.
            Err(error) if error.kind() == ErrorKind::Denied => {
                number += 1;
                self.open_segment(number)?
            }
            opened => opened?,
        };
        let is_new = size_of(&file)? == 0;
        // A torn line of a writer that died is closed first, so that other readers of lines, `jq` for one,
        // lose that line alone. Our own reader also finds a record behind a tear that came in between.
        if ends_torn(&file)? {
            let mut closed = Vec::with_capacity(line.len() + 1);
            closed.push(b'\n');
            closed.extend_from_slice(line);
            file.append(&closed)?;
        } else {
            file.append(line)?;
        }
        if durability == Durability::Synced {
            file.sync()?;
            if is_new {
                fs::sync_dir(&self.folder)?;
            }
        }
        let meta = file.file().metadata().map_err(|error| Error::io(format!("look at {:?}", file.path()), error))?;
        Ok(meta.nlink() > 0)
    }

    fn open_segment(&self, number: u64) -> Result<OutFile> {
        OutFile::append_to(&self.folder.join(segments::file_name(number)), fs::PRIVATE_FILE)
    }

    /// The error for a caller whose operation was done and whose record was not written.
    ///
    /// It must not be tried again on account of this, so it is not retryable whatever `cause` says.
    pub fn not_recorded(record: &Record, cause: Error) -> Error {
        let what = match record.outcome {
            RecordOutcome::Done | RecordOutcome::Unhealthy => "was done",
            RecordOutcome::Failed => "failed",
        };
        let hint = match cause.hint() {
            Some(hint) => format!("do not repeat the operation; {hint}"),
            None => "do not repeat the operation; repair the state folder".to_owned(),
        };
        Error::new(
            cause.kind(),
            format!("{} {what}, but could not be recorded in the journal: {}", record.operation, cause.message()),
        )
        .with_hint(hint)
        .with_retryable(false)
        .in_operation(&record.operation)
        .with_source(cause)
    }
}

fn size_of(file: &OutFile) -> Result<u64> {
    let meta = file.file().metadata().map_err(|error| Error::io(format!("look at {:?}", file.path()), error))?;
    Ok(meta.len())
}

/// Whether the last byte is not a line end.
fn ends_torn(file: &OutFile) -> Result<bool> {
    let size = size_of(file)?;
    let mut last = [b'\n'];
    if size > 0 {
        match file.file().read_exact_at(&mut last, size - 1) {
            // Somebody cut the file in between.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            other => other.map_err(|error| Error::io(format!("read {:?}", file.path()), error))?,
        }
    }
    Ok(last != [b'\n'])
}
