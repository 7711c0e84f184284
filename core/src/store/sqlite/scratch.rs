//! A private folder for a copy that is thrown away.

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, FileLock, PRIVATE_DIR};
use crate::value::random_hex;

/// Scratch folders of this room are called `verify-<random>`.
const PREFIX: &str = "verify-";
/// Locked while the folder is in use, so that a dead owner's folder can be told and removed.
const LOCK: &str = ".lock";

/// A folder of mode 0700, removed with all in it when dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: PathBuf,
    _lock: Option<FileLock>,
}

impl Scratch {
    /// Makes a folder below `parent`, after removing those that killed processes left there.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when `parent` lies in memory and `database` does not: a copy there could take the
    /// machine's memory.
    pub(super) fn create(parent: &Path, database: &Path) -> Result<Self> {
        if fs::is_in_memory(parent)? && !fs::is_in_memory(database)? {
            return Err(Error::new(ErrorKind::Refused, format!("scratch folder {parent:?} lies in memory"))
                .with_hint("put the state folder on a disk"));
        }
        fs::create_dir_all(parent, PRIVATE_DIR)?;
        sweep(parent)?;
        // Named for the sweep only once it is locked.
        let new = parent.join(format!(".new-{}", random_hex(12)?));
        fs::create_dir_all(&new, PRIVATE_DIR)?;
        let mut scratch = Self { folder: new, _lock: None };
        scratch._lock = FileLock::try_acquire(&scratch.folder.join(LOCK))?;
        let folder = parent.join(format!("{PREFIX}{}", random_hex(12)?));
        fs::rename(&scratch.folder, &folder)?;
        scratch.folder = folder;
        fs::create_dir_all(&scratch.copy(), PRIVATE_DIR)?;
        Ok(scratch)
    }

    /// The empty folder inside for the copy.
    pub(super) fn copy(&self) -> PathBuf {
        self.folder.join("copy")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is swept by the next.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn sweep(parent: &Path) -> Result<()> {
    for entry in std::fs::read_dir(parent).map_err(|e| Error::io(format!("read folder {parent:?}"), e))?.flatten() {
        let lock = entry.path().join(LOCK);
        if entry.file_name().to_string_lossy().starts_with(PREFIX) && lock.exists() {
            // A folder that vanishes between the look and the lock is its owner's doing.
            if let Ok(Some(_dead)) = FileLock::try_acquire(&lock) {
                fs::remove_dir_all(&entry.path())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_owners_folder_is_swept_and_a_live_ones_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let dead = parent.path().join("verify-0123");
        std::fs::create_dir(&dead).unwrap();
        std::fs::write(dead.join(LOCK), b"").unwrap();
        let live = Scratch::create(parent.path(), parent.path()).unwrap();
        assert!(!dead.exists());
        let other = Scratch::create(parent.path(), parent.path()).unwrap();
        assert!(live.copy().is_dir() && other.copy().is_dir());
        drop((live, other));
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
