//! Trading places: the renames of which a restore is made. Every name is resolved beneath an open [`Dir`].

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{self as sys, AtFlags, RenameFlags};
use rustix::io::Errno;

use super::fault::{self, Op};
use super::{Dir, PRIVATE_DIR, remove_dir_all};
use crate::error::{Error, ErrorKind, Result};

/// Which node a name stands for: device and inode.
pub(crate) type NodeId = (u64, u64);

impl Dir {
    /// The node called `name` itself, not what a symlink points to; `None` when it, or its folder, is missing.
    pub(crate) fn node(&self, name: &Path) -> Result<Option<NodeId>> {
        let (parent, last) = match self.parent_of(name) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        match sys::statat(&parent, &last, AtFlags::SYMLINK_NOFOLLOW) {
            #[allow(clippy::unnecessary_cast, reason = "the fields' types differ between systems")]
            Ok(stat) => Ok(Some((stat.st_dev as u64, stat.st_ino as u64))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::io(format!("look at {:?}", self.path().join(name)), error)),
        }
    }

    /// Trades the nodes of two names in one step (`RENAME_EXCHANGE`). `false` when the filesystem cannot.
    pub(crate) fn exchange(&self, name: &Path, other: &Self, other_name: &Path) -> Result<bool> {
        match self.rename_as(name, other, other_name, RenameFlags::EXCHANGE)? {
            Ok(()) => Ok(true),
            Err(error) if lacks_flags(&error) => Ok(false),
            Err(error) => {
                let (this, that) = (self.path().join(name), other.path().join(other_name));
                Err(rename_error(format!("exchange {this:?} and {that:?}"), error))
            }
        }
    }

    /// Renames `name` to `other_name` beneath `other`, where there must be nothing.
    pub(crate) fn move_to(&self, name: &Path, other: &Self, other_name: &Path) -> Result<()> {
        let doing = || format!("move {:?} to {:?}", self.path().join(name), other.path().join(other_name));
        match self.rename_as(name, other, other_name, RenameFlags::NOREPLACE)? {
            Ok(()) => Ok(()),
            Err(error) if lacks_flags(&error) => {
                // Nobody else may write here: look, then rename.
                if other.node(other_name)?.is_some() {
                    return Err(Error::io(doing(), Errno::EXIST));
                }
                self.rename_as(name, other, other_name, RenameFlags::empty())?.map_err(|e| rename_error(doing(), e))
            }
            Err(error) => Err(rename_error(doing(), error)),
        }
    }

    /// `fsync` of the folder that holds `name`; a folder that is gone needs none.
    pub(crate) fn sync_parent(&self, name: &Path) -> Result<()> {
        let parent = match self.parent_of(name) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other?.0,
        };
        let full = self.path().join(name);
        fault::point(Op::Sync, &full)
            .and_then(|()| sys::fsync(&parent).map_err(io::Error::from))
            .map_err(|e| Error::io(format!("fsync the folder of {full:?}"), e))
    }

    /// The outer error is that of finding the folders, the inner one that of the rename.
    fn rename_as(&self, name: &Path, other: &Self, other_name: &Path, flags: RenameFlags) -> Result<io::Result<()>> {
        let (from, from_last) = self.parent_of(name)?;
        let (to, to_last) = other.parent_of(other_name)?;
        #[cfg(test)]
        if !flags.is_empty() && without_flags::active() {
            return Ok(Err(Errno::INVAL.into()));
        }
        if let Err(injected) = fault::point(Op::Rename, &self.path().join(name)) {
            return Ok(Err(injected));
        }
        #[cfg(any(target_os = "linux", target_vendor = "apple"))]
        let done = sys::renameat_with(&from, &from_last, &to, &to_last, flags);
        #[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
        let done = if flags.is_empty() { sys::renameat(&from, &from_last, &to, &to_last) } else { Err(Errno::NOSYS) };
        Ok(done.map_err(io::Error::from))
    }
}

/// Whether the kernel or the filesystem knows no flags of a rename: NFS, some FUSE filesystems, old ZFS.
fn lacks_flags(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS | libc::ENOTSUP))
}

fn rename_error(doing: String, error: io::Error) -> Error {
    let hint = match error.raw_os_error() {
        Some(libc::EXDEV) => {
            "the filesystem cannot rename it (an image layer of a container?): restore `into` another folder"
        }
        Some(libc::EBUSY) => "it has become a mount point: unmount it, or plan the restore again",
        _ => return Error::io(doing, error),
    };
    Error::io(doing, error).with_hint(hint)
}

/// Removes a folder and all in it, those folders included that do not let their owner write. Never follows a
/// symlink. One that is missing already is not an error.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    match remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::Denied => {
            open_up(path)?;
            remove_dir_all(path)
        }
        other => other,
    }
}

fn open_up(path: &Path) -> Result<()> {
    let mut waiting: Vec<PathBuf> = vec![path.to_owned()];
    while let Some(folder) = waiting.pop() {
        let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else { continue };
        Dir::open(parent)?.set_mode(Path::new(name), PRIVATE_DIR)?;
        for entry in std::fs::read_dir(&folder).map_err(|e| Error::io(format!("read folder {folder:?}"), e))? {
            let entry = entry.map_err(|e| Error::io(format!("read folder {folder:?}"), e))?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(entry.path());
            }
        }
    }
    Ok(())
}

/// Acts a filesystem that knows no flags of a rename, for this thread.
#[cfg(test)]
pub(crate) mod without_flags {
    use std::cell::Cell;

    thread_local! {
        static ON: Cell<bool> = const { Cell::new(false) };
    }

    /// Switches it on or off.
    pub(crate) fn set(on: bool) {
        ON.set(on);
    }

    pub(super) fn active() -> bool {
        ON.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene() -> (tempfile::TempDir, Dir) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "a").unwrap();
        std::fs::create_dir(folder.path().join("d")).unwrap();
        std::fs::write(folder.path().join("d/b"), "b").unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        (folder, dir)
    }

    #[test]
    fn two_names_trade_their_nodes_whatever_their_kinds() {
        let (folder, dir) = scene();
        let (a, d) = (dir.node(Path::new("a")).unwrap(), dir.node(Path::new("d")).unwrap());
        assert!(dir.exchange(Path::new("a"), &dir, Path::new("d")).unwrap());
        assert_eq!((dir.node(Path::new("d")).unwrap(), dir.node(Path::new("a")).unwrap()), (a, d));
        assert_eq!(std::fs::read(folder.path().join("a/b")).unwrap(), b"b");
    }

    #[test]
    fn a_move_replaces_nothing_with_or_without_the_flag() {
        for lacking in [false, true] {
            let (folder, dir) = scene();
            without_flags::set(lacking);
            assert!(dir.move_to(Path::new("a"), &dir, Path::new("d/b")).is_err());
            dir.move_to(Path::new("a"), &dir, Path::new("d/c")).unwrap();
            assert_eq!(dir.exchange(Path::new("d/b"), &dir, Path::new("d/c")).unwrap(), !lacking);
            without_flags::set(false);
            assert_eq!(dir.node(Path::new("a")).unwrap(), None);
            assert_eq!(std::fs::read(folder.path().join(if lacking { "d/c" } else { "d/b" })).unwrap(), b"a");
        }
    }

    #[test]
    fn a_symlink_on_the_way_is_not_followed() {
        let (folder, dir) = scene();
        std::os::unix::fs::symlink("d", folder.path().join("link")).unwrap();
        assert!(dir.node(Path::new("link/b")).is_err());
        assert!(dir.move_to(Path::new("link/b"), &dir, Path::new("x")).is_err());
        assert!(dir.move_to(Path::new("a"), &dir, Path::new("../x")).is_err());
    }
}
