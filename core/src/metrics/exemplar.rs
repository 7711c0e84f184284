//! Observations that are kept as examples, each with the labels that lead to it: a trace's identifier above all.
//!
//! They are kept beside the series, in one place for a family: a series that has none costs nothing for them.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use crate::clock::Clock;
use crate::error::{Error, Result};

use super::names::check_label;
use super::snapshot::Exemplar;

/// Names and values together are at most so many characters (OpenMetrics 1.0, "Exemplars").
const MAX_CHARS: usize = 128;

/// The exemplars of a series, by bucket. A counter has one bucket.
pub(super) type ByBucket = Vec<Option<Exemplar>>;

/// The exemplars of a family.
pub(super) struct Exemplars {
    clock: Arc<dyn Clock>,
    /// Whether there ever was one.
    any: AtomicBool,
    /// By the number of the first cell of their series.
    held: Mutex<HashMap<u32, ByBucket>>,
}

impl Exemplars {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, any: AtomicBool::new(false), held: Mutex::default() }
    }

    /// Keeps one in the place of the last. Left out where another thread is at it in this moment, and in a fork of a
    /// process that was: nobody waits for an example.
    pub(super) fn keep(&self, first: u32, bucket: usize, value: f64, labels: &[(&str, &str)]) -> Result<()> {
        check(labels)?;
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let exemplar = Exemplar { bucket, labels, value, time: self.clock.now() };
        if let Some(mut held) = self.try_lock() {
            self.any.store(true, Ordering::Release);
            let by_bucket = held.entry(first).or_default();
            if by_bucket.len() <= bucket {
                by_bucket.resize(bucket + 1, None);
            }
            by_bucket[bucket] = Some(exemplar);
        }
        Ok(())
    }

    /// Those of the whole family; `None` where there are none.
    pub(super) fn read(&self) -> Option<MutexGuard<'_, HashMap<u32, ByBucket>>> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        // Whoever holds it lets go at once, unless it is a thread of the process that this one was forked from.
        (0..1_000).find_map(|_| {
            let held = self.try_lock();
            if held.is_none() {
                std::thread::yield_now();
            }
            held
        })
    }

    /// Forgets those of a series that is gone: its cells may be another's soon.
    pub(super) fn forget(&self, first: u32) {
        if let Some(mut held) = self.read() {
            held.remove(&first);
        }
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, HashMap<u32, ByBucket>>> {
        match self.held.try_lock() {
            Ok(held) => Some(held),
            Err(TryLockError::Poisoned(held)) => Some(held.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl fmt::Debug for Exemplars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exemplars").field("any", &self.any).finish_non_exhaustive()
    }
}

fn check(labels: &[(&str, &str)]) -> Result<()> {
    let chars: usize = labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
    if chars > MAX_CHARS {
        return Err(Error::invalid(format!("an exemplar has labels of {chars} characters"))
            .with_hint("keep names and values below 129 together: an identifier of a trace and one of a span"));
    }
    for (at, (name, _)) in labels.iter().enumerate() {
        check_label("an exemplar", name)?;
        if labels[..at].iter().any(|(earlier, _)| earlier == name) {
            return Err(Error::invalid(format!("an exemplar has the label {name:?} twice"))
                .with_hint("give each label a name of its own"));
        }
    }
    Ok(())
}
