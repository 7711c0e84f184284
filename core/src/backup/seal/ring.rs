//! The keys of one run.

use std::fmt;
use std::sync::Arc;

use super::Sink;
use super::fingerprint::Fingerprint;
use super::host::HostKeys;
use super::id_key::IdKey;
use super::identity::RepositoryIdentity;
use super::recipient::Recipient;
use super::stream::{Opener, Sealer, Unsealer};
use super::wrap::RepositoryKey;
use crate::backup::blocks::Blocks;
use crate::error::{Error, ErrorKind, Result};

/// The keys of one run: what it encrypts to, what it makes ids with, and what it can open.
///
/// A run on a host has no secret that opens a backup, but one that it threw for itself: everything that it
/// encrypts is also for that one, so that it reads back and proves what it wrote. That secret ends with the run.
pub struct KeyRing {
    repository: String,
    current: Recipient,
    known: Vec<Fingerprint>,
    id_key: IdKey,
    throw_away: RepositoryIdentity,
    identities: Vec<RepositoryIdentity>,
}

impl KeyRing {
    /// The keys of a run that has what the host keeps.
    pub fn of_host(keys: &HostKeys) -> Self {
        Self {
            repository: keys.repository.clone(),
            current: keys.current.clone(),
            known: keys.fingerprints(),
            id_key: keys.id_key.clone(),
            throw_away: RepositoryIdentity::generate(),
            identities: Vec::new(),
        }
    }

    /// The keys of a run that has unwrapped keys of one repository. The youngest is the one to encrypt to.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when there is none, or they belong to several repositories; [`ErrorKind::Refused`] when they
    /// have several id keys.
    pub fn of_unwrapped(keys: Vec<RepositoryKey>) -> Result<Self> {
        let mut keys = keys;
        keys.sort_by_key(|key| key.created);
        let newest = keys.last().ok_or_else(|| Error::invalid("there is no key"))?;
        let mut ring = Self::of_host(&HostKeys::of(newest));
        ring.known.clear();
        for key in keys {
            ring.add(key)?;
        }
        Ok(ring)
    }

    /// Adds a key that was unwrapped: what is encrypted to it can be opened from now on.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when it is that of another repository, [`ErrorKind::Refused`] when it has another id key.
    pub fn add(&mut self, key: RepositoryKey) -> Result<()> {
        key.check_of(&self.repository, &self.id_key)?;
        let fingerprint = key.fingerprint();
        if !self.opens(&fingerprint) {
            self.identities.push(key.identity.clone());
        }
        if !self.known.contains(&fingerprint) {
            self.known.push(fingerprint);
        }
        Ok(())
    }

    /// The repository's identifier: 32 hexadecimal digits.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// What ids, macs and chunk boundaries are made with.
    pub fn id_key(&self) -> &IdKey {
        &self.id_key
    }

    /// The key that is encrypted to.
    pub fn fingerprint(&self) -> Fingerprint {
        self.current.fingerprint()
    }

    /// Every key that is known, oldest first.
    pub fn fingerprints(&self) -> &[Fingerprint] {
        &self.known
    }

    /// Whether it opens what other runs encrypted to that key.
    pub fn opens(&self, fingerprint: &Fingerprint) -> bool {
        self.identities.iter().any(|identity| identity.fingerprint() == *fingerprint)
    }

    /// Whether it opens anything that other runs encrypted.
    pub fn has_identity(&self) -> bool {
        !self.identities.is_empty()
    }

    /// Encrypts a stream to the repository's key, and to this run's throw-away one. The sink gets the age file's
    /// bytes in order, at most a chunk of 64 KiB and its tag at a time.
    ///
    /// # Errors
    /// What the sink says.
    pub fn sealer(&self, sink: Sink) -> Result<Sealer> {
        Sealer::new(&[&self.current, &self.throw_away.recipient()], sink)
    }

    /// Opens what this run encrypted, or what was encrypted to the key `sealed_to`.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] when no identity was given, [`ErrorKind::InvalidInput`] when none of those given fits:
    /// both name the key that is needed. As [`Opener::new`] otherwise.
    pub fn open(&self, blocks: Arc<dyn Blocks>, sealed_to: Option<&Fingerprint>) -> Result<Opener> {
        Opener::new(blocks, &self.all()).map_err(|error| match error.kind() {
            ErrorKind::InvalidInput => self.cannot_open(sealed_to),
            _ => error,
        })
    }

    /// Opens a stream of `total` bytes that comes from one end to the other, such as one that is read back.
    pub fn unsealer(&self, total: u64) -> Unsealer {
        Unsealer::new(self.all().into_iter().cloned().collect(), total)
    }

    fn all(&self) -> Vec<&RepositoryIdentity> {
        std::iter::once(&self.throw_away).chain(&self.identities).collect()
    }

    /// Why something cannot be opened: no key, or another one.
    pub fn cannot_open(&self, sealed_to: Option<&Fingerprint>) -> Error {
        let needed = match sealed_to {
            Some(fingerprint) => format!("it is encrypted to the key {fingerprint}"),
            None => "it is encrypted".to_owned(),
        };
        if self.identities.is_empty() {
            return no_identity(&needed);
        }
        let given: Vec<String> = self.identities.iter().map(|identity| identity.fingerprint().to_string()).collect();
        Error::invalid(format!("{needed}, and the identity given opens {}", given.join(", "))).with_hint(
            "pass the identity of a recipient that this key was wrapped to; `uplifted-ops backup keys list` names them",
        )
    }
}

/// What is said when something is to be opened and no identity was given.
pub(super) fn no_identity(needed: &str) -> Error {
    Error::new(ErrorKind::Denied, format!("{needed}, and no identity was given"))
        .with_hint("pass identity_file (--identity-file FILE): the operator's file with AGE-SECRET-KEY-1…")
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("repository", &self.repository)
            .field("fingerprint", &self.fingerprint())
            .field("opens", &self.identities.iter().map(RepositoryIdentity::fingerprint).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
