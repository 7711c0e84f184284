//! The entries of a snapshot in little memory: some 12 bytes and the new part of the name for each.

use std::borrow::Cow;
use std::collections::HashMap;

use super::id::BlobId;
use super::tree::{Content, TreeEntry};
use crate::backup::manifest::{Digest, Entry, Node, RelPath, Xattr};
use crate::backup::nodes::Roll;
use crate::backup::packing::{Packing, Unpacking, unzigzag, zigzag};
use crate::error::{Error, ErrorKind, Result};
use crate::value::{hex, unhex};

/// Entries whose names and times are written as what differs from the first of them. Whoever asks for one passes over
/// those of its group before it, so not many.
const GROUP: u32 = 16;
/// The most bytes that entries take; no snapshot that a machine can hold has more.
const MAX_BYTES: usize = 1 << 30;

/// Entries, packed one after the other, each with its length before it.
#[derive(Debug, Default)]
pub(crate) struct TreeRoll {
    bytes: Vec<u8>,
    /// Where each group begins in `bytes`.
    groups: Vec<u32>,
    count: u32,
    /// Mode, owner and group: few, whatever the number of entries.
    owners: Vec<(u32, u32, u32)>,
    owner_numbers: HashMap<(u32, u32, u32), u32>,
    /// The name and the time of the first of the group being filled.
    head: (Vec<u8>, Time),
    /// The entry being packed.
    packed: Vec<u8>,
}

/// Seconds since the epoch, and nanoseconds.
type Time = (i64, u32);

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
        if self.bytes.len() > MAX_BYTES {
            return Err(Error::new(ErrorKind::Refused, "the tree of the snapshot is larger than any that is restored")
                .with_hint("do not trust the repository"));
        }
        let owner = (entry.mode, entry.uid, entry.gid);
        let owners = &mut self.owners;
        let owner = *self.owner_numbers.entry(owner).or_insert_with(|| {
            owners.push(owner);
            owners.len() as u32 - 1
        });
        let (name, time) = (entry.path.as_bytes(), (entry.mtime, entry.mtime_nanos));
        let is_head = self.count.is_multiple_of(GROUP);
        if is_head {
            self.groups.push(self.bytes.len() as u32);
            self.head = (Vec::new(), Time::default());
        }
        let (head, since) = &self.head;
        let shared = name.iter().zip(head).take_while(|(a, b)| a == b).count();
        self.packed.clear();
        let mut out = Packing(&mut self.packed);
        let kind = kind_of(entry, content);
        out.number(shared as u64).bytes(&name[shared..]).number(u64::from(owner) * KINDS + kind);
        // Files that lie together were often made together.
        out.number(zigzag(time.0.wrapping_sub(since.0))).number(zigzag(i64::from(time.1) - i64::from(since.1)));
        if is_head {
            self.head = (name.to_vec(), time);
        }
        // 0 is what nobody has.
        let place = |blob: &BlobId| number_of(blob).map_or(0, |number| u64::from(number) + 1);
        match (&entry.node, content) {
            (Node::Dir | Node::Fifo, _) => {}
            (Node::Symlink { target } | Node::HardLink { target }, _) => drop(out.bytes(target.as_bytes())),
            (Node::File { size, .. }, Content::Pages { map, digest }) => {
                out.number(*size).bytes(&map.0).bytes(&digest.0);
            }
            (Node::File { size, data, .. }, content) => {
                out.number(*size);
                let blobs: &[BlobId] = if let Content::Blobs(blobs) = content { blobs } else { &[] };
                if kind != KIND_SMALL {
                    out.number(blobs.len() as u64);
                }
                for blob in blobs {
                    out.number(place(blob));
                }
                if let Some(parts) = data {
                    out.number(parts.len() as u64);
                    for (offset, len) in parts {
                        out.number(*offset).number(*len);
                    }
                }
            }
        }
        if kind != KIND_SMALL {
            out.number(entry.xattrs.len() as u64);
        }
        for xattr in &entry.xattrs {
            out.bytes(xattr.name.as_bytes()).bytes(&unhex(&xattr.value).unwrap_or_default());
        }
        Packing(&mut self.bytes).bytes(&self.packed);
        self.count += 1;
        Ok(())
    }

    /// What entry number `number` consists of.
    pub(crate) fn stored(&self, number: u32) -> Stored {
        let (_, mut from) = self.at(number);
        from.number();
        from.bytes();
        let kind = from.number() % KINDS;
        time(&mut from, Time::default());
        match kind {
            KIND_PAGES => {
                from.number();
                let (mut map, mut digest) = ([0; 16], [0; 32]);
                map.copy_from_slice(from.bytes());
                digest.copy_from_slice(from.bytes());
                Stored::Pages(BlobId(map), Digest(digest))
            }
            KIND_FILE | KIND_SPARSE | KIND_SMALL => {
                from.number();
                let count = if kind == KIND_SMALL { 1 } else { from.number() };
                Stored::Blobs((0..count).map(|_| from.number().checked_sub(1).map(|number| number as u32)).collect())
            }
            _ => Stored::Nothing,
        }
    }

    /// How many entries there are.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// An entry, and the first of its group before it.
    fn at(&self, number: u32) -> (Unpacking<'_>, Unpacking<'_>) {
        let mut group = Unpacking(&self.bytes[self.groups[(number / GROUP) as usize] as usize..]);
        let head = group.bytes();
        let entry = (0..number % GROUP).fold(head, |_, _| group.bytes());
        (Unpacking(head), Unpacking(entry))
    }
}

impl Roll for TreeRoll {
    fn len(&self) -> u32 {
        self.count()
    }

    fn entry(&self, number: u32) -> Cow<'_, Entry> {
        let (mut head, mut from) = self.at(number);
        let path = RelPath::from(&*name(&mut head, &mut from));
        let owner = from.number();
        let (kind, (mode, uid, gid)) = (owner % KINDS, self.owners[(owner / KINDS) as usize]);
        head.number();
        let since = if number.is_multiple_of(GROUP) { Time::default() } else { time(&mut head, Time::default()) };
        let (mtime, mtime_nanos) = time(&mut from, since);
        let target = |bytes: &[u8]| RelPath::from(bytes);
        let file = |size, data| Node::File { size, blake3: None, data, valid_size: None };
        let node = match kind {
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
            _ => {
                let size = from.number();
                let blobs = if kind == KIND_SMALL { 1 } else { from.number() };
                for _ in 0..blobs {
                    from.number();
                }
                let parts = (kind == KIND_SPARSE).then(|| {
                    let count = from.number();
                    (0..count).map(|_| (from.number(), from.number())).collect()
                });
                file(size, parts)
            }
        };
        let count = if kind == KIND_SMALL { 0 } else { from.number() };
        let xattrs =
            (0..count).map(|_| Xattr { name: RelPath::from(from.bytes()), value: hex(from.bytes()) }).collect();
        Cow::Owned(Entry { path, node, mode, uid, gid, mtime, mtime_nanos, xattrs, offset: 0 })
    }

    fn path(&self, number: u32) -> Cow<'_, [u8]> {
        let (mut head, mut from) = self.at(number);
        name(&mut head, &mut from)
    }
}

/// The name of an entry, the first of whose group is `head`. Both are left behind their names.
fn name<'a>(head: &mut Unpacking<'a>, from: &mut Unpacking<'a>) -> Cow<'a, [u8]> {
    head.number();
    let (first, shared, rest) = (head.bytes(), from.number() as usize, from.bytes());
    match shared {
        0 => Cow::Borrowed(rest),
        _ => Cow::Owned([&first[..shared], rest].concat()),
    }
}

/// The time that is written as what it differs from `since`.
fn time(from: &mut Unpacking<'_>, since: Time) -> Time {
    let (seconds, nanos) = (unzigzag(from.number()), unzigzag(from.number()));
    (since.0.wrapping_add(seconds), (i64::from(since.1) + nanos) as u32)
}

const KIND_DIR: u64 = 0;
const KIND_FILE: u64 = 1;
const KIND_SPARSE: u64 = 2;
const KIND_PAGES: u64 = 3;
const KIND_SYMLINK: u64 = 4;
const KIND_HARD_LINK: u64 = 5;
const KIND_FIFO: u64 = 6;
/// A file that is one blob, without holes and attributes, as most are.
const KIND_SMALL: u64 = 7;
/// How many kinds there are: they share a number with the owner.
const KINDS: u64 = 8;

fn kind_of(entry: &Entry, content: &Content) -> u64 {
    match (&entry.node, content) {
        (Node::Dir, _) => KIND_DIR,
        (Node::Fifo, _) => KIND_FIFO,
        (Node::Symlink { .. }, _) => KIND_SYMLINK,
        (Node::HardLink { .. }, _) => KIND_HARD_LINK,
        (Node::File { .. }, Content::Pages { .. }) => KIND_PAGES,
        (Node::File { data: Some(_), .. }, _) => KIND_SPARSE,
        (_, Content::Blobs(blobs)) if blobs.len() == 1 && entry.xattrs.is_empty() => KIND_SMALL,
        _ => KIND_FILE,
    }
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

    /// A file of `size` bytes, which is one blob.
    fn small(number: u32, (mtime, mtime_nanos): Time) -> TreeEntry {
        let mut entry = samples().into_iter().find(|entry| matches!(entry.content, Content::Blobs(_))).unwrap();
        entry.entry.path = RelPath::new(format!("data/{:03}/{number:06}", number / 1000));
        (entry.entry.mtime, entry.entry.mtime_nanos) = (mtime, mtime_nanos);
        entry.entry.node = Node::File { size: 200, blake3: None, data: None, valid_size: None };
        entry.entry.xattrs.clear();
        entry.content = Content::Blobs(vec![BlobId([0; 16])]);
        entry
    }

    #[test]
    fn any_time_comes_back_wherever_it_lies_in_its_group() {
        let times = [(0, 0), (i64::MIN, 999_999_999), (i64::MAX, 0), (-1, 1), (1_700_000_000, u32::MAX), (5, 7)];
        let mut roll = TreeRoll::default();
        // 6 and 16 share a factor, 7 and 16 do not: each time is the head of some group, and each follows each.
        let time_of = |number: u32| times[(number % 7 % 6) as usize];
        for number in 0..2000 {
            roll.push(&small(number, time_of(number)), |_| None).unwrap();
        }
        // Also backwards: nothing depends on what was asked for before.
        for number in (0..2000).rev() {
            let entry = roll.entry(number);
            assert_eq!((entry.mtime, entry.mtime_nanos), time_of(number), "entry {number}");
            assert_eq!(*entry, small(number, time_of(number)).entry);
        }
    }

    #[test]
    fn a_small_file_takes_little() {
        const MANY: u32 = 10_000;
        let mut roll = TreeRoll::default();
        for number in 0..MANY {
            let nanos = number * 50_000;
            roll.push(&small(number, (1_700_000_000, nanos)), |_| Some(700_000 + number)).unwrap();
        }
        let bytes = roll.bytes.len() + roll.groups.len() * size_of::<u32>();
        assert!(bytes <= 19 * MANY as usize, "{bytes} bytes for {MANY} entries");
    }
}
