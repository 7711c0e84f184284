//! Finding the index of an archive, also where its end is damaged, and checking that end.

use std::ops::Range;

use super::frame::Frame;
use super::index::Index;
use super::tail::{
    Fields, Footer, INDEX_HEADER, INDEX_MAGIC, SKIPPABLE_HEADER, Summary, TRAILER_MAGIC, bad_copy, is_skippable,
    parse_copy, parse_payload,
};
use crate::backup::blocks::{Blocks, read_exact};
use crate::backup::manifest::Digest;
use crate::backup::nodes::{Problem, ProblemKind};
use crate::error::{Error, ErrorKind, Result};

/// The first read: the footer, the summary, and in a small archive the index too.
const TAIL_READ: u64 = 64 << 10;
/// How much is searched for an index at a time.
const SEARCH_STEP: u64 = 4 << 20;

/// An index that was found, and how.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) index: Index,
    /// The footer, when it is undamaged.
    pub(super) footer: Option<Footer>,
    /// How many bytes are missing before the index.
    pub(super) missing: u64,
    /// Where the frames end, as written: where the first index copy began.
    pub(super) frames_end: u64,
    /// What was wrong on the way.
    pub(super) problems: Vec<Problem>,
}

/// The last bytes of the archive, and the footer in them.
fn read_tail(blocks: &dyn Blocks) -> Result<(Vec<u8>, Option<Footer>)> {
    let len = blocks.len();
    let tail = read_exact(blocks, len.saturating_sub(TAIL_READ)..len)?;
    // A footer that promises a shorter file is that of another archive, stored inside this one and cut here.
    let footer = Footer::parse(&tail)?.filter(|footer| footer.total >= len);
    Ok((tail, footer))
}

/// Reads the summary. One read when nothing is damaged.
pub(super) fn summary(blocks: &dyn Blocks) -> Result<Summary> {
    let (tail, footer) = read_tail(blocks)?;
    if let Some(footer) = &footer
        && footer.total == blocks.len()
        && let Some(range) = footer.summary()
        && let Ok(bytes) = part(blocks, &tail, range)
        && Digest::of(&bytes) == footer.summary_digest
        && let Ok(summary) = serde_json::from_slice(&bytes)
    {
        return Ok(summary);
    }
    locate(blocks).map(|found| Summary::from(&found.index.manifest))
}

/// Reads `range`, from the tail where it has it.
fn part(blocks: &dyn Blocks, tail: &[u8], range: Range<u64>) -> Result<Vec<u8>> {
    let tail_at = blocks.len() - tail.len() as u64;
    match range.start.checked_sub(tail_at) {
        Some(start) if range.end <= blocks.len() && range.start <= range.end => {
            Ok(tail[start as usize..(range.end - tail_at) as usize].to_vec())
        }
        _ => read_exact(blocks, range),
    }
}

/// Finds an undamaged index: by the footer, else by a search from the end.
pub(super) fn locate(blocks: &dyn Blocks) -> Result<Located> {
    let (tail, footer) = read_tail(blocks)?;
    let mut problems = Vec::new();
    if let Some(footer) = footer {
        let missing = footer.total - blocks.len();
        if missing > 0 {
            problems.push(lost_bytes(missing));
        }
        for (number, (copy, digest)) in footer.copies.iter().zip(&footer.digests).enumerate() {
            let parsed = shifted(copy, missing).and_then(|range| part(blocks, &tail, range)).and_then(|frame| {
                let found = parse_copy(&frame, copy.start)?;
                if found.digest == *digest { found.parse() } else { Err(bad_copy()) }
            });
            match parsed {
                Ok(index) => {
                    let frames_end = footer.copies[0].start;
                    return Ok(Located { index, footer: Some(footer), missing, frames_end, problems });
                }
                // Undamaged, and still not for us: the other copy says the same.
                Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Refused) => return Err(error),
                Err(error) if error.kind() == ErrorKind::Corrupt => problems.push(damaged_copy(number, &error)),
                Err(error) => return Err(error),
            }
        }
    } else {
        problems.push(Problem::of_snapshot(ProblemKind::DamagedTrailer, "the footer is missing or damaged"));
    }
    search(blocks, problems)
}

fn lost_bytes(missing: u64) -> Problem {
    Problem::of_snapshot(ProblemKind::Truncated, format!("{missing} bytes are missing from the middle of the archive"))
}

fn damaged_copy(number: usize, error: &Error) -> Problem {
    let name = ["first", "second"][number.min(1)];
    Problem::of_snapshot(ProblemKind::DamagedIndex, format!("the {name} copy of the index: {}", error.message()))
}

fn shifted(range: &Range<u64>, missing: u64) -> Result<Range<u64>> {
    match (range.start.checked_sub(missing), range.end.checked_sub(missing)) {
        (Some(start), Some(end)) => Ok(start..end),
        _ => Err(bad_copy()),
    }
}

/// Looks for an index copy from the end of the file to its beginning.
fn search(blocks: &dyn Blocks, mut problems: Vec<Problem>) -> Result<Located> {
    let mut end = blocks.len();
    while end > 0 {
        let start = end.saturating_sub(SEARCH_STEP);
        // Overlapping by a magic less one byte, so that none is split.
        let window = read_exact(blocks, start..blocks.len().min(end + INDEX_MAGIC.len() as u64 - 1))?;
        for at in find_all(&window, INDEX_MAGIC).into_iter().rev() {
            if let Some(found) = candidate(blocks, start + at as u64)? {
                let Found { index, missing } = found;
                if missing > 0 && !problems.iter().any(|p| p.kind == ProblemKind::Truncated) {
                    problems.push(lost_bytes(missing));
                }
                let frames_end = index.frames.last().map_or(0, |frame| frame.offset.saturating_add(frame.length));
                return Ok(Located { index, footer: None, missing, frames_end, problems });
            }
        }
        end = start;
    }
    Err(Error::new(ErrorKind::Corrupt, "no undamaged index is in the file: it is no archive, or its end is lost")
        .with_hint("use another snapshot; salvage and `tar --zstd -xf` recover what comes before the damage"))
}

struct Found {
    index: Index,
    /// How far before its place it lies.
    missing: u64,
}

/// Whether the magic at `at` begins an index copy of this archive, and not that of an archive that was backed
/// up into this one: ours lies where it says, or before that when bytes were cut out and its frames prove it.
fn candidate(blocks: &dyn Blocks, at: u64) -> Result<Option<Found>> {
    let len = blocks.len();
    let Some(actual) = at.checked_sub(SKIPPABLE_HEADER as u64) else { return Ok(None) };
    let head = read_exact(blocks, at..len.min(at + INDEX_HEADER as u64))?;
    let mut fields = Fields(head.get(INDEX_HEADER - 8..).unwrap_or_default());
    let Some(end) = fields.u64().and_then(|packed| at.checked_add(INDEX_HEADER as u64)?.checked_add(packed)) else {
        return Ok(None);
    };
    if end > len {
        return Ok(None);
    }
    let payload = read_exact(blocks, at..end)?;
    let copy = match parse_payload(&payload) {
        Ok(copy) => copy,
        Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(None),
        Err(error) => return Err(error),
    };
    if copy.at < actual {
        return Ok(None);
    }
    let index = copy.parse()?;
    let missing = copy.at - actual;
    let proves = |frame: Option<&Frame>, missing: u64| {
        frame.is_some_and(|frame| {
            let range = shifted(&(frame.offset..frame.offset.saturating_add(frame.length)), missing);
            range.and_then(|range| read_exact(blocks, range)).is_ok_and(|bytes| Digest::of(&bytes) == frame.blake3)
        })
    };
    if missing > 0 && !proves(index.frames.first(), 0) && !proves(index.frames.last(), missing) {
        return Ok(None);
    }
    Ok(Some(Found { index, missing }))
}

/// Every offset of `needle` in `hay`.
fn find_all(hay: &[u8], needle: &[u8]) -> Vec<usize> {
    hay.windows(needle.len()).enumerate().filter(|(_, window)| *window == needle).map(|(at, _)| at).collect()
}

/// Checks the whole tail of an archive whose footer is undamaged, every byte of it.
pub(super) fn check(blocks: &dyn Blocks, footer: &Footer) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    let missing = footer.total.saturating_sub(blocks.len());
    for (number, (copy, digest)) in footer.copies.iter().zip(&footer.digests).enumerate() {
        let checked = shifted(copy, missing).and_then(|range| read_exact(blocks, range)).and_then(|frame| {
            let found = parse_copy(&frame, copy.start)?;
            if found.digest == *digest && found.number as usize == number { Ok(()) } else { Err(bad_copy()) }
        });
        match checked {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Corrupt => problems.push(damaged_copy(number, &error)),
            Err(error) => return Err(error),
        }
    }
    let [first, second] = &footer.copies;
    if first.end != second.start || second.end != footer.trailer {
        problems.push(Problem::of_snapshot(ProblemKind::Inconsistent, "the parts behind the frames leave gaps"));
    }
    let broken = |what: &str| Problem::of_snapshot(ProblemKind::DamagedTrailer, what.to_owned());
    let Some(summary) = footer.summary() else {
        problems.push(broken("the footer's numbers contradict each other"));
        return Ok(problems);
    };
    match shifted(&(footer.trailer..summary.end), missing).and_then(|range| read_exact(blocks, range)) {
        Ok(bytes) => {
            let (head, summary) = bytes.split_at(SKIPPABLE_HEADER + TRAILER_MAGIC.len());
            if !is_skippable(head, footer.total - footer.trailer) || &head[SKIPPABLE_HEADER..] != TRAILER_MAGIC {
                problems.push(broken("the trailer's header is damaged"));
            }
            if Digest::of(summary) != footer.summary_digest {
                problems.push(broken("the summary is damaged"));
            }
        }
        Err(error) if error.kind() == ErrorKind::Corrupt => problems.push(broken(error.message())),
        Err(error) => return Err(error),
    }
    Ok(problems)
}
