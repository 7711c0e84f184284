//! When each stored byte is due to be read again. Pure.
//!
//! Every slice of an object has its own moment in a cycle of ¾ of the days that are promised, given by a hash of its
//! name: for ever the same, whoever asks, and with nothing to remember. A run reads the slices whose moment has passed
//! since the run before. So the load is even, a missed run is caught up by the next, and all that is to be remembered is
//! how far the last run came.
//!
//! Who has lost even that takes the last run to be as long ago as a run may be late: the remaining ¼. Then
//!
//! - a slice is read at the latest a cycle and the time until the next run after it was read last: within the promise,
//!   as long as runs are at most a quarter of it apart, whatever is lost and however often;
//! - a new object, which the backup that made it read back, is due within its first cycle.
//!
//! So once runs without a gap have gone round a whole cycle and found nothing, every byte was found whole: that proves the
//! snapshots as reading each of them from end to end does. Before that they prove those whose objects were all stored, and
//! so read back, since the first of these runs.

use std::ops::Range;

use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// How an archive is cut for reading.
pub(super) const SLICE_BYTES: u64 = 64 << 20;

/// The longest promise, in days.
const MAX_DAYS: f64 = 3660.0;

/// The cycle of a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cycle {
    /// How often a slice is due, in milliseconds.
    period: i64,
    /// How late a run may be, in milliseconds.
    slack: i64,
}

/// A part of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slice {
    /// The object, by its place in the list.
    pub(super) object: usize,
    /// Its bytes.
    pub(super) range: Range<u64>,
    /// Its moment in the cycle: any number.
    phase: u64,
}

/// A slice whose moment has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) at: Timestamp,
    pub(super) slice: Slice,
}

/// The slices of an object that is cut. One of no bytes has a slice too: it should have some.
pub(super) fn slices(object: usize, key: &str, size_bytes: u64) -> impl Iterator<Item = Slice> {
    (0..size_bytes.div_ceil(SLICE_BYTES).max(1)).map(move |number| {
        let start = number * SLICE_BYTES;
        Slice { object, range: start..size_bytes.min(start + SLICE_BYTES), phase: phase(number, key) }
    })
}

/// An object that is read as a whole.
pub(super) fn whole(object: usize, key: &str, size_bytes: u64) -> Slice {
    Slice { object, range: 0..size_bytes, phase: phase(0, key) }
}

fn phase(number: u64, key: &str) -> u64 {
    let hash = blake3::hash(format!("{number} {key}").as_bytes());
    let mut phase = [0; 8];
    phase.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(phase)
}

impl Cycle {
    /// The cycle that reads everything within `days`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a number that is no such time.
    pub(super) fn of(days: f64) -> Result<Self> {
        // An hour is the least: below it the backup's own read-back has not cooled down.
        if !(1.0 / 24.0..=MAX_DAYS).contains(&days) {
            return Err(Error::invalid(format!("backup.verify_days is {days}"))
                .with_hint("set it to the days in which every stored byte is to be read again, such as 30"));
        }
        let promise = (days * 86_400_000.0) as i64;
        Ok(Self { period: promise * 3 / 4, slack: promise / 4 })
    }

    /// Where a run at `now` goes on. `reached` is how far the last one came, if anybody knows.
    pub(super) fn start(self, reached: Option<Timestamp>, now: Timestamp) -> Timestamp {
        let now = now.as_millisecond();
        // One in the future was written by a clock that was wrong then, or is now.
        let reached = reached.map(Timestamp::as_millisecond).filter(|reached| *reached <= now);
        // Past a whole cycle every slice is due once, not twice.
        at(reached.unwrap_or(now - self.slack).max(now - self.period))
    }

    /// Since when everything that became due was read and whole, before a run that begins at `since`. `reached` and
    /// `clean_since` are what the last run said.
    pub(super) fn clean_since(
        self,
        reached: Option<Timestamp>,
        clean_since: Option<Timestamp>,
        since: Timestamp,
    ) -> Timestamp {
        // A run that does not go on where the last one ended leaves a gap, or reads everything.
        let goes_on = reached.is_some_and(|reached| reached.as_millisecond() == since.as_millisecond());
        clean_since.filter(|clean| goes_on && clean.as_millisecond() <= since.as_millisecond()).unwrap_or(since)
    }

    /// Whether every slice is due once between two moments.
    pub(super) fn is_round(self, from: Timestamp, to: Timestamp) -> bool {
        to.as_millisecond() - from.as_millisecond() >= self.period
    }

    /// The slices whose moment lies after `from` and not after `now`, in the order of their moments.
    pub(super) fn due(self, slices: impl Iterator<Item = Slice>, from: Timestamp, now: Timestamp) -> Vec<Due> {
        let (from, now) = (from.as_millisecond(), now.as_millisecond());
        let last = |slice: &Slice| {
            let phase = (slice.phase % self.period.unsigned_abs()).cast_signed();
            now - (now - phase).rem_euclid(self.period)
        };
        let mut due: Vec<(i64, Slice)> =
            slices.map(|slice| (last(&slice), slice)).filter(|(at, _)| *at > from).collect();
        due.sort_by_key(|(at, slice)| (*at, slice.object, slice.range.start));
        due.into_iter().map(|(millisecond, slice)| Due { at: at(millisecond), slice }).collect()
    }
}

/// Milliseconds since the epoch. What no calendar reaches is its end.
fn at(millisecond: i64) -> Timestamp {
    Timestamp::from_millisecond(millisecond).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
