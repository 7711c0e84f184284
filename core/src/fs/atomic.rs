//! Files that appear under their name whole, or not at all.
//!
//! A file gets its name by a link, which replaces nothing, or by a rename, which replaces. Some filesystems have no
//! links (FAT, exFAT, many FUSE ones, SSHFS to an old server), and some of them no rename that replaces nothing either;
//! there writers take turns by a file that only one can create. NFS may report that a link or a rename failed which
//! succeeded, when the first answer was lost: so whoever is told so looks whose file it is (open(2), `O_EXCL`).

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs as sys;

use super::fault::{self, Op};
use super::{OutFile, PRIVATE_FILE, foreign, identity, remove_file, split, sync_dir};
use crate::error::{Error, ErrorKind, Result};
use crate::value::{hex, random_hex};

/// A file that appears under its name whole, or not at all.
///
/// Written to a hidden name in the same folder; [`AtomicFile::publish`] syncs, renames and syncs the folder.
/// Dropped before that, the hidden file is removed. While it exists it is locked (`flock`), so that
/// [`sweep_partials`] can tell a dead writer's litter from a live writer's work.
#[derive(Debug)]
pub struct AtomicFile {
    out: Option<OutFile>,
    hidden: PathBuf,
    path: PathBuf,
}

/// Hidden unfinished files are called `.<name>.<random>.partial`.
const PARTIAL_SUFFIX: &str = ".partial";

/// How often a writer looks whether it is his turn, and how long he waits between: somebody else's takes one rename.
const TURNS: u32 = 50;
const TURN: Duration = Duration::from_millis(40);

/// On a filesystem of another machine, whose locks that machine alone may know, litter is older than this.
const ABANDONED: Duration = Duration::from_secs(3600);

impl AtomicFile {
    /// Starts writing what will be `path`, with exactly `mode`.
    pub fn create(path: &Path, mode: u32) -> Result<Self> {
        let (folder, name) = split(path)?;
        let shown = shown(name);
        loop {
            let hidden = folder.join(format!(".{shown}.{}{PARTIAL_SUFFIX}", random_hex(12)?));
            let out = OutFile::create_new(&hidden, mode)?;
            // A sweep may have met the file before it was locked, and taken it for litter: then another one
            // is made. Where the filesystem has no flock (some NFS mounts), the sweep removes none either.
            let locked = sys::flock(&out.file, sys::FlockOperation::NonBlockingLockExclusive);
            if locked != Err(rustix::io::Errno::WOULDBLOCK) && identity(&hidden)?.is_some() {
                return Ok(Self { out: Some(out), hidden, path: path.to_owned() });
            }
        }
    }

    /// The file to write to.
    pub fn out(&mut self) -> Result<&mut OutFile> {
        self.out.as_mut().ok_or_else(|| Error::internal("an atomic file was used after it was published"))
    }

    /// Makes the bytes durable without making them visible, for reading back before [`AtomicFile::publish`].
    pub fn sync(&mut self) -> Result<()> {
        self.out()?.sync()
    }

    /// Makes the file appear under its name, replacing what was there. Durable when it returns.
    pub fn publish(mut self) -> Result<()> {
        self.sync()?;
        self.rename_over()?;
        sync_dir(split(&self.path)?.0)
    }

    /// Makes the file appear under its name unless there is one already; says whether it did.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] on a filesystem without links when somebody else is at it, or died while he was.
    pub fn publish_new(mut self) -> Result<bool> {
        self.sync()?;
        let published = match self.link_new()? {
            Some(published) => published,
            None => match self.rename_new()? {
                Some(published) => published,
                None => self.rename_in_turn()?,
            },
        };
        if published {
            sync_dir(split(&self.path)?.0)?;
        }
        Ok(published)
    }

    /// A second name, as every filesystem of Unix has it. `None` where there is no such thing.
    fn link_new(&mut self) -> Result<Option<bool>> {
        let linked = fault::point(Op::Rename, &self.path).and_then(|()| {
            foreign::lacking(foreign::Call::Link)?;
            sys::linkat(sys::CWD, &self.hidden, sys::CWD, &self.path, sys::AtFlags::empty()).map_err(io::Error::from)
        });
        self.named(linked)
    }

    /// A rename that replaces nothing (renameat2(2)). `None` where there is no such thing.
    fn rename_new(&mut self) -> Result<Option<bool>> {
        let renamed = fault::point(Op::Rename, &self.path).and_then(|()| {
            foreign::lacking(foreign::Call::RenameNew)?;
            #[cfg(target_os = "linux")]
            return sys::renameat_with(sys::CWD, &self.hidden, sys::CWD, &self.path, sys::RenameFlags::NOREPLACE)
                .map_err(io::Error::from);
            #[cfg(not(target_os = "linux"))]
            Err(io::ErrorKind::Unsupported.into())
        });
        self.named(renamed)
    }

    /// What became of a call that gives the file its name unless there is one.
    fn named(&mut self, done: io::Result<()>) -> Result<Option<bool>> {
        match done {
            Ok(()) => Ok(Some(true)),
            Err(error) if error.raw_os_error() != Some(libc::EEXIST) && foreign::is_refused_for_all(&error) => Ok(None),
            Err(_) if self.is_at_its_place()? => Ok(Some(true)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Some(false)),
            Err(error) => Err(Error::io(format!("create {:?}", self.path), error)),
        }
    }

    /// A plain rename while a file that one alone can create says that nobody else may.
    fn rename_in_turn(&mut self) -> Result<bool> {
        let (folder, name) = split(&self.path)?;
        let digest = blake3::hash(name.as_encoded_bytes());
        let turn = folder.join(format!(".turn.{}{PARTIAL_SUFFIX}", hex(&digest.as_bytes()[..8])));
        for _ in 0..TURNS {
            if identity(&self.path)?.is_some() {
                return Ok(false);
            }
            match OutFile::create_new(&turn, PRIVATE_FILE) {
                Ok(held) => {
                    // So that a sweep can tell whether its owner lives.
                    let _ = sys::flock(&held.file, sys::FlockOperation::NonBlockingLockExclusive);
                    let renamed = match identity(&self.path)? {
                        Some(_) => Ok(false),
                        None => self.rename_over().map(|()| true),
                    };
                    drop(held);
                    remove_file(&turn)?;
                    return renamed;
                }
                Err(error) if error.kind() == ErrorKind::Refused => std::thread::sleep(TURN),
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(ErrorKind::Busy, format!("somebody else is creating {:?}, or died while he was", self.path))
            .with_hint(format!("when no other backup runs, remove {}", turn.display())))
    }

    fn rename_over(&mut self) -> Result<()> {
        match super::rename(&self.hidden, &self.path) {
            Err(_) if self.is_at_its_place()? => {}
            renamed => renamed?,
        }
        self.out = None;
        Ok(())
    }

    /// Whether what has our name now is this very file.
    fn is_at_its_place(&self) -> Result<bool> {
        let Some(out) = &self.out else { return Ok(false) };
        let ours = out.file.metadata().map_err(|error| Error::io(format!("look at {:?}", self.hidden), error))?;
        Ok(identity(&self.path)? == Some((ours.dev(), ours.ino())))
    }
}

/// What a hidden name has of the final one: cut, so that a very long one leaves room for what is added (NAME_MAX is 255).
fn shown(name: &OsStr) -> String {
    name.to_string_lossy().chars().take(40).collect()
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.out.is_some() {
            // Nothing can be done about a failure here; the next sweep removes it.
            let _ = remove_file(&self.hidden);
        }
    }
}

/// Removes the hidden unfinished files that dead writers left in `folder`. Returns how many.
///
/// A lock tells them from the work of those who live. Where the folder is another machine's (NFS, SMB, SSHFS), a lock
/// may be known on one machine only: there a file must have been left alone for an hour as well, by that machine's
/// clock.
pub fn sweep_partials(folder: &Path) -> Result<usize> {
    sweep_named(folder, ".")
}

/// Removes what dead writers of `path` left, and nothing else: for a folder that is not ours. Returns how many.
pub fn sweep_partials_of(path: &Path) -> Result<usize> {
    let (folder, name) = split(path)?;
    sweep_named(folder, &format!(".{}.", shown(name)))
}

/// Removes what dead writers left under hidden names that begin with `prefix`.
fn sweep_named(folder: &Path, prefix: &str) -> Result<usize> {
    let mut removed = 0;
    let mut oldest = None;
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(format!("read folder {folder:?}"), e))? {
        let entry = entry.map_err(|e| Error::io(format!("read folder {folder:?}"), e))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !(name.starts_with(prefix) && name.ends_with(PARTIAL_SUFFIX)) {
            continue;
        }
        let Ok(file) = File::open(entry.path()) else { continue };
        if foreign::is_shared(folder) {
            let oldest = match oldest {
                Some(oldest) => oldest,
                None => *oldest.insert(now_in(folder)?.checked_sub(ABANDONED).unwrap_or(std::time::UNIX_EPOCH)),
            };
            if !file.metadata().and_then(|meta| meta.modified()).is_ok_and(|modified| modified < oldest) {
                continue;
            }
        }
        if sys::flock(&file, sys::FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove_file(&entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// The time by the clock of whoever keeps `folder`: that of a new file.
fn now_in(folder: &Path) -> Result<std::time::SystemTime> {
    let path = folder.join(format!(".clock.{}{PARTIAL_SUFFIX}", random_hex(12)?));
    let out = OutFile::create_new(&path, PRIVATE_FILE)?;
    let modified = out.file.metadata().and_then(|meta| meta.modified());
    remove_file(&path)?;
    modified.map_err(|error| Error::io(format!("look at {path:?}"), error))
}
