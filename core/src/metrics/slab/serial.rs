//! Counting under a lock of the caller's, one at a time: by an interpreter, say.
//!
//! Whoever counts so shares one shard, whichever thread it is on, and remembers where its cell lies. That saves the look into the
//! memory of the thread, and the way from there: 3 of 6 ns in a library that was loaded at run time.

use std::sync::TryLockError;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::map::Slot;
use super::memory::Directory;
use super::{STATE, before_set};

/// The shard.
pub(super) static SERIAL: Directory = Directory::new();

/// Another number whenever the chunks of [`SERIAL`] are others, and in a child after a fork.
static EPOCH: AtomicU32 = AtomicU32::new(1);

/// Lets everybody look anew for their cells.
pub(super) fn forget() {
    EPOCH.fetch_add(1, Ordering::Release);
}

/// Where a cell lies, as it was found last.
#[derive(Debug, Default)]
pub(in crate::metrics) struct Near {
    /// 0 before the first look.
    epoch: AtomicU32,
    chunk: Slot,
}

impl Near {
    /// Adds to the whole cell `id`, always the same one. Nobody else does so at this moment by a [`Near`].
    #[inline]
    pub(in crate::metrics) fn add_whole(&self, id: u32, by: u64) {
        if self.epoch.load(Ordering::Relaxed) == EPOCH.load(Ordering::Acquire)
            && let Some(chunk) = self.chunk.get()
        {
            super::add_to_whole(chunk.cell(id), by);
        } else {
            self.add_whole_first(id, by);
        }
    }

    #[cold]
    #[inline(never)]
    fn add_whole_first(&self, id: u32, by: u64) {
        match self.find(id) {
            Some(cell) => super::add_to_whole(cell, by),
            None => super::add_whole(id, by),
        }
    }

    /// The cell, unless the lock is not to be had at once: who counts never waits.
    fn find(&self, id: u32) -> Option<&'static AtomicU64> {
        before_set();
        // Read before the look: what changes meanwhile is looked for again.
        let epoch = EPOCH.load(Ordering::Acquire);
        let mut state = match STATE.try_write() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(state)) => state.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let cell = SERIAL.get(id).unwrap_or_else(|| state.put(&SERIAL, id));
        self.chunk.set(SERIAL.chunk(id));
        self.epoch.store(epoch, Ordering::Relaxed);
        Some(cell)
    }
}
