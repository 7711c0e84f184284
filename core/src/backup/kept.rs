//! What a walk found, kept in little memory: some 25 bytes for each entry, where one in the open has two hundred.
//!
//! Each entry is written as what differs from the one before, and blocks of them are compressed.

use std::borrow::Cow;
use std::collections::HashSet;

use super::manifest::RelPath;
use super::packing::{Packing, Unpacking, unzigzag, zigzag};
use super::walk::{Found, FoundKind};
use crate::error::{Error, Result};

/// How large a block is before it is compressed, in bytes.
const BLOCK: usize = 128 << 10;
/// The fastest level still halves what is left.
const LEVEL: i32 = 1;

/// Entries in the order of the walk.
#[derive(Debug, Default, Clone)]
pub struct FoundList {
    /// Entries before all others.
    first: Vec<Found>,
    /// The paths of entries that are left out.
    without: HashSet<RelPath>,
    /// Compressed, each with its length before.
    blocks: Vec<(Box<[u8]>, usize)>,
    tail: Vec<u8>,
    /// What the next entry in the tail is compared with.
    last: Option<Found>,
    len: u64,
    bytes: u64,
}

impl FoundList {
    /// Appends an entry.
    ///
    /// # Errors
    /// When there is no memory to compress in.
    pub fn push(&mut self, found: Found) -> Result<()> {
        encode(&found, self.last.as_ref(), &mut self.tail);
        self.len += 1;
        self.bytes += found.size.min(found.disk_bytes);
        self.last = Some(found);
        if self.tail.len() >= BLOCK {
            let packed = zstd::bulk::compress(&self.tail, LEVEL).map_err(|error| failed(&error))?;
            self.blocks.push((packed.into(), self.tail.len()));
            self.tail.clear();
            // Every block can be read by itself.
            self.last = None;
        }
        Ok(())
    }

    /// The same list with a few entries before all others, and without those of `apart`, which are in it.
    pub fn with(mut self, first: Vec<Found>, apart: &[Found]) -> Self {
        for found in apart {
            if self.without.insert(found.path.clone()) {
                self.len -= 1;
                self.bytes -= found.size.min(found.disk_bytes);
            }
        }
        self.len += first.len() as u64;
        self.bytes += first.iter().map(|found| found.size.min(found.disk_bytes)).sum::<u64>();
        self.first = first;
        self
    }

    /// How many entries there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that reading all of them costs: without holes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The entries, in order. An error ends them.
    pub fn iter(&self) -> impl Iterator<Item = Result<Found>> + '_ {
        let packed = self
            .blocks
            .iter()
            .map(|(packed, len)| zstd::bulk::decompress(packed, *len).map(Cow::Owned).map_err(|error| failed(&error)));
        let packed = packed.chain([Ok(Cow::Borrowed(&self.tail[..]))]).flat_map(|block| match block {
            Ok(block) => Entries { block, at: 0, last: None, failed: None },
            Err(error) => Entries { block: Cow::Borrowed(&[]), at: 0, last: None, failed: Some(error) },
        });
        let stays = |found: &Result<Found>| match found {
            Ok(found) => self.without.is_empty() || !self.without.contains(&found.path),
            Err(_) => true,
        };
        self.first.iter().cloned().map(Ok).chain(packed.filter(stays))
    }
}

/// The entries of a block.
struct Entries<'a> {
    block: Cow<'a, [u8]>,
    at: usize,
    last: Option<Found>,
    failed: Option<Error>,
}

impl Iterator for Entries<'_> {
    type Item = Result<Found>;

    fn next(&mut self) -> Option<Result<Found>> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        if self.at == self.block.len() {
            return None;
        }
        let mut from = Unpacking(&self.block[self.at..]);
        let found = decode(&mut from, self.last.as_ref());
        self.at = self.block.len() - from.0.len();
        self.last = Some(found.clone());
        Some(Ok(found))
    }
}

fn failed(error: &std::io::Error) -> Error {
    Error::internal(format!("the list of what was found could not be kept: {error}"))
}

const KINDS: [FoundKind; 6] =
    [FoundKind::Dir, FoundKind::File, FoundKind::Symlink, FoundKind::Fifo, FoundKind::Socket, FoundKind::Device];

/// The numbers of an entry: those in the first row as they are, those in the second as what they differ by.
fn numbers(found: &Found) -> ([u64; 4], [u64; 9]) {
    let kind = KINDS.iter().position(|kind| *kind == found.kind).unwrap_or_default() as u64;
    let changed = found.ctime.wrapping_sub(found.mtime);
    (
        [kind, u64::from(found.mtime_nanos), found.size, found.links],
        [
            u64::from(found.mode),
            u64::from(found.uid),
            u64::from(found.gid),
            found.mtime as u64,
            changed as u64,
            u64::from(found.ctime_nanos.wrapping_sub(found.mtime_nanos)),
            found.disk_bytes / 512,
            found.identity.0,
            found.identity.1,
        ],
    )
}

fn encode(found: &Found, last: Option<&Found>, out: &mut Vec<u8>) {
    let (plain, delta) = numbers(found);
    let (name, before) = (found.path.as_bytes(), last.map_or(&[][..], |last| last.path.as_bytes()));
    let shared = name.iter().zip(before).take_while(|(a, b)| a == b).count();
    let base = last.map_or([0; 9], |last| numbers(last).1);
    let mut out = Packing(out);
    out.number(shared as u64).bytes(&name[shared..]);
    for number in plain {
        out.number(number);
    }
    for (number, base) in delta.into_iter().zip(base) {
        out.number(zigzag(number.wrapping_sub(base) as i64));
    }
    // The rest of a length that is no multiple of a sector: none, on every system that is known.
    out.number(found.disk_bytes % 512);
}

fn decode(from: &mut Unpacking<'_>, last: Option<&Found>) -> Found {
    let shared = from.number() as usize;
    let before = last.map_or(&[][..], |last| last.path.as_bytes());
    let path = [&before[..shared], from.bytes()].concat();
    let plain = [(); 4].map(|()| from.number());
    let base = last.map_or([0; 9], |last| numbers(last).1);
    let delta = base.map(|base| base.wrapping_add(unzigzag(from.number()) as u64));
    let [kind, mtime_nanos, size, links] = plain;
    let [mode, uid, gid, mtime, changed, nanos, sectors, device, inode] = delta;
    let mtime_nanos = mtime_nanos as u32;
    Found {
        path: RelPath::from(&path[..]),
        kind: KINDS[kind as usize],
        mode: mode as u32,
        uid: uid as u32,
        gid: gid as u32,
        mtime: mtime as i64,
        mtime_nanos,
        ctime: (mtime as i64).wrapping_add(changed as i64),
        ctime_nanos: mtime_nanos.wrapping_add(nanos as u32),
        size,
        disk_bytes: sectors * 512 + from.number(),
        identity: (device, inode),
        links,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &[u8], number: u64) -> Found {
        Found {
            path: RelPath::from(path),
            kind: KINDS[number as usize % 6],
            mode: (number % 0o10000) as u32,
            uid: (number % 3 * 1000) as u32,
            gid: if number.is_multiple_of(5) { u32::MAX } else { 0 },
            mtime: if number.is_multiple_of(7) { i64::MIN } else { 1_700_000_000 - number as i64 },
            mtime_nanos: (number * 7919 % 1_000_000_000) as u32,
            ctime: if number.is_multiple_of(11) { i64::MAX } else { 1_700_000_000 },
            ctime_nanos: (number * 104_729 % 1_000_000_000) as u32,
            size: if number.is_multiple_of(13) { u64::MAX } else { number },
            disk_bytes: number * 100,
            identity: (number % 2, u64::MAX - number),
            links: 1 + number % 3,
        }
    }

    #[test]
    fn every_entry_comes_back_in_order() {
        let mut list = FoundList::default();
        let all: Vec<Found> =
            (0..20_000).map(|at| found(format!("d{}/\u{e9}{at:x}", at % 97).as_bytes(), at)).collect();
        assert!(list.is_empty() && list.iter().next().is_none());
        all.iter().for_each(|found| list.push(found.clone()).unwrap());
        assert_eq!(list.len(), 20_000);
        assert_eq!(list.bytes(), all.iter().fold(0, |sum, found| sum + found.size.min(found.disk_bytes)));
        for _ in 0..2 {
            let back: Vec<Found> = list.iter().collect::<Result<_>>().unwrap();
            assert!(format!("{back:?}") == format!("{all:?}"));
        }
    }

    #[test]
    fn a_few_entries_are_put_first_or_left_out() {
        let all: Vec<Found> = (0..5000).map(|at| found(format!("d/{at}").as_bytes(), at)).collect();
        let mut list = FoundList::default();
        all.iter().for_each(|found| list.push(found.clone()).unwrap());
        let first = vec![found(b"d", 6)];
        let apart = [all[7].clone(), all[4999].clone(), all[7].clone()];
        let list = list.with(first.clone(), &apart);
        let expected: Vec<Found> = first
            .into_iter()
            .chain(all.into_iter().filter(|found| !apart.iter().any(|a| a.path == found.path)))
            .collect();
        let back: Vec<Found> = list.iter().collect::<Result<_>>().unwrap();
        assert!(format!("{back:?}") == format!("{expected:?}"));
        assert_eq!(list.len(), 4999);
        assert_eq!(list.bytes(), expected.iter().map(|found| found.size.min(found.disk_bytes)).sum::<u64>());
    }

    #[test]
    fn a_million_ordinary_files_take_few_bytes_each() {
        let mut list = FoundList::default();
        for at in 0..100_000_u64 {
            let spread = at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            let mut file = found(format!("data/customers/{:03}/{spread:016x}.json", at / 1000).as_bytes(), 1);
            (file.mtime, file.ctime) = (1_700_000_000 + (at / 500) as i64, 1_700_000_000 + (at / 500) as i64);
            file.mtime_nanos = (spread % 1_000_000_000) as u32;
            file.ctime_nanos = file.mtime_nanos;
            (file.size, file.disk_bytes) = (spread % 9000, (spread % 9000).next_multiple_of(4096));
            file.identity = (64_769, 5_000_000 + at + spread % 3);
            list.push(file).unwrap();
        }
        let held: usize = list.blocks.iter().map(|(block, _)| block.len()).sum::<usize>() + list.tail.len();
        assert!(held < 100_000 * 30, "{held}");
    }
}
