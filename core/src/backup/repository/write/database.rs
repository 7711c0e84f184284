//! A database by its units: only those that changed are stored.

use std::io::Read;

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
use crate::backup::meter::Meter;
use crate::backup::pool::Pool;
use crate::error::{Error, Result};

/// How much of a copy is read at once: whole units of every size.
const BLOCK: usize = 1 << 20;

/// The bytes of a database on their way into the repository.
pub(in crate::backup) struct Units<'a> {
    /// Where they come from.
    pub(in crate::backup) source: &'a mut dyn Read,
    /// How many there are.
    pub(in crate::backup) length: u64,
    /// How many belong together.
    pub(in crate::backup) unit: u32,
    /// Counts them.
    pub(in crate::backup) meter: Meter,
    /// What is said when they cannot be read.
    pub(in crate::backup) unreadable: &'a dyn Fn(std::io::Error) -> Error,
}

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
        let (mut source, length) = copy.open()?;
        let (meter, unreadable) = (copy.meter(length), |error| copy.unreadable(error));
        let unit = unit_for(page_size);
        self.add_units(head, Units { source: &mut source, length, unit, meter, unreadable: &unreadable })
    }

    /// Stores a database by its units.
    pub(in crate::backup) fn add_units(&mut self, head: NodeHead, units: Units<'_>) -> Result<()> {
        let (length, unit) = (units.length, units.unit);
        let key = self.repository.key.clone();
        let path = key.blob_id(head.path.as_bytes());
        let mut base = self.base_of(path)?.filter(|base| base.flat.unit == unit);
        let mut ids = BaseWriter::create(&self.caches.pages(path), &key)?;
        let (map, digest) = self.store_units(units, base.as_mut(), &mut ids)?;
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

    /// Keeps the page ids of the database that was added last for the next run.
    pub(crate) fn keep_pages(&mut self) {
        self.page_files.extend(self.last_database.take().and_then(|last| last.pages));
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
        source: Units<'_>,
        mut base: Option<&mut Base>,
        ids: &mut BaseWriter,
    ) -> Result<(PageMap, Digest)> {
        let Units { source, length, unit, mut meter, unreadable } = source;
        let key = self.repository.key.clone();
        let below = base.as_ref().map(|base| (base.map, base.depth, base.flat.length));
        let same = below.map_or(0, |(_, _, base_length)| same_units(length, base_length, unit));
        let per_blob = MAX_DATA / unit;
        let mut map = PageMap::new(unit, length, below);
        let mut all_ids = key.mac();
        let (mut gathered, mut units) = (Vec::new(), 0);
        let mut hashing = Hashing::start(unit, &key, self.job.compression.1)?;
        let (mut at, mut number) = (0, 0_u32);
        loop {
            self.scope.cancel.check()?;
            while at < length && hashing.has_room() {
                let len = usize::try_from(length - at).unwrap_or(BLOCK).min(BLOCK);
                hashing.submit(len, |bytes| source.read_exact(bytes).map_err(unreadable))?;
                at += len as u64;
            }
            let Some(block) = hashing.next()? else { break };
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
            hashing.reuse(block);
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

/// A part of a database with the ids of its units.
#[derive(Default)]
struct Block {
    bytes: Vec<u8>,
    ids: Vec<PageId>,
}

/// A few threads that hash blocks, which come back in their order.
struct Hashing {
    pool: Pool<Block, Block>,
    /// How many are under way at most.
    ahead: u64,
    spare: Vec<Block>,
}

impl Hashing {
    fn start(unit: u32, key: &IdKey, threads: usize) -> Result<Self> {
        let threads = threads.clamp(1, 4);
        let worker = |_| {
            let key = key.clone();
            move |mut block: Block| {
                block.ids.clear();
                block.ids.extend(block.bytes.chunks(unit as usize).map(|bytes| key.page_id(bytes)));
                block
            }
        };
        let pool = Pool::new((0..threads).map(worker).collect())?;
        Ok(Self { pool, ahead: threads as u64 + 1, spare: Vec::new() })
    }

    fn has_room(&self) -> bool {
        self.pool.in_flight() < self.ahead
    }

    /// Has a block of `len` bytes hashed that `fill` fills.
    fn submit(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<()> {
        let mut block = self.spare.pop().unwrap_or_default();
        block.bytes.resize(len, 0);
        fill(&mut block.bytes)?;
        self.pool.submit(block)
    }

    /// The oldest block under way.
    fn next(&mut self) -> Result<Option<Block>> {
        if self.pool.in_flight() == 0 {
            return Ok(None);
        }
        self.pool.next().map(Some)
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
