//! What the archive promises, tried out.

mod damage;
mod hostile;
mod round;
mod standard;

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::backup::blocks::{Blocks, FileBlocks};
use crate::backup::manifest::{Manifest, RelPath, Xattr};
use crate::backup::nodes::*;
use crate::cancel::Scope;
use crate::error::Result;
use crate::fs::Dir;
pub(super) use crate::testing::random::{self, Rng};
use crate::value::hex;

/// An archive in memory that counts its reads.
pub(super) struct Memory {
    pub(super) bytes: Vec<u8>,
    pub(super) reads: AtomicU64,
}

impl Memory {
    pub(super) fn new(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self { bytes, reads: AtomicU64::new(0) })
    }
}

impl Blocks for Memory {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let end = range.end.min(self.len());
        Ok(self.bytes[range.start as usize..end as usize].to_vec())
    }
}

/// What a file holds: letters that compress as often as bytes that do not.
pub(super) fn content(random: &mut Rng, len: usize) -> Vec<u8> {
    if random.bool() { (0..len).map(|_| random.u8(b'a'..=b'd')).collect() } else { random::bytes(random, len) }
}

/// What a test puts into an archive.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    File { content: Vec<u8>, parts: Option<Vec<(u64, u64)>>, valid: Option<u64> },
    Special(Special),
}

pub(super) type Tree = Vec<(NodeHead, Kind)>;

pub(super) fn head(path: impl AsRef<[u8]>, mode: u32) -> NodeHead {
    NodeHead {
        path: RelPath::from(path.as_ref()),
        mode,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        mtime: 1_700_000_000,
        mtime_nanos: 123_456_789,
        xattrs: Vec::new(),
    }
}

pub(super) fn file(path: impl AsRef<[u8]>, content: impl Into<Vec<u8>>) -> (NodeHead, Kind) {
    (head(path, 0o644), Kind::File { content: content.into(), parts: None, valid: None })
}

pub(super) fn dir(path: impl AsRef<[u8]>) -> (NodeHead, Kind) {
    (head(path, 0o755), Kind::Special(Special::Dir))
}

pub(super) fn link(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> (NodeHead, Kind) {
    (head(path, 0o644), Kind::Special(Special::HardLink { target: RelPath::from(target.as_ref()) }))
}

pub(super) fn symlink(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> (NodeHead, Kind) {
    (head(path, 0o777), Kind::Special(Special::Symlink { target: RelPath::from(target.as_ref()) }))
}

/// A sparse file: zeros but for `parts`, which hold `byte`.
pub(super) fn sparse(path: impl AsRef<[u8]>, size: usize, parts: &[(u64, u64)], byte: u8) -> (NodeHead, Kind) {
    let mut content = vec![0; size];
    for (offset, len) in parts {
        content[*offset as usize..(offset + len) as usize].fill(byte);
    }
    (head(path, 0o600), Kind::File { content, parts: Some(parts.to_vec()), valid: None })
}

pub(super) fn xattr(name: impl AsRef<[u8]>, value: &[u8]) -> Xattr {
    Xattr { name: RelPath::from(name.as_ref()), value: hex(value) }
}

pub(super) fn manifest() -> Manifest {
    Manifest {
        format: 0,
        service_version: Some("1.2.3".to_owned()),
        label: Some("before the upgrade".to_owned()),
        tags: vec!["keep".to_owned(), "release".to_owned()],
        ..Manifest::of_nothing("0123456789ab")
    }
}

/// Small frames, so that small archives have many.
pub(super) fn small() -> WriteOptions {
    WriteOptions { level: 1, threads: 3, frame_bytes: 4096 }
}

pub(super) fn pack(tree: &Tree, options: WriteOptions) -> (Vec<u8>, Written) {
    let out = Arc::new(Mutex::new(Vec::new()));
    let sink = {
        let out = Arc::clone(&out);
        Box::new(move |bytes: &[u8]| {
            assert!(bytes.len() <= crate::backup::target::MAX_BLOCK);
            out.lock().unwrap().extend_from_slice(bytes);
            Ok(())
        })
    };
    let mut writer = ArchiveWriter::new(&Scope::default(), options, sink).unwrap();
    for (head, kind) in tree {
        match kind {
            Kind::Special(node) => writer.add(head.clone(), node.clone()).unwrap(),
            Kind::File { content, parts, valid } => {
                let announced = content.len() as u64;
                writer.begin_file(head.clone(), announced, parts.clone()).unwrap();
                let whole = [(0, announced)];
                for (offset, len) in parts.as_deref().unwrap_or(&whole) {
                    let end = (offset + len).min(valid.unwrap_or(u64::MAX));
                    if *offset < end {
                        for block in content[*offset as usize..end as usize].chunks(1000) {
                            writer.write(block).unwrap();
                        }
                    }
                }
                writer.end_file(*valid).unwrap();
            }
        }
    }
    let written = writer.finish(manifest()).unwrap();
    let bytes = std::mem::take(&mut *out.lock().unwrap());
    assert_eq!(written.stored_bytes, bytes.len() as u64);
    assert_eq!(written.blake3, *blake3::hash(&bytes).as_bytes());
    (bytes, written)
}

pub(super) fn open(bytes: &[u8]) -> Result<Archive> {
    Archive::open(Memory::new(bytes.to_vec()))
}

pub(super) fn options() -> ExtractOptions {
    ExtractOptions { threads: 3, owners: rustix::process::getuid().is_root(), ..ExtractOptions::default() }
}

pub(super) fn extract_all(archive: &Archive, into: &Path, options: &ExtractOptions) -> Result<Extracted> {
    archive.extract(&Scope::default(), &Selection::All, &Dir::open(into).unwrap(), options)
}

/// A node as it is on disk.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(super) struct Seen {
    kind: char,
    mode: u32,
    mtime: (i64, i64),
    content: Vec<u8>,
    links: u64,
}

/// Everything below `folder` by name.
pub(super) fn look(folder: &Path) -> BTreeMap<Vec<u8>, Seen> {
    let mut seen = BTreeMap::new();
    look_into(folder, folder, &mut seen);
    seen
}

fn look_into(root: &Path, folder: &Path, seen: &mut BTreeMap<Vec<u8>, Seen>) {
    for item in std::fs::read_dir(folder).unwrap() {
        let path = item.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        let kind = meta.file_type();
        let (kind, content) = if kind.is_symlink() {
            ('l', std::fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
        } else if kind.is_dir() {
            look_into(root, &path, seen);
            ('d', Vec::new())
        } else if kind.is_fifo() {
            ('p', Vec::new())
        } else {
            ('f', std::fs::read(&path).unwrap())
        };
        let node = Seen {
            kind,
            mode: meta.permissions().mode() & 0o7777,
            mtime: (meta.mtime(), meta.mtime_nsec()),
            content,
            links: if kind == 'd' { 0 } else { meta.nlink() },
        };
        seen.insert(path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec(), node);
    }
}

/// What [`look`] must find after `tree` was restored.
pub(super) fn expected(tree: &Tree) -> BTreeMap<Vec<u8>, Seen> {
    let mut seen: BTreeMap<Vec<u8>, Seen> = BTreeMap::new();
    for (head, kind) in tree {
        let mut node = Seen {
            kind: 'f',
            mode: head.mode,
            mtime: (head.mtime, head.mtime_nanos.into()),
            content: Vec::new(),
            links: 1,
        };
        match kind {
            Kind::File { content, valid, .. } => {
                node.content = content[..valid.map_or(content.len(), |valid| valid as usize)].to_vec();
            }
            Kind::Special(Special::Dir) => (node.kind, node.links) = ('d', 0),
            Kind::Special(Special::Symlink { target }) => {
                (node.kind, node.mode, node.content) = ('l', 0o777, target.as_bytes().to_vec());
            }
            Kind::Special(Special::Fifo) => node.kind = 'p',
            Kind::Special(Special::HardLink { target }) => {
                let first = seen.get(target.as_bytes()).unwrap().clone();
                let links = first.links + 1;
                node = Seen { links, ..first };
                let is_name = |(head, kind): &&(NodeHead, Kind)| {
                    head.path == *target
                        || matches!(kind, Kind::Special(Special::HardLink { target: other }) if other == target)
                };
                for (name, _) in tree.iter().filter(is_name) {
                    if let Some(other) = seen.get_mut(name.path.as_bytes()) {
                        other.links = links;
                    }
                }
            }
        }
        seen.insert(head.path.as_bytes().to_vec(), node);
    }
    seen
}

pub(super) fn assert_same(found: &BTreeMap<Vec<u8>, Seen>, expected: &BTreeMap<Vec<u8>, Seen>) {
    for (path, node) in expected {
        let name = String::from_utf8_lossy(path);
        let got = found.get(path).unwrap_or_else(|| panic!("{name:?} is missing"));
        assert!(got == node, "{name:?}: {:?}", (brief(got), brief(node)));
    }
    for path in found.keys() {
        assert!(expected.contains_key(path), "{:?} is too much", String::from_utf8_lossy(path));
    }
}

fn brief(node: &Seen) -> String {
    let hash = blake3::hash(&node.content).to_hex();
    format!(
        "{} {:o} {:?} {} bytes {} links {}",
        node.kind,
        node.mode,
        node.mtime,
        node.content.len(),
        &hash[..8],
        node.links
    )
}

/// One of everything, in an order that a walker gives.
pub(super) fn one_of_everything() -> Tree {
    let long = [vec![b'n'; 250], b"/".to_vec(), vec![b'm'; 255]].concat();
    let mut tree = vec![
        file("a", "hello\n"),
        file("big", vec![b'x'; 30_000]),
        dir("d"),
        dir("d/empty"),
        file("d/empty file", ""),
        file("d/random", random::noise(20_000, 7)),
        link("d/second name", "a"),
        link("d/third name", "a"),
        symlink("d/s", "../a"),
        symlink("d/absolute", [b"/".to_vec(), vec![b't'; 200]].concat()),
        (head("d/p", 0o640), Kind::Special(Special::Fifo)),
        file(b"d/\xff\xfe", "not UTF-8"),
        dir([b'n'; 250]),
        file(&long, "long"),
        link("long link", &long),
        sparse("hole at the end", 100_000, &[(4096, 4096)], 1),
        sparse("hole at the start", 100_000, &[(99_000, 1000)], 2),
        sparse("only a hole", 70_000, &[], 0),
        sparse(b"holes \xf0\x9f", 300_000, &[(0, 10_240), (50_000, 512), (60_000, 5_000)], 3),
        file("odd mode", "x"),
        file("old", "before 1970"),
        file("older", "long before 1970"),
        file("whole seconds", "y"),
    ];
    tree[3].0.mode = 0o700;
    let old = tree.len() - 4;
    tree[old].0.mode = 0o1741;
    (tree[old + 1].0.mtime, tree[old + 1].0.mtime_nanos) = (-1, 750_000_000);
    (tree[old + 2].0.mtime, tree[old + 2].0.mtime_nanos) = (-86_400, 0);
    tree[old + 3].0.mtime_nanos = 0;
    tree
}
