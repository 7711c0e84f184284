//! The header of an age file (<https://age-encryption.org/v1>): where it ends, and who can open it.

use age_core::format::{FileKey, Stanza};
use age_core::secrecy::ExposeSecret as _;
use std::cell::RefCell;

use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::KeyInit;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};

const MAGIC: &[u8] = b"age-encryption.org/v1\n";
/// The random bytes between the header and the chunks.
const NONCE: usize = 16;
/// The longest header that is read. One recipient takes about 100 bytes.
pub(super) const MAX_HEADER: u64 = 64 << 10;

/// The header of an age file, its nonce included.
pub(super) struct Header {
    bytes: Vec<u8>,
}

impl Header {
    /// The header in the first bytes of a file; `None` when it goes on after them.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when they are not those of an age file.
    pub(super) fn in_prefix(bytes: &[u8]) -> Result<Option<Self>> {
        let common = bytes.len().min(MAGIC.len());
        if bytes[..common] != MAGIC[..common] {
            return Err(corrupt("it does not begin as an age file does"));
        }
        // The last line begins with `---`, and no other does: a stanza's begins with `->`, its body is Base64.
        let Some(last) = find(bytes, b"\n---") else { return Ok(None) };
        let Some(line) = find(&bytes[last + 1..], b"\n") else { return Ok(None) };
        let end = last + 1 + line + 1 + NONCE;
        Ok(bytes.get(..end).map(|bytes| Self { bytes: bytes.to_owned() }))
    }

    /// How many bytes it has; the first chunk begins there.
    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// What opens the chunks, when one of `identities` opens the header. Proves the header by its mac.
    pub(super) fn unlock(&self, identities: &[&dyn age::Identity]) -> std::result::Result<ChaCha20Poly1305, NotOpened> {
        let decryptor = age::Decryptor::new_buffered(&self.bytes[..]).map_err(|error| NotOpened::of(&error))?;
        let catchers: Vec<Catcher<'_>> =
            identities.iter().map(|identity| Catcher { identity: *identity, caught: RefCell::default() }).collect();
        // The reader that this makes would do for reading from one end to the other. Threads that each read a
        // part of the file need the key itself.
        decryptor.decrypt(catchers.iter().map(|it| it as _)).map_err(|error| NotOpened::of(&error))?;
        let caught = catchers.iter().find_map(|catcher| catcher.caught.borrow_mut().take());
        let file_key = caught.ok_or_else(|| NotOpened::Damaged("nothing opened it".to_owned()))?;
        let mut payload_key = Zeroizing::new([0; 32]);
        let nonce = &self.bytes[self.bytes.len() - NONCE..];
        Hkdf::<Sha256>::new(Some(nonce), &file_key[..])
            .expand(b"payload", &mut payload_key[..])
            .map_err(|error| NotOpened::Damaged(error.to_string()))?;
        Ok(ChaCha20Poly1305::new((&*payload_key).into()))
    }
}

/// Why a header was not opened.
pub(super) enum NotOpened {
    /// By none of the identities.
    NoneFits,
    /// It is damaged.
    Damaged(String),
}

impl NotOpened {
    fn of(error: &age::DecryptError) -> Self {
        match error {
            age::DecryptError::NoMatchingKeys => Self::NoneFits,
            error => Self::Damaged(error.to_string()),
        }
    }
}

/// An identity that remembers the file's key.
struct Catcher<'a> {
    identity: &'a dyn age::Identity,
    caught: RefCell<Option<Zeroizing<[u8; 16]>>>,
}

impl age::Identity for Catcher<'_> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<std::result::Result<FileKey, age::DecryptError>> {
        let unwrapped = self.identity.unwrap_stanza(stanza)?;
        if let Ok(key) = &unwrapped {
            *self.caught.borrow_mut() = Some(Zeroizing::new(*key.expose_secret()));
        }
        Some(unwrapped)
    }
}

/// Who can open a file. Age says no more than this without a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyHolders {
    /// That many recipients.
    Recipients(usize),
    /// Whoever knows a passphrase.
    Passphrase,
}

impl KeyHolders {
    /// Who can open the age file that begins with `bytes`.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when it is none.
    pub fn of(bytes: &[u8]) -> Result<Self> {
        let header = Header::in_prefix(bytes)?.ok_or_else(|| corrupt("its header does not end"))?;
        let lines = || header.bytes.split(|byte| *byte == b'\n');
        if lines().any(|line| line.starts_with(b"-> scrypt ")) {
            return Ok(Self::Passphrase);
        }
        Ok(Self::Recipients(lines().filter(|line| line.starts_with(b"-> X25519 ")).count()))
    }
}

pub(super) fn corrupt(why: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("this is no whole age file: {why}"))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
