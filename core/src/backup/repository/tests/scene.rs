//! Repositories made by hand, also such as no writer makes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::super::header::{Counts, Header, NeededPack};
use super::super::id::{BlobId, IdKey, PackId, RepositoryId, SnapshotId};
use super::super::identity::Identity;
use super::super::index::{IndexWriter, IndexedPack};
use super::super::keyring::{Keyring, NoKeys};
use super::super::open::Repository;
use super::super::pack::{END_FRAME, FrameBuilder};
use super::super::pages::PageMap;
use super::super::pieces::{self, PieceWriter};
use super::super::snapshot::{Asked, Snapshot};
use super::super::tree::{BlockWriter, Content, TreeEntry, write_root};
use super::super::{names, recover};
use crate::backup::blocks::Objects;
use crate::backup::frames::Packer;
use crate::backup::manifest::{Digest, Entry, Manifest, Node, Outcome, RelPath};
use crate::backup::nodes::{Selection, restored_len, stored_len};
use crate::backup::target::BackupTarget;
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::testing::MemoryTarget;

/// The unit of the databases.
pub(crate) const UNIT: usize = 4096;
/// The time of the first snapshot.
pub(crate) const FIRST: &str = "2026-03-01T02:00:00Z";

/// A repository being made.
pub(crate) struct Scene {
    pub(crate) target: MemoryTarget,
    pub(crate) key: IdKey,
    pub(crate) id: RepositoryId,
    builder: FrameBuilder,
    pack: Vec<u8>,
    index: IndexWriter,
    known: BTreeMap<BlobId, PackId>,
    waiting: Vec<BlobId>,
    pub(crate) packs: BTreeMap<PackId, NeededPack>,
    previous: Option<(SnapshotId, Digest)>,
    snapshots: u8,
    /// The manifest of the next snapshot, but for what is counted.
    pub(crate) manifest: Manifest,
}

/// Runs what waits for a target where it may.
pub(crate) fn wait<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::task::spawn_blocking(work).await.unwrap() })
}

pub(crate) fn entry(path: impl AsRef<[u8]>, node: Node) -> Entry {
    Entry {
        path: RelPath::from(path.as_ref()),
        node,
        mode: 0o644,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        mtime: 1_700_000_000,
        mtime_nanos: 123_456_789,
        xattrs: Vec::new(),
        offset: 0,
    }
}

pub(crate) fn plain(path: impl AsRef<[u8]>, node: Node) -> TreeEntry {
    TreeEntry { entry: entry(path, node), content: Content::Nothing }
}

pub(crate) fn folder(path: impl AsRef<[u8]>) -> TreeEntry {
    let mut folder = plain(path, Node::Dir);
    folder.entry.mode = 0o755;
    folder
}

impl Scene {
    pub(crate) fn new() -> Self {
        let (key, target) = (IdKey::new([7; 32]), MemoryTarget::default());
        let created: Timestamp = FIRST.parse().unwrap();
        let identity = Identity { id: RepositoryId([1; 16]), created, clear_key: Some(key.clone()) };
        let record = identity.write(&key);
        let scene = Self {
            target,
            id: identity.id,
            builder: FrameBuilder::default(),
            pack: Vec::new(),
            index: IndexWriter::new(identity.id),
            known: BTreeMap::new(),
            waiting: Vec::new(),
            packs: BTreeMap::new(),
            previous: None,
            snapshots: 0,
            manifest: Manifest::of_nothing(""),
            key,
        };
        for (name, bytes) in recover::files(&record) {
            scene.put(name, &bytes);
        }
        scene.put(names::REPOSITORY, &record);
        scene
    }

    pub(crate) fn put(&self, key: &str, bytes: &[u8]) {
        let (target, key, bytes) = (self.target.clone(), key.to_owned(), bytes.to_vec());
        wait(move || {
            tokio::runtime::Handle::current().block_on(target.put(&Scope::default(), &key, &bytes, false)).unwrap()
        });
    }

    pub(crate) fn delete(&self, key: &str) {
        let (target, key) = (self.target.clone(), key.to_owned());
        wait(move || tokio::runtime::Handle::current().block_on(target.delete(&Scope::default(), &key)).unwrap());
    }

    pub(crate) fn get(&self, key: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.target.tamper(key, |stored| bytes = stored.clone());
        bytes
    }

    /// Stores a blob, unless a pack has it.
    pub(crate) fn blob(&mut self, content: &[u8]) -> BlobId {
        let id = self.key.blob_id(content);
        if !self.known.contains_key(&id) && !self.waiting.contains(&id) {
            self.blob_again(content);
        }
        id
    }

    /// Stores a blob, whether a pack has it or not.
    pub(crate) fn blob_again(&mut self, content: &[u8]) -> BlobId {
        let id = self.key.blob_id(content);
        if !self.builder.fits(content.len()) {
            self.end_frame();
        }
        self.builder.push(id, content).unwrap();
        self.waiting.push(id);
        id
    }

    pub(crate) fn end_frame(&mut self) {
        if self.builder.is_empty() {
            return;
        }
        let frame = self.builder.take();
        let mut packed = Vec::new();
        Packer::new(3).unwrap().pack(&frame.plain, &mut packed).unwrap();
        self.index.frame(packed.len() as u32, frame.plain.len() as u32, &frame.blobs);
        self.pack.extend_from_slice(&packed);
    }

    /// Ends the pack and stores it with its index.
    pub(crate) fn end_pack(&mut self) -> Option<PackId> {
        self.end_frame();
        if self.pack.is_empty() {
            return None;
        }
        let mut packed = Vec::new();
        Packer::new(3).unwrap().pack(&END_FRAME, &mut packed).unwrap();
        self.index.frame(packed.len() as u32, END_FRAME.len() as u32, &[]);
        self.pack.extend_from_slice(&packed);
        let bytes = std::mem::take(&mut self.pack);
        let id = PackId([self.packs.len() as u8 + 1; 16]);
        let indexed = IndexedPack::in_clear(id, bytes.len() as u64, Digest::of(&bytes));
        let index = std::mem::replace(&mut self.index, IndexWriter::new(self.id))
            .finish(&indexed, &self.key, Vec::new())
            .unwrap();
        self.put(&names::pack(id, false), &bytes);
        self.put(&names::index(id), &index);
        for blob in self.waiting.drain(..) {
            self.known.insert(blob, id);
        }
        self.packs.insert(id, indexed.pack);
        Some(id)
    }

    pub(crate) fn file(&mut self, path: impl AsRef<[u8]>, content: &[u8]) -> TreeEntry {
        self.chunked(path, content, 1 << 20)
    }

    /// A file in chunks of `chunk` bytes.
    pub(crate) fn chunked(&mut self, path: impl AsRef<[u8]>, content: &[u8], chunk: usize) -> TreeEntry {
        let blobs = content.chunks(chunk).map(|chunk| self.blob(chunk)).collect();
        let blake3 = Some(Digest::of(content));
        let node = Node::File { size: content.len() as u64, blake3, data: None, valid_size: None };
        TreeEntry { entry: entry(path, node), content: Content::Blobs(blobs) }
    }

    /// A sparse file of `size` bytes with these parts.
    pub(crate) fn sparse(&mut self, path: &str, size: u64, parts: &[(u64, &[u8])]) -> TreeEntry {
        let (mut whole, mut stored) = (vec![0; size as usize], Vec::new());
        for (at, bytes) in parts {
            whole[*at as usize..*at as usize + bytes.len()].copy_from_slice(bytes);
            stored.extend_from_slice(bytes);
        }
        let blobs = stored.chunks(1 << 20).map(|chunk| self.blob(chunk)).collect();
        let data = Some(parts.iter().map(|(at, bytes)| (*at, bytes.len() as u64)).collect());
        let node = Node::File { size, blake3: Some(Digest::of(&whole)), data, valid_size: None };
        TreeEntry { entry: entry(path, node), content: Content::Blobs(blobs) }
    }

    /// A file by page map: units that differ from those of `base` are stored.
    pub(crate) fn database(
        &mut self,
        path: &str,
        content: &[u8],
        base: Option<(&BlobId, &PageMap, &[u8])>,
    ) -> (TreeEntry, BlobId, PageMap) {
        let length = content.len() as u64;
        let mut map = PageMap::new(UNIT as u32, length, base.map(|(id, map, old)| (*id, map.depth, old.len() as u64)));
        let old = |at: usize| base.and_then(|(.., old)| old.chunks(UNIT).nth(at));
        let changed: Vec<(usize, &[u8])> =
            content.chunks(UNIT).enumerate().filter(|(at, unit)| old(*at) != Some(unit)).collect();
        for (number, group) in changed.chunks(5).enumerate() {
            let data: Vec<u8> = group.iter().flat_map(|(_, unit)| unit.iter().copied()).collect();
            let id = self.blob(&data);
            map.push_data(id, group.len() as u32);
            for (at, (unit, _)) in group.iter().enumerate() {
                map.push_unit(*unit as u32, number as u32, at as u32);
            }
        }
        let mut stored = Vec::new();
        let mut writer = PieceWriter::new(|bytes: &[u8]| {
            stored.push(bytes.to_vec());
            Ok(self.key.blob_id(bytes))
        });
        map.write(&mut writer).unwrap();
        let id = writer.finish().unwrap();
        for bytes in stored {
            self.blob(&bytes);
        }
        let mut digest = self.key.mac();
        for unit in content.chunks(UNIT) {
            digest.update(&self.key.page_id(unit).0);
        }
        let digest = Digest(*digest.finalize().as_bytes());
        let node = Node::File { size: length, blake3: None, data: None, valid_size: None };
        (TreeEntry { entry: entry(path, node), content: Content::Pages { map: id, digest } }, id, map)
    }

    /// Stores the tree and the manifest, ends the pack, and makes the header.
    pub(crate) fn header(&mut self, entries: &[TreeEntry]) -> Header {
        self.snapshots += 1;
        let snapshot = SnapshotId([self.snapshots; 6]);
        let (mut blocks, mut writer) = (Vec::new(), BlockWriter::new(&self.key));
        let mut ended = Vec::new();
        for (number, entry) in entries.iter().enumerate() {
            ended.extend(writer.push(entry).unwrap());
            if number % 7 == 6 {
                ended.extend(writer.cut());
            }
        }
        ended.extend(writer.cut());
        for block in ended {
            let id = self.record(&block.record);
            blocks.push(block.stored_as(id));
        }
        let root = self.record(&write_root(&blocks));
        let files =
            entries.iter().filter(|e| matches!(e.entry.node, Node::File { .. } | Node::HardLink { .. })).count();
        let first: Timestamp = FIRST.parse().unwrap();
        let time = first + std::time::Duration::from_secs(3600 * u64::from(self.snapshots - 1));
        let manifest = Manifest {
            snapshot_id: snapshot.to_string(),
            time,
            files: files as u64,
            entries: entries.len() as u64,
            size_bytes: entries.iter().map(|entry| restored_len(&entry.entry.node)).sum(),
            ..self.manifest.clone()
        };
        let json = serde_json::to_vec(&manifest).unwrap();
        let manifest_id = self.record(&json);
        self.end_pack();
        Header {
            repository: self.id,
            snapshot,
            time,
            service: manifest.service.clone(),
            service_version: None,
            host: manifest.host.clone(),
            label: None,
            tags: Vec::new(),
            outcome: Outcome::Complete,
            counts: Counts {
                files: manifest.files,
                entries: manifest.entries,
                bytes: manifest.size_bytes,
                stored: entries.iter().map(|entry| stored_len(&entry.entry.node)).sum(),
                skipped: 0,
                stores: manifest.stores.len() as u64,
            },
            previous: self.previous,
            encrypted_to: None,
            manifest: manifest_id,
            root,
            packs: self.packs.values().cloned().collect(),
        }
    }

    /// Stores a record as a blob, in pieces when it is long.
    pub(crate) fn record(&mut self, record: &[u8]) -> BlobId {
        let mut stored = Vec::new();
        let id = pieces::store(record, |bytes| {
            stored.push(bytes.to_vec());
            Ok(self.key.blob_id(bytes))
        })
        .unwrap();
        for bytes in stored {
            self.blob(&bytes);
        }
        id
    }

    /// Puts a header; returns its key.
    pub(crate) fn put_header(&mut self, header: &Header) -> String {
        let (bytes, mac) = header.write(&self.key);
        let key = names::snapshot(header.time, header.snapshot);
        self.put(&key, &bytes);
        self.previous = Some((header.snapshot, mac));
        key
    }

    /// A snapshot with these entries; returns its header's key.
    pub(crate) fn snapshot(&mut self, entries: &[TreeEntry]) -> String {
        let header = self.header(entries);
        self.put_header(&header)
    }

    /// Does something with the repository.
    pub(crate) fn with<T: Send + 'static>(&self, act: impl FnOnce(&Scope, Repository) -> T + Send + 'static) -> T {
        let target = self.target.clone();
        wait(move || {
            let objects = Objects::new(&Scope::default(), Arc::new(target));
            let keys: Arc<dyn Keyring> = Arc::new(NoKeys);
            act(&Scope::default(), Repository::open(&objects, &keys).unwrap().unwrap())
        })
    }

    /// Does something with an open snapshot.
    pub(crate) fn open<T: Send + 'static>(
        &self,
        key: &str,
        act: impl FnOnce(&Scope, Result<Snapshot>) -> T + Send + 'static,
    ) -> T {
        self.open_part(key, Selection::All, act)
    }

    /// Does something with a snapshot of which only a part is wanted.
    pub(crate) fn open_part<T: Send + 'static>(
        &self,
        key: &str,
        selection: Selection,
        act: impl FnOnce(&Scope, Result<Snapshot>) -> T + Send + 'static,
    ) -> T {
        let key = key.to_owned();
        self.with(move |scope, repository| {
            let asked = Asked { selection: &selection, ..Asked::all(10_000_000) };
            let opened = repository
                .header(&key)
                .and_then(|(header, _)| Snapshot::open_as(scope, &repository, header, &asked, |_| ()));
            act(scope, opened)
        })
    }
}

/// Everything below a folder: names with kind, mode, time, content or target.
pub(crate) fn tree_of(root: &Path) -> BTreeMap<Vec<u8>, String> {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(at) = waiting.pop() {
        for entry in std::fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let content = if meta.is_symlink() {
                format!("-> {:?}", std::fs::read_link(&path).unwrap())
            } else if meta.is_file() {
                format!("{} {}", meta.len(), blake3::hash(&std::fs::read(&path).unwrap()))
            } else {
                String::new()
            };
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            let time =
                if meta.is_symlink() { String::new() } else { format!("{}.{:09}", meta.mtime(), meta.mtime_nsec()) };
            let links = if meta.is_file() { meta.nlink() } else { 0 };
            found.insert(name, format!("{:o} {links} {time} {content}", meta.mode()));
            if meta.is_dir() {
                waiting.push(path);
            }
        }
    }
    found
}
