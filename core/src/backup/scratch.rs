//! A folder for one run, in which consistent copies of databases live until they are stored, and restored ones until
//! they are checked.
//!
//! It is called `run-<random>` and has a lock beside it, `run-<random>.lock`, that is held for as long as
//! the run lives: so the next run removes what a dead one left, and spares a live one.

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::fs::swap::remove_tree;
use crate::fs::{self, FileLock, PRIVATE_DIR};
use crate::value::random_hex;

const PREFIX: &str = "run-";
const LOCK: &str = ".lock";

/// The folder of one run, removed with all in it when dropped.
#[derive(Debug)]
pub struct Scratch {
    folder: PathBuf,
    lock: PathBuf,
    _held: FileLock,
}

impl Scratch {
    /// Makes a folder below `base`, which is created as well, after what dead runs left there is gone.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when `base` is in memory and that is not allowed.
    pub fn create(base: &Path, allow_in_memory: bool) -> Result<Self> {
        if !allow_in_memory && fs::is_in_memory(base)? {
            return Err(Self::in_memory(base));
        }
        fs::create_dir_all(base, PRIVATE_DIR)?;
        sweep(base)?;
        loop {
            let name = format!("{PREFIX}{}", random_hex(12)?);
            let lock = base.join(format!("{name}{LOCK}"));
            let held = FileLock::try_acquire(&lock)?;
            // A sweep may have met the lock before it was held, and removed it: then another one is made.
            if let (Some(held), true) = (held, fs::identity(&lock)?.is_some()) {
                let folder = base.join(name);
                let scratch = Self { folder, lock, _held: held };
                fs::create_dir_all(&scratch.folder, PRIVATE_DIR)?;
                return Ok(scratch);
            }
        }
    }

    /// The refusal of a folder that is in memory.
    pub(super) fn in_memory(base: &Path) -> Error {
        Error::new(
            ErrorKind::Refused,
            format!("the scratch folder {base:?} is in memory, where a copy of a database does not belong"),
        )
        .with_hint("set backup.scratch to a folder on a disk, or backup.scratch_in_memory = true")
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Makes an empty folder in it, removed with it.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder, PRIVATE_DIR)?;
        Ok(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // First the folder, then the lock that speaks for it. What fails here the next run removes.
        if remove_tree(&self.folder).is_ok() {
            let _ = fs::remove_file(&self.lock);
        }
    }
}

/// Removes what dead runs left.
fn sweep(base: &Path) -> Result<()> {
    let read = |error| Error::io(format!("read folder {base:?}"), error);
    for entry in std::fs::read_dir(base).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(run) = name.strip_prefix(PREFIX) else { continue };
        let lock = match run.strip_suffix(LOCK) {
            Some(_) => path.clone(),
            None => base.join(format!("{name}{LOCK}")),
        };
        // A folder exists only while its lock does: without one it is litter.
        let held = if fs::identity(&lock)?.is_some() { FileLock::try_acquire(&lock)? } else { None };
        if held.is_none() && fs::identity(&lock)?.is_some() {
            continue;
        }
        remove_tree(&base.join(name.strip_suffix(LOCK).unwrap_or(&name)))?;
        fs::remove_file(&lock)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(base: &Path) -> Vec<String> {
        std::fs::read_dir(base).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_run_leaves_nothing_and_clears_away_the_dead() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path().join("scratch");
        std::fs::create_dir_all(base.join("run-dead1/db")).unwrap();
        std::fs::write(base.join("run-dead1.lock"), b"").unwrap();
        std::fs::create_dir_all(base.join("run-dead2")).unwrap();
        std::fs::write(base.join("run-dead3.lock"), b"").unwrap();
        std::fs::write(base.join("not-ours"), b"").unwrap();
        let first = Scratch::create(&base, true).unwrap();
        std::fs::write(first.folder("db").unwrap().join("copy"), b"x").unwrap();
        let second = Scratch::create(&base, true).unwrap();
        assert!(first.path().join("db/copy").exists(), "a live run was swept");
        drop((first, second));
        assert_eq!(names(&base), ["not-ours"]);
    }

    #[test]
    fn memory_is_refused_unless_allowed() {
        let base = Path::new("/dev/shm/uplifted-ops-scratch-test");
        if !fs::is_in_memory(base).unwrap() {
            return;
        }
        let error = Scratch::create(base, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(!base.exists());
        drop(Scratch::create(base, true).unwrap());
        std::fs::remove_dir(base).unwrap();
    }

    #[test]
    fn many_at_once_do_not_sweep_each_other() {
        let base = tempfile::tempdir().unwrap();
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| {
                    for _ in 0..20 {
                        let scratch = Scratch::create(base.path(), true).unwrap();
                        std::fs::write(scratch.path().join("copy"), b"x").unwrap();
                        assert!(scratch.path().join("copy").exists());
                    }
                });
            }
        });
        assert!(names(base.path()).is_empty());
    }
}
