//! Storing one ordinary file: read once, honestly.
//!
//! Nothing is locked and nobody is asked to stand still. So each file is looked at before and after it was
//! read, and what changed meanwhile is named.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{self as sys, SeekFrom};
use rustix::io::Errno;

use super::super::archive::{NodeHead, Special};
use super::super::discover::open_for_reading;
use super::super::manifest::{RelPath, SkipReason, Skipped, Xattr};
use super::super::meter::Meter;
use super::super::nodes::fit_parts;
use super::super::walk::{Found, FoundKind, open_root, reason_of};
use super::parts::Tee;
use crate::cancel::Scope;
use crate::error::{Error, Result};
use crate::fs::start_writeback;
use crate::value::hex;

/// Files up to this size are read whole before a byte of them is stored, and again when they changed.
const SMALL: u64 = 1 << 20;
/// How much of a larger file is read at once.
const BLOCK: usize = 1 << 20;
/// How often a small file that keeps changing is read.
const ATTEMPTS: usize = 4;
/// A file with more holes than this is stored with its last ones filled, so that the map stays small.
const MAX_EXTENTS: usize = 16_384;

/// A moment in the reading of a file, at which a test changes it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Moment {
    /// Before it is opened.
    Open,
    /// After it was looked at, before it is read.
    Read,
    /// After it was read up to this byte.
    Block(#[cfg_attr(not(test), allow(dead_code, reason = "only tests look"))] u64),
}

/// Called at each moment; an error stands for one of the system.
pub(super) type Hook = Arc<dyn Fn(Moment, &Path) -> rustix::io::Result<()> + Send + Sync>;

/// Stores files, one after the other.
pub(super) struct FileStorer {
    scope: Scope,
    root: PathBuf,
    root_fd: OwnedFd,
    buffer: Vec<u8>,
    /// First names of files that have several, with what they are called in the snapshot.
    first_names: HashMap<(u64, u64), RelPath>,
    hook: Option<Hook>,
    pub(super) skipped: Vec<Skipped>,
    /// The first file, and how many, that were not what the walk had met.
    pub(super) moved: Option<(RelPath, u64)>,
    /// Files that may be more than files: nobody shall take them for known the next time.
    pub(super) doubtful: HashSet<RelPath>,
}

/// What became of the reading of a file.
enum Reading {
    /// All of it is stored.
    Whole,
    /// It is stored, and this is not all.
    Partly(SkipReason, String),
    /// Nothing of it is stored.
    Not(SkipReason, String),
}

impl FileStorer {
    pub(super) fn new(scope: &Scope, root: &Path, hook: Option<Hook>) -> Result<Self> {
        Ok(Self {
            scope: scope.clone(),
            root: root.to_owned(),
            root_fd: open_root(root)?,
            buffer: Vec::new(),
            first_names: HashMap::new(),
            hook,
            skipped: Vec::new(),
            moved: None,
            doubtful: HashSet::new(),
        })
    }

    /// Stores whatever was found. What could not be stored, or not completely, is in `skipped`.
    ///
    /// # Errors
    /// Those of the targets, and a cancel; never those of the file.
    pub(super) fn store(&mut self, writer: &mut Tee, found: &Found, meter: &mut Meter) -> Result<()> {
        self.scope.cancel.check()?;
        match found.kind {
            FoundKind::Dir => writer.add(&self.head(found), &Special::Dir)?,
            FoundKind::Fifo => writer.add(&self.head(found), &Special::Fifo)?,
            FoundKind::Symlink => match sys::readlinkat(&self.root_fd, found.path.as_path(), Vec::new()) {
                Ok(target) => {
                    let target = RelPath::from(target.to_bytes());
                    writer.add(&self.head(found), &Special::Symlink { target })?;
                }
                // EINVAL: it is no symlink any more.
                Err(Errno::INVAL) => self.skip(found, SkipReason::Changed, "it is no symlink any more".to_owned()),
                Err(error) => self.skip(found, reason_of(error), said("read", found, error)),
            },
            FoundKind::File => self.file(writer, found, meter)?,
            // The walker lists these.
            FoundKind::Socket | FoundKind::Device => {}
        }
        meter.file();
        Ok(())
    }

    fn file(&mut self, writer: &mut Tee, found: &Found, meter: &mut Meter) -> Result<()> {
        if let Some(target) = self.first_names.get(&found.identity).filter(|_| found.links > 1) {
            let target = target.clone();
            return writer.add(&self.head(found), &Special::HardLink { target });
        }
        if writer.knows(found) {
            writer.add_known(found)?;
            meter.bytes(found.size.min(found.disk_bytes));
            self.name_first(found, found.identity, found.links);
            return Ok(());
        }
        match self.read(writer, found, meter)? {
            Reading::Whole => {}
            Reading::Partly(reason, message) | Reading::Not(reason, message) => self.skip(found, reason, message),
        }
        Ok(())
    }

    /// Remembers under which name a file is stored, for its further ones.
    fn name_first(&mut self, found: &Found, identity: (u64, u64), links: u64) {
        if links > 1 {
            self.first_names.insert(identity, found.path.clone());
        }
    }

    fn read(&mut self, writer: &mut Tee, found: &Found, meter: &mut Meter) -> Result<Reading> {
        let opened = self
            .moment(Moment::Open, found)
            .and_then(|()| open_for_reading(&self.root_fd, found.path.as_path()))
            .and_then(|file| sys::fstat(&file).map(|stat| (file, stat)));
        let (file, stat) = match opened {
            Ok(opened) => opened,
            Err(error) => return Ok(Reading::Not(reason_of(error), said("open", found, error))),
        };
        let now = found.refreshed(&stat);
        if now.kind != FoundKind::File {
            return Ok(Reading::Not(SkipReason::Changed, "it is no regular file any more".to_owned()));
        }
        if let Err(error) = self.moment(Moment::Read, found) {
            return Ok(Reading::Not(reason_of(error), said("read", found, error)));
        }
        // A page that is written through a mapping moves the time of its file once, until it is on the device: from here
        // on the next write is seen by the next backup. A filesystem in memory knows no such time.
        start_writeback(&file, None);
        let data = data_map(&file, &now);
        // Of the file that is read: by now the name may lead to another one than the walk met.
        let (identity, links) = (now.identity, now.links);
        let reading = if now.size <= SMALL && data.is_none() {
            self.small(writer, &file, now, meter)
        } else {
            self.large(writer, &file, &now, data, meter)
        }?;
        if !sys::fstat(&file).is_ok_and(|stat| same_content(found, &found.refreshed(&stat))) {
            self.moved.get_or_insert((found.path.clone(), 0)).1 += 1;
        }
        if !matches!(reading, Reading::Not(..)) {
            self.name_first(found, identity, links);
        }
        Ok(reading)
    }

    /// Reads the whole file, again while it changes, and then stores it.
    fn small(&mut self, writer: &mut Tee, file: &OwnedFd, mut before: Found, meter: &mut Meter) -> Result<Reading> {
        let mut outcome = Reading::Whole;
        for attempt in 1..=ATTEMPTS {
            self.scope.cancel.check()?;
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.resize(before.size as usize, 0);
            let read = read_fully(file, &mut buffer, 0).and_then(|have| {
                buffer.truncate(have);
                self.moment(Moment::Block(have as u64), &before)?;
                sys::fstat(file)
            });
            self.buffer = buffer;
            let after = match read {
                Ok(stat) => before.refreshed(&stat),
                Err(error) => return Ok(Reading::Not(SkipReason::Unreadable, said("read", &before, error))),
            };
            let have = self.buffer.len() as u64;
            let steady = have == before.size && same_content(&before, &after);
            if steady {
                outcome = Reading::Whole;
                break;
            }
            if after.size > SMALL {
                let data = data_map(file, &after);
                return self.large(writer, file, &after, data, meter);
            }
            outcome = match after.size.cmp(&have) {
                std::cmp::Ordering::Greater => Reading::Partly(SkipReason::Grew, grew(have, after.size)),
                std::cmp::Ordering::Less => Reading::Partly(SkipReason::Shrank, shrank(have, after.size)),
                std::cmp::Ordering::Equal => Reading::Partly(
                    SkipReason::Changed,
                    format!("its content changed {attempt} times while it was read"),
                ),
            };
            if attempt < ATTEMPTS {
                before = after;
            }
        }
        let bytes = std::mem::take(&mut self.buffer);
        let steady = self.steady(&before, &outcome);
        writer.begin_file(&self.head(&before), bytes.len() as u64, None)?;
        writer.write(&bytes)?;
        writer.end_file(None, steady.then_some(&before))?;
        meter.bytes(bytes.len() as u64);
        self.buffer = bytes;
        Ok(outcome)
    }

    /// Stores the file while it is read, with the length that it had at first.
    fn large(
        &mut self,
        writer: &mut Tee,
        file: &OwnedFd,
        before: &Found,
        data: Option<Vec<(u64, u64)>>,
        meter: &mut Meter,
    ) -> Result<Reading> {
        let parts = data.clone().unwrap_or_else(|| vec![(0, before.size)]);
        #[cfg(target_os = "linux")]
        let _ = sys::fadvise(file, 0, None, sys::Advice::Sequential);
        writer.begin_file(&self.head(before), before.size, data.as_deref())?;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(BLOCK, 0);
        let mut failed = None;
        'parts: for (start, len) in parts {
            let mut at = start;
            while at < start + len {
                self.scope.cancel.check()?;
                let want = usize::try_from(start + len - at).unwrap_or(BLOCK).min(BLOCK);
                let read = read_fully(file, &mut buffer[..want], at)
                    .and_then(|have| self.moment(Moment::Block(at + have as u64), before).map(|()| have));
                match read {
                    Ok(have) => {
                        writer.write(&buffer[..have])?;
                        meter.bytes(have as u64);
                        at += have as u64;
                        if have < want {
                            failed = Some((at, None));
                            break 'parts;
                        }
                    }
                    Err(error) => {
                        failed = Some((at, Some(error)));
                        break 'parts;
                    }
                }
            }
        }
        self.buffer = buffer;
        let reached = failed.as_ref().map(|(at, _)| *at);
        let reading = match sys::fstat(file).map(|stat| before.refreshed(&stat)) {
            Err(error) => Reading::Partly(SkipReason::Changed, said("look at", before, error)),
            Ok(after) => match failed {
                Some((at, Some(error))) => {
                    let message = format!("from byte {at} on: {}", said("read", before, error));
                    Reading::Partly(SkipReason::Unreadable, message)
                }
                Some((at, None)) => Reading::Partly(SkipReason::Shrank, shrank(before.size, at)),
                None if after.size > before.size => Reading::Partly(SkipReason::Grew, grew(before.size, after.size)),
                None if after.size < before.size => {
                    Reading::Partly(SkipReason::Shrank, shrank(before.size, after.size))
                }
                None if !same_content(before, &after) => {
                    Reading::Partly(SkipReason::Changed, "its content changed while it was read".to_owned())
                }
                None => Reading::Whole,
            },
        };
        let steady = self.steady(before, &reading);
        writer.end_file(reached, steady.then_some(before))?;
        Ok(reading)
    }

    /// Whether what was read of a file is all of it, and it is nothing but a file.
    fn steady(&self, found: &Found, reading: &Reading) -> bool {
        matches!(reading, Reading::Whole) && !self.doubtful.contains(&found.path)
    }

    /// The head of an entry, with its extended attributes; one that cannot be read is named.
    pub(super) fn head(&mut self, found: &Found) -> NodeHead {
        let path = self.root.join(found.path.as_path());
        let xattrs = xattrs(&path).unwrap_or_else(|error| {
            let message = said("read the extended attributes of", found, error);
            self.skip(found, SkipReason::Unreadable, message);
            Vec::new()
        });
        NodeHead { xattrs, ..bare_head(found) }
    }

    fn skip(&mut self, found: &Found, reason: SkipReason, message: String) {
        self.skipped.push(Skipped { path: found.path.clone(), reason, message });
    }

    fn moment(&self, moment: Moment, found: &Found) -> rustix::io::Result<()> {
        self.hook.as_ref().map_or(Ok(()), |hook| hook(moment, found.path.as_path()))
    }
}

/// Whether two looks at a file are of the same content. Every write sets the modification time, and
/// whoever sets that back moves the change of a length or of bytes that this look cannot see.
fn same_content(before: &Found, after: &Found) -> bool {
    before.size == after.size && (before.mtime, before.mtime_nanos) == (after.mtime, after.mtime_nanos)
}

fn grew(read: u64, now: u64) -> String {
    format!("it grew from {read} to {now} bytes while it was read; its beginning is stored")
}

fn shrank(before: u64, now: u64) -> String {
    format!("it shrank from {before} to {now} bytes while it was read")
}

fn said(doing: &str, found: &Found, error: Errno) -> String {
    Error::io(format!("{doing} {:?}", found.path), error).message().to_owned()
}

/// Fills `buffer` from `offset`; fewer bytes only where the file ends.
fn read_fully(file: &OwnedFd, buffer: &mut [u8], offset: u64) -> rustix::io::Result<usize> {
    let mut have = 0;
    while have < buffer.len() {
        match rustix::io::pread(file.as_fd(), &mut buffer[have..], offset + have as u64) {
            Ok(0) => break,
            Ok(read) => have += read,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}

/// The parts of a file that hold data, `(offset, length)`; `None` when it has no holes, or when the
/// filesystem cannot tell (lseek(2), `SEEK_DATA`).
fn data_map(file: &OwnedFd, found: &Found) -> Option<Vec<(u64, u64)>> {
    if found.disk_bytes >= found.size {
        return None;
    }
    #[cfg(target_os = "linux")]
    {
        let mut parts = Vec::new();
        let mut at = 0;
        while at < found.size {
            let start = match sys::seek(file, SeekFrom::Data(at)) {
                Ok(start) if start < found.size => start,
                // ENXIO: nothing but a hole up to the end.
                Ok(_) | Err(Errno::NXIO) => break,
                Err(_) => return None,
            };
            let end = sys::seek(file, SeekFrom::Hole(start)).ok()?.min(found.size);
            if parts.len() + 1 == MAX_EXTENTS {
                parts.push((start, found.size - start));
                break;
            }
            parts.push((start, end - start));
            at = end;
        }
        let parts = fit_parts(&parts, found.size);
        (parts != [(0, found.size)]).then_some(parts)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (file, SeekFrom::Start(0), MAX_EXTENTS);
        None
    }
}

/// The extended attributes of `path` itself, sorted by name. Read by path: nothing is opened.
pub(super) fn xattrs(path: &Path) -> rustix::io::Result<Vec<Xattr>> {
    let mut attributes = Vec::new();
    let list = match grown(|buffer| sys::llistxattr(path, buffer)) {
        Ok(list) => list,
        // The filesystem has none; or the file is gone, which reading it will tell.
        Err(Errno::NOTSUP | Errno::NOENT | Errno::NOTDIR) => return Ok(attributes),
        Err(error) => return Err(error),
    };
    for name in list.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match grown(|buffer| sys::lgetxattr(path, name, buffer)) {
            Ok(value) => attributes.push(Xattr { name: RelPath::from(name), value: hex(&value) }),
            Err(Errno::NODATA | Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    attributes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(attributes)
}

/// Calls with a larger buffer until the answer fits. Attributes have at most 64 KiB (xattr(7)).
fn grown(mut call: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = vec![0; 256];
    loop {
        match call(&mut buffer) {
            Ok(len) => {
                buffer.truncate(len);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 8, 0),
            Err(error) => return Err(error),
        }
    }
}

/// The head of an entry, without extended attributes.
pub(super) fn bare_head(found: &Found) -> NodeHead {
    NodeHead {
        path: found.path.clone(),
        mode: found.mode,
        uid: found.uid,
        gid: found.gid,
        mtime: found.mtime,
        mtime_nanos: found.mtime_nanos,
        xattrs: Vec::new(),
    }
}
