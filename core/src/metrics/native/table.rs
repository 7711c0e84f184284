//! The cells of a series by bucket. Whoever looks takes no lock; one at a time changes it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::label::Label;

/// Places of a table that is new.
const FIRST: usize = 16;

/// In the upper half of a place that is taken.
const TAKEN: u32 = 1 << 31;
/// In the upper half of a place whose cell has another place under its own name: a coarser bucket counts there.
const ALIAS: u32 = 1 << 30;

/// Places with open addressing, at most half of them taken: the bucket in the upper half, the cell in the lower.
pub(super) struct Table {
    places: Box<[AtomicU64]>,
    /// A larger one, which has all that this one has.
    next: OnceLock<Box<Table>>,
}

impl Table {
    pub(super) fn new() -> Self {
        Self::with_room(FIRST)
    }

    fn with_room(places: usize) -> Self {
        Self { places: (0..places).map(|_| AtomicU64::new(0)).collect(), next: OnceLock::new() }
    }

    fn newest(&self) -> &Self {
        let mut table = self;
        while let Some(next) = table.next.get() {
            table = next;
        }
        table
    }

    /// The cell of a bucket.
    #[inline]
    pub(super) fn find(&self, label: Label) -> Option<u32> {
        let packed = label.pack() | TAKEN;
        self.newest().walk(packed).find_map(|place| {
            let place = place.load(Ordering::Acquire);
            ((place >> 32) as u32 & !ALIAS == packed).then_some(place as u32)
        })
    }

    /// The places where a bucket can be, up to the first that is free.
    #[inline]
    fn walk(&self, packed: u32) -> impl Iterator<Item = &AtomicU64> {
        (0..self.places.len())
            .map(move |n| self.place(packed, n))
            .take_while(|place| place.load(Ordering::Acquire) != 0)
    }

    /// The place after `n` others where a bucket can be.
    #[inline]
    fn place(&self, packed: u32, n: usize) -> &AtomicU64 {
        // The golden ratio, as in "Fibonacci hashing" (Knuth, TAOCP 6.4).
        let start = (packed.wrapping_mul(0x9e37_79b9) >> 16) as usize;
        &self.places[(start + n) & (self.places.len() - 1)]
    }

    /// Puts in a bucket that is not there.
    pub(super) fn insert(&self, label: Label, cell: u32) {
        self.put(label.pack() | TAKEN, cell);
    }

    /// Lets a coarser bucket count in the cell of one that lies in it, unless it has a cell already.
    pub(super) fn insert_alias(&self, label: Label, cell: u32) {
        if self.find(label).is_none() {
            self.put(label.pack() | TAKEN | ALIAS, cell);
        }
    }

    fn put(&self, upper: u32, cell: u32) {
        let table = self.newest();
        let place = u64::from(upper) << 32 | u64::from(cell);
        let taken = table.places.iter().map(|place| place.load(Ordering::Relaxed)).filter(|place| *place != 0);
        if (taken.clone().count() + 1) * 2 <= table.places.len() {
            return table.set(place);
        }
        let larger = Self::with_room(table.places.len() * 4);
        taken.chain([place]).for_each(|place| larger.set(place));
        // Whoever comes from here on finds all of it there.
        let _ = table.next.set(Box::new(larger));
    }

    fn set(&self, place: u64) {
        let packed = (place >> 32) as u32 & !ALIAS;
        self.place(packed, self.walk(packed).count()).store(place, Ordering::Release);
    }

    /// Takes all buckets out.
    pub(super) fn clear(&self) {
        self.newest().places.iter().for_each(|place| place.store(0, Ordering::Release));
    }

    /// Every cell, under its own name.
    pub(super) fn cells(&self) -> impl Iterator<Item = (Label, u32)> {
        let places = self.newest().places.iter().map(|place| place.load(Ordering::Acquire));
        places.filter_map(|place| {
            let upper = (place >> 32) as u32;
            let is_own = upper & TAKEN != 0 && upper & ALIAS == 0;
            is_own.then(|| Label::unpack(upper & !TAKEN)).flatten().map(|label| (label, place as u32))
        })
    }
}
