//! The rules that an index must meet before a single byte is written.
//!
//! An archive may have been made by anybody. So names that lead elsewhere, entries below what is no folder,
//! maps that overlap, offsets that contradict each other and sizes beyond the limits refuse the archive as a
//! whole, whichever of its files are wanted.

use std::cmp::Ordering;

use super::frame::{Frame, MAX_FRAME};
use super::layout::{BLOCK, END_LEN, padded, restored_len, stored_len};
use super::problem::{Problem, ProblemKind};
use super::tar;
use crate::backup::manifest::{Entry, Manifest, Node, RelPath};
use crate::error::{Error, Result};

/// The most data parts of a sparse file: see [`fit_parts`](super::fit_parts).
pub const MAX_PARTS: usize = 1 << 16;

/// The longest name of one file, in bytes (`NAME_MAX`).
const MAX_NAME: usize = 255;
/// The longest path, in bytes (`PATH_MAX` without its NUL).
const MAX_PATH: usize = 4095;
/// The longest value of an attribute, in bytes (`XATTR_SIZE_MAX`).
const MAX_XATTR: usize = 64 << 10;
/// `(uid_t) -1` means "leave it" to chown(2), and is nobody's number.
const NO_ID: u32 = u32::MAX;
/// How many problems are worth naming.
const MAX_PROBLEMS: usize = 1_000;
/// Below this much content, in bytes, no compression ratio is suspicious.
const RATIO_FLOOR: u64 = 64 << 20;

/// What an extraction may at most make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries in the archive.
    pub max_entries: u64,
    /// Bytes of stored content in the archive; holes of sparse files take no space and do not count.
    pub max_bytes: u64,
    /// Bytes of stored content for each byte of the archive, looked at from 64 MiB of content.
    pub max_ratio: u64,
}

impl Default for Limits {
    /// 10,000,000 entries, any number of bytes (the caller knows the free space), and a ratio of 5,000: zstd
    /// reaches about 30,000 on zeros alone.
    fn default() -> Self {
        Self { max_entries: 10_000_000, max_bytes: u64::MAX, max_ratio: 5_000 }
    }
}

/// An index under examination.
pub(super) struct Suspect<'a> {
    pub(super) entries: &'a [Entry],
    pub(super) frames: &'a [Frame],
    /// `None` when the index is lost and was rebuilt from the stream: then there are no checksums and no counts
    /// to hold against it, and the stream may end anywhere.
    pub(super) manifest: Option<&'a Manifest>,
    /// Where the frames end in the file, as written.
    pub(super) frames_end: u64,
    /// The archive's length.
    pub(super) stored: u64,
}

/// The entries' numbers in the order of their names: a folder comes directly before all that is below it.
pub(super) type Order = Vec<u32>;

/// The order of [`Order`].
pub(super) fn compare(a: &[u8], b: &[u8]) -> Ordering {
    a.split(|byte| *byte == b'/').cmp(b.split(|byte| *byte == b'/'))
}

/// Whether `path` lies below `folder`.
pub(super) fn is_below(path: &[u8], folder: &[u8]) -> bool {
    path.len() > folder.len() && path[folder.len()] == b'/' && path.starts_with(folder)
}

impl Suspect<'_> {
    /// Every violation (at most 1,000), and the order of the names, which means something only without one.
    pub(super) fn examine(&self, limits: Option<&Limits>) -> (Vec<Problem>, Order) {
        let mut problems = Vec::new();
        // Later rules calculate with what earlier ones have proven.
        self.sizes(limits, &mut problems);
        for entry in self.entries {
            if let Some((kind, message)) = fault(entry, self.manifest.is_some()) {
                problems.push(Problem::of_entry(&entry.path, kind, message));
            }
            if problems.len() >= MAX_PROBLEMS {
                break;
            }
        }
        let mut order = Order::new();
        if problems.is_empty() {
            order = self.tree(&mut problems);
            self.offsets(&mut problems);
            self.totals(limits, &mut problems);
        }
        problems.truncate(MAX_PROBLEMS);
        (problems, order)
    }

    /// The order of the names, or the error for the first violation.
    pub(super) fn refuse(&self, limits: Option<&Limits>) -> Result<Order> {
        let (problems, order) = self.examine(limits);
        match problems.into_iter().next() {
            Some(problem) => Err(problem.into_error()),
            None => Ok(order),
        }
    }

    fn sizes(&self, limits: Option<&Limits>, problems: &mut Vec<Problem>) {
        let most = limits.map_or(u64::MAX, |limits| limits.max_entries).min(u32::MAX.into());
        if self.entries.len() as u64 > most {
            problems.push(Problem::of_archive(
                ProblemKind::LimitExceeded,
                format!("the archive has {} entries; {most} are allowed", self.entries.len()),
            ));
        }
        let mut end = (0, 0);
        for (number, frame) in self.frames.iter().enumerate() {
            let size_ok = (1..=MAX_FRAME as u64).contains(&frame.plain_length) && frame.length > 0;
            if !size_ok || (frame.offset, frame.plain_offset) != end || frame.offset.checked_add(frame.length).is_none()
            {
                problems.push(inconsistent(format!("frame {number} does not follow the one before it")));
                return;
            }
            // At most u32::MAX frames of 8 MiB are in memory: the sum cannot overflow.
            end = (frame.end(), frame.plain_end());
        }
        if end.0 != self.frames_end {
            problems.push(inconsistent(format!("the frames end at byte {}, not at {}", end.0, self.frames_end)));
        }
    }

    /// Names that are there twice, below what is no folder, or linked to what is no earlier file.
    fn tree(&self, problems: &mut Vec<Problem>) -> Order {
        let path = |number: u32| self.entries[number as usize].path.as_bytes();
        let mut order: Order = (0..self.entries.len() as u32).collect();
        order.sort_by(|a, b| compare(path(*a), path(*b)).then(a.cmp(b)));
        let mut before: Option<u32> = None;
        let mut leaf: Option<u32> = None;
        for &number in &order {
            let entry = &self.entries[number as usize];
            let name = entry.path.as_bytes();
            if before.is_some_and(|before| path(before) == name) {
                problems.push(unsafe_name(&entry.path, "the name is in the archive twice"));
            }
            if let Some(leaf) = leaf.filter(|leaf| is_below(name, path(*leaf))) {
                let above = &self.entries[leaf as usize].path;
                problems.push(unsafe_name(&entry.path, format!("{above:?}, above it, is not a folder")));
            } else if entry.node != Node::Dir {
                leaf = Some(number);
            }
            if let Node::HardLink { target } = &entry.node {
                let first = find(self.entries, &order, target.as_bytes());
                let is_file = |at: u32| matches!(self.entries[at as usize].node, Node::File { .. });
                if !first.is_some_and(|first| first < number && is_file(first)) {
                    let why = format!("it is a hard link to {target:?}, which is no earlier file of the archive");
                    problems.push(unsafe_name(&entry.path, why));
                }
            }
            before = Some(number);
        }
        order
    }

    /// Every entry begins where the one before it ends, and the stream ends behind the last.
    fn offsets(&self, problems: &mut Vec<Problem>) {
        let mut at = 0_u64;
        let mut header = Vec::new();
        for entry in self.entries {
            if entry.offset != at {
                let message = format!("it begins at byte {} of the stream, not at {at}", entry.offset);
                problems.push(Problem::of_entry(&entry.path, ProblemKind::Inconsistent, message));
                return;
            }
            header.clear();
            let end = match tar::encode(entry, &mut header) {
                // Stored lengths fit i64 and headers fit memory, so only the running sum can overflow.
                Ok(()) => at.checked_add(header.len() as u64 + padded(stored_len(&entry.node))),
                Err(error) => {
                    problems.push(Problem::of_entry(&entry.path, ProblemKind::BadEntry, error.message()));
                    return;
                }
            };
            match end {
                Some(end) => at = end,
                None => {
                    problems.push(Problem::of_entry(&entry.path, ProblemKind::Inconsistent, "the stream is too long"));
                    return;
                }
            }
        }
        let end = self.frames.last().map_or(0, Frame::plain_end);
        let fits = if self.manifest.is_some() { at.checked_add(END_LEN) == Some(end) } else { at <= end };
        if !fits {
            problems.push(inconsistent(format!("the entries end at byte {at} of the stream, the frames at {end}")));
        }
    }

    fn totals(&self, limits: Option<&Limits>, problems: &mut Vec<Problem>) {
        if let Some(manifest) = self.manifest {
            let counted = totals(self.entries);
            if Some((manifest.files, manifest.entries, manifest.size_bytes)) != counted {
                problems.push(inconsistent("the manifest's counts are not those of the entries"));
            }
        }
        let Some(limits) = limits else { return };
        let bytes: u64 = self.entries.iter().map(|entry| stored_len(&entry.node)).sum();
        if bytes > limits.max_bytes {
            problems.push(Problem::of_archive(
                ProblemKind::LimitExceeded,
                format!("the archive holds {bytes} bytes; {} are allowed", limits.max_bytes),
            ));
        }
        if bytes >= RATIO_FLOOR && bytes / self.stored.max(1) > limits.max_ratio {
            problems.push(Problem::of_archive(
                ProblemKind::LimitExceeded,
                format!("{} bytes claim to hold {bytes}, beyond the ratio of {}", self.stored, limits.max_ratio),
            ));
        }
    }
}

/// Files (hard links included), entries, and bytes of content; `None` when they overflow.
fn totals(entries: &[Entry]) -> Option<(u64, u64, u64)> {
    let is_file = |entry: &&Entry| matches!(entry.node, Node::File { .. } | Node::HardLink { .. });
    let bytes = entries.iter().try_fold(0_u64, |sum, entry| sum.checked_add(restored_len(&entry.node)))?;
    Some((entries.iter().filter(is_file).count() as u64, entries.len() as u64, bytes))
}

/// The number of the entry called `name`.
pub(super) fn find(entries: &[Entry], order: &[u32], name: &[u8]) -> Option<u32> {
    let at = order.binary_search_by(|number| compare(entries[*number as usize].path.as_bytes(), name)).ok()?;
    Some(order[at])
}

/// Refuses an entry that no reader would accept.
pub(super) fn check_entry(entry: &Entry) -> Result<()> {
    match fault(entry, false) {
        Some((_, message)) => Err(Error::invalid(format!("{:?} cannot be archived: {message}", entry.path))),
        None => Ok(()),
    }
}

/// What makes an entry one that no file can be: its name, its numbers, its attributes.
pub(in crate::backup) fn entry_fault(entry: &Entry) -> Option<String> {
    fault(entry, false).map(|(_, message)| message)
}

/// What is wrong with an entry by itself. `hashed` says whether a file must have its checksum.
fn fault(entry: &Entry, hashed: bool) -> Option<(ProblemKind, String)> {
    if let Some(message) = name_fault(entry.path.as_bytes()) {
        return Some((ProblemKind::UnsafeName, message.to_owned()));
    }
    let link = match &entry.node {
        // A symlink may point anywhere: nothing is ever written through it.
        Node::Symlink { target } => link_fault(target.as_bytes()),
        Node::HardLink { target } => name_fault(target.as_bytes()),
        _ => None,
    };
    if let Some(message) = link {
        return Some((ProblemKind::UnsafeName, format!("what it links to is bad: {message}")));
    }
    let bad = |message: String| Some((ProblemKind::BadEntry, message));
    if entry.mode > 0o7777 {
        return bad(format!("the mode {:o} has more than permission bits", entry.mode));
    }
    if entry.uid == NO_ID || entry.gid == NO_ID {
        return bad("the owner is no valid number".to_owned());
    }
    if entry.mtime_nanos > 999_999_999 {
        return bad(format!("{} nanoseconds are more than a second", entry.mtime_nanos));
    }
    for xattr in &entry.xattrs {
        let name = xattr.name.as_bytes();
        let value_ok = xattr.value.len() <= 2 * MAX_XATTR
            && xattr.value.len().is_multiple_of(2)
            && xattr.value.bytes().all(|byte| byte.is_ascii_hexdigit());
        if name.is_empty() || name.len() > MAX_NAME || name.contains(&0) || !value_ok {
            return bad(format!("the attribute {:?} is none that a file can have", xattr.name));
        }
    }
    match &entry.node {
        Node::File { size, blake3, data, valid_size } => file_fault(*size, data.as_deref(), *valid_size)
            .or_else(|| (hashed && blake3.is_none()).then_some("its checksum is none"))
            .and_then(|message| bad(message.to_owned())),
        _ => None,
    }
}

/// What is wrong with a name of an entry.
fn name_fault(name: &[u8]) -> Option<&'static str> {
    if name.is_empty() {
        return Some("the name is empty");
    }
    if name.len() > MAX_PATH {
        return Some("the name is longer than 4,095 bytes");
    }
    if name.contains(&0) {
        return Some("the name contains a NUL");
    }
    if name[0] == b'/' {
        return Some("the name is absolute");
    }
    name.split(|byte| *byte == b'/').find_map(|part| match part {
        b"" => Some("the name has an empty part"),
        b"." | b".." => Some("the name has a part that is . or .."),
        _ if part.len() > MAX_NAME => Some("a part of the name is longer than 255 bytes"),
        _ => None,
    })
}

/// What is wrong with the target of a symlink.
fn link_fault(target: &[u8]) -> Option<&'static str> {
    match target {
        b"" => Some("the target is empty"),
        _ if target.len() > MAX_PATH => Some("the target is longer than 4,095 bytes"),
        _ if target.contains(&0) => Some("the target contains a NUL"),
        _ => None,
    }
}

/// What is wrong with a file's sizes.
fn file_fault(size: u64, data: Option<&[(u64, u64)]>, valid_size: Option<u64>) -> Option<&'static str> {
    if size > i64::MAX as u64 - BLOCK {
        return Some("it is longer than any file can be");
    }
    if valid_size.is_some_and(|valid| valid >= size) {
        return Some("it is said to have shrunk, and has not");
    }
    let parts = data?;
    if parts.len() > MAX_PARTS {
        return Some("it has too many data parts");
    }
    // GNU tar reads whole blocks for each part.
    if parts.iter().rev().skip(1).any(|(_, len)| !len.is_multiple_of(BLOCK)) {
        return Some("a data part before its last one ends inside a block");
    }
    let mut end = 0;
    for (offset, len) in parts {
        if *len == 0 || *offset < end || offset.checked_add(*len).is_none_or(|end| end > size) {
            return Some("its data parts overlap, or do not lie within it");
        }
        end = offset + len;
    }
    None
}

fn unsafe_name(path: &RelPath, message: impl Into<String>) -> Problem {
    Problem::of_entry(path, ProblemKind::UnsafeName, message)
}

fn inconsistent(message: impl Into<String>) -> Problem {
    Problem::of_archive(ProblemKind::Inconsistent, message)
}
