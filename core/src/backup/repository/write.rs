//! A snapshot on its way into a repository: entries in, blobs and a tree out.

use std::collections::HashMap;

use tokio::sync::mpsc;

use super::cache::CacheFolder;
use super::cache::databases::{self, DatabaseContent, DatabaseRecord};
use super::cache::files::{FileRecord, FileTable, FileTableWriter};
use super::cache::known::Known;
use super::cache::last::LastHeader;
use super::chunk::{Chunker, WHOLE};
use super::collecting::guard::Marks;
use super::deliver::Commit;
use super::header::{Counts, Header};
use super::id::{BlobId, SnapshotId};
use super::open::Repository;
use super::packs::{BlobKind, PackStream, Step};
use super::pieces;
use super::prepare::Prepared;
use super::tree::{Block, BlockWriter, Content, TreeEntry, Written, write_root};
use crate::backup::archive::{NodeHead, Special};
use crate::backup::discover::Database;
use crate::backup::layout::{DatabaseCopy, Finished, SnapshotWriter, stream_copy};
use crate::backup::manifest::{Entry, Manifest, Node, RelPath, StoreRecord};
use crate::backup::nodes::ContentHasher;
use crate::backup::walk::{Found, Look};
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::fs::AtomicFile;

mod database;

pub(in crate::backup) use database::Units;

/// What a snapshot in a repository is called, and how it is compressed.
#[derive(Debug, Clone)]
pub(crate) struct WriteJob {
    pub(crate) snapshot: SnapshotId,
    /// When the backup began: whatever changed since is not settled.
    pub(crate) time: Timestamp,
    pub(crate) tags: Vec<String>,
    /// The zstd level, and how many threads compress.
    pub(crate) compression: (i32, usize),
}

/// Writes a snapshot into a repository.
pub(crate) struct RepositoryWriter {
    scope: Scope,
    job: WriteJob,
    repository: Repository,
    caches: CacheFolder,
    previous: Option<(SnapshotId, crate::backup::manifest::Digest)>,
    /// The fingerprint of the key that packs are encrypted to.
    sealed_to: Option<String>,
    /// Where the header is remembered.
    last: Option<std::path::PathBuf>,
    marks: Marks,
    blobs: BlobStore,
    tree: BlockWriter,
    blocks: Vec<Block>,
    counts: Counts,
    chunker: Chunker,
    open: Option<OpenFile>,
    /// The files of the last run, and those of this one.
    table: FileTable,
    new_table: FileTableWriter,
    asked: Option<FileRecord>,
    databases: HashMap<RelPath, DatabaseRecord>,
    new_databases: Vec<DatabaseRecord>,
    /// Whether the file being written is a database.
    in_database: bool,
    /// The database that was added last, until it is known to be whole.
    last_database: Option<LastDatabase>,
    page_files: Vec<AtomicFile>,
}

/// Where blobs go: only what the repository lacks is sent.
pub(super) struct BlobStore {
    pub(super) known: Known,
    pub(super) packs: PackStream,
    key: super::id::IdKey,
}

impl BlobStore {
    /// Stores content that is at hand, unless the repository has it.
    pub(super) fn store(&mut self, content: &[u8]) -> Result<BlobId> {
        self.store_as(BlobKind::Content, content)
    }

    /// The same for a record, or a piece of one.
    pub(super) fn store_record(&mut self, record: &[u8]) -> Result<BlobId> {
        self.store_as(BlobKind::Record, record)
    }

    fn store_as(&mut self, kind: BlobKind, bytes: &[u8]) -> Result<BlobId> {
        let id = self.key.blob_id(bytes);
        if !self.packs.has(&id) && !self.known.need(&id) {
            self.packs.push(kind, id, bytes, &mut self.known)?;
        }
        Ok(id)
    }
}

/// The file being written.
struct OpenFile {
    head: NodeHead,
    size: u64,
    data: Option<Vec<(u64, u64)>>,
    hasher: ContentHasher,
    blobs: Vec<BlobId>,
    /// A small file's content so far; a larger one goes through the chunker.
    small: Option<Vec<u8>>,
    /// Stored bytes still to come.
    left: u64,
}

/// What a database became.
struct LastDatabase {
    size: u64,
    content: DatabaseContent,
    needs: Vec<BlobId>,
    pages: Option<AtomicFile>,
}

impl RepositoryWriter {
    /// A writer whose packs go to `out`.
    pub(crate) fn new(scope: &Scope, prepared: Prepared, job: WriteJob, out: mpsc::Sender<Step>) -> Result<Self> {
        let Prepared { repository, sealing, caches, known, files, databases, previous, last, marks } = prepared;
        let (key, sealed_to) = (repository.key.clone(), sealing.fingerprint());
        let packs = PackStream::new(scope, repository.id, &key, sealing, job.compression, caches.index(), out)?;
        Ok(Self {
            scope: scope.clone(),
            tree: BlockWriter::new(&key),
            chunker: Chunker::new(&key),
            table: files.open(),
            new_table: FileTableWriter::create(&caches.files(), &key, &files.made_for)?,
            blobs: BlobStore { known, packs, key },
            databases: databases.into_iter().map(|record| (record.path.clone(), record)).collect(),
            job,
            repository,
            caches,
            previous,
            sealed_to,
            last,
            marks,
            blocks: Vec::new(),
            counts: Counts::default(),
            open: None,
            asked: None,
            new_databases: Vec::new(),
            in_database: false,
            last_database: None,
            page_files: Vec::new(),
        })
    }

    /// Adds an entry to the tree.
    fn record(&mut self, entry: TreeEntry) -> Result<()> {
        self.scope.cancel.check()?;
        self.counts.entries += 1;
        match &entry.entry.node {
            Node::File { size, .. } => {
                self.counts.files += 1;
                self.counts.bytes += size;
            }
            Node::HardLink { .. } => self.counts.files += 1,
            _ => {}
        }
        match self.tree.push(&entry)? {
            Some(block) => self.store_block(block),
            None => Ok(()),
        }
    }

    fn store_block(&mut self, block: Written) -> Result<()> {
        let id = pieces::store(&block.record, |piece| self.blobs.store_record(piece))?;
        self.blocks.push(block.stored_as(id));
        Ok(())
    }

    /// Ends the file being written: what it consists of.
    fn end_open(&mut self, valid: Option<u64>) -> Result<(NodeHead, Node, Vec<BlobId>)> {
        let Some(mut open) = self.open.take() else { return Err(Error::internal("no file was begun")) };
        if valid.is_none() && open.left > 0 {
            return Err(Error::internal(format!("{:?} was not written to its end", open.head.path)));
        }
        match &open.small {
            Some(content) if !content.is_empty() => open.blobs.push(self.blobs.store(content)?),
            Some(_) => {}
            None => {
                let (blobs, ids) = (&mut self.blobs, &mut open.blobs);
                self.chunker.finish(|chunk| {
                    ids.push(blobs.store(chunk)?);
                    Ok(())
                })?;
            }
        }
        // What became shorter is as long as it was when it ended.
        let size = valid.unwrap_or(open.size);
        let blake3 = Some(open.hasher.finish(size, &self.scope.cancel)?);
        let mut data = open.data;
        if let Some(parts) = &mut data {
            parts.retain(|(offset, _)| *offset < size);
            if let Some((offset, len)) = parts.last_mut() {
                *len = (*len).min(size - *offset);
            }
            // A part that has ended in the middle has no hole behind it.
            if parts[..] == [(0, size)] || size == 0 {
                data = None;
            }
        }
        Ok((open.head, Node::File { size, blake3, data, valid_size: None }, open.blobs))
    }
}

impl SnapshotWriter for RepositoryWriter {
    fn knows(&mut self, found: &Found) -> bool {
        let known = &self.blobs.known;
        self.asked = self.table.find(found).filter(|record| known.has_all(&record.blobs)).cloned();
        self.asked.is_some()
    }

    fn add_known(&mut self, found: &Found) -> Result<()> {
        let Some(record) = self.asked.take().filter(|record| record.path == found.path) else {
            return Err(Error::internal(format!("nobody knows {:?}", found.path)));
        };
        self.blobs.known.need_all(&record.blobs);
        self.new_table.push(&record)?;
        let FileRecord { path, digest, data, blobs, xattrs, .. } = record;
        let node = Node::File { size: found.size, blake3: Some(digest), data, valid_size: None };
        let head = NodeHead {
            path,
            mode: found.mode,
            uid: found.uid,
            gid: found.gid,
            mtime: found.mtime,
            mtime_nanos: found.mtime_nanos,
            xattrs,
        };
        self.record(TreeEntry { entry: entry(head, node), content: Content::Blobs(blobs) })
    }

    fn knows_database(&mut self, database: &Database) -> Option<StoreRecord> {
        let record = self.databases.get(&database.found.path)?;
        let same = record.looks == database.looks && record.record.name == database.name;
        (same && self.blobs.known.has_all(&record.needs)).then(|| record.record.clone())
    }

    fn add_known_database(&mut self, head: NodeHead, database: &Database) -> Result<()> {
        let Some(record) = self.databases.remove(&database.found.path) else {
            return Err(Error::internal(format!("nobody knows the database {:?}", database.name)));
        };
        self.blobs.known.need_all(&record.needs);
        let (blake3, content) = match record.content.clone() {
            DatabaseContent::Blobs { blobs, digest } => (Some(digest), Content::Blobs(blobs)),
            DatabaseContent::Pages { map, digest } => (None, Content::Pages { map, digest }),
        };
        let node = Node::File { size: record.size, blake3, data: None, valid_size: None };
        self.new_databases.push(record);
        self.record(TreeEntry { entry: entry(head, node), content })
    }

    fn add(&mut self, head: NodeHead, special: Special) -> Result<()> {
        let node = match special {
            Special::Dir => Node::Dir,
            Special::Symlink { target } => Node::Symlink { target },
            Special::HardLink { target } => Node::HardLink { target },
            Special::Fifo => Node::Fifo,
        };
        self.record(TreeEntry { entry: entry(head, node), content: Content::Nothing })
    }

    fn begin_file(&mut self, head: NodeHead, size: u64, data: Option<Vec<(u64, u64)>>) -> Result<()> {
        if let Some(open) = &self.open {
            return Err(Error::internal(format!("{:?} was not ended", open.head.path)));
        }
        let whole = data.as_deref().is_some_and(|parts| parts == [(0, size)] || size == 0);
        let data = data.filter(|_| !whole);
        let left = data.as_ref().map_or(size, |parts| parts.iter().map(|(_, len)| len).sum());
        self.chunker.clear();
        let small = (left <= WHOLE).then(|| Vec::with_capacity(left as usize));
        self.open =
            Some(OpenFile { head, size, data, hasher: ContentHasher::default(), blobs: Vec::new(), small, left });
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(open) = &mut self.open else { return Err(Error::internal("bytes were written without a file")) };
        let Some(left) = open.left.checked_sub(bytes.len() as u64) else {
            return Err(Error::internal(format!("more was written to {:?} than announced", open.head.path)));
        };
        open.left = left;
        open.hasher.update(open.data.as_deref(), u64::MAX, bytes, &self.scope.cancel)?;
        match &mut open.small {
            Some(small) => small.extend_from_slice(bytes),
            None => {
                let (blobs, ids) = (&mut self.blobs, &mut open.blobs);
                self.chunker.push(bytes, |chunk| {
                    ids.push(blobs.store(chunk)?);
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    fn end_file(&mut self, valid: Option<u64>, steady: Option<&Found>) -> Result<()> {
        let (head, node, blobs) = self.end_open(valid)?;
        let settled = steady.map(Look::of).filter(|look| look.is_settled(self.job.time));
        if let (Some(look), Node::File { blake3: Some(digest), data, .. }, None) = (settled, &node, valid) {
            self.new_table.push(&FileRecord {
                path: head.path.clone(),
                look,
                digest: *digest,
                data: data.clone(),
                blobs: blobs.clone(),
                xattrs: head.xattrs.clone(),
            })?;
        }
        if let (true, Node::File { size, blake3: Some(digest), .. }) = (self.in_database, &node) {
            let (size, digest, needs) = (*size, *digest, blobs.clone());
            let content = DatabaseContent::Blobs { blobs: blobs.clone(), digest };
            self.last_database = Some(LastDatabase { size, content, needs, pages: None });
        }
        self.record(TreeEntry { entry: entry(head, node), content: Content::Blobs(blobs) })
    }

    fn add_database(&mut self, head: NodeHead, copy: &DatabaseCopy<'_>) -> Result<()> {
        self.last_database = None;
        match copy.page_size {
            Some(page_size) => self.add_pages(head, copy, page_size),
            None => {
                self.in_database = true;
                let streamed = stream_copy(self, head, copy);
                self.in_database = false;
                streamed
            }
        }
    }

    fn remember_database(&mut self, database: &Database, record: &StoreRecord) {
        let Some(last) = self.last_database.take() else { return };
        self.page_files.extend(last.pages);
        if database.is_file() && database.looks.iter().flatten().all(|look| look.is_settled(self.job.time)) {
            self.new_databases.push(DatabaseRecord {
                path: database.found.path.clone(),
                looks: database.looks.clone(),
                size: last.size,
                content: last.content,
                needs: last.needs,
                record: record.clone(),
            });
        }
    }

    fn finish(mut self: Box<Self>, mut manifest: Manifest) -> Result<Finished> {
        if let Some(block) = self.tree.cut() {
            self.store_block(block)?;
        }
        let root = pieces::store(&write_root(&self.blocks), |piece| self.blobs.store_record(piece))?;
        manifest.files = self.counts.files;
        manifest.entries = self.counts.entries;
        manifest.size_bytes = self.counts.bytes;
        let json = serde_json::to_vec(&manifest)
            .map_err(|error| Error::internal(format!("the manifest is not JSON: {error}")))?;
        let manifest_id = pieces::store(&json, |piece| self.blobs.store_record(piece))?;
        let Self { job, repository, caches, mut blobs, previous, marks, counts, sealed_to, last, .. } = *self;
        let stored = blobs.packs.finish(&mut blobs.known)?;
        let mut packs: Vec<_> =
            blobs.known.packs().iter().filter(|pack| pack.needed).map(|pack| pack.pack.clone()).collect();
        packs.sort_unstable_by_key(|pack| pack.id);
        let header = Header {
            repository: repository.id,
            snapshot: job.snapshot,
            time: job.time,
            service: manifest.service.clone(),
            service_version: manifest.service_version.clone(),
            host: manifest.host.clone(),
            label: manifest.label.clone(),
            tags: job.tags,
            outcome: manifest.outcome,
            counts: Counts {
                stored,
                skipped: manifest.skipped.len() as u64,
                stores: manifest.stores.len() as u64,
                ..counts
            },
            previous,
            encrypted_to: sealed_to,
            manifest: manifest_id,
            root,
            packs,
        };
        let key = repository.key.clone();
        let shown = LastHeader { snapshot: header.snapshot, mac: header.write(&key).1, time: header.time };
        blobs.packs.commit(Commit { header, key: key.clone(), marks })?;
        let (mut known, table, databases, pages) = (blobs.known, self.new_table, self.new_databases, self.page_files);
        let keep = move || {
            table.publish()?;
            pages.into_iter().try_for_each(AtomicFile::publish)?;
            databases::save(&caches.databases(), &key, &databases)?;
            known.save(&caches.known(), &key)?;
            last.map_or(Ok(()), |file| shown.save(&file, &key))
        };
        Ok(Finished { manifest, stored_bytes: stored, keep: Some(Box::new(keep)) })
    }
}

fn entry(head: NodeHead, node: Node) -> Entry {
    let NodeHead { path, mode, uid, gid, mtime, mtime_nanos, xattrs } = head;
    Entry { path, node, mode, uid, gid, mtime, mtime_nanos, xattrs, offset: 0 }
}
