//! The id key: what makes ids say nothing to whoever does not have it.

use std::fmt;

use zeroize::Zeroizing;

use crate::backup::manifest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::value::{Secret, hex, unhex};

/// 32 random bytes from which the keys of a repository's ids, records and chunk boundaries come. A secret of
/// the host, beside the public half of the repository's identity: it opens nothing, but whoever has it can tell
/// which content is stored, and can forge records. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct IdKey(Zeroizing<[u8; 32]>);

impl IdKey {
    /// A new one, from the operating system's generator.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the system has no randomness to give.
    pub fn generate() -> Result<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut bytes[..]).map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("the system gives no random numbers: {error}"))
        })?;
        Ok(Self(bytes))
    }

    /// The key that these bytes are.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key that 64 hexadecimal digits write. `None` when they are not that.
    pub fn from_hex(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(unhex(text)?);
        Some(Self(Zeroizing::new(bytes.as_slice().try_into().ok()?)))
    }

    /// 64 hexadecimal digits, for the two places that keep it: the host's file and the wrapped key.
    pub fn to_hex(&self) -> Secret {
        Secret::new(hex(&self.0[..]))
    }

    /// The bytes themselves, for the one place that needs them.
    pub fn reveal(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key for one purpose: BLAKE3's `derive_key` of this key under `context`, a constant that no other
    /// purpose has.
    pub fn subkey(&self, context: &str) -> Subkey {
        Subkey(Zeroizing::new(blake3::derive_key(context, &self.0[..])))
    }
}

impl fmt::Debug for IdKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Secret::MASK)
    }
}

/// A key for one purpose, see [`IdKey::subkey`]. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Subkey(Zeroizing<[u8; 32]>);

impl Subkey {
    /// The keyed BLAKE3 of `bytes`: an id, or the mac of a record.
    pub fn digest(&self, bytes: &[u8]) -> Digest {
        Digest(*blake3::keyed_hash(&self.0, bytes).as_bytes())
    }

    /// Whether `mac` is the keyed BLAKE3 of `bytes`. Takes the same time wherever they differ.
    pub fn is_mac_of(&self, bytes: &[u8], mac: &Digest) -> bool {
        // `blake3::Hash` compares in constant time.
        blake3::keyed_hash(&self.0, bytes) == blake3::Hash::from_bytes(mac.0)
    }

    /// Hashes what comes in pieces, with this key.
    pub fn hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.0)
    }

    /// The first 8 bytes, little-endian: a seed.
    pub fn seed(&self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0[..8]);
        u64::from_le_bytes(first)
    }
}

impl fmt::Debug for Subkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Secret::MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_two_purposes_differ_and_none_prints() {
        let key = IdKey::generate().unwrap();
        assert_ne!(key, IdKey::generate().unwrap());
        let (a, b) = (key.subkey("uplifted-ops test a"), key.subkey("uplifted-ops test b"));
        assert_ne!(a.digest(b"x"), b.digest(b"x"));
        assert_ne!(a.digest(b"x").0, *blake3::hash(b"x").as_bytes());
        assert!(a.is_mac_of(b"x", &a.digest(b"x")) && !a.is_mac_of(b"y", &a.digest(b"x")));
        assert_eq!(a.hasher().update(b"x").finalize().as_bytes(), &a.digest(b"x").0);
        assert_eq!(format!("{key:?} {a:?}"), "*** ***");
        let text = key.to_hex();
        assert_eq!(IdKey::from_hex(text.reveal()).unwrap(), key);
        assert_eq!(IdKey::from_hex("00"), None);
    }
}
