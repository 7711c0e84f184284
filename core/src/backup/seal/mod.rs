//! Encryption with age (<https://age-encryption.org/v1>): the public half of the key alone on the host.
//!
//! A *repository identity* is an X25519 key that opens the backups. Set-up makes it, wraps it together with the
//! *id key* to the operator's recipients or passphrase, stores that as `keys/<fingerprint>-<n>.age` in every
//! target, and forgets it. The host keeps the public half and the id key: enough to make backups and to know
//! what is stored already, nothing that opens one.
//!
//! - `RepositoryKey` is everything secret; it is wrapped and unwrapped.
//! - `HostKeys` is the host's part, `Operator` what an operator unwraps with, `WrapTo` who it is wrapped to.
//! - [`KeyRing`] is what one run works with: [`KeyRing::sealer`] encrypts, [`KeyRing::open`] reads by range,
//!   [`KeyRing::id_key`] makes ids.
//! - `vault` keeps the wrapped keys in the targets.
//!
//! Streams and keys are synchronous: they are called from blocking threads. Secrets are wiped when dropped, as far
//! as the memory is ours, and none prints. Without the feature `encryption` there is no [`KeyRing`] to be had.

use std::path::Path;
use std::sync::Arc;

use crate::backup::manifest::Digest;
use crate::backup::repository::keyring::{Keyring, NoKeys};
use crate::backup::repository::sealing::{Clear, Sealing};
use crate::error::{Error, Result};

mod fingerprint;
mod id_key;
pub mod secrets;
mod summary;

pub use fingerprint::Fingerprint;
pub use id_key::{IdKey, Subkey};
pub use summary::{MAX_SUMMARY, SUMMARY_SUFFIX, SealedSummary};

#[cfg(not(feature = "encryption"))]
mod absent;
#[cfg(not(feature = "encryption"))]
pub(crate) use absent::unsupported;
#[cfg(not(feature = "encryption"))]
pub use absent::{KeyRing, Opener, Sealer, Unsealer};

#[cfg(feature = "encryption")]
mod header;
#[cfg(feature = "encryption")]
mod host;
#[cfg(feature = "encryption")]
mod identity;
#[cfg(feature = "encryption")]
mod packs;
#[cfg(feature = "encryption")]
mod recipient;
#[cfg(feature = "encryption")]
mod ring;
#[cfg(feature = "encryption")]
mod stream;
#[cfg(feature = "encryption")]
pub mod vault;
#[cfg(feature = "encryption")]
mod wrap;

#[cfg(feature = "encryption")]
pub use header::KeyHolders;
#[cfg(feature = "encryption")]
pub use host::HostKeys;
#[cfg(feature = "encryption")]
pub use identity::{Operator, RepositoryIdentity};
#[cfg(feature = "encryption")]
pub use recipient::Recipient;
#[cfg(feature = "encryption")]
pub use ring::KeyRing;
#[cfg(feature = "encryption")]
pub use stream::{Opener, Sealer, Unsealer};
#[cfg(feature = "encryption")]
pub use wrap::{RepositoryKey, WrapTo};

/// Whether this host keeps a key below the folder `state`. Opens nothing.
///
/// # Errors
/// What the disk says.
pub fn host_has_keys(state: &Path) -> Result<bool> {
    let folder = state.join("keys");
    let failed = |error| Error::io(format!("read {folder:?}"), error);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        if entry.map_err(failed)?.path().extension().is_some_and(|extension| extension == "json") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The keys of a run; none where nothing is encrypted.
pub type Keys = Option<Arc<KeyRing>>;

/// The keys as a repository is opened with.
pub(crate) fn keyring(keys: &Keys) -> Arc<dyn Keyring> {
    #[cfg(feature = "encryption")]
    if let Some(keys) = keys {
        return Arc::clone(keys) as _;
    }
    let _ = keys;
    Arc::new(NoKeys)
}

/// The keys as packs are encrypted with.
pub(crate) fn sealing(keys: &Keys) -> Arc<dyn Sealing> {
    #[cfg(feature = "encryption")]
    if let Some(keys) = keys {
        return Arc::clone(keys) as _;
    }
    let _ = keys;
    Arc::new(Clear)
}

/// Where encrypted bytes go, in order.
pub type Sink = Box<dyn FnMut(&[u8]) -> Result<()> + Send>;

/// What [`Sealer::finish`] wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// Bytes of the age file.
    pub stored_bytes: u64,
    /// The BLAKE3 of the age file.
    pub blake3: Digest,
    /// Bytes before encryption.
    pub plain_bytes: u64,
}

#[cfg(feature = "encryption")]
#[cfg(test)]
mod tests;
