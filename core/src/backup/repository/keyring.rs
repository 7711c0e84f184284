//! What opens an encrypted repository.

use std::fmt::Debug;
use std::sync::Arc;

use super::id::{IdKey, RepositoryId};
use crate::backup::blocks::Blocks;
use crate::backup::seal::{Fingerprint, Keys};
use crate::error::{Error, ErrorKind, Result};

/// The keys that are at hand. A repository in clear needs none.
pub(crate) trait Keyring: Send + Sync + Debug {
    /// The id key of an encrypted repository, which the host keeps.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] when it is not at hand.
    fn id_key(&self, repository: RepositoryId) -> Result<IdKey>;

    /// Whether packs that are encrypted to the key with this fingerprint can be opened.
    fn opens(&self, fingerprint: &str) -> bool;

    /// What a pack is before encryption.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] when the identity is not at hand, [`ErrorKind::Corrupt`] when the stream is damaged.
    fn open(&self, fingerprint: &str, sealed: Arc<dyn Blocks>) -> Result<Arc<dyn Blocks>>;
}

/// No keys: repositories in clear only.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NoKeys;

impl Keyring for NoKeys {
    fn id_key(&self, repository: RepositoryId) -> Result<IdKey> {
        Keys::None.id_key(repository)
    }

    fn opens(&self, _fingerprint: &str) -> bool {
        false
    }

    fn open(&self, fingerprint: &str, sealed: Arc<dyn Blocks>) -> Result<Arc<dyn Blocks>> {
        Keyring::open(&Keys::None, fingerprint, sealed)
    }
}

impl Keyring for Keys {
    fn id_key(&self, repository: RepositoryId) -> Result<IdKey> {
        let of_it = |ring: &&Arc<_>| has_key_of(ring, repository);
        let ring = self.as_ref().filter(of_it).ok_or_else(|| {
            Error::new(ErrorKind::Denied, format!("this host has no key of the encrypted repository {repository}"))
                .with_hint("pass identity_file (--identity-file FILE), or restore the host's key: `uplifted-ops backup keys adopt --identity-file FILE`")
        })?;
        Ok(IdKey::new(*ring.id_key().reveal()))
    }

    fn opens(&self, fingerprint: &str) -> bool {
        let fingerprint: Option<Fingerprint> = fingerprint.parse().ok();
        self.as_ref().zip(fingerprint).is_some_and(|(ring, fingerprint)| ring.opens(&fingerprint))
    }

    fn open(&self, fingerprint: &str, sealed: Arc<dyn Blocks>) -> Result<Arc<dyn Blocks>> {
        let ring = self.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::Denied,
                format!("the pack is encrypted to the key {fingerprint}, which is not at hand"),
            )
            .with_hint("pass identity_file (--identity-file FILE)")
        })?;
        let fingerprint: Fingerprint = fingerprint.parse()?;
        Ok(Arc::new(ring.open(sealed, Some(&fingerprint))?))
    }
}

fn has_key_of(ring: &crate::backup::seal::KeyRing, repository: RepositoryId) -> bool {
    ring.repository() == repository.to_string()
}
