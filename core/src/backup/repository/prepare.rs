//! What a run settles before it stores anything: which repository, what it has already, what was collected.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cache::damaged::DamagedPacks;
use super::cache::databases::{self, DatabaseRecord};
use super::cache::files::FileTablePlace;
use super::cache::known::Known;
use super::cache::last::LastHeader;
use super::cache::{CacheFolder, CacheOf};
use super::collecting::guard::Marks;
use super::id::{BlobId, IdKey, PackId, RepositoryId, SnapshotId};
use super::identity::Identity;
use super::index::{self, IndexLine, Lines};
use super::open::{Identified, Repository, genuine};
use super::sealing::Sealing;
use super::{names, recover};
use crate::backup::blocks::Objects;
use crate::backup::manifest::Digest;
use crate::backup::memory::Memory;
use crate::backup::seal::{Keys, keyring, sealing};
use crate::error::{Error, ErrorKind, Result};

/// The longest index object.
pub(super) const MAX_INDEX: u64 = 256 << 20;

/// A repository that is ready for a run.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) repository: Repository,
    pub(crate) sealing: Arc<dyn Sealing>,
    pub(crate) caches: CacheFolder,
    pub(crate) known: Known,
    pub(crate) files: FileTablePlace,
    pub(crate) databases: Vec<DatabaseRecord>,
    /// The newest header, and its mac; the one that this host put last, when somebody took that away.
    pub(crate) previous: Option<(SnapshotId, Digest)>,
    /// The file that says which header this host put last.
    pub(crate) last: Option<PathBuf>,
    /// What the collect records say.
    pub(crate) marks: Marks,
}

impl Prepared {
    /// Opens the repository in a target, and creates it where there is none. It blocks.
    ///
    /// `state` is the service's state folder, and `caches` says what of it is used; `memory` is what is known of the target, and
    /// refuses one that has lost its repository; `made_for` names
    /// the build and the kinds of databases that it recognises: what another one took for a plain file may be a database to this one.
    pub(crate) fn open(
        objects: &Objects,
        keys: &Keys,
        (state, caches): (&Path, CacheOf),
        memory: &mut Memory,
        made_for: &str,
    ) -> Result<Self> {
        let ring = keyring(keys);
        let found = Repository::identify(objects)?;
        // Before anything is written.
        memory.meet(found.as_ref().map(Identified::id))?;
        let repository = match found {
            Some(found) => found.open(objects, &ring)?,
            None => {
                create(objects, keys)?;
                // Of several creators at once one wins, and everybody uses its record.
                Repository::open(objects, &ring)?.ok_or_else(|| {
                    Error::new(ErrorKind::Unavailable, "the target does not show the repository that was just created")
                })?
            }
        };
        recover::put(objects)?;
        if keys.is_some() && !repository.sealed {
            return Err(Error::new(
                ErrorKind::Refused,
                "the repository is in clear, and this host encrypts its backups",
            )
            .with_hint(
                "name another folder or prefix in the [[target]]: a repository is encrypted as a whole or not at all",
            ));
        }
        // A copy may bring back what a target has lost: it does not ask where its last one is.
        let is_backup = caches == CacheOf::Backups;
        let caches = CacheFolder::open(state, caches, repository.id)?;
        // First what was collected: a pack that is deleted from here on was condemned in a record that is read now, or
        // in one that is met before the snapshot is shown.
        let marks = Marks::read(&repository)?;
        let last = is_backup.then(|| caches.last(memory.target()));
        let previous = match last.as_ref().and_then(|file| LastHeader::load(file, &repository.key)) {
            Some(gone) if gone.is_missing(&repository)? => Some((gone.snapshot, gone.mac)),
            _ => newest(&repository)?,
        };
        let found = CacheFolder::at(state, CacheOf::Backups, repository.id).damaged(memory.target());
        let damaged = DamagedPacks::load(&found, &repository.key);
        let known = load_known(&repository, &caches, |pack| !marks.condemned(pack) && !damaged.has(pack))?;
        let key = repository.key.clone();
        Ok(Self {
            databases: databases::load(&caches.databases(), &key),
            files: FileTablePlace { file: caches.files(), key, made_for: made_for.to_owned() },
            sealing: sealing(keys),
            repository,
            caches,
            known,
            previous,
            last,
            marks,
        })
    }
}

fn create(objects: &Objects, keys: &Keys) -> Result<()> {
    let now = objects.scope().clock.now();
    let (identity, key) = match keys {
        None => {
            let key = IdKey::random()?;
            (Identity::new(now, Some(key.clone()))?, key)
        }
        // The wrapped keys name the repository, so it has that name in every target.
        Some(keys) => {
            let id = RepositoryId::parse(keys.repository().as_bytes());
            let id = id.ok_or_else(|| Error::internal("the keys are those of no repository"))?;
            (Identity { id, ..Identity::new(now, None)? }, IdKey::new(*keys.id_key().reveal()))
        }
    };
    objects.put_new(names::REPOSITORY, &identity.write(&key)).map(drop)
}

/// The newest header that is whole.
fn newest(repository: &Repository) -> Result<Option<(SnapshotId, Digest)>> {
    for object in repository.objects.list(names::SNAPSHOTS)?.into_iter().rev() {
        if names::snapshot_of(&object.key).is_none() {
            continue;
        }
        match repository.header(&object.key) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            read => {
                if let Some((header, mac)) = genuine(read)? {
                    return Ok(Some((header.snapshot, mac)));
                }
            }
        }
    }
    Ok(None)
}

/// Which blobs are where: the cache, and the indexes that it lacks. Blobs in other packs than the `usable` are stored again.
fn load_known(repository: &Repository, caches: &CacheFolder, usable: impl Fn(&PackId) -> bool) -> Result<Known> {
    let objects = &repository.objects;
    let mut known = Known::load(&caches.known(), &repository.key);
    let packs: HashMap<PackId, u64> = objects
        .list(names::PACKS)?
        .into_iter()
        .filter_map(|object| Some((names::pack_of(&object.key)?.0, object.size_bytes)))
        .collect();
    let indexes: Vec<(PackId, String)> = objects
        .list(names::INDEX)?
        .into_iter()
        .filter_map(|object| Some((names::index_of(&object.key)?, object.key)))
        .collect();
    let indexed: HashSet<PackId> = indexes.iter().map(|(id, _)| *id).collect();
    known.retain_packs(|pack| indexed.contains(&pack.id) && packs.get(&pack.id) == Some(&pack.stored_bytes));
    for pack in known.packs_mut() {
        pack.usable = usable(&pack.pack.id);
    }
    let have: HashSet<PackId> = known.packs().iter().map(|pack| pack.pack.id).collect();
    let (ids, keys): (Vec<PackId>, Vec<String>) =
        indexes.into_iter().filter(|(id, _)| packs.contains_key(id) && !have.contains(id)).unzip();
    objects.read_each(&keys, MAX_INDEX, |number, bytes| {
        let bytes = match bytes {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let id = ids[number];
        let mut blobs: Vec<BlobId> = Vec::new();
        let read = index::read(&bytes, repository.id, id, &repository.key, Lines::Blobs, |line| {
            if let IndexLine::Blob(blob) = line {
                blobs.push(blob.id);
            }
            Ok(())
        });
        // What lies in a pack whose index is damaged is stored again; a verify names it.
        if let Some(read) = genuine(read)?
            && packs.get(&id) == Some(&read.pack.stored_bytes)
        {
            let number = known.add_pack(read.pack, usable(&id));
            blobs.into_iter().for_each(|blob| known.insert(blob, number));
        }
        Ok(())
    })?;
    Ok(known)
}
