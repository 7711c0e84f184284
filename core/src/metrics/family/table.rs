//! The series of a family, found by the text of their labels.

use std::sync::Arc;

use hashbrown::HashTable;

use super::series::Series;

/// The index of a family, and what has changed since its page was last put in order.
#[derive(Debug, Default)]
pub(super) struct Table {
    index: HashTable<Arc<Series>>,
    /// Those of the index that are overflow series.
    overflow: usize,
    /// Added since the last look.
    fresh: Vec<Arc<Series>>,
    /// How many were taken out since the last look.
    gone: usize,
}

impl Table {
    /// The series with this text. The text is compared in full: series may share a hash.
    pub(super) fn find(&self, hash: u64, text: &str) -> Option<Arc<Series>> {
        self.index.find(hash, |series| *series.text == *text).cloned()
    }

    /// How many there are, overflow series apart.
    pub(super) fn len(&self) -> usize {
        self.index.len() - self.overflow
    }

    pub(super) fn overflow_len(&self) -> usize {
        self.overflow
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Series>> {
        self.index.iter()
    }

    pub(super) fn insert(&mut self, hash: u64, series: &Arc<Series>, rehash: impl Fn(&Series) -> u64) {
        self.overflow += usize::from(series.is_overflow());
        self.index.insert_unique(hash, Arc::clone(series), |series| rehash(series));
        self.fresh.push(Arc::clone(series));
    }

    pub(super) fn remove(&mut self, hash: u64, series: &Arc<Series>) {
        let Ok(entry) = self.index.find_entry(hash, |held| Arc::ptr_eq(held, series)) else { return };
        entry.remove();
        self.overflow -= usize::from(series.is_overflow());
        series.leave();
        self.gone += 1;
        // Where nobody ever looks, what comes and goes must not pile up.
        if self.fresh.len() > 2 * self.index.len() + 64 {
            self.fresh.retain(|series| !series.is_gone());
        }
    }

    /// What was added since the last look, and whether anything was taken out.
    pub(super) fn take_changes(&mut self) -> (Vec<Arc<Series>>, bool) {
        (std::mem::take(&mut self.fresh), std::mem::take(&mut self.gone) > 0)
    }
}
