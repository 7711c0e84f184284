//! Handles that count. Each is one series: cloning it is cheap, and adding to it needs no lookup and no lock.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::error::{Error, Result};

use super::family::series::Series;
use super::slab::{self, Reader};
use super::snapshot::{Distribution, MetricKind};

/// Upper bounds, in seconds, that suit the latency of a network service: those of the Prometheus clients.
pub const DEFAULT_BOUNDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What the handles have in common. Implemented by [`Counter`], [`Gauge`] and [`Histogram`] alone.
pub trait Instrument: private::Sealed + Clone + fmt::Debug + Send + Sync + 'static {
    /// The kind of its family.
    const KIND: MetricKind;
}

pub(super) mod private {
    use super::{Arc, Series};

    /// What a family needs from its handles.
    pub trait Sealed: Sized {
        #[allow(private_interfaces, reason = "the trait is sealed")]
        fn of(series: Arc<Series>) -> Self;
    }
}

use private::Sealed;

/// A number that only grows.
///
/// Whole numbers are counted exactly up to 2^64, past the 2^53 of a float: adding 1 always counts. What has a
/// fraction is added as a float, apart from them, once there is some.
#[derive(Clone)]
pub struct Counter {
    cell: u32,
    series: Arc<Series>,
}

impl Counter {
    /// Adds 1.
    #[inline]
    pub fn inc(&self) {
        self.inc_by(1);
    }

    /// Adds a whole number.
    #[inline]
    pub fn inc_by(&self, by: u64) {
        slab::add_whole(self.cell, by);
    }

    /// Adds 1, and keeps it as an example with the labels that lead to it: `[("trace_id", "…")]`. OpenMetrics and protobuf
    /// show the last one, with its time. For what is traced anyway; it costs a lock and an allocation.
    ///
    /// # Errors
    /// When names and values have more than 128 characters together, or a name is none: it is counted, and not kept.
    pub fn inc_with_exemplar(&self, labels: &[(&str, &str)]) -> Result<()> {
        self.inc_by_with_exemplar(1, labels)
    }

    /// Adds a whole number, as [`Counter::inc_with_exemplar`] does.
    ///
    /// # Errors
    /// As that.
    pub fn inc_by_with_exemplar(&self, by: u64, labels: &[(&str, &str)]) -> Result<()> {
        self.series.count_with_exemplar(by, labels)
    }

    /// Adds a number, as [`Counter::inc_with_exemplar`] does.
    ///
    /// # Errors
    /// As that, and as [`Counter::add`].
    pub fn add_with_exemplar(&self, by: f64, labels: &[(&str, &str)]) -> Result<()> {
        self.add(by)?;
        self.series.keep_exemplar(by, labels)
    }

    /// Adds a number.
    ///
    /// # Errors
    /// A negative, infinite or NaN `by` is refused, and nothing is added: a counter that goes down reads as a
    /// restart, one that is NaN stays it for ever.
    pub fn add(&self, by: f64) -> Result<()> {
        if !by.is_finite() || by < 0.0 {
            return Err(Error::invalid(format!("a counter cannot grow by {by}"))
                .with_hint("add a number of at least 0; use a gauge for what goes up and down"));
        }
        // Below 2^53 a float without a fraction is exactly that integer.
        if by.fract() == 0.0 && by < 9_007_199_254_740_992.0 {
            self.inc_by(by as u64);
        } else {
            slab::add_float(self.series.float_cell(), by);
        }
        Ok(())
    }

    pub(super) fn series(&self) -> &Arc<Series> {
        &self.series
    }

    /// Raises it to a whole number, for what is counted elsewhere; one that is less changes nothing. Whoever raises it
    /// should be the only one who counts in it.
    pub fn raise_to(&self, value: u64) {
        // Two that raise it must not both add what is missing.
        static RAISING: Mutex<()> = Mutex::new(());
        let _raising = RAISING.lock().unwrap_or_else(PoisonError::into_inner);
        let stands = Reader::new().whole(self.cell);
        if value > stands {
            self.inc_by(value - stands);
        }
    }

    /// What has been counted, by all threads.
    pub fn get(&self) -> f64 {
        self.series.number(MetricKind::Counter, &Reader::new())
    }
}

impl Instrument for Counter {
    const KIND: MetricKind = MetricKind::Counter;
}

impl Sealed for Counter {
    #[allow(private_interfaces, reason = "the trait is sealed")]
    fn of(series: Arc<Series>) -> Self {
        Self { cell: series.first(), series }
    }
}

/// A [`Counter`] that is counted under a lock of the caller's: that of an interpreter, say. Adding 1 takes half the time.
///
/// There is one such lock in a process. Where two threads add at once without it, what one of them adds may be lost.
#[derive(Debug)]
pub struct SerialCounter {
    near: slab::serial::Near,
    counter: Counter,
}

impl SerialCounter {
    /// Adds 1, under the lock.
    #[inline]
    pub fn inc_serially(&self) {
        self.near.add_whole(self.counter.cell, 1);
    }
}

impl From<Counter> for SerialCounter {
    fn from(counter: Counter) -> Self {
        Self { near: slab::serial::Near::default(), counter }
    }
}

impl std::ops::Deref for SerialCounter {
    type Target = Counter;

    fn deref(&self) -> &Counter {
        &self.counter
    }
}

/// A number that goes up and down.
#[derive(Clone)]
pub struct Gauge {
    cell: &'static AtomicU64,
    /// Says when it was set, where that matters.
    set_at: Option<&'static AtomicU64>,
    /// Keeps the cell.
    series: Arc<Series>,
}

impl Gauge {
    /// Sets it. NaN and infinities are allowed: NaN says "not known".
    #[inline]
    pub fn set(&self, value: f64) {
        slab::before_set();
        self.cell.store(value.to_bits(), Ordering::Relaxed);
        self.stamp();
    }

    #[inline]
    fn stamp(&self) {
        if let Some(set_at) = self.set_at {
            set_at.store(slab::now(), Ordering::Relaxed);
        }
    }

    /// Adds, or takes away when `by` is negative.
    #[inline]
    pub fn add(&self, by: f64) {
        slab::before_set();
        slab::add_float_shared(self.cell, by);
        self.stamp();
    }

    pub(super) fn series(&self) -> &Arc<Series> {
        &self.series
    }

    /// Adds 1.
    pub fn inc(&self) {
        self.add(1.0);
    }

    /// Takes 1 away.
    pub fn dec(&self) {
        self.add(-1.0);
    }

    /// What it stands at.
    #[inline]
    pub fn get(&self) -> f64 {
        f64::from_bits(self.cell.load(Ordering::Relaxed))
    }
}

impl Instrument for Gauge {
    const KIND: MetricKind = MetricKind::Gauge;
}

impl Sealed for Gauge {
    #[allow(private_interfaces, reason = "the trait is sealed")]
    fn of(series: Arc<Series>) -> Self {
        Self { cell: slab::shared(series.first()), set_at: series.set_at().map(slab::shared), series }
    }
}

/// How observations are distributed over buckets.
#[derive(Clone)]
pub struct Histogram(Arc<Series>);

impl Histogram {
    /// Counts `value` in its bucket; one that lies on a bound belongs below it. NaN and infinities would make
    /// the sum useless for ever: they are left out, and counted in
    /// `uplifted_ops_metrics_refused_observations_total`.
    #[inline]
    pub fn observe(&self, value: f64) {
        self.0.observe(value);
    }

    /// Observes `value`, and keeps it as the example of its bucket, as [`Counter::inc_with_exemplar`] does.
    ///
    /// # Errors
    /// As that.
    pub fn observe_with_exemplar(&self, value: f64, labels: &[(&str, &str)]) -> Result<()> {
        self.0.observe_with_exemplar(value, labels)
    }

    /// Observes a duration in seconds.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    pub(super) fn series(&self) -> &Arc<Series> {
        &self.0
    }

    /// What has been observed, by all threads.
    pub fn get(&self) -> Distribution {
        self.0.distribution(&Reader::new())
    }
}

impl Instrument for Histogram {
    const KIND: MetricKind = MetricKind::Histogram;
}

impl Sealed for Histogram {
    #[allow(private_interfaces, reason = "the trait is sealed")]
    fn of(series: Arc<Series>) -> Self {
        Self(series)
    }
}

macro_rules! debug_by_value {
    ($($handle:ident),*) => {$(
        impl fmt::Debug for $handle {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($handle)).field(&self.get()).finish()
            }
        }
    )*};
}

debug_by_value!(Counter, Gauge, Histogram);
