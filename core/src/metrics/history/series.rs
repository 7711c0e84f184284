//! One series: chunks that are full, and one that is added to.

use std::collections::VecDeque;
use std::mem::size_of;

use super::chunk::{Open, Point, Sealed};
use crate::metrics::snapshot::MetricKind;

/// The bits that mark the end of a series: a NaN that no calculation gives, the one that Prometheus uses as well
/// (`model/value`).
pub(super) const STALE: u64 = 0x7ff0_0000_0000_0002;
/// All other NaN are kept as this one, so that none passes for the mark.
const NAN: u64 = 0x7ff8_0000_0000_0001;

/// A series.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) kind: MetricKind,
    sealed: VecDeque<Sealed>,
    open: Open,
    /// Whether that one goes back as far as is kept: it gets no more, however few it has. A series that is seldom there would need
    /// days for a full one, and keep them all.
    long: bool,
    /// The last round in which it was there.
    round: u64,
    key_len: usize,
}

impl Held {
    pub(super) fn new(kind: MetricKind, key_len: usize) -> Self {
        Self { kind, sealed: VecDeque::new(), open: Open::default(), long: false, round: 0, key_len }
    }

    /// Adds a sample of this round.
    pub(super) fn push(&mut self, time: i64, value: f64, round: u64) {
        // A family that is there twice counts once.
        if self.round != round {
            self.round = round;
            self.point((time, if value.is_nan() { NAN } else { value.to_bits() }));
        }
    }

    /// Marks it stale when it was not in this round.
    pub(super) fn end_round(&mut self, time: i64, round: u64) {
        if self.round != round && self.open.last().is_some_and(|(_, value)| value != STALE) {
            self.point((time, STALE));
        }
    }

    fn point(&mut self, point: Point) {
        if self.open.is_full() || self.long {
            self.sealed.push_back(self.open.seal());
            self.open = Open::default();
            self.long = false;
        }
        self.open.push(point);
    }

    /// Gives up the chunks that end before `cut`.
    pub(super) fn forget(&mut self, cut: i64) {
        while self.sealed.front().is_some_and(|chunk| chunk.last() < cut) {
            self.sealed.pop_front();
        }
        if self.open.last().is_some_and(|(time, _)| time < cut) {
            self.open = Open::default();
        }
        self.long = self.open.first().is_some_and(|first| first < cut);
    }

    /// When its first sample is.
    pub(super) fn first(&self) -> Option<i64> {
        self.sealed.front().map(Sealed::first).or_else(|| self.open.first())
    }

    /// When its oldest full chunk ends.
    pub(super) fn oldest_sealed(&self) -> Option<i64> {
        self.sealed.front().map(Sealed::last)
    }

    pub(super) fn samples(&self) -> usize {
        self.sealed.iter().map(Sealed::len).sum::<usize>() + self.open.len()
    }

    /// Bytes of memory that it takes, its place in the map and its key included.
    pub(super) fn size(&self) -> usize {
        let own = size_of::<Self>() + size_of::<Box<[u8]>>() + self.key_len;
        let chunks = self.sealed.capacity() * size_of::<Sealed>();
        own + chunks + self.sealed.iter().map(Sealed::heap).sum::<usize>() + self.open.heap()
    }

    /// Of that, the bits of the samples.
    #[cfg(test)]
    pub(super) fn sample_bytes(&self) -> usize {
        self.sealed.iter().map(Sealed::heap).sum::<usize>() + self.open.heap()
    }

    /// The chunks that reach into the range, the open one as it is now.
    pub(super) fn chunks(&self, from: i64, to: i64) -> Vec<Sealed> {
        let open = (!self.open.is_empty()).then(|| self.open.seal());
        let all = self.sealed.iter().cloned().chain(open);
        all.filter(|chunk| chunk.last() >= from && chunk.first() <= to).collect()
    }
}
