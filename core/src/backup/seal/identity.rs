//! What opens: a repository's identity, and what an operator unwraps it with.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use age::secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::fingerprint::Fingerprint;
use super::recipient::{Recipient, is_ssh};
use super::wrap::RepositoryKey;
use crate::config::read_small_file;
use crate::error::{Error, ErrorKind, Result};
use crate::value::Secret;

/// The most work that opening a key wrapped to a passphrase may take: scrypt with N = 2^20, 1 GiB of memory.
const MAX_WORK_FACTOR: u8 = 20;

/// A secret age X25519 key. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct RepositoryIdentity(pub(super) age::x25519::Identity);

impl RepositoryIdentity {
    /// A new one.
    pub fn generate() -> Self {
        Self(age::x25519::Identity::generate())
    }

    /// Its public half.
    pub fn recipient(&self) -> Recipient {
        Recipient(self.0.to_public())
    }

    /// The short name of its public half.
    pub fn fingerprint(&self) -> Fingerprint {
        self.recipient().fingerprint()
    }

    /// `AGE-SECRET-KEY-1…`, for the one place that writes it.
    pub(super) fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.to_string().expose_secret().to_owned())
    }
}

impl FromStr for RepositoryIdentity {
    type Err = Error;

    /// # Errors
    /// [`ErrorKind::InvalidInput`], without the text.
    fn from_str(text: &str) -> Result<Self> {
        let inner = age::x25519::Identity::from_str(text.trim())
            .map_err(|why| Error::invalid(format!("this is no age identity: {why}")))?;
        Ok(Self(inner))
    }
}

impl fmt::Debug for RepositoryIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RepositoryIdentity({}, {})", self.fingerprint(), Secret::MASK)
    }
}

/// What an operator has: identities of age, a passphrase, or a repository's key that was unwrapped by hand.
pub struct Operator {
    pub(super) means: Means,
    /// What it is called in errors.
    name: String,
}

pub(super) enum Means {
    Identities(Vec<RepositoryIdentity>),
    Passphrase(SecretString),
    Unwrapped(Box<RepositoryKey>),
}

impl Operator {
    /// Reads an identity file: lines `AGE-SECRET-KEY-1…`, as `age-keygen -o FILE` writes it; or a repository's key
    /// as `age -d keys/….age` prints it. Belongs on a thread that may wait.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] without the file; [`ErrorKind::InvalidInput`] that names what the file is instead: a
    /// public key, an SSH key, an encrypted file. No error repeats a line of it.
    pub fn from_file(path: &Path) -> Result<Self> {
        let bytes = Zeroizing::new(read_small_file(path)?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no identity file {path:?}"))
                .with_hint("name the file with the secret key, as `age-keygen -o FILE` made it")
        })?);
        if bytes.starts_with(b"age-encryption.org/v1") || bytes.starts_with(b"-----BEGIN AGE ENCRYPTED FILE") {
            return Err(Error::invalid(format!("the identity file {path:?} is itself encrypted"))
                .with_hint("decrypt it first: `age -d FILE > /dev/shm/identity`, and remove that afterwards"));
        }
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| Error::invalid(format!("{path:?} is no identity file: it is not text")))?;
        Self::from_text(text, &format!("{path:?}"))
    }

    /// What the text of an identity file holds. `name` is what errors call it.
    ///
    /// # Errors
    /// As [`Operator::from_file`].
    pub fn from_text(text: &str, name: &str) -> Result<Self> {
        if RepositoryKey::is_one(text) {
            let key = RepositoryKey::parse(text).map_err(|error| error.while_doing(name))?;
            return Ok(Self { means: Means::Unwrapped(Box::new(key)), name: name.to_owned() });
        }
        let mut identities = Vec::new();
        let mut public = false;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let at = || format!("{name}, line {}", number + 1);
            let upper = Zeroizing::new(line.to_ascii_uppercase());
            if is_ssh(line) {
                return Err(Error::invalid(format!("{} is an SSH key, and an age identity is needed", at()))
                    .with_hint("name the file that `age-keygen -o FILE` made"));
            }
            if upper.starts_with("AGE-PLUGIN-") || upper.starts_with("AGE-SECRET-KEY-PQ-") {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("{} is an identity of a kind that this build does not have", at()),
                )
                .with_hint("unwrap the key by hand: `age -d -i FILE keys/….age > KEY`, then name KEY"));
            }
            if line.starts_with("age1") {
                public = true;
                continue;
            }
            identities.push(line.parse().map_err(|error: Error| {
                error
                    .while_doing(at())
                    .with_hint("name the file with the secret key, AGE-SECRET-KEY-1…, as `age-keygen -o FILE` made it")
            })?);
        }
        match (identities.is_empty(), public) {
            (false, _) => Ok(Self { means: Means::Identities(identities), name: name.to_owned() }),
            (true, true) => Err(Error::invalid(format!("{name} holds a public key, and the secret half is needed"))
                .with_hint("name the file with the line AGE-SECRET-KEY-1…, as `age-keygen -o FILE` made it")),
            (true, false) => Err(Error::invalid(format!("{name} holds no identity"))
                .with_hint("name the file with the line AGE-SECRET-KEY-1…, as `age-keygen -o FILE` made it")),
        }
    }

    /// A passphrase. `name` is what errors call it, such as the variable that it came from.
    pub fn from_passphrase(passphrase: &Secret, name: &str) -> Self {
        Self { means: Means::Passphrase(SecretString::from(passphrase.reveal().to_owned())), name: name.to_owned() }
    }

    /// What it is called in errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public halves of its identities; none of a passphrase.
    pub fn recipients(&self) -> Vec<Recipient> {
        match &self.means {
            Means::Identities(identities) => identities.iter().map(RepositoryIdentity::recipient).collect(),
            Means::Unwrapped(key) => vec![key.identity.recipient()],
            Means::Passphrase(_) => Vec::new(),
        }
    }

    /// Calls `with` with its identities as `age` takes them.
    pub(super) fn as_age<T>(&self, with: impl FnOnce(&[&dyn age::Identity]) -> T) -> T {
        match &self.means {
            Means::Identities(identities) => {
                let all: Vec<&dyn age::Identity> = identities.iter().map(|identity| &identity.0 as _).collect();
                with(&all)
            }
            Means::Unwrapped(key) => with(&[&key.identity.0]),
            Means::Passphrase(passphrase) => {
                let mut identity = age::scrypt::Identity::new(passphrase.clone());
                identity.set_max_work_factor(MAX_WORK_FACTOR);
                with(&[&identity])
            }
        }
    }
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Operator({}, {})", self.name, Secret::MASK)
    }
}
