//! Opening a repository in a target: which one it is, its key, its snapshots, what was collected.

use std::collections::HashMap;
use std::sync::Arc;

use super::collect::CollectRecord;
use super::header::Header;
use super::id::{IdKey, RepositoryId, SnapshotId};
use super::identity::Identity;
use super::keyring::Keyring;
use super::{names, recover};
use crate::backup::blocks::Objects;
use crate::backup::manifest::Digest;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// The longest header, and the longest collect record: a line for each of half a million packs.
pub(crate) const MAX_HEADER: u64 = 64 << 20;
/// The longest of the other records.
const MAX_RECORD: u64 = 1 << 20;

/// A repository in a target.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    pub(crate) objects: Objects,
    pub(crate) id: RepositoryId,
    pub(crate) key: IdKey,
    pub(crate) keys: Arc<dyn Keyring>,
    /// Whether its packs are encrypted.
    pub(crate) sealed: bool,
    /// What was wrong with its record.
    pub(crate) damage: Option<String>,
}

/// Which repository is in a target, before it is opened.
#[derive(Debug)]
pub(crate) struct Identified {
    identity: Identity,
    record: Vec<u8>,
    damage: Option<String>,
}

/// A snapshot's header where it lies.
#[derive(Debug, Clone)]
pub(crate) struct StoredHeader {
    /// Its key in the target.
    pub(crate) key: String,
    /// Its length.
    pub(crate) len: u64,
    /// When it was written, by the target's clock.
    pub(crate) modified_at: Timestamp,
    /// What it says, and its mac.
    pub(crate) header: Result<(Header, Digest), Arc<Error>>,
}

impl Identified {
    /// Its id. In an encrypted repository it is proven when it is opened.
    pub(crate) fn id(&self) -> RepositoryId {
        self.identity.id
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] when it is encrypted and its id key is not at hand, [`ErrorKind::Corrupt`] when its record is not
    /// what that key was made for.
    pub(crate) fn open(self, objects: &Objects, keys: &Arc<dyn Keyring>) -> Result<Repository> {
        let Self { identity, record, damage } = self;
        let sealed = identity.clear_key.is_none();
        let key = match identity.clear_key {
            Some(key) => key,
            None => {
                let key = keys.id_key(identity.id)?;
                Identity::prove(&record, &key)?;
                key
            }
        };
        Ok(Repository { objects: objects.clone(), id: identity.id, key, keys: Arc::clone(keys), sealed, damage })
    }
}

impl Repository {
    /// Opens the repository in a target; `None` when there is none.
    ///
    /// # Errors
    /// Those of [`Repository::identify`], and [`ErrorKind::Denied`] when it is encrypted and its id key is not at hand.
    pub(crate) fn open(objects: &Objects, keys: &Arc<dyn Keyring>) -> Result<Option<Self>> {
        Self::identify(objects)?.map(|identified| identified.open(objects, keys)).transpose()
    }

    /// Which repository is in a target; `None` when there is none. When its record is damaged or lost, the copy in
    /// `RECOVER.md` is used, and said in [`Repository::damage`].
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when both are damaged, [`ErrorKind::Unsupported`] when it is too new, and those of the target.
    pub(crate) fn identify(objects: &Objects) -> Result<Option<Identified>> {
        let read = match objects.read(names::REPOSITORY, MAX_RECORD) {
            Ok(record) => Identity::read(&record).map(|identity| (identity, record)),
            Err(error) => Err(error),
        };
        match read {
            Ok((identity, record)) => Ok(Some(Identified { identity, record, damage: None })),
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                let missing = error.kind() == ErrorKind::NotFound;
                let text = match objects.read(names::RECOVER_TEXT, MAX_RECORD) {
                    Ok(text) => text,
                    Err(lost) if lost.kind() == ErrorKind::NotFound => {
                        return if missing { Ok(None) } else { Err(error) };
                    }
                    Err(other) => return Err(other),
                };
                let damage = match missing {
                    true => "the record of the repository is missing".to_owned(),
                    false => format!("the record of the repository is damaged: {}", error.message()),
                };
                match recover::record_in(&text) {
                    Some(record) => {
                        let (identity, record) = (Identity::read(record)?, record.to_vec());
                        Ok(Some(Identified { identity, record, damage: Some(damage) }))
                    }
                    None if missing => Ok(None),
                    None => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Every header, also the damaged ones, in the order of their keys, which is that of time.
    pub(crate) fn headers(&self) -> Result<Vec<StoredHeader>> {
        let objects = self.objects.list(names::SNAPSHOTS)?;
        let objects: Vec<_> = objects.into_iter().filter(|object| names::snapshot_of(&object.key).is_some()).collect();
        let keys: Vec<String> = objects.iter().map(|object| object.key.clone()).collect();
        let mut headers = Vec::with_capacity(objects.len());
        self.objects.read_each(&keys, MAX_HEADER, |number, bytes| {
            let key = keys[number].clone();
            let (len, modified_at) = (objects[number].size_bytes, objects[number].modified_at);
            match bytes.and_then(|bytes| self.read_header(&key, &bytes)) {
                Ok(header) => headers.push(StoredHeader { key, len, modified_at, header: Ok(header) }),
                // Deleted since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => headers.push(StoredHeader { key, len, modified_at, header: Err(Arc::new(error)) }),
            }
            Ok(())
        })?;
        Ok(headers)
    }

    /// The header at `key`.
    pub(crate) fn header(&self, key: &str) -> Result<(Header, Digest)> {
        self.read_header(key, &self.objects.read(key, MAX_HEADER)?)
    }

    fn read_header(&self, key: &str, bytes: &[u8]) -> Result<(Header, Digest)> {
        let (header, mac) = Header::read(bytes, self.id, &self.key)?;
        // A header under another one's name would be two snapshots, or hide one.
        if names::snapshot(header.time, header.snapshot) != key {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("{key:?} is the header of snapshot {}, which has another key", header.snapshot),
            ));
        }
        Ok((header, mac))
    }

    /// Every collect record that is whole, and what is wrong with the others.
    pub(crate) fn collected(&self) -> Result<(Vec<CollectRecord>, Vec<String>)> {
        let keys: Vec<String> = self.objects.list(names::COLLECT)?.into_iter().map(|object| object.key).collect();
        let (mut records, mut problems) = (Vec::new(), Vec::new());
        self.objects.read_each(&keys, MAX_HEADER, |number, bytes| {
            match bytes.and_then(|bytes| CollectRecord::read(&bytes, self.id, &self.key)) {
                Ok(record) => records.push(record),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    problems.push(format!("{}: {}", keys[number], error.message()));
                }
                Err(error) => return Err(error),
            }
            Ok(())
        })?;
        Ok((records, problems))
    }
}

/// Headers whose predecessor is neither there nor named in a collect record, with what they say: somebody took it, or put
/// an older state of the target back.
pub(crate) fn broken_links(headers: &[StoredHeader], collected: &[CollectRecord]) -> Vec<(SnapshotId, String)> {
    let whole = || headers.iter().filter_map(|stored| stored.header.as_ref().ok());
    let there: HashMap<SnapshotId, Digest> = whole().map(|(header, mac)| (header.snapshot, *mac)).collect();
    let removed: HashMap<SnapshotId, Digest> =
        collected.iter().flat_map(|record| record.snapshots.iter().copied()).collect();
    let mut broken = Vec::new();
    for (header, _) in whole() {
        let Some((previous, mac)) = &header.previous else { continue };
        let known: Vec<&Digest> = there.get(previous).into_iter().chain(removed.get(previous)).collect();
        let message = if known.is_empty() {
            format!("its predecessor {previous} is gone, and nobody recorded that it was removed")
        } else if known.contains(&mac) {
            continue;
        } else {
            format!("its predecessor {previous} is not the one that it was made after")
        };
        broken.push((header.snapshot, message));
    }
    broken
}

/// What a record says; `None` when it is damaged.
///
/// # Errors
/// Every other one.
pub(crate) fn genuine<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(record) => Ok(Some(record)),
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
        Err(error) => Err(error),
    }
}
