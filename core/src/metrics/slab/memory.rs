//! Chunks, and the directory that finds them. Neither ever moves or is given back while the process lives.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

/// Cells of a chunk: 4 KiB of them, a page of memory or of a file.
pub(super) const CELLS: usize = 512;

/// A plain array of cells, all zero at first. On cache lines of its own: chunks of two threads share none.
#[repr(C, align(64))]
pub(super) struct Chunk([AtomicU64; CELLS]);

impl Chunk {
    /// Where memory for a chunk comes from. The only place that knows: a mapped file would be cut into chunks here.
    fn take() -> &'static Self {
        Box::leak(Box::new(Self([const { AtomicU64::new(0) }; CELLS])))
    }

    /// The cell called `id` of those that lie in this chunk.
    #[inline]
    pub(super) fn cell(&self, id: u32) -> &AtomicU64 {
        &self.0[id as usize % CELLS]
    }

    pub(super) fn cells(&self) -> &[AtomicU64] {
        &self.0
    }
}

/// The first segment has room for so many chunks, each further one for twice as many.
const FIRST: usize = 16;
/// Enough for every `u32`.
const SEGMENTS: usize = 20;

type Segment = Box<[OnceLock<&'static Chunk>]>;

/// Chunks by their number. Grows without moving what is there, so that looking takes no lock.
pub(super) struct Directory([OnceLock<Segment>; SEGMENTS]);

impl Directory {
    pub(super) const fn new() -> Self {
        Self([const { OnceLock::new() }; SEGMENTS])
    }

    /// Segment and place of the chunk in which the cell `id` lies.
    #[inline]
    fn place(id: u32) -> (usize, usize) {
        let at = id as usize / CELLS + FIRST;
        let segment = (at / FIRST).ilog2() as usize;
        (segment, at - (FIRST << segment))
    }

    /// The cell called `id`, if its chunk is there.
    #[inline]
    pub(super) fn get(&self, id: u32) -> Option<&'static AtomicU64> {
        self.chunk(id).map(|chunk| chunk.cell(id))
    }

    /// The chunk in which the cell `id` lies, if it is there.
    #[inline]
    pub(super) fn chunk(&self, id: u32) -> Option<&'static Chunk> {
        let (segment, at) = Self::place(id);
        self.0.get(segment)?.get()?.get(at)?.get().copied()
    }

    /// The cell called `id`; its chunk is made if it is not there.
    pub(super) fn get_or_add(&self, id: u32) -> &'static AtomicU64 {
        let (segment, at) = Self::place(id);
        let room = || (0..FIRST << segment).map(|_| OnceLock::new()).collect();
        self.0[segment].get_or_init(room)[at].get_or_init(Chunk::take).cell(id)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn every_number_has_a_place_of_its_own() {
        for (chunk, place) in [(0, (0, 0)), (15, (0, 15)), (16, (1, 0)), (47, (1, 31)), (48, (2, 0))] {
            let first = chunk * CELLS as u32;
            assert_eq!((Directory::place(first), Directory::place(first + 511)), (place, place));
        }
        let (segment, at) = Directory::place(u32::MAX);
        assert!(segment < SEGMENTS && at < FIRST << segment, "{segment} {at}");
    }

    #[test]
    fn cells_stay_where_they_are() {
        let directory = Directory::new();
        assert!(directory.get(700).is_none());
        let early = directory.get_or_add(700);
        early.store(7, Ordering::Relaxed);
        directory.get_or_add(1 << 24);
        assert!(std::ptr::eq(early, directory.get(700).unwrap()));
        assert_eq!(directory.get(700).unwrap().load(Ordering::Relaxed), 7);
        assert!(directory.get(CELLS as u32 * 3).is_none());
        assert_eq!(early as *const AtomicU64 as usize % 64, 700 % 8 * 8);
    }
}
