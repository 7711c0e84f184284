//! The series of counters in the order of the page, as they are read there one after the other.
//!
//! Series lie about in memory, and a page of many waits for that memory above all. What a page needs of them is kept side by
//! side once a family has stood unchanged from one page to the next: the labels, each without what it has in common with
//! those before, and the numbers of the cells.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::exposition::{Labels, Writer};
use super::super::shared::NONE;
use super::super::slab::Reader;
use super::super::snapshot::Exemplar;
use super::BATCH;
use super::series::{Series, Shape};

/// The series of a family in the order of the page.
#[derive(Debug, Default)]
pub(super) struct Ordered {
    series: Vec<Arc<Series>>,
    lines: Option<Lines>,
    /// Whether there was a page since the last change.
    is_settled: bool,
}

impl Ordered {
    /// Changes the series.
    pub(super) fn change(&mut self) -> &mut Vec<Arc<Series>> {
        (self.lines, self.is_settled) = (None, false);
        &mut self.series
    }

    /// What the page of counters needs. `None` for the first page after a change: the next one may change again, and then
    /// this would be made for nothing.
    pub(super) fn lines(&mut self, shape: &Shape) -> Option<&Lines> {
        let fractions = shape.fractions.load(Ordering::Acquire);
        if self.lines.as_ref().is_some_and(|lines| lines.fractions != fractions) {
            (self.lines, self.is_settled) = (None, false);
        }
        if !std::mem::replace(&mut self.is_settled, true) || self.series.len() < BATCH {
            return None;
        }
        Some(self.lines.get_or_insert_with(|| Lines::new(&self.series, fractions)))
    }
}

impl Deref for Ordered {
    type Target = [Arc<Series>];

    fn deref(&self) -> &Self::Target {
        &self.series
    }
}

/// Labels and cells, in the order of the page.
#[derive(Debug)]
pub(super) struct Lines {
    /// How many bytes each text has in common with the one before, and how many of its own follow, in as many bytes as
    /// it takes ([`put`]).
    lengths: Box<[u8]>,
    /// What follows, of all of them.
    own: Box<str>,
    /// The whole cells.
    firsts: Box<[u32]>,
    /// The float cells, [`NONE`] where a series has none; empty where none has.
    floats: Box<[u32]>,
    /// How many series had a float cell. Where more have, this is out of date.
    fractions: u64,
}

impl Lines {
    fn new(series: &[Arc<Series>], fractions: u64) -> Self {
        let (mut lengths, mut own, mut before) = (Vec::new(), String::new(), "");
        for series in series {
            let common = common(before, &series.text);
            put(&mut lengths, common);
            put(&mut lengths, series.text.len() - common);
            own.push_str(&series.text[common..]);
            before = &series.text;
        }
        let floats: Box<[u32]> = series.iter().map(|series| series.fraction().unwrap_or(NONE)).collect();
        Self {
            lengths: lengths.into(),
            own: own.into(),
            firsts: series.iter().map(|series| series.first()).collect(),
            floats: if floats.iter().all(|cell| *cell == NONE) { Box::default() } else { floats },
            fractions,
        }
    }

    /// Writes every series into a family that was begun.
    pub(super) fn write<'e, W: Writer>(
        &self,
        names: &[String],
        reader: &Reader,
        page: &mut W,
        family: &W::Family,
        exemplars: impl Fn(u32) -> Option<&'e Exemplar>,
    ) {
        let (mut text, mut own, mut lengths) = (String::new(), &*self.own, &*self.lengths);
        let mut floats = self.floats.chunks(BATCH);
        for firsts in self.firsts.chunks(BATCH) {
            let (mut whole, mut fraction) = ([0; BATCH], [0.0; BATCH]);
            reader.wholes(firsts, &mut whole);
            if let Some(floats) = floats.next() {
                reader.floats(floats, &mut fraction);
            }
            for (first, (whole, fraction)) in firsts.iter().zip(whole.into_iter().zip(fraction)) {
                text.truncate(take(&mut lengths));
                let (new, rest) = own.split_at_checked(take(&mut lengths)).unwrap_or((own, ""));
                text.push_str(new);
                own = rest;
                page.number(family, Labels { names, text: &text }, whole as f64 + fraction, exemplars(*first));
            }
        }
    }
}

/// How many bytes two texts begin with in common, up to a character's end.
fn common(a: &str, b: &str) -> usize {
    let mut at = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    while !b.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Appends a length, seven bits to a byte, the least first; all but the last have the highest bit set.
fn put(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// Takes a length off.
#[inline]
fn take(lengths: &mut &[u8]) -> usize {
    let (mut length, mut shift) = (0, 0);
    while let Some((byte, rest)) = lengths.split_first() {
        *lengths = rest;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if *byte < 0x80 {
            break;
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Definition, Encoding, Exposition, Registry};

    #[test]
    fn lengths_come_out_as_they_went_in() {
        let all = [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 123_456_789];
        let mut bytes = Vec::new();
        all.iter().for_each(|length| put(&mut bytes, *length));
        let mut rest = &*bytes;
        assert_eq!((all.map(|_| take(&mut rest)), rest.len()), (all, 0));
    }

    #[test]
    fn texts_part_at_the_end_of_a_character() {
        for (a, b, wanted) in [("", "a", 0), ("ab", "abc", 2), ("aé", "aè", 1), ("é", "é", 2), ("x", "", 0)] {
            assert_eq!(common(a, b), wanted, "{a} {b}");
        }
    }

    /// Whatever comes, goes or changes between pages, each is what a snapshot says. The first page after a change is made of the
    /// series, the others of the lines.
    #[test]
    fn pages_of_lines_say_what_snapshots_say() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        let registry = Registry::new();
        let family = registry.counters(Definition::new("c_total", "").labels(&["a", "b"])).unwrap();
        let mut held = Vec::new();
        let value = |random: &mut fastrand::Rng| -> String {
            let most = if random.u8(..10) == 0 { 200 } else { 4 };
            let length = random.usize(..most);
            (0..length).map(|_| random.choice(['a', 'b', '"', '\\', '\n', 'é', '\u{1F600}', ',']).unwrap()).collect()
        };
        for round in 0..60 {
            match random.u8(..8) {
                0..2 => held.extend((0..random.usize(..200)).map(|_| {
                    let values = [value(&mut random), value(&mut random)];
                    (family.with(&[&values[0], &values[1]]).unwrap(), values)
                })),
                2 if !held.is_empty() => {
                    let (_, [a, b]) = held.swap_remove(random.usize(..held.len()));
                    family.remove(&[&a, &b]).unwrap();
                }
                3 if !held.is_empty() => held[random.usize(..held.len())].0.add(0.5).unwrap(),
                4 if !held.is_empty() => {
                    held[random.usize(..held.len())].0.inc_with_exemplar(&[("t", &round.to_string())]).unwrap();
                }
                5 => {
                    family.clear();
                    held.clear();
                }
                _ => {}
            }
            held.iter().for_each(|(counter, _)| counter.inc_by(random.u64(..5)));
            for page in 0..2 {
                for encoding in [Encoding::Text, Encoding::OpenMetrics, Encoding::Protobuf] {
                    let exposition = Exposition { encoding, escaping: None };
                    let mut out = Vec::new();
                    registry.expose_into(&mut out, exposition, []);
                    let wanted = exposition.write(&registry.snapshot());
                    assert!(out == wanted, "{encoding:?} of round {round}, page {page}, seed {seed}");
                }
            }
            let order = family.0.order.lock().unwrap();
            assert_eq!(order.lines.is_some(), order.len() >= BATCH, "round {round}, seed {seed}");
        }
        // A snapshot could leave out what a page does: this is known from neither.
        family.clear();
        for number in 0..2 * BATCH {
            family.with(&["last", &number.to_string()]).unwrap().inc_by(number as u64 + 1);
        }
        let mut wanted: Vec<_> = (0..2 * BATCH).map(|n| format!("c_total{{a=\"last\",b=\"{n}\"}} {}", n + 1)).collect();
        wanted.sort();
        for page in 0..3 {
            let mut out = Vec::new();
            registry.expose_into(&mut out, Exposition { encoding: Encoding::Text, escaping: None }, []);
            let text = String::from_utf8(out).unwrap();
            let mut lines: Vec<_> = text.lines().filter(|line| line.starts_with("c_total{")).collect();
            lines.sort_unstable();
            assert_eq!(lines, wanted, "page {page}, seed {seed}");
            assert_eq!(family.0.order.lock().unwrap().lines.is_some(), page > 0, "page {page}, seed {seed}");
        }
    }
}
