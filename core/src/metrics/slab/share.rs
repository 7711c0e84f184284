//! The move into a file that other processes read, and what follows from it.
//!
//! Chunks of the time before lie in memory of this process alone, and threads may be adding to them. So each shard, and the
//! shared cells, get new chunks in the file; what they had stays as it is and is *retired*: summed with the rest, and copied
//! into the file. A thread that was in the middle of an addition ends it in the retired chunk, and is not lost. Gauges, which
//! are set and not added to, stay where they are and are copied at most every [`PERIOD`].
//!
//! A child after a fork has all pages to itself, all zero, before it counts: it needs no copies.

use std::path::{Path, PathBuf};
use std::sync::TryLockError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

use super::file::{CellFile, taken};
use super::log::Said;
use super::map::CELLS;
use super::memory::Directory;
use super::serial::SERIAL;
use super::{FORKED, Kind, SHARED, STATE, State, map, write};

/// From one copy to the next.
const PERIOD: Duration = Duration::from_millis(100);

/// Where this process shares what it counts.
#[derive(Clone)]
pub(super) struct Home {
    folder: PathBuf,
    /// Publishes every series, see [`publish`].
    republish: fn(),
}

/// How sharing stands.
#[derive(Debug, Clone, Default)]
pub(in crate::metrics) struct Sharing {
    /// The number of the file of this process, once it has one.
    pub(in crate::metrics) own: Option<u128>,
    /// Why no more can be shared.
    pub(in crate::metrics) trouble: Option<(ErrorKind, String)>,
}

/// Lets other processes see what this one counts, through a file in the folder, which is there. `republish` is called to
/// [`publish`] what there is, now and in children after a fork. Does nothing where this has been done.
///
/// # Errors
/// Where the file cannot be made; counting goes on without. Where this process shares in another folder.
pub(in crate::metrics) fn share(folder: &Path, republish: fn()) -> Result<()> {
    let first = {
        let _gate = super::gate();
        let mut state = write();
        let is_home = state.home.as_ref().is_some_and(|home| home.folder == folder);
        match state.pages.file() {
            Some(_) if is_home => return Ok(()),
            Some(file) => return Err(taken(folder, file.path.parent().unwrap_or(folder))),
            None => {}
        }
        let first = state.home.is_none();
        let file = CellFile::create(folder)?;
        if FORKED.swap(false, Ordering::AcqRel) {
            state.move_into(file)?;
        } else {
            state.begin(file)?;
        }
        state.home = Some(Home { folder: folder.to_owned(), republish });
        first
    };
    republish();
    copy();
    if first {
        map::copy_at_exit();
    }
    copy_from_now_on();
    Ok(())
}

/// Gives a child after a fork its own file, before it counts.
#[cold]
pub(super) fn settle() {
    let home = {
        let _gate = super::gate();
        let mut state = write();
        // Another thread may have been first.
        if !FORKED.load(Ordering::Acquire) {
            return;
        }
        let home = state.home.clone();
        if let Some(home) = &home
            && let Err(error) = CellFile::create(&home.folder).and_then(|file| state.move_into(file))
        {
            state.pages.failed = Some(error);
        }
        FORKED.store(false, Ordering::Release);
        home
    };
    if let Some(home) = home {
        (home.republish)();
    }
}

/// Writes a record into the log, where there is one: what is said of a key, in bytes, unless there is nothing to say.
pub(in crate::metrics) fn publish(said: Said, key: u32, bytes: impl FnOnce() -> Option<Vec<u8>>) {
    let mut state = write();
    let State { log, pages, .. } = &mut *state;
    if pages.file().is_some()
        && let Some(bytes) = bytes()
    {
        log.append(pages, [(said, key, &*bytes)]);
    }
}

/// As [`publish`], several records at once: who reads sees all of them or none.
pub(in crate::metrics) fn publish_all(records: impl FnOnce() -> Vec<(Said, u32, Vec<u8>)>) {
    let mut state = write();
    let State { log, pages, .. } = &mut *state;
    if pages.file().is_some() {
        log.append(pages, records().iter().map(|(said, key, bytes)| (*said, *key, &**bytes)));
    }
}

/// How sharing stands in this process.
pub(in crate::metrics) fn state_of_sharing() -> Sharing {
    let _gate = super::gate();
    let state = STATE.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let trouble = state.pages.failed.as_ref().map(|error| (error.kind(), error.to_string()));
    Sharing { own: state.pages.file().map(|file| file.id), trouble }
}

/// Copies what does not lie in the file.
pub(in crate::metrics) fn copy() {
    let _gate = super::gate();
    for _ in 0..1_000 {
        match STATE.try_write() {
            Ok(mut state) => return state.copy(),
            Err(TryLockError::Poisoned(state)) => return state.into_inner().copy(),
            // Not waited for in a queue: who counts for the first time in a thread would have to go the long way.
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
        }
    }
}

/// Starts the thread that copies, where there is something to copy, and none yet.
pub(super) fn copy_from_now_on() {
    {
        let mut state = write();
        if state.copies || !state.is_shared() || (state.mirrors.is_empty() && state.foreign.is_empty()) {
            return;
        }
        state.copies = true;
    }
    let work = || {
        loop {
            std::thread::sleep(PERIOD);
            copy();
        }
    };
    if let Err(error) = std::thread::Builder::new().name("uplifted-ops-cells".to_owned()).spawn(work) {
        write().pages.failed = Some(Error::io("start the thread that copies cells", error));
    }
}

impl State {
    pub(super) fn is_shared(&self) -> bool {
        self.pages.file().is_some()
    }

    pub(super) fn copy(&mut self) {
        if self.is_shared() {
            let Self { mirrors, kinds, foreign, pages, .. } = self;
            mirrors.copy(kinds, foreign, pages);
        }
    }

    /// Begins to use a file, while threads count.
    fn begin(&mut self, file: CellFile) -> Result<()> {
        self.pages.use_file(file)?;
        self.show()?;
        self.retire(&SHARED);
        self.retire(&SERIAL);
        super::serial::forget();
        for shard in self.shards.clone() {
            self.retire(shard);
        }
        // These are empty, and no thread has them: the next one finds chunks in the file.
        for (shard, (first, _)) in self.idle.iter().flat_map(|shard| self.chunks().map(move |chunk| (shard, chunk))) {
            if !self.shards.iter().any(|held| std::ptr::eq(*held, *shard)) {
                shard.replace(first, None);
            }
        }
        Ok(())
    }

    /// Takes the chunks of a directory out of use.
    fn retire(&mut self, directory: &'static Directory) {
        let retired = Box::leak(Box::new(Directory::new()));
        let mut any = false;
        for (first, kind) in self.chunks() {
            let Some(old) = directory.chunk(first) else { continue };
            self.mirrors.add(kind, first, old);
            // Handles of gauges know the cell itself.
            if kind == Kind::Gauge {
                continue;
            }
            retired.replace(first, Some(old));
            any = true;
            // A shard gets its chunks when its thread comes by. Nobody may miss a shared one.
            let chunk = std::ptr::eq(directory, &SHARED).then(|| self.pages.take(kind.page(), first / CELLS as u32).0);
            directory.replace(first, chunk);
        }
        if any {
            self.retired.push(retired);
        }
    }

    /// Moves everything into a file, in a child after a fork.
    fn move_into(&mut self, file: CellFile) -> Result<()> {
        self.pages.move_into(file)?;
        self.show()
    }

    /// Lets others see the file, which is locked and begins as it should.
    fn show(&mut self) -> Result<()> {
        let shown = self.pages.file_mut().map_or(Ok(()), CellFile::show);
        if shown.is_err() {
            self.pages.forsake();
        }
        shown
    }
}
