//! Getting blobs out of packs, each proven by its id before anybody sees it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::header::NeededPack;
use super::id::{BlobId, PackId};
use super::index::{BlobAt, Lookup};
use super::names;
use super::open::Repository;
use super::pack;
use super::prepare::MAX_INDEX;
use crate::backup::blocks::{Blocks, read_exact};
use crate::backup::frames::Unpacker;
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};

/// How many frames a [`Reader`] keeps.
const KEPT_FRAMES: usize = 4;

/// The packs that a snapshot needs, with their indexes.
#[derive(Debug)]
pub(crate) struct Packs {
    repository: Repository,
    lookup: Lookup,
    open: Mutex<HashMap<u32, Opened>>,
    /// Keys that are not at hand, by their fingerprints: what is encrypted to them counts as lost.
    closed: Vec<String>,
    /// The packs of which something was wrong.
    pub(crate) damage: Vec<PackDamage>,
}

/// Something wrong with a pack or its index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackDamage {
    pub(crate) pack: PackId,
    pub(crate) kind: PackFault,
    pub(crate) message: String,
}

/// What is wrong with a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PackFault {
    /// Its index is lost; the pack itself said what is in it.
    Index,
    /// The pack, or a part of it, is lost.
    Content,
}

/// A pack that is open.
struct Opened(Arc<dyn Blocks>);

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opened")
    }
}

impl Packs {
    /// Reads the indexes of `packs`. One that is lost is made again from its pack; what cannot be had is in
    /// [`Packs::damage`].
    ///
    /// # Errors
    /// Those of the target but that something is missing, [`ErrorKind::Unsupported`] for an index that is too new, and
    /// [`ErrorKind::Refused`] for one that expands beyond reason.
    pub(crate) fn open(scope: &Scope, repository: &Repository, packs: &[NeededPack]) -> Result<Self> {
        Self::open_without(scope, repository, packs, Vec::new())
    }

    /// The same, where the keys of these fingerprints are not at hand.
    ///
    /// # Errors
    /// As [`Packs::open`].
    pub(crate) fn open_without(
        scope: &Scope,
        repository: &Repository,
        packs: &[NeededPack],
        closed: Vec<String>,
    ) -> Result<Self> {
        let mut opened = Self {
            repository: repository.clone(),
            lookup: Lookup::default(),
            open: Mutex::default(),
            closed,
            damage: Vec::new(),
        };
        let keys: Vec<String> = packs.iter().map(|pack| names::index(pack.id)).collect();
        let mut lost = Vec::new();
        repository.objects.read_each(&keys, MAX_INDEX, |number, bytes| {
            scope.cancel.check()?;
            let pack = &packs[number];
            let added = bytes.and_then(|bytes| opened.lookup.add(&bytes, repository.id, pack, &repository.key));
            match added {
                Ok(_) => Ok(()),
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                    let message = match error.kind() {
                        ErrorKind::NotFound => "its index is missing".to_owned(),
                        _ => format!("its index: {}", error.message()),
                    };
                    lost.push((pack, message));
                    Ok(())
                }
                Err(error) => Err(error.while_doing(format!("reading the index of pack {}", pack.id))),
            }
        })?;
        for (pack, message) in lost {
            opened.damage.push(PackDamage { pack: pack.id, kind: PackFault::Index, message });
            opened.rescue(scope, pack)?;
        }
        opened.lookup.sort();
        Ok(opened)
    }

    /// Finds out from a pack itself what is in it.
    fn rescue(&mut self, scope: &Scope, pack: &NeededPack) -> Result<()> {
        scope.progress.stage(format!("reading pack {}, whose index is lost", pack.id));
        let scanned = self
            .check_open(pack)
            .and_then(|()| self.repository.pack_that_is_there(pack))
            .and_then(|blocks| pack::scan(blocks.as_ref(), &self.repository.key, || scope.cancel.check()));
        let messages = match scanned {
            Ok(scan) => {
                self.lookup.add_scanned(pack, &scan.frames);
                scan.problems
            }
            Err(error) if is_damage(&error) || error.kind() == ErrorKind::Denied => vec![error.message().to_owned()],
            Err(error) => return Err(error),
        };
        let content = |message| PackDamage { pack: pack.id, kind: PackFault::Content, message };
        self.damage.extend(messages.into_iter().map(content));
        Ok(())
    }

    /// Where everything is.
    pub(crate) fn lookup(&self) -> &Lookup {
        &self.lookup
    }

    /// The repository.
    pub(crate) fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Reads a frame's content into `plain`. It is not proven yet: each blob is, by [`Packs::proven`].
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when the frame is damaged or its pack missing; others when it could not be read.
    pub(crate) fn load(&self, frame: u32, unpacker: &mut Unpacker, plain: &mut Vec<u8>) -> Result<()> {
        let at = self.lookup.frame(frame);
        let pack = self.lookup.pack(at.pack);
        let blocks = self.blocks(at.pack)?;
        let (start, len) = (u64::from(at.offset), u64::from(at.packed));
        let loaded = read_exact(blocks.as_ref(), start..start + len)
            .and_then(|packed| unpacker.unpack(&packed, at.plain as usize, plain));
        loaded.map_err(|error| match error.kind() {
            ErrorKind::NotFound => missing(pack.id),
            _ => error.while_doing(format!("pack {}, bytes {start} to {}", pack.id, start + len)),
        })
    }

    fn blocks(&self, number: u32) -> Result<Arc<dyn Blocks>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(blocks) = open.get(&number) {
            return Ok(Arc::clone(&blocks.0));
        }
        self.check_open(self.lookup.pack(number))?;
        let blocks = self.repository.pack(self.lookup.pack(number))?;
        open.insert(number, Opened(Arc::clone(&blocks)));
        Ok(blocks)
    }

    /// The key that is missing for a pack, by its fingerprint.
    fn closed_by<'a>(&self, pack: &'a NeededPack) -> Option<&'a str> {
        pack.fingerprint.as_deref().filter(|fingerprint| self.closed.iter().any(|closed| closed == fingerprint))
    }

    fn check_open(&self, pack: &NeededPack) -> Result<()> {
        let Some(fingerprint) = self.closed_by(pack) else { return Ok(()) };
        let message = format!("pack {} is encrypted to the key {fingerprint}, which is not at hand", pack.id);
        Err(Error::new(ErrorKind::Corrupt, message))
    }

    /// Why a blob cannot be had: every pack that has it is encrypted to a key that is not at hand, one of which is named.
    pub(crate) fn key_missing_for(&self, id: &BlobId) -> Option<&str> {
        let mut closed = None;
        for blob in self.lookup.find(id) {
            closed = Some(self.closed_by(self.lookup.pack(self.lookup.frame(blob.frame).pack))?);
        }
        closed
    }

    /// The bytes of a blob in the content of its frame.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when they are not what its id says.
    pub(crate) fn proven<'a>(&self, blob: &BlobAt, plain: &'a [u8]) -> Result<&'a [u8]> {
        let bytes = plain.get(blob.range());
        bytes.filter(|bytes| self.repository.key.blob_id(bytes) == blob.id()).ok_or_else(|| {
            let pack = self.lookup.pack(self.lookup.frame(blob.frame).pack).id;
            Error::new(ErrorKind::Corrupt, format!("pack {pack}: the blob {} is damaged", blob.id()))
        })
    }
}

impl Repository {
    /// The bytes of a pack before encryption.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] when it is sealed and its identity not at hand.
    pub(crate) fn pack(&self, pack: &NeededPack) -> Result<Arc<dyn Blocks>> {
        let stored = self.stored_pack(pack);
        match &pack.fingerprint {
            None => Ok(stored),
            Some(fingerprint) => self.keys.open(fingerprint, stored).map_err(|error| match error.kind() {
                ErrorKind::NotFound => missing(pack.id),
                _ => error,
            }),
        }
    }

    /// [`Repository::pack`], with the length that it has and not with the one that it should have.
    fn pack_that_is_there(&self, pack: &NeededPack) -> Result<Arc<dyn Blocks>> {
        let key = names::pack(pack.id, pack.fingerprint.is_some());
        let there = self.objects.list(&key)?.into_iter().find(|object| object.key == key);
        let stored_bytes = there.ok_or_else(|| missing(pack.id))?.size_bytes;
        self.pack(&NeededPack { stored_bytes, ..pack.clone() })
    }

    /// The bytes of a pack as the target has them.
    pub(crate) fn stored_pack(&self, pack: &NeededPack) -> Arc<dyn Blocks> {
        let key = names::pack(pack.id, pack.fingerprint.is_some());
        Arc::new(self.objects.blocks(&key, pack.stored_bytes))
    }
}

fn missing(pack: PackId) -> Error {
    Error::new(ErrorKind::Corrupt, format!("pack {pack} is missing"))
        .with_hint("look for it where the target's files went")
}

/// Whether an error says that something is lost, and not that it could not be asked for.
pub(crate) fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound)
}

/// Reads single blobs, and keeps the frames last used: metadata lies together.
pub(crate) struct Reader<'a> {
    packs: &'a Packs,
    unpacker: Unpacker,
    kept: VecDeque<(u32, Vec<u8>)>,
}

impl<'a> Reader<'a> {
    /// A reader with nothing kept.
    pub(crate) fn new(packs: &'a Packs) -> Result<Self> {
        Ok(Self { packs, unpacker: Unpacker::new()?, kept: VecDeque::new() })
    }

    /// A blob, from any pack that has it undamaged.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when there is none.
    pub(crate) fn blob(&mut self, id: &BlobId) -> Result<Vec<u8>> {
        self.blob_except(id, None)
    }

    /// The same, without trying the frame `except`.
    pub(crate) fn blob_except(&mut self, id: &BlobId, except: Option<u32>) -> Result<Vec<u8>> {
        let mut first = None;
        for blob in self.packs.lookup.find(id).iter().filter(|blob| Some(blob.frame) != except) {
            let packs = self.packs;
            match self.frame(blob.frame).and_then(|plain| packs.proven(blob, plain).map(<[u8]>::to_vec)) {
                Ok(bytes) => return Ok(bytes),
                Err(error) if is_damage(&error) => first = first.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        Err(first.unwrap_or_else(|| Error::new(ErrorKind::Corrupt, format!("no pack has the blob {id}"))))
    }

    fn frame(&mut self, number: u32) -> Result<&[u8]> {
        let at = match self.kept.iter().position(|(kept, _)| *kept == number) {
            Some(at) => at,
            None => {
                let mut plain = match self.kept.len() {
                    KEPT_FRAMES => self.kept.pop_front().map(|(_, plain)| plain).unwrap_or_default(),
                    _ => Vec::new(),
                };
                self.packs.load(number, &mut self.unpacker, &mut plain)?;
                self.kept.push_back((number, plain));
                self.kept.len() - 1
            }
        };
        // The one used last is thrown away last.
        if let Some(used) = self.kept.remove(at) {
            self.kept.push_back(used);
        }
        Ok(self.kept.back().map(|(_, plain)| plain.as_slice()).unwrap_or_default())
    }
}
