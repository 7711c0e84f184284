//! The sum over processes: families, their series in the order of the page, and what these stand at.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use hashbrown::HashTable;

use super::super::family::OVERFLOW_LABEL;
use super::super::family::label;
use super::super::native::NativeSum;
use super::super::snapshot::{Distribution, MetricKind, Value};
use super::record::FamilyFacts;

/// Families that are summed. What a pass has not touched is not there, but its place is kept for the next one.
#[derive(Debug, Default)]
pub(in crate::metrics) struct Merged {
    pub(super) families: Vec<MergedFamily>,
    by_identity: HashMap<Vec<u8>, usize>,
    /// The number of this pass.
    pass: u32,
    /// When it began, in milliseconds.
    now: u64,
    /// Whether families are kept as small as their definition says.
    capped: bool,
}

/// A family that is summed.
#[derive(Debug)]
pub(in crate::metrics) struct MergedFamily {
    pub(super) facts: FamilyFacts,
    texts: Vec<Box<str>>,
    index: HashTable<u32>,
    hasher: RandomState,
    /// Whole numbers of each series, side by side: [`MergedFamily::width`] of them.
    whole: Vec<u64>,
    float: Vec<f64>,
    set_at: Vec<u64>,
    /// The pass that touched a series last.
    seen: Vec<u32>,
    /// Native buckets of series that have some, with the pass that touched them last; `None` where a process has none.
    native: HashMap<u32, (u32, Option<NativeSum>)>,
    /// Since when series stand where they do, in milliseconds; of a family whose series expire.
    since: Vec<u64>,
    /// Series that a process has which lives, as far as that was asked.
    living: HashSet<u32>,
    /// When they were last looked at, in milliseconds.
    now: u64,
    /// The series in the order of the page.
    order: Vec<u32>,
}

/// What a process says of a series.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    /// Of a counter one, of a histogram one for each bucket.
    pub(super) whole: &'a [u64],
    pub(super) float: f64,
    /// When a gauge was set.
    pub(super) set_at: u64,
    pub(super) native: Option<&'a NativeSum>,
    /// Since when it stands there, in milliseconds; 0 where its family keeps series for ever.
    pub(super) since: u64,
}

impl Merged {
    pub(super) fn new(capped: bool) -> Self {
        Self { capped, ..Self::default() }
    }

    /// Begins at zero, at this time in milliseconds.
    pub(super) fn begin(&mut self, now: u64) {
        self.pass += 1;
        self.families.iter_mut().for_each(|family| family.now = now);
        self.now = now;
    }

    /// When it began.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// The number of a family, which is added unless it is there.
    pub(super) fn family(&mut self, facts: FamilyFacts) -> usize {
        let identity = facts.identity();
        if let Some(at) = self.by_identity.get(&identity) {
            // Help and mode are those of the last one that said.
            self.families[*at].facts = facts;
            return *at;
        }
        let at = self.families.len();
        self.by_identity.insert(identity, at);
        self.families.push(MergedFamily {
            facts,
            texts: Vec::new(),
            index: HashTable::new(),
            hasher: RandomState::new(),
            whole: Vec::new(),
            float: Vec::new(),
            set_at: Vec::new(),
            seen: Vec::new(),
            native: HashMap::new(),
            since: Vec::new(),
            living: HashSet::new(),
            now: self.now,
            order: Vec::new(),
        });
        at
    }

    /// The place of a series.
    pub(super) fn slot(&mut self, family: usize, text: &str) -> u32 {
        let capped = self.capped;
        self.families[family].slot(text, capped)
    }

    /// The place of a series, which is looked for after that of another one first.
    pub(super) fn slot_after(&mut self, family: usize, last: u32, text: &str) -> u32 {
        match self.families[family].texts.get(last as usize + 1) {
            Some(next) if **next == *text => last + 1,
            _ => self.slot(family, text),
        }
    }

    /// Adds a part to a series.
    #[inline]
    pub(super) fn add(&mut self, family: usize, slot: u32, part: Part<'_>) {
        let pass = self.pass;
        self.families[family].add(pass, slot as usize, part);
    }

    /// The family that is the same as one of ours.
    pub(in crate::metrics) fn of(&self, facts: &FamilyFacts) -> Option<&MergedFamily> {
        self.by_identity.get(&facts.identity()).map(|at| &self.families[*at])
    }

    /// Those that have something.
    pub(in crate::metrics) fn present(&self) -> impl Iterator<Item = &MergedFamily> {
        self.families.iter().filter(|family| family.seen.contains(&self.pass))
    }

    /// Puts series that came since the last time where they belong.
    pub(super) fn put_in_order(&mut self) {
        for family in &mut self.families {
            let sorted = family.order.len();
            if sorted < family.texts.len() {
                family.order.extend(sorted as u32..family.texts.len() as u32);
                let texts = &family.texts;
                family.order.sort_by(|a, b| label::order(&texts[*a as usize], &texts[*b as usize]));
            }
        }
    }

    /// Whether most of it is places that nobody uses any more.
    pub(super) fn is_stale(&self) -> bool {
        let all: usize = self.families.iter().map(|family| family.texts.len()).sum();
        let used: usize =
            self.families.iter().map(|family| family.seen.iter().filter(|seen| **seen == self.pass).count()).sum();
        all > 2 * used + 1_024
    }

    pub(in crate::metrics) fn pass(&self) -> u32 {
        self.pass
    }

    /// Whether the series of any family expire.
    pub(super) fn any_expires(&self) -> bool {
        self.families.iter().any(|family| family.facts.expire_after > 0)
    }

    /// Marks a series that a process has which lives.
    pub(super) fn mark_living(&mut self, family: usize, slot: u32) {
        self.families[family].living.insert(slot);
    }

    /// Whether a series has not changed for as long as it may.
    pub(super) fn is_idle(&self, family: usize, slot: u32) -> bool {
        self.families[family].is_idle(slot as usize)
    }

    /// Since when the series with this text stands where it does, where that is known.
    pub(super) fn since(&self, facts: &FamilyFacts, text: &str) -> Option<u64> {
        let family = self.of(facts)?;
        family.since.get(family.find(text)? as usize).copied()
    }
}

impl MergedFamily {
    /// How many whole numbers a series has.
    pub(super) fn width(&self) -> usize {
        match self.facts.kind {
            MetricKind::Counter => 1,
            MetricKind::Gauge => 0,
            MetricKind::Histogram => self.facts.bounds.len() + 1,
        }
    }

    /// The place of a series that is there.
    fn find(&self, text: &str) -> Option<u32> {
        self.index.find(self.hasher.hash_one(text), |slot| *self.texts[*slot as usize] == *text).copied()
    }

    /// Whether a series has not changed for as long as it may.
    fn is_idle(&self, slot: usize) -> bool {
        let idle = self.since.get(slot).map_or(0, |since| self.now.saturating_sub(*since));
        self.facts.expire_after > 0 && idle >= self.facts.expire_after
    }

    fn slot(&mut self, text: &str, capped: bool) -> u32 {
        let hash = self.hasher.hash_one(text);
        let texts = &self.texts;
        if let Some(slot) = self.index.find(hash, |slot| *texts[*slot as usize] == *text) {
            return *slot;
        }
        let labels = &self.facts.labels;
        if capped && !labels.is_empty() && self.texts.len() >= self.facts.max_series {
            let over = label::text(labels.iter().map(|label| (label.as_str(), OVERFLOW_LABEL)));
            return self.slot(&over, false);
        }
        let slot = self.texts.len() as u32;
        self.texts.push(text.into());
        let (texts, hasher) = (&self.texts, &self.hasher);
        self.index.insert_unique(hash, slot, |slot| hasher.hash_one(&*texts[*slot as usize]));
        let width = self.width();
        self.whole.resize(self.whole.len() + width, 0);
        self.float.push(0.0);
        self.set_at.push(0);
        self.seen.push(0);
        slot
    }

    #[inline]
    fn add(&mut self, pass: u32, slot: usize, part: Part<'_>) {
        let width = self.width();
        let is_first = self.seen[slot] != pass;
        if self.facts.kind == MetricKind::Histogram {
            self.add_native(pass, slot as u32, is_first, part.native);
        }
        if self.facts.expire_after > 0 {
            self.since.resize(self.texts.len(), 0);
            let since = if is_first { 0 } else { self.since[slot] };
            self.since[slot] = since.max(part.since);
        }
        let whole = &mut self.whole[slot * width..][..width];
        if is_first {
            self.seen[slot] = pass;
            whole.copy_from_slice(part.whole);
            (self.float[slot], self.set_at[slot]) = (part.float, part.set_at);
            return;
        }
        if self.facts.kind == MetricKind::Gauge {
            let here = (self.float[slot], self.set_at[slot]);
            (self.float[slot], self.set_at[slot]) = self.facts.mode.together(here, (part.float, part.set_at));
            return;
        }
        for (sum, more) in whole.iter_mut().zip(part.whole) {
            *sum = sum.wrapping_add(*more);
        }
        self.float[slot] += part.float;
    }

    fn add_native(&mut self, pass: u32, slot: u32, is_first: bool, part: Option<&NativeSum>) {
        if is_first {
            if let Some(part) = part {
                self.native.insert(slot, (pass, Some(part.clone())));
            }
            return;
        }
        let Some((_, held)) = self.native.get_mut(&slot).filter(|(of, _)| *of == pass) else { return };
        match (held.as_mut(), part) {
            (Some(sum), Some(part)) => sum.add(part),
            // They would say less than the others.
            _ => *held = None,
        }
    }

    pub(in crate::metrics) fn facts(&self) -> &FamilyFacts {
        &self.facts
    }

    /// A series that is there in this pass.
    pub(in crate::metrics) fn get(&self, pass: u32, text: &str) -> Option<MergedSeries<'_>> {
        let slot = self.find(text).filter(|slot| self.seen[*slot as usize] == pass)?;
        Some(MergedSeries { family: self, slot: slot as usize })
    }

    /// The series that are there in this pass, in the order of the page.
    pub(in crate::metrics) fn series(&self, pass: u32) -> impl Iterator<Item = MergedSeries<'_>> {
        let there = self.order.iter().filter(move |slot| self.seen[**slot as usize] == pass);
        there.map(|slot| MergedSeries { family: self, slot: *slot as usize })
    }
}

/// A series that is summed.
#[derive(Debug, Clone, Copy)]
pub(in crate::metrics) struct MergedSeries<'a> {
    family: &'a MergedFamily,
    slot: usize,
}

impl<'a> MergedSeries<'a> {
    pub(in crate::metrics) fn text(&self) -> &'a str {
        &self.family.texts[self.slot]
    }

    /// Whether it has not changed for as long as it may: no page shows it, unless the process that is asked has it too.
    pub(in crate::metrics) fn is_idle(&self) -> bool {
        self.family.is_idle(self.slot)
    }

    /// Since when it stands where it does, in milliseconds.
    pub(super) fn since(&self) -> u64 {
        self.family.since.get(self.slot).copied().unwrap_or(0)
    }

    /// Whether it was marked as one that a living process has.
    pub(super) fn is_living(&self) -> bool {
        self.family.living.contains(&(self.slot as u32))
    }

    pub(super) fn part(&self) -> Part<'a> {
        let set_at = self.family.set_at[self.slot];
        Part { whole: self.counts(), float: self.float(), set_at, native: self.native(), since: self.since() }
    }

    /// Its native buckets, where all that have the series have some.
    pub(in crate::metrics) fn native(&self) -> Option<&'a NativeSum> {
        let (pass, native) = self.family.native.get(&(self.slot as u32))?;
        native.as_ref().filter(|_| *pass == self.family.seen[self.slot])
    }

    /// Whole numbers: of a counter one, of a histogram one for each bucket.
    pub(in crate::metrics) fn counts(&self) -> &'a [u64] {
        let width = self.family.width();
        &self.family.whole[self.slot * width..][..width]
    }

    /// What is counted in fractions, or observed in sum, or what a gauge stands at.
    pub(in crate::metrics) fn float(&self) -> f64 {
        self.family.float[self.slot]
    }

    /// A gauge and one of ours together.
    pub(in crate::metrics) fn with_gauge(&self, value: f64, set_at: u64) -> f64 {
        let here = (self.float(), self.family.set_at[self.slot]);
        self.family.facts.mode.together(here, (value, set_at)).0
    }

    /// What a counter or gauge stands at.
    pub(in crate::metrics) fn number(&self) -> f64 {
        self.counts().iter().fold(0_u64, |sum, count| sum.wrapping_add(*count)) as f64 + self.float()
    }

    pub(in crate::metrics) fn value(&self) -> Value {
        match self.family.facts.kind {
            MetricKind::Histogram => Value::Distribution(Distribution {
                bounds: self.family.facts.bounds.clone(),
                counts: self.counts().to_vec(),
                sum: self.float(),
                native: self.native().map(|native| native.distribution.clone()),
            }),
            _ => Value::Number(self.number()),
        }
    }
}
