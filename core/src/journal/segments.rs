//! The segments of a journal: their names, which one is written, which ones go.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Journal;
use crate::error::{Error, Result};
use crate::fs;

/// A file of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Segment {
    /// Its number; a higher one is younger.
    pub number: u64,
    /// Its size, in bytes.
    pub size_bytes: u64,
}

/// Which segments a retention removes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JournalRetention {
    /// The segments that go, oldest first.
    pub remove: Vec<Segment>,
    /// What stays, in bytes.
    pub kept_bytes: u64,
}

/// What each segment looks like, by its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JournalStamp(Vec<(u64, Option<Look>)>);

/// Inode, length and time of change of a file.
type Look = (u64, u64, i64, i64);

pub(super) fn file_name(number: u64) -> String {
    format!("{number:08}.jsonl")
}

/// `00000042.jsonl` as 42. Anything else in the folder is not ours.
fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".jsonl")?;
    let plain = digits.len() >= 8 && digits.bytes().all(|digit| digit.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten().filter(|number| file_name(*number) == name)
}

impl Journal {
    /// Everything that is named like a segment, oldest first, with what is known of it.
    pub(super) fn entries(&self) -> Result<Vec<(u64, Option<std::fs::Metadata>)>> {
        let doing = || format!("read the journal {:?}", self.folder);
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io(doing(), error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| Error::io(doing(), error))?;
            if let Some(number) = entry.file_name().to_str().and_then(number_of) {
                found.push((number, entry.metadata().ok()));
            }
        }
        found.sort_by_key(|(number, _)| *number);
        Ok(found)
    }

    pub(super) fn path_of(&self, number: u64) -> PathBuf {
        self.folder.join(file_name(number))
    }

    /// The segment that the next record goes to. Several processes may come to the same answer, or one of
    /// them to an older one: each writes to a segment that readers look at.
    pub(super) fn segment_to_append(&self) -> Result<u64> {
        Ok(match self.entries()?.last() {
            None => 1,
            Some((number, Some(meta))) if meta.is_file() && meta.len() < self.segment_bytes => *number,
            Some((number, _)) => number + 1,
        })
    }

    /// What the journal looks like from outside: equal to an earlier one as long as nothing was written or removed.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) fn stamp(&self) -> Result<JournalStamp> {
        let look = |(number, meta): (u64, Option<std::fs::Metadata>)| {
            let meta = meta.map(|meta| (meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()));
            (number, meta)
        };
        Ok(JournalStamp(self.entries()?.into_iter().map(look).collect()))
    }

    /// Plans to bring the journal down to `max_bytes`. The oldest segments go first; the youngest never goes.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn plan_retention(&self, max_bytes: u64) -> Result<JournalRetention> {
        let mut segments: Vec<Segment> = self
            .entries()?
            .into_iter()
            .filter_map(|(number, meta)| Some((number, meta.filter(std::fs::Metadata::is_file)?)))
            .map(|(number, meta)| Segment { number, size_bytes: meta.len() })
            .collect();
        let mut kept_bytes: u64 = segments.iter().map(|segment| segment.size_bytes).sum();
        let mut gone = 0;
        while kept_bytes > max_bytes && gone + 1 < segments.len() {
            kept_bytes -= segments[gone].size_bytes;
            gone += 1;
        }
        segments.truncate(gone);
        Ok(JournalRetention { remove: segments, kept_bytes })
    }

    /// Removes what the plan says. A segment that is gone already is no error.
    ///
    /// # Errors
    /// What [`crate::fs`] says; the segments before the failing one are removed.
    pub fn apply_retention(&self, plan: &JournalRetention) -> Result<()> {
        for segment in &plan.remove {
            fs::remove_file(&self.path_of(segment.number))?;
        }
        if plan.remove.is_empty() { Ok(()) } else { fs::sync_dir(&self.folder) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_segments_are_segments() {
        for (name, number) in [
            ("00000001.jsonl", Some(1)),
            ("123456789.jsonl", Some(123_456_789)),
            ("000000001.jsonl", None),
            ("1.jsonl", None),
            ("+0000001.jsonl", None),
            ("00000001.jsonl.gz", None),
            ("99999999999999999999999.jsonl", None),
            (".jsonl", None),
        ] {
            assert_eq!(number_of(name), number, "{name}");
        }
    }
}
