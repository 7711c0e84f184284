//! Every write to a disk. No other room creates, renames, removes or syncs a file.
//!
//! The rule is the same everywhere: write beside, fsync, rename, fsync the folder ([`AtomicFile`]).
//! [`Dir`] does the same below an open directory, where no `..`, absolute name or symlink can lead
//! outside. Each mutating call passes a fault point ([`fault`]), where the crash tests kill the process or
//! make the call fail.

#![allow(clippy::disallowed_methods, reason = "this room is where the disallowed calls live")]

mod atomic;
mod dir;
pub mod fault;
mod foreign;
mod owner;
mod process_lock;
mod socket;
pub(crate) mod swap;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs as sys;

use crate::error::{Error, ErrorKind, Result};

pub use atomic::{AtomicFile, sweep_partials, sweep_partials_of};
pub use dir::{Dir, NodeTimes};
use fault::Op;
pub use process_lock::ProcessLock;
pub use socket::{NamedSocket, SocketName};

/// The mode of files that may hold secrets.
pub const PRIVATE_FILE: u32 = 0o600;
/// The mode of folders that may hold secrets.
pub const PRIVATE_DIR: u32 = 0o700;

/// A file open for writing that knows its name, for the errors.
#[derive(Debug)]
pub struct OutFile {
    file: File,
    path: PathBuf,
}

impl OutFile {
    pub(crate) fn from_parts(file: File, path: PathBuf) -> Self {
        Self { file, path }
    }

    /// Creates `path`, which must not exist, with exactly `mode` whatever the umask; where the filesystem has no modes
    /// (FAT, exFAT, SMB), with those that it shows for every file.
    pub fn create_new(path: &Path, mode: u32) -> Result<Self> {
        fault::point(Op::Create, path).map_err(|e| Error::io(format!("create {path:?}"), e))?;
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)
            .map_err(|e| Error::io(format!("create {path:?}"), e))?;
        owner::follow_folder(&file, path);
        let out = Self { file, path: path.to_owned() };
        match out.set_mode(mode) {
            Err(_) if foreign::has_no_modes(path) => {}
            set => set?,
        }
        Ok(out)
    }

    /// Opens `path` for appending (`O_APPEND`), creating it with `mode`. A single [`OutFile::append`] is one
    /// `write(2)`, so records of several processes never interleave (POSIX `write`).
    pub fn append_to(path: &Path, mode: u32) -> Result<Self> {
        let file = owner::open_or_create(File::options().read(true).append(true), path, mode)
            .map_err(|e| Error::io(format!("open {path:?} for appending"), e))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// The file's name, as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file itself, for reading back.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Writes all of `bytes` at the current position.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        let Self { file, path } = self;
        write_fully(bytes, path, |part, _| file.write(part))
    }

    /// Writes all of `bytes` at `offset`; several threads may do so at once.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        write_fully(bytes, &self.path, |part, done| self.file.write_at(part, offset + done))
    }

    /// Appends `record` with one `write(2)`. A short write is an error; the reader skips the torn record.
    pub fn append(&mut self, record: &[u8]) -> Result<()> {
        let allowed = fault::write_point(&self.path, record.len())
            .map_err(|e| Error::io(format!("append to {:?}", self.path), e))?;
        let written =
            self.file.write(&record[..allowed]).map_err(|e| Error::io(format!("append to {:?}", self.path), e))?;
        if written == record.len() {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::NoSpace, format!("only part of a record was appended to {:?}", self.path))
                .with_hint("free space on that filesystem, then try again"))
        }
    }

    /// Sets the length; what is added reads as zeros and takes no space.
    pub fn set_len(&self, len: u64) -> Result<()> {
        fault::point(Op::Truncate, &self.path)
            .and_then(|()| self.file.set_len(len))
            .map_err(|e| Error::io(format!("set the length of {:?}", self.path), e))
    }

    /// Asks for room for `len` bytes in one place (`fallocate(2)`), for a file that is written in no order. It promises
    /// nothing: where it is refused the writes say why. The length stays. Linux only.
    pub fn reserve(&self, len: u64) {
        #[cfg(target_os = "linux")]
        let _ = rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, len);
        #[cfg(not(target_os = "linux"))]
        let _ = len;
    }

    /// Makes room on the disk for `len` zero bytes at `offset`, and the file as long as that needs: what is written there
    /// later, through a mapping above all, finds a place. Where the filesystem cannot promise room, zeros are written.
    pub fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        let failed = |e: io::Error| Error::io(format!("make room in {:?}", self.path), e);
        fault::point(Op::Truncate, &self.path).map_err(failed)?;
        #[cfg(target_os = "linux")]
        match sys::fallocate(&self.file, sys::FallocateFlags::empty(), offset, len) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(failed(error.into())),
        }
        let zeros = [0; 1 << 16];
        let mut at = 0;
        while at < len {
            let part = usize::try_from(len - at).map_or(zeros.len(), |left| left.min(zeros.len()));
            self.write_all_at(&zeros[..part], offset + at)?;
            at += part as u64;
        }
        Ok(())
    }

    /// Sets the permission bits.
    pub fn set_mode(&self, mode: u32) -> Result<()> {
        self.file
            .set_permissions(std::fs::Permissions::from_mode(mode))
            .map_err(|e| Error::io(format!("set the mode of {:?}", self.path), e))
    }

    /// Sets owner and group. The kernel takes set-id bits away: set the mode afterwards.
    pub fn set_owner(&self, uid: u32, gid: u32) -> Result<()> {
        self.meta("set the owner of", |file| {
            sys::fchown(file, Some(sys::Uid::from_raw(uid)), Some(sys::Gid::from_raw(gid)))
        })
    }

    /// Sets access and modification time. Later writes change them again.
    pub fn set_times(&self, times: NodeTimes) -> Result<()> {
        self.meta("set the times of", |file| sys::futimens(file, &times.to_timestamps()))
    }

    /// Sets an extended attribute.
    pub fn set_xattr(&self, attribute: &OsStr, value: &[u8]) -> Result<()> {
        self.meta(format_args!("set attribute {attribute:?} of"), |file| {
            sys::fsetxattr(file, attribute, value, sys::XattrFlags::empty())
        })
    }

    fn meta(&self, doing: impl std::fmt::Display, act: impl FnOnce(&File) -> rustix::io::Result<()>) -> Result<()> {
        fault::point(Op::Meta, &self.path)
            .and_then(|()| act(&self.file).map_err(io::Error::from))
            .map_err(|e| Error::io(format!("{doing} {:?}", self.path), e))
    }

    /// Makes this file share the blocks of `source` (ioctl `FICLONE`: Btrfs, XFS, bcachefs), replacing what it
    /// holds: a copy of any size at once. Says whether it did; most filesystems cannot, and none can across
    /// devices, so `false` asks for a plain copy.
    pub fn reflink_from(&self, source: &File) -> Result<bool> {
        fault::point(Op::Write, &self.path).map_err(|e| Error::io(format!("write {:?}", self.path), e))?;
        #[cfg(target_os = "linux")]
        return Ok(sys::ioctl_ficlone(&self.file, source).is_ok());
        #[cfg(not(target_os = "linux"))]
        {
            let _ = source;
            Ok(false)
        }
    }

    /// `fsync`: returns when the device has the bytes.
    pub fn sync(&self) -> Result<()> {
        fault::point(Op::Sync, &self.path)
            .and_then(|()| self.file.sync_all())
            .map_err(|e| Error::io(format!("fsync {:?}", self.path), e))
    }
}

/// Repeats `write` until everything is out, passing a fault point each time.
fn write_fully(bytes: &[u8], path: &Path, mut write: impl FnMut(&[u8], u64) -> io::Result<usize>) -> Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        let step = fault::write_point(path, bytes.len() - done).and_then(|allowed| {
            match write(&bytes[done..done + allowed], done as u64) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                other => other,
            }
        });
        match step {
            Ok(written) => done += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io(format!("write {path:?}"), error)),
        }
    }
    Ok(())
}

/// Replaces `path` by `bytes`, whole or not at all, durable when it returns.
pub fn write_atomic(path: &Path, mode: u32, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path, mode)?;
    file.out()?.write_all(bytes)?;
    file.publish()
}

/// Creates `path` and its missing parents, each new one with exactly `mode`.
pub fn create_dir_all(path: &Path, mode: u32) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_dir_all(parent, mode)?;
    }
    let made = fault::point(Op::MakeDir, path).and_then(|()| std::fs::DirBuilder::new().mode(mode).create(path));
    match made {
        Ok(()) => {
            owner::folder_follows_folder(path);
            match std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)) {
                Err(_) if foreign::has_no_modes(path) => {}
                set => set.map_err(|e| Error::io(format!("set the mode of {path:?}"), e))?,
            }
            match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                Some(parent) => sync_dir(parent),
                None => Ok(()),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(Error::io(format!("create folder {path:?}"), error)),
    }
}

/// Renames within a filesystem. Durable only after [`sync_dir`] of both folders.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fault::point(Op::Rename, to)
        .and_then(|()| std::fs::rename(from, to))
        .map_err(|e| Error::io(format!("rename {from:?} to {to:?}"), e))
}

/// Removes a file. One that is missing already is not an error.
pub fn remove_file(path: &Path) -> Result<()> {
    match fault::point(Op::Remove, path).and_then(|()| std::fs::remove_file(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(format!("remove {path:?}"), error)),
        _ => Ok(()),
    }
}

/// Removes a folder and all in it, never following a symlink. One that is missing already is not an error.
pub fn remove_dir_all(path: &Path) -> Result<()> {
    match fault::point(Op::Remove, path).and_then(|()| std::fs::remove_dir_all(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove folder {path:?}"), error))
        }
        _ => Ok(()),
    }
}

/// `fsync` of a folder: makes the names in it durable. Some filesystems of other machines have no such call; they
/// are on their own.
pub fn sync_dir(path: &Path) -> Result<()> {
    match fault::point(Op::Sync, path).and_then(|()| File::open(path)?.sync_all()) {
        Err(error) if foreign::is_unknown(&error) => Ok(()),
        done => done.map_err(|e| Error::io(format!("fsync folder {path:?}"), e)),
    }
}

/// Asks the kernel to begin writing what is not on the device yet, in `range` or anywhere (`sync_file_range(2)`): a later
/// sync has less to wait for, and the next write through a mapping of the file moves its time again. It promises
/// nothing. Linux only.
#[cfg_attr(target_os = "linux", allow(unsafe_code, reason = "sync_file_range has no wrapper in rustix"))]
pub fn start_writeback(file: &impl AsFd, range: Option<Range<u64>>) {
    #[cfg(target_os = "linux")]
    {
        // A length of 0 reaches to the end.
        let Range { start, end } = range.unwrap_or_default();
        let (Ok(offset), Ok(len)) = (start.try_into(), end.saturating_sub(start).try_into()) else { return };
        let fd = std::os::fd::AsRawFd::as_raw_fd(&file.as_fd());
        // SAFETY: it takes an open descriptor and three integers, and touches no memory of ours.
        unsafe {
            libc::sync_file_range(fd, offset, len, libc::SYNC_FILE_RANGE_WRITE);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, range);
}

/// `syncfs`: makes everything written to the filesystem of `path` durable. Write-back errors from before the
/// call are not seen: open a [`FilesystemSync`] before the writing begins where they matter.
pub fn sync_filesystem(path: &Path) -> Result<()> {
    FilesystemSync::open(path)?.sync()
}

/// One `syncfs` for much work: opened before the first write, so that it reports every write-back error of
/// that filesystem since then (Linux 5.8).
#[derive(Debug)]
pub struct FilesystemSync {
    file: File,
    path: PathBuf,
}

impl FilesystemSync {
    /// Starts watching the filesystem of the existing `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(format!("open {path:?}"), e))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Makes everything written to the filesystem durable, or says what could not be.
    pub fn sync(&self) -> Result<()> {
        let sync = || -> io::Result<()> {
            fault::point(Op::Sync, &self.path)?;
            #[cfg(target_os = "linux")]
            sys::syncfs(&self.file)?;
            #[cfg(not(target_os = "linux"))]
            {
                sys::sync();
                self.file.sync_all()?;
            }
            Ok(())
        };
        sync().map_err(|e| Error::io(format!("sync the filesystem of {:?}", self.path), e))
    }
}

/// What a filesystem has left for this user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this user can still write.
    pub free_bytes: u64,
    /// All bytes of the filesystem.
    pub total_bytes: u64,
    /// Inodes left; 0 of 0 where the filesystem does not count them.
    pub free_inodes: u64,
    /// All inodes of the filesystem.
    pub total_inodes: u64,
}

/// Asks the filesystem of `path`, or of its nearest existing parent, for its space.
pub fn space(path: &Path) -> Result<Space> {
    let existing = nearest_existing(path);
    let stat = sys::statvfs(&existing).map_err(|e| Error::io(format!("ask for the free space of {existing:?}"), e))?;
    Ok(Space {
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        free_inodes: stat.f_favail,
        total_inodes: stat.f_files,
    })
}

/// Whether `path`, or its nearest existing parent, lies in memory (tmpfs or ramfs).
pub fn is_in_memory(path: &Path) -> Result<bool> {
    #[cfg(target_os = "linux")]
    {
        const TMPFS_MAGIC: i64 = 0x0102_1994;
        const RAMFS_MAGIC: i64 = 0x8584_58f6;
        let existing = nearest_existing(path);
        let stat =
            sys::statfs(&existing).map_err(|e| Error::io(format!("ask for the filesystem of {existing:?}"), e))?;
        #[allow(clippy::unnecessary_cast, reason = "the field's type differs between architectures")]
        let kind = stat.f_type as i64;
        Ok(matches!(kind, TMPFS_MAGIC | RAMFS_MAGIC))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        Ok(false)
    }
}

/// `path` itself, or the closest parent that exists.
pub fn nearest_existing(path: &Path) -> PathBuf {
    let mut candidate = path;
    loop {
        if candidate.symlink_metadata().is_ok() {
            return candidate.to_owned();
        }
        match candidate.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => candidate = parent,
            _ => return PathBuf::from(if path.is_absolute() { "/" } else { "." }),
        }
    }
}

/// The device and inode of `path` itself, not of what a symlink points to; `None` when it is missing.
pub fn identity(path: &Path) -> Result<Option<(u64, u64)>> {
    match path.symlink_metadata() {
        Ok(meta) => Ok(Some((meta.dev(), meta.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(format!("look at {path:?}"), error)),
    }
}

/// A lock between processes: an `flock` on a file that stays. Released when dropped or when the process ends,
/// however it ends.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing is not enough: a child between fork and exec has a copy of the descriptor.
        let _ = sys::flock(&self.file, sys::FlockOperation::Unlock);
    }
}

impl FileLock {
    /// Takes the lock at `path`, or returns `None` when another process (or another call in this one) holds it.
    pub fn try_acquire(path: &Path) -> Result<Option<Self>> {
        let file = owner::open_or_create(File::options().read(true).write(true).truncate(false), path, PRIVATE_FILE)
            .map_err(|e| Error::io(format!("open lock {path:?}"), e))?;
        match sys::flock(&file, sys::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(Error::io(format!("lock {path:?}"), error)),
        }
    }
}

fn split(path: &Path) -> Result<(&Path, &std::ffi::OsStr)> {
    let name = path.file_name().ok_or_else(|| Error::invalid(format!("{path:?} does not name a file")))?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Ok((folder, name))
}

#[cfg(test)]
mod tests;
