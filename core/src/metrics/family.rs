//! A family: the handles of one name, by label values.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use crate::error::Result;

use super::instrument::{Counter, Gauge, Histogram, Instrument};
use super::names::Definition;
use super::snapshot::{Family, Series};

/// How many sets of label values a family keeps apart unless told otherwise.
pub const MAX_SERIES: usize = 2_000;

/// The value of every label of the series that takes what is over the cap.
pub const OVERFLOW_LABEL: &str = "__overflow__";

/// Longer label values are cut, so that a caller who labels by request body cannot fill the memory.
const MAX_LABEL_VALUE: usize = 1_024;

/// The counters of one name.
pub type CounterFamily = InstrumentFamily<Counter>;
/// The gauges of one name.
pub type GaugeFamily = InstrumentFamily<Gauge>;
/// The histograms of one name.
pub type HistogramFamily = InstrumentFamily<Histogram>;

/// The handles of one name, by label values. Cheap to clone.
pub struct InstrumentFamily<M>(Arc<Inner<M>>);

struct Inner<M> {
    definition: Definition,
    hasher: RandomState,
    table: RwLock<Table<M>>,
    overflow: OnceLock<M>,
    /// Lookups that went into the overflow series.
    overflowed: AtomicU64,
}

/// Entries by the hash of their label values; those that share a hash are compared in full. So a lookup
/// allocates nothing, and a flood of colliding values is stopped by the random hasher and the cap.
struct Table<M> {
    entries: HashMap<u64, Vec<Entry<M>>>,
    len: usize,
}

struct Entry<M> {
    values: Box<[Box<str>]>,
    handle: M,
}

impl<M: Instrument> InstrumentFamily<M> {
    pub(super) fn new(definition: Definition) -> Self {
        Self(Arc::new(Inner {
            definition,
            hasher: RandomState::new(),
            table: RwLock::new(Table { entries: HashMap::new(), len: 0 }),
            overflow: OnceLock::new(),
            overflowed: AtomicU64::new(0),
        }))
    }

    /// The handle for these label values, in the order of the definition. Keep it where the same values come
    /// again: the handle needs no lookup. Values over 1,024 bytes are cut. When the family is full, new values
    /// share one handle whose labels are all [`OVERFLOW_LABEL`].
    ///
    /// # Errors
    /// When the number of values is not the number of labels.
    pub fn with(&self, values: &[&str]) -> Result<M> {
        let inner = &*self.0;
        self.0.definition.check_values(values)?;
        if !values.is_empty() && values.iter().all(|value| *value == OVERFLOW_LABEL) {
            // Whoever uses the words themselves means that series: a second one would spoil the page.
            return Ok(inner.overflow());
        }
        let hash = inner.hash(values);
        let read = inner.table.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = read.find(hash, values) {
            return Ok(handle.clone());
        }
        drop(read);
        Ok(inner.find_or_add(hash, values))
    }

    /// Takes a series out of the family; says whether it was there. Handles that somebody still holds go on
    /// counting, unseen.
    ///
    /// # Errors
    /// When the number of values is not the number of labels.
    pub fn remove(&self, values: &[&str]) -> Result<bool> {
        self.0.definition.check_values(values)?;
        let hash = self.0.hash(values);
        let mut table = self.0.table.write().unwrap_or_else(PoisonError::into_inner);
        let Some(entries) = table.entries.get_mut(&hash) else { return Ok(false) };
        let before = entries.len();
        entries.retain(|entry| !entry.is(values));
        let removed = before - entries.len();
        if entries.is_empty() {
            table.entries.remove(&hash);
        }
        table.len -= removed;
        Ok(removed > 0)
    }

    /// Takes every series out of the family, that of what is over the cap excepted. Handles that somebody still
    /// holds go on counting, unseen.
    pub fn clear(&self) {
        let mut table = self.0.table.write().unwrap_or_else(PoisonError::into_inner);
        table.entries.clear();
        table.len = 0;
    }
}

impl<M: Instrument> Inner<M> {
    fn overflow(&self) -> M {
        self.overflow.get_or_init(|| M::create(&self.definition)).clone()
    }

    fn find_or_add(&self, hash: u64, values: &[&str]) -> M {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been first.
        if let Some(handle) = table.find(hash, values) {
            return handle.clone();
        }
        if table.len >= self.definition.max_series {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
            return self.overflow();
        }
        let handle = M::create(&self.definition);
        let values = values.iter().map(|value| cut(value).into()).collect();
        table.entries.entry(hash).or_default().push(Entry { values, handle: handle.clone() });
        table.len += 1;
        handle
    }
}

impl<M> Inner<M> {
    fn hash(&self, values: &[&str]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for value in values {
            cut(value).hash(&mut hasher);
        }
        hasher.finish()
    }
}

impl<M> Table<M> {
    fn find(&self, hash: u64, values: &[&str]) -> Option<&M> {
        self.entries.get(&hash)?.iter().find(|entry| entry.is(values)).map(|entry| &entry.handle)
    }
}

impl<M> Entry<M> {
    fn is(&self, values: &[&str]) -> bool {
        self.values.iter().map(AsRef::as_ref).eq(values.iter().map(|value| cut(value)))
    }
}

fn cut(value: &str) -> &str {
    let mut end = value.len().min(MAX_LABEL_VALUE);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    &value[..end]
}

impl<M> Clone for InstrumentFamily<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> fmt::Debug for InstrumentFamily<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstrumentFamily").field("name", &self.0.definition.name).finish_non_exhaustive()
    }
}

/// A family whose kind of instrument is forgotten, as the registry holds it.
pub(super) trait AnyFamily: Send + Sync {
    fn read(&self) -> Family;
    /// Lookups that went into the overflow series.
    fn overflowed(&self) -> u64;
    /// Observations that were refused.
    fn refused(&self) -> u64;
}

impl<M: Instrument> AnyFamily for InstrumentFamily<M> {
    fn read(&self) -> Family {
        let inner = &*self.0;
        let Definition { name, help, unit, labels, .. } = &inner.definition;
        let series = |values: &mut dyn Iterator<Item = &str>, handle: &M| Series {
            labels: labels.iter().cloned().zip(values.map(str::to_owned)).collect(),
            value: handle.read(),
        };
        let table = inner.table.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Series> = table
            .entries
            .values()
            .flatten()
            .map(|entry| series(&mut entry.values.iter().map(AsRef::as_ref), &entry.handle))
            .collect();
        drop(table);
        if let Some(handle) = inner.overflow.get() {
            all.push(series(&mut std::iter::repeat_n(OVERFLOW_LABEL, labels.len()), handle));
        }
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        Family { name: name.clone(), kind: M::KIND, help: help.clone(), unit: unit.clone(), series: all }
    }

    fn overflowed(&self) -> u64 {
        self.0.overflowed.load(Ordering::Relaxed)
    }

    fn refused(&self) -> u64 {
        let table = self.0.table.read().unwrap_or_else(PoisonError::into_inner);
        let held: u64 = table.entries.values().flatten().map(|entry| entry.handle.refused()).sum();
        held + self.0.overflow.get().map_or(0, |handle| handle.refused())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family() -> CounterFamily {
        InstrumentFamily::new(Definition::new("c", "").labels(&["a"]))
    }

    #[test]
    fn two_threads_that_miss_together_share_a_series() {
        let family = family();
        // Both have looked in vain, and now come one after the other.
        for _ in 0..2 {
            family.0.find_or_add(7, &["x"]).inc();
        }
        assert_eq!(family.read().series.len(), 1);
        assert_eq!(family.0.find_or_add(7, &["x"]).get(), 2.0);
    }

    #[test]
    fn values_that_share_a_hash_are_told_apart() {
        let family = family();
        family.0.find_or_add(7, &["x"]).inc_by(1);
        family.0.find_or_add(7, &["y"]).inc_by(2);
        assert_eq!(family.0.find_or_add(7, &["x"]).get(), 1.0);
        assert_eq!(family.read().series.len(), 2);
    }
}
