//! Reads the end of a log, remembers how far, and follows it through rotation.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::line::{Level, Line, Time};
use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// No more than this is read at once, back from the end.
const MAX_READ: u64 = 4 << 20;
/// What is longer than this is not parsed to its end.
const MAX_LINE: usize = 64 << 10;
/// How many bytes before the remembered offset are compared, to notice that a file was written anew.
const MARK: usize = 256;
/// A time may be this far in the future before it counts as now.
const SLACK_SECONDS: i64 = 300;

/// What was logged in the window.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Tally {
    pub errors: u64,
    pub criticals: u64,
    pub newest: Option<Timestamp>,
    /// Not all of the window was read: there may be more.
    pub cut: bool,
    /// Errors without a time that were there at the first look.
    pub undated: u64,
    /// The log's times lie this many hours beside the file's own: they are in another zone.
    pub zone_differs_hours: Option<f64>,
}

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub(super) struct Tail {
    at: Option<Place>,
    /// Errors by their second, as far as they may still be in the window.
    seconds: BTreeMap<i64, Count>,
    /// Whether the log's lines carry times.
    dated: bool,
    undated: u64,
    /// What lies before this second may not have been read.
    read_since: Option<i64>,
    /// The last line's time, when it did not tell its zone.
    last_local: Option<i64>,
}

/// How far a file was read.
#[derive(Debug, Clone, PartialEq)]
struct Place {
    identity: (u64, u64),
    offset: u64,
    mark: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    errors: u64,
    criticals: u64,
}

/// What a look needs to know beside the file.
struct View<'a> {
    zone: &'a TimeZone,
    now: i64,
    since: i64,
    /// Whether lines without a time are new, and so count as of now.
    fresh: bool,
}

impl Tail {
    /// Reads what is new, and adds up the window of `window` seconds that ends `now`.
    pub(super) fn look(&mut self, path: &Path, zone: &TimeZone, now: Timestamp, window: i64) -> Result<Tally> {
        let (file, meta) = open(path)?;
        let now = now.as_second();
        let mut view = View { zone, now, since: now - window, fresh: true };
        let identity = (meta.dev(), meta.ino());
        match self.at.take() {
            Some(place) if place.identity == identity && place.still_holds(&file, meta.len()) => {
                self.read(&file, place.offset..meta.len(), MAX_READ, &view, path)?;
            }
            Some(place) => {
                // Rotated: the rest of the old file, wherever it is now, and then all of the new one.
                let old = siblings(path).into_iter().find(|old| (old.1.dev(), old.1.ino()) == place.identity);
                if let Some((old_path, _)) = old
                    && let Ok((old, old_meta)) = open(&old_path)
                    && place.still_holds(&old, old_meta.len())
                {
                    self.read(&old, place.offset..old_meta.len(), MAX_READ, &view, &old_path)?;
                }
                self.read(&file, 0..meta.len(), MAX_READ, &view, path)?;
            }
            None => {
                // Everything is read again, also after a look that failed half-way.
                *self = Self::default();
                view.fresh = false;
                // A log that was rotated lately begins in the newest of its predecessors.
                let room = MAX_READ.saturating_sub(meta.len());
                let before = siblings(path).into_iter().filter(|old| old.1.mtime() >= view.since);
                if let (true, Some((old_path, _))) = (room > 0, before.max_by_key(|old| old.1.mtime()))
                    && let Ok((old, old_meta)) = open(&old_path)
                {
                    self.read(&old, 0..old_meta.len(), room, &view, &old_path)?;
                }
                self.read(&file, 0..meta.len(), MAX_READ, &view, path)?;
            }
        }
        self.seconds = self.seconds.split_off(&view.since);
        Ok(self.tally(&meta, &view))
    }

    fn tally(&self, meta: &Metadata, view: &View<'_>) -> Tally {
        let mut tally = Tally { undated: if self.dated { 0 } else { self.undated }, ..Tally::default() };
        for count in self.seconds.values() {
            tally.errors += count.errors;
            tally.criticals += count.criticals;
        }
        let newest = self.seconds.last_key_value().and_then(|(second, _)| Timestamp::from_second(*second).ok());
        tally.newest = newest;
        tally.cut = self.read_since.is_some_and(|since| since > view.since);
        // The file's own time is that of the last line. A difference of whole half hours is a zone, not a delay.
        let off = self.last_local.map_or(0, |last| meta.mtime() - last);
        let halves = (off as f64 / 1800.0).round();
        if halves != 0.0 && (off as f64 - halves * 1800.0).abs() <= 60.0 && off.abs() <= 14 * 3600 {
            tally.zone_differs_hours = Some(halves / 2.0);
        }
        tally
    }

    /// Reads `span`, which begins with a line, or the last `most` bytes of it, and remembers where the last whole
    /// line ended.
    fn read(&mut self, file: &File, span: Range<u64>, most: u64, view: &View<'_>, path: &Path) -> Result<()> {
        let (start, to) = (span.start.max(span.end.saturating_sub(most)), span.end);
        let cut = start > span.start;
        let mut lines = Lines { whole: !cut, buffer: Vec::new(), end: start, first: None };
        let mut block = vec![0_u8; 64 << 10];
        let mut at = start;
        while at < to {
            let want = block.len().min(usize::try_from(to - at).unwrap_or(usize::MAX));
            let read = match file.read_at(&mut block[..want], at) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::io(format!("read {path:?}"), error)),
            };
            for part in block[..read].split_inclusive(|byte| *byte == b'\n') {
                at += part.len() as u64;
                if let Some(line) = lines.push(part, at) {
                    let second = self.take(&line, view);
                    lines.first = lines.first.or(second);
                }
            }
        }
        if cut {
            // Nothing is known of what was logged before the first line that was read.
            let since = lines.first.unwrap_or(view.now);
            self.read_since = self.read_since.max(Some(since));
        }
        let offset = lines.end;
        let mark = mark(file, offset).map_err(|error| Error::io(format!("read {path:?}"), error))?;
        let meta = file.metadata().map_err(|error| Error::io(format!("look at {path:?}"), error))?;
        self.at = Some(Place { identity: (meta.dev(), meta.ino()), offset, mark });
        Ok(())
    }

    /// Counts a line; returns the second of its own time.
    fn take(&mut self, line: &[u8], view: &View<'_>) -> Option<i64> {
        let line = Line::parse(&String::from_utf8_lossy(line));
        let own = line.time.map(|time| {
            let second = view.second(time);
            self.last_local = matches!(time, Time::Local(_)).then_some(second);
            self.dated = true;
            second
        });
        let count = |count: &mut Count| match line.level {
            Some(Level::Critical) => count.criticals += 1,
            Some(Level::Error) => count.errors += 1,
            _ => {}
        };
        if matches!(line.level, Some(Level::Error | Level::Critical)) {
            match own {
                Some(second) if second >= view.since => {
                    // What is dated in the future happened by now.
                    count(self.seconds.entry(second.min(view.now)).or_default());
                }
                Some(_) => {}
                // Part of the line before it.
                None if self.dated => {}
                None if view.fresh => count(self.seconds.entry(view.now).or_default()),
                None => self.undated += 1,
            }
        }
        own
    }
}

impl View<'_> {
    fn second(&self, time: Time) -> i64 {
        let local = match time {
            Time::Zoned(moment) => return moment.as_second(),
            Time::Local(local) => local,
        };
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        // An hour that the clocks went through twice: the later one, unless that is still to come.
        let later = ambiguous.later().map(|moment| moment.as_second());
        match (later, ambiguous.earlier()) {
            (Ok(later), _) if later <= self.now + SLACK_SECONDS => later,
            (_, Ok(earlier)) => earlier.as_second(),
            (Ok(later), Err(_)) => later,
            (Err(_), Err(_)) => i64::MIN,
        }
    }
}

impl Place {
    /// Whether the file still begins with what was read, and so was neither truncated nor written anew.
    fn still_holds(&self, file: &File, len: u64) -> bool {
        len >= self.offset && mark(file, self.offset).is_ok_and(|mark| mark == self.mark)
    }
}

/// The bytes just before `offset`.
fn mark(file: &File, offset: u64) -> io::Result<Vec<u8>> {
    let len = offset.min(MARK as u64);
    let mut mark = vec![0_u8; usize::try_from(len).unwrap_or(MARK)];
    file.read_exact_at(&mut mark, offset - len)?;
    Ok(mark)
}

/// Puts lines together from blocks.
struct Lines {
    /// Whether the line at hand began where we began to read it.
    whole: bool,
    buffer: Vec<u8>,
    /// Where the last whole line ended.
    end: u64,
    first: Option<i64>,
}

impl Lines {
    /// Takes a part that ends at `at`; returns the line that it completes.
    fn push(&mut self, part: &[u8], at: u64) -> Option<Vec<u8>> {
        let room = MAX_LINE.saturating_sub(self.buffer.len());
        self.buffer.extend_from_slice(&part[..part.len().min(room)]);
        if part.last() != Some(&b'\n') {
            return None;
        }
        self.end = at;
        let line = std::mem::take(&mut self.buffer);
        std::mem::replace(&mut self.whole, true).then_some(line)
    }
}

fn open(path: &Path) -> Result<(File, Metadata)> {
    // A FIFO or a device under the log's name must not block the open.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|error| Error::io(format!("open the log {path:?}"), error))?;
    let meta = file.metadata().map_err(|error| Error::io(format!("look at {path:?}"), error))?;
    if !meta.is_file() {
        return Err(Error::invalid(format!("{path:?} is not a log file")).with_hint("correct `path` of the check"));
    }
    Ok((file, meta))
}

/// The files beside a log whose names begin with its own and go on with a dot or hyphen (`.1`, `.20251028`,
/// `-20251028`), compressed ones left out.
fn siblings(path: &Path) -> Vec<(PathBuf, Metadata)> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let rotated = |other: &str| {
        let rest = other.strip_prefix(name)?;
        let compressed = [".gz", ".zst", ".xz", ".bz2"].iter().any(|suffix| other.ends_with(suffix));
        (rest.starts_with(['.', '-']) && !compressed).then_some(())
    };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            rotated(entry.file_name().to_str()?)?;
            let meta = entry.metadata().ok()?;
            meta.is_file().then(|| (entry.path(), meta))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_failed_half_way_counts_nothing_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "2025-10-28T10:29:00Z ERROR x: y\n".repeat(3)).unwrap();
        let now = "2025-10-28T10:30:00Z".parse().unwrap();
        let mut tail = Tail::default();
        for _ in 0..2 {
            assert_eq!(tail.look(&path, &TimeZone::UTC, now, 3600).unwrap().errors, 3);
            // An error between taking the place and putting the next one leaves none.
            tail.at = None;
        }
    }
}
