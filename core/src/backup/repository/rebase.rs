//! The page ids of a database out of the repository's indexes, for a host that lost its caches.

use std::collections::HashMap;

use super::cache::CacheFolder;
use super::cache::known::Known;
use super::cache::pages::BaseWriter;
use super::id::{BlobId, PageId};
use super::index::{self, IndexLine, IndexedMap, Lines};
use super::names;
use super::open::{Repository, genuine};
use super::pages::PageMap;
use super::prepare::MAX_INDEX;
use crate::clock::Timestamp;
use crate::error::{ErrorKind, Result};

/// A page map of the database, and the index that names it.
struct Candidate {
    key: String,
    written: Timestamp,
    base: Option<BlobId>,
}

/// Writes the cache of the page ids of the database whose path has the id `path`, from the newest page map all of whose
/// blobs are there. Says whether there was one.
pub(crate) fn rebuild(repository: &Repository, caches: &CacheFolder, known: &Known, path: BlobId) -> Result<bool> {
    let maps = candidates(repository, path)?;
    let mut newest: Vec<&BlobId> = maps.keys().collect();
    newest.sort_by_key(|id| (std::cmp::Reverse(maps[*id].written), **id));
    for top in newest {
        if let Some(chain) = chain(&maps, *top)
            && restore(repository, caches, known, path, &maps, &chain)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Every page map of the database.
fn candidates(repository: &Repository, path: BlobId) -> Result<HashMap<BlobId, Candidate>> {
    let mut maps = HashMap::new();
    for object in repository.objects.list(names::INDEX)? {
        repository.objects.scope().cancel.check()?;
        each_map(repository, &object.key, |line| {
            if let IndexLine::Map(indexed) = line
                && indexed.path == path
            {
                let (key, base) = (object.key.clone(), indexed.map.base);
                maps.insert(indexed.id, Candidate { key, written: object.modified_at, base });
            }
            Ok(())
        })?;
    }
    Ok(maps)
}

/// A map and all below it, the lowest last; `None` when one is missing.
fn chain(maps: &HashMap<BlobId, Candidate>, top: BlobId) -> Option<Vec<BlobId>> {
    let mut chain = vec![top];
    while let Some(base) = maps.get(chain.last()?)?.base {
        if chain.contains(&base) {
            return None;
        }
        chain.push(base);
    }
    Some(chain)
}

fn restore(
    repository: &Repository,
    caches: &CacheFolder,
    known: &Known,
    path: BlobId,
    maps: &HashMap<BlobId, Candidate>,
    chain: &[BlobId],
) -> Result<bool> {
    let mut ids: Vec<PageId> = Vec::new();
    let mut flat: Option<PageMap> = None;
    let mut needed = Vec::new();
    for id in chain.iter().rev() {
        let mut found: Option<Box<IndexedMap>> = None;
        let mut units = Vec::new().into_iter();
        each_map(repository, &maps[id].key, |line| {
            match line {
                IndexLine::Map(indexed) if indexed.id == *id => {
                    // Whoever says that it is longer than what is below and what it names says nothing true.
                    if indexed.map.units() > ids.len() as u64 + indexed.map.named() {
                        units = Vec::new().into_iter();
                        return Ok(());
                    }
                    let runs = indexed.map.runs.iter();
                    let all: Vec<u32> = runs.flat_map(|run| run.first..run.first + run.units).collect();
                    ids.resize(indexed.map.units() as usize, PageId([0; 16]));
                    units = all.into_iter();
                    found = Some(indexed);
                }
                IndexLine::Map(_) => units = Vec::new().into_iter(),
                IndexLine::Ids(page_ids) => {
                    // In this order: a zip asks its first side first, and would lose a unit at each line's end.
                    for (page_id, unit) in page_ids.into_iter().zip(units.by_ref()) {
                        ids[unit as usize] = page_id;
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        let Some(indexed) = found.filter(|_| units.len() == 0) else { return Ok(false) };
        needed.push(indexed.id);
        needed.extend(indexed.pieces);
        let laid = match flat {
            None => Ok(indexed.map),
            Some(mut below) => {
                // Where everything lies, and how deep the map is that says so.
                below.depth = indexed.map.depth.saturating_sub(1);
                indexed.map.over(below)
            }
        };
        let Some(map) = genuine(laid)? else { return Ok(false) };
        flat = Some(map);
    }
    let Some(flat) = flat else { return Ok(false) };
    let depth = chain.len() as u32 - 1;
    let Some(flat) = genuine(flat.flatten(|_| Err(crate::Error::internal("a flat map has a base"))))? else {
        return Ok(false);
    };
    let complete = known.has_all(&needed) && flat.data.iter().all(|(id, _)| known.pack_of(id).is_some());
    if !complete {
        return Ok(false);
    }
    let mut writer = BaseWriter::create(&caches.pages(path), &repository.key)?;
    ids.iter().try_for_each(|id| writer.push(*id))?;
    writer.finish(chain[0], depth, &flat, &needed)?.publish()?;
    Ok(true)
}

/// Gives the lines about page maps in an index to `each`; none of one that is gone or damaged.
fn each_map(repository: &Repository, key: &str, mut each: impl FnMut(IndexLine) -> Result<()>) -> Result<()> {
    let Some(pack) = names::index_of(key) else { return Ok(()) };
    let bytes = match repository.objects.read(key, MAX_INDEX) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let read = index::read(&bytes, repository.id, pack, &repository.key, Lines::All, |line| match line {
        IndexLine::Map(_) | IndexLine::Ids(_) => each(line),
        _ => Ok(()),
    });
    genuine(read).map(drop)
}
