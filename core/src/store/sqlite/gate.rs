//! One task of this process at a time comes near a database file.
//!
//! POSIX locks are the process's: while one thread holds a read transaction, a second thread that opens and
//! closes the same file (to peek at its header, or because its own copy is done) would take the first one's
//! locks away, and the copy would silently lack what is committed meanwhile. Tasks therefore queue here, by
//! device and inode, so that two names of one file share a gate.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::blocking::Task;
use crate::error::Result;

/// A file's device and inode.
pub(super) type Identity = (u64, u64);

static INSIDE: Mutex<BTreeSet<Identity>> = Mutex::new(BTreeSet::new());
static LEFT: Condvar = Condvar::new();

/// Being inside; dropped, the next task may enter.
#[derive(Debug)]
pub(super) struct Gate(Identity);

impl Gate {
    /// Waits until no other task is near the file, or `task` is cancelled.
    pub(super) fn enter(task: &Task, file: Identity) -> Result<Self> {
        let mut inside = INSIDE.lock().unwrap_or_else(PoisonError::into_inner);
        while !inside.insert(file) {
            inside = LEFT.wait_timeout(inside, Duration::from_millis(100)).unwrap_or_else(PoisonError::into_inner).0;
            task.check()?;
        }
        Ok(Self(file))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        INSIDE.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
        LEFT.notify_all();
    }
}
