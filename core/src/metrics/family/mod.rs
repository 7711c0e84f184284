//! A family: the series of one name, by label values.

mod cache;
mod joined;
pub(super) mod label;
mod lines;
#[cfg(feature = "metrics-facade")]
pub(super) mod mixed;
pub(super) mod series;
mod table;
#[cfg(test)]
mod tests;
mod write;

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::clock::{Clock, SystemClock};
use crate::error::Result;

use self::cache::Version;
use self::joined::joined;
use self::lines::Ordered;
use self::series::{Idle, Series, Shape};
use self::table::Table;

use super::exposition::Page;
use super::instrument::{Counter, Gauge, Histogram, Instrument};
use super::names::Definition;
use super::shared::{FamilyFacts, OtherFamily};
use super::slab::{self, Inside, Reader, Said, inside};
use super::snapshot::{self, Family, MetricKind};

/// How many sets of label values a family keeps apart unless its definition, or [`set_max_series`], says otherwise.
pub const MAX_SERIES: usize = 2_000;

/// What [`set_max_series`] said.
static DEFAULT_MAX: AtomicUsize = AtomicUsize::new(MAX_SERIES);

/// Sets how many sets of label values the families of this process keep apart, those too that are there already: all whose
/// definition does not say it. The setting `metrics.max_series` of an embedded service does.
pub fn set_max_series(max: usize) {
    DEFAULT_MAX.store(max, Ordering::Relaxed);
}

/// How many sets of label values a family keeps apart unless its definition says otherwise.
pub(super) fn max_series() -> usize {
    DEFAULT_MAX.load(Ordering::Relaxed)
}

/// The value that labels have in a series that takes what is over the cap.
pub const OVERFLOW_LABEL: &str = "__overflow__";

/// How many overflow series a family has at most, by the labels that [`Definition::keep_on_overflow`] names.
const MAX_OVERFLOW: usize = 100;

/// Series that are read together.
const BATCH: usize = 64;

/// The counters of one name.
pub type CounterFamily = InstrumentFamily<Counter>;
/// The gauges of one name.
pub type GaugeFamily = InstrumentFamily<Gauge>;
/// The histograms of one name.
pub type HistogramFamily = InstrumentFamily<Histogram>;

/// The handles of one name, by label values. Cheap to clone.
pub struct InstrumentFamily<M>(Arc<Inner>, PhantomData<fn() -> M>);

pub(super) struct Inner {
    definition: Definition,
    kind: MetricKind,
    shape: Option<Arc<Shape>>,
    clock: Arc<dyn Clock>,
    /// Which family this is, to the caches of threads.
    id: u64,
    /// How often series were taken out, which makes caches look again.
    generation: AtomicU64,
    hasher: RandomState,
    table: RwLock<Table>,
    /// The series in the order of the page. Locked before `table` where both are.
    order: Mutex<Ordered>,
    /// Lookups that went into an overflow series.
    overflowed: AtomicU64,
    /// Whether other processes are to know of it.
    public: AtomicBool,
}

impl<M: Instrument> InstrumentFamily<M> {
    pub(super) fn new(definition: Definition, clock: Arc<dyn Clock>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let shape = (M::KIND != MetricKind::Gauge).then(|| Arc::new(Shape::new(&definition, &clock)));
        let inner = Inner {
            kind: M::KIND,
            shape,
            clock,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            generation: AtomicU64::new(0),
            hasher: RandomState::new(),
            table: RwLock::default(),
            order: Mutex::default(),
            overflowed: AtomicU64::new(0),
            public: AtomicBool::new(false),
            definition,
        };
        Self(Arc::new(inner), PhantomData)
    }

    /// A family that is in no registry: [`Registry::adopt`](super::Registry::adopt) takes it into one, or into several.
    ///
    /// # Errors
    /// When the definition is wrong, see [`Registry::counters`](super::Registry::counters).
    pub fn detached(definition: Definition) -> Result<Self> {
        Ok(Self::new(definition.checked(M::KIND)?, Arc::new(SystemClock)))
    }

    /// The name, of counters without `_total`.
    pub fn name(&self) -> &str {
        &self.0.definition.name
    }

    /// Its series at this moment.
    pub fn snapshot(&self) -> Family {
        self.0.expire_here();
        self.0.read(&[])
    }

    /// The handle for these label values, in the order of the definition. Keep it where the same values come
    /// again: the handle needs no lookup. Values over 1,024 bytes are cut. When the family is full, new values
    /// share a handle whose labels are [`OVERFLOW_LABEL`], but for those that [`Definition::keep_on_overflow`] names.
    ///
    /// # Errors
    /// When the number of values is not the number of labels.
    #[inline]
    pub fn with(&self, values: &[&str]) -> Result<M> {
        self.0.look(values, |series| M::of(Arc::clone(series)))
    }

    /// As [`InstrumentFamily::with`], and whether the handle's labels are these values. They are not where the family is
    /// full: ask again each time, so that it is counted, and for when there is room.
    ///
    /// # Errors
    /// As [`InstrumentFamily::with`].
    pub fn find(&self, values: &[&str]) -> Result<(M, bool)> {
        self.0.look(values, |series| (M::of(Arc::clone(series)), !series.is_overflow()))
    }

    /// Takes a series out of the family; says whether it was there. Handles that somebody still holds go on
    /// counting, unseen. An overflow series stays.
    ///
    /// # Errors
    /// When the number of values is not the number of labels.
    pub fn remove(&self, values: &[&str]) -> Result<bool> {
        let inner = &*self.0;
        inner.definition.check_values(values)?;
        let text = inner.text(values);
        let mut table = inner.write();
        let removed = match table.find(inner.hash(&text), &text) {
            Some(series) if !series.is_overflow() => inner.take_out(&mut table, &[series]),
            _ => false,
        };
        Ok(removed)
    }

    /// Takes every series out of the family, but for overflow series. Handles that somebody still holds go on
    /// counting, unseen.
    pub fn clear(&self) {
        let mut table = self.0.write();
        let all: Vec<Arc<Series>> = table.iter().filter(|series| !series.is_overflow()).cloned().collect();
        self.0.take_out(&mut table, &all);
        drop(table);
    }
}

/// One-call forms, for values that differ from call to call: no handle is made.
impl CounterFamily {
    /// Adds 1 to the series of these label values, as [`Counter::inc_with_exemplar`] does.
    ///
    /// # Errors
    /// As [`InstrumentFamily::with`], and as that.
    pub fn inc_with_exemplar(&self, values: &[&str], exemplar: &[(&str, &str)]) -> Result<()> {
        self.0.look(values, |series| series.count_with_exemplar(1, exemplar))?
    }

    /// Adds 1 to the series of these label values.
    ///
    /// # Errors
    /// As [`InstrumentFamily::with`].
    #[inline]
    pub fn inc(&self, values: &[&str]) -> Result<()> {
        self.0.look(values, |series| series.count(1))
    }
}

impl GaugeFamily {
    /// Sets the series of these label values.
    ///
    /// # Errors
    /// As [`InstrumentFamily::with`].
    pub fn set(&self, values: &[&str], value: f64) -> Result<()> {
        self.with(values).map(|gauge| gauge.set(value))
    }
}

impl HistogramFamily {
    /// Counts `value` in the series of these label values, as [`Histogram::observe_with_exemplar`] does.
    ///
    /// # Errors
    /// As [`InstrumentFamily::with`], and as that.
    pub fn observe_with_exemplar(&self, values: &[&str], value: f64, exemplar: &[(&str, &str)]) -> Result<()> {
        self.0.look(values, |series| series.observe_with_exemplar(value, exemplar))?
    }

    /// Counts `value` in the series of these label values, as [`Histogram::observe`] does.
    ///
    /// # Errors
    /// As [`InstrumentFamily::with`].
    #[inline]
    pub fn observe(&self, values: &[&str], value: f64) -> Result<()> {
        self.0.look(values, |series| series.observe(value))
    }
}

impl Inner {
    /// Gives the series of these values to `then`.
    #[inline]
    fn look<R>(&self, values: &[&str], then: impl Fn(&Arc<Series>) -> R) -> Result<R> {
        self.definition.check_values(values)?;
        let version = Version { family: self.id, generation: self.generation.load(Ordering::Acquire) };
        let place = cache::hash(self.id, values);
        if self.definition.expire_after.is_none() {
            if let Some(found) = cache::with(version, place, values, &then) {
                return Ok(found);
            }
        } else if let Some(series) = cache::with(version, place, values, Arc::clone) {
            // Either `expire` sees that the series is held, or we see that it looked: then we look as well.
            fence(Ordering::SeqCst);
            if self.generation.load(Ordering::Relaxed) == version.generation {
                return Ok(then(&series));
            }
        }
        let Found(series, own) = self.find_or_add(values);
        // What went over the cap is counted again each time, and gets a series of its own once there is room.
        if own {
            cache::remember(version, place, values, &series);
        }
        Ok(then(&series))
    }

    #[cold]
    fn find_or_add(&self, values: &[&str]) -> Found {
        let text = self.text(values);
        let hash = self.hash(&text);
        let full = {
            let table = self.read_table();
            if let Some(series) = table.find(hash, &text) {
                return Found(series, true);
            }
            table.len() >= self.definition.cap()
        };
        let over = self.overflow_text(values, true);
        let is_overflow = !values.is_empty() && text == over;
        if full && !is_overflow {
            let table = self.read_table();
            if let Some(series) = table.find(self.hash(&over), &over) {
                self.overflowed.fetch_add(1, Ordering::Relaxed);
                return Found(series, false);
            }
        }
        let mut table = self.write();
        // Another thread may have been first.
        if let Some(series) = table.find(hash, &text) {
            return Found(series, true);
        }
        if is_overflow || (table.len() >= self.definition.cap() && !values.is_empty()) {
            if !is_overflow {
                self.overflowed.fetch_add(1, Ordering::Relaxed);
            }
            return Found(self.overflow(&mut table, over, values), is_overflow);
        }
        Found(self.add(&mut table, hash, &text, false), true)
    }

    /// The series that takes what is over the cap.
    fn overflow(&self, table: &mut Table, text: String, values: &[&str]) -> Arc<Series> {
        if let Some(series) = table.find(self.hash(&text), &text) {
            return series;
        }
        if table.overflow_len() < MAX_OVERFLOW {
            return self.add(table, self.hash(&text), &text, true);
        }
        // The kept labels are a flood themselves.
        let text = self.overflow_text(values, false);
        let hash = self.hash(&text);
        table.find(hash, &text).unwrap_or_else(|| self.add(table, hash, &text, true))
    }

    fn add(&self, table: &mut Table, hash: u64, text: &str, overflow: bool) -> Arc<Series> {
        let mut series = match self.kind {
            MetricKind::Gauge if self.definition.mode.is_most_recent() => Series::most_recent(text),
            kind => Series::new(kind, text, self.shape.as_ref()),
        };
        if overflow {
            series.take_overflow();
        }
        if self.definition.expire_after.is_some() {
            series.may_expire();
        }
        let series = Arc::new(series);
        table.insert(hash, &series, |series| self.hash(&series.text));
        // Before anybody can count.
        if self.public.load(Ordering::Relaxed) {
            series.publish(self.key());
        }
        series
    }

    /// Tells other processes of it and of its series, and of what comes from now on.
    fn publish_as(&self, facts: &FamilyFacts) {
        // Written before the table is free: what is added afterwards is seen to be public.
        let table = self.read_table();
        self.public.store(true, Ordering::Relaxed);
        self.publish_facts(facts);
        table.iter().for_each(|series| series.publish(self.key()));
    }

    fn publish_facts(&self, facts: &FamilyFacts) {
        slab::publish(Said::Family, self.key(), || Some(facts.encode()));
    }

    /// What other processes know it by.
    fn key(&self) -> u32 {
        self.id as u32
    }

    /// Takes series out; says whether there were any.
    fn take_out(&self, table: &mut Table, series: &[Arc<Series>]) -> bool {
        for series in series {
            table.remove(self.hash(&series.text), series);
            if self.public.load(Ordering::Relaxed) {
                series.retract();
            }
        }
        self.generation.fetch_add(1, Ordering::SeqCst);
        !series.is_empty()
    }

    fn text(&self, values: &[&str]) -> String {
        let names = self.definition.labels.iter().map(String::as_str);
        label::text(names.zip(values.iter().map(|value| label::cut(value))))
    }

    /// The labels of the series that takes these values when there is no room; without `keep`, with none of them.
    fn overflow_text(&self, values: &[&str], keep: bool) -> String {
        let Definition { labels, kept, .. } = &self.definition;
        label::text(labels.iter().zip(values).map(|(name, value)| {
            let value = if keep && kept.contains(name) { label::cut(value) } else { OVERFLOW_LABEL };
            (name.as_str(), value)
        }))
    }

    fn hash(&self, text: &str) -> u64 {
        self.hasher.hash_one(text)
    }

    fn read_table(&self) -> Inside<RwLockReadGuard<'_, Table>> {
        inside(|| self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self) -> Inside<RwLockWriteGuard<'_, Table>> {
        inside(|| self.table.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives every series, in the order of the page, to `then`. Threads that look up values do not wait meanwhile.
    fn in_order<R>(&self, then: impl FnOnce(&mut Ordered, &Reader) -> R) -> R {
        let mut order = inside(|| self.order.lock().unwrap_or_else(PoisonError::into_inner));
        let (fresh, gone) = self.write().take_changes();
        if gone {
            order.change().retain(|series| !series.is_gone());
        }
        if !fresh.is_empty() {
            let order = order.change();
            // Once for what came since the last page: as it is put in order, too.
            order.reserve_exact(fresh.len());
            order.extend(fresh.into_iter().filter(|series| !series.is_gone()));
            // Quick where most of it is in order already.
            order.sort_by(|a, b| label::order(&a.text, &b.text));
        }
        then(&mut order, &Reader::new())
    }

    /// As [`AnyFamily::expire`], for who does not ask others: nothing where there may be some.
    fn expire_here(&self) {
        if !self.public.load(Ordering::Relaxed) {
            self.expire(&[], self.clock.monotonic().as_millis() as u64);
        }
    }

    fn take_out_idle(&self, over: impl Fn(&Series, &Reader) -> bool) {
        let mut old: Vec<_> = self.in_order(|order, reader| {
            order.iter().filter(|series| !series.is_overflow() && over(series, reader)).cloned().collect()
        });
        // Handles are made under the lock, or by caches, which look at the generation afterwards.
        if old.is_empty() {
            return;
        }
        let mut table = self.write();
        self.generation.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let reader = Reader::new();
        // Three hold it that are nobody: the table, the order, and this list.
        old.retain(|series| {
            Arc::strong_count(series) == 3 + usize::from(series.cached.load(Ordering::Acquire)) && over(series, &reader)
        });
        drop(reader);
        self.take_out(&mut table, &old);
    }
}

/// A series, and whether its labels are those that were asked for.
struct Found(Arc<Series>, bool);

impl Idle {
    /// For how long, in milliseconds, the series has stood at `mark`.
    fn look(&self, mark: u64, now: u64) -> u64 {
        let since = self.since.load(Ordering::Relaxed);
        if since == 0 || self.mark.swap(mark, Ordering::Relaxed) != mark {
            self.mark.store(mark, Ordering::Relaxed);
            self.since.store(now + 1, Ordering::Relaxed);
            return 0;
        }
        (now + 1).saturating_sub(since)
    }
}

impl<M> Clone for InstrumentFamily<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0), PhantomData)
    }
}

impl<M> fmt::Debug for InstrumentFamily<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstrumentFamily").field("name", &self.0.definition.name).finish_non_exhaustive()
    }
}

pub(super) mod private {
    use super::{AnyFamily, Arc};

    /// What a registry needs from a family.
    pub trait Sealed {
        #[allow(private_interfaces, reason = "the trait is sealed")]
        fn any(&self) -> Arc<dyn AnyFamily>;
    }
}

/// What a registry can hold. Implemented by [`InstrumentFamily`] and [`InfoFamily`](super::InfoFamily) alone.
pub trait Adoptable: private::Sealed {}

impl<M> Adoptable for InstrumentFamily<M> {}

impl<M> private::Sealed for InstrumentFamily<M> {
    #[allow(private_interfaces, reason = "the trait is sealed")]
    fn any(&self) -> Arc<dyn AnyFamily> {
        Arc::clone(&self.0) as Arc<dyn AnyFamily>
    }
}

/// A family whose kind of instrument is forgotten, as the registry holds it.
pub(super) trait AnyFamily: Send + Sync {
    fn definition(&self) -> &Definition;
    fn kind(&self) -> MetricKind;
    /// What it is, to other processes.
    fn facts(&self) -> FamilyFacts {
        FamilyFacts::of(self.definition(), self.kind())
    }
    /// Its series and those that other processes have of it: at most one family, or the parts of one that is mixed.
    fn read(&self, others: &[OtherFamily<'_>]) -> Family;
    /// Writes what [`AnyFamily::read`] gives, without making it.
    fn write(&self, page: &mut Page<'_>, others: &[OtherFamily<'_>]) {
        page.family(&self.read(others));
    }
    /// Takes out what neither this process nor others have changed for long enough, and what nobody has a handle of.
    /// `now` is in milliseconds of the clock.
    fn expire(&self, _others: &[OtherFamily<'_>], _now: u64) {}
    /// Tells other processes of it and of its series, where there are any, and of what comes from now on.
    fn publish(&self) {}
    /// Tells other processes that it is gone.
    fn retract(&self) {}
    /// Lookups that went into an overflow series.
    fn overflowed(&self) -> u64 {
        0
    }
    /// Observations that were refused.
    fn refused(&self) -> u64 {
        0
    }
}

impl AnyFamily for Inner {
    fn definition(&self) -> &Definition {
        &self.definition
    }

    fn kind(&self) -> MetricKind {
        self.kind
    }

    fn read(&self, others: &[OtherFamily<'_>]) -> Family {
        let others = others.first().copied();
        let Definition { name, help, unit, labels, .. } = &self.definition;
        let bounds = self.shape.as_ref().map(|shape| &*shape.bounds).unwrap_or_default();
        let series = self.in_order(|all, reader| {
            let exemplars = self.shape.as_ref().and_then(|shape| shape.exemplars.read());
            let exemplars = |first| exemplars.as_ref().and_then(|held| held.get(&first));
            let series = joined(all, others).map(|series| snapshot::Series {
                labels: labels.iter().cloned().zip(label::values(series.text(), labels)).collect(),
                value: series.value(self.kind, bounds, reader),
                exemplars: series.first().and_then(exemplars).into_iter().flatten().flatten().cloned().collect(),
            });
            series.collect()
        });
        Family {
            name: name.clone(),
            kind: self.kind,
            help: help.clone(),
            unit: unit.clone(),
            series,
            // What others counted was there before.
            counted_here: others.is_none(),
        }
    }

    fn expire(&self, others: &[OtherFamily<'_>], now: u64) {
        let Some(after) = self.definition.expire_after else { return };
        let after = after.as_millis() as u64;
        self.take_out_idle(|series, reader| {
            let other = others.first().and_then(|others| others.get(&series.text));
            let is_over = series.idle().is_some_and(|idle| idle.look(series.mark(self.kind, reader), now) >= after);
            // All of it leaves the page at once: what is left of a sum would look as if it had begun anew.
            is_over && other.is_none_or(|other| other.is_idle())
        });
    }

    fn write(&self, page: &mut Page<'_>, others: &[OtherFamily<'_>]) {
        let others = others.first().copied();
        match page {
            Page::Text(page) => self.write_to(page, others),
            Page::Protobuf(page) => self.write_to(page, others),
        }
    }

    fn publish(&self) {
        self.publish_as(&self.facts());
    }

    fn retract(&self) {
        let table = self.read_table();
        self.public.store(false, Ordering::Relaxed);
        table.iter().for_each(|series| series.retract());
    }

    fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    fn refused(&self) -> u64 {
        self.shape.as_ref().map_or(0, |shape| shape.refused.load(Ordering::Relaxed))
    }
}
