//! What a target stores, and reading a part of it.
//!
//! An archive is read by ranges, since one may be larger than a run. The objects of a repository are small and proven as a whole:
//! packs by the digest in the headers that need them, indexes by their mac, segments by both. Headers and records of collections are read,
//! and so proven, by every run.

use std::collections::{BTreeMap, HashMap};
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cycle::{Slice, slices, whole};
use crate::backup::archive::Archive;
use crate::backup::blocks::{Objects, TargetBlocks, read_exact};
use crate::backup::list::{SEALED_SUFFIX, SUFFIX, blocking, id_in_key};
use crate::backup::manifest::Digest;
use crate::backup::repository::cache::damaged::DamagedPacks;
use crate::backup::repository::cache::{CacheFolder, CacheOf};
use crate::backup::repository::header::NeededPack;
use crate::backup::repository::id::PackId;
use crate::backup::repository::index::{self, Lines};
use crate::backup::repository::names;
use crate::backup::repository::names::SegmentName;
use crate::backup::repository::open::{Repository, StoredHeader};
use crate::backup::repository::streams::Shelf;
use crate::backup::seal::{Keys, keyring};
use crate::backup::target::{BackupTarget, MAX_BLOCK, Object};
use crate::backup::verify::{FoundProblem, sealed};
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// How much of a pack is hashed at once.
const BLOCK: u64 = (MAX_BLOCK / 4) as u64;

/// Everything in a target that backups are made of.
pub(super) struct Stored {
    scope: Scope,
    /// The target's name.
    name: String,
    target: Arc<dyn BackupTarget>,
    items: Vec<Item>,
    repository: Option<Repository>,
    /// The state folder: packs that are damaged are noted there.
    state: PathBuf,
    keys: Keys,
    /// What is wrong, as far as looking tells.
    pub(super) problems: Vec<FoundProblem>,
    /// The snapshots, and when the oldest object that each needs was stored, by the target's clock.
    snapshots: Vec<(String, Timestamp)>,
}

/// An object, and what it is.
struct Item {
    object: Object,
    kind: Kind,
}

enum Kind {
    Archive,
    /// Its digest is that of all its bytes, so it is read as a whole.
    SealedArchive,
    Pack(NeededPack),
    Index(PackId),
    Segment(SegmentName),
}

impl Stored {
    /// Looks at what is there.
    ///
    /// # Errors
    /// What the target says; [`ErrorKind::Denied`] for an encrypted repository whose id key is not at hand.
    pub(super) async fn look(
        scope: &Scope,
        name: &str,
        target: &Arc<dyn BackupTarget>,
        state: &Path,
        keys: &Keys,
    ) -> Result<Self> {
        let mut stored = Self {
            scope: scope.clone(),
            name: name.to_owned(),
            target: Arc::clone(target),
            items: Vec::new(),
            repository: None,
            state: state.to_owned(),
            keys: keys.clone(),
            problems: Vec::new(),
            snapshots: Vec::new(),
        };
        let objects = Objects::new(scope, Arc::clone(target));
        blocking(move || {
            let repository = match Repository::open(&objects, &keyring(&stored.keys)) {
                Ok(repository) => repository,
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    stored.complain("damaged_repository", error.message().to_owned());
                    None
                }
                Err(error) => return Err(error),
            };
            // Before all else is listed: what a header needs was there before the header.
            let headers = repository.as_ref().map_or_else(|| Ok(Vec::new()), Repository::headers)?;
            let all = objects.list("")?;
            stored.take_archives(&all);
            if let Some(repository) = repository {
                stored.look_into(repository, headers, all)?;
            }
            Ok(stored)
        })
        .await
    }

    fn take_archives(&mut self, all: &[Object]) {
        // Those of a repository lie in folders.
        let top = || all.iter().filter(|object| !object.key.contains('/'));
        let of = |suffix: &'static str| top().filter(move |object| object.key.ends_with(suffix)).cloned();
        self.items.extend(of(SUFFIX).map(|object| Item { object, kind: Kind::Archive }));
        self.items.extend(of(SEALED_SUFFIX).map(|object| Item { object, kind: Kind::SealedArchive }));
        let named = |item: &Item| Some((id_in_key(&item.object.key)?.to_owned(), item.object.modified_at));
        self.snapshots.extend(self.items.iter().filter_map(named));
    }

    /// Looks at a repository with these headers. It blocks.
    fn look_into(&mut self, repository: Repository, headers: Vec<StoredHeader>, all: Vec<Object>) -> Result<()> {
        if let Some(damage) = &repository.damage {
            self.complain("damaged_index", damage.clone());
        }
        let mut needed: BTreeMap<PackId, NeededPack> = BTreeMap::new();
        let stored_at: HashMap<&str, Timestamp> =
            all.iter().map(|object| (object.key.as_str(), object.modified_at)).collect();
        for stored in headers {
            match stored.header {
                Ok((header, _)) => {
                    let packs = header.packs.iter().map(|pack| names::pack(pack.id, pack.fingerprint.is_some()));
                    let oldest = packs.filter_map(|key| stored_at.get(key.as_str()).copied()).min();
                    let oldest = oldest.unwrap_or(stored.modified_at).min(stored.modified_at);
                    self.snapshots.push((header.snapshot.to_string(), oldest));
                    needed.extend(header.packs.into_iter().map(|pack| (pack.id, pack)));
                }
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    self.complain("damaged_index", format!("{}: {}", stored.key, error.message()));
                }
                Err(error) => return Err(Error::from(error.to_body())),
            }
        }
        for problem in repository.collected()?.1 {
            self.complain("damaged_index", problem);
        }
        let mut there: HashMap<String, Object> = all.into_iter().map(|object| (object.key.clone(), object)).collect();
        for pack in needed.into_values() {
            let key = names::pack(pack.id, pack.fingerprint.is_some());
            match there.remove(&key) {
                None => self.complain("damaged_pack", format!("{key} is missing, and a snapshot needs it")),
                Some(object) if object.size_bytes != pack.stored_bytes => {
                    let (has, had) = (object.size_bytes, pack.stored_bytes);
                    self.complain("damaged_pack", format!("{key} has {has} bytes, it had {had}"));
                }
                Some(object) => {
                    if let Some(index) = there.remove(&names::index(pack.id)) {
                        self.items.push(Item { object: index, kind: Kind::Index(pack.id) });
                    }
                    self.items.push(Item { object, kind: Kind::Pack(pack) });
                }
            }
        }
        let segment = |object: Object| Some((SegmentName::of(&object.key)?, object));
        let segments = there.into_values().filter_map(segment);
        self.items.extend(segments.map(|(name, object)| Item { object, kind: Kind::Segment(name) }));
        self.repository = Some(repository);
        Ok(())
    }

    /// What it is made of, in slices.
    pub(super) fn slices(&self) -> impl Iterator<Item = Slice> + '_ {
        self.items.iter().enumerate().flat_map(|(number, Item { object, kind })| {
            let cut = matches!(kind, Kind::Archive);
            let (key, size) = (&object.key, object.size_bytes);
            let whole = (!cut).then(|| whole(number, key, size));
            whole.into_iter().chain(cut.then(|| slices(number, key, size)).into_iter().flatten())
        })
    }

    /// All snapshots.
    pub(super) fn all(&self) -> Vec<String> {
        self.snapshots.iter().map(|(id, _)| id.clone()).collect()
    }

    /// The snapshots of which everything was stored within a span of the target's time.
    pub(super) fn stored_within(&self, span: &RangeInclusive<Timestamp>) -> Vec<String> {
        self.snapshots.iter().filter(|(_, oldest)| span.contains(oldest)).map(|(id, _)| id.clone()).collect()
    }

    /// Whether any of it is encrypted.
    pub(super) fn is_sealed(&self) -> bool {
        self.items.iter().any(|item| match &item.kind {
            Kind::SealedArchive => true,
            Kind::Pack(pack) => pack.fingerprint.is_some(),
            Kind::Segment(_) => self.repository.as_ref().is_some_and(|repository| repository.sealed),
            Kind::Archive | Kind::Index(_) => false,
        })
    }

    /// How many objects there are.
    pub(super) fn objects(&self) -> u64 {
        self.items.len() as u64
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.items.iter().map(|item| item.object.size_bytes).sum()
    }

    /// Reads parts of object number `number`: what is wrong with them.
    pub(super) async fn read(&self, number: usize, ranges: Vec<Range<u64>>) -> Result<Vec<FoundProblem>> {
        let Item { object, kind } = &self.items[number];
        let (name, key) = (self.name.clone(), object.key.clone());
        let found = match (kind, &self.repository) {
            (Kind::Pack(pack), Some(repository)) => {
                let (scope, repository, pack) = (self.scope.clone(), repository.clone(), pack.clone());
                let caches = CacheFolder::at(&self.state, CacheOf::Backups, repository.id);
                let noted = DamagedPacks::load(&caches.damaged(&name), &repository.key);
                blocking(move || {
                    let read = read_pack(&scope, &repository, &pack);
                    let damaged = read.as_ref().is_err_and(|error| error.kind() == ErrorKind::Corrupt);
                    if damaged || read.is_ok() {
                        // What cannot be noted is in the report all the same.
                        let id = [pack.id];
                        let _ = noted.note(&id, if damaged { &id } else { &[] });
                    }
                    read.map(|()| Vec::new())
                })
                .await
            }
            (Kind::Index(pack), Some(repository)) => {
                let (repository, pack, key, size) = (repository.clone(), *pack, key.clone(), object.size_bytes);
                blocking(move || read_index(&repository, pack, &key, size)).await.map(|()| Vec::new())
            }
            (Kind::Segment(segment), Some(repository)) => {
                let (target, repository, keys) = (Arc::clone(&self.target), repository.clone(), self.keys.clone());
                let shelf = Shelf { name: name.clone(), target, repository, keys };
                read_segment(&self.scope, &shelf, segment).await.map(|()| Vec::new())
            }
            (Kind::SealedArchive, _) => {
                let found = sealed::problem(&self.scope, &self.target, object, &self.keys, true).await;
                return found.map(|found| {
                    let problem = |(kind, message): (&str, String)| FoundProblem {
                        target: name.clone(),
                        path: None,
                        kind: kind.to_owned(),
                        message: format!("{key}: {message}"),
                    };
                    found.map(problem).into_iter().collect()
                });
            }
            _ => {
                let blocks = TargetBlocks::new(&self.scope, Arc::clone(&self.target), object.clone());
                let scope = self.scope.clone();
                blocking(move || {
                    let archive = Archive::open(Arc::new(blocks))?;
                    let mut problems = Vec::new();
                    for range in ranges {
                        problems.extend(archive.verify_part(&scope, range)?);
                    }
                    Ok(problems)
                })
                .await
            }
        };
        match found {
            Ok(problems) => {
                Ok(problems.into_iter().map(|problem| FoundProblem::in_object(&name, &key, problem)).collect())
            }
            // Deleted since it was listed.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let kind = match kind {
                    Kind::Archive | Kind::SealedArchive => "damaged_archive",
                    Kind::Pack(_) => "damaged_pack",
                    Kind::Index(_) => "damaged_index",
                    Kind::Segment(_) => "damaged_segment",
                };
                let message = format!("{key}: {}", error.message());
                Ok(vec![FoundProblem { target: name, path: None, kind: kind.to_owned(), message }])
            }
            Err(error) => Err(error),
        }
    }

    fn complain(&mut self, kind: &str, message: String) {
        let target = self.name.clone();
        self.problems.push(FoundProblem { target, path: None, kind: kind.to_owned(), message });
    }
}

/// Holds the stored bytes of a pack against their digest, encrypted or not.
fn read_pack(scope: &Scope, repository: &Repository, pack: &NeededPack) -> Result<()> {
    let blocks = repository.stored_pack(pack);
    let mut hasher = blake3::Hasher::new();
    let mut at = 0;
    while at < pack.stored_bytes {
        scope.cancel.check()?;
        let bytes = read_exact(blocks.as_ref(), at..pack.stored_bytes.min(at + BLOCK))?;
        hasher.update(&bytes);
        at += bytes.len() as u64;
    }
    if Digest(*hasher.finalize().as_bytes()) == pack.digest {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Corrupt, "its content is not what it was"))
}

fn read_index(repository: &Repository, pack: PackId, key: &str, size: u64) -> Result<()> {
    let bytes = repository.objects.read(key, size)?;
    index::read(&bytes, repository.id, pack, &repository.key, Lines::All, |_| Ok(())).map(drop)
}

/// Holds the stored bytes of a segment against its head, encrypted or not.
async fn read_segment(scope: &Scope, shelf: &Shelf, name: &SegmentName) -> Result<()> {
    let stored = shelf.head(scope, name).await?;
    for number in 0..stored.head.frames.len() {
        scope.cancel.check()?;
        shelf.stored_frame(scope, &stored, number).await?;
    }
    Ok(())
}
