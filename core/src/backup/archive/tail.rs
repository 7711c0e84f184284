//! The end of an archive: two copies of the index, the summary, the footer.
//!
//! Each of the three is a zstd skippable frame (RFC 8878, 3.1.2), which `zstd` passes over. All numbers are
//! little-endian.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::blocks::{Blocks, read_exact};
use super::frame::Digest;
use super::index::{Index, PackedIndex, check_version};
use super::problem::{Problem, ProblemKind};
use crate::backup::manifest::{FORMAT, Manifest, Outcome};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// The first four bytes of our skippable frames; zstd reserves 16 such numbers.
const SKIPPABLE: u32 = 0x184D_2A5B;
/// A skippable frame's own header: its number and its payload's length.
const SKIPPABLE_HEADER: usize = 8;
/// What the payload of an index copy begins with, and what a search looks for.
pub(super) const INDEX_MAGIC: &[u8; 16] = b"\x89UPOPS-INDEX\r\n\x1a\n";
/// What the payload of the trailer begins with.
const TRAILER_MAGIC: &[u8; 16] = b"\x89UPOPS-TRAIL\r\n\x1a\n";
/// The last bytes of an archive.
const FOOTER_MAGIC: &[u8; 8] = b"\x89UPOPSF\n";
/// Magic, digest, version, copy, frame's offset, text length, packed length.
const INDEX_HEADER: usize = 16 + 32 + 4 + 4 + 8 + 8 + 8;
/// The footer's length in version 1.
pub(super) const FOOTER_LEN: usize = 200;
/// Its last part, whose place and meaning no version changes: digest, version, length, magic.
const FOOTER_END: usize = 48;
/// The first read: the footer, the summary, and in a small archive the index too.
const TAIL_READ: u64 = 64 << 10;
/// How much is searched for an index at a time.
const SEARCH_STEP: u64 = 4 << 20;

/// A snapshot in a list. Costs one small read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// The version of the format.
    pub format: u32,
    /// The snapshot's identifier: 12 hexadecimal digits.
    pub snapshot_id: String,
    /// The service's name.
    pub service: String,
    /// The service's version, when it is known.
    pub service_version: Option<String>,
    /// The name of the machine it was made on.
    pub host: String,
    /// The version of `uplifted-ops` that made it.
    pub made_by: String,
    /// What the caller called it.
    pub label: Option<String>,
    /// When the backup began.
    #[schemars(with = "String")]
    pub time: Timestamp,
    /// Whether everything was read completely.
    pub outcome: Outcome,
    /// Regular files, hard links included.
    pub files: u64,
    /// Entries of every kind.
    pub entries: u64,
    /// Bytes of the files' content.
    pub size_bytes: u64,
    /// How many things were skipped.
    pub skipped: u64,
    /// How many databases are in it.
    pub stores: u64,
}

impl From<&Manifest> for Summary {
    fn from(manifest: &Manifest) -> Self {
        Self {
            format: manifest.format,
            snapshot_id: manifest.snapshot_id.clone(),
            service: manifest.service.clone(),
            service_version: manifest.service_version.clone(),
            host: manifest.host.clone(),
            made_by: manifest.made_by.clone(),
            label: manifest.label.clone(),
            time: manifest.time,
            outcome: manifest.outcome,
            files: manifest.files,
            entries: manifest.entries,
            size_bytes: manifest.size_bytes,
            skipped: manifest.skipped.len() as u64,
            stores: manifest.stores.len() as u64,
        }
    }
}

/// The footer: where the other parts of the tail are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Footer {
    /// The skippable frames of the two index copies.
    pub(super) copies: [Range<u64>; 2],
    /// The digests that the copies carry.
    pub(super) digests: [Digest; 2],
    /// Where the trailer's skippable frame begins. It ends with the file.
    pub(super) trailer: u64,
    /// The length of the summary.
    pub(super) summary_len: u64,
    pub(super) summary_digest: Digest,
    /// The length of the whole file.
    pub(super) total: u64,
}

/// Everything behind the frames, in order, for an archive whose frames end at `frames_end`.
pub(super) fn build(index: &PackedIndex, summary: &Summary, frames_end: u64) -> Result<[Vec<u8>; 3]> {
    let first = index_copy(index, 0, frames_end)?;
    let second_at = frames_end + first.len() as u64;
    let second = index_copy(index, 1, second_at)?;
    let trailer_at = second_at + second.len() as u64;
    let summary =
        serde_json::to_vec(summary).map_err(|e| Error::internal(format!("the summary cannot be written: {e}")))?;
    let payload = TRAILER_MAGIC.len() + summary.len() + FOOTER_LEN;
    let mut trailer = skippable(payload)?;
    trailer.extend_from_slice(TRAILER_MAGIC);
    trailer.extend_from_slice(&summary);
    let footer = Footer {
        copies: [frames_end..second_at, second_at..trailer_at],
        digests: [copy_digest(&first), copy_digest(&second)],
        trailer: trailer_at,
        summary_len: summary.len() as u64,
        summary_digest: Digest::of(&summary),
        total: trailer_at + (SKIPPABLE_HEADER + payload) as u64,
    };
    trailer.extend_from_slice(&footer.encode());
    Ok([first, second, trailer])
}

fn index_copy(index: &PackedIndex, copy: u32, at: u64) -> Result<Vec<u8>> {
    let mut rest = Vec::with_capacity(INDEX_HEADER + index.bytes.len());
    rest.extend_from_slice(&FORMAT.to_le_bytes());
    rest.extend_from_slice(&copy.to_le_bytes());
    rest.extend_from_slice(&at.to_le_bytes());
    rest.extend_from_slice(&index.text_len.to_le_bytes());
    rest.extend_from_slice(&(index.bytes.len() as u64).to_le_bytes());
    rest.extend_from_slice(&index.bytes);
    let digest = Digest::of(&rest);
    let mut frame = skippable(INDEX_MAGIC.len() + digest.0.len() + rest.len())?;
    frame.extend_from_slice(INDEX_MAGIC);
    frame.extend_from_slice(&digest.0);
    frame.append(&mut rest);
    Ok(frame)
}

fn copy_digest(copy: &[u8]) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(&copy[SKIPPABLE_HEADER + 16..SKIPPABLE_HEADER + 48]);
    Digest(digest)
}

/// A skippable frame without its payload, with room for it.
fn skippable(payload: usize) -> Result<Vec<u8>> {
    let len = u32::try_from(payload)
        .map_err(|_| Error::new(ErrorKind::Unsupported, "the index of the archive exceeds 4 GiB"))?;
    let mut frame = Vec::with_capacity(SKIPPABLE_HEADER + payload);
    frame.extend_from_slice(&SKIPPABLE.to_le_bytes());
    frame.extend_from_slice(&len.to_le_bytes());
    Ok(frame)
}

/// Whether `header` begins a skippable frame of ours that is `len` bytes long in all.
fn is_skippable(header: &[u8], len: u64) -> bool {
    let mut numbers = Fields(header);
    numbers.u32() == Some(SKIPPABLE) && numbers.u32().map(|n| u64::from(n) + SKIPPABLE_HEADER as u64) == Some(len)
}

impl Footer {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FOOTER_LEN);
        let [first, second] = &self.copies;
        for number in [
            first.start,
            first.end - first.start,
            second.start,
            second.end - second.start,
            self.trailer,
            self.summary_len,
            self.total,
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for digest in [&self.digests[0], &self.digests[1], &self.summary_digest] {
            bytes.extend_from_slice(&digest.0);
        }
        let mut end = FORMAT.to_le_bytes().to_vec();
        end.extend_from_slice(&(FOOTER_LEN as u32).to_le_bytes());
        end.extend_from_slice(FOOTER_MAGIC);
        let digest = Digest::of(&[bytes.as_slice(), &end].concat());
        bytes.extend_from_slice(&digest.0);
        bytes.append(&mut end);
        bytes
    }

    /// Reads the footer at the end of `tail`. `None` when it is missing or damaged.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for an undamaged footer of a later version.
    fn parse(tail: &[u8]) -> Result<Option<Self>> {
        let Some(end) = tail.len().checked_sub(FOOTER_END).map(|at| &tail[at..]) else { return Ok(None) };
        let (digest, end) = end.split_at(32);
        let mut fields = Fields(end);
        let (Some(version), Some(len)) = (fields.u32(), fields.u32()) else { return Ok(None) };
        let len = len as usize;
        if fields.0 != FOOTER_MAGIC || len < FOOTER_END || len > tail.len() {
            return Ok(None);
        }
        let body = &tail[tail.len() - len..tail.len() - FOOTER_END];
        if Digest::of(&[body, end].concat()).0 != *digest {
            return Ok(None);
        }
        check_version(version)?;
        let mut fields = Fields(body);
        let numbers: Option<Vec<u64>> = (0..7).map(|_| fields.u64()).collect();
        let digests: Option<Vec<Digest>> = (0..3).map(|_| fields.digest()).collect();
        let (Some(numbers), Some(digests)) = (numbers, digests) else { return Ok(None) };
        let range = |at: usize| Some(numbers[at]..numbers[at].checked_add(numbers[at + 1])?);
        let (Some(first), Some(second)) = (range(0), range(2)) else { return Ok(None) };
        Ok(Some(Self {
            copies: [first, second],
            digests: [digests[0], digests[1]],
            trailer: numbers[4],
            summary_len: numbers[5],
            summary_digest: digests[2],
            total: numbers[6],
        }))
    }

    /// Where the summary lies, when the footer's own numbers agree.
    fn summary(&self) -> Option<Range<u64>> {
        let start = self.trailer.checked_add((SKIPPABLE_HEADER + TRAILER_MAGIC.len()) as u64)?;
        let end = start.checked_add(self.summary_len)?;
        (end.checked_add(FOOTER_LEN as u64)? == self.total).then_some(start..end)
    }
}

/// Little-endian fields, taken from the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn digest(&mut self) -> Option<Digest> {
        self.take().map(Digest)
    }
}

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
        problems.push(Problem::of_archive(ProblemKind::DamagedTrailer, "the footer is missing or damaged"));
    }
    search(blocks, problems)
}

fn lost_bytes(missing: u64) -> Problem {
    Problem::of_archive(ProblemKind::Truncated, format!("{missing} bytes are missing from the middle of the archive"))
}

fn damaged_copy(number: usize, error: &Error) -> Problem {
    let name = ["first", "second"][number.min(1)];
    Problem::of_archive(ProblemKind::DamagedIndex, format!("the {name} copy of the index: {}", error.message()))
}

fn bad_copy() -> Error {
    Error::new(ErrorKind::Corrupt, "the copy of the index is damaged")
}

fn shifted(range: &Range<u64>, missing: u64) -> Result<Range<u64>> {
    match (range.start.checked_sub(missing), range.end.checked_sub(missing)) {
        (Some(start), Some(end)) => Ok(start..end),
        _ => Err(bad_copy()),
    }
}

/// An index copy whose digest is right.
struct Copy<'a> {
    digest: Digest,
    number: u32,
    /// Where its skippable frame began when it was written.
    at: u64,
    text_len: u64,
    packed: &'a [u8],
}

impl Copy<'_> {
    fn parse(&self) -> Result<Index> {
        Index::parse(self.packed, self.text_len)
    }
}

/// Reads the skippable frame of an index copy that belongs at `at`.
fn parse_copy(frame: &[u8], at: u64) -> Result<Copy<'_>> {
    if !is_skippable(frame, frame.len() as u64) {
        return Err(bad_copy());
    }
    let copy = parse_payload(&frame[SKIPPABLE_HEADER..])?;
    if copy.at == at && copy.packed.len() + INDEX_HEADER + SKIPPABLE_HEADER == frame.len() {
        Ok(copy)
    } else {
        Err(bad_copy())
    }
}

/// Reads the payload of an index copy, which may be followed by other bytes.
fn parse_payload(payload: &[u8]) -> Result<Copy<'_>> {
    let mut fields = Fields(payload);
    let magic = fields.take::<16>();
    let digest = fields.digest();
    let covered = fields.0;
    let (Some(version), Some(number), Some(at)) = (fields.u32(), fields.u32(), fields.u64()) else {
        return Err(bad_copy());
    };
    let (Some(text_len), Some(len), Some(digest)) = (fields.u64(), fields.u64(), digest) else {
        return Err(bad_copy());
    };
    let packed = usize::try_from(len).ok().and_then(|len| fields.0.get(..len)).ok_or_else(bad_copy)?;
    let covered = &covered[..covered.len() - fields.0.len() + packed.len()];
    if magic.as_ref() != Some(INDEX_MAGIC) || Digest::of(covered) != digest {
        return Err(bad_copy());
    }
    check_version(version)?;
    Ok(Copy { digest, number, at, text_len, packed })
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
    let proves = |frame: Option<&super::frame::Frame>, missing: u64| {
        frame.is_some_and(|frame| {
            let range = shifted(&(frame.offset..frame.offset.saturating_add(frame.length)), missing);
            range
                .and_then(|range| read_exact(blocks, range))
                .is_ok_and(|bytes| Digest::of(&bytes) == frame.blake3)
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
        problems.push(Problem::of_archive(ProblemKind::Inconsistent, "the parts behind the frames leave gaps"));
    }
    let broken = |what: &str| Problem::of_archive(ProblemKind::DamagedTrailer, what.to_owned());
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
