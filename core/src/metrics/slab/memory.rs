//! The directory that finds chunks by their number. A cell never loses its number while somebody has it.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use super::map::{CELLS, Chunk, Slot};

/// The first segment has room for so many chunks, each further one for twice as many.
const FIRST: usize = 16;
/// Enough for every `u32`.
const SEGMENTS: usize = 20;

type Segment = Box<[Slot]>;

/// Chunks by their number. Grows without moving what is there, so that looking takes no lock. Only whoever has the lock of
/// the slab puts chunks in.
pub(super) struct Directory([OnceLock<Segment>; SEGMENTS]);

impl Directory {
    pub(super) const fn new() -> Self {
        Self([const { OnceLock::new() }; SEGMENTS])
    }

    /// Whether no chunk was ever here.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|segment| segment.get().is_none())
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
        self.0.get(segment)?.get()?.get(at)?.get()
    }

    /// Puts a chunk where the cell `id` lies, and gives the one that was there.
    pub(super) fn replace(&self, id: u32, chunk: Option<&'static Chunk>) -> Option<&'static Chunk> {
        let (segment, at) = Self::place(id);
        let room = || (0..FIRST << segment).map(|_| Slot::default()).collect();
        let slot = &self.0[segment].get_or_init(room)[at];
        let old = slot.get();
        slot.set(chunk);
        old
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::super::map::Region;
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
        let [one, two, ..] = Region::anonymous(16).chunks() else { panic!() };
        assert!(directory.get(700).is_none());
        assert!(directory.replace(700, Some(one)).is_none());
        let early = directory.get(700).unwrap();
        early.store(7, Ordering::Relaxed);
        directory.replace(1 << 24, Some(two));
        assert!(std::ptr::eq(early, directory.get(700).unwrap()));
        assert_eq!(directory.get(700).unwrap().load(Ordering::Relaxed), 7);
        assert!(directory.get(CELLS as u32 * 3).is_none());
        assert_eq!(early as *const AtomicU64 as usize % 64, 700 % 8 * 8);
    }
}
