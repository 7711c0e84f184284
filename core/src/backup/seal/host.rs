//! What the host keeps of a repository's key: the public half, and the id key.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::fingerprint::Fingerprint;
use super::id_key::IdKey;
use super::identity::RepositoryIdentity;
use super::recipient::Recipient;
use super::wrap::{RepositoryKey, is_repository_id};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::fs;

/// The folder below the state folder.
const FOLDER: &str = "keys";
const VERSION: u32 = 1;
/// The file holds a secret.
const MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// What the host keeps, in `<state>/keys/<repository id>.json`: enough to make backups, nothing that opens one.
#[derive(Clone, PartialEq, Eq)]
pub struct HostKeys {
    /// The repository's identifier.
    pub repository: String,
    /// What is encrypted from now on is encrypted to this.
    pub current: Recipient,
    /// When the current key was made.
    pub created: Timestamp,
    /// What earlier packs are encrypted to, oldest first.
    pub former: Vec<Recipient>,
    /// What the ids are made with.
    pub id_key: IdKey,
}

/// The file's form.
#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    repository: String,
    created: Timestamp,
    fingerprint: Fingerprint,
    public_key: String,
    former: Vec<String>,
    id_key: String,
}

impl Drop for File {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.id_key);
    }
}

impl HostKeys {
    /// What the host keeps of `key`, now that all of it is known.
    pub fn of(key: &RepositoryKey) -> Self {
        Self {
            repository: key.repository.clone(),
            current: key.identity.recipient(),
            created: key.created,
            former: Vec::new(),
            id_key: key.id_key.clone(),
        }
    }

    /// The same, with `key` as the current one.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when `key` is that of another repository, [`ErrorKind::Refused`] when it has another id key.
    pub fn rotated_to(&self, key: &RepositoryKey) -> Result<Self> {
        key.check_of(&self.repository, &self.id_key)?;
        let current = key.identity.recipient();
        let mut former = self.former.clone();
        former.push(self.current.clone());
        former.retain(|recipient| *recipient != current);
        Ok(Self { current, created: key.created, former, ..self.clone() })
    }

    /// The next key of this repository: another identity, the same ids.
    pub fn next_key(&self, now: Timestamp) -> RepositoryKey {
        RepositoryKey {
            repository: self.repository.clone(),
            created: now,
            identity: RepositoryIdentity::generate(),
            id_key: self.id_key.clone(),
        }
    }

    /// Every key that the host knows of, oldest first; the last is the current one.
    pub fn fingerprints(&self) -> Vec<Fingerprint> {
        self.former.iter().chain([&self.current]).map(Recipient::fingerprint).collect()
    }

    /// Reads what the host keeps below the folder `state`. `None` when no key was ever set, or its file is lost.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for a file that is damaged; [`ErrorKind::Refused`] when there are several, since
    /// nobody can say which one is meant.
    pub fn load(state: &Path) -> Result<Option<Self>> {
        let folder = state.join(FOLDER);
        let reading = |error| Error::io(format!("read {folder:?}"), error);
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(reading(error)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(reading)?.path();
            let id = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if path.extension().is_some_and(|extension| extension == "json") && is_repository_id(id) {
                files.push(path);
            }
        }
        files.sort();
        match files.as_slice() {
            [] => Ok(None),
            [path] => Self::read(path).map(Some),
            [first, second, ..] => Err(Error::new(
                ErrorKind::Refused,
                format!("this host has the keys of several repositories: {first:?} and {second:?}"),
            )
            .with_hint("move the file of the one that is not meant to another folder")),
        }
    }

    fn read(path: &Path) -> Result<Self> {
        let damaged = |what: &str| {
            Error::new(ErrorKind::Corrupt, format!("{path:?} {what}"))
                .with_hint("remove it, then restore it with `uplifted-ops backup keys adopt --identity-file FILE`")
        };
        let bytes = std::fs::read(path).map_err(|error| Error::io(format!("read {path:?}"), error))?;
        let bytes = zeroize::Zeroizing::new(bytes);
        // What serde says of a wrong value may repeat the value.
        let file: File = serde_json::from_slice(&bytes).map_err(|_| damaged("is damaged"))?;
        if file.format > VERSION {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{path:?} has version {}, and this build reads version {VERSION}", file.format),
            )
            .with_hint("use a later uplifted-ops"));
        }
        let current: Recipient = file.public_key.parse().map_err(|_| damaged("names no public key"))?;
        if current.fingerprint() != file.fingerprint || !is_repository_id(&file.repository) {
            return Err(damaged("does not name the key that it holds"));
        }
        Ok(Self {
            current,
            former: file
                .former
                .iter()
                .map(|text| text.parse().map_err(|_| damaged("names no public key")))
                .collect::<Result<_>>()?,
            id_key: IdKey::from_hex(&file.id_key).ok_or_else(|| damaged("holds no id key"))?,
            repository: file.repository.clone(),
            created: file.created,
        })
    }

    /// Writes the file, whole or not at all; durable when it returns.
    ///
    /// # Errors
    /// What the disk says.
    pub fn save(&self, state: &Path) -> Result<()> {
        let path = Self::path(state, &self.repository);
        fs::create_dir_all(&state.join(FOLDER), FOLDER_MODE)?;
        let file = File {
            format: VERSION,
            repository: self.repository.clone(),
            created: self.created,
            fingerprint: self.current.fingerprint(),
            public_key: self.current.to_string(),
            former: self.former.iter().map(ToString::to_string).collect(),
            id_key: self.id_key.to_hex().reveal().to_owned(),
        };
        let text = serde_json::to_vec_pretty(&file)
            .map_err(|error| Error::internal(format!("the host's keys cannot be written: {error}")))?;
        fs::write_atomic(&path, MODE, &zeroize::Zeroizing::new(text))
    }

    /// The file of a repository.
    pub fn path(state: &Path, repository: &str) -> PathBuf {
        state.join(FOLDER).join(format!("{repository}.json"))
    }
}

impl fmt::Debug for HostKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostKeys")
            .field("repository", &self.repository)
            .field("current", &self.current.fingerprint())
            .field("former", &self.former.iter().map(Recipient::fingerprint).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
