//! The end of an archive: two copies of the index, the summary, the footer.
//!
//! Each of the three is a zstd skippable frame (RFC 8878, 3.1.2), which `zstd` passes over. All numbers are
//! little-endian. [`super::locate`] finds its way in it.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::index::{Index, PackedIndex, check_version};
use crate::backup::manifest::{Digest, FORMAT, Manifest, Outcome};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// The first four bytes of our skippable frames; zstd reserves 16 such numbers.
const SKIPPABLE: u32 = 0x184D_2A5B;
/// A skippable frame's own header: its number and its payload's length.
pub(super) const SKIPPABLE_HEADER: usize = 8;
/// What the payload of an index copy begins with, and what a search looks for.
pub(super) const INDEX_MAGIC: &[u8; 16] = b"\x89UPOPS-INDEX\r\n\x1a\n";
/// What the payload of the trailer begins with.
pub(super) const TRAILER_MAGIC: &[u8; 16] = b"\x89UPOPS-TRAIL\r\n\x1a\n";
/// The last bytes of an archive.
const FOOTER_MAGIC: &[u8; 8] = b"\x89UPOPSF\n";
/// Magic, digest, version, copy, frame's offset, text length, packed length.
pub(super) const INDEX_HEADER: usize = 16 + 32 + 4 + 4 + 8 + 8 + 8;
/// The footer's length in version 1.
pub(super) const FOOTER_LEN: usize = 200;
/// Its last part, whose place and meaning no version changes: digest, version, length, magic.
const FOOTER_END: usize = 48;

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
    /// The tags that the caller gave it, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// When the backup began.
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
            tags: manifest.tags.clone(),
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
pub(super) fn is_skippable(header: &[u8], len: u64) -> bool {
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
    pub(super) fn parse(tail: &[u8]) -> Result<Option<Self>> {
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
    pub(super) fn summary(&self) -> Option<Range<u64>> {
        let start = self.trailer.checked_add((SKIPPABLE_HEADER + TRAILER_MAGIC.len()) as u64)?;
        let end = start.checked_add(self.summary_len)?;
        (end.checked_add(FOOTER_LEN as u64)? == self.total).then_some(start..end)
    }
}

/// Little-endian fields, taken from the front.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn digest(&mut self) -> Option<Digest> {
        self.take().map(Digest)
    }
}

/// An index copy whose digest is right.
pub(super) struct Copy<'a> {
    pub(super) digest: Digest,
    pub(super) number: u32,
    /// Where its skippable frame began when it was written.
    pub(super) at: u64,
    text_len: u64,
    packed: &'a [u8],
}

impl Copy<'_> {
    pub(super) fn parse(&self) -> Result<Index> {
        Index::parse(self.packed, self.text_len)
    }
}

/// Reads the skippable frame of an index copy that belongs at `at`.
pub(super) fn parse_copy(frame: &[u8], at: u64) -> Result<Copy<'_>> {
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
pub(super) fn parse_payload(payload: &[u8]) -> Result<Copy<'_>> {
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

pub(super) fn bad_copy() -> Error {
    Error::new(ErrorKind::Corrupt, "the copy of the index is damaged")
}
