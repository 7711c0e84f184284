//! The recorder of the [`metrics`] facade: what a Rust host and its libraries count with `counter!`, `gauge!` and
//! `histogram!` is on our pages, and in our sinks.
//!
//! ```
//! use uplifted_ops::metrics::{Format, Registry};
//! use uplifted_ops::metrics::facade::Recorder;
//!
//! let registry = Registry::new();
//! let recorder = Recorder::of(&registry)?;
//! metrics::with_local_recorder(&recorder, || {
//!     metrics::counter!("requests.answered", "status" => "200", "method" => "GET").increment(2);
//! });
//! assert!(registry.render(Format::Text).contains("requests_answered_total{method=\"GET\",status=\"200\"} 2\n"));
//! # Ok::<(), uplifted_ops::Error>(())
//! ```
//!
//! In `main`, `Recorder::new()?.install()?` comes first: what is counted before a recorder is there goes nowhere.
//!
//! | the facade | here |
//! | --- | --- |
//! | a name such as `http.requests` | `http_requests`, unless [`Recorder::any_names`] keeps it |
//! | labels, in any order, others from call to call | one series for each set of names and values, by name |
//! | `describe_*`, before or after the first use | the help; the unit where the name ends in it |
//! | `absolute` | the counter is raised to it, and never lowered |
//! | a histogram | classic buckets, see [`Recorder::bounds`] and [`Recorder::bounds_of`] |
//!
//! Where processes of a service share what they count ([`share`](super::share), which an embedded service does), what the
//! facade counts is shared as well, each set of label names as a family of its own.
//!
//! A name that cannot be registered, such as that of a counter which is used as a gauge's, counts nowhere, and
//! `uplifted_ops_facade_refused_total` says so.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use hashbrown::HashTable;

use ::metrics::{Key, KeyName, Metadata, SharedString, Unit};

use crate::error::{Error, ErrorKind, Result};

use super::exposition::Escaping;
use super::family::mixed::{MixedFamily, Told};
use super::names::Definition;
use super::native::NativeBuckets;
use super::slab::{Inside, inside};
use super::{Counter, CounterFamily, Gauge, Histogram, Instrument, Registry, global};

/// Keys that are found without looking up their family. More are found as well, a little slower.
const MAX_KEYS: usize = 10_000;

/// Of the keys that were not among those once there are many, one in so many is held. So what is asked for often gets there, and
/// what passes by, such as a page's worth of series made once, does not drive it out.
const ADMITTED: u32 = 16;

/// The most keys of one hash among those.
const MAX_ALIKE: usize = 4;

/// Gives what the facade counts to a [`Registry`].
pub struct Recorder {
    registry: Registry,
    any_names: bool,
    bounds: Option<Vec<f64>>,
    bounds_of: HashMap<String, Vec<f64>>,
    native: Option<NativeBuckets>,
    refused: CounterFamily,
    families: Mutex<Families>,
    counters: Handles<Counter>,
    gauges: Handles<Gauge>,
    histograms: Handles<Histogram>,
}

/// The families by the name that the facade gives.
#[derive(Default)]
struct Families {
    known: HashMap<String, AnyMixed>,
    told: HashMap<String, Told>,
}

enum AnyMixed {
    Counters(Arc<MixedFamily<Counter>>),
    Gauges(Arc<MixedFamily<Gauge>>),
    Histograms(Arc<MixedFamily<Histogram>>),
}

/// Handles by key; `None` for one that was refused. Found by the hash that a key brings with it, which anybody can reckon: so it
/// is mixed with a secret, and of keys that have the very same one only a few are held.
struct Handles<M> {
    secret: u64,
    held: RwLock<Held<M>>,
}

/// Two halves. When the young one is full it becomes the old one, and what was old is looked up again by who needs it.
struct Held<M> {
    young: HashTable<Handle<M>>,
    old: HashTable<Handle<M>>,
    missed: u32,
}

type Handle<M> = (Key, Option<Arc<M>>);

impl<M> Handles<M> {
    fn new() -> Self {
        let held = Held { young: HashTable::new(), old: HashTable::new(), missed: 0 };
        Self { secret: RandomState::new().hash_one(0), held: RwLock::new(held) }
    }

    fn hash(&self, key: &Key) -> u64 {
        // Half of the product comes from all bits of both.
        let product = u128::from(key.get_hash() ^ self.secret) * u128::from(self.secret | 1);
        product as u64 ^ (product >> 64) as u64
    }

    fn get(&self, key: &Key) -> Option<Option<Arc<M>>> {
        let held = inside(|| self.held.read().unwrap_or_else(PoisonError::into_inner));
        let (hash, is_it) = (self.hash(key), |(held, _): &Handle<M>| held == key);
        held.young.find(hash, is_it).or_else(|| held.old.find(hash, is_it)).map(|(_, handle)| handle.clone())
    }

    fn insert(&self, key: Key, handle: Option<Arc<M>>) {
        let hash = self.hash(&key);
        let mut guard = inside(|| self.held.write().unwrap_or_else(PoisonError::into_inner));
        let held = &mut *guard;
        held.missed = held.missed.wrapping_add(1);
        if !held.old.is_empty() && !held.missed.is_multiple_of(ADMITTED) {
            return;
        }
        let mut out_of_date = HashTable::new();
        if held.young.len() >= MAX_KEYS / 2 {
            out_of_date = std::mem::replace(&mut held.old, std::mem::take(&mut held.young));
        }
        let same = held.young.iter_hash(hash).filter(|(held, _)| held.get_hash() == key.get_hash()).count();
        if same < MAX_ALIKE && held.young.find(hash, |(held, _)| *held == key).is_none() {
            held.young.insert_unique(hash, (key, handle), |(held, _)| self.hash(held));
        }
        // A handle that is the last of its series takes other locks.
        drop(guard);
        drop(out_of_date);
    }
}

impl Recorder {
    /// A recorder for the [`global`] registry.
    ///
    /// # Errors
    /// As [`Recorder::of`].
    pub fn new() -> Result<Self> {
        Self::of(global())
    }

    /// A recorder for a registry.
    ///
    /// # Errors
    /// When the registry has one already.
    pub fn of(registry: &Registry) -> Result<Self> {
        let refused = Definition::new(
            "uplifted_ops_facade_refused_total",
            "Times that a name or label of the `metrics` facade could not be registered, by metric",
        );
        Ok(Self {
            registry: registry.clone(),
            any_names: false,
            bounds: None,
            bounds_of: HashMap::new(),
            native: None,
            refused: registry.counters(refused.labels(&["metric"]))?,
            families: Mutex::default(),
            counters: Handles::new(),
            gauges: Handles::new(),
            histograms: Handles::new(),
        })
    }

    /// Keeps names as they are, see [`Definition::any_names`].
    #[must_use]
    pub fn any_names(mut self) -> Self {
        self.any_names = true;
        self
    }

    /// Sets the bounds of the buckets of histograms. Those of [`DEFAULT_BOUNDS`](super::DEFAULT_BOUNDS) unless set.
    #[must_use]
    pub fn bounds(mut self, bounds: &[f64]) -> Self {
        self.bounds = Some(bounds.to_vec());
        self
    }

    /// Sets the bounds of the buckets of the histogram that the facade calls `name`.
    #[must_use]
    pub fn bounds_of(mut self, name: &str, bounds: &[f64]) -> Self {
        self.bounds_of.insert(name.to_owned(), bounds.to_vec());
        self
    }

    /// Gives histograms native buckets too.
    #[must_use]
    pub fn native(mut self, native: NativeBuckets) -> Self {
        self.native = Some(native);
        self
    }

    /// Makes it the recorder of this process, from now on and for good.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when another is installed: the facade has one.
    pub fn install(self) -> Result<()> {
        ::metrics::set_global_recorder(self).map_err(|_| {
            Error::new(ErrorKind::Refused, "another recorder of the `metrics` facade is installed in this process")
                .with_hint("install one recorder, first thing in main; `metrics_util::layers::Fanout` feeds several")
        })
    }

    /// The handle of a key, from `handles` or made by `make` of a family.
    fn handle<M: Instrument>(
        &self,
        handles: &Handles<M>,
        key: &Key,
        pick: impl Fn(&AnyMixed) -> Option<&Arc<MixedFamily<M>>>,
        wrap: impl Fn(Arc<MixedFamily<M>>) -> AnyMixed,
    ) -> Option<Arc<M>> {
        if let Some(held) = handles.get(key) {
            return held;
        }
        let made = self.family(key.name(), pick, wrap).and_then(|family| {
            let own =
                |name: &str| if self.any_names { name.to_owned() } else { Escaping::default().label(name).into() };
            let names: Vec<String> = key.labels().map(|label| own(label.key())).collect();
            let values = key.labels().map(|label| label.value());
            let mut labels: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(values).collect();
            labels.sort_unstable_by_key(|(name, _)| *name);
            family.with(&labels)
        });
        let handle = match made {
            Ok(handle) => Some(Arc::new(handle)),
            Err(_) => {
                // With one label there is one value.
                let _ = self.refused.inc(&[key.name()]);
                None
            }
        };
        handles.insert(key.to_retained(), handle.clone());
        handle
    }

    fn family<M: Instrument>(
        &self,
        name: &str,
        pick: impl Fn(&AnyMixed) -> Option<&Arc<MixedFamily<M>>>,
        wrap: impl Fn(Arc<MixedFamily<M>>) -> AnyMixed,
    ) -> Result<Arc<MixedFamily<M>>> {
        let mut families = self.families();
        if let Some(known) = families.known.get(name) {
            return pick(known).cloned().ok_or_else(|| Error::invalid(format!("metric {name:?} is of another kind")));
        }
        let mut definition = match self.any_names {
            true => Definition::new(name, "").any_names(),
            false => Definition::new(Escaping::default().name(name), ""),
        };
        if let Some(bounds) = self.bounds_of.get(name).or(self.bounds.as_ref()) {
            definition = definition.bounds(bounds);
        }
        if let Some(native) = self.native {
            definition = definition.native(native);
        }
        let family = self.registry.mixed(definition)?;
        if let Some(told) = families.told.get(name) {
            family.tell(told.clone());
        }
        families.known.insert(name.to_owned(), wrap(Arc::clone(&family)));
        Ok(family)
    }

    fn tell(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        let unit = unit.map(|unit| unit.as_str().to_owned());
        let told = Told { help: description.into_owned(), unit };
        let mut families = self.families();
        match families.known.get(key.as_str()) {
            Some(AnyMixed::Counters(family)) => family.tell(told.clone()),
            Some(AnyMixed::Gauges(family)) => family.tell(told.clone()),
            Some(AnyMixed::Histograms(family)) => family.tell(told.clone()),
            None => {}
        }
        families.told.insert(key.as_str().to_owned(), told);
    }

    fn families(&self) -> Inside<MutexGuard<'_, Families>> {
        inside(|| self.families.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("registry", &self.registry).finish_non_exhaustive()
    }
}

macro_rules! handle {
    ($recorder:ident, $handles:ident, $key:ident, $kind:ident, $handle:ident) => {{
        fn pick(known: &AnyMixed) -> Option<&Arc<MixedFamily<$handle>>> {
            if let AnyMixed::$kind(family) = known { Some(family) } else { None }
        }
        match $recorder.handle(&$recorder.$handles, $key, pick, AnyMixed::$kind) {
            Some(handle) => ::metrics::$handle::from_arc(handle),
            None => ::metrics::$handle::noop(),
        }
    }};
}

impl ::metrics::Recorder for Recorder {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.tell(key, unit, description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.tell(key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.tell(key, unit, description);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> ::metrics::Counter {
        handle!(self, counters, key, Counters, Counter)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> ::metrics::Gauge {
        handle!(self, gauges, key, Gauges, Gauge)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> ::metrics::Histogram {
        handle!(self, histograms, key, Histograms, Histogram)
    }
}

impl ::metrics::CounterFn for Counter {
    fn increment(&self, value: u64) {
        self.inc_by(value);
    }

    fn absolute(&self, value: u64) {
        self.raise_to(value);
    }
}

impl ::metrics::GaugeFn for Gauge {
    fn increment(&self, value: f64) {
        self.add(value);
    }

    fn decrement(&self, value: f64) {
        self.add(-value);
    }

    fn set(&self, value: f64) {
        Gauge::set(self, value);
    }
}

impl ::metrics::HistogramFn for Histogram {
    fn record(&self, value: f64) {
        self.observe(value);
    }
}

#[cfg(test)]
mod tests;
