//! A series: the labels as the page shows them, and the cells.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use super::super::shared::{NONE, SeriesFacts};
use super::super::slab::{self, Kind, Reader, Said, Span};
use super::super::snapshot::{Distribution, MetricKind};
use crate::clock::Clock;
use crate::error::Result;
use crate::metrics::exemplar::Exemplars;
use crate::metrics::names::Definition;
use crate::metrics::native::{Native, NativeBuckets, NativeSum};

/// So many bounds are compared with at once, several by one instruction.
const FEW: usize = 32;

/// What the series of a family have in common: the buckets of histograms, and where examples are kept.
pub(in crate::metrics) struct Shape {
    /// Upper bounds, ascending, without the `+Inf` at the end.
    pub(in crate::metrics) bounds: Box<[f64]>,
    /// What each bucket is called on the page: `le="0.5"`, with the `+Inf` at the end.
    pub(in crate::metrics) les: Box<[String]>,
    /// Observations left out because they were no numbers.
    pub(in crate::metrics) refused: AtomicU64,
    /// The buckets beside those.
    native: Option<NativeBuckets>,
    /// Of counters too.
    pub(in crate::metrics) exemplars: Exemplars,
    /// How many series have taken a float cell.
    pub(in crate::metrics) fractions: AtomicU64,
    clock: Arc<dyn Clock>,
}

impl Shape {
    pub(in crate::metrics) fn new(definition: &Definition, clock: &Arc<dyn Clock>) -> Self {
        let bounds = &definition.bounds;
        Self {
            bounds: bounds.as_slice().into(),
            les: les(bounds).collect(),
            refused: AtomicU64::new(0),
            native: definition.native,
            exemplars: Exemplars::new(Arc::clone(clock)),
            fractions: AtomicU64::new(0),
            clock: Arc::clone(clock),
        }
    }
}

impl Shape {
    /// The bucket of a number.
    #[inline]
    fn bucket(&self, value: f64) -> usize {
        let bounds = &*self.bounds;
        // Comparing with all of a few is quicker than a search, each step of which waits for the one before.
        match bounds.len() {
            0..=FEW => bounds.iter().map(|bound| u64::from(*bound < value)).sum::<u64>() as usize,
            _ => bounds.partition_point(|bound| *bound < value),
        }
    }
}

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shape").field("bounds", &self.bounds).field("native", &self.native).finish_non_exhaustive()
    }
}

/// What buckets are called: `le="1.0"`. OpenMetrics wants the `.0`, and one spelling for both formats keeps the series one.
pub(in crate::metrics) fn les(bounds: &[f64]) -> impl Iterator<Item = String> {
    bounds.iter().map(|bound| format!("le=\"{bound:?}\"")).chain(["le=\"+Inf\"".to_owned()])
}

/// One series. Held by its family, by handles, and by the caches of threads.
#[derive(Debug)]
pub(in crate::metrics) struct Series {
    /// `method="GET",path="/"`, escaped: what the page shows is what tells series apart.
    pub(in crate::metrics) text: Box<str>,
    shape: Option<Arc<Shape>>,
    /// What few series have.
    extra: Option<Box<Extra>>,
    /// Of a counter one whole cell, of a gauge one that is set, of a histogram a whole one for each bucket.
    cells: Span,
    /// A float cell: a histogram's sum; a counter's fractions, once it has some; of a gauge, the cell of the environment in
    /// which it is at home, which owns it (see `foreign`).
    float: AtomicU32,
    /// Caches of threads that hold this.
    pub(in crate::metrics) cached: AtomicU16,
    flags: AtomicU8,
}

// A family may have a hundred thousand of them.
const _: () = assert!(size_of::<Series>() <= 48);

/// Takes what is over the cap.
const OVERFLOW: u8 = 1;
/// No longer in its family.
const GONE: u8 = 2;
/// Other processes know of it.
const PUBLISHED: u8 = 4;

/// What few series have.
#[derive(Debug, Default)]
struct Extra {
    idle: Option<Idle>,
    native: Option<Native>,
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
            MetricKind::Gauge => Span::take(Kind::Gauge, 1),
            MetricKind::Histogram => Span::take(Kind::Whole, shape.map_or(1, |shape| shape.les.len())),
        };
        let mut series = Self {
            text: text.into(),
            shape: shape.cloned(),
            extra: None,
            cells,
            float: AtomicU32::new(NONE),
            cached: AtomicU16::new(0),
            flags: AtomicU8::new(0),
        };
        if kind == MetricKind::Histogram {
            series.float_cell();
        }
        if let Some((native, shape)) = shape.and_then(|shape| shape.native.zip(Some(shape))) {
            series.extra =
                Some(Box::new(Extra { idle: None, native: Some(Native::new(native, Arc::clone(&shape.clock))) }));
        }
        series
    }

    /// A gauge that knows when it was set: in a cell after its value.
    pub(in crate::metrics) fn most_recent(text: &str) -> Self {
        let mut series = Self::new(MetricKind::Gauge, text, None);
        series.cells = Span::take(Kind::Gauge, 2);
        series
    }

    /// The cell that says when a gauge was set, if it has one.
    pub(in crate::metrics) fn set_at(&self) -> Option<u32> {
        let ids = self.cells.ids();
        (self.cells.kind() == Kind::Gauge && ids.len() == 2).then_some(ids.end - 1)
    }

    /// Tells other processes of it, where there are any.
    pub(in crate::metrics) fn publish(&self, family: u32) {
        slab::publish(Said::Series, self.first(), || {
            self.flags.fetch_or(PUBLISHED, Ordering::Relaxed);
            let (cells, float) = (self.cells.ids().len() as u32, self.float.load(Ordering::Acquire));
            Some(SeriesFacts { family, cells, float, text: &self.text }.encode())
        });
        if let Some(native) = self.native() {
            native.publish(self.first());
        }
    }

    /// Tells other processes that it is gone.
    pub(in crate::metrics) fn retract(&self) {
        if let Some(native) = self.native() {
            native.retract();
        }
        let was = || self.flags.fetch_and(!PUBLISHED, Ordering::Relaxed) & PUBLISHED != 0;
        slab::publish(Said::Gone, self.first(), || was().then(Vec::new));
    }

    /// Tells other processes which float cell it has now.
    pub(in crate::metrics) fn publish_float(&self) {
        slab::publish(Said::Float, self.first(), || {
            let float = self.float.load(Ordering::Acquire);
            self.is(PUBLISHED).then(|| float.to_ne_bytes().to_vec())
        });
    }

    /// Lets it note when it last changed.
    pub(in crate::metrics) fn may_expire(&mut self) {
        self.extra.get_or_insert_default().idle = Some(Idle::default());
    }

    pub(in crate::metrics) fn idle(&self) -> Option<&Idle> {
        self.extra.as_ref()?.idle.as_ref()
    }

    fn native(&self) -> Option<&Native> {
        self.extra.as_ref()?.native.as_ref()
    }

    /// What the native buckets hold, where there are some. To be asked after the others, which it is then at least as much as.
    pub(in crate::metrics) fn native_sum(&self, reader: &Reader) -> Option<NativeSum> {
        self.native().map(|native| native.read(reader))
    }

    /// Keeps what was added to a counter as an example.
    pub(in crate::metrics) fn count_with_exemplar(&self, by: u64, labels: &[(&str, &str)]) -> Result<()> {
        self.count(by);
        self.keep_exemplar(by as f64, labels)
    }

    /// Keeps what was added to a counter already as an example.
    pub(in crate::metrics) fn keep_exemplar(&self, by: f64, labels: &[(&str, &str)]) -> Result<()> {
        self.shape.as_ref().map_or(Ok(()), |shape| shape.exemplars.keep(self.first(), 0, by, labels))
    }

    /// Keeps an observation as the example of its bucket.
    pub(in crate::metrics) fn observe_with_exemplar(&self, value: f64, labels: &[(&str, &str)]) -> Result<()> {
        self.observe(value);
        match self.shape.as_ref().filter(|_| value.is_finite()) {
            Some(shape) => shape.exemplars.keep(self.first(), shape.bucket(value), value, labels),
            None => Ok(()),
        }
    }

    fn is(&self, flag: u8) -> bool {
        self.flags.load(Ordering::Acquire) & flag != 0
    }

    /// Whether it is no longer in its family.
    pub(in crate::metrics) fn is_gone(&self) -> bool {
        self.is(GONE)
    }

    /// It is no longer in its family.
    pub(in crate::metrics) fn leave(&self) {
        self.flags.fetch_or(GONE, Ordering::Release);
    }

    /// Whether it takes what is over the cap.
    pub(in crate::metrics) fn is_overflow(&self) -> bool {
        self.is(OVERFLOW)
    }

    /// Lets it take what is over the cap.
    pub(in crate::metrics) fn take_overflow(&mut self) {
        *self.flags.get_mut() |= OVERFLOW;
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
        // First: whoever reads asks for these last, and they must not be fewer.
        if self.native().is_some_and(|native| !native.observe(value)) {
            shape.refused.fetch_add(1, Ordering::Relaxed);
        }
        slab::add_observation(self.first() + shape.bucket(value) as u32, self.float_cell(), value);
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
            Ok(_) => {
                let taken = taken.leak();
                if let Some(shape) = &self.shape {
                    shape.fractions.fetch_add(1, Ordering::Release);
                }
                self.publish_float();
                taken
            }
            // Another thread was first; ours goes back.
            Err(held) => held,
        }
    }

    /// The number of the float cell of a counter, if it has one.
    pub(in crate::metrics) fn fraction(&self) -> Option<u32> {
        Some(self.float.load(Ordering::Acquire)).filter(|id| *id != NONE)
    }

    /// Lets a gauge be at home in the float cell `id`, unless it is somewhere already.
    pub(in crate::metrics) fn move_in(&self, id: u32) -> bool {
        self.float.compare_exchange(NONE, id, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Whether a gauge was at home in the cell `id`, which from now on it is not.
    pub(in crate::metrics) fn move_out(&self, id: u32) -> bool {
        self.float.compare_exchange(id, NONE, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The cell in which a gauge is at home, if it has one.
    pub(in crate::metrics) fn home(&self) -> Option<u32> {
        self.fraction()
    }

    /// Counts an observation that was left out.
    pub(in crate::metrics) fn refuse(&self) {
        if let Some(shape) = &self.shape {
            shape.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What a counter or gauge stands at.
    #[inline]
    pub(in crate::metrics) fn number(&self, kind: MetricKind, reader: &Reader) -> f64 {
        if kind == MetricKind::Gauge {
            let shared = f64::from_bits(slab::shared(self.first()).load(Ordering::Relaxed));
            return match self.float.load(Ordering::Acquire) {
                NONE => shared,
                home => shared + reader.float(home),
            };
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
        let counts = self.counts(reader).collect();
        let sum = self.sum(reader);
        let native = self.native_sum(reader).map(|native| native.distribution);
        Distribution { bounds, counts, sum, native }
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
        if let Some(shape) = &self.shape {
            shape.exemplars.forget(self.cells.first());
        }
        let float = *self.float.get_mut();
        // A gauge's home belongs to whoever lives there, and that one holds this: there is none by now.
        if float != NONE {
            drop(Span::of_leaked(Kind::Float, float));
        }
    }
}
