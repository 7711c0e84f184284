//! Native histograms: buckets that grow by a constant factor and are there where observations are.
//!
//! Of schema *s*, bucket *i* takes what is above `b^(i-1)` and at most `b^i`, with `b = 2^(2^-s)`; below zero the same with the
//! sign turned; what is nearer to zero than a threshold has a bucket of its own. When there are too many buckets, each two
//! become one, and the schema is one less: nothing that was counted is lost, and it is told less finely.
//!
//! Each bucket is a cell of the slab, so counting takes no lock, other processes read it in the file, what was counted outlives a
//! process that is killed, and a child after a fork begins at zero, as with any other cell.
//!
//! | module | has |
//! | --- | --- |
//! | `label` | which bucket a number belongs to |
//! | `table` | the cells of a series by bucket, found without a lock |
//! | `sum` | buckets of several processes together |
//!
//! Source: the specification of native histograms in the Prometheus documentation ("Data model", "Schema", "Limit the bucket
//! count").

mod label;
mod sum;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Error, Result};

use self::table::Table;
use super::shared::{BucketFacts, NativeFacts};
use super::slab::{self, Kind, Reader, Said, Span, gate};

pub(super) use self::label::{Label, SCHEMAS, is_index};
pub(super) use self::sum::NativeSum;

/// How often what is being changed is read again.
const ATTEMPTS: usize = 1_000;

/// The native buckets of a histogram, beside its others.
///
/// ```
/// use uplifted_ops::metrics::{Definition, NativeBuckets, Registry};
///
/// let registry = Registry::new();
/// let native = NativeBuckets::default().factor(1.2);
/// let took = registry.histograms(Definition::new("took_seconds", "Time").native(native))?.with(&[])?;
/// took.observe(0.3);
/// # Ok::<(), uplifted_ops::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NativeBuckets {
    schema: i32,
    max_buckets: usize,
    zero_threshold: f64,
    reset_after: Option<Duration>,
}

impl Default for NativeBuckets {
    /// Buckets that grow by 2^(1/8), about 9 %; at most 160; a zero bucket of 2^-128; never reset.
    fn default() -> Self {
        Self { schema: 3, max_buckets: 160, zero_threshold: 2_f64.powi(-128), reset_after: None }
    }
}

impl NativeBuckets {
    /// Sets by which factor a bucket's bound is above the one before it, at most: 1.1 tells numbers apart that differ by
    /// 10 %. The coarsest schema that keeps to it is taken.
    #[must_use]
    pub fn factor(mut self, factor: f64) -> Self {
        // 2^(2^-s) <= factor: s >= -log2(log2(factor)).
        let exact = -factor.log2().log2();
        self.schema = if exact.is_nan() { i32::MAX } else { exact.ceil().clamp(-4.0, 9.0) as i32 };
        self
    }

    /// Sets the schema, -4 (a factor of 65,536) to 8 (of 0.27 %).
    #[must_use]
    pub fn schema(mut self, schema: i32) -> Self {
        self.schema = schema;
        self
    }

    /// Sets how many buckets a series may have before they are made coarser, at least 4.
    #[must_use]
    pub fn max_buckets(mut self, max: usize) -> Self {
        self.max_buckets = max;
        self
    }

    /// Sets how far from zero an observation may be to count as zero.
    #[must_use]
    pub fn zero_threshold(mut self, threshold: f64) -> Self {
        self.zero_threshold = threshold;
        self
    }

    /// Lets a series that has too many buckets begin anew at its finest, when it has not for so long. To a reader that is a
    /// counter's reset. The series has no other buckets in protobuf from then on, since those were not reset.
    #[must_use]
    pub fn reset_after(mut self, least: Duration) -> Self {
        self.reset_after = Some(least);
        self
    }

    /// Checks it, for the histogram of this name.
    pub(super) fn check(&self, name: &str) -> Result<()> {
        let Self { schema, max_buckets, zero_threshold, .. } = *self;
        if !SCHEMAS.contains(&schema) {
            return Err(Error::invalid(format!("native histogram {name:?} has no schema of its factor"))
                .with_hint("use a factor of 1.003 to 65536, such as 1.1, or a schema of -4 to 8"));
        }
        if !(4..=10_000).contains(&max_buckets) {
            return Err(Error::invalid(format!("native histogram {name:?} may have {max_buckets} buckets"))
                .with_hint("use 4 to 10000, such as 160"));
        }
        if !(0.0..=1e300).contains(&zero_threshold) {
            return Err(Error::invalid(format!("native histogram {name:?} has the zero threshold {zero_threshold}"))
                .with_hint("use a number that is not below zero"));
        }
        Ok(())
    }
}

/// What a series counts in native buckets.
pub(super) struct Native {
    buckets: NativeBuckets,
    clock: Arc<dyn Clock>,
    schema: AtomicI32,
    /// The cells of the zero bucket and of the sum.
    zero: AtomicU32,
    sum: AtomicU32,
    was_reset: AtomicBool,
    /// Odd while schema and cells do not belong together.
    version: AtomicU32,
    table: Table,
    held: Mutex<Held>,
}

/// What is only changed by one at a time. Taken inside the gate, so that a fork finds it free.
struct Held {
    era: Era,
    /// The cells from before the last reset, to which a thread may still be adding. It has until the next one.
    retired: Option<Era>,
    /// When this era began, by the clock.
    since: Duration,
    /// The first cell of the series, where other processes know of it.
    published: Option<u32>,
}

/// The cells from one reset to the next.
struct Era {
    zero: Span,
    sum: Span,
    buckets: Vec<(Label, Span)>,
}

impl Native {
    pub(super) fn new(buckets: NativeBuckets, clock: Arc<dyn Clock>) -> Self {
        let era = Era::new();
        Self {
            buckets,
            schema: AtomicI32::new(buckets.schema),
            zero: AtomicU32::new(era.zero.first()),
            sum: AtomicU32::new(era.sum.first()),
            was_reset: AtomicBool::new(false),
            version: AtomicU32::new(0),
            table: Table::new(),
            held: Mutex::new(Held { era, retired: None, since: clock.monotonic(), published: None }),
            clock,
        }
    }

    /// Counts a finite number; says whether it could. A signal handler that comes in while its own thread adds a bucket
    /// to the same series cannot.
    #[inline]
    pub(super) fn observe(&self, value: f64) -> bool {
        let Some(cell) = self.cell(value) else { return false };
        slab::add_whole(cell, 1);
        slab::add_float(self.sum.load(Ordering::Relaxed), value);
        true
    }

    fn cell(&self, value: f64) -> Option<u32> {
        if value.abs() <= self.buckets.zero_threshold {
            return Some(self.zero.load(Ordering::Relaxed));
        }
        let label = Label::of(value, self.schema.load(Ordering::Acquire));
        self.table.find(label).or_else(|| self.place(value))
    }

    /// The cell of a number whose bucket is new.
    #[cold]
    fn place(&self, value: f64) -> Option<u32> {
        let _gate = gate();
        let held = &mut *lock(&self.held)?;
        let fine = Label::of(value, self.schema.load(Ordering::Relaxed));
        // Another thread may have been first.
        if let Some(cell) = self.table.find(fine) {
            return Some(cell);
        }
        self.make_room(held, fine);
        let label = Label::of(value, self.schema.load(Ordering::Relaxed));
        if let Some(cell) = self.table.find(label) {
            return Some(cell);
        }
        let span = Span::take(Kind::Whole, 1);
        let cell = span.first();
        if let Some(series) = held.published {
            slab::publish(Said::Bucket, cell, || Some(BucketFacts { series, label }.encode()));
        }
        held.era.buckets.push((label, span));
        self.table.insert(label, cell);
        Some(cell)
    }

    /// Sees to it that one bucket more is not too many.
    fn make_room(&self, held: &mut Held, more: Label) {
        let max = self.buckets.max_buckets;
        if held.era.buckets.len() < max {
            return;
        }
        // Of a process that this one was forked from, there may be cells that hold nothing here.
        let populated: Vec<Label> = {
            let reader = Reader::new();
            let some = held.era.buckets.iter().filter(|(_, span)| reader.whole(span.first()) > 0);
            some.map(|(label, _)| *label).chain([more]).collect()
        };
        let len_at = |schema| populated.iter().map(|label| label.at(schema)).collect::<BTreeSet<_>>().len();
        let before = self.schema.load(Ordering::Relaxed);
        if len_at(before) <= max || self.reset(held) {
            return;
        }
        let mut schema = before;
        while schema > *SCHEMAS.start() && len_at(schema) > max {
            schema -= 1;
        }
        if let Some(series) = held.published {
            slab::publish(Said::Native, series, || Some(NativeFacts { schema, ..self.facts(&held.era) }.encode()));
        }
        for (label, span) in &held.era.buckets {
            self.table.insert_alias(label.at(schema), span.first());
        }
        self.change(|| self.schema.store(schema, Ordering::Release));
    }

    /// Begins anew, if it is time.
    fn reset(&self, held: &mut Held) -> bool {
        let Some(after) = self.buckets.reset_after else { return false };
        let now = self.clock.monotonic();
        if now.saturating_sub(held.since) < after {
            return false;
        }
        held.since = now;
        let old = std::mem::replace(&mut held.era, Era::new());
        let (zero, sum) = (held.era.zero.first(), held.era.sum.first());
        if let Some(series) = held.published {
            let facts = NativeFacts { schema: self.buckets.schema, was_reset: true, ..self.facts(&held.era) };
            // At once, so that it is seen whole.
            slab::publish_all(|| {
                let gone = old.buckets.iter().map(|(_, span)| (Said::Gone, span.first(), Vec::new()));
                [(Said::Native, series, facts.encode())].into_iter().chain(gone).collect()
            });
        }
        self.change(|| {
            self.table.clear();
            self.schema.store(self.buckets.schema, Ordering::Release);
            self.zero.store(zero, Ordering::Relaxed);
            self.sum.store(sum, Ordering::Relaxed);
            self.was_reset.store(true, Ordering::Relaxed);
        });
        held.retired = Some(old);
        true
    }

    /// Changes what belongs together. Takes no lock: readers wait for it.
    fn change(&self, act: impl FnOnce()) {
        self.version.fetch_add(1, Ordering::AcqRel);
        act();
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// Tells other processes of its buckets, and of what comes from now on.
    pub(super) fn publish(&self, series: u32) {
        let _gate = gate();
        let Some(mut held) = lock(&self.held) else { return };
        let facts = self.facts(&held.era);
        let mut published = false;
        slab::publish_all(|| {
            published = true;
            let buckets = held
                .era
                .buckets
                .iter()
                .map(|(label, span)| (Said::Bucket, span.first(), BucketFacts { series, label: *label }.encode()));
            [(Said::Native, series, facts.encode())].into_iter().chain(buckets).collect()
        });
        held.published = published.then_some(series);
    }

    /// Tells other processes that its buckets are gone.
    pub(super) fn retract(&self) {
        let _gate = gate();
        let Some(mut held) = lock(&self.held) else { return };
        if held.published.take().is_some() {
            let gone = held.era.buckets.iter().map(|(_, span)| (Said::Gone, span.first(), Vec::new()));
            slab::publish_all(|| gone.collect());
        }
    }

    fn facts(&self, era: &Era) -> NativeFacts {
        let NativeBuckets { max_buckets, zero_threshold, .. } = self.buckets;
        NativeFacts {
            schema: self.schema.load(Ordering::Acquire),
            was_reset: self.was_reset.load(Ordering::Relaxed),
            zero: era.zero.first(),
            sum: era.sum.first(),
            max_buckets,
            zero_threshold,
        }
    }

    /// What has been counted, in at most as many buckets as there may be.
    pub(super) fn read(&self, reader: &Reader) -> NativeSum {
        let mut read = self.try_read(reader);
        for _ in 0..ATTEMPTS {
            let version = self.version.load(Ordering::Acquire);
            read = self.try_read(reader);
            // So that a reset is seen whole, and each bucket under its own name.
            if version.is_multiple_of(2) && self.version.load(Ordering::Acquire) == version {
                break;
            }
            std::thread::yield_now();
        }
        read
    }

    fn try_read(&self, reader: &Reader) -> NativeSum {
        let NativeBuckets { max_buckets, zero_threshold, .. } = self.buckets;
        let was_reset = self.was_reset.load(Ordering::Relaxed);
        let mut sum = NativeSum::new(self.schema.load(Ordering::Acquire), zero_threshold, was_reset, max_buckets);
        sum.distribution.zero_count = reader.whole(self.zero.load(Ordering::Relaxed));
        sum.distribution.sum = reader.float(self.sum.load(Ordering::Relaxed));
        sum.fill(self.table.cells().map(|(label, cell)| (label, reader.whole(cell))));
        sum
    }
}

impl Era {
    fn new() -> Self {
        Self { zero: Span::take(Kind::Whole, 1), sum: Span::take(Kind::Float, 1), buckets: Vec::new() }
    }
}

impl std::fmt::Debug for Native {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Native").field("buckets", &self.buckets).finish_non_exhaustive()
    }
}

/// Waits for it, though not for ever: in a signal handler, whoever holds it may be the thread that was interrupted.
fn lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    (0..100_000).find_map(|_| match mutex.try_lock() {
        Ok(held) => Some(held),
        Err(TryLockError::Poisoned(held)) => Some(held.into_inner()),
        Err(TryLockError::WouldBlock) => {
            std::thread::yield_now();
            None
        }
    })
}
