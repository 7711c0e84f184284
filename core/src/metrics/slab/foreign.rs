//! Cells that lie in memory of an interpreter, which counts there without a call into this crate.
//!
//! They have the numbers of the slab's, and lie in chunks of the same size. Each is a float whatever its kind, for that is
//! what an interpreter has: a cell of whole numbers holds a float without a fraction. Only the interpreter adds to them.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use super::map::CELLS;
use super::{Kind, State, add_float_shared, shared, write};

/// The chunks of one environment: a JavaScript realm, say, with a thread of its own.
#[derive(Debug)]
pub(in crate::metrics) struct Environment(u64);

impl Environment {
    /// Makes an environment without chunks.
    pub(in crate::metrics) fn new() -> Self {
        let mut state = write();
        let id = state.environments;
        state.environments += 1;
        state.foreign.push(Foreign { id, chunks: Vec::new() });
        drop(state);
        super::share::copy_from_now_on();
        Self(id)
    }

    /// Reads the cells of a chunk at `memory` from now on, and says whether it was not there before.
    ///
    /// # Safety
    /// `memory` is aligned for [`AtomicU64`], points to [`CELLS`] of them, and stays until this environment is dropped. Whoever
    /// writes there writes 8 bytes at once.
    #[allow(unsafe_code, reason = "nobody but the caller knows for how long the memory stays")]
    pub(in crate::metrics) unsafe fn attach(&self, chunk: u32, memory: NonNull<AtomicU64>) -> bool {
        let mut state = write();
        let Some(foreign) = state.foreign.iter_mut().find(|foreign| foreign.id == self.0) else { return false };
        let at = chunk as usize;
        if foreign.chunks.len() <= at {
            foreign.chunks.resize_with(at + 1, || None);
        }
        if foreign.chunks[at].is_some() {
            return false;
        }
        // SAFETY: what is promised above. The reference is not used once the environment is dropped, for it goes with it, and
        // whoever copied it holds the lock that dropping takes.
        let cells = unsafe { std::slice::from_raw_parts(memory.as_ptr(), CELLS) };
        foreign.chunks[at] = Some(cells);
        true
    }
}

impl Drop for Environment {
    /// Moves what was counted into the shared cells, with no reader about. Nobody may add any more.
    fn drop(&mut self) {
        let mut state = write();
        let Some(at) = state.foreign.iter().position(|foreign| foreign.id == self.0) else { return };
        let foreign = state.foreign.swap_remove(at);
        // Before it is counted elsewhere: whoever sees the file must not see it twice.
        state.mirrors.forget(self.0);
        for (id, cell) in foreign.cells() {
            let count = f64::from_bits(cell.swap(0, Ordering::Relaxed));
            match state.kinds.get(id as usize / CELLS) {
                _ if count == 0.0 => {}
                Some(Kind::Whole) => {
                    shared(id).fetch_add(count as u64, Ordering::Relaxed);
                }
                Some(Kind::Float) => add_float_shared(shared(id), count),
                Some(Kind::Gauge) | None => {}
            }
        }
    }
}

/// What the slab knows of an environment.
pub(super) struct Foreign {
    id: u64,
    /// By number of chunk.
    chunks: Vec<Option<&'static [AtomicU64]>>,
}

impl Foreign {
    /// The cell called `id`, if its chunk is there.
    #[inline]
    pub(super) fn get(&self, id: u32) -> Option<&AtomicU64> {
        self.chunks.get(id as usize / CELLS)?.map(|cells| &cells[id as usize % CELLS])
    }

    /// What the cell called `id` stands at.
    #[inline]
    pub(super) fn value(&self, id: u32) -> f64 {
        self.get(id).map_or(0.0, |cell| f64::from_bits(cell.load(Ordering::Relaxed)))
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Every chunk with its number.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (u32, &'static [AtomicU64])> {
        (0..).zip(&self.chunks).filter_map(|(number, chunk)| Some((number, (*chunk)?)))
    }

    /// Every cell with its number.
    pub(super) fn cells(&self) -> impl Iterator<Item = (u32, &AtomicU64)> {
        let chunks = self.chunks.iter().zip((0..).step_by(CELLS));
        chunks.flat_map(|(chunk, first)| chunk.iter().flat_map(move |cells| (first..).zip(cells.iter())))
    }
}

/// Does something with no reader about.
pub(in crate::metrics) fn alone<R>(act: impl FnOnce(&Lent<'_>) -> R) -> R {
    act(&Lent(&write()))
}

/// The memory that environments lend, while there is no reader.
pub(in crate::metrics) struct Lent<'a>(&'a State);

impl Lent<'_> {
    /// The cell called `id` of an environment.
    pub(in crate::metrics) fn cell(&self, of: &Environment, id: u32) -> Option<&AtomicU64> {
        self.0.foreign.iter().find(|foreign| foreign.id == of.0)?.get(id)
    }
}

/// Writes into the cell called `id` wherever an environment has it. For cells that no environment writes.
pub(in crate::metrics) fn tell(id: u32, value: f64) {
    for foreign in &write().foreign {
        if let Some(cell) = foreign.get(id) {
            cell.store(value.to_bits(), Ordering::Relaxed);
        }
    }
}

/// Takes the value of the float cell `from` out of wherever it is, and adds it to the shared cell `to`, with no reader about.
/// Whoever adds to `from` must have ceased, or be the caller.
pub(in crate::metrics) fn pour(from: u32, to: u32) {
    let state = write();
    let foreign = state.foreign.iter().filter_map(|foreign| foreign.get(from));
    let values = [shared(from)].into_iter().chain(foreign).map(|cell| cell.swap(0, Ordering::Relaxed));
    let sum: f64 = values.map(f64::from_bits).sum();
    add_float_shared(shared(to), sum);
}
