//! A repository's key, and wrapping it to those who may open it.
//!
//! The wrapped text is itself an identity file of age, so that plain tools recover everything:
//! `age -d -i OPERATOR keys/….age > KEY`, then `age -d -i KEY PACK`.
//!
//! ```text
//! # uplifted-ops repository key 1
//! # repository: <32 hexadecimal digits>
//! # created: <RFC 3339, UTC>
//! # fingerprint: <16 hexadecimal digits>
//! # public key: age1…
//! # id key: <64 hexadecimal digits>
//! AGE-SECRET-KEY-1…
//! ```

use std::fmt;
use std::io::{Read, Write};

use age::secrecy::SecretString;
use zeroize::Zeroizing;

use super::fingerprint::Fingerprint;
use super::header::KeyHolders;
use super::id_key::IdKey;
use super::identity::{Means, Operator, RepositoryIdentity};
use super::recipient::Recipient;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::value::{Secret, random_hex};

const FIRST_LINE: &str = "# uplifted-ops repository key ";
const VERSION: u32 = 1;

/// What scrypt costs for a passphrase: N = 2^18 with r = 8, p = 1, which is 256 MiB and about a second; age's own
/// choice on a present machine.
const WORK_FACTOR: u8 = if cfg!(test) { 10 } else { 18 };

/// The shortest passphrase that is taken, in characters.
const MIN_PASSPHRASE: usize = 12;

/// The most bytes that a wrapped key takes once opened.
const MAX_TEXT: u64 = 4096;

/// Everything secret of a repository: what its packs are opened with, and its id key. Wiped when dropped, never
/// printed.
#[derive(Clone)]
pub struct RepositoryKey {
    /// The repository's identifier: 32 hexadecimal digits.
    pub repository: String,
    /// When it was made.
    pub created: Timestamp,
    /// What opens the packs.
    pub identity: RepositoryIdentity,
    /// What the ids are made with.
    pub id_key: IdKey,
}

impl RepositoryKey {
    /// A new repository's.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the system has no randomness to give.
    pub fn generate(now: Timestamp) -> Result<Self> {
        Ok(Self {
            repository: random_hex(32)?,
            created: now,
            identity: RepositoryIdentity::generate(),
            id_key: IdKey::generate()?,
        })
    }

    /// The next key of the same repository: another identity, the same ids.
    pub fn rotated(&self, now: Timestamp) -> Self {
        Self { created: now, identity: RepositoryIdentity::generate(), ..self.clone() }
    }

    /// The short name of its public half.
    pub fn fingerprint(&self) -> Fingerprint {
        self.identity.fingerprint()
    }

    /// Whether it is a key of the repository `repository`, whose ids are made with `id_key`. All keys of one share that: it is
    /// the one thing that nobody knows who slips a key of his own among those of a target.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when it is that of another repository, [`ErrorKind::Refused`] when it has another id key.
    pub(super) fn check_of(&self, repository: &str, id_key: &IdKey) -> Result<()> {
        let fingerprint = self.fingerprint();
        if self.repository != repository {
            return Err(Error::invalid(format!(
                "the key {fingerprint} is that of repository {}, not of {repository}",
                self.repository
            )));
        }
        if self.id_key != *id_key {
            return Err(Error::new(
                ErrorKind::Refused,
                format!(
                    "the key {fingerprint} says that it is one of repository {repository}, and does not go with its \
                     other keys: somebody may have slipped it in"
                ),
            )
            .with_hint(
                "find out who wrote keys/ in the targets; unwrap the genuine key by hand, `age -d -i FILE keys/….age > \
                 KEY`, and pass KEY as identity_file",
            ));
        }
        Ok(())
    }

    /// Whether `text` begins as one.
    pub(super) fn is_one(text: &str) -> bool {
        text.starts_with(FIRST_LINE)
    }

    /// The text that is wrapped.
    pub(super) fn to_text(&self) -> Zeroizing<String> {
        let recipient = self.identity.recipient();
        Zeroizing::new(format!(
            "{FIRST_LINE}{VERSION}\n# repository: {}\n# created: {}\n# fingerprint: {}\n# public key: {recipient}\n\
             # id key: {}\n{}\n",
            self.repository,
            self.created,
            recipient.fingerprint(),
            self.id_key.to_hex().reveal(),
            &*self.identity.reveal(),
        ))
    }

    /// Reads that text.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a later version; [`ErrorKind::Corrupt`] for anything else. No error repeats
    /// the text.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let corrupt = |what: &str| Error::new(ErrorKind::Corrupt, format!("the repository's key {what}"));
        let mut lines = text.lines();
        let version = lines.next().and_then(|line| line.strip_prefix(FIRST_LINE)).ok_or_else(|| corrupt("is none"))?;
        let version: u32 = version.trim().parse().map_err(|_| corrupt("has no version"))?;
        if version > VERSION {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the repository's key has version {version}, and this build reads version {VERSION}"),
            )
            .with_hint("use a later uplifted-ops"));
        }
        let (mut repository, mut created, mut id_key, mut fingerprint, mut identity) = (None, None, None, None, None);
        for line in lines {
            match line.strip_prefix("# ").and_then(|line| line.split_once(": ")) {
                Some(("repository", value)) => repository = Some(value.trim().to_owned()),
                Some(("created", value)) => created = value.trim().parse::<Timestamp>().ok(),
                Some(("fingerprint", value)) => fingerprint = value.trim().parse::<Fingerprint>().ok(),
                Some(("id key", value)) => id_key = IdKey::from_hex(value.trim()),
                Some(_) => {}
                None if line.is_empty() || line.starts_with('#') => {}
                None => identity = line.parse::<RepositoryIdentity>().ok(),
            }
        }
        let key = Self {
            repository: repository.filter(|id| is_repository_id(id)).ok_or_else(|| corrupt("names no repository"))?,
            created: created.ok_or_else(|| corrupt("has no time"))?,
            identity: identity.ok_or_else(|| corrupt("holds no identity"))?,
            id_key: id_key.ok_or_else(|| corrupt("holds no id key"))?,
        };
        if fingerprint.is_none_or(|fingerprint| fingerprint != key.fingerprint()) {
            return Err(corrupt("does not have the fingerprint that it names"));
        }
        Ok(key)
    }

    /// Wraps it: an age file that each of `to` opens.
    ///
    /// # Errors
    /// What [`WrapTo`] refuses.
    pub fn wrap(&self, to: &WrapTo) -> Result<Vec<u8>> {
        let failed = |error: &dyn fmt::Display| Error::internal(format!("the key could not be wrapped: {error}"));
        let encryptor = match &to.0 {
            To::Recipients(recipients) => {
                age::Encryptor::with_recipients(recipients.iter().map(|recipient| &recipient.0 as _))
            }
            To::Passphrase(passphrase) => {
                let mut recipient = age::scrypt::Recipient::new(passphrase.clone());
                recipient.set_work_factor(WORK_FACTOR);
                age::Encryptor::with_recipients(std::iter::once(&recipient as _))
            }
        }
        .map_err(|error| failed(&error))?;
        let mut wrapped = Vec::new();
        let mut writer = encryptor.wrap_output(&mut wrapped).map_err(|error| failed(&error))?;
        writer.write_all(self.to_text().as_bytes()).map_err(|error| failed(&error))?;
        writer.finish().map_err(|error| failed(&error))?;
        Ok(wrapped)
    }

    /// Opens what [`RepositoryKey::wrap`] made.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when `operator` is not one of those that it is wrapped to, or the passphrase is
    /// wrong; [`ErrorKind::Corrupt`] when it is damaged.
    pub fn unwrap(wrapped: &[u8], operator: &Operator) -> Result<Self> {
        if let Means::Unwrapped(key) = &operator.means {
            return Ok((**key).clone());
        }
        let holders = KeyHolders::of(wrapped)?;
        let by_passphrase = matches!(operator.means, Means::Passphrase(_));
        match (&holders, by_passphrase) {
            (KeyHolders::Passphrase, false) => {
                return Err(Error::invalid("the key is wrapped to a passphrase, and an identity was given").with_hint(
                    "set backup.encryption.passphrase = \"env:NAME\", and the passphrase in that variable",
                ));
            }
            (KeyHolders::Recipients(_), true) => {
                return Err(Error::invalid("the key is wrapped to recipients, and a passphrase was given")
                    .with_hint("pass identity_file: the file with the secret key of one of them"));
            }
            _ => {}
        }
        let decryptor = age::Decryptor::new_buffered(wrapped).map_err(|error| damaged(&error))?;
        let reader = operator.as_age(|identities| decryptor.decrypt(identities.iter().copied()));
        let mut reader = reader.map_err(|error| match error {
            age::DecryptError::NoMatchingKeys => not_a_holder(operator),
            age::DecryptError::DecryptionFailed | age::DecryptError::KeyDecryptionFailed if by_passphrase => {
                Error::invalid(format!("the passphrase in {} does not open the key", operator.name()))
                    .with_hint("set that variable to the passphrase that the key was wrapped to")
            }
            age::DecryptError::ExcessiveWork { required, .. } => Error::new(
                ErrorKind::Refused,
                format!("the wrapped key asks for scrypt with N = 2^{required}, more than any of ours"),
            )
            .with_hint("somebody may have replaced it: compare it with another target's"),
            error => damaged(&error),
        })?;
        let mut text = Zeroizing::new(String::with_capacity(MAX_TEXT as usize));
        reader.by_ref().take(MAX_TEXT).read_to_string(&mut text).map_err(|error| damaged(&error))?;
        Self::parse(&text)
    }
}

fn damaged(error: &dyn fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the wrapped key is damaged: {error}"))
        .with_hint("use another copy of it: every target has one")
}

fn not_a_holder(operator: &Operator) -> Error {
    let given: Vec<String> = operator.recipients().iter().map(ToString::to_string).collect();
    Error::invalid(format!(
        "the identity in {} does not open the key: it is that of {}",
        operator.name(),
        given.join(", ")
    ))
    .with_hint("pass the identity of a recipient that the key is wrapped to")
}

/// Whether `text` has the form of a repository's identifier.
pub(super) fn is_repository_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl fmt::Debug for RepositoryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepositoryKey")
            .field("repository", &self.repository)
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

/// Who a repository's key is wrapped to.
pub struct WrapTo(To);

enum To {
    Recipients(Vec<Recipient>),
    Passphrase(SecretString),
}

impl WrapTo {
    /// Each of these opens it alone.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when there is none.
    pub fn recipients(mut recipients: Vec<Recipient>) -> Result<Self> {
        let mut seen = std::collections::HashSet::new();
        recipients.retain(|recipient| seen.insert(recipient.clone()));
        if recipients.is_empty() {
            return Err(Error::invalid("there is no recipient to wrap the key to").with_hint(
                "make a key with `age-keygen -o FILE` on another machine, and set backup.encryption.recipients to its \
                 public half",
            ));
        }
        Ok(Self(To::Recipients(recipients)))
    }

    /// Whoever knows this opens it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when it is shorter than 12 characters.
    pub fn passphrase(passphrase: &Secret) -> Result<Self> {
        if passphrase.reveal().chars().count() < MIN_PASSPHRASE {
            return Err(Error::invalid(format!("the passphrase is shorter than {MIN_PASSPHRASE} characters"))
                .with_hint("take several random words, and keep them where the backups are not"));
        }
        Ok(Self(To::Passphrase(SecretString::from(passphrase.reveal().to_owned()))))
    }

    /// The recipients; none when it is a passphrase.
    pub fn who(&self) -> &[Recipient] {
        match &self.0 {
            To::Recipients(recipients) => recipients,
            To::Passphrase(_) => &[],
        }
    }
}

impl fmt::Debug for WrapTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            To::Recipients(recipients) => recipients.fmt(f),
            To::Passphrase(_) => f.write_str(Secret::MASK),
        }
    }
}
