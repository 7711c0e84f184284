//! Looking at names before the walk comes to them, so that it finds them in the kernel's cache.
//!
//! On a cold disk a walk waits for one inode after the other; with a scout two are asked for at a time. What the scout
//! sees is thrown away: the walk asks again, and only its answers count.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rustix::fs::{AtFlags, statat};

use super::walk::Names;

/// Below this many names a folder is not worth the trouble.
const MANY: usize = 16;
/// How many folders wait for the scout; more are left to the walk.
const QUEUE: usize = 4;

/// A thread that looks at the second half of each folder's names.
pub(super) struct Scout {
    folders: Option<SyncSender<(Arc<OwnedFd>, Arc<Names>)>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Scout {
    /// Where no thread can be had, the walk does without.
    pub(super) fn start() -> Self {
        let (folders, queue) = sync_channel(QUEUE);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("scout".to_owned()).spawn(move || look(&queue, &stopped)).ok();
        Self { folders: thread.is_some().then_some(folders), stop, thread }
    }

    /// Has it look at the names in a folder that the walk begins with.
    pub(super) fn send(&self, folder: &Arc<OwnedFd>, names: &Arc<Names>) {
        if names.len() >= MANY
            && let Some(folders) = &self.folders
        {
            let _ = folders.try_send((Arc::clone(folder), Arc::clone(names)));
        }
    }
}

impl Drop for Scout {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.folders.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn look(queue: &Receiver<(Arc<OwnedFd>, Arc<Names>)>, stop: &AtomicBool) {
    for (folder, names) in queue {
        let second_half = (names.len() / 2..names.len()).filter_map(|number| names.get(number));
        for name in second_half.take_while(|_| !stop.load(Ordering::Relaxed)) {
            let _ = statat(&*folder, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW);
        }
    }
}
