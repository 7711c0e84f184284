//! Who is who in a repository: random names of things, and ids that content has by itself.

use std::fmt;

use crate::backup::manifest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::value::hex;

/// An id of a fixed number of bytes that prints as lower-case hexadecimal.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct $name(pub(crate) [u8; $len]);

        impl $name {
            /// The id that `text` writes; `None` unless it is lower-case hexadecimal of the right length.
            pub(crate) fn parse(text: &[u8]) -> Option<Self> {
                unhex_lower(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }
    };
}

id! {
    /// Which repository this is: random.
    RepositoryId, 16
}
id! {
    /// The name of a pack: random.
    PackId, 16
}
id! {
    /// The name of a snapshot: random.
    SnapshotId, 6
}
id! {
    /// The name of a stream: random.
    StreamId, 6
}
id! {
    /// What content it is: the first 16 bytes of its BLAKE3, keyed with the repository's blob key.
    BlobId, 16
}
id! {
    /// What a unit of a database holds: the first 16 bytes of its BLAKE3, keyed with the repository's page key.
    PageId, 16
}

impl RepositoryId {
    /// A new one.
    pub(crate) fn random() -> Result<Self> {
        random().map(Self)
    }
}

impl StreamId {
    /// A new one.
    pub(crate) fn random() -> Result<Self> {
        random().map(Self)
    }
}

impl PackId {
    /// A new one.
    pub(crate) fn random() -> Result<Self> {
        random().map(Self)
    }
}

/// The bytes of lower-case hexadecimal of exactly the right length.
pub(crate) fn unhex_lower<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    // One branch in the end: a repository of a million files has some five million ids.
    let mut wrong = 0;
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let (high, low) = (DIGITS[usize::from(pair[0])], DIGITS[usize::from(pair[1])]);
        wrong |= high | low;
        *byte = high << 4 | low;
    }
    (wrong <= 0xf).then_some(bytes)
}

/// What each character is worth as a lower-case hexadecimal digit; 255 for what is none.
const DIGITS: [u8; 256] = {
    let mut digits = [255; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    digits
};

/// Bytes from the operating system's generator.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(ErrorKind::Unavailable, format!("the system gives no random numbers: {error}")))?;
    Ok(bytes)
}

/// The secret that content ids are made with. Whoever has it can tell whether a repository holds content that
/// he knows, and can make records that pass for genuine; in a repository in clear it is no secret.
///
/// The keys below it come from BLAKE3's `derive_key` (<https://github.com/BLAKE3-team/BLAKE3-specs>, section 6.3).
#[derive(Clone)]
pub(crate) struct IdKey {
    secret: [u8; 32],
    blob: [u8; 32],
    page: [u8; 32],
    mac: [u8; 32],
    chunk_seed: u64,
}

impl IdKey {
    /// The key with these bytes.
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        let derive = |what: &str| blake3::derive_key(&format!("uplifted-ops repository 1 {what}"), &secret);
        let [a, b, c, d, e, f, g, h, ..] = derive("chunk");
        Self {
            secret,
            blob: derive("blob"),
            page: derive("page"),
            mac: derive("mac"),
            chunk_seed: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        }
    }

    /// A new key.
    pub(crate) fn random() -> Result<Self> {
        random().map(Self::new)
    }

    /// The 32 bytes, for the record or the wrapped file that keeps them.
    pub(crate) fn reveal(&self) -> &[u8; 32] {
        &self.secret
    }

    /// The id of content.
    pub(crate) fn blob_id(&self, content: &[u8]) -> BlobId {
        BlobId(first_half(blake3::keyed_hash(&self.blob, content)))
    }

    /// The id of a unit of a database.
    pub(crate) fn page_id(&self, unit: &[u8]) -> PageId {
        PageId(first_half(blake3::keyed_hash(&self.page, unit)))
    }

    /// Starts the authentication of a record, or of the page ids of a database one after the other.
    pub(crate) fn mac(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.mac)
    }

    /// Ends what [`IdKey::mac`] started.
    pub(crate) fn mac_of(&self, bytes: &[u8]) -> Digest {
        Digest(*blake3::keyed_hash(&self.mac, bytes).as_bytes())
    }

    /// The seed of the chunk boundaries.
    pub(crate) fn chunk_seed(&self) -> u64 {
        self.chunk_seed
    }
}

impl fmt::Debug for IdKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdKey(***)")
    }
}

fn first_half(hash: blake3::Hash) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash.as_bytes()[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_lower_case_digits_and_nothing_else() {
        let id = BlobId::parse(b"00ff0000000000000000000000000a0b").unwrap();
        assert_eq!(id.0[1], 255);
        assert_eq!(id.to_string(), "00ff0000000000000000000000000a0b");
        for wrong in [&b""[..], b"00", b"00FF0000000000000000000000000a0b", b"+0ff0000000000000000000000000a0b"] {
            assert_eq!(BlobId::parse(wrong), None);
        }
    }

    #[test]
    fn keys_are_separate_and_never_printed() {
        let key = IdKey::new([7; 32]);
        let (blob, page, mac) = (key.blob_id(b"x").0, key.page_id(b"x").0, key.mac_of(b"x").0);
        assert_ne!(blob, page);
        assert_ne!(blob[..], mac[..16]);
        assert_ne!(IdKey::new([8; 32]).blob_id(b"x").0, blob);
        assert_eq!(*key.mac().update(b"x").finalize().as_bytes(), mac);
        assert_eq!(format!("{key:?}"), "IdKey(***)");
    }

    /// What a repository in clear was written with must stay what it is read with.
    #[test]
    fn ids_never_change() {
        let key = IdKey::new([1; 32]);
        let made = [
            key.blob_id(b"content").to_string(),
            key.page_id(b"content").to_string(),
            hex(&key.mac_of(b"content").0[..16]),
            format!("{:016x}", key.chunk_seed()),
        ];
        // As the `blake3` package of Python makes them.
        let expected = [
            "1318bd919f9f9fe23eb06c0b839035df",
            "278c8207b2b8dbdf4a8e720ed2eff659",
            "fee8eb52861bb89f3c6efc52b1a8a42f",
            "6669a304381237ed",
        ];
        assert_eq!(made, expected);
    }
}
