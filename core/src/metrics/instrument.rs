//! Handles that count. Each is one series: cloning it is cheap, and adding to it needs no lookup and no lock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::error::{Error, Result};

use super::names::Definition;
use super::snapshot::{Distribution, MetricKind, Value};

/// Upper bounds, in seconds, that suit the latency of a network service: those of the Prometheus clients.
pub const DEFAULT_BOUNDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What the handles have in common. Implemented by [`Counter`], [`Gauge`] and [`Histogram`] alone.
pub trait Instrument: private::Sealed + Clone + fmt::Debug + Send + Sync + 'static {
    /// The kind of its family.
    const KIND: MetricKind;
}

pub(super) mod private {
    use super::{Definition, Value};

    /// What a family needs from its handles.
    pub trait Sealed: Sized {
        fn create(definition: &Definition) -> Self;
        fn read(&self) -> Value;
        /// Observations that were refused.
        fn refused(&self) -> u64 {
            0
        }
    }
}

use private::Sealed;

/// A float that several threads add to.
#[derive(Default)]
struct AtomicFloat(AtomicU64);

impl AtomicFloat {
    fn load(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn store(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    fn add(&self, value: f64) {
        // Never fails: the closure always returns a value.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| Some((f64::from_bits(bits) + value).to_bits()));
    }
}

/// A number that only grows.
#[derive(Clone)]
pub struct Counter(Arc<CounterCell>);

/// Whole numbers and fractions are counted apart, so that adding 1 still counts past 2^53.
#[derive(Default)]
struct CounterCell {
    whole: AtomicU64,
    fraction: AtomicFloat,
}

impl Counter {
    /// Adds 1.
    pub fn inc(&self) {
        self.inc_by(1);
    }

    /// Adds a whole number.
    pub fn inc_by(&self, by: u64) {
        self.0.whole.fetch_add(by, Ordering::Relaxed);
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
            self.0.fraction.add(by);
        }
        Ok(())
    }

    /// What has been counted.
    pub fn get(&self) -> f64 {
        self.0.whole.load(Ordering::Relaxed) as f64 + self.0.fraction.load()
    }
}

impl Instrument for Counter {
    const KIND: MetricKind = MetricKind::Counter;
}

impl Sealed for Counter {
    fn create(_: &Definition) -> Self {
        Self(Arc::default())
    }

    fn read(&self) -> Value {
        Value::Number(self.get())
    }
}

/// A number that goes up and down.
#[derive(Clone)]
pub struct Gauge(Arc<AtomicFloat>);

impl Gauge {
    /// Sets it. NaN and infinities are allowed: NaN says "not known".
    pub fn set(&self, value: f64) {
        self.0.store(value);
    }

    /// Adds, or takes away when `by` is negative.
    pub fn add(&self, by: f64) {
        self.0.add(by);
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
    pub fn get(&self) -> f64 {
        self.0.load()
    }
}

impl Instrument for Gauge {
    const KIND: MetricKind = MetricKind::Gauge;
}

impl Sealed for Gauge {
    fn create(_: &Definition) -> Self {
        Self(Arc::default())
    }

    fn read(&self) -> Value {
        Value::Number(self.get())
    }
}

/// How observations are distributed over buckets.
#[derive(Clone)]
pub struct Histogram(Arc<HistogramCell>);

struct HistogramCell {
    bounds: Box<[f64]>,
    counts: Box<[AtomicU64]>,
    sum: AtomicFloat,
    refused: AtomicU64,
}

impl Histogram {
    /// Counts `value` in its bucket; one that lies on a bound belongs below it. NaN and infinities would make
    /// the sum useless for ever: they are left out, and counted in
    /// `uplifted_ops_metrics_refused_observations_total`.
    pub fn observe(&self, value: f64) {
        let cell = &*self.0;
        if !value.is_finite() {
            cell.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let bucket = cell.bounds.partition_point(|bound| *bound < value);
        cell.counts[bucket].fetch_add(1, Ordering::Relaxed);
        cell.sum.add(value);
    }

    /// Observes a duration in seconds.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    /// What has been observed.
    pub fn get(&self) -> Distribution {
        Distribution {
            bounds: self.0.bounds.to_vec(),
            counts: self.0.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: self.0.sum.load(),
        }
    }
}

impl Instrument for Histogram {
    const KIND: MetricKind = MetricKind::Histogram;
}

impl Sealed for Histogram {
    fn create(definition: &Definition) -> Self {
        let bounds: Box<[f64]> = definition.bounds.clone().into();
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(HistogramCell { bounds, counts, sum: AtomicFloat::default(), refused: AtomicU64::new(0) }))
    }

    fn read(&self) -> Value {
        Value::Distribution(self.get())
    }

    fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
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
