//! What the cells mean, in the order in which it came to be: records in pages of the file.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use super::format::{MAX_RECORD, Use, checksum, log_end, log_page, record_head, words};
use super::map::{CELLS, Chunk};
use super::pages::{Pages, Place};

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::metrics) enum Said {
    /// There is a family; the key is its number.
    Family = 1,
    /// There is a series; the key is its first cell. It takes the place of an earlier one there.
    Series = 2,
    /// A series has a float cell; the key is its first cell.
    Float = 3,
    /// A series or a bucket is gone; the key is its first cell.
    Gone = 4,
    /// A series has native buckets; the key is its first cell. It takes the place of an earlier one.
    Native = 5,
    /// A native bucket of a series has a cell, which is the key.
    Bucket = 6,
}

impl Said {
    /// What a record of this kind says.
    pub(in crate::metrics) fn of(kind: u8) -> Option<Self> {
        let all = [Self::Family, Self::Series, Self::Float, Self::Gone, Self::Native, Self::Bucket];
        all.into_iter().find(|said| *said as u8 == kind)
    }
}

/// Words before the bytes of a record: the head, the key, the checksum.
pub(in crate::metrics) const RECORD_WORDS: usize = 3;

/// Shorter than this, a log is not worth writing anew.
const WORTH: u64 = 256 << 10;

/// The log of the file of this process.
pub(super) struct Log {
    pages: Vec<(&'static Chunk, Place)>,
    /// Pages of the generation before.
    spare: Vec<(&'static Chunk, Place)>,
    generation: u64,
    bytes: u64,
    records: usize,
    gone: usize,
    /// There was no room for it in the file: what was published stands, and no more is said.
    is_full: bool,
}

impl Log {
    pub(super) const fn new() -> Self {
        Self { pages: Vec::new(), spare: Vec::new(), generation: 0, bytes: 0, records: 0, gone: 0, is_full: false }
    }

    /// Whether no more can be said.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Begins again, in pages that are zero: in a child after a fork.
    pub(super) fn fork(&mut self) {
        self.spare.append(&mut self.pages);
        (self.bytes, self.records, self.gone) = (0, 0, 0);
        self.generation += 1;
        self.is_full = false;
    }

    /// Adds records, and publishes them at once.
    pub(super) fn append<'a>(&mut self, pages: &mut Pages, records: impl IntoIterator<Item = (Said, u32, &'a [u8])>) {
        if self.is_full {
            return;
        }
        for (said, key, bytes) in records.into_iter().filter(|(.., bytes)| bytes.len() <= MAX_RECORD) {
            self.write(pages, said, key, words(bytes), bytes.len());
            self.gone += usize::from(said == Said::Gone);
        }
        if self.bytes > WORTH && self.gone > self.records / 4 {
            self.compact(pages);
        }
        // Readers would look for the end of it in vain.
        if !self.is_full {
            pages.publish(log_end(self.generation, self.bytes));
        }
    }

    fn write(&mut self, pages: &mut Pages, said: Said, key: u32, words: impl Iterator<Item = u64> + Clone, len: usize) {
        let head = record_head(len, said as u8, self.generation);
        let sum = checksum([head, u64::from(key), self.bytes].into_iter().chain(words.clone()));
        for word in [head, u64::from(key), sum].into_iter().chain(words) {
            self.push(pages, word);
        }
        self.records += 1;
    }

    fn push(&mut self, pages: &mut Pages, word: u64) {
        let at = self.bytes as usize / 8;
        if at / CELLS == self.pages.len() {
            self.grow(pages);
        }
        self.pages[at / CELLS].0.cells()[at % CELLS].store(word, Ordering::Relaxed);
        self.bytes += 8;
    }

    fn grow(&mut self, pages: &mut Pages) {
        // Side by side, so that a reader who wants the cells passes over many at once.
        let more = (self.pages.len() / 4).clamp(1, 16);
        for _ in 0..more {
            let number = log_page(self.generation, self.pages.len());
            let page = match self.spare.pop() {
                Some((chunk, place)) => {
                    pages.describe(place, Use::Log, number);
                    (chunk, place)
                }
                None => pages.take(Use::Log, number),
            };
            self.is_full |= pages.file().is_some() && !pages.is_backed(page.1);
            self.pages.push(page);
        }
    }

    /// Writes it anew without what is gone. Until it is published, the old one stands.
    fn compact(&mut self, pages: &mut Pages) {
        let records: Vec<Record> = self.records().collect();
        let old = std::mem::replace(self, Self::new());
        self.generation = old.generation + 1;
        self.spare = old.spare;
        // From the end: what was said of a key before it was gone is over.
        let (mut over, mut native) = (BTreeSet::new(), BTreeSet::new());
        let mut kept = Vec::new();
        for record in records.iter().rev() {
            match record.said {
                Said::Gone => {
                    over.insert(record.key);
                }
                Said::Series | Said::Float | Said::Native | Said::Bucket if over.contains(&record.key) => {}
                Said::Native if !native.insert(record.key) => {}
                Said::Series | Said::Bucket => {
                    over.insert(record.key);
                    kept.push(record);
                }
                Said::Family | Said::Float | Said::Native => kept.push(record),
            }
        }
        for record in kept.into_iter().rev() {
            self.write(pages, record.said, record.key, record.words.iter().copied(), record.len);
        }
        // Free for the generation after this one: readers may still be at the old one.
        self.spare.extend(old.pages);
    }

    fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let word = |at: usize| self.pages[at / CELLS].0.cells()[at % CELLS].load(Ordering::Relaxed);
        let mut at = 0;
        std::iter::from_fn(move || {
            if at >= self.bytes as usize / 8 {
                return None;
            }
            let (len, kind, _) = super::format::parse_record_head(word(at));
            let (said, key, from) = (Said::of(kind)?, word(at + 1) as u32, at + RECORD_WORDS);
            at = from + len.div_ceil(8);
            Some(Record { said, key, len, words: (from..at).map(word).collect() })
        })
    }

    /// Bytes of all its pages.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        (self.pages.len() + self.spare.len()) * super::format::PAGE
    }
}

/// A record that was read back.
struct Record {
    said: Said,
    key: u32,
    len: usize,
    words: Vec<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_and_goes_does_not_pile_up() {
        let (mut pages, mut log) = (Pages::new(), Log::new());
        let mut say = |said, key, bytes: &[u8]| log.append(&mut pages, [(said, key, bytes)]);
        say(Said::Family, 1, b"a family");
        say(Said::Series, 7, b"stays");
        say(Said::Native, 7, b"at first");
        say(Said::Native, 7, b"stays");
        say(Said::Bucket, 8, b"stays");
        for round in 0..40_000_u32 {
            let key = 100 + round % 1_000;
            say(Said::Series, key, format!("series {round}, which is gone soon").as_bytes());
            say(Said::Float, key, &round.to_ne_bytes());
            say(Said::Bucket, 5_000, b"comes and goes");
            say(Said::Gone, 5_000, b"");
            say(Said::Gone, key, b"");
        }
        say(Said::Series, 100, b"again");
        assert!(log.room() < 2 << 20, "{} bytes", log.room());
        assert!(log.generation > 1);
        let alive: Vec<(Said, u32)> = {
            let mut alive = Vec::new();
            for record in log.records() {
                match record.said {
                    Said::Gone => alive.retain(|(_, key)| *key != record.key),
                    said => alive.push((said, record.key)),
                }
            }
            alive
        };
        let kept = [(Said::Family, 1), (Said::Series, 7), (Said::Native, 7), (Said::Bucket, 8), (Said::Series, 100)];
        assert_eq!(alive, kept);
    }
}
