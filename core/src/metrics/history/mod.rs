//! The recent past of every series, in the memory of the process: what alerts and forecasts reckon with where there is
//! no Prometheus.
//!
//! ```
//! use std::time::Duration;
//! use uplifted_ops::clock::Timestamp;
//! use uplifted_ops::metrics::Registry;
//! use uplifted_ops::metrics::history::{History, Limits, Moment, Range, Selector, functions};
//!
//! let registry = Registry::new();
//! let sent = registry.counter("mails_total", "Mails sent")?;
//! let history = History::new(Limits::default());
//! for minute in 0..=10 {
//!     let at = Moment { monotonic: Duration::from_secs(minute * 60), wall: Timestamp::from_second(minute as i64 * 60)? };
//!     history.record(at, &registry.snapshot());
//!     sent.inc_by(30);
//! }
//! let now = Moment { monotonic: Duration::from_secs(600), wall: Timestamp::from_second(600)? };
//! let range = Range::before(now, Duration::from_secs(300));
//! let found = history.select(&Selector::named("mails_total"), range, now);
//! assert_eq!(functions::rate(&found[0].samples, range), Some(0.5));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - A series is kept under the name that its samples have on the page: `mails_total`, `latency_seconds_bucket` with its
//!   `le`. So what is reckoned here and what Prometheus reckons are the same.
//! - Samples are kept in chunks of 120 (`chunk`): every bit of every number, NaN and infinities among them, and times to
//!   a hundredth of a second. See [`HistoryStats`] for what they take.
//! - Times are those of the monotonic clock, shown by what the wall clock says when they are read. So a wall clock that is set,
//!   backwards or forwards, neither loses a sample nor puts two in the wrong order, and "five minutes ago" stays what
//!   it was. While a machine sleeps the monotonic clock stands still, and so does the past.
//! - A series that is gone from a snapshot is marked stale: it has no value from then on, rather than its last
//!   one. Once all its samples are older than the window it is forgotten.
//! - Memory is bounded by [`Limits`]: past `bytes` the oldest chunks of all series are given up first, past `series` new series are
//!   counted and not kept.

mod bits;
mod chunk;
pub mod functions;
mod key;
mod select;
mod series;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;

use super::snapshot::{Family, MetricKind, MetricsSnapshot, Value};
use key::KeyBuffer;
use series::Held;

pub use select::{HistorySeries, Range, Sample, Selector};

/// How much of the past is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How far back.
    pub window: Duration,
    /// In how much memory.
    pub bytes: usize,
    /// Of how many series.
    pub series: usize,
}

impl Default for Limits {
    /// Two hours, 32 MiB, 20,000 series.
    fn default() -> Self {
        Self { window: Duration::from_secs(7200), bytes: 32 << 20, series: 20_000 }
    }
}

/// A moment by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// By the clock that never jumps.
    pub monotonic: Duration,
    /// By the one that people read.
    pub wall: Timestamp,
}

impl Moment {
    /// The present.
    pub fn of(clock: &dyn crate::clock::Clock) -> Self {
        Self { monotonic: clock.monotonic(), wall: clock.now() }
    }

    /// In hundredths of a second on the monotonic clock.
    fn ticks(self) -> i64 {
        i64::try_from(self.monotonic.as_millis() / 10).unwrap_or(i64::MAX)
    }
}

/// The recent past. Clones share it.
#[derive(Clone)]
pub struct History(Arc<Mutex<Inner>>);

/// How much is kept now. With numbers that move little, as most do, a sample takes one to three bytes; a counter of many
/// digits that moves by anything up to eight. To these come about 300 bytes, its name and its labels for each series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistoryStats {
    /// Series, with those that are stale.
    pub series: usize,
    /// Samples.
    pub samples: usize,
    /// Bytes of memory, names included.
    pub bytes: usize,
    /// How far back the oldest sample is.
    pub span: Duration,
    /// How often a series was not kept since there were too many, or too little memory.
    pub refused: u64,
}

struct Inner {
    limits: Limits,
    series: HashMap<Box<[u8]>, Held>,
    /// The last moment that was recorded, in hundredths of a second.
    now: Option<i64>,
    round: u64,
    /// What all series take.
    bytes: usize,
    refused: u64,
    key: KeyBuffer,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("limits", &self.lock().limits).field("stats", &self.stats()).finish()
    }
}

impl History {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        let key = KeyBuffer::default();
        let inner = Inner { limits, series: HashMap::new(), now: None, round: 0, bytes: 0, refused: 0, key };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Writes down every series at a moment. One that is not after the last one is left out.
    pub fn record(&self, at: Moment, snapshot: &MetricsSnapshot) {
        let mut inner = self.lock();
        let now = at.ticks();
        if inner.now.is_some_and(|last| now <= last) {
            return;
        }
        inner.now = Some(now);
        inner.round += 1;
        for family in &snapshot.families {
            inner.family(now, family);
        }
        inner.end_round(now);
        inner.make_room(now);
    }

    /// The samples in `range` of the series that the selector names, by name and labels; `now` is when that is
    /// asked, by both clocks. Marks of staleness are among them, see [`Sample::is_stale`]. Series without a sample in the
    /// range are left out.
    pub fn select(&self, selector: &Selector, range: Range, now: Moment) -> Vec<HistorySeries> {
        self.select_by(|name, labels| selector.matches(name, labels), range, now)
    }

    /// As [`History::select`], for whoever has another way to choose.
    pub fn select_by(
        &self,
        wanted: impl Fn(&str, &[(String, String)]) -> bool,
        range: Range,
        now: Moment,
    ) -> Vec<HistorySeries> {
        select::select(&self.lock().series, wanted, range, now)
    }

    /// How much is kept.
    pub fn stats(&self) -> HistoryStats {
        let inner = self.lock();
        let oldest = inner.series.values().filter_map(Held::first).min();
        let span = oldest.zip(inner.now).map_or(0, |(oldest, now)| now.saturating_sub(oldest));
        HistoryStats {
            series: inner.series.len(),
            samples: inner.series.values().map(Held::samples).sum(),
            bytes: inner.bytes,
            span: Duration::from_millis(span.unsigned_abs().saturating_mul(10)),
            refused: inner.refused,
        }
    }

    /// The same as metrics.
    pub fn families(&self) -> Vec<Family> {
        let stats = self.stats();
        let gauge = |name: &str, help: &str, value: f64| {
            Family::new(format!("uplifted_ops_history_{name}"), MetricKind::Gauge, help).number(&[], value)
        };
        vec![
            gauge("series", "Series that the process keeps the recent past of", stats.series as f64),
            gauge("samples", "Samples of the recent past that the process keeps", stats.samples as f64),
            gauge("size_bytes", "Bytes of memory that the recent past takes", stats.bytes as f64).unit("bytes"),
            gauge("span_seconds", "How far back the past goes that the process keeps", stats.span.as_secs_f64())
                .unit("seconds"),
            Family::new(
                "uplifted_ops_history_refused",
                MetricKind::Counter,
                "Times that a series was not written down, because there are too many or they take too much memory",
            )
            .number(&[], stats.refused as f64),
        ]
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn family(&mut self, now: i64, family: &Family) {
        let total = if family.kind == MetricKind::Counter { "_total" } else { "" };
        for series in &family.series {
            let labels = series.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            match &series.value {
                Value::Number(value) => {
                    self.key.set([family.name.as_str(), total], labels, None);
                    self.sample(now, family.kind, *value);
                }
                Value::Distribution(distribution) => {
                    let mut below = 0_u64;
                    for (at, count) in distribution.counts.iter().enumerate() {
                        below = below.wrapping_add(*count);
                        let le = match distribution.bounds.get(at) {
                            Some(bound) => format!("{bound:?}"),
                            None => "+Inf".to_owned(),
                        };
                        self.key.set([family.name.as_str(), "_bucket"], labels.clone(), Some(&le));
                        self.sample(now, MetricKind::Counter, below as f64);
                    }
                    self.key.set([family.name.as_str(), "_count"], labels.clone(), None);
                    self.sample(now, MetricKind::Counter, below as f64);
                    self.key.set([family.name.as_str(), "_sum"], labels, None);
                    self.sample(now, MetricKind::Counter, distribution.sum);
                }
            }
        }
    }

    /// Adds to the series that the key names.
    fn sample(&mut self, now: i64, kind: MetricKind, value: f64) {
        let round = self.round;
        if let Some(held) = self.series.get_mut(self.key.bytes()) {
            self.bytes -= held.size();
            held.push(now, value, round);
            self.bytes += held.size();
            return;
        }
        if self.series.len() >= self.limits.series || self.bytes >= self.limits.bytes {
            self.refused += 1;
            return;
        }
        let key: Box<[u8]> = self.key.bytes().into();
        let mut held = Held::new(kind, key.len());
        held.push(now, value, round);
        self.bytes += held.size();
        self.series.insert(key, held);
    }

    /// Marks what was not there, and forgets what is too old.
    fn end_round(&mut self, now: i64) {
        let window = i64::try_from(self.limits.window.as_millis() / 10).unwrap_or(i64::MAX);
        let (round, cut) = (self.round, now.saturating_sub(window));
        let mut bytes = 0;
        self.series.retain(|_, held| {
            held.end_round(now, round);
            held.forget(cut);
            let kept = held.samples() > 0;
            bytes += if kept { held.size() } else { 0 };
            kept
        });
        self.bytes = bytes;
    }

    /// Gives up the oldest, an eighth of the time at once, until it fits or only open chunks are left.
    fn make_room(&mut self, now: i64) {
        while self.bytes > self.limits.bytes {
            let Some(oldest) = self.series.values().filter_map(Held::oldest_sealed).min() else { return };
            let cut = oldest.saturating_add((now.saturating_sub(oldest) / 8).max(1));
            let mut bytes = 0;
            self.series.retain(|_, held| {
                held.forget(cut);
                bytes += held.size();
                held.samples() > 0
            });
            self.bytes = bytes;
        }
    }
}

#[cfg(test)]
mod tests;
