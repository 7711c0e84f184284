//! A hash of every page, and the checksum of the whole database that comes of them.
//!
//! The hash is BLAKE3 of the page under a key that is its number, cut to 16 bytes: 4 MiB for a database of 1 GiB with pages of
//! 4096 bytes. BLAKE3 because it is in the house and its four chunks of such a page are hashed at once. Sixteen bytes because a
//! scan takes equal hashes for equal pages: with eight, somebody who writes rows could make two pages of one hash.
//!
//! The checksum is the XOR of all of them, so that a changed page costs two. It shows mistakes, ours and the disk's. It is no
//! seal: XOR can be forged by whoever chooses pages, and what keeps forgers out is the encryption of the shelf.
//!
//! # Void pages
//!
//! A page that comes with a growing database and is in no frame is a leaf of the freelist that the engine does not write.
//! What is read there depends on when the main file was last cut off, and nobody ever reads it. Such pages are *void*: not in
//! the checksum, which names them, until they are written. The page of the lock bytes, at 1 GiB, is in no checksum either.

use std::collections::BTreeSet;

use crate::error::{Error, ErrorKind, Result};

/// The pages' hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) page_size: u32,
    /// Of page 1 and on; 0 for none.
    hashes: Vec<u128>,
    sum: u128,
    /// The pages of the last state that was committed.
    size: u32,
    void: BTreeSet<u32>,
}

impl Table {
    pub(super) fn new(page_size: u32) -> Self {
        Self { page_size, hashes: Vec::new(), sum: 0, size: 0, void: BTreeSet::new() }
    }

    /// The pages of the last state that was committed.
    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// Every page with its hash, 0 for none.
    pub(super) fn pages(&self) -> impl Iterator<Item = (u32, u128)> + '_ {
        (1..).zip(self.hashes.iter().copied())
    }

    pub(super) fn get(&self, page: u32) -> u128 {
        self.hashes.get(page as usize - 1).copied().unwrap_or(0)
    }

    /// Page `page`, from 1, has `hash` now; 0 makes it void at the next [`Table::settle`].
    pub(super) fn set(&mut self, page: u32, hash: u128) {
        let at = page as usize - 1;
        if at >= self.hashes.len() {
            // A quarter more at most, where `Vec` would take as much again.
            self.hashes.reserve_exact((at + 1 - self.hashes.len()).max(self.hashes.len() / 4));
            self.hashes.resize(at + 1, 0);
        }
        self.sum ^= self.hashes[at] ^ hash;
        self.hashes[at] = hash;
        if hash != 0 {
            self.void.remove(&page);
        }
    }

    /// The database had no more than `size` pages for a moment: what was behind is gone.
    pub(super) fn shrink(&mut self, size: u32) {
        if self.hashes.len() > size as usize {
            self.sum = self.hashes.drain(size as usize..).fold(self.sum, |sum, hash| sum ^ hash);
        }
        self.void.split_off(&size.saturating_add(1));
        self.size = self.size.min(size);
    }

    /// A commit left the database with `size` pages. Returns those that became void by it.
    pub(super) fn settle(&mut self, size: u32) -> Vec<u32> {
        self.shrink(size);
        let (before, lock) = (self.size, lock_page(self.page_size));
        self.hashes.resize(size as usize, 0);
        self.size = size;
        let void: Vec<u32> = (before + 1..=size).filter(|page| self.get(*page) == 0 && *page != lock).collect();
        self.void.extend(&void);
        void
    }

    /// The checksum of the last state that was committed.
    pub(super) fn checksum(&self) -> Checksum {
        Checksum { size: self.size, sum: self.sum, void: self.void.clone() }
    }
}

/// The hash of page `page`; never 0.
pub(super) fn hash(page: u32, bytes: &[u8]) -> u128 {
    let mut key = *b"uplifted-ops page of SQLite     ";
    key[28..].copy_from_slice(&page.to_le_bytes());
    let hash = blake3::keyed_hash(&key, bytes);
    let mut half = [0; 16];
    half.copy_from_slice(&hash.as_bytes()[..16]);
    u128::from_le_bytes(half).max(1)
}

/// The page that holds the lock bytes, which is never used (<https://www.sqlite.org/fileformat2.html#the_lock_byte_page>).
pub(super) fn lock_page(page_size: u32) -> u32 {
    0x4000_0000 / page_size + 1
}

/// The checksum of a state, as [`Point::checksum`](crate::store::follow::Point) has it: `x1-PAGES-XOR`, hexadecimal, and
/// `-FIRST` or `-FIRST:LAST` for the void pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checksum {
    pub(super) size: u32,
    pub(super) sum: u128,
    pub(super) void: BTreeSet<u32>,
}

impl Checksum {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let wrong = || Error::new(ErrorKind::Corrupt, format!("{text:?} is no checksum of a SQLite database"));
        let mut parts = text.split('-');
        if parts.next() != Some("x1") {
            return Err(wrong());
        }
        let page = |part: &str| u32::from_str_radix(part, 16).map_err(|_| wrong());
        let size = page(parts.next().ok_or_else(wrong)?)?;
        let sum = u128::from_str_radix(parts.next().ok_or_else(wrong)?, 16).map_err(|_| wrong())?;
        let mut void = BTreeSet::new();
        for part in parts {
            let (first, last) = part.split_once(':').unwrap_or((part, part));
            let (first, last) = (page(first)?, page(last)?);
            if first == 0 || last > size {
                return Err(wrong());
            }
            void.extend(first..=last);
        }
        Ok(Self { size, sum, void })
    }
}

impl std::fmt::Display for Checksum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "x1-{:x}-{:032x}", self.size, self.sum)?;
        let mut pages = self.void.iter().copied().peekable();
        while let Some(first) = pages.next() {
            let mut last = first;
            while let Some(next) = pages.next_if_eq(&(last + 1)) {
                last = next;
            }
            if first == last { write!(f, "-{first:x}")? } else { write!(f, "-{first:x}:{last:x}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_the_pages_whatever_the_way_there() {
        let mut random = crate::testing::random::seeded("sums of pages");
        let (mut table, mut pages) = (Table::new(512), std::collections::BTreeMap::new());
        for _ in 0..500 {
            for _ in 0..random.u32(0..5) {
                let page = random.u32(1..40);
                let content = random.u128(1..);
                table.set(page, content);
                pages.insert(page, content);
            }
            let size = random.u32(1..40);
            pages.retain(|page, _| *page <= size);
            table.settle(size);
            let sum = pages.values().fold(0, |sum, hash| sum ^ hash);
            let void: BTreeSet<u32> = (1..=size).filter(|page| !pages.contains_key(page)).collect();
            let checksum = Checksum { size, sum, void };
            assert_eq!(table.checksum(), checksum);
            assert_eq!(Checksum::parse(&checksum.to_string()).unwrap(), checksum);
        }
    }

    #[test]
    fn pages_have_hashes_of_their_own() {
        assert_ne!(hash(1, &[7; 512]), hash(2, &[7; 512]));
        assert_ne!(hash(1, &[7; 512]), hash(1, &[7; 1024]));
        assert_eq!(lock_page(4096), 262_145);
        for text in ["", "x1", "x1-1", "x2-1-2", "x1-1-2-z", "x1-1-2-", "x1--", "x1-1-2-0:1", "x1-1-2-1:2"] {
            assert_eq!(Checksum::parse(text).unwrap_err().kind(), ErrorKind::Corrupt, "{text}");
        }
    }
}
