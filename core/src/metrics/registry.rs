//! The registry: which families there are, and what they stand at.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};

use super::collector::{Collected, Collector};
use super::exposition::{Escaping, Exposition, Format, Page};
#[cfg(feature = "metrics-facade")]
use super::family::mixed::MixedFamily;
use super::family::{Adoptable, AnyFamily, CounterFamily, GaugeFamily, HistogramFamily, InstrumentFamily};
use super::info::InfoFamily;
use super::instrument::{Counter, Gauge, Histogram, Instrument};
use super::names::{Definition, plain, sample_names};
use super::process::{BuildInfo, ProcessCollector};
use super::shared::{self, OtherFamily, Others};
use super::slab::{Inside, inside};
use super::snapshot::{Family, MetricKind, MetricsSnapshot};

/// The registry of this process. It is there before anything is set up, and holds `process_*` and
/// `uplifted_ops_build_info` from the start.
pub fn global() -> &'static Registry {
    static GLOBAL: LazyLock<Registry> = LazyLock::new(|| {
        let clock = CLOCK.get_or_init(|| Arc::new(SystemClock));
        let registry = Registry::made(Arc::clone(clock), true);
        registry.collect_from(Arc::new(ProcessCollector::new()));
        registry.collect_from(Arc::new(BuildInfo));
        registry
    });
    &GLOBAL
}

/// Which families there are. Clones share them.
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

/// The clock of [`global`], in milliseconds.
pub(super) fn now() -> u64 {
    global().now()
}

/// Lets [`global`] go by this clock; says whether it does, which it cannot once it is there.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn set_clock(clock: Arc<dyn Clock>) -> bool {
    CLOCK.set(clock).is_ok()
}

/// The clock of [`global`], unless it is the system's.
static CLOCK: OnceLock<Arc<dyn Clock>> = OnceLock::new();

/// Tells other processes of all families of the registry of this process.
pub(super) fn publish() {
    let families: Vec<_> = global().lock().families.values().cloned().collect();
    families.iter().for_each(|family| family.publish());
}

struct Shared {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
    /// Whether its families are summed over the processes of the service.
    public: bool,
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
        Self::made(clock, false)
    }

    fn made(clock: Arc<dyn Clock>, public: bool) -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), clock, public, page_len: AtomicUsize::new(0) }))
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
    pub fn infos(&self, definition: Definition) -> Result<InfoFamily> {
        let family = InfoFamily::detached(definition)?;
        self.adopt(&family)?;
        Ok(family)
    }

    /// Adds a family that was made on its own ([`InstrumentFamily::detached`]) or belongs to another registry: both show it.
    ///
    /// # Errors
    /// When one of its names is taken.
    pub fn adopt(&self, family: &impl Adoptable) -> Result<()> {
        self.add(family.any())
    }

    /// Lets go of a family, by its name without `_total`; says whether it was there. Its name is free again, and handles that
    /// somebody still holds go on counting, unseen.
    pub fn remove(&self, name: &str) -> bool {
        let mut state = self.lock();
        let removed = state.families.remove(name);
        state.taken.retain(|_, holder| holder != name);
        // What is dropped with the last handle takes the lock of the cells.
        drop(state);
        if let Some(family) = removed.as_ref().filter(|_| self.0.public) {
            family.retract();
        }
        removed.is_some()
    }

    /// Adds a collector, which is asked whenever a snapshot is taken.
    pub fn collect_from(&self, collector: Arc<dyn Collector>) {
        self.lock().collectors.push(Arc::new(Watched { collector, failures: AtomicU64::new(0) }));
    }

    /// Every series at this moment, summed over the processes of the service where that is done ([`share`](super::share)).
    /// Counting goes on meanwhile.
    pub fn snapshot(&self) -> MetricsSnapshot {
        let mut page = self.page();
        let mut others = self.others();
        page.join(others.as_ref(), self.now());
        let families = page.sources.into_values().map(Source::read).collect();
        others.iter_mut().for_each(Others::tidy);
        MetricsSnapshot { families }
    }

    /// Every series of this process alone at this moment.
    pub fn snapshot_here(&self) -> MetricsSnapshot {
        MetricsSnapshot { families: self.page().sources.into_values().map(Source::read).collect() }
    }

    fn others(&self) -> Option<Others> {
        if self.0.public { shared::others(self.now()) } else { None }
    }

    fn now(&self) -> u64 {
        self.0.clock.monotonic().as_millis() as u64
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
        self.with_page(more, |page| format.page(out, Escaping::default(), |out| page.write(out)));
        self.0.page_len.fetch_max(out.len() - start, Ordering::Relaxed);
    }

    /// As [`Registry::render_into`], in what a scraper asked for. Quickest into an `out` that is empty.
    pub fn expose_into(&self, out: &mut Vec<u8>, exposition: Exposition, more: impl IntoIterator<Item = Family>) {
        if out.is_empty() {
            out.reserve(self.0.page_len.load(Ordering::Relaxed));
        }
        let start = out.len();
        self.with_page(more, |page| exposition.page(out, |out| page.write(out)));
        self.0.page_len.fetch_max(out.len() - start, Ordering::Relaxed);
    }

    fn with_page<R>(&self, more: impl IntoIterator<Item = Family>, then: impl FnOnce(&PageInMaking<'_>) -> R) -> R {
        let mut page = self.page();
        // After the collectors: no foreign code runs while nobody can fork.
        let mut others = self.others();
        page.join(others.as_ref(), self.now());
        for family in more {
            page.sources.entry(family.name.clone()).or_insert(Source::Given(family));
        }
        let made = then(&page);
        drop(page);
        others.iter_mut().for_each(Others::tidy);
        made
    }

    /// Every family by its name. Collectors are asked.
    fn page<'a>(&self) -> PageInMaking<'a> {
        let state = self.lock();
        let families: Vec<_> = state.families.values().map(Arc::clone).collect();
        let collectors: Vec<_> = state.collectors.iter().map(Arc::clone).collect();
        // Not held while foreign code runs: a collector may register an instrument.
        drop(state);

        let mut page = PageInMaking::default();
        for family in &families {
            page.add(&family.definition().name, family.kind(), Source::Live(Arc::clone(family), Vec::new()));
        }
        for watched in &collectors {
            watched.collect_into(&mut page);
        }
        for family in own_state(&families, &collectors) {
            page.give(family);
        }
        page
    }

    fn register<M: Instrument>(&self, definition: Definition) -> Result<InstrumentFamily<M>> {
        let family = InstrumentFamily::new(definition.checked(M::KIND)?, Arc::clone(&self.0.clock));
        self.adopt(&family)?;
        Ok(family)
    }

    /// Registers a family whose series have other labels from one to another.
    #[cfg(feature = "metrics-facade")]
    pub(super) fn mixed<M: Instrument>(&self, definition: Definition) -> Result<Arc<MixedFamily<M>>> {
        let family = Arc::new(MixedFamily::new(definition, Arc::clone(&self.0.clock))?);
        self.add(Arc::clone(&family) as Arc<dyn AnyFamily>)?;
        Ok(family)
    }

    /// Adds a family, unless one of its names is taken.
    fn add(&self, family: Arc<dyn AnyFamily>) -> Result<()> {
        let name = family.definition().name.clone();
        let samples: Vec<String> = sample_names(&plain(&name), family.kind()).collect();
        let mut state = self.lock();
        if let Some((sample, holder)) = samples.iter().find_map(|sample| state.taken.get_key_value(sample)) {
            return Err(Error::invalid(format!(
                "metric {name:?} is registered twice: {sample:?} belongs to {holder:?}"
            ))
            .with_hint("register a metric once and keep its handle, or choose another name"));
        }
        state.taken.extend(samples.into_iter().map(|sample| (sample, name.clone())));
        state.families.insert(name, Arc::clone(&family));
        drop(state);
        if self.0.public {
            family.publish();
        }
        Ok(())
    }

    fn lock(&self) -> Inside<MutexGuard<'_, State>> {
        inside(|| self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
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
enum Source<'a> {
    /// Instruments, read when the page is written, and the same ones of other processes.
    Live(Arc<dyn AnyFamily>, Vec<OtherFamily<'a>>),
    /// Instruments that only other processes have; of a family that is mixed, its parts.
    Other(Vec<OtherFamily<'a>>),
    /// A collector.
    Given(Family),
}

impl Source<'_> {
    fn read(self) -> Family {
        match self {
            Self::Live(family, others) => family.read(&others),
            Self::Other(parts) => OtherFamily::read(&parts),
            Self::Given(family) => family,
        }
    }

    fn write(&self, page: &mut Page<'_>) {
        match self {
            Self::Live(family, others) => family.write(page, others),
            Self::Other(parts) => page.family(&OtherFamily::read(parts)),
            Self::Given(family) => page.family(family),
        }
    }
}

/// The families of a page, and the names that its samples use.
#[derive(Default)]
struct PageInMaking<'a> {
    sources: BTreeMap<String, Source<'a>>,
    taken: HashSet<String>,
}

impl<'a> PageInMaking<'a> {
    fn write(&self, page: &mut Page<'_>) {
        self.sources.values().for_each(|source| source.write(page));
    }

    /// Adds what other processes have, and takes out what nobody has changed for as long as it may stay.
    fn join(&mut self, others: Option<&'a Others>, now: u64) {
        for source in self.sources.values_mut() {
            if let Source::Live(family, same) = source {
                *same = others.map(|others| others.same(&family.facts())).unwrap_or_default();
                family.expire(same, now);
            }
        }
        let Some(others) = others else { return };
        // One that is there already, of another kind or with other labels, is not the same.
        for other in others.families().filter(|other| other.shown().next().is_some()) {
            let facts = other.facts();
            match self.sources.get_mut(&facts.name) {
                Some(Source::Other(parts)) if parts.iter().all(|part| part.facts().is_part_of(facts)) => {
                    parts.push(other)
                }
                _ => drop(self.add(&facts.name, facts.kind, Source::Other(vec![other]))),
            }
        }
        for family in others.state() {
            self.give(family);
        }
    }

    /// Adds a family unless one of its names is on the page already: Prometheus would refuse the page whole.
    fn add(&mut self, name: &str, kind: MetricKind, source: Source<'a>) -> bool {
        let samples: Vec<String> = sample_names(&plain(name), kind).collect();
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
    fn collect_into(&self, page: &mut PageInMaking<'_>) {
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
