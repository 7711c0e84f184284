//! Cells of 8 bytes in which everything is counted.
//!
//! A cell is a number, `id`. Its value is spread: the *shared* directory has it once for everybody, and each thread that
//! counts has it once more in a directory of its own, its *shard*. Whoever adds, adds to its own with a plain load and a
//! plain store, for nobody else writes there; whoever reads, sums. So two threads on one counter share no cache line.
//!
//! | who | writes | how |
//! | --- | --- | --- |
//! | a counter or histogram | the thread's shard | load, add, store |
//! | the same in a thread that ends, or is one of too many | the shared cell | an atomic addition |
//! | a gauge, which can be set | the shared cell | store, or compare and exchange |
//! | the end of a thread | both, with no reader about | moves its shard into the shared cells, for the next thread |
//!
//! A cell holds a whole number or a float, and each chunk holds cells of one kind, so that a shard can be folded without
//! asking whose cells they are. Cells are used again once the last handle of their series is gone: then nobody writes.
//!
//! A signal handler may count: on x86-64 the addition of a whole number is one instruction. Elsewhere a handler that
//! interrupts an addition to the same cell may lose its own.

mod memory;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use memory::{CELLS, Directory};

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
    /// The bits of an `f64`.
    Float,
}

/// Everybody's cells.
static SHARED: Directory = Directory::new();

/// Held to read by whoever sums, to write by whoever folds, takes or gives cells. Counting does without.
static STATE: RwLock<State> = RwLock::new(State::new());

struct State {
    /// By number of chunk.
    kinds: Vec<Kind>,
    /// Spans that nobody has: length, first cell. One set for each kind.
    free: [BTreeSet<(u32, u32)>; 2],
    /// Shards that a thread has.
    shards: Vec<&'static Directory>,
    /// Shards whose thread has ended: all zero.
    idle: Vec<&'static Directory>,
}

thread_local! {
    /// The shard of this thread, once it has one. Without a destructor, so that reading it is one load.
    static MINE: Cell<Option<&'static Directory>> = const { Cell::new(None) };
    static LEASE: Lease = Lease::take();
}

/// Adds to a whole cell.
#[inline]
pub(super) fn add_whole(id: u32, by: u64) {
    match own(id) {
        Some(cell) => cell.store(cell.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed),
        None => {
            shared(id).fetch_add(by, Ordering::Relaxed);
        }
    }
}

/// Adds to a float cell.
#[inline]
pub(super) fn add_float(id: u32, by: f64) {
    match own(id) {
        Some(cell) => {
            cell.store((f64::from_bits(cell.load(Ordering::Relaxed)) + by).to_bits(), Ordering::Relaxed);
        }
        None => add_float_shared(shared(id), by),
    }
}

/// Adds to a float cell that others add to as well.
pub(super) fn add_float_shared(cell: &AtomicU64, by: f64) {
    // Never fails: the closure always returns a value.
    let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| Some((f64::from_bits(bits) + by).to_bits()));
}

/// The cell that everybody shares, for what is set and not added.
pub(super) fn shared(id: u32) -> &'static AtomicU64 {
    SHARED.get_or_add(id)
}

/// This thread's own cell.
#[inline]
fn own(id: u32) -> Option<&'static AtomicU64> {
    match MINE.get().and_then(|mine| mine.get(id)) {
        Some(cell) => Some(cell),
        None => first_use(id),
    }
}

/// The way to a cell that the thread has not touched yet. `None` when it has no shard: it ends, or is one of too many.
#[cold]
fn first_use(id: u32) -> Option<&'static AtomicU64> {
    let mine = LEASE.try_with(|lease| lease.0).ok()??;
    MINE.set(Some(mine));
    Some(mine.get_or_add(id))
}

/// A thread's hold on its shard.
struct Lease(Option<&'static Directory>);

impl Lease {
    fn take() -> Self {
        let mut state = write();
        if state.shards.len() == MAX_SHARDS {
            return Self(None);
        }
        let shard = state.idle.pop().unwrap_or_else(|| Box::leak(Box::new(Directory::new())));
        state.shards.push(shard);
        Self(Some(shard))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Destructors that run after this one count in the shared cells.
        MINE.set(None);
        let Some(shard) = self.0 else { return };
        let mut state = write();
        for (kind, first) in state.kinds.iter().zip((0..).step_by(CELLS)) {
            for (cell, id) in shard.chunk(first).into_iter().flat_map(|chunk| chunk.cells().iter().zip(first..)) {
                match (cell.swap(0, Ordering::Relaxed), kind) {
                    (0, _) => {}
                    (count, Kind::Whole) => {
                        shared(id).fetch_add(count, Ordering::Relaxed);
                    }
                    (bits, Kind::Float) => add_float_shared(shared(id), f64::from_bits(bits)),
                }
            }
        }
        state.shards.retain(|held| !std::ptr::eq(*held, shard));
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
        let State { kinds, free, .. } = &mut *state;
        let free = &mut free[kind as usize];
        // The smallest that is large enough, the first of those.
        let (length, first) = match free.range((wanted, 0)..).next().copied() {
            Some(found) => {
                free.remove(&found);
                found
            }
            None => {
                let first = u32::try_from(kinds.len() * CELLS).unwrap_or_else(|_| panic!("more than 2^32 cells"));
                kinds.push(kind);
                shared(first);
                (CELLS as u32, first)
            }
        };
        if length > wanted {
            free.insert((length - wanted, first + wanted));
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

    /// The numbers of its cells.
    pub(super) fn ids(&self) -> std::ops::Range<u32> {
        self.first..self.first + u32::from(self.len)
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let mut state = write();
        for id in self.ids() {
            for cell in state.shards.iter().chain([&&SHARED]).filter_map(|directory| directory.get(id)) {
                cell.store(0, Ordering::Relaxed);
            }
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
        self.cells(id).fold(0, |sum, bits| sum.wrapping_add(bits))
    }

    /// What a float cell stands at.
    #[inline]
    pub(super) fn float(&self, id: u32) -> f64 {
        self.cells(id).fold(0.0, |sum, bits| sum + f64::from_bits(bits))
    }

    #[inline]
    fn cells(&self, id: u32) -> impl Iterator<Item = u64> {
        let directories = [&SHARED].into_iter().chain(self.0.shards.iter().copied());
        directories.filter_map(move |directory| directory.get(id)).map(|cell| cell.load(Ordering::Relaxed))
    }
}

impl State {
    const fn new() -> Self {
        Self { kinds: Vec::new(), free: [BTreeSet::new(), BTreeSet::new()], shards: Vec::new(), idle: Vec::new() }
    }
}

fn write() -> RwLockWriteGuard<'static, State> {
    STATE.write().unwrap_or_else(PoisonError::into_inner)
}
