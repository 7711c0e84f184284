//! The entries of a snapshot in little memory: some 30 bytes and the new part of the name for each.

use std::borrow::Cow;
use std::collections::HashMap;

use super::id::BlobId;
use super::tree::{Content, TreeEntry};
use crate::backup::manifest::{Digest, Entry, Node, RelPath, Xattr};
use crate::backup::nodes::Roll;
use crate::backup::packing::{Packing, Unpacking, unzigzag, zigzag};
use crate::error::{Error, ErrorKind, Result};
use crate::value::{hex, unhex};

/// Entries whose names are written as what differs from the first of them.
const GROUP: u32 = 16;
/// The most bytes that entries take; no snapshot that a machine can hold has more.
const MAX_BYTES: usize = 1 << 30;

/// Entries, packed one after the other.
#[derive(Debug, Default)]
pub(crate) struct TreeRoll {
    bytes: Vec<u8>,
    /// Where each entry begins in `bytes`.
    starts: Vec<u32>,
    /// Mode, owner and group: few, whatever the number of entries.
    owners: Vec<(u32, u32, u32)>,
    owner_numbers: HashMap<(u32, u32, u32), u32>,
    /// The name of the first of the group being filled.
    head: Vec<u8>,
}

/// What an entry consists of, by places of the lookup that the roll was made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It has no content of its own.
    Nothing,
    /// These blobs; `None` for one that no pack has.
    Blobs(Vec<Option<u32>>),
    /// This page map, and the mac-keyed digest of the page ids.
    Pages(BlobId, Digest),
}

impl TreeRoll {
    /// Appends an entry. `number_of` knows the places of blobs. The digests of files are not kept.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when it becomes too much.
    pub(crate) fn push(&mut self, entry: &TreeEntry, number_of: impl Fn(&BlobId) -> Option<u32>) -> Result<()> {
        let TreeEntry { entry, content } = entry;
        let start = self.bytes.len();
        if start > MAX_BYTES || self.starts.len() >= u32::MAX as usize - 1 {
            return Err(Error::new(ErrorKind::Refused, "the tree of the snapshot is larger than any that is restored")
                .with_hint("do not trust the repository"));
        }
        let owner = (entry.mode, entry.uid, entry.gid);
        let owners = &mut self.owners;
        let owner = *self.owner_numbers.entry(owner).or_insert_with(|| {
            owners.push(owner);
            owners.len() as u32 - 1
        });
        let name = entry.path.as_bytes();
        let is_head = (self.starts.len() as u32).is_multiple_of(GROUP);
        let shared = match is_head {
            true => 0,
            false => name.iter().zip(&self.head).take_while(|(a, b)| a == b).count(),
        };
        if is_head {
            self.head = name.to_vec();
        }
        let mut out = Packing(&mut self.bytes);
        out.number(shared as u64).bytes(&name[shared..]).number(owner.into());
        out.number(zigzag(entry.mtime)).number(entry.mtime_nanos.into());
        match (&entry.node, content) {
            (Node::Dir, _) => drop(out.number(KIND_DIR)),
            (Node::Fifo, _) => drop(out.number(KIND_FIFO)),
            (Node::Symlink { target }, _) => drop(out.number(KIND_SYMLINK).bytes(target.as_bytes())),
            (Node::HardLink { target }, _) => drop(out.number(KIND_HARD_LINK).bytes(target.as_bytes())),
            (Node::File { size, .. }, Content::Pages { map, digest }) => {
                out.number(KIND_PAGES).number(*size).bytes(&map.0).bytes(&digest.0);
            }
            (Node::File { size, data, .. }, content) => {
                let kind = if data.is_some() { KIND_SPARSE } else { KIND_FILE };
                out.number(kind).number(*size);
                let blobs: &[BlobId] = if let Content::Blobs(blobs) = content { blobs } else { &[] };
                out.number(blobs.len() as u64);
                for blob in blobs {
                    // 0 is what nobody has.
                    out.number(number_of(blob).map_or(0, |number| u64::from(number) + 1));
                }
                if let Some(parts) = data {
                    out.number(parts.len() as u64);
                    for (offset, len) in parts {
                        out.number(*offset).number(*len);
                    }
                }
            }
        }
        out.number(entry.xattrs.len() as u64);
        for xattr in &entry.xattrs {
            out.bytes(xattr.name.as_bytes()).bytes(&unhex(&xattr.value).unwrap_or_default());
        }
        self.starts.push(start as u32);
        Ok(())
    }

    /// What entry number `number` consists of.
    pub(crate) fn stored(&self, number: u32) -> Stored {
        let mut from = self.at(number);
        skip_head(&mut from);
        match from.number() {
            KIND_PAGES => {
                from.number();
                let (mut map, mut digest) = ([0; 16], [0; 32]);
                map.copy_from_slice(from.bytes());
                digest.copy_from_slice(from.bytes());
                Stored::Pages(BlobId(map), Digest(digest))
            }
            KIND_FILE | KIND_SPARSE => {
                from.number();
                let count = from.number();
                Stored::Blobs((0..count).map(|_| from.number().checked_sub(1).map(|number| number as u32)).collect())
            }
            _ => Stored::Nothing,
        }
    }

    /// How many entries there are.
    pub(crate) fn count(&self) -> u32 {
        self.starts.len() as u32
    }

    fn at(&self, number: u32) -> Unpacking<'_> {
        Unpacking(&self.bytes[self.starts[number as usize] as usize..])
    }
}

impl Roll for TreeRoll {
    fn len(&self) -> u32 {
        self.count()
    }

    fn entry(&self, number: u32) -> Cow<'_, Entry> {
        let path = RelPath::from(&*self.path(number));
        let mut from = self.at(number);
        from.number();
        from.bytes();
        let (mode, uid, gid) = self.owners[from.number() as usize];
        let (mtime, mtime_nanos) = (unzigzag(from.number()), from.number() as u32);
        let target = |bytes: &[u8]| RelPath::from(bytes);
        let file = |size, data| Node::File { size, blake3: None, data, valid_size: None };
        let node = match from.number() {
            KIND_DIR => Node::Dir,
            KIND_FIFO => Node::Fifo,
            KIND_SYMLINK => Node::Symlink { target: target(from.bytes()) },
            KIND_HARD_LINK => Node::HardLink { target: target(from.bytes()) },
            KIND_PAGES => {
                let size = from.number();
                from.bytes();
                from.bytes();
                file(size, None)
            }
            kind => {
                let size = from.number();
                for _ in 0..from.number() {
                    from.number();
                }
                let parts = (kind == KIND_SPARSE).then(|| {
                    let count = from.number();
                    (0..count).map(|_| (from.number(), from.number())).collect()
                });
                file(size, parts)
            }
        };
        let count = from.number();
        let xattrs =
            (0..count).map(|_| Xattr { name: RelPath::from(from.bytes()), value: hex(from.bytes()) }).collect();
        Cow::Owned(Entry { path, node, mode, uid, gid, mtime, mtime_nanos, xattrs, offset: 0 })
    }

    fn path(&self, number: u32) -> Cow<'_, [u8]> {
        let mut from = self.at(number);
        let (shared, rest) = (from.number() as usize, from.bytes());
        if shared == 0 {
            return Cow::Borrowed(rest);
        }
        let mut head = self.at(number - number % GROUP);
        head.number();
        let head = head.bytes();
        Cow::Owned([&head[..shared], rest].concat())
    }
}

const KIND_DIR: u64 = 0;
const KIND_FILE: u64 = 1;
const KIND_SPARSE: u64 = 2;
const KIND_PAGES: u64 = 3;
const KIND_SYMLINK: u64 = 4;
const KIND_HARD_LINK: u64 = 5;
const KIND_FIFO: u64 = 6;

/// Passes over name, owner and time.
fn skip_head(from: &mut Unpacking<'_>) {
    from.number();
    from.bytes();
    from.number();
    from.number();
    from.number();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::repository::tree::tests::samples;

    #[test]
    fn every_entry_comes_back() {
        let mut roll = TreeRoll::default();
        let entries: Vec<TreeEntry> = (0..5).flat_map(|_| samples()).collect();
        for entry in &entries {
            roll.push(entry, |id| (id.0[0] % 2 == 0).then_some(u32::from(id.0[0]))).unwrap();
        }
        assert_eq!(roll.count() as usize, entries.len());
        for (number, TreeEntry { entry, content }) in entries.iter().enumerate() {
            let number = number as u32;
            let mut expected = entry.clone();
            if let Node::File { blake3, .. } = &mut expected.node {
                *blake3 = None;
            }
            assert_eq!(*roll.entry(number), expected);
            assert_eq!(&*roll.path(number), entry.path.as_bytes());
            let stored = match content {
                Content::Nothing => Stored::Nothing,
                Content::Blobs(blobs) => {
                    Stored::Blobs(blobs.iter().map(|id| (id.0[0] % 2 == 0).then_some(u32::from(id.0[0]))).collect())
                }
                Content::Pages { map, digest } => Stored::Pages(*map, *digest),
            };
            assert_eq!(roll.stored(number), stored);
        }
    }
}
