//! A family whose series have other labels from one to another, as a host's libraries make them: each set of names is a
//! family of its own behind one name. To other processes, too: they know that such families are one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::clock::Clock;
use crate::error::{Error, Result};

use super::super::exposition::{Head, Page, Writer};
use super::super::instrument::Instrument;
use super::super::names::Definition;
use super::super::shared::{FamilyFacts, OtherFamily};
use super::super::slab::{Inside, inside};
use super::super::snapshot::{Family, MetricKind};
use super::joined::joined;
use super::{AnyFamily, InstrumentFamily};

/// How many sets of label names a family may have: they are written in code, and not made of data.
const MAX_SETS: usize = 64;

/// The handles of one name, by names and values of labels.
pub(in crate::metrics) struct MixedFamily<M> {
    /// Of a family without labels.
    definition: Definition,
    told: RwLock<Told>,
    clock: Arc<dyn Clock>,
    /// Locked before `told` where both are.
    sets: RwLock<Vec<InstrumentFamily<M>>>,
    /// Whether other processes are to know of it.
    public: AtomicBool,
}

/// What is said of a family, which may come after its first series.
#[derive(Debug, Clone, Default)]
pub(in crate::metrics) struct Told {
    pub(in crate::metrics) help: String,
    /// Shown where the name ends in it.
    pub(in crate::metrics) unit: Option<String>,
}

impl<M: Instrument> MixedFamily<M> {
    /// # Errors
    /// As [`Registry::counters`](crate::metrics::Registry::counters).
    pub(in crate::metrics) fn new(definition: Definition, clock: Arc<dyn Clock>) -> Result<Self> {
        let definition = definition.checked(M::KIND)?;
        let (told, sets, public) = (RwLock::default(), RwLock::default(), AtomicBool::new(false));
        Ok(Self { definition, told, clock, sets, public })
    }

    pub(in crate::metrics) fn tell(&self, told: Told) {
        let name = &self.definition.name;
        let unit = told.unit.filter(|unit| name.strip_suffix(&**unit).is_some_and(|rest| rest.ends_with('_')));
        *inside(|| self.told.write().unwrap_or_else(PoisonError::into_inner)) = Told { help: told.help, unit };
        let sets = self.read_sets();
        if self.public.load(Ordering::Relaxed) {
            sets.iter().for_each(|set| set.0.publish_facts(&self.facts_of(set)));
        }
    }

    /// The handle for these labels, which are sorted by name.
    ///
    /// # Errors
    /// When a name is none or there twice, or when there are too many sets of names.
    pub(in crate::metrics) fn with(&self, labels: &[(&str, &str)]) -> Result<M> {
        let names: Vec<&str> = labels.iter().map(|(name, _)| *name).collect();
        let values: Vec<&str> = labels.iter().map(|(_, value)| *value).collect();
        self.set(&names)?.with(&values)
    }

    /// The family of these labels.
    fn set(&self, names: &[&str]) -> Result<InstrumentFamily<M>> {
        let is_it = |family: &&InstrumentFamily<M>| family.0.definition.labels.iter().eq(names);
        if let Some(family) = self.read_sets().iter().find(is_it) {
            return Ok(family.clone());
        }
        let mut sets = self.write_sets();
        // Another thread may have been first.
        if let Some(family) = sets.iter().find(is_it) {
            return Ok(family.clone());
        }
        if sets.len() == MAX_SETS {
            return Err(Error::invalid(format!(
                "metric {:?} has {MAX_SETS} sets of label names",
                self.definition.name
            ))
            .with_hint("let data be values of labels, and not their names"));
        }
        let definition = self.definition.clone().labels(names).checked(M::KIND)?;
        let family = InstrumentFamily::new(definition, Arc::clone(&self.clock));
        // Before anybody can count.
        if self.public.load(Ordering::Relaxed) {
            family.0.publish_as(&self.facts_of(&family));
        }
        sets.push(family.clone());
        Ok(family)
    }

    /// What a set is, to other processes.
    fn facts_of(&self, set: &InstrumentFamily<M>) -> FamilyFacts {
        let Told { help, unit } = self.told();
        FamilyFacts { help, unit, is_mixed: true, ..set.0.facts() }
    }

    /// Every set, with those of other processes that have the same labels. A set that only others have is made.
    fn joined<'a>(&self, others: &[OtherFamily<'a>]) -> Vec<(InstrumentFamily<M>, Option<OtherFamily<'a>>)> {
        for other in others {
            let names: Vec<&str> = other.facts().labels.iter().map(String::as_str).collect();
            // Of those that are too many, each process shows its own.
            let _ = self.set(&names);
        }
        let same = |set: &InstrumentFamily<M>| {
            others.iter().find(|other| other.facts().labels == set.0.definition.labels).copied()
        };
        self.sets().into_iter().map(|set| (set.clone(), same(&set))).collect()
    }

    fn read_sets(&self) -> Inside<RwLockReadGuard<'_, Vec<InstrumentFamily<M>>>> {
        inside(|| self.sets.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write_sets(&self) -> Inside<RwLockWriteGuard<'_, Vec<InstrumentFamily<M>>>> {
        inside(|| self.sets.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn sets(&self) -> Vec<InstrumentFamily<M>> {
        self.read_sets().clone()
    }

    fn told(&self) -> Told {
        inside(|| self.told.read().unwrap_or_else(PoisonError::into_inner)).clone()
    }

    fn write_to<W: Writer>(&self, page: &mut W, others: &[OtherFamily<'_>]) {
        let (sets, Told { help, unit }) = (self.joined(others), self.told());
        let is_plain = sets.iter().all(|(set, _)| set.0.definition.is_plain);
        let mut begun = None;
        for (set, others) in &sets {
            set.0.in_order(|all, reader| {
                if joined(all, *others).next().is_none() {
                    return;
                }
                let (name, unit) = (&self.definition.name, unit.as_deref());
                let head = Head { name, kind: M::KIND, help: &help, unit, is_plain };
                let family = begun.get_or_insert_with(|| page.begin(head));
                set.0.write_series(all, *others, reader, page, family);
            });
        }
        if let Some(family) = begun {
            page.end(family);
        }
    }
}

impl<M: Instrument> AnyFamily for MixedFamily<M> {
    fn definition(&self) -> &Definition {
        &self.definition
    }

    fn kind(&self) -> MetricKind {
        M::KIND
    }

    fn facts(&self) -> FamilyFacts {
        FamilyFacts { is_mixed: true, ..FamilyFacts::of(&self.definition, M::KIND) }
    }

    fn read(&self, others: &[OtherFamily<'_>]) -> Family {
        let Told { help, unit } = self.told();
        let series = self.joined(others).iter().flat_map(|(set, same)| set.0.read(same.as_slice()).series).collect();
        let counted_here = others.is_empty();
        Family { name: self.definition.name.clone(), kind: M::KIND, help, unit, series, counted_here }
    }

    fn write(&self, page: &mut Page<'_>, others: &[OtherFamily<'_>]) {
        match page {
            Page::Text(page) => self.write_to(page, others),
            Page::Protobuf(page) => self.write_to(page, others),
        }
    }

    fn publish(&self) {
        // No set is made meanwhile that would not be told of.
        let sets = self.read_sets();
        self.public.store(true, Ordering::Relaxed);
        sets.iter().for_each(|set| set.0.publish_as(&self.facts_of(set)));
    }

    fn retract(&self) {
        let sets = self.read_sets();
        self.public.store(false, Ordering::Relaxed);
        sets.iter().for_each(|set| set.0.retract());
    }

    fn overflowed(&self) -> u64 {
        self.sets().iter().map(|set| set.0.overflowed()).sum()
    }

    fn refused(&self) -> u64 {
        self.sets().iter().map(|set| set.0.refused()).sum()
    }
}
