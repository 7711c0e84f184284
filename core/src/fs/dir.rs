//! Work below an open directory, where no name can lead outside.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self as sys, AtFlags, FileType, Mode, OFlags};

use super::fault::{self, Op};
use super::{OutFile, PRIVATE_DIR};
use crate::error::{Error, Result};

/// An open directory. Every name given to it is relative and is resolved beneath it: `..`, absolute names
/// and symlinks on the way are refused by the kernel (`openat2` with `RESOLVE_BENEATH` and
/// `RESOLVE_NO_SYMLINKS`), so a folder swapped for a symlink in the middle of the work changes nothing.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

/// The folder that a name's last component is in.
pub(super) enum Parent<'a> {
    This(BorrowedFd<'a>),
    Beneath(OwnedFd),
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::This(fd) => *fd,
            Self::Beneath(fd) => fd.as_fd(),
        }
    }
}

/// Access and modification time to set, seconds and nanoseconds since the epoch. Either may be negative.
#[derive(Debug, Clone, Copy)]
pub struct NodeTimes {
    /// Seconds of the modification time.
    pub mtime_seconds: i64,
    /// Nanoseconds of the modification time, 0 to 999,999,999.
    pub mtime_nanos: u32,
}

impl NodeTimes {
    pub(super) fn to_timestamps(self) -> sys::Timestamps {
        let stamp = sys::Timespec { tv_sec: self.mtime_seconds, tv_nsec: self.mtime_nanos.into() };
        sys::Timestamps { last_access: stamp, last_modification: stamp }
    }
}

impl Dir {
    /// Opens `path`, following symlinks: the caller trusts this one name.
    pub fn open(path: &Path) -> Result<Self> {
        let fd = sys::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| Error::io(format!("open folder {path:?}"), e))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// The name it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the folder `name` beneath this one.
    pub fn open_dir(&self, name: &Path) -> Result<Self> {
        let fd = self
            .open_beneath(name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| Error::io(format!("open folder {:?}", self.path.join(name)), e))?;
        Ok(Self { fd, path: self.path.join(name) })
    }

    /// Another handle of the same folder.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self.fd.try_clone().map_err(|e| Error::io(format!("open folder {:?} again", self.path), e))?;
        Ok(Self { fd, path: self.path.clone() })
    }

    /// Creates the folder `name`, which must not exist, private until its mode is set.
    pub fn make_dir(&self, name: &Path) -> Result<()> {
        self.in_parent(Op::MakeDir, name, "create folder", |parent, last| {
            sys::mkdirat(parent, last, Mode::from_raw_mode(PRIVATE_DIR))
        })
    }

    /// Removes `name`, which is not a folder. One that is missing already is not an error.
    pub fn remove_file(&self, name: &Path) -> Result<()> {
        self.in_parent(Op::Remove, name, "remove", |parent, last| {
            match sys::unlinkat(parent, last, AtFlags::empty()) {
                Err(rustix::io::Errno::NOENT) => Ok(()),
                other => other,
            }
        })
    }

    /// Creates the folder `name` and its missing parents, each new one private until its mode is set.
    pub fn make_dir_all(&self, name: &Path) -> Result<()> {
        let mut so_far = PathBuf::new();
        for component in name.components() {
            so_far.push(component);
            let full = self.path.join(&so_far);
            let (parent, last) = self.parent_of(&so_far)?;
            let made = fault::point(Op::MakeDir, &full)
                .and_then(|()| sys::mkdirat(&parent, &last, Mode::from_raw_mode(PRIVATE_DIR)).map_err(io::Error::from));
            match made {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::io(format!("create folder {full:?}"), error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Creates the file `name`, which must not exist. Its mode is `mode` less the umask until set.
    pub fn create_file(&self, name: &Path, mode: u32) -> Result<OutFile> {
        let full = self.path.join(name);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fault::point(Op::Create, &full)
            .and_then(|()| self.open_beneath(name, flags, Mode::from_raw_mode(mode)))
            .map_err(|e| Error::io(format!("create {full:?}"), e))?;
        Ok(OutFile::from_parts(File::from(file), full))
    }

    /// Opens the existing regular file `name` for writing.
    pub fn open_file(&self, name: &Path) -> Result<OutFile> {
        let full = self.path.join(name);
        let file = self
            .open_beneath(name, OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| Error::io(format!("open {full:?}"), e))?;
        Ok(OutFile::from_parts(File::from(file), full))
    }

    /// Makes the symlink `name` with the given target, which is not looked at.
    pub fn symlink(&self, target: &OsStr, name: &Path) -> Result<()> {
        self.in_parent(Op::Meta, name, "create symlink", |parent, last| sys::symlinkat(target, parent, last))
    }

    /// Makes `name` a second name of the file `existing`, both beneath this folder.
    pub fn hard_link(&self, existing: &Path, name: &Path) -> Result<()> {
        let (from_parent, from_last) = self.parent_of(existing)?;
        self.in_parent(Op::Meta, name, "create hard link", |parent, last| {
            sys::linkat(&from_parent, &from_last, parent, last, AtFlags::empty())
        })
    }

    /// Makes the FIFO `name`.
    pub fn fifo(&self, name: &Path, mode: u32) -> Result<()> {
        self.in_parent(Op::Meta, name, "create FIFO", |parent, last| {
            sys::mknodat(parent, last, FileType::Fifo, Mode::from_raw_mode(mode), 0)
        })
    }

    /// Sets owner and group of `name` itself, not of what a symlink points to.
    pub fn set_owner(&self, name: &Path, uid: u32, gid: u32) -> Result<()> {
        self.in_parent(Op::Meta, name, "set the owner of", |parent, last| {
            sys::chownat(
                parent,
                last,
                Some(sys::Uid::from_raw(uid)),
                Some(sys::Gid::from_raw(gid)),
                AtFlags::SYMLINK_NOFOLLOW,
            )
        })
    }

    /// Sets the permission bits of `name`, which must not be a symlink.
    pub fn set_mode(&self, name: &Path, mode: u32) -> Result<()> {
        self.in_parent(Op::Meta, name, "set the mode of", |parent, last| {
            // Nothing but this process writes below a staging folder; the parent was resolved beneath.
            sys::chmodat(parent, last, Mode::from_raw_mode(mode), AtFlags::empty())
        })
    }

    /// Sets the times of `name` itself, not of what a symlink points to.
    pub fn set_times(&self, name: &Path, times: NodeTimes) -> Result<()> {
        let both = times.to_timestamps();
        self.in_parent(Op::Meta, name, "set the times of", |parent, last| {
            sys::utimensat(parent, last, &both, AtFlags::SYMLINK_NOFOLLOW)
        })
    }

    /// Sets an extended attribute of `name`, a regular file or folder.
    pub fn set_xattr(&self, name: &Path, attribute: &OsStr, value: &[u8]) -> Result<()> {
        let full = self.path.join(name);
        let set = || -> io::Result<()> {
            fault::point(Op::Meta, &full)?;
            let file = self.open_beneath(
                name,
                OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            Ok(sys::fsetxattr(&file, attribute, value, sys::XattrFlags::empty())?)
        };
        set().map_err(|e| Error::io(format!("set attribute {attribute:?} of {full:?}"), e))
    }

    /// `fsync` of this folder.
    pub fn sync(&self) -> Result<()> {
        fault::point(Op::Sync, &self.path)
            .and_then(|()| sys::fsync(&self.fd).map_err(io::Error::from))
            .map_err(|e| Error::io(format!("fsync folder {:?}", self.path), e))
    }

    fn in_parent(
        &self,
        op: Op,
        name: &Path,
        doing: &str,
        act: impl FnOnce(BorrowedFd<'_>, &OsStr) -> rustix::io::Result<()>,
    ) -> Result<()> {
        let full = self.path.join(name);
        let (parent, last) = self.parent_of(name)?;
        fault::point(op, &full)
            .and_then(|()| act(parent.as_fd(), &last).map_err(io::Error::from))
            .map_err(|e| Error::io(format!("{doing} {full:?}"), e))
    }

    /// The open parent folder of `name`, and the last component. Costs a system call only when `name` has
    /// a parent beneath this folder.
    pub(super) fn parent_of(&self, name: &Path) -> Result<(Parent<'_>, OsString)> {
        let refuse = || Error::invalid(format!("{name:?} does not stay inside its folder"));
        if !name.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(refuse());
        }
        let last = name.file_name().ok_or_else(refuse)?.to_owned();
        let Some(parent) = name.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
            return Ok((Parent::This(self.fd.as_fd()), last));
        };
        let fd = self
            .open_beneath(parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| Error::io(format!("open folder {:?}", self.path.join(parent)), e))?;
        Ok((Parent::Beneath(fd), last))
    }

    #[cfg(target_os = "linux")]
    fn open_beneath(&self, name: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let how = sys::ResolveFlags::BENEATH | sys::ResolveFlags::NO_SYMLINKS | sys::ResolveFlags::NO_MAGICLINKS;
        loop {
            // EAGAIN means that a concurrent rename made the kernel give up: openat2(2) says to try again.
            match sys::openat2(&self.fd, name, flags, mode, how) {
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn open_beneath(&self, name: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let parts: Vec<_> = name.components().filter(|part| *part != Component::CurDir).collect();
        if parts.iter().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let step = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Some((last, parents)) = parts.split_last() else {
            return Ok(sys::openat(&self.fd, ".", flags, mode)?);
        };
        let mut at = sys::openat(&self.fd, ".", step, Mode::empty())?;
        for part in parents {
            at = sys::openat(&at, part.as_os_str(), step, Mode::empty())?;
        }
        Ok(sys::openat(&at, last.as_os_str(), flags | OFlags::NOFOLLOW, mode)?)
    }
}
