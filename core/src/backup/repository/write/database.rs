//! A database by its units: only those that changed are stored.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::super::cache::databases::DatabaseContent;
use super::super::cache::pages::{Base, BaseWriter};
use super::super::id::{BlobId, IdKey, PageId};
use super::super::index::IndexedMap;
use super::super::pages::{MAX_DATA, MAX_DEPTH, PageMap, same_units, unit_for};
use super::super::pieces::PieceWriter;
use super::super::rebase;
use super::super::tree::{Content, TreeEntry};
use super::{LastDatabase, RepositoryWriter, entry};
use crate::backup::archive::NodeHead;
use crate::backup::layout::DatabaseCopy;
use crate::backup::manifest::{Digest, Node};
use crate::backup::pool::Pool;
use crate::error::{Error, Result};

/// How much of a copy is read at once: whole units of every size.
const BLOCK: usize = 1 << 20;

/// A database as it is stored.
struct StoredPages {
    /// The page map that says where its units are.
    id: BlobId,
    depth: u32,
    /// The same, whatever map says it.
    flat: PageMap,
    /// The blobs of this map and of all below it.
    maps: Vec<BlobId>,
}

impl RepositoryWriter {
    /// Stores the copy of a database with pages of `page_size` bytes.
    pub(super) fn add_pages(&mut self, head: NodeHead, copy: &DatabaseCopy<'_>, page_size: u32) -> Result<()> {
        let (source, length) = copy.open()?;
        let key = self.repository.key.clone();
        let unit = unit_for(page_size);
        let path = key.blob_id(head.path.as_bytes());
        let mut base = self.base_of(path)?.filter(|base| base.flat.unit == unit);
        let mut ids = BaseWriter::create(&self.caches.pages(path), &key)?;
        let (map, digest) = self.store_units(copy, source, length, unit, base.as_mut(), &mut ids)?;
        let stored = self.store_map(path, map, base, &mut ids)?;
        let StoredPages { id, depth, flat, maps } = stored;
        let needs: Vec<BlobId> = flat.data.iter().map(|(id, _)| *id).chain(maps.iter().copied()).collect();
        for blob in &needs {
            if !self.blobs.packs.has(blob) && !self.blobs.known.need(blob) {
                return Err(Error::internal(format!("the database {:?} needs a blob that nobody has", head.path)));
            }
        }
        self.last_database = Some(LastDatabase {
            size: length,
            content: DatabaseContent::Pages { map: id, digest },
            needs,
            pages: Some(ids.finish(id, depth, &flat, &maps)?),
        });
        let node = Node::File { size: length, blake3: None, data: None, valid_size: None };
        self.record(TreeEntry { entry: entry(head, node), content: Content::Pages { map: id, digest } })
    }

    /// The database as an earlier run stored it: out of the cache, or else out of the repository's indexes. None when
    /// something that it needs is gone.
    fn base_of(&mut self, path: BlobId) -> Result<Option<Base>> {
        let file = self.caches.pages(path);
        let key = &self.repository.key;
        if let Some(base) = Base::open(&file, key)
            && self.blobs.known.has_all(&base.needs())
        {
            return Ok(Some(base));
        }
        let rebuilt = rebase::rebuild(&self.repository, &self.caches, &self.blobs.known, path)?;
        Ok(if rebuilt { Base::open(&file, key) } else { None })
    }

    /// Stores the units that the base lacks, and names them in a map over it.
    fn store_units(
        &mut self,
        copy: &DatabaseCopy<'_>,
        source: File,
        length: u64,
        unit: u32,
        mut base: Option<&mut Base>,
        ids: &mut BaseWriter,
    ) -> Result<(PageMap, Digest)> {
        let key = self.repository.key.clone();
        let below = base.as_ref().map(|base| (base.map, base.depth, base.flat.length));
        let same = below.map_or(0, |(_, _, base_length)| same_units(length, base_length, unit));
        let per_blob = MAX_DATA / unit;
        let mut map = PageMap::new(unit, length, below);
        let mut all_ids = key.mac();
        let (mut gathered, mut units) = (Vec::new(), 0);
        let mut meter = copy.meter(length);
        let mut blocks = Blocks::start(source, length, unit, &key, self.job.compression.1)?;
        let mut number = 0_u32;
        while let Some(block) = blocks.next(|error| copy.unreadable(error))? {
            self.scope.cancel.check()?;
            for (bytes, id) in block.bytes.chunks(unit as usize).zip(&block.ids) {
                let id = *id;
                ids.push(id)?;
                all_ids.update(&id.0);
                let before = match &mut base {
                    Some(base) if u64::from(number) < same => base.next_id(),
                    _ => None,
                };
                if before != Some(id) {
                    map.push_unit(number, map.data.len() as u32, units);
                    gathered.extend_from_slice(bytes);
                    units += 1;
                    if units == per_blob {
                        map.push_data(self.blobs.store(&gathered)?, std::mem::take(&mut units));
                        gathered.clear();
                    }
                }
                number += 1;
            }
            meter.bytes(block.bytes.len() as u64);
            blocks.reuse(block);
        }
        if units > 0 {
            map.push_data(self.blobs.store(&gathered)?, units);
        }
        Ok((map, Digest(*all_ids.finalize().as_bytes())))
    }

    /// Stores the map, over its base or flat.
    fn store_map(
        &mut self,
        path: BlobId,
        map: PageMap,
        base: Option<Base>,
        ids: &mut BaseWriter,
    ) -> Result<StoredPages> {
        let Some(base) = base.filter(|_| map.named() < map.units()) else {
            // It names every unit itself.
            let flat = map.without_base();
            let (id, maps) = self.write_map(path, flat.clone(), ids)?;
            return Ok(StoredPages { id, depth: 0, flat, maps });
        };
        let Base { map: below_id, depth, flat: below, maps, .. } = base;
        if map.runs.is_empty() && map.length == below.length {
            // Not a unit differs: the map below says it all.
            return Ok(StoredPages { id: below_id, depth, flat: below, maps });
        }
        // What is below stands for a map of its depth.
        let laid = map.clone().over(PageMap::in_place_of(depth, below))?;
        let mut flat = laid.flatten(|_| Err(Error::internal("a flat page map has a base")))?;
        flat.depth = 0;
        if depth < MAX_DEPTH {
            let depth = map.depth;
            let (id, mut own) = self.write_map(path, map, ids)?;
            own.extend(maps);
            return Ok(StoredPages { id, depth, flat, maps: own });
        }
        let (id, maps) = self.write_map(path, flat.clone(), ids)?;
        Ok(StoredPages { id, depth: 0, flat, maps })
    }

    /// Writes a map, and says in the index of its pack what it says: its id, and the blobs that it consists of.
    fn write_map(&mut self, path: BlobId, map: PageMap, ids: &mut BaseWriter) -> Result<(BlobId, Vec<BlobId>)> {
        let mut stored = Vec::new();
        let blobs = &mut self.blobs;
        let mut writer = PieceWriter::new(|bytes: &[u8]| {
            let id = blobs.store_record(bytes)?;
            stored.push(id);
            Ok(id)
        });
        map.write(&mut writer)?;
        let id = writer.finish()?;
        if self.blobs.packs.has(&id) {
            let pieces = stored.iter().copied().filter(|piece| *piece != id).collect();
            let named = Named { ids: Box::new(ids.ids()?), runs: ranges(&map), next: 0 };
            self.blobs.packs.describe(IndexedMap { id, path, pieces, map }, Box::new(named));
        }
        Ok((id, stored))
    }
}

/// A part of a copy with the ids of its units.
struct Block {
    at: u64,
    bytes: Vec<u8>,
    ids: Vec<PageId>,
    read: std::io::Result<()>,
}

/// The blocks of a copy in their order, read and hashed by a few threads.
struct Blocks {
    pool: Pool<Block, Block>,
    /// How many are under way at most.
    ahead: u64,
    spare: Vec<Block>,
    next: u64,
    length: u64,
}

impl Blocks {
    fn start(source: File, length: u64, unit: u32, key: &IdKey, threads: usize) -> Result<Self> {
        let (source, threads) = (Arc::new(source), threads.clamp(1, 4));
        let worker = |_| {
            let (source, key) = (Arc::clone(&source), key.clone());
            move |mut block: Block| {
                block.read = source.read_exact_at(&mut block.bytes, block.at);
                block.ids.clear();
                block.ids.extend(block.bytes.chunks(unit as usize).map(|bytes| key.page_id(bytes)));
                block
            }
        };
        let pool = Pool::new((0..threads).map(worker).collect())?;
        Ok(Self { pool, ahead: threads as u64 + 1, spare: Vec::new(), next: 0, length })
    }

    /// The next one; `unreadable` makes the error of one that cannot be read.
    fn next(&mut self, unreadable: impl Fn(std::io::Error) -> Error) -> Result<Option<Block>> {
        while self.pool.in_flight() < self.ahead && self.next < self.length {
            let spare = || Block { at: 0, bytes: Vec::new(), ids: Vec::new(), read: Ok(()) };
            let mut block = self.spare.pop().unwrap_or_else(spare);
            let len = usize::try_from(self.length - self.next).unwrap_or(BLOCK).min(BLOCK);
            block.at = self.next;
            block.bytes.resize(len, 0);
            self.next += len as u64;
            self.pool.submit(block)?;
        }
        if self.pool.in_flight() == 0 {
            return Ok(None);
        }
        let mut block = self.pool.next()?;
        std::mem::replace(&mut block.read, Ok(())).map_err(unreadable)?;
        Ok(Some(block))
    }

    /// Takes a block back.
    fn reuse(&mut self, block: Block) {
        self.spare.push(block);
    }
}

/// The units that a map names, as ranges.
fn ranges(map: &PageMap) -> std::vec::IntoIter<std::ops::Range<u64>> {
    let range = |first: u32, units: u32| u64::from(first)..u64::from(first) + u64::from(units);
    map.runs.iter().map(|run| range(run.first, run.units)).collect::<Vec<_>>().into_iter()
}

type AllIds = Box<dyn FnMut() -> Result<Option<PageId>> + Send>;

/// Of the ids of all units, those that a map names.
struct Named {
    ids: AllIds,
    runs: std::vec::IntoIter<std::ops::Range<u64>>,
    /// The unit whose id comes next.
    next: u64,
}

impl Iterator for Named {
    type Item = Result<PageId>;

    fn next(&mut self) -> Option<Result<PageId>> {
        loop {
            let run = self.runs.as_slice().first()?.clone();
            if self.next >= run.end {
                self.runs.next();
                continue;
            }
            let id = match (self.ids)() {
                Ok(Some(id)) => id,
                Ok(None) => return Some(Err(Error::internal("a database has fewer page ids than units"))),
                Err(error) => return Some(Err(error)),
            };
            self.next += 1;
            if self.next > run.start {
                return Some(Ok(id));
            }
        }
    }
}
