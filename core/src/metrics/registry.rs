//! The registry: which families there are, and what they stand at.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};

use super::collector::{Collected, Collector};
use super::exposition::{Format, Page};
use super::family::{AnyFamily, CounterFamily, GaugeFamily, HistogramFamily, InstrumentFamily};
use super::info::InfoFamily;
use super::instrument::{Counter, Gauge, Histogram, Instrument};
use super::names::{Definition, sample_names};
use super::process::{BuildInfo, ProcessCollector};
use super::snapshot::{Family, MetricKind, MetricsSnapshot};

/// The registry of this process. It is there before anything is set up, and holds `process_*` and
/// `uplifted_ops_build_info` from the start.
pub fn global() -> &'static Registry {
    static GLOBAL: LazyLock<Registry> = LazyLock::new(|| {
        let registry = Registry::new();
        registry.collect_from(Arc::new(ProcessCollector::new()));
        registry.collect_from(Arc::new(BuildInfo));
        registry
    });
    &GLOBAL
}

/// Which families there are. Clones share them.
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
    /// Bytes of the longest page so far.
    page_len: AtomicUsize,
}

#[derive(Default)]
struct State {
    families: BTreeMap<String, Arc<dyn AnyFamily>>,
    /// Every sample name on the page, with the family it belongs to.
    taken: HashMap<String, String>,
    collectors: Vec<Arc<Watched>>,
}

/// A collector, and how often it failed.
struct Watched {
    collector: Arc<dyn Collector>,
    failures: AtomicU64,
}

impl Registry {
    /// An empty registry, such as a test wants. [`global`] is the one that is served.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// An empty registry whose series go idle by this clock ([`Definition::expire_after`]).
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), clock, page_len: AtomicUsize::new(0) }))
    }

    /// Registers a counter without labels.
    ///
    /// # Errors
    /// As [`Registry::counters`].
    pub fn counter(&self, name: &str, help: &str) -> Result<Counter> {
        self.counters(Definition::new(name, help))?.with(&[])
    }

    /// Registers a gauge without labels.
    ///
    /// # Errors
    /// As [`Registry::counters`].
    pub fn gauge(&self, name: &str, help: &str) -> Result<Gauge> {
        self.gauges(Definition::new(name, help))?.with(&[])
    }

    /// Registers a histogram without labels.
    ///
    /// # Errors
    /// As [`Registry::counters`].
    pub fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Result<Histogram> {
        self.histograms(Definition::new(name, help).bounds(bounds))?.with(&[])
    }

    /// Registers counters.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) when a name is not one, is reserved, or is taken by another
    /// family or its samples (`x_count` by the histogram `x`), when the name does not end in its unit, or when
    /// the bounds are not ascending.
    pub fn counters(&self, definition: Definition) -> Result<CounterFamily> {
        self.register(definition)
    }

    /// Registers gauges.
    ///
    /// # Errors
    /// As [`Registry::counters`].
    pub fn gauges(&self, definition: Definition) -> Result<GaugeFamily> {
        self.register(definition)
    }

    /// Registers histograms.
    ///
    /// # Errors
    /// As [`Registry::counters`].
    pub fn histograms(&self, definition: Definition) -> Result<HistogramFamily> {
        self.register(definition)
    }

    /// Registers facts. `_info` is added to a name that does not end in it; unit and bounds have no meaning here.
    ///
    /// # Errors
    /// As [`Registry::counters`].
    pub fn infos(&self, mut definition: Definition) -> Result<InfoFamily> {
        if !definition.name.ends_with("_info") {
            definition.name.push_str("_info");
        }
        let definition = definition.checked(MetricKind::Gauge)?;
        self.add(definition.name.clone(), MetricKind::Gauge, || {
            let family = InfoFamily::new(definition);
            (family.clone(), Arc::new(family))
        })
    }

    /// Adds a collector, which is asked whenever a snapshot is taken.
    pub fn collect_from(&self, collector: Arc<dyn Collector>) {
        self.lock().collectors.push(Arc::new(Watched { collector, failures: AtomicU64::new(0) }));
    }

    /// Every series at this moment. Counting goes on meanwhile.
    pub fn snapshot(&self) -> MetricsSnapshot {
        let families = self.sources().into_values().map(|source| match source {
            Source::Live(family) => family.read(),
            Source::Given(family) => family,
        });
        MetricsSnapshot { families: families.collect() }
    }

    /// Every series at this moment as text: what [`render`](super::render) makes of a snapshot, without making one.
    pub fn render(&self, format: Format) -> String {
        let mut out = String::with_capacity(self.0.page_len.load(Ordering::Relaxed));
        self.render_into(&mut out, format, []);
        out
    }

    /// Appends every series as text to `out`, whose memory can be used again from page to page, and `more` families
    /// beside our own. One whose name is there already is left out.
    pub fn render_into(&self, out: &mut String, format: Format, more: impl IntoIterator<Item = Family>) {
        let start = out.len();
        let mut sources = self.sources();
        for family in more {
            sources.entry(family.name.clone()).or_insert(Source::Given(family));
        }
        let mut page = Page::new(out, format);
        for source in sources.values() {
            match source {
                Source::Live(family) => family.write(&mut page),
                Source::Given(family) => page.family(family),
            }
        }
        page.finish();
        self.0.page_len.fetch_max(out.len() - start, Ordering::Relaxed);
    }

    /// Every family by its name. Collectors are asked.
    fn sources(&self) -> BTreeMap<String, Source> {
        let state = self.lock();
        let families: Vec<_> = state.families.values().map(Arc::clone).collect();
        let collectors: Vec<_> = state.collectors.iter().map(Arc::clone).collect();
        // Not held while foreign code runs: a collector may register an instrument.
        drop(state);

        let mut page = PageInMaking::default();
        for family in &families {
            page.add(&family.definition().name, family.kind(), Source::Live(Arc::clone(family)));
        }
        for watched in &collectors {
            watched.collect_into(&mut page);
        }
        for family in own_state(&families, &collectors) {
            page.give(family);
        }
        page.sources
    }

    fn register<M: Instrument>(&self, definition: Definition) -> Result<InstrumentFamily<M>> {
        let definition = definition.checked(M::KIND)?;
        let clock = Arc::clone(&self.0.clock);
        self.add(definition.name.clone(), M::KIND, || {
            let family = InstrumentFamily::new(definition, clock);
            let any = family.any();
            (family, any)
        })
    }

    /// Adds a family, unless one of its names is taken.
    fn add<F>(&self, name: String, kind: MetricKind, make: impl FnOnce() -> (F, Arc<dyn AnyFamily>)) -> Result<F> {
        let samples: Vec<String> = sample_names(&name, kind).collect();
        let mut state = self.lock();
        if let Some((sample, holder)) = samples.iter().find_map(|sample| state.taken.get_key_value(sample)) {
            return Err(Error::invalid(format!(
                "metric {name:?} is registered twice: {sample:?} belongs to {holder:?}"
            ))
            .with_hint("register a metric once and keep its handle, or choose another name"));
        }
        state.taken.extend(samples.into_iter().map(|sample| (sample, name.clone())));
        let (family, any) = make();
        state.families.insert(name, any);
        Ok(family)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("families", &self.lock().families.keys()).finish_non_exhaustive()
    }
}

/// Where a family on the page comes from.
enum Source {
    /// Instruments, read when the page is written.
    Live(Arc<dyn AnyFamily>),
    /// A collector.
    Given(Family),
}

/// The families of a page, and the names that its samples use.
#[derive(Default)]
struct PageInMaking {
    sources: BTreeMap<String, Source>,
    taken: HashSet<String>,
}

impl PageInMaking {
    /// Adds a family unless one of its names is on the page already: Prometheus would refuse the page whole.
    fn add(&mut self, name: &str, kind: MetricKind, source: Source) -> bool {
        let samples: Vec<String> = sample_names(name, kind).collect();
        if samples.iter().any(|sample| self.taken.contains(sample)) {
            return false;
        }
        self.taken.extend(samples);
        self.sources.insert(name.to_owned(), source);
        true
    }

    fn give(&mut self, family: Family) -> bool {
        let (name, kind) = (family.name.clone(), family.kind);
        self.add(&name, kind, Source::Given(family))
    }
}

impl Watched {
    /// Adds what the collector gives, or counts a failure.
    fn collect_into(&self, page: &mut PageInMaking) {
        // A panic loses `out` with everything in it, and nothing else is touched.
        let given = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let mut out = Collected::default();
            self.collector.collect(&mut out).map(|()| out.0)
        }));
        let Ok(Ok(families)) = given else {
            self.failures.fetch_add(1, Ordering::Relaxed);
            return;
        };
        for mut family in families {
            let given = family.series.len();
            family.series.sort_by(|a, b| a.labels.cmp(&b.labels));
            family.series.dedup_by(|a, b| a.labels == b.labels);
            let whole = family.series.len() == given;
            if !(page.give(family) && whole) {
                self.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// What the registry says about itself. Only what happened is shown, so a healthy page stays short.
fn own_state(families: &[Arc<dyn AnyFamily>], collectors: &[Arc<Watched>]) -> impl Iterator<Item = Family> {
    let mut overflow = Family::new(
        "uplifted_ops_metrics_overflow",
        MetricKind::Counter,
        "Lookups of label values that went into the overflow series, because the family was full",
    );
    let mut refused = Family::new(
        "uplifted_ops_metrics_refused_observations",
        MetricKind::Counter,
        "Observations left out because they were NaN or infinite",
    );
    for family in families {
        let (over, out) = (family.overflowed(), family.refused());
        if over + out == 0 {
            continue;
        }
        let name = family.definition().name.as_str();
        if over > 0 {
            overflow = overflow.number(&[("family", name)], over as f64);
        }
        if out > 0 {
            refused = refused.number(&[("family", name)], out as f64);
        }
    }
    let mut by_name: BTreeMap<&str, u64> = BTreeMap::new();
    for watched in collectors {
        *by_name.entry(watched.collector.name()).or_default() += watched.failures.load(Ordering::Relaxed);
    }
    let mut failures = Family::new(
        "uplifted_ops_collector_failures",
        MetricKind::Counter,
        "Times that a collector failed, panicked, or gave a family that is there already",
    );
    for (name, count) in by_name {
        failures = failures.number(&[("collector", name)], count as f64);
    }
    [overflow, refused, failures].into_iter().filter(|family| !family.series.is_empty())
}
