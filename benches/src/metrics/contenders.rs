//! The same jobs done by each library, in its own idiom.

use std::hint::black_box;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use uplifted_example::Failure;
use uplifted_ops::metrics::{self as ours, DEFAULT_BOUNDS, Definition, Format, Registry};

use super::Sets;

/// A library that counts. Each job says how many times it did what is timed.
pub(crate) trait Contender {
    fn name(&self) -> &'static str;
    /// Makes a series of every set.
    fn fill(&mut self, sets: &Sets);
    fn increments(&mut self, count: usize) -> usize;
    /// Two threads add at once, `count` times each.
    fn by_two_threads(&mut self, count: usize) -> usize;
    fn labelled(&mut self, sets: &Sets, count: usize) -> usize;
    /// As [`Contender::labelled`], where there is a shorter way.
    fn one_call(&mut self, sets: &Sets, count: usize) -> usize {
        self.labelled(sets, count)
    }
    fn observations(&mut self, count: usize) -> usize;
    fn page(&mut self) -> usize;
    /// Lets go of the memory that the page takes.
    fn forget_page(&mut self) {}
}

fn twice(count: usize, act: impl Fn() + Sync) -> usize {
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..count).for_each(|_| act()));
        }
    });
    count
}

/// From 0 to above the last bound.
fn observed(n: usize) -> f64 {
    (n % 1_024) as f64 / 80.0
}

pub(crate) struct Ours {
    registry: Registry,
    counter: ours::Counter,
    histogram: ours::Histogram,
    labelled: ours::CounterFamily,
    many: ours::CounterFamily,
    out: String,
}

impl Ours {
    pub(crate) fn new() -> Result<Self, Failure> {
        let registry = Registry::new();
        let labels = ["method", "path", "status"];
        let many = Definition::new("many_total", "Many series").labels(&labels).max_series(1 << 20);
        Ok(Self {
            counter: registry.counter("one_total", "One")?,
            histogram: registry.histogram("took_seconds", "Took", DEFAULT_BOUNDS)?,
            labelled: registry.counters(Definition::new("requests_total", "Requests").labels(&labels))?,
            many: registry.counters(many)?,
            registry,
            out: String::new(),
        })
    }
}

impl Contender for Ours {
    fn name(&self) -> &'static str {
        "uplifted-ops"
    }

    fn fill(&mut self, sets: &Sets) {
        for (n, set) in sets.iter().enumerate() {
            let Ok(series) = self.many.with(&set) else { continue };
            series.inc_by(n as u64 * 7);
        }
    }

    fn increments(&mut self, count: usize) -> usize {
        let counter = &self.counter;
        (0..count).for_each(|_| black_box(counter).inc());
        count
    }

    fn by_two_threads(&mut self, count: usize) -> usize {
        twice(count, || black_box(&self.counter).inc())
    }

    fn labelled(&mut self, sets: &Sets, count: usize) -> usize {
        for set in sets.by_turns(count) {
            if let Ok(counter) = self.labelled.with(black_box(&set)) {
                counter.inc();
            }
        }
        count
    }

    fn one_call(&mut self, sets: &Sets, count: usize) -> usize {
        for set in sets.by_turns(count) {
            let _ = self.labelled.inc(black_box(&set));
        }
        count
    }

    fn observations(&mut self, count: usize) -> usize {
        (0..count).for_each(|n| black_box(&self.histogram).observe(observed(n)));
        count
    }

    fn page(&mut self) -> usize {
        self.out.clear();
        self.registry.render_into(&mut self.out, Format::Text, []);
        black_box(&self.out);
        1
    }

    fn forget_page(&mut self) {
        self.out = String::new();
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    method: String,
    path: String,
    status: String,
}

impl From<[&str; 3]> for Labels {
    fn from([method, path, status]: [&str; 3]) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), status: status.to_owned() }
    }
}

type PeerCounter = prometheus_client::metrics::counter::Counter;

/// `prometheus-client`.
pub(crate) struct Peer {
    registry: prometheus_client::registry::Registry,
    counter: PeerCounter,
    histogram: Histogram,
    labelled: Family<Labels, PeerCounter>,
    many: Family<Labels, PeerCounter>,
    out: String,
}

impl Peer {
    pub(crate) fn new() -> Self {
        let mut registry = prometheus_client::registry::Registry::default();
        let counter = PeerCounter::default();
        let histogram = Histogram::new(DEFAULT_BOUNDS.iter().copied());
        let (labelled, many) = (Family::default(), Family::default());
        registry.register("one", "One", counter.clone());
        registry.register("took_seconds", "Took", histogram.clone());
        registry.register("requests", "Requests", labelled.clone());
        registry.register("many", "Many series", many.clone());
        Self { registry, counter, histogram, labelled, many, out: String::new() }
    }
}

impl Contender for Peer {
    fn name(&self) -> &'static str {
        "prometheus-client"
    }

    fn fill(&mut self, sets: &Sets) {
        for (n, set) in sets.iter().enumerate() {
            self.many.get_or_create(&Labels::from(set)).inc_by(n as u64 * 7);
        }
    }

    fn increments(&mut self, count: usize) -> usize {
        let counter = &self.counter;
        (0..count).for_each(|_| {
            black_box(counter).inc();
        });
        count
    }

    fn by_two_threads(&mut self, count: usize) -> usize {
        twice(count, || {
            black_box(&self.counter).inc();
        })
    }

    fn labelled(&mut self, sets: &Sets, count: usize) -> usize {
        for set in sets.by_turns(count) {
            self.labelled.get_or_create(&Labels::from(*black_box(&set))).inc();
        }
        count
    }

    fn observations(&mut self, count: usize) -> usize {
        (0..count).for_each(|n| black_box(&self.histogram).observe(observed(n)));
        count
    }

    fn page(&mut self) -> usize {
        self.out.clear();
        let _ = prometheus_client::encoding::text::encode(&mut self.out, &self.registry);
        black_box(&self.out);
        1
    }

    fn forget_page(&mut self) {
        self.out = String::new();
    }
}

/// `metrics` with `metrics-exporter-prometheus`.
pub(crate) struct Exporter {
    handle: metrics_exporter_prometheus::PrometheusHandle,
    counter: metrics::Counter,
    histogram: metrics::Histogram,
}

impl Exporter {
    pub(crate) fn new() -> Result<Self, Failure> {
        let builder = metrics_exporter_prometheus::PrometheusBuilder::new().set_buckets(DEFAULT_BOUNDS)?;
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|_| "a recorder is installed already")?;
        let (counter, histogram) = (metrics::counter!("one"), metrics::histogram!("took_seconds"));
        Ok(Self { handle, counter, histogram })
    }
}

/// Our recorder of the facade.
pub(crate) struct Facade {
    registry: Registry,
    recorder: ours::facade::Recorder,
    counter: metrics::Counter,
    histogram: metrics::Histogram,
    out: String,
}

impl Facade {
    pub(crate) fn new() -> Result<Self, Failure> {
        // The page of all series is one of the facade's families as well.
        ours::set_max_series(1 << 20);
        let registry = Registry::new();
        let recorder = ours::facade::Recorder::of(&registry)?;
        let (counter, histogram) =
            metrics::with_local_recorder(&recorder, || (metrics::counter!("one"), metrics::histogram!("took_seconds")));
        Ok(Self { registry, recorder, counter, histogram, out: String::new() })
    }
}

impl Contender for Facade {
    fn name(&self) -> &'static str {
        "uplifted-ops, by the facade"
    }

    fn fill(&mut self, sets: &Sets) {
        metrics::with_local_recorder(&self.recorder, || {
            for (n, set) in sets.iter().enumerate() {
                labelled("many", set).increment(n as u64 * 7);
            }
        });
    }

    fn increments(&mut self, count: usize) -> usize {
        let counter = &self.counter;
        (0..count).for_each(|_| black_box(counter).increment(1));
        count
    }

    fn by_two_threads(&mut self, count: usize) -> usize {
        twice(count, || black_box(&self.counter).increment(1))
    }

    fn labelled(&mut self, sets: &Sets, count: usize) -> usize {
        metrics::with_local_recorder(&self.recorder, || {
            for set in sets.by_turns(count) {
                labelled("requests", *black_box(&set)).increment(1);
            }
        });
        count
    }

    fn observations(&mut self, count: usize) -> usize {
        (0..count).for_each(|n| black_box(&self.histogram).record(observed(n)));
        count
    }

    fn page(&mut self) -> usize {
        self.out.clear();
        self.registry.render_into(&mut self.out, Format::Text, []);
        black_box(&self.out);
        1
    }

    fn forget_page(&mut self) {
        self.out = String::new();
    }
}

fn labelled(name: &'static str, [method, path, status]: [&str; 3]) -> metrics::Counter {
    let (method, path, status) = (method.to_owned(), path.to_owned(), status.to_owned());
    metrics::counter!(name, "method" => method, "path" => path, "status" => status)
}

impl Contender for Exporter {
    fn name(&self) -> &'static str {
        "metrics-exporter-prometheus"
    }

    fn fill(&mut self, sets: &Sets) {
        for (n, set) in sets.iter().enumerate() {
            labelled("many", set).increment(n as u64 * 7);
        }
    }

    fn increments(&mut self, count: usize) -> usize {
        let counter = &self.counter;
        (0..count).for_each(|_| black_box(counter).increment(1));
        count
    }

    fn by_two_threads(&mut self, count: usize) -> usize {
        twice(count, || black_box(&self.counter).increment(1))
    }

    fn labelled(&mut self, sets: &Sets, count: usize) -> usize {
        for set in sets.by_turns(count) {
            labelled("requests", *black_box(&set)).increment(1);
        }
        count
    }

    fn observations(&mut self, count: usize) -> usize {
        (0..count).for_each(|n| black_box(&self.histogram).record(observed(n)));
        // It keeps each observation until it is asked to sum them: that belongs to the price.
        self.handle.run_upkeep();
        count
    }

    fn page(&mut self) -> usize {
        black_box(self.handle.render());
        1
    }
}
