//! The file of another process, as far as it was read. Nothing in it is believed, and it is never mapped: whoever cuts it
//! off harms its owner, and no reader.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::super::native::{Label, NativeSum};
use super::super::slab::layout::{
    MAGIC, MAX_RECORD, MORE, MOST, PAGE, Use, VERSION, WORD_CHECK, WORD_ENTRIES, WORD_LOG, WORD_PAGES, WORD_VERSION,
    checksum, log_page, parse_entry, parse_log_end, parse_record_head, words,
};
use super::super::slab::{CELLS, RECORD_WORDS, Said, boot};
use super::merged::{Merged, Part};
use super::record::{BucketFacts, FamilyFacts, In, NONE, NativeFacts, SeriesFacts};

/// Why a file is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::metrics) enum Fault {
    /// It is none of ours.
    Foreign,
    /// It is of another version of this format.
    Version,
    /// It ends before it should.
    Truncated,
    /// It says what cannot be.
    Torn,
    /// The system does not let it be read.
    Unreadable,
    /// It was there when the folder was listed, and is not any more.
    Vanished,
}

impl Fault {
    pub(in crate::metrics) fn as_str(self) -> &'static str {
        match self {
            Self::Foreign => "foreign",
            Self::Version => "version",
            Self::Truncated => "truncated",
            Self::Torn => "torn",
            Self::Unreadable | Self::Vanished => "unreadable",
        }
    }

    fn of(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Self::Truncated,
            std::io::ErrorKind::NotFound => Self::Vanished,
            _ => Self::Unreadable,
        }
    }
}

type Read<T> = Result<T, Fault>;

/// Chunks have smaller numbers: so many cells no process has.
const MAX_CHUNKS: usize = 1 << 20;
/// How often a file is read again that changes while it is read.
const ATTEMPTS: usize = 5;

/// A file, and what is known of it.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    /// Whether its times are those of this boot.
    is_of_this_boot: bool,
    dead: bool,
    /// The log, as far as it was read: generation and bytes.
    read: (u64, u64),
    /// Families by their key.
    families: HashMap<u32, usize>,
    /// The family that was asked for last: key and number.
    recent: Option<(u32, usize)>,
    /// The place of the series that was taken over last.
    last: u32,
    series: Vec<SeriesAt>,
    /// Where a series stands in `series`, and one more, by its first cell; by chunk.
    by_first: Vec<Option<Box<[u32; CELLS]>>>,
    /// Series with native buckets, by their first cell.
    natives: HashMap<u32, NativeFacts>,
    /// Native buckets by their cell.
    buckets: HashMap<u32, BucketFacts>,
    /// What was said that is not true any more.
    took_back: bool,
    /// Since when series stand where they do, by their first cell; of families whose series expire.
    idle: HashMap<u32, Idle>,
    cells: Cells,
    buffer: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct SeriesAt {
    first: u32,
    float: u32,
    family: u32,
    slot: u32,
}

/// Since when a series stands where it does.
#[derive(Debug, Clone, Copy)]
struct Idle {
    /// A checksum of its labels: cells are used again.
    text: u64,
    /// Another one once the series has changed.
    mark: u64,
    /// Milliseconds; 0 before the first look.
    since: u64,
}

/// The sums of the pages, by cell.
#[derive(Debug, Default)]
struct Cells {
    /// Where a chunk begins in `sums`, and one more, by its number.
    places: Vec<u32>,
    sums: Vec<u64>,
}

impl Idle {
    /// Since when the series stands at this.
    fn look(&mut self, part: &Part<'_>, now: u64) -> u64 {
        let mark = |mark: u64, count: &u64| mark.rotate_left(7).wrapping_add(*count);
        let mark = part.whole.iter().fold(part.float.to_bits(), mark);
        if self.since == 0 || self.mark != mark {
            (self.mark, self.since) = (mark, now.max(1));
        }
        self.since
    }
}

impl Cells {
    /// Begins at zero, with room for these chunks.
    fn begin(&mut self, chunks: impl Iterator<Item = u32>) -> Read<()> {
        self.places.clear();
        let mut count = 0;
        for number in chunks {
            let number = number as usize;
            if number >= MAX_CHUNKS {
                return Err(Fault::Torn);
            }
            if self.places.len() <= number {
                self.places.resize(number + 1, 0);
            }
            if self.places[number] == 0 {
                count += 1;
                self.places[number] = count;
            }
        }
        self.sums.clear();
        self.sums.resize(count as usize * CELLS, 0);
        Ok(())
    }

    fn add(&mut self, of: Use, number: u32, page: &[u8]) {
        let Some(at) = self.places.get(number as usize).filter(|at| **at > 0) else { return };
        let sums = &mut self.sums[(*at as usize - 1) * CELLS..][..CELLS];
        for (sum, bits) in sums.iter_mut().zip(words(page)) {
            *sum = match of {
                Use::Whole => sum.wrapping_add(bits),
                Use::Float => (f64::from_bits(*sum) + f64::from_bits(bits)).to_bits(),
                // There is one; others are empty.
                Use::Gauge if bits == 0 => *sum,
                Use::Gauge | Use::Log => bits,
            };
        }
    }

    /// Cells that lie side by side. Fewer where there are not so many.
    #[inline]
    fn get(&self, first: u32, count: usize) -> &[u64] {
        let at = self.places.get(first as usize / CELLS).copied().unwrap_or(0) as usize;
        let Some(at) = at.checked_sub(1) else { return &[] };
        let from = first as usize % CELLS;
        &self.sums[at * CELLS + from..][..count.min(CELLS - from)]
    }

    #[inline]
    fn float(&self, id: u32) -> f64 {
        if id == NONE { 0.0 } else { self.get(id, 1).first().map_or(0.0, |bits| f64::from_bits(*bits)) }
    }
}

/// A page of the file: where it begins, what it is for.
type PageAt = (u64, Use, u32);

impl Source {
    /// Opens a file by its name, in which its number stands.
    pub(super) fn open(path: &Path, id: u128) -> Read<Self> {
        let file = File::open(path).map_err(|e| Fault::of(&e))?;
        if !file.metadata().map_err(|e| Fault::of(&e))?.is_file() {
            return Err(Fault::Foreign);
        }
        let mut source = Self {
            file,
            is_of_this_boot: false,
            dead: false,
            read: (0, 0),
            families: HashMap::new(),
            recent: None,
            last: 0,
            series: Vec::new(),
            by_first: Vec::new(),
            natives: HashMap::new(),
            buckets: HashMap::new(),
            took_back: false,
            idle: HashMap::new(),
            cells: Cells::default(),
            buffer: Vec::new(),
        };
        let first = source.page(0)?;
        let word = |at: usize| word_of(&first, at);
        if word(0) != MAGIC {
            return Err(Fault::Foreign);
        }
        if word(WORD_VERSION) != VERSION {
            return Err(Fault::Version);
        }
        let head: Vec<u64> = (WORD_VERSION..WORD_CHECK).map(word).collect();
        if checksum(head.iter().copied()) != word(WORD_CHECK) || (u128::from(head[2]) << 64 | u128::from(head[1])) != id
        {
            return Err(Fault::Torn);
        }
        source.is_of_this_boot = head[3] == boot();
        Ok(source)
    }

    /// Whether its process is gone. Once it is, it stays so: no other one takes its file.
    pub(super) fn is_dead(&mut self) -> bool {
        if !self.dead && flock(&self.file, FlockOperation::NonBlockingLockShared).is_ok() {
            let _ = flock(&self.file, FlockOperation::Unlock);
            self.dead = true;
        }
        self.dead
    }

    /// Forgets where its series stand: what they were merged into is gone.
    pub(super) fn reset(&mut self) {
        self.read = (0, 0);
        self.families.clear();
        self.recent = None;
        self.series.clear();
        self.by_first.clear();
        self.natives.clear();
        self.buckets.clear();
    }

    /// Reads what it says, and what its cells stand at. `merged` gets families and series, and no numbers yet.
    pub(super) fn look(&mut self, merged: &mut Merged) -> Read<()> {
        for _ in 0..ATTEMPTS {
            let pages = self.pages()?;
            let end = match self.follow(&pages, merged) {
                // It was written anew meanwhile.
                Err(Fault::Torn) if self.end()?.0 != self.read.0 => continue,
                end => end?,
            };
            self.sum(&pages)?;
            if self.end()? == end {
                return Ok(());
            }
            // What was added meanwhile is nothing to those that were there. What was taken back may have been
            // used again.
            self.took_back = false;
            match self.pages().and_then(|pages| self.follow(&pages, merged)) {
                Err(Fault::Torn) => {}
                Err(other) => return Err(other),
                Ok(_) if !self.took_back => return Ok(()),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// Adds what was last read.
    pub(super) fn add_to(&mut self, merged: &mut Merged, wants: impl Fn(&FamilyFacts) -> bool) {
        let wanted: Vec<usize> =
            merged.families.iter().map(|family| if wants(&family.facts) { family.width() + 1 } else { 0 }).collect();
        let is_gauge: Vec<bool> =
            merged.families.iter().map(|family| family.facts.kind == super::super::MetricKind::Gauge).collect();
        let none = [0; CELLS];
        let natives = self.natives();
        for SeriesAt { first, float, family, slot } in &self.series {
            let family = *family as usize;
            let Some(width) = wanted[family].checked_sub(1) else { continue };
            let mut part = if is_gauge[family] {
                let cells = self.cells.get(*first, 2);
                let value = cells.first().map_or(0.0, |bits| f64::from_bits(*bits)) + self.cells.float(*float);
                // Of a gauge of another mode, the second is another series.
                let recent = merged.families[family].facts.mode.is_most_recent() && self.is_of_this_boot;
                let set_at = if recent { cells.get(1).copied().unwrap_or(0) } else { 0 };
                Part { whole: &[], float: value, set_at, native: None, since: 0 }
            } else {
                let whole = self.cells.get(*first, width);
                let whole = if whole.len() == width { whole } else { &none[..width] };
                Part { whole, float: self.cells.float(*float), set_at: 0, native: natives.get(first), since: 0 }
            };
            if merged.families[family].facts.expire_after > 0
                && let Some(idle) = self.idle.get_mut(first)
            {
                part.since = idle.look(&part, merged.now());
            }
            merged.add(family, *slot, part);
        }
    }

    /// Whether its process was gone when that was last asked.
    pub(super) fn was_dead(&self) -> bool {
        self.dead
    }

    /// How many of its series have not changed for as long as they may.
    pub(super) fn idle(&self, merged: &Merged) -> usize {
        self.series.iter().filter(|series| merged.is_idle(series.family as usize, series.slot)).count()
    }

    /// Marks the series that it has.
    pub(super) fn mark_living(&self, merged: &mut Merged) {
        self.series.iter().for_each(|series| merged.mark_living(series.family as usize, series.slot));
    }

    /// What native buckets hold, by the first cell of their series.
    fn natives(&self) -> HashMap<u32, NativeSum> {
        let whole = |cell: u32| self.cells.get(cell, 1).first().copied().unwrap_or(0);
        let mut by_series: HashMap<u32, Vec<(Label, u64)>> = HashMap::new();
        for (cell, BucketFacts { series, label }) in &self.buckets {
            by_series.entry(*series).or_default().push((*label, whole(*cell)));
        }
        let sum = |(series, facts): (&u32, &NativeFacts)| {
            let NativeFacts { schema, was_reset, zero, sum, max_buckets, zero_threshold } = *facts;
            let mut native = NativeSum::new(schema, zero_threshold, was_reset, max_buckets);
            native.distribution.zero_count = whole(zero);
            native.distribution.sum = self.cells.float(sum);
            native.fill(by_series.remove(series).unwrap_or_default().into_iter());
            (*series, native)
        };
        self.natives.iter().map(sum).collect()
    }

    fn page(&self, offset: u64) -> Read<Vec<u8>> {
        let mut page = vec![0; PAGE];
        self.file.read_exact_at(&mut page, offset).map_err(|e| Fault::of(&e))?;
        Ok(page)
    }

    /// What its pages are, in the order of the file.
    fn pages(&self) -> Read<Vec<PageAt>> {
        let len = self.file.metadata().map_err(|e| Fault::of(&e))?.len();
        let (mut found, mut offset) = (Vec::new(), 0);
        while offset < len {
            let first = self.page(offset)?;
            let count = word_of(&first, WORD_PAGES);
            match word_of(&first, 0) {
                MAGIC if offset == 0 => {}
                MORE if offset > 0 => {}
                // It is being added.
                0 if offset > 0 => break,
                _ => return Err(Fault::Torn),
            }
            if count < 2 || count > MOST as u64 {
                return Err(Fault::Torn);
            }
            for page in 1..count {
                let entry = word_of(&first, WORD_ENTRIES + page as usize - 1);
                match parse_entry(entry) {
                    Some((of, number)) => found.push((offset + page * PAGE as u64, of, number)),
                    None if entry == 0 => {}
                    None => return Err(Fault::Torn),
                }
            }
            offset += count * PAGE as u64;
            if offset > len {
                return Err(Fault::Truncated);
            }
        }
        Ok(found)
    }

    /// The published end of the log.
    fn end(&self) -> Read<(u64, u64)> {
        let mut word = [0; 8];
        self.file.read_exact_at(&mut word, WORD_LOG as u64 * 8).map_err(|e| Fault::of(&e))?;
        Ok(parse_log_end(u64::from_ne_bytes(word)))
    }

    /// Reads what the log says since the last time. Gives its end.
    fn follow(&mut self, pages: &[PageAt], merged: &mut Merged) -> Read<(u64, u64)> {
        let (generation, end) = self.end()?;
        if generation != self.read.0 {
            self.reset();
            self.read.0 = generation;
            self.took_back = true;
        }
        if end < self.read.1 || !end.is_multiple_of(8) {
            return Err(Fault::Torn);
        }
        if end == self.read.1 {
            return Ok((generation, end));
        }
        let from = self.read.1 as usize / PAGE;
        let upto = (end as usize).div_ceil(PAGE);
        let mut at: Vec<Option<u64>> = vec![None; upto.saturating_sub(from).min(pages.len())];
        if at.len() != upto - from {
            return Err(Fault::Torn);
        }
        let base = log_page(generation, 0);
        for (offset, of, number) in pages {
            if *of == Use::Log
                && let Some(order) = number.checked_sub(base)
                && let Some(place) = (order as usize).checked_sub(from).and_then(|order| at.get_mut(order))
            {
                *place = Some(*offset);
            }
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(at.len() * PAGE, 0);
        let mut done = 0;
        while done < at.len() {
            let start = at[done].ok_or(Fault::Torn)?;
            let run = at[done..].iter().zip(0..).take_while(|(at, n)| **at == Some(start + n * PAGE as u64)).count();
            let part = &mut buffer[done * PAGE..][..run * PAGE];
            self.file.read_exact_at(part, start).map_err(|e| Fault::of(&e))?;
            done += run;
        }
        let result = self.records(&buffer, (from * PAGE) as u64, end, merged);
        self.buffer = buffer;
        result.map(|()| (generation, end))
    }

    /// Takes over the records of a piece of the log that begins at `base`, up to `end`.
    fn records(&mut self, piece: &[u8], base: u64, end: u64, merged: &mut Merged) -> Read<()> {
        while self.read.1 < end {
            let at = (self.read.1 - base) as usize;
            let word = |n: usize| piece.get(at + n * 8..).map_or(0, |bytes| word_of(bytes, 0));
            let (len, kind, generation) = parse_record_head(word(0));
            let from = at + RECORD_WORDS * 8;
            let filled = len.div_ceil(8) * 8;
            if len > MAX_RECORD || self.read.1 + (RECORD_WORDS * 8 + filled) as u64 > end || generation != self.read.0 {
                return Err(Fault::Torn);
            }
            let bytes = piece.get(from..from + filled).ok_or(Fault::Torn)?;
            let sum = checksum([word(0), word(1), self.read.1].into_iter().chain(words(bytes)));
            let said = Said::of(kind).filter(|_| sum == word(2)).ok_or(Fault::Torn)?;
            self.take(said, word(1) as u32, &bytes[..len], merged).ok_or(Fault::Torn)?;
            self.read.1 += (RECORD_WORDS * 8 + filled) as u64;
        }
        Ok(())
    }

    fn take(&mut self, said: Said, key: u32, bytes: &[u8], merged: &mut Merged) -> Option<()> {
        match said {
            Said::Family => {
                let facts = FamilyFacts::decode(&mut In(bytes))?;
                self.families.insert(key, merged.family(facts));
                self.recent = None;
            }
            Said::Series => {
                let SeriesFacts { family, float, text, .. } = SeriesFacts::decode(bytes)?;
                // It is said again once its family is.
                let Some(family) = self.family(family) else { return Some(()) };
                if key as usize / CELLS >= MAX_CHUNKS {
                    return None;
                }
                // Processes of one program often make their series in the same order.
                let slot = merged.slot_after(family, self.last, text);
                self.last = slot;
                if !self.natives.is_empty() {
                    self.natives.remove(&key);
                }
                if merged.families[family].facts.expire_after > 0 {
                    let text = checksum(words(text.as_bytes()));
                    let fresh = Idle { text, mark: 0, since: 0 };
                    self.idle
                        .entry(key)
                        .and_modify(|idle| *idle = if idle.text == text { *idle } else { fresh })
                        .or_insert(fresh);
                }
                self.set(SeriesAt { first: key, float, family: family as u32, slot });
            }
            Said::Float => {
                let float = In(bytes).small()?;
                if let Some(at) = self.at(key) {
                    self.series[at].float = float;
                }
            }
            Said::Native => {
                self.natives.insert(key, NativeFacts::decode(bytes)?);
            }
            Said::Bucket => {
                self.buckets.insert(key, BucketFacts::decode(bytes)?);
            }
            Said::Gone => {
                self.took_back = true;
                self.natives.remove(&key);
                self.buckets.remove(&key);
                self.idle.remove(&key);
                if let Some(at) = self.at(key) {
                    self.put(key, 0);
                    self.series.swap_remove(at);
                    if let Some(moved) = self.series.get(at).copied() {
                        self.put(moved.first, at as u32 + 1);
                    }
                }
            }
        }
        Some(())
    }

    /// The family of this key. Series of one come one after another.
    fn family(&mut self, key: u32) -> Option<usize> {
        if let Some((_, family)) = self.recent.filter(|(recent, _)| *recent == key) {
            return Some(family);
        }
        let family = self.families.get(&key).copied()?;
        self.recent = Some((key, family));
        Some(family)
    }

    /// Where the series stands whose first cell this is.
    fn at(&self, first: u32) -> Option<usize> {
        let places = self.by_first.get(first as usize / CELLS)?.as_ref()?;
        (places[first as usize % CELLS] as usize).checked_sub(1)
    }

    fn put(&mut self, first: u32, place: u32) {
        let chunk = first as usize / CELLS;
        if self.by_first.len() <= chunk {
            self.by_first.resize_with(chunk + 1, || None);
        }
        let places = self.by_first[chunk].get_or_insert_with(|| Box::new([0; CELLS]));
        places[first as usize % CELLS] = place;
    }

    fn set(&mut self, series: SeriesAt) {
        match self.at(series.first) {
            Some(at) => self.series[at] = series,
            None => {
                self.series.push(series);
                self.put(series.first, self.series.len() as u32);
            }
        }
    }

    /// Sums the pages of cells.
    fn sum(&mut self, pages: &[PageAt]) -> Read<()> {
        let pages: Vec<&PageAt> = pages.iter().filter(|(_, of, _)| *of != Use::Log).collect();
        self.cells.begin(pages.iter().map(|(_, _, number)| *number))?;
        let mut done = 0;
        while done < pages.len() {
            let start = pages[done].0;
            let run = pages[done..].iter().zip(0..).take_while(|((at, ..), n)| *at == start + n * PAGE as u64).count();
            let run = run.min(64);
            self.buffer.resize(run * PAGE, 0);
            self.file.read_exact_at(&mut self.buffer[..run * PAGE], start).map_err(|e| Fault::of(&e))?;
            for ((_, of, number), page) in pages[done..].iter().zip(self.buffer[..run * PAGE].chunks(PAGE)) {
                self.cells.add(*of, *number, page);
            }
            done += run;
        }
        Ok(())
    }
}

fn word_of(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at * 8..at * 8 + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_ne_bytes)
}
