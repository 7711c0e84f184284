//! Reading the journal: filtered, from either end, past whatever is damaged.

use std::fs::File;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lines::{Line, Lines};
use super::record::{self, Record};
use super::{Journal, segments};
use crate::clock::Timestamp;
use crate::error::Result;

/// A page is closed when its records take about this much memory, in bytes of their lines.
const PAGE_BYTES: usize = 16 << 20;

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// Records from this time on.
    pub since: Option<Timestamp>,
    /// Records before this time.
    pub until: Option<Timestamp>,
    /// Records of these operations; of all when empty.
    pub operations: Vec<String>,
    /// At most so many records.
    pub limit: usize,
    /// Whether the newest come first. Records are ordered as they were written, whatever the clock said.
    pub newest_first: bool,
}

impl Default for Query {
    /// The newest hundred.
    fn default() -> Self {
        Self { since: None, until: None, operations: Vec::new(), limit: 100, newest_first: true }
    }
}

impl Query {
    fn wants(&self, record: &Record) -> bool {
        self.since.is_none_or(|since| record.time >= since)
            && self.until.is_none_or(|until| record.time < until)
            && (self.operations.is_empty() || self.operations.contains(&record.operation))
    }
}

/// What was read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JournalPage {
    /// The records, in the order asked for.
    pub records: Vec<Record>,
    /// Lines that were met and could not be read: torn by a crash, or damaged.
    pub damaged_lines: u64,
    /// Segments that were met and could not be read, or not to their end, with the reason.
    #[serde(default)]
    pub unreadable_segments: Vec<String>,
    /// Whether there is more than the limit, or than a page holds.
    #[serde(default)]
    pub more: bool,
}

impl Journal {
    /// Reads the records that `query` asks for. A journal that does not exist yet is empty.
    ///
    /// What is damaged is counted in the page, as far as the reading went, and is no error.
    ///
    /// # Errors
    /// When the folder itself cannot be read.
    pub fn read(&self, query: &Query) -> Result<JournalPage> {
        let mut page = JournalPage::default();
        let mut bytes = 0;
        let (damaged_lines, unreadable_segments) = self.scan(query.newest_first, |record, len| {
            if !query.wants(&record) {
                return true;
            }
            if page.records.len() >= query.limit || (bytes + len > PAGE_BYTES && !page.records.is_empty()) {
                page.more = true;
                return false;
            }
            bytes += len;
            page.records.push(record);
            true
        })?;
        page.damaged_lines = damaged_lines;
        page.unreadable_segments = unreadable_segments;
        Ok(page)
    }

    /// The newest record of `operation` that `accept` takes.
    ///
    /// # Errors
    /// When the folder itself cannot be read.
    pub fn last(&self, operation: &str, accept: impl Fn(&Record) -> bool) -> Result<Option<Record>> {
        let mut last = None;
        self.scan(true, |record, _| {
            let found = record.operation == operation && accept(&record);
            if found {
                last = Some(record);
            }
            !found
        })?;
        Ok(last)
    }

    /// Gives every readable record, with its length, to `take` until that says no. Returns how many lines
    /// were damaged and which segments unreadable.
    fn scan(&self, newest_first: bool, mut take: impl FnMut(Record, usize) -> bool) -> Result<(u64, Vec<String>)> {
        let mut damaged = 0;
        let mut unreadable = Vec::new();
        let mut entries = self.entries()?;
        if newest_first {
            entries.reverse();
        }
        for (number, meta) in entries {
            // Looked at before it is opened: a FIFO would block.
            let opened = match meta {
                Some(meta) if !meta.is_file() => Err(std::io::Error::other("it is not a regular file")),
                _ => File::open(self.path_of(number)).and_then(|file| Lines::new(file, newest_first)),
            };
            let mut lines = match opened {
                Ok(lines) => lines,
                // Removed by a retention since the look.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    unreadable.push(format!("{}: {error}", segments::file_name(number)));
                    continue;
                }
            };
            loop {
                match lines.next() {
                    Ok(Some(Line::Whole(line))) => {
                        let mut records = Vec::new();
                        damaged += salvage(&line, &mut records);
                        if newest_first {
                            records.reverse();
                        }
                        for (record, len) in records {
                            if !take(record, len) {
                                return Ok((damaged, unreadable));
                            }
                        }
                    }
                    Ok(Some(Line::TooLong)) => damaged += 1,
                    Ok(None) => break,
                    Err(error) => {
                        unreadable.push(format!("{}: {error}", segments::file_name(number)));
                        break;
                    }
                }
            }
        }
        Ok((damaged, unreadable))
    }
}

/// The records in a line: one; or, where a tear or a lost line end glued several together, those that are
/// whole. Returns 1 when something in the line is damaged.
fn salvage(line: &[u8], records: &mut Vec<(Record, usize)>) -> u64 {
    if let Some(record) = record::decode(line) {
        records.push((record, line.len()));
        return 0;
    }
    let starts: Vec<usize> = line
        .windows(record::START.len())
        .enumerate()
        .filter(|(_, part)| *part == record::START)
        .map(|(at, _)| at)
        .collect();
    // Where a record ends: at the line's, at the beginning of another, or one byte (the damaged line end)
    // before it. Not every beginning is one, since a record may hold an object that looks like it.
    let mut done = 0;
    for (index, &start) in starts.iter().enumerate() {
        if start < done {
            continue;
        }
        let next = starts[index + 1..].iter().take(16).flat_map(|&next| [next, next - 1]);
        let whole = next.chain([line.len()]).find_map(|end| Some((record::decode(line.get(start..end)?)?, end)));
        if let Some((record, end)) = whole {
            records.push((record, end - start));
            done = end;
        }
    }
    1
}
