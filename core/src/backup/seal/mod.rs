//! Encryption with age (<https://age-encryption.org/v1>): the public half of the key alone on the host.
//!
//! A *repository identity* is an X25519 key that opens the backups. Set-up makes it, wraps it together with the
//! *id key* to the operator's recipients or passphrase, stores that as `keys/<fingerprint>-<n>.age` in every
//! target, and forgets it. The host keeps the public half and the id key: enough to make backups and to know
//! what is stored already, nothing that opens one.
//!
//! - [`RepositoryKey`] is everything secret; [`RepositoryKey::wrap`] and [`RepositoryKey::unwrap`] are its two ways.
//! - [`HostKeys`] is the host's part, [`Operator`] what an operator unwraps with, [`WrapTo`] who it is wrapped to.
//! - [`KeyRing`] is what one run works with: [`KeyRing::sealer`] encrypts, [`KeyRing::open`] reads by range,
//!   [`KeyRing::id_key`] makes ids.
//!
//! Everything is synchronous: it is called from blocking threads. Secrets are wiped when dropped, as far as the
//! memory is ours, and none prints.

#[cfg(feature = "encryption")]
mod header;
#[cfg(feature = "encryption")]
mod host;
mod id_key;
#[cfg(feature = "encryption")]
mod identity;
#[cfg(feature = "encryption")]
mod recipient;
#[cfg(feature = "encryption")]
mod ring;
#[cfg(feature = "encryption")]
mod stream;
#[cfg(feature = "encryption")]
mod wrap;

#[cfg(feature = "encryption")]
pub use header::KeyHolders;
#[cfg(feature = "encryption")]
pub use host::HostKeys;
pub use id_key::{IdKey, Subkey};
#[cfg(feature = "encryption")]
pub use identity::{Operator, RepositoryIdentity};
#[cfg(feature = "encryption")]
pub use recipient::{Fingerprint, Recipient};
#[cfg(feature = "encryption")]
pub use ring::KeyRing;
#[cfg(feature = "encryption")]
pub use stream::{Opener, Sealed, Sealer, Sink, Unsealer};
#[cfg(feature = "encryption")]
pub use wrap::{RepositoryKey, WrapTo};

#[cfg(feature = "encryption")]
#[cfg(test)]
mod tests;
