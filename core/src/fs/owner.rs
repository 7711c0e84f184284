//! Whom new files belong to when root makes them.
//!
//! A backup that root makes once by hand, in folders of the service's user, must leave nothing there that the service
//! cannot write: what root makes in somebody's folder belongs to the owner of the folder. SQLite does the same with its
//! `-wal` and `-shm`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs as sys;

/// Gives what this process has just made at `path` to the owner of its folder when this process is root's.
///
/// Only for what was made by this call: a name that was there before may be a second name of somebody else's file. A
/// filesystem that has no owners, or does not let root choose them, keeps its own way.
pub(super) fn follow_folder(made: &File, path: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(folder) = folder.metadata() else { return };
    if folder.uid() != 0 {
        let (uid, gid) = (sys::Uid::from_raw(folder.uid()), sys::Gid::from_raw(folder.gid()));
        let _ = sys::fchown(made, Some(uid), Some(gid));
    }
}

/// As [`follow_folder`], of a folder.
pub(super) fn folder_follows_folder(path: &Path) {
    let flags = sys::OFlags::DIRECTORY | sys::OFlags::NOFOLLOW;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    if let Ok(made) = opened {
        follow_folder(&made, path);
    }
}

/// Opens a file, which is made with `mode` when it is missing.
pub(super) fn open_or_create(options: &mut OpenOptions, path: &Path, mode: u32) -> io::Result<File> {
    options.mode(mode);
    match options.clone().create_new(true).open(path) {
        Ok(made) => {
            follow_folder(&made, path);
            Ok(made)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.create(true).open(path),
        Err(error) => Err(error),
    }
}
