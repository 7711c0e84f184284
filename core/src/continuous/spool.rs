//! Segments on this disk, until every target has them.
//!
//! What is here is durable before the database lets go of it, and outlives the worker: the next one ships it. Files are numbered
//! in the order in which they were made, over all streams.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::backup::repository::id::{IdKey, RepositoryId};
use crate::backup::repository::segment::{Segment, head_len};
use crate::error::{Error, ErrorKind, Result};
use crate::fs;

const MODE: u32 = 0o600;

/// What proves that a file here is whole. It is no secret: whoever writes into the state folder has the database as well.
fn spool_key() -> IdKey {
    IdKey::new(blake3::derive_key("uplifted-ops continuous 1 spool", b"spool"))
}

/// In what repository a segment is that is in none yet.
pub(super) const NOWHERE: RepositoryId = RepositoryId([0; 16]);

/// A segment that waits.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) number: u64,
    pub(super) head: Segment,
    /// Its payload, as one zstd frame; empty without any.
    pub(super) packed: Vec<u8>,
}

/// The segments that wait.
#[derive(Debug)]
pub(super) struct Spool {
    folder: PathBuf,
    limit: u64,
    /// Bytes of each, by number.
    files: BTreeMap<u64, u64>,
    next: u64,
    /// What each target still needs.
    needs: Vec<BTreeSet<u64>>,
}

impl Spool {
    /// What a worker before this one left. Each of `targets` may need all of it.
    pub(super) fn open(folder: &Path, limit: u64, targets: usize) -> Result<Self> {
        fs::create_dir_all(folder, fs::PRIVATE_DIR)?;
        let failed = |error| Error::io(format!("read {folder:?}"), error);
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            // What is called otherwise is a file that was not finished, or none of ours.
            let Some(number) = name.to_str().filter(|name| name.len() == 16).and_then(|name| name.parse().ok()) else {
                continue;
            };
            files.insert(number, entry.metadata().map_err(failed)?.len());
        }
        let next = files.keys().next_back().map_or(1, |last| last + 1);
        let all: BTreeSet<u64> = files.keys().copied().collect();
        Ok(Self { folder: folder.to_owned(), limit, files, next, needs: vec![all; targets] })
    }

    /// How many segments wait, and their bytes.
    pub(super) fn size(&self) -> (u64, u64) {
        (self.files.len() as u64, self.files.values().sum())
    }

    /// How many segments wait for a target.
    pub(super) fn waiting(&self, target: usize) -> u64 {
        self.needs.get(target).map_or(0, |needs| needs.len() as u64)
    }

    /// The number of the next segment for a target.
    pub(super) fn next_for(&self, target: usize) -> Option<u64> {
        self.needs.get(target)?.first().copied()
    }

    /// The number of the last segment that waits.
    pub(super) fn last(&self) -> Option<u64> {
        self.files.keys().next_back().copied()
    }

    /// Where the file of a segment is.
    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:016}"))
    }

    /// Where the next one goes, see [`write`].
    pub(super) fn next_path(&self) -> PathBuf {
        self.path(self.next)
    }

    /// Notes that the next one was written, and makes room: returns for each target how many it will never have.
    pub(super) fn added(&mut self, bytes: u64) -> Result<Vec<u64>> {
        self.files.insert(self.next, bytes);
        for needs in &mut self.needs {
            needs.insert(self.next);
        }
        self.next += 1;
        let mut lost = vec![0; self.needs.len()];
        let mut size = self.size().1;
        while size > self.limit && self.files.len() > 1 {
            let Some((number, bytes)) = self.files.pop_first() else { break };
            fs::remove_file(&self.path(number))?;
            size -= bytes;
            for (lost, needs) in lost.iter_mut().zip(&mut self.needs) {
                *lost += u64::from(needs.remove(&number));
            }
        }
        self.clear()?;
        Ok(lost)
    }

    /// Notes that a target has a segment. What all have goes.
    pub(super) fn shipped(&mut self, target: usize, number: u64) -> Result<()> {
        if let Some(needs) = self.needs.get_mut(target) {
            needs.remove(&number);
        }
        self.clear()
    }

    fn clear(&mut self) -> Result<()> {
        let needed = self.needs.iter().filter_map(|needs| needs.first()).min().copied();
        // The last one stays: it says where to go on.
        let keep = needed.or(self.last()).unwrap_or(u64::MAX).min(self.last().unwrap_or(u64::MAX));
        while let Some((number, _)) = self.files.first_key_value().map(|(number, bytes)| (*number, *bytes))
            && number < keep
        {
            fs::remove_file(&self.path(number))?;
            self.files.remove(&number);
        }
        Ok(())
    }
}

/// Writes a segment to `path`; durable when it returns. Returns its length.
pub(super) fn write(path: &Path, head: &Segment, packed: &[u8]) -> Result<u64> {
    let mut bytes = head.write(&spool_key()).0;
    bytes.extend_from_slice(blake3::hash(packed).as_bytes());
    bytes.extend_from_slice(packed);
    fs::write_atomic(path, MODE, &bytes)?;
    Ok(bytes.len() as u64)
}

/// Reads the segment at `path`.
///
/// # Errors
/// [`ErrorKind::Corrupt`] when it is not what was written.
pub(super) fn load(path: &Path, number: u64) -> Result<Waiting> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(format!("read {path:?}"), error))?;
    let damaged = || {
        Error::new(ErrorKind::Corrupt, format!("the segment {path:?} that waits for its target is damaged"))
            .with_hint("look at the disk of the state folder; the time that it holds is a gap")
    };
    let len = head_len(&bytes).ok_or_else(damaged)?;
    let (head, _) =
        Segment::read(&bytes[..len], NOWHERE, &spool_key()).map_err(|error| damaged().with_source(error))?;
    let (digest, packed) = bytes[len..].split_at_checked(32).ok_or_else(damaged)?;
    if blake3::hash(packed).as_bytes() != digest {
        return Err(damaged());
    }
    Ok(Waiting { number, head, packed: packed.to_vec() })
}
