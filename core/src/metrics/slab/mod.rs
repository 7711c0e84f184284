//! Cells of 8 bytes in which everything is counted.
//!
//! A cell is a number, `id`. Its value is spread: the *shared* directory has it once for everybody, and each thread that
//! counts has it once more in a directory of its own, its *shard*. Whoever adds, adds to its own with a plain load and a
//! plain store, for nobody else writes there; whoever reads, sums. So two threads on one counter share no cache line.
//!
//! | who | writes | how |
//! | --- | --- | --- |
//! | a counter or histogram | the thread's shard | load, add, store |
//! | a counter of an interpreter | a shard that all its threads share, under its lock | load, add, store: see `serial` |
//! | the same in a thread that ends, or is one of too many | the shared cell | an atomic addition |
//! | a gauge, which can be set | the shared cell | store, or compare and exchange |
//! | the end of a thread | both, with no reader about | moves its shard into the shared cells, for the next thread |
//! | JavaScript | a chunk of its own environment | load, add, store: see `foreign` |
//!
//! A cell holds a whole number or a float, and each chunk holds cells of one kind, so that a shard can be folded without
//! asking whose cells they are. Cells are used again once the last handle of their series is gone: then nobody writes.
//!
//! A signal handler may count: on x86-64 the addition of a whole number is one instruction. Elsewhere a handler that
//! interrupts an addition to the same cell may lose its own.
//!
//! Where other processes shall see what is counted, the pages that cells lie in are those of a file ([`share`]): nothing else
//! changes for whoever counts. A child after a fork counts from zero, in pages of its own.
//!
//! | module | has |
//! | --- | --- |
//! | `map` | memory, and all that is unsafe |
//! | `memory` | the directory that finds chunks |
//! | `pages`, `file`, `format`, `log` | where chunks come from, and what other processes read |
//! | `share`, `mirror` | the move into a file; what can only be copied |
//! | `fork` | locks that a child finds free |

mod file;
pub(super) mod foreign;
mod fork;
mod format;
mod log;
mod map;
mod memory;
mod mirror;
mod pages;
pub(super) mod serial;
mod share;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

use self::foreign::Foreign;
use self::log::Log;
use self::memory::Directory;
use self::mirror::Mirrors;
use self::pages::Pages;
use self::serial::SERIAL;
use self::share::Home;

pub(super) use self::file::{NEW, SUFFIX, boot};
pub(super) use self::fork::{Inside, gate, inside};
pub(super) use self::log::{RECORD_WORDS, Said};
pub(super) use self::map::CELLS;
use self::share::copy;
pub(super) use self::share::{Sharing, publish, publish_all, share, state_of_sharing};
pub(super) mod layout {
    pub(in crate::metrics) use super::format::*;
}

/// The most cells that can be taken together.
pub(super) const MAX_SPAN: usize = CELLS;

/// Threads that get cells of their own. A service with more counts in the shared cells with the rest, a few nanoseconds
/// slower, and its memory stays bounded.
const MAX_SHARDS: usize = 64;

/// What a cell holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A `u64`, which wraps.
    Whole,
    /// The bits of an `f64`, to which is added.
    Float,
    /// The bits of an `f64`, which is set: there is one cell for all threads.
    Gauge,
}

impl Kind {
    fn page(self) -> format::Use {
        match self {
            Self::Whole => format::Use::Whole,
            Self::Float => format::Use::Float,
            Self::Gauge => format::Use::Gauge,
        }
    }
}

/// Everybody's cells.
static SHARED: Directory = Directory::new();

/// Whether this is a child after a fork that has not counted yet: what it counts first begins with [`share::settle`].
static FORKED: AtomicBool = AtomicBool::new(false);

/// Held to read by whoever sums, to write by whoever folds, takes or gives cells. Counting does without.
static STATE: RwLock<State> = RwLock::new(State::new());

struct State {
    /// By number of chunk.
    kinds: Vec<Kind>,
    /// Spans that nobody has: length, first cell. One set for each kind.
    free: [BTreeSet<(u32, u32)>; 3],
    /// Shards that may hold something.
    shards: Vec<&'static Directory>,
    /// Shards that no thread has.
    idle: Vec<&'static Directory>,
    /// What shards and shared cells were before they moved into a file: whoever was about to add then may still do so.
    retired: Vec<&'static Directory>,
    pages: Pages,
    log: Log,
    mirrors: Mirrors,
    home: Option<Home>,
    /// Whether a thread copies what has mirrors.
    copies: bool,
    /// Whether the system tells of forks.
    hears: bool,
    /// Chunks in memory of interpreters.
    foreign: Vec<Foreign>,
    /// Environments that there have been.
    environments: u64,
}

thread_local! {
    /// The shard of this thread, once it has counted. Without a destructor, so that reading it is one load.
    static MINE: Cell<Option<&'static Directory>> = const { Cell::new(None) };
    /// The same from when it is given to when it is taken back: what [`MINE`] is not in a child after a fork.
    static HELD: Cell<Option<&'static Directory>> = const { Cell::new(None) };
    static LEASE: Lease = const { Lease };
}

/// Adds to a whole cell.
#[inline]
pub(super) fn add_whole(id: u32, by: u64) {
    match mine(id) {
        Some(cell) => add_to_whole(cell, by),
        None => add_whole_first(id, by),
    }
}

/// Adds to a float cell.
#[inline]
pub(super) fn add_float(id: u32, by: f64) {
    match mine(id) {
        Some(cell) => add_to_float(cell, by),
        None => add_float_first(id, by),
    }
}

/// Adds 1 to a whole cell and a number to a float cell, with one look for the shard.
#[inline]
pub(super) fn add_observation(bucket: u32, sum: u32, value: f64) {
    if let Some(mine) = MINE.get()
        && let (Some(bucket), Some(sum)) = (mine.get(bucket), mine.get(sum))
    {
        add_to_whole(bucket, 1);
        add_to_float(sum, value);
        return;
    }
    add_whole_first(bucket, 1);
    add_float_first(sum, value);
}

/// Of a thread's own: nobody else writes there.
#[inline]
fn add_to_whole(cell: &AtomicU64, by: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

/// Of a thread's own, as well.
#[inline]
fn add_to_float(cell: &AtomicU64, by: f64) {
    cell.store((f64::from_bits(cell.load(Ordering::Relaxed)) + by).to_bits(), Ordering::Relaxed);
}

// Apart, so that who has come by before saves no registers for them.

#[cold]
#[inline(never)]
fn add_whole_first(id: u32, by: u64) {
    match mine(id).or_else(|| first_use(id)) {
        Some(cell) => add_to_whole(cell, by),
        None => {
            shared(id).fetch_add(by, Ordering::Relaxed);
        }
    }
}

#[cold]
#[inline(never)]
fn add_float_first(id: u32, by: f64) {
    match mine(id).or_else(|| first_use(id)) {
        Some(cell) => add_to_float(cell, by),
        None => add_float_shared(shared(id), by),
    }
}

/// Adds to a float cell that others add to as well.
pub(super) fn add_float_shared(cell: &AtomicU64, by: f64) {
    // Never fails: the closure always returns a value.
    let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| Some((f64::from_bits(bits) + by).to_bits()));
}

/// The cell that everybody shares, for what is set and not added.
#[inline]
pub(super) fn shared(id: u32) -> &'static AtomicU64 {
    match SHARED.get(id) {
        Some(cell) => cell,
        // It is there since its span was taken.
        None => write().put(&SHARED, id),
    }
}

/// A time that all processes of this machine know until its next boot, in nanoseconds; never 0.
pub(super) fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64).max(1)
}

/// To be called before a gauge is written to.
#[inline]
pub(super) fn before_set() {
    if FORKED.load(Ordering::Relaxed) {
        share::settle();
    }
}

/// This thread's own cell, if it has been here before.
#[inline]
fn mine(id: u32) -> Option<&'static AtomicU64> {
    MINE.get()?.get(id)
}

/// The way to a cell that the thread has not touched yet. `None` when the shared cell must do: the thread ends, or is one of
/// too many, or the lock is not to be had at once. So nobody who counts ever waits, least of all a signal handler.
#[cold]
fn first_use(id: u32) -> Option<&'static AtomicU64> {
    before_set();
    let mut state = match STATE.try_write() {
        Ok(state) => state,
        Err(TryLockError::Poisoned(state)) => state.into_inner(),
        Err(TryLockError::WouldBlock) => return None,
    };
    let mine = match HELD.get() {
        Some(mine) => mine,
        None => Lease::take(&mut state)?,
    };
    MINE.set(Some(mine));
    Some(mine.get(id).unwrap_or_else(|| state.put(mine, id)))
}

/// A thread's hold on its shard, which is in [`HELD`].
struct Lease;

impl Lease {
    fn take(state: &mut State) -> Option<&'static Directory> {
        // Not in a thread that ends: nobody would take it back.
        LEASE.try_with(|_| ()).ok()?;
        let shard = match state.idle.pop() {
            Some(shard) => shard,
            None if state.shards.len() < MAX_SHARDS => Box::leak(Box::new(Directory::new())),
            None => return None,
        };
        if !state.shards.iter().any(|held| std::ptr::eq(*held, shard)) {
            state.shards.push(shard);
        }
        HELD.set(Some(shard));
        Some(shard)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Destructors that run after this one count in the shared cells.
        MINE.set(None);
        let Some(shard) = HELD.take() else { return };
        let mut state = write();
        // What others see of this process must be right at each moment, so there it stays for the next thread.
        if !state.is_shared() {
            state.fold(shard);
            state.shards.retain(|held| !std::ptr::eq(*held, shard));
        }
        state.idle.push(shard);
    }
}

/// Cells that lie side by side, all zero when they are taken. They are given back when this is dropped.
#[derive(Debug)]
pub(super) struct Span {
    first: u32,
    len: u16,
    kind: Kind,
}

impl Span {
    /// Takes `len` cells, at least one and at most [`MAX_SPAN`].
    pub(super) fn take(kind: Kind, len: usize) -> Self {
        assert!((1..=MAX_SPAN).contains(&len), "{len} cells do not lie in a chunk");
        let wanted = len as u32;
        let mut state = write();
        if !std::mem::replace(&mut state.hears, true) {
            map::hear_of_forks();
        }
        // The smallest that is large enough, the first of those.
        let (length, first) = match state.free[kind as usize].range((wanted, 0)..).next().copied() {
            Some(found) => {
                state.free[kind as usize].remove(&found);
                found
            }
            None => {
                let first = u32::try_from(state.kinds.len() * CELLS).unwrap_or_else(|_| panic!("more than 2^32 cells"));
                state.kinds.push(kind);
                state.put(&SHARED, first);
                (CELLS as u32, first)
            }
        };
        if length > wanted {
            state.free[kind as usize].insert((length - wanted, first + wanted));
        }
        Self { first, len: len as u16, kind }
    }

    /// Lets go of a single cell without giving it back, and says its number.
    pub(super) fn leak(self) -> u32 {
        std::mem::ManuallyDrop::new(self).first
    }

    /// The span of a single cell that was let go of. Only whoever let go may ask, and once.
    pub(super) fn of_leaked(kind: Kind, first: u32) -> Self {
        Self { first, len: 1, kind }
    }

    /// The number of the first cell; the others follow.
    pub(super) fn first(&self) -> u32 {
        self.first
    }

    /// What its cells hold.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The numbers of its cells.
    pub(super) fn ids(&self) -> std::ops::Range<u32> {
        self.first..self.first + u32::from(self.len)
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let mut state = write();
        for id in self.ids() {
            for cell in state.directories().filter_map(|directory| directory.get(id)) {
                cell.store(0, Ordering::Relaxed);
            }
            state.mirrors.clear(id);
            for cell in state.foreign.iter().filter_map(|foreign| foreign.get(id)) {
                cell.store(0, Ordering::Relaxed);
            }
        }
        // Others were not told that they have no owner any more, and would take the next one for this.
        if state.log.is_full() && SHARED.chunk(self.first).is_some_and(|chunk| state.pages.is_in_file(chunk)) {
            return;
        }
        state.free[self.kind as usize].insert((u32::from(self.len), self.first));
    }
}

/// Sums cells. While one exists no thread's shard is folded, so nothing is counted twice or missed: keep it short.
/// Whoever has one must not drop a [`Span`], nor make a second one.
pub(super) struct Reader(RwLockReadGuard<'static, State>);

impl Reader {
    pub(super) fn new() -> Self {
        Self(STATE.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a whole cell stands at.
    #[inline]
    pub(super) fn whole(&self, id: u32) -> u64 {
        let own = self.cells(id).fold(0, |sum: u64, bits| sum.wrapping_add(bits));
        self.0.foreign.iter().fold(own, |sum, foreign| sum.wrapping_add(foreign.value(id) as u64))
    }

    /// What a float cell stands at.
    #[inline]
    pub(super) fn float(&self, id: u32) -> f64 {
        let own = self.cells(id).fold(0.0, |sum, bits| sum + f64::from_bits(bits));
        self.0.foreign.iter().fold(own, |sum, foreign| sum + foreign.value(id))
    }

    /// Adds to each of `sums` what the whole cell in its place in `ids` stands at. Cells that are read one after the other
    /// from one directory keep many fetches under way.
    pub(super) fn wholes(&self, ids: &[u32], sums: &mut [u64]) {
        for directory in self.0.directories().filter(|directory| !directory.is_empty()) {
            for (sum, id) in sums.iter_mut().zip(ids) {
                *sum = sum.wrapping_add(directory.get(*id).map_or(0, |cell| cell.load(Ordering::Relaxed)));
            }
        }
        for foreign in &self.0.foreign {
            for (sum, id) in sums.iter_mut().zip(ids) {
                *sum = sum.wrapping_add(foreign.value(*id) as u64);
            }
        }
    }

    /// The same of float cells.
    pub(super) fn floats(&self, ids: &[u32], sums: &mut [f64]) {
        for directory in self.0.directories().filter(|directory| !directory.is_empty()) {
            for (sum, id) in sums.iter_mut().zip(ids) {
                *sum += directory.get(*id).map_or(0.0, |cell| f64::from_bits(cell.load(Ordering::Relaxed)));
            }
        }
        for foreign in &self.0.foreign {
            for (sum, id) in sums.iter_mut().zip(ids) {
                *sum += foreign.value(*id);
            }
        }
    }

    #[inline]
    fn cells(&self, id: u32) -> impl Iterator<Item = u64> {
        self.0.directories().filter_map(move |directory| directory.get(id)).map(|cell| cell.load(Ordering::Relaxed))
    }
}

impl State {
    const fn new() -> Self {
        Self {
            kinds: Vec::new(),
            free: [const { BTreeSet::new() }; 3],
            shards: Vec::new(),
            idle: Vec::new(),
            foreign: Vec::new(),
            environments: 0,
            retired: Vec::new(),
            pages: Pages::new(),
            log: Log::new(),
            mirrors: Mirrors::new(),
            home: None,
            copies: false,
            hears: false,
        }
    }

    /// All that holds a part of a cell.
    #[inline]
    fn directories(&self) -> impl Iterator<Item = &'static Directory> {
        [&SHARED, &SERIAL].into_iter().chain(self.shards.iter().copied()).chain(self.retired.iter().copied())
    }

    /// Gives the directory a chunk for this cell.
    fn put(&mut self, directory: &Directory, id: u32) -> &'static AtomicU64 {
        let number = id / CELLS as u32;
        let kind = self.kinds.get(number as usize).map_or(Kind::Whole, |kind| *kind);
        let (chunk, _) = self.pages.take(kind.page(), number);
        directory.replace(id, Some(chunk));
        chunk.cell(id)
    }

    /// The first cell of each chunk, with its kind.
    fn chunks(&self) -> impl Iterator<Item = (u32, Kind)> + use<> {
        (0..).step_by(CELLS).zip(self.kinds.clone())
    }

    /// Moves what a shard has into the shared cells.
    fn fold(&mut self, shard: &Directory) {
        for (first, kind) in self.chunks() {
            for (cell, id) in shard.chunk(first).into_iter().flat_map(|chunk| chunk.cells().iter().zip(first..)) {
                match (cell.swap(0, Ordering::Relaxed), kind) {
                    (0, _) => {}
                    (count, Kind::Whole) => {
                        shared(id).fetch_add(count, Ordering::Relaxed);
                    }
                    (bits, _) => add_float_shared(shared(id), f64::from_bits(bits)),
                }
            }
        }
    }

    /// Begins again at zero: in a child after a fork, as its only thread.
    fn fork(&mut self) {
        self.pages.fork();
        self.log.fork();
        self.retired.clear();
        self.mirrors = Mirrors::new();
        let all: Vec<_> = self.shards.drain(..).chain(self.idle.drain(..)).collect();
        let mine = HELD.get();
        for shard in all {
            if mine.is_some_and(|mine| std::ptr::eq(mine, shard)) {
                self.shards = vec![shard];
            } else if !self.idle.iter().any(|idle| std::ptr::eq(*idle, shard)) {
                self.idle.push(shard);
            }
        }
        // The next addition goes the long way, and finds that this is a child.
        MINE.set(None);
        serial::forget();
        FORKED.store(true, Ordering::Release);
        // The thread that copied is the parent's.
        self.copies = false;
    }
}

fn write() -> RwLockWriteGuard<'static, State> {
    STATE.write().unwrap_or_else(PoisonError::into_inner)
}
