//! A lock that belongs to the process.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, TryLockError};

use rustix::fs as sys;
use rustix::io::Errno;

use super::{OutFile, identity, split};
use crate::error::{Error, ErrorKind, Result};

/// A lock between processes that a forked child does not have and does not keep: a record lock (fcntl(2), `F_SETLK`)
/// on a file that stays.
///
/// An `flock`, as [`FileLock`](super::FileLock) has it, belongs to the open file, and a forked child holds that open
/// for as long as it lives: a server that forks its workers would go on holding the lock after its death. A record
/// lock ends with the process that took it, however it ends. It also ends when that process closes *any* descriptor
/// of the file, so nothing else may open it, and this process keeps a list of those that it holds.
#[derive(Debug)]
pub struct ProcessLock {
    file: File,
    path: PathBuf,
    pid: u32,
    node: (u64, u64),
}

/// The locks that a process of that id holds, by path. A forked child inherits the list, and not the locks.
static HELD: Mutex<BTreeMap<PathBuf, u32>> = Mutex::new(BTreeMap::new());

impl ProcessLock {
    /// Takes the lock at `path`, or returns `None` when somebody holds it, in this process or another.
    ///
    /// The file is made when it is missing, for everyone who may enter its folder: which user comes first must not
    /// decide who may lock.
    ///
    /// # Errors
    /// What the system says to making, opening and locking the file.
    pub fn try_acquire(path: &Path) -> Result<Option<Self>> {
        let (folder, name) = split(path)?;
        let folder = folder.canonicalize().map_err(|e| Error::io(format!("find folder {folder:?}"), e))?;
        let path = folder.join(name);
        let pid = std::process::id();
        let Some(mut held) = held() else { return Ok(None) };
        if held.get(&path) == Some(&pid) {
            return Ok(None);
        }
        // Made anew as often as somebody removes it between our look and our lock.
        for _ in 0..10 {
            let file = open(&path)?;
            match sys::fcntl_lock(&file, sys::FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::AGAIN | Errno::ACCESS) => return Ok(None),
                Err(error) => return Err(Error::io(format!("lock {path:?}"), error)),
            }
            let stat = sys::fstat(&file).map_err(|e| Error::io(format!("look at lock {path:?}"), e))?;
            #[allow(clippy::unnecessary_cast, reason = "the types of the fields differ between systems")]
            let node = (stat.st_dev as u64, stat.st_ino as u64);
            if identity(&path)? == Some(node) {
                held.insert(path.clone(), pid);
                return Ok(Some(Self { file, path, pid, node }));
            }
        }
        Err(Error::new(ErrorKind::Busy, format!("the lock {path:?} is removed while it is taken"))
            .with_hint("stop what removes it"))
    }

    /// Whether nobody holds the lock at `path`, in this process or another.
    ///
    /// # Errors
    /// What the system says to opening and trying it; a file that is missing is an error.
    pub fn is_abandoned(path: &Path) -> Result<bool> {
        let (folder, name) = split(path)?;
        let folder = folder.canonicalize().map_err(|e| Error::io(format!("find folder {folder:?}"), e))?;
        let path = folder.join(name);
        // To open and close it would end our own lock.
        let Some(held) = held() else { return Ok(false) };
        if held.get(&path) == Some(&std::process::id()) {
            return Ok(false);
        }
        let file = File::open(&path).map_err(|e| Error::io(format!("open lock {path:?}"), e))?;
        // A lock for reading: several may look at once, and none of them takes another for the owner.
        match sys::fcntl_lock(&file, sys::FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(true),
            Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
            Err(error) => Err(Error::io(format!("try lock {path:?}"), error)),
        }
    }

    /// Writes `bytes` to the beginning of the file: others may read it, and this process must not open it a second time.
    ///
    /// # Errors
    /// What the system says to writing.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.file, bytes, 0)
            .map_err(|e| Error::io(format!("write into lock {:?}", self.path), e))
    }

    /// Whether this process still has it: it is no forked child of the one that took it, and the file still has its
    /// name, so that everyone else meets the lock.
    pub fn is_held(&self) -> bool {
        self.pid == std::process::id() && identity(&self.path).is_ok_and(|node| node == Some(self.node))
    }
}

impl Drop for ProcessLock {
    fn drop(&mut self) {
        // In a forked child it is the parent's.
        if self.pid != std::process::id() {
            return;
        }
        // Waited for: a lock that is still on the list could never be taken again.
        let mut held = HELD.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = sys::fcntl_lock(&self.file, sys::FlockOperation::Unlock);
        held.remove(&self.path);
    }
}

/// The list; `None` where a fork copied it while another thread had it, which then never gives it back.
fn held() -> Option<MutexGuard<'static, BTreeMap<PathBuf, u32>>> {
    for _ in 0..10_000 {
        match HELD.try_lock() {
            Ok(held) => return Some(held),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
        }
    }
    None
}

fn open(path: &Path) -> Result<File> {
    loop {
        match File::options().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match OutFile::create_new(path, 0o666) {
                Ok(made) => return Ok(made.file),
                Err(_) if path.exists() => {}
                Err(error) => return Err(error),
            },
            opened => return opened.map_err(|e| Error::io(format!("open lock {path:?}"), e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_in_a_process_and_again_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        let lock = ProcessLock::try_acquire(&path).unwrap().unwrap();
        assert!(ProcessLock::try_acquire(&folder.path().join("../").join(&path)).unwrap().is_none());
        assert!(lock.is_held());
        drop(lock);
        let lock = ProcessLock::try_acquire(&path).unwrap().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(!lock.is_held(), "whoever comes next makes a file of its own");
    }

    #[test]
    fn a_folder_that_is_missing_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(ProcessLock::try_acquire(&folder.path().join("no/a.lock")).is_err());
    }
}
