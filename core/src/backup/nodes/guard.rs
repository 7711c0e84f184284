//! The rules that entries must meet before a single byte is written.
//!
//! A snapshot may have been made by anybody. So names that lead elsewhere, entries below what is no folder,
//! maps that overlap and sizes beyond the limits refuse the snapshot as a whole, whichever of its files are
//! wanted.

use std::cmp::Ordering;

use super::layout::{BLOCK, restored_len, stored_len};
use super::problem::{Problem, ProblemKind};
use super::roll::Roll;
use crate::backup::manifest::{Entry, Node, RelPath};
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
pub(in crate::backup) const MAX_PROBLEMS: usize = 1_000;
/// Below this much content, in bytes, no compression ratio is suspicious.
const RATIO_FLOOR: u64 = 64 << 20;

/// What an extraction may at most make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries in the snapshot.
    pub max_entries: u64,
    /// Bytes of stored content in the snapshot; holes of sparse files take no space and do not count.
    pub max_bytes: u64,
    /// Bytes of stored content for each byte that is stored for it, looked at from 64 MiB of content.
    pub max_ratio: u64,
}

impl Default for Limits {
    /// 10,000,000 entries, any number of bytes (the caller knows the free space), and a ratio of 5,000: zstd
    /// reaches about 30,000 on zeros alone.
    fn default() -> Self {
        Self { max_entries: 10_000_000, max_bytes: u64::MAX, max_ratio: 5_000 }
    }
}

/// The entries' numbers in the order of their names: a folder comes directly before all that is below it.
pub(in crate::backup) type Order = Vec<u32>;

/// The order of [`Order`].
pub(in crate::backup) fn compare(a: &[u8], b: &[u8]) -> Ordering {
    a.split(|byte| *byte == b'/').cmp(b.split(|byte| *byte == b'/'))
}

/// Whether `path` lies below `folder`.
pub(in crate::backup) fn is_below(path: &[u8], folder: &[u8]) -> bool {
    path.len() > folder.len() && path[folder.len()] == b'/' && path.starts_with(folder)
}

/// Every violation of the rules for entries, at most [`MAX_PROBLEMS`], and the order of the names, which means something
/// only without one. `hashed` says whether a file must have its checksum.
pub(in crate::backup) fn examine(roll: &dyn Roll, hashed: bool) -> (Vec<Problem>, Order) {
    let mut problems = Vec::new();
    for entry in roll.iter() {
        if let Some((kind, message)) = fault(&entry, hashed) {
            problems.push(Problem::of_entry(&entry.path, kind, message));
        }
        if problems.len() >= MAX_PROBLEMS {
            break;
        }
    }
    let order = if problems.is_empty() { tree(roll, &mut problems) } else { Order::new() };
    problems.truncate(MAX_PROBLEMS);
    (problems, order)
}

/// Names that are there twice, below what is no folder, or linked to what is no earlier file.
fn tree(roll: &dyn Roll, problems: &mut Vec<Problem>) -> Order {
    let mut order: Order = (0..roll.len()).collect();
    // Mostly sorted as it is, which costs one pass.
    order.sort_by(|a, b| compare(&roll.path(*a), &roll.path(*b)).then(a.cmp(b)));
    let mut before: Option<u32> = None;
    let mut leaf: Option<u32> = None;
    for &number in &order {
        if problems.len() >= MAX_PROBLEMS {
            break;
        }
        let entry = roll.entry(number);
        let name = entry.path.as_bytes();
        if before.is_some_and(|before| roll.path(before) == name) {
            problems.push(unsafe_name(&entry.path, "the name is there twice"));
        }
        if let Some(leaf) = leaf.filter(|leaf| is_below(name, &roll.path(*leaf))) {
            let above = RelPath::from(&*roll.path(leaf));
            problems.push(unsafe_name(&entry.path, format!("{above:?}, above it, is not a folder")));
        } else if entry.node != Node::Dir {
            leaf = Some(number);
        }
        if let Node::HardLink { target } = &entry.node {
            let first = find(roll, &order, target.as_bytes());
            let is_file = |at: u32| matches!(roll.entry(at).node, Node::File { .. });
            if !first.is_some_and(|first| first < number && is_file(first)) {
                let why = format!("it is a hard link to {target:?}, which is no earlier file of the snapshot");
                problems.push(unsafe_name(&entry.path, why));
            }
        }
        before = Some(number);
    }
    order
}

/// Whether entries that store `bytes` of content, `stored` bytes altogether, are within the limits.
pub(in crate::backup) fn check_limits(
    limits: &Limits,
    entries: u64,
    bytes: u64,
    stored: u64,
    problems: &mut Vec<Problem>,
) {
    let mut exceeded = |message| problems.push(Problem::of_snapshot(ProblemKind::LimitExceeded, message));
    let most = limits.max_entries.min(u32::MAX.into());
    if entries > most {
        exceeded(format!("the snapshot has {entries} entries; {most} are allowed"));
    }
    if bytes > limits.max_bytes {
        exceeded(format!("the snapshot holds {bytes} bytes; {} are allowed", limits.max_bytes));
    }
    if bytes >= RATIO_FLOOR && bytes / stored.max(1) > limits.max_ratio {
        exceeded(format!("{stored} bytes claim to hold {bytes}, beyond the ratio of {}", limits.max_ratio));
    }
}

/// What the entries add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::backup) struct Totals {
    /// Regular files, hard links included.
    pub(in crate::backup) files: u64,
    /// Entries of every kind.
    pub(in crate::backup) entries: u64,
    /// Bytes of the files' content.
    pub(in crate::backup) bytes: u64,
    /// The same without holes.
    pub(in crate::backup) stored: u64,
}

/// Counts the entries; `None` when their sizes overflow.
pub(in crate::backup) fn totals(roll: &dyn Roll) -> Option<Totals> {
    let mut sum = Totals { entries: roll.len().into(), ..Totals::default() };
    for entry in roll.iter() {
        sum.files += u64::from(matches!(entry.node, Node::File { .. } | Node::HardLink { .. }));
        sum.bytes = sum.bytes.checked_add(restored_len(&entry.node))?;
        sum.stored = sum.stored.checked_add(stored_len(&entry.node))?;
    }
    Some(sum)
}

/// The number of the entry called `name`.
pub(in crate::backup) fn find(roll: &dyn Roll, order: &[u32], name: &[u8]) -> Option<u32> {
    let at = order.binary_search_by(|number| compare(&roll.path(*number), name)).ok()?;
    Some(order[at])
}

/// Refuses an entry that no reader would accept.
pub(in crate::backup) fn check_entry(entry: &Entry) -> Result<()> {
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
