//! Packs on their way out: blobs in, frames compressed by a few threads, each pack's bytes to the target in order.
//!
//! A pack is as long as its frames turn out to be, so which pack a blob is in is known when its frame comes back
//! from the threads, and not before.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::cache::known::Known;
use super::header::NeededPack;
use super::id::{BlobId, IdKey, PackId, RepositoryId};
use super::index::{IndexWriter, IndexedMap, IndexedPack, PageIds};
use super::names;
use super::pack::{END_FRAME, FrameBuilder, PACK, PACK_BLOBS, PackedBlob};
use super::sealing::{SealStream, Sealing};
use crate::backup::blocks::Blocks;
use crate::backup::deposit::Seal;
use crate::backup::frames::Packer;
use crate::backup::manifest::Digest;
use crate::backup::pool::Pool;
use crate::backup::spool::{Spool, Spooled};
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};

/// How many bytes travel to the target together.
const BLOCK: usize = 1 << 20;

/// What the target's task is told, in order.
#[derive(Debug)]
pub(crate) enum Step {
    /// A pack begins, under this key.
    Begin(String),
    /// Its next bytes.
    Bytes(Arc<[u8]>),
    /// It is complete.
    End(PackEnd),
    /// The index of a pack that is there already.
    Index(String, Spooled),
    /// Everything is: show the snapshot.
    Commit(Box<super::deliver::Commit>),
}

/// What a pack must be, and its index.
#[derive(Debug)]
pub(crate) struct PackEnd {
    pub(crate) seal: Seal,
    pub(crate) index_key: String,
    pub(crate) index: Spooled,
}

/// Packs blobs.
pub(crate) struct PackStream {
    scope: Scope,
    repository: RepositoryId,
    key: IdKey,
    sealing: Arc<dyn Sealing>,
    pool: Pool<Job, Job>,
    max_in_flight: u64,
    /// What is gathered for the next frame of content, and of records. Apart, so that whoever reads the tree of a
    /// snapshot reads no content, and a damaged frame of content costs no records.
    filling: [FrameBuilder; 2],
    spare: Vec<Job>,
    /// Blobs in frames that have not come back.
    pending: HashSet<BlobId>,
    /// Page maps whose blob is on its way.
    maps: HashMap<BlobId, (IndexedMap, PageIds)>,
    current: Option<Current>,
    /// Beside which indexes are gathered.
    indexes: PathBuf,
    out: mpsc::Sender<Step>,
    added_bytes: u64,
}

/// What a blob is: only blobs of one kind share a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlobKind {
    /// Of files and databases.
    Content,
    /// Trees, page maps, and the lists of their pieces.
    Record,
}

/// A frame on its way through the pool, and back.
#[derive(Default)]
struct Job {
    plain: Vec<u8>,
    blobs: Vec<PackedBlob>,
    packed: Vec<u8>,
    failed: Option<Error>,
}

/// The pack that is being sent.
struct Current {
    id: PackId,
    /// Its number among the known ones.
    number: u32,
    index: IndexWriter,
    sealed: Box<dyn SealStream>,
    hasher: blake3::Hasher,
    stored: u64,
    plain: u64,
    /// What has gathered for the target.
    block: Vec<u8>,
}

impl PackStream {
    /// A stream whose steps go to `out`. `threads` compress at `level`; an index that is large waits in a file beside `indexes`.
    pub(crate) fn new(
        scope: &Scope,
        repository: RepositoryId,
        key: &IdKey,
        sealing: Arc<dyn Sealing>,
        (level, threads): (i32, usize),
        indexes: PathBuf,
        out: mpsc::Sender<Step>,
    ) -> Result<Self> {
        let threads = threads.max(1);
        let mut workers = Vec::new();
        for _ in 0..threads {
            let mut packer = Packer::new(level)?;
            workers.push(move |mut job: Job| {
                job.failed = packer.pack(&job.plain, &mut job.packed).err();
                job
            });
        }
        Ok(Self {
            scope: scope.clone(),
            repository,
            key: key.clone(),
            sealing,
            pool: Pool::new(workers)?,
            // One waits for each that is being compressed, within reason.
            max_in_flight: threads as u64 + threads.min(2) as u64,
            filling: Default::default(),
            spare: Vec::new(),
            pending: HashSet::new(),
            maps: HashMap::new(),
            current: None,
            indexes,
            out,
            added_bytes: 0,
        })
    }

    /// Whether a blob is on its way already.
    pub(crate) fn has(&self, id: &BlobId) -> bool {
        self.pending.contains(id)
    }

    /// Takes a blob that nobody has.
    pub(crate) fn push(&mut self, kind: BlobKind, id: BlobId, content: &[u8], known: &mut Known) -> Result<()> {
        if !self.filling[kind as usize].fits(content.len()) {
            self.dispatch(kind, known)?;
        }
        self.filling[kind as usize].push(id, content)?;
        self.pending.insert(id);
        Ok(())
    }

    /// Says that the blob that was pushed last is a page map: it will be in the index of its pack.
    pub(crate) fn describe(&mut self, map: IndexedMap, ids: PageIds) {
        self.maps.insert(map.id, (map, ids));
    }

    /// Sends everything that has gathered. Returns how many bytes this run added.
    pub(crate) fn finish(&mut self, known: &mut Known) -> Result<u64> {
        self.dispatch(BlobKind::Content, known)?;
        self.dispatch(BlobKind::Record, known)?;
        while self.pool.in_flight() > 0 {
            self.collect(known)?;
        }
        let pack = self.end_pack()?;
        Self::note(known, pack);
        Ok(self.added_bytes)
    }

    /// Tells the target's task to show the snapshot.
    pub(crate) fn commit(self, commit: super::deliver::Commit) -> Result<()> {
        self.send(Step::Commit(Box::new(commit)))
    }

    /// Gives the frame being filled to the pool, and takes a finished one when enough are under way.
    fn dispatch(&mut self, kind: BlobKind, known: &mut Known) -> Result<()> {
        self.scope.cancel.check()?;
        if self.filling[kind as usize].is_empty() {
            return Ok(());
        }
        while self.pool.in_flight() >= self.max_in_flight {
            self.collect(known)?;
        }
        let mut job = self.spare.pop().unwrap_or_default();
        let frame = std::mem::replace(&mut self.filling[kind as usize], FrameBuilder::reusing(job.plain)).take();
        job.plain = frame.plain;
        job.blobs = frame.blobs;
        self.pool.submit(job)
    }

    /// Takes the oldest finished frame and sends it.
    fn collect(&mut self, known: &mut Known) -> Result<()> {
        let mut job = self.pool.next()?;
        if let Some(error) = job.failed.take() {
            return Err(error);
        }
        if self.current.is_none() {
            self.begin_pack(known)?;
        }
        let Some(current) = &mut self.current else { return Err(Error::internal("a pack did not begin")) };
        for blob in &job.blobs {
            self.pending.remove(&blob.id);
            known.insert(blob.id, current.number);
            if let Some((map, ids)) = self.maps.remove(&blob.id) {
                current.index.map(map, ids);
            }
        }
        current.index.frame(job.packed.len() as u32, job.plain.len() as u32, &job.blobs);
        self.send_frame(&job.packed)?;
        let full = |current: &Current| current.plain >= PACK || current.index.blobs() >= PACK_BLOBS;
        if self.current.as_ref().is_some_and(full) {
            let pack = self.end_pack()?;
            Self::note(known, pack);
        }
        self.spare.push(job);
        Ok(())
    }

    fn begin_pack(&mut self, known: &mut Known) -> Result<()> {
        let id = PackId::random()?;
        let fingerprint = self.sealing.fingerprint();
        // Its length and digest follow.
        let pack = NeededPack { id, stored_bytes: 0, digest: Digest([0; 32]), fingerprint };
        let number = known.add_pack(pack, true);
        known.packs_mut()[number as usize].needed = true;
        let key = names::pack(id, self.sealing.fingerprint().is_some());
        self.current = Some(Current {
            id,
            number,
            index: IndexWriter::new(self.repository),
            sealed: self.sealing.begin()?,
            hasher: blake3::Hasher::new(),
            stored: 0,
            plain: 0,
            block: Vec::with_capacity(BLOCK),
        });
        self.send(Step::Begin(key))
    }

    fn send_frame(&mut self, packed: &[u8]) -> Result<()> {
        let Some(current) = &mut self.current else { return Err(Error::internal("a frame came without a pack")) };
        current.plain += packed.len() as u64;
        current.sealed.push(packed, &mut current.block)?;
        self.send_blocks(false)
    }

    /// Sends what has gathered of the pack: whole blocks, or `all`.
    fn send_blocks(&mut self, all: bool) -> Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let mut sent = 0;
        let mut blocks: Vec<Arc<[u8]>> = Vec::new();
        while current.block.len() - sent >= BLOCK || (all && sent < current.block.len()) {
            let end = current.block.len().min(sent + BLOCK);
            let block = &current.block[sent..end];
            current.hasher.update(block);
            current.stored += block.len() as u64;
            blocks.push(block.into());
            sent = end;
        }
        current.block.drain(..sent);
        blocks.into_iter().try_for_each(|block| self.send(Step::Bytes(block)))
    }

    /// Ends the pack, when there is one.
    fn end_pack(&mut self) -> Result<Option<(u32, NeededPack)>> {
        if self.current.is_none() {
            return Ok(None);
        }
        let mut last = Vec::new();
        Packer::new(1)?.pack(&END_FRAME, &mut last)?;
        if let Some(current) = &mut self.current {
            current.index.frame(last.len() as u32, END_FRAME.len() as u32, &[]);
        }
        self.send_frame(&last)?;
        if let Some(current) = &mut self.current {
            current.sealed.finish(&mut current.block)?;
        }
        self.send_blocks(true)?;
        let Some(current) = self.current.take() else { return Ok(None) };
        let seal = Seal { stored_bytes: current.stored, blake3: *current.hasher.finalize().as_bytes() };
        let pack = NeededPack {
            id: current.id,
            stored_bytes: seal.stored_bytes,
            digest: Digest(seal.blake3),
            fingerprint: self.sealing.fingerprint(),
        };
        let indexed = IndexedPack { pack: pack.clone(), plain_bytes: current.plain };
        let index = current.index.finish(&indexed, &self.key, Spool::beside(self.indexes.clone()))?.finish()?;
        self.added_bytes += seal.stored_bytes + index.len();
        self.send(Step::End(PackEnd { seal, index_key: names::index(current.id), index }))?;
        Ok(Some((current.number, pack)))
    }

    fn note(known: &mut Known, pack: Option<(u32, NeededPack)>) {
        if let Some((number, pack)) = pack {
            known.packs_mut()[number as usize].pack = pack;
        }
    }

    fn send(&self, step: Step) -> Result<()> {
        // The task is gone only when it failed, and it knows why.
        self.out.blocking_send(step).map_err(|_| Error::new(ErrorKind::Unavailable, GONE))
    }
}

/// What is said when the target's task has ended. Why, it knows.
pub(crate) const GONE: &str = "the target takes the backup no more";
