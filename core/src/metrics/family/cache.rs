//! What a thread looked up lately. A hit takes no lock, allocates nothing, and compares the label values in full: a
//! hash only says where to look, so values that collide cost time and never give another series.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::series::Series;

/// Places of a thread. A hash has one place, in which some share the room; who comes later takes it from the eldest.
const PLACES: usize = 128;
const WAYS: usize = 4;

/// Label values longer than this together are looked up in the family, so that a thread's cache stays below 200 KiB.
const MAX_KEY: usize = 256;

thread_local! {
    static CACHE: RefCell<Vec<Place>> = const { RefCell::new(Vec::new()) };
}

/// Which family is asked, and how often series were taken out of it: a cache that is older asks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) family: u64,
    pub(super) generation: u64,
}

#[derive(Default)]
struct Place {
    hashes: [u64; WAYS],
    entries: [Option<Entry>; WAYS],
    eldest: usize,
}

struct Entry {
    version: Version,
    /// Length and bytes of each value.
    key: Box<[u8]>,
    series: Cached,
}

/// A cache's hold on a series, which is not counted as somebody's.
struct Cached(Arc<Series>);

impl Drop for Cached {
    fn drop(&mut self) {
        self.0.cached.fetch_sub(1, Ordering::Release);
    }
}

/// Gives the series that this thread found for these values to `then`, if it still has it.
#[inline]
pub(super) fn with<R>(version: Version, hash: u64, values: &[&str], then: impl FnOnce(&Arc<Series>) -> R) -> Option<R> {
    CACHE
        .try_with(|cache| {
            // A signal handler may come in between: it goes the long way.
            let cache = cache.try_borrow().ok()?;
            let place = cache.get(hash as usize % PLACES)?;
            let mut entries = place.hashes.iter().zip(&place.entries).filter(|(held, _)| **held == hash);
            let entry = entries.find_map(|(_, entry)| {
                entry.as_ref().filter(|entry| entry.version == version && is_key(&entry.key, values))
            })?;
            Some(then(&entry.series.0))
        })
        .ok()?
}

/// Remembers a series.
pub(super) fn remember(version: Version, hash: u64, values: &[&str], series: &Arc<Series>) {
    if values.iter().map(|value| value.len() + 2).sum::<usize>() > MAX_KEY {
        return;
    }
    let key = values.iter().flat_map(|value| (value.len() as u16).to_le_bytes().into_iter().chain(value.bytes()));
    let entry = Entry { version, key: key.collect(), series: Cached(Arc::clone(series)) };
    series.cached.fetch_add(1, Ordering::Relaxed);
    // What is taken out is dropped after the cache is free again.
    let _old = CACHE.try_with(|cache| {
        let mut cache = cache.try_borrow_mut().ok()?;
        if cache.is_empty() {
            cache.resize_with(PLACES, Place::default);
        }
        let place = &mut cache[hash as usize % PLACES];
        // One of these values that is out of date is of no use to anybody.
        let same = |(held, entry): (&u64, &Option<Entry>)| {
            *held == hash && entry.as_ref().is_some_and(|entry| is_key(&entry.key, values))
        };
        let way = place.hashes.iter().zip(&place.entries).position(same).unwrap_or(place.eldest);
        if way == place.eldest {
            place.eldest = (way + 1) % WAYS;
        }
        place.hashes[way] = hash;
        place.entries[way].replace(entry)
    });
}

#[inline]
fn is_key(mut key: &[u8], values: &[&str]) -> bool {
    for value in values {
        let Some((len, rest)) = key.split_first_chunk() else { return false };
        let Some((held, rest)) = rest.split_at_checked(u16::from_le_bytes(*len) as usize) else { return false };
        if held != value.as_bytes() {
            return false;
        }
        key = rest;
    }
    key.is_empty()
}

/// A quick hash, good enough to choose a place.
#[inline]
pub(super) fn hash(family: u64, values: &[&str]) -> u64 {
    values.iter().fold(family, |hash, value| {
        let bytes = value.as_bytes();
        let mut hash = mix(hash, bytes.len() as u64);
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            hash = mix(hash, word.try_into().map_or(0, u64::from_le_bytes));
        }
        match words.remainder() {
            [] => hash,
            rest => mix(hash, rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte))),
        }
    })
}

#[inline]
fn mix(hash: u64, word: u64) -> u64 {
    // The golden ratio, as in "Fibonacci hashing" (Knuth, TAOCP 6.4); the upper half of the product goes back in.
    let product = u128::from(hash ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::MetricKind;

    fn series(text: &str) -> Arc<Series> {
        Arc::new(Series::new(MetricKind::Counter, text, None))
    }

    #[test]
    fn a_colliding_hash_gives_no_other_series() {
        let version = Version { family: u64::MAX, generation: 0 };
        let (a, b) = (series("a"), series("b"));
        let found = |version, values: &[&str]| with(version, 7, values, |series| series.text.to_string());
        remember(version, 7, &["a", "b"], &a);
        assert_eq!(found(version, &["a", "b"]).as_deref(), Some("a"));
        for other in [&["a"][..], &["a", "b", ""], &["ab", ""], &["", "ab"], &["a", "c"], &[]] {
            assert_eq!(found(version, other), None, "{other:?}");
        }
        assert_eq!(found(Version { generation: 1, ..version }, &["a", "b"]), None);
        assert_eq!(found(Version { family: 1, ..version }, &["a", "b"]), None);
        // Looked up again after a removal, it takes the room of what is out of date.
        remember(Version { generation: 1, ..version }, 7, &["a", "b"], &a);
        assert_eq!((found(version, &["a", "b"]), a.cached.load(Ordering::Relaxed)), (None, 1));
        // The same place: the eldest goes.
        for n in 0..WAYS {
            remember(version, 7, &[&n.to_string()], &b);
        }
        assert_eq!((Arc::strong_count(&a), a.cached.load(Ordering::Relaxed)), (1, 0));
        assert_eq!((found(version, &["0"]).as_deref(), b.cached.load(Ordering::Relaxed)), (Some("b"), 4));
    }

    /// Values of 16 bytes whose hash is that of nothing: the second half undoes the first.
    fn chosen(family: u64, count: usize) -> Vec<String> {
        let golden = 0x9e37_79b9_7f4a_7c15;
        let halves = (0_u64..).map(|n| format!("{n:08}").into_bytes()).filter_map(|first| {
            let first: [u8; 8] = first.try_into().ok()?;
            let state = mix(mix(family, 16), u64::from_le_bytes(first));
            let value = [first, (state ^ golden).to_le_bytes()].concat();
            String::from_utf8(value).ok()
        });
        halves.take(count).collect()
    }

    /// The quick hash can be reckoned by anybody. It is a hint: who makes all values share it makes them go the long way, which
    /// has a secret.
    #[test]
    fn values_that_were_chosen_to_collide_cost_the_short_cut_and_no_more() {
        let registry = crate::metrics::Registry::new();
        let definition = |name: &str| crate::metrics::Definition::new(name, "").labels(&["by"]).max_series(1_000);
        let family = registry.counters(definition("flood")).unwrap();
        let values = chosen(family.0.id, 300);
        let hashes: std::collections::BTreeSet<u64> = values.iter().map(|value| hash(family.0.id, &[value])).collect();
        assert_eq!((values.len(), hashes.len()), (300, 1));
        for round in 1..=3_u64 {
            for value in &values {
                family.inc(&[value]).unwrap();
                assert_eq!(family.with(&[value]).unwrap().get(), round as f64);
            }
        }
        // The index of each family has keys of its own, so that nobody can choose for it.
        let other = registry.counters(definition("other")).unwrap();
        let text = |value: &str| format!("by=\"{value}\"");
        let places = |family: &crate::metrics::CounterFamily, values: &[String]| -> usize {
            let place = |value: &String| family.0.hash(&text(value)) % 1_024;
            values.iter().map(place).collect::<std::collections::BTreeSet<_>>().len()
        };
        assert!(places(&family, &values) > 220);
        let there = (0..200_000).map(|n| n.to_string()).filter(|n| other.0.hash(&text(n)) % 1_024 == 7);
        let there: Vec<String> = there.take(128).collect();
        assert_eq!((places(&other, &there), there.len()), (1, 128));
        assert!(places(&family, &there) > 96, "{}", places(&family, &there));
    }

    #[test]
    fn long_values_are_not_kept() {
        let version = Version { family: u64::MAX, generation: 0 };
        let (long, held) = ("x".repeat(MAX_KEY), series("x"));
        remember(version, 9, &[&long], &held);
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn hashes_tell_neighbours_apart() {
        let all: std::collections::BTreeSet<usize> =
            (0..PLACES).map(|n| hash(1, &["GET", &n.to_string(), "200"]) as usize % PLACES).collect();
        // Thrown at random, 63 % of the places are hit.
        assert!(all.len() > PLACES / 2, "{}", all.len());
        assert_ne!(hash(1, &["a", ""]), hash(1, &["", "a"]));
    }
}
