//! Putting nodes into a folder: creation, content, and what they get at the end.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::layout::{Cursor, parts_of, restored_len, stored_len};
use super::problem::{Problem, ProblemKind};
use crate::backup::manifest::{Entry, RelPath};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{Dir, NodeTimes, OutFile, PRIVATE_FILE, start_writeback};
use crate::value::unhex;

/// Folders that a thread keeps open. Neighbours in an archive share them, so a few are enough.
const KEPT_OPEN: usize = 8;

/// A folder to extract into, with the folders last used kept open so that deep names resolve once.
pub(super) struct Placer {
    root: Dir,
    open: Vec<(PathBuf, Dir)>,
    /// Which of `open` is replaced next.
    next: usize,
    /// Whether owners are set, and with them what only root may give: set-id bits, trusted attributes.
    owners: bool,
}

impl Placer {
    pub(super) fn new(root: &Dir, owners: bool) -> Result<Self> {
        Ok(Self { root: root.try_clone()?, open: Vec::new(), next: 0, owners })
    }

    /// The folder that holds `path`, and the name in it.
    pub(super) fn parent_of<'p>(&mut self, path: &'p Path) -> Result<(&Dir, &'p Path)> {
        let name = path.file_name().map_or(path, Path::new);
        let parent = path.parent().unwrap_or(Path::new(""));
        if parent.as_os_str().is_empty() {
            return Ok((&self.root, name));
        }
        let at = match self.open.iter().position(|(path, _)| path == parent) {
            Some(at) => at,
            None => {
                let opened = (parent.to_owned(), self.root.open_dir(parent)?);
                if self.open.len() < KEPT_OPEN {
                    self.open.push(opened);
                    self.open.len() - 1
                } else {
                    let at = self.next;
                    self.next = (at + 1) % KEPT_OPEN;
                    self.open[at] = opened;
                    at
                }
            }
        };
        Ok((&self.open[at].1, name))
    }

    /// Creates a private file, with its final length when the end of it may be a hole.
    pub(super) fn create(&mut self, path: &Path, entry: &Entry) -> Result<OutFile> {
        let (parent, name) = self.parent_of(path)?;
        let out = parent.create_file(name, PRIVATE_FILE)?;
        if parts_of(&entry.node).is_some() {
            out.set_len(restored_len(&entry.node))?;
        }
        Ok(out)
    }

    /// Gives a file whose content is complete everything else. Returns what the filesystem did not take.
    pub(super) fn finish_file(&self, out: &OutFile, path: &Path, entry: &Entry) -> Result<Vec<Problem>> {
        // The owner first: a change of it takes set-id bits and capabilities away. Attributes before the
        // mode, which may forbid writing them. Times last.
        if self.owners {
            out.set_owner(entry.uid, entry.gid)?;
        }
        let lost = set_xattrs(self.owners, entry, path, |name, value| out.set_xattr(name, value))?;
        out.set_mode(self.mode(entry.mode))?;
        out.set_times(times(entry))?;
        Ok(lost)
    }

    /// The same for a folder, once nothing is made in it any more.
    pub(super) fn finish_dir(&mut self, entry: &Entry) -> Result<Vec<Problem>> {
        let path = entry.path.as_path();
        let (owners, mode) = (self.owners, self.mode(entry.mode));
        let (parent, name) = self.parent_of(path)?;
        if owners {
            parent.set_owner(name, entry.uid, entry.gid)?;
        }
        let lost = set_xattrs(owners, entry, path, |attribute, value| parent.set_xattr(name, attribute, value))?;
        parent.set_mode(name, mode)?;
        parent.set_times(name, times(entry))?;
        Ok(lost)
    }

    /// Makes a symlink.
    pub(super) fn symlink(&mut self, entry: &Entry, target: &OsStr) -> Result<Vec<Problem>> {
        let owners = self.owners;
        let path = entry.path.as_path();
        let (parent, name) = self.parent_of(path)?;
        parent.symlink(target, name)?;
        if owners {
            parent.set_owner(name, entry.uid, entry.gid)?;
        }
        parent.set_times(name, times(entry))?;
        let unsupported = || Error::new(ErrorKind::Unsupported, "attributes of symlinks are not restored");
        set_xattrs(owners, entry, path, |_, _| Err(unsupported()))
    }

    /// Makes `path` a second name of `existing`.
    pub(super) fn hard_link(&mut self, existing: &Path, path: &Path) -> Result<()> {
        if existing.parent() == path.parent() {
            let from = existing.file_name().map_or(existing, Path::new);
            let (parent, name) = self.parent_of(path)?;
            return parent.hard_link(from, name);
        }
        self.root.hard_link(existing, path)
    }

    /// Makes a FIFO.
    pub(super) fn fifo(&mut self, entry: &Entry) -> Result<Vec<Problem>> {
        let (owners, mode) = (self.owners, self.mode(entry.mode));
        let path = entry.path.as_path();
        let (parent, name) = self.parent_of(path)?;
        parent.fifo(name, PRIVATE_FILE)?;
        if owners {
            parent.set_owner(name, entry.uid, entry.gid)?;
        }
        parent.set_mode(name, mode)?;
        parent.set_times(name, times(entry))?;
        let unsupported = || Error::new(ErrorKind::Unsupported, "attributes of FIFOs are not restored");
        set_xattrs(owners, entry, path, |_, _| Err(unsupported()))
    }

    /// The mode to set: set-id bits only with the owner whose rights they lend.
    fn mode(&self, mode: u32) -> u32 {
        if self.owners { mode } else { mode & 0o1777 }
    }
}

/// Sets the attributes of `entry`, made at `path`; returns those that the filesystem or the permissions refuse.
fn set_xattrs(
    owners: bool,
    entry: &Entry,
    path: &Path,
    set: impl Fn(&OsStr, &[u8]) -> Result<()>,
) -> Result<Vec<Problem>> {
    let mut lost = Vec::new();
    for xattr in &entry.xattrs {
        let name = OsStr::from_bytes(xattr.name.as_bytes());
        // File capabilities are set-id bits by another name.
        let privileged = [&b"security."[..], b"trusted."].iter().any(|prefix| name.as_bytes().starts_with(prefix));
        let done = if privileged && !owners {
            Err(Error::new(ErrorKind::Denied, "it comes with the owner, which is not restored"))
        } else {
            set(name, &unhex(&xattr.value).unwrap_or_default())
        };
        match done {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Denied) => lost.push(Problem {
                path: Some(RelPath::new(path)),
                kind: ProblemKind::AttributeNotRestored,
                message: format!("attribute {name:?}: {}", error.message()),
            }),
            Err(error) => return Err(error),
        }
    }
    Ok(lost)
}

fn times(entry: &Entry) -> NodeTimes {
    NodeTimes { mtime_seconds: entry.mtime, mtime_nanos: entry.mtime_nanos }
}

/// Writes stored bytes `at..` of a file to where they belong. Zeros that only complete the tar member of a
/// file that shrank are left out.
pub(super) fn write_stored(out: &OutFile, entry: &Entry, at: u64, mut bytes: &[u8]) -> Result<()> {
    let (parts, len) = (parts_of(&entry.node), restored_len(&entry.node));
    let mut cursor = Cursor::seek(parts, at);
    while !bytes.is_empty() {
        let Some((offset, step)) = cursor.advance(parts, bytes.len() as u64) else { break };
        let (now, later) = bytes.split_at(step as usize);
        let real = step.min(len.saturating_sub(offset)) as usize;
        if real > 0 {
            out.write_all_at(&now[..real], offset)?;
        }
        bytes = later;
    }
    Ok(())
}

/// Files whose descriptor is kept while they are being made. What is more is opened again for each part: a snapshot may
/// have its parts in any order, and a process has about a thousand descriptors.
const KEPT_FILES: usize = 256;

/// The files of which several parts are written, while they are being made.
#[derive(Default)]
pub(in crate::backup) struct OpenFiles(Mutex<Table>);

#[derive(Default)]
struct Table {
    files: HashMap<u32, Arc<OpenFile>>,
    kept: usize,
}

/// A file with parts still to come.
pub(super) struct OpenFile {
    path: PathBuf,
    out: Mutex<Out>,
    left: Mutex<u64>,
    /// Held while a part is written. The kernel lets one thread write to a file at a time and has the others
    /// spin for it (Linux: `inode_lock`, an rwsem); here they sleep, and the processor does something else.
    turn: Mutex<Gathered>,
}

/// What was written of a file and may not be on its way to the device yet.
#[derive(Default)]
struct Gathered {
    /// From where to where.
    span: Range<u64>,
    /// How many bytes there are in it.
    bytes: u64,
}

impl Gathered {
    /// Adds what was written, and says where the device may begin, once enough has come. A span with gaps is left to
    /// the sync in the end: the pages between, which are still to come, would break the file into small writes.
    fn add(&mut self, at: u64, len: u64) -> Option<Range<u64>> {
        let end = at + len;
        self.span = if self.bytes == 0 { at..end } else { self.span.start.min(at)..self.span.end.max(end) };
        self.bytes += len;
        if self.bytes < WRITEBACK {
            return None;
        }
        let Self { span, bytes } = std::mem::take(self);
        (span.end - span.start <= bytes + bytes / 8).then_some(span)
    }
}

/// How much of a file gathers before the device begins with it: parts of a database may be as small as a page.
const WRITEBACK: u64 = 16 << 20;
/// From this length on a file of several parts gets its place on the disk before they come.
const RESERVED: u64 = 8 << 20;

enum Out {
    Kept(Arc<OutFile>),
    Closed,
    GivenUp,
}

impl OpenFile {
    /// Writes stored bytes `at..`, when it is our turn, and has the device begin with them.
    pub(super) fn write(&self, out: &OutFile, entry: &Entry, at: u64, bytes: &[u8]) -> Result<()> {
        let mut turn = lock(&self.turn);
        write_stored(out, entry, at, bytes)?;
        let gathered = turn.add(at, bytes.len() as u64);
        drop(turn);
        // Whoever restores waits for the device in the end; meanwhile it would be idle.
        if let Some(span) = gathered {
            // Of a file with holes the places are others than those of what is stored.
            start_writeback(out.file(), Some(span).filter(|_| parts_of(&entry.node).is_none()));
        }
        Ok(())
    }
}

impl OpenFiles {
    /// The file of entry `number`, created for the first of its parts. `None` when it was given up.
    pub(super) fn get(
        &self,
        number: u32,
        entry: &Entry,
        path: &Path,
        placer: &mut Placer,
    ) -> Result<Option<(Arc<OpenFile>, Arc<OutFile>)>> {
        let mut table = lock(&self.0);
        if let Some(file) = table.files.get(&number) {
            let file = Arc::clone(file);
            drop(table);
            let out = lock(&file.out);
            return Ok(match &*out {
                Out::Kept(kept) => Some((Arc::clone(&file), Arc::clone(kept))),
                Out::Closed => {
                    let (parent, name) = placer.parent_of(path)?;
                    Some((Arc::clone(&file), Arc::new(parent.open_file(name)?)))
                }
                Out::GivenUp => None,
            });
        }
        let out = Arc::new(placer.create(path, entry)?);
        if parts_of(&entry.node).is_none() && stored_len(&entry.node) >= RESERVED {
            out.reserve(stored_len(&entry.node));
        }
        let keep = table.kept < KEPT_FILES;
        table.kept += usize::from(keep);
        let file = Arc::new(OpenFile {
            path: path.to_owned(),
            out: Mutex::new(if keep { Out::Kept(Arc::clone(&out)) } else { Out::Closed }),
            left: Mutex::new(stored_len(&entry.node)),
            turn: Mutex::default(),
        });
        table.files.insert(number, Arc::clone(&file));
        Ok(Some((file, out)))
    }

    /// Notes that `len` stored bytes are written; says whether they were the last.
    pub(super) fn written(&self, number: u32, file: &OpenFile, len: u64) -> bool {
        let mut left = lock(&file.left);
        *left = left.saturating_sub(len);
        if *left > 0 {
            return false;
        }
        let mut table = lock(&self.0);
        let kept = match *lock(&file.out) {
            Out::GivenUp => return false,
            Out::Kept(_) => 1,
            Out::Closed => 0,
        };
        table.kept -= kept;
        table.files.remove(&number);
        true
    }

    /// Gives a file up: no part of it is written any more, and what exists of it is removed. Says whether it
    /// is the first time.
    pub(super) fn give_up(&self, number: u32, path: &Path, placer: &mut Placer) -> Result<bool> {
        let mut table = lock(&self.0);
        let Some(file) = table.files.get(&number).cloned() else {
            // It stays in the table, so that no later part creates it.
            let given_up = OpenFile {
                path: path.to_owned(),
                out: Mutex::new(Out::GivenUp),
                left: Mutex::new(u64::MAX),
                turn: Mutex::default(),
            };
            table.files.insert(number, Arc::new(given_up));
            return Ok(true);
        };
        match std::mem::replace(&mut *lock(&file.out), Out::GivenUp) {
            Out::GivenUp => return Ok(false),
            Out::Kept(_) => table.kept -= 1,
            Out::Closed => {}
        }
        let (parent, name) = placer.parent_of(path)?;
        parent.remove_file(name).map(|()| true)
    }

    /// Removes every file that is not complete: after an error none may look finished.
    pub(super) fn remove_all(&self, placer: &mut Placer) {
        for (_, file) in lock(&self.0).files.drain() {
            if !matches!(std::mem::replace(&mut *lock(&file.out), Out::GivenUp), Out::GivenUp)
                && let Ok((parent, name)) = placer.parent_of(&file.path)
            {
                // The error that led here is the one to report.
                let _ = parent.remove_file(name);
            }
        }
    }

    /// What is left, by name: files that lack parts which nobody brought.
    pub(super) fn unfinished(&self) -> Vec<u32> {
        let table = lock(&self.0);
        let mut left: Vec<u32> = table
            .files
            .iter()
            .filter(|(_, file)| !matches!(*lock(&file.out), Out::GivenUp))
            .map(|(number, _)| *number)
            .collect();
        left.sort_unstable();
        left
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
