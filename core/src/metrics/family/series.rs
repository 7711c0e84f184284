//! A series: the labels as the page shows them, and the cells.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering};

use super::super::slab::{self, Kind, Reader, Span};
use super::super::snapshot::{Distribution, MetricKind, Value};

/// The buckets of a family's histograms.
#[derive(Debug)]
pub(in crate::metrics) struct Shape {
    /// Upper bounds, ascending, without the `+Inf` at the end.
    pub(in crate::metrics) bounds: Box<[f64]>,
    /// What each bucket is called on the page: `le="0.5"`, with the `+Inf` at the end.
    pub(in crate::metrics) les: Box<[String]>,
    /// Observations left out because they were no numbers.
    pub(in crate::metrics) refused: AtomicU64,
}

impl Shape {
    pub(in crate::metrics) fn new(bounds: &[f64]) -> Self {
        Self { bounds: bounds.into(), les: les(bounds).collect(), refused: AtomicU64::new(0) }
    }
}

/// What buckets are called: `le="1.0"`. OpenMetrics wants the `.0`, and one spelling for both formats keeps the series one.
pub(in crate::metrics) fn les(bounds: &[f64]) -> impl Iterator<Item = String> {
    bounds.iter().map(|bound| format!("le=\"{bound:?}\"")).chain(["le=\"+Inf\"".to_owned()])
}

/// No cell.
const NONE: u32 = u32::MAX;

/// One series. Held by its family, by handles, and by the caches of threads.
#[derive(Debug)]
pub(in crate::metrics) struct Series {
    /// `method="GET",path="/"`, escaped: what the page shows is what tells series apart.
    pub(in crate::metrics) text: Box<str>,
    shape: Option<Arc<Shape>>,
    pub(in crate::metrics) idle: Option<Box<Idle>>,
    /// Of a counter one whole cell, of a gauge one float, of a histogram a whole one for each bucket.
    cells: Span,
    /// A float cell: a histogram's sum; a counter's fractions, once it has some.
    float: AtomicU32,
    /// Caches of threads that hold this.
    pub(in crate::metrics) cached: AtomicU16,
    /// Takes what is over the cap.
    pub(in crate::metrics) overflow: bool,
    /// No longer in its family.
    pub(in crate::metrics) gone: AtomicBool,
}

/// When a series last changed, as far as readers of its family saw.
#[derive(Debug, Default)]
pub(in crate::metrics) struct Idle {
    /// What it stood at.
    pub(in crate::metrics) mark: AtomicU64,
    /// Since when, in milliseconds of the clock, and one more; 0 before the first look.
    pub(in crate::metrics) since: AtomicU64,
}

impl Series {
    pub(in crate::metrics) fn new(kind: MetricKind, text: &str, shape: Option<&Arc<Shape>>) -> Self {
        let cells = match kind {
            MetricKind::Counter => Span::take(Kind::Whole, 1),
            MetricKind::Gauge => Span::take(Kind::Float, 1),
            MetricKind::Histogram => Span::take(Kind::Whole, shape.map_or(1, |shape| shape.les.len())),
        };
        let series = Self {
            text: text.into(),
            shape: shape.cloned(),
            idle: None,
            cells,
            float: AtomicU32::new(NONE),
            cached: AtomicU16::new(0),
            overflow: false,
            gone: AtomicBool::new(false),
        };
        if kind == MetricKind::Histogram {
            series.float_cell();
        }
        series
    }

    pub(in crate::metrics) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Some bytes of the text, for whoever wants it to be at hand.
    #[inline]
    pub(in crate::metrics) fn text_ends(&self) -> u8 {
        let text = self.text.as_bytes();
        text.first().copied().unwrap_or(0) ^ text.last().copied().unwrap_or(0)
    }

    /// Adds to a counter.
    #[inline]
    pub(in crate::metrics) fn count(&self, by: u64) {
        slab::add_whole(self.first(), by);
    }

    /// Counts a value in a histogram.
    #[inline]
    pub(in crate::metrics) fn observe(&self, value: f64) {
        let Some(shape) = &self.shape else { return };
        if !value.is_finite() {
            shape.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let bucket = shape.bounds.partition_point(|bound| *bound < value);
        slab::add_whole(self.first() + bucket as u32, 1);
        slab::add_float(self.float_cell(), value);
    }

    /// The number of the first cell.
    pub(in crate::metrics) fn first(&self) -> u32 {
        self.cells.first()
    }

    /// The number of the float cell, which is taken when it is first asked for.
    pub(in crate::metrics) fn float_cell(&self) -> u32 {
        let held = self.float.load(Ordering::Acquire);
        if held != NONE {
            return held;
        }
        let taken = Span::take(Kind::Float, 1);
        match self.float.compare_exchange(NONE, taken.first(), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => taken.leak(),
            // Another thread was first; ours goes back.
            Err(held) => held,
        }
    }

    /// What a counter or gauge stands at.
    #[inline]
    pub(in crate::metrics) fn number(&self, kind: MetricKind, reader: &Reader) -> f64 {
        if kind == MetricKind::Gauge {
            return f64::from_bits(slab::shared(self.first()).load(Ordering::Relaxed));
        }
        let whole = reader.whole(self.first()) as f64;
        match self.float.load(Ordering::Acquire) {
            NONE => whole,
            fraction => whole + reader.float(fraction),
        }
    }

    /// How many observations lie in each bucket alone.
    pub(in crate::metrics) fn counts(&self, reader: &Reader) -> impl Iterator<Item = u64> {
        self.cells.ids().map(|id| reader.whole(id))
    }

    /// The sum of all observations.
    pub(in crate::metrics) fn sum(&self, reader: &Reader) -> f64 {
        reader.float(self.float_cell())
    }

    pub(in crate::metrics) fn distribution(&self, reader: &Reader) -> Distribution {
        let bounds = self.shape.as_ref().map_or_else(Vec::new, |shape| shape.bounds.to_vec());
        Distribution { bounds, counts: self.counts(reader).collect(), sum: self.sum(reader) }
    }

    pub(in crate::metrics) fn value(&self, kind: MetricKind, reader: &Reader) -> Value {
        match kind {
            MetricKind::Histogram => Value::Distribution(self.distribution(reader)),
            _ => Value::Number(self.number(kind, reader)),
        }
    }

    /// A number that is another one once the series has changed. A gauge that is set to what it stands at has not.
    pub(in crate::metrics) fn mark(&self, kind: MetricKind, reader: &Reader) -> u64 {
        match kind {
            MetricKind::Histogram => self.counts(reader).fold(0, u64::wrapping_add),
            _ => self.number(kind, reader).to_bits(),
        }
    }
}

impl Drop for Series {
    fn drop(&mut self) {
        let float = *self.float.get_mut();
        if float != NONE {
            drop(Span::of_leaked(Kind::Float, float));
        }
    }
}
