//! Counting by an interpreter that adds to cells in memory of its own, without a call into this crate.
//!
//! JavaScript is the reason: a call into native code costs it more than a hundred additions. A binding makes one
//! [`ForeignCells`] for each environment (a realm with a thread of its own), lends it the memory of chunks, and asks a handle
//! for its [`Place`]. From then on the interpreter adds there, as floats, and readers of the registry sum.
//!
//! | kind | cells at its place | the interpreter |
//! | --- | --- | --- |
//! | counter | one | adds |
//! | histogram | one for each bucket, and one for the sum | adds 1 to the bucket in which the value lies, and the value to the sum |
//! | gauge | its value, and a flag | sets and adds while the flag is 0 |
//!
//! A gauge is at home in one environment at most, for what is set last must win. When a second one comes, the flag says so, the
//! first gives the value back ([`HostGauge::leave`]), and both go through calls.
//!
//! Cells are used again once the last handle of their series is gone. So the interpreter keeps the handle in the object that
//! writes: what it has collected as garbage cannot write.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::family::series::Series;
use super::instrument::{Counter, Gauge, Histogram};
use super::slab::foreign::{Environment, alone, pour, tell};
use super::slab::{self, CELLS, Kind, Reader, Span};
use super::snapshot::MetricKind;

/// The cells of one environment. When this is dropped, what was counted there stays counted.
#[derive(Debug)]
pub struct ForeignCells(Environment);

impl ForeignCells {
    /// Cells of a chunk. The cell `id` lies in the chunk `id / CHUNK`, at `id % CHUNK`.
    pub const CHUNK: usize = CELLS;

    /// An environment without memory.
    pub fn new() -> Self {
        Self(Environment::new())
    }

    /// Lends the memory of a chunk, and says whether it is read from now on: not where there is one of this number.
    ///
    /// # Safety
    /// `memory` is [`ForeignCells::CHUNK`] floats of 8 bytes, aligned for them, and stays until this is dropped. Whoever writes
    /// there writes a float at once, and nobody does once this is dropped.
    #[allow(unsafe_code, reason = "nobody but the caller knows for how long the memory stays")]
    pub unsafe fn attach(&self, chunk: u32, memory: NonNull<AtomicU64>) -> bool {
        // SAFETY: the caller promises the same.
        unsafe { self.0.attach(chunk, memory) }
    }
}

impl Default for ForeignCells {
    fn default() -> Self {
        Self::new()
    }
}

/// Where a series is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which series this is, among those there are at the same time.
    pub series: u32,
    /// The first cell: a counter's only one, a gauge's value, a histogram's first bucket.
    pub first: u32,
    /// A histogram's sum, a gauge's flag; a counter has none, and this is its only cell.
    pub second: u32,
    /// Whether the series takes what is over the cap of its family: its label values are not those that were asked for.
    pub overflow: bool,
}

impl Place {
    fn of(series: &Series, first: u32, second: u32) -> Self {
        Self { series: series.first(), first, second, overflow: series.is_overflow() }
    }
}

impl Counter {
    /// Where an interpreter counts.
    pub fn place(&self) -> Place {
        let cell = self.series().float_cell();
        Place::of(self.series(), cell, cell)
    }
}

impl Histogram {
    /// Where an interpreter counts.
    pub fn place(&self) -> Place {
        Place::of(self.series(), self.series().first(), self.series().float_cell())
    }

    /// Counts an observation that the interpreter left out, for it was no number.
    pub fn refuse(&self) {
        self.series().refuse();
    }
}

/// A gauge that an interpreter may have at home.
#[derive(Debug)]
pub struct HostGauge {
    series: Arc<Series>,
    /// The value, and the flag.
    home: Span,
}

impl HostGauge {
    /// A handle that is not at home anywhere.
    pub fn new(gauge: &Gauge) -> Self {
        Self { series: Arc::clone(gauge.series()), home: Span::take(Kind::Float, 2) }
    }

    /// Where the interpreter sets and adds, once it has settled there.
    pub fn place(&self) -> Place {
        Place::of(&self.series, self.home.first(), self.home.first() + 1)
    }

    /// Takes the gauge home, with its value, and says so. Where it is at home elsewhere, the flag is raised there instead, and
    /// this handle is good for calls alone. The chunk of the place must be attached.
    pub fn settle(&self, cells: &ForeignCells) -> bool {
        let Place { first, second, .. } = self.place();
        let settled = alone(|state| {
            // An interpreter does not say when it sets.
            if self.series.set_at().is_some() {
                return false;
            }
            let Some(cell) = state.cell(&cells.0, first).filter(|_| self.series.move_in(first)) else { return false };
            cell.store(self.shared().swap(0, Ordering::Relaxed), Ordering::Relaxed);
            true
        });
        if settled {
            self.series.publish_float();
        }
        match self.series.home() {
            Some(home) if home != first => tell(home + 1, 1.0),
            _ => tell(second, 0.0),
        }
        settled
    }

    /// Gives the value back. For the environment in which the gauge is at home: nobody else may.
    pub fn leave(&self) {
        let Place { series, first, .. } = self.place();
        if self.series.home() == Some(first) {
            // In this order a reader finds the value in one place or the other.
            pour(first, series);
            self.series.move_out(first);
            self.series.publish_float();
        }
    }

    /// Sets it, from wherever.
    pub fn set(&self, value: f64) {
        let moved = alone(|_| {
            let moved = self.series.home().is_some_and(|home| self.series.move_out(home));
            self.shared().store(value.to_bits(), Ordering::Relaxed);
            moved
        });
        self.stamp();
        if moved {
            self.series.publish_float();
        }
    }

    /// Adds, from wherever.
    pub fn add(&self, by: f64) {
        slab::add_float_shared(self.shared(), by);
        self.stamp();
    }

    /// Says when it was set, where that matters.
    fn stamp(&self) {
        if let Some(set_at) = self.series.set_at() {
            slab::shared(set_at).store(slab::now(), Ordering::Relaxed);
        }
    }

    /// What it stands at.
    pub fn get(&self) -> f64 {
        self.series.number(MetricKind::Gauge, &Reader::new())
    }

    fn shared(&self) -> &'static AtomicU64 {
        slab::shared(self.series.first())
    }
}

impl Drop for HostGauge {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests;
