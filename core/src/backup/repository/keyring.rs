//! What opens an encrypted repository.

use std::fmt::Debug;
use std::sync::Arc;

use super::id::{IdKey, RepositoryId};
use crate::backup::blocks::Blocks;
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
        Err(Error::new(
            ErrorKind::Denied,
            format!("the id key of the encrypted repository {repository} is not at hand"),
        )
        .with_hint("run this on the host that makes its backups, or give the operator's identity"))
    }

    fn opens(&self, _fingerprint: &str) -> bool {
        false
    }

    fn open(&self, fingerprint: &str, _sealed: Arc<dyn Blocks>) -> Result<Arc<dyn Blocks>> {
        Err(Error::new(
            ErrorKind::Denied,
            format!("the pack is encrypted to the key {fingerprint}, which is not at hand"),
        )
        .with_hint("give the operator's identity"))
    }
}
