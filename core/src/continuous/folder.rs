//! What is kept in the state folder. Losing it loses no segment that a target has: the next start goes on from there.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::standing::StoreStanding;
use crate::config::ContinuousSettings;
use crate::error::{Error, Result};
use crate::fs::{self, ProcessLock};

const FOLDER: &str = "continuous";
const WISHES: &str = "wishes.json";
const STANDING: &str = "standing.json";
const MODE: u32 = 0o600;
/// A file of ours that is larger than this, in bytes, is none.
const MAX_BYTES: u64 = 1 << 20;

/// Our folder in the state folder.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

/// That of one store.
#[derive(Debug, Clone)]
pub(crate) struct StoreFolder(PathBuf);

/// What somebody asked for, beside the settings: whether a store is followed.
pub(crate) type Wishes = BTreeMap<String, bool>;

impl Folder {
    pub(crate) fn new(state: &Path) -> Self {
        Self(state.join(FOLDER))
    }

    /// That of a store. A name of other letters than a file may have is told by its hash.
    pub(crate) fn store(&self, name: &str) -> StoreFolder {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let short = !name.is_empty() && name.len() <= 80 && name.bytes().all(plain);
        let hash = || format!("~{}", &blake3::hash(name.as_bytes()).to_hex()[..24]);
        StoreFolder(self.0.join("stores").join(if short { name.to_owned() } else { hash() }))
    }

    /// What was asked for.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn wishes(&self) -> Result<Wishes> {
        Ok(read(&self.0.join(WISHES))?.unwrap_or_default())
    }

    /// Keeps that `store` is to be followed, or not.
    pub(crate) fn wish(&self, store: &str, followed: bool) -> Result<()> {
        fs::create_dir_all(&self.0, fs::PRIVATE_DIR)?;
        let mut wishes = self.wishes()?;
        wishes.insert(store.to_owned(), followed);
        write(&self.0.join(WISHES), &wishes)
    }

    /// The stores that are to be followed: those of the settings, but for what was asked for since.
    pub(crate) fn wanted(&self, settings: &ContinuousSettings, known: &[String]) -> Result<Vec<String>> {
        let wishes = self.wishes()?;
        let wanted = |store: &&String| wishes.get(*store).copied().unwrap_or_else(|| settings.stores.contains(store));
        Ok(known.iter().filter(wanted).cloned().collect())
    }

    /// Whether a process follows stores, or would.
    pub(crate) fn has_leader(&self) -> bool {
        let lock = self.0.join("leader");
        lock.exists() && ProcessLock::is_abandoned(&lock).is_ok_and(|abandoned| !abandoned)
    }

    /// The right to follow; `None` while another process has it.
    pub(crate) fn lead(&self) -> Result<Option<ProcessLock>> {
        fs::create_dir_all(&self.0, fs::PRIVATE_DIR)?;
        ProcessLock::try_acquire(&self.0.join("leader"))
    }
}

impl StoreFolder {
    /// Makes it.
    pub(crate) fn create(&self) -> Result<()> {
        fs::create_dir_all(&self.spool(), fs::PRIVATE_DIR)?;
        fs::create_dir_all(&self.cache(), fs::PRIVATE_DIR)
    }

    /// Where segments wait.
    pub(crate) fn spool(&self) -> PathBuf {
        self.0.join("spool")
    }

    /// What the driver keeps.
    pub(crate) fn cache(&self) -> PathBuf {
        self.0.join("driver")
    }

    /// The right to follow this store; `None` while another process has it.
    pub(crate) fn lock(&self) -> Result<Option<ProcessLock>> {
        ProcessLock::try_acquire(&self.0.join("lock"))
    }

    /// Whether a process follows it. One that was never followed is not.
    pub(crate) fn is_followed(&self) -> bool {
        let lock = self.0.join("lock");
        lock.exists() && ProcessLock::is_abandoned(&lock).is_ok_and(|abandoned| !abandoned)
    }

    /// Whether somebody said that this store is not to be followed.
    pub(crate) fn is_unwanted(&self, name: &str) -> Result<bool> {
        let all = self.0.parent().and_then(Path::parent).unwrap_or(&self.0);
        Ok(read::<Wishes>(&all.join(WISHES))?.unwrap_or_default().get(name) == Some(&false))
    }

    /// How it stood when its worker last said; `None` when it never did.
    pub(crate) fn standing(&self) -> Result<Option<StoreStanding>> {
        read(&self.0.join(STANDING))
    }

    /// Keeps how it stands.
    pub(crate) fn keep(&self, standing: &StoreStanding) -> Result<()> {
        write(&self.0.join(STANDING), standing)
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let failed = |error| Error::io(format!("read {path:?}"), error);
    match path.metadata() {
        Ok(meta) if meta.len() > MAX_BYTES => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    match std::fs::read(path) {
        // A damaged one is as good as none: all of it can be done without.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let bytes =
        serde_json::to_vec(value).map_err(|error| Error::internal(format!("{path:?} cannot be written: {error}")))?;
    fs::write_atomic(path, MODE, &bytes)
}
