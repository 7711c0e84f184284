//! Which repository a host has stored into, target by target, so that another one in its place is noticed.
//!
//! An empty folder is what a disk looks like that is not mounted, and a bucket under another name. A run that begins a
//! repository there goes on succeeding on a disk that was never meant for backups. So a run that has stored something notes
//! the repository, in `<state>/targets/`, and the next one refuses to begin where that one is gone.
//!
//! It is no cache: nothing makes it again. Where it is lost, or damaged, the next run knows nothing of what was there, as
//! the first one did.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::blocks::Objects;
use super::create::NamedTarget;
use super::list::blocking;
use super::repository::id::RepositoryId;
use super::repository::open::Repository;
use super::target::BackupTarget;
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::fs;
use crate::value::hex;

/// The folder below the state folder.
const FOLDER: &str = "targets";
/// A file of ours that is longer than this, in bytes, is none.
const MAX_BYTES: u64 = 1 << 20;
/// Disks that take turns in one place are a handful.
const MOST: usize = 32;

/// What a host knows of the repositories in one target.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    file: PathBuf,
    target: String,
    location: String,
    is_folder: bool,
    /// Whether it is meant that what was known is gone, or another one.
    anew: bool,
    /// That of the last run first; several where disks take turns.
    known: Vec<RepositoryId>,
    /// When something was last stored there.
    stored_at: Option<Timestamp>,
    /// Whether the person who asked had to say that it is meant.
    changed: bool,
}

/// Looks whether a target still has the repository that this host stored into, for who only reads.
///
/// # Errors
/// [`ErrorKind::Refused`] when it is gone, or another one; those of the target.
pub(crate) async fn look_for(scope: &Scope, state: &Path, (name, target): &NamedTarget) -> Result<()> {
    let (state, name, objects) = (state.to_owned(), name.clone(), Objects::new(scope, Arc::clone(target)));
    blocking(move || Memory::load(&state, &name, objects.target(), false).look(&objects)).await
}

/// The file's form.
#[derive(Debug, Serialize, Deserialize)]
struct File {
    target: String,
    location: String,
    repositories: Vec<String>,
    stored_at: Timestamp,
}

impl Memory {
    /// What the state folder says of a target: of its name at its place, so that one that was moved is a new one. It blocks.
    pub(crate) fn load(state: &Path, name: &str, target: &dyn BackupTarget, anew: bool) -> Self {
        let capability = target.capability();
        let place = blake3::hash(format!("{name}\0{}\0{}", capability.kind, capability.location).as_bytes());
        let file = state.join(FOLDER).join(format!("{}.json", hex(&place.as_bytes()[..8])));
        let read = read(&file);
        let id = |id: &String| RepositoryId::parse(id.as_bytes());
        Self {
            known: read.iter().flat_map(|read| read.repositories.iter().filter_map(id)).take(MOST).collect(),
            stored_at: read.map(|read| read.stored_at),
            file,
            target: name.to_owned(),
            location: capability.location,
            is_folder: capability.folder.is_some(),
            anew,
            changed: false,
        }
    }

    /// The target's name.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// Whether nothing was ever stored there, as far as this host knows.
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Holds what is there against what is known. It blocks.
    ///
    /// # Errors
    /// As [`Memory::meet`], and those of the target.
    pub(crate) fn look(&mut self, objects: &Objects) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let found = Repository::identify(objects)?;
        self.meet(found.map(|found| found.id()))
    }

    /// Holds the repository that is there, if one is, against those that are known.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] where it is gone or another one, unless that is meant.
    pub(crate) fn meet(&mut self, found: Option<RepositoryId>) -> Result<()> {
        let Some(last) = self.known.first() else { return Ok(()) };
        if found.is_some_and(|found| self.known.contains(&found)) {
            return Ok(());
        }
        if self.anew {
            self.changed = true;
            match found {
                // A disk that takes turns with the others.
                Some(found) => self.known.insert(0, found),
                None => self.known.clear(),
            }
            return Ok(());
        }
        let Self { target, location, .. } = self;
        let since = self.stored_at.map_or(String::new(), |at| format!(", last on {}", at.strftime("%Y-%m-%d")));
        let (message, repair) = match (found, self.is_folder) {
            (None, true) => (
                format!(
                    "target {target:?} has no repository in {location}, where this host stored into {last}{since}: its disk \
                     is not mounted, or somebody emptied the folder"
                ),
                "mount the disk and run it again",
            ),
            (None, false) => (
                format!(
                    "target {target:?} has no repository in {location}, where this host stored into {last}{since}: somebody \
                     emptied it, or the name leads to another place now"
                ),
                "look where the target leads, and run it again",
            ),
            (Some(found), _) => (
                format!(
                    "target {target:?} has the repository {found} in {location}, where this host stored into {last}{since}: \
                     another disk is there, or somebody replaced the content"
                ),
                "bring back what was there and run it again",
            ),
        };
        Err(Error::new(ErrorKind::Refused, message).with_context("target", target.as_str()).with_hint(format!(
            "{repair}; if that is meant, go on from now with `uplifted-ops backup create --target {target} --layout \
             repository --anew`"
        )))
    }

    /// Notes that something was stored: in this repository, or in none. It blocks.
    pub(crate) fn keep(mut self, stored_in: Option<RepositoryId>, now: Timestamp) -> Result<()> {
        match stored_in {
            Some(id) => {
                self.known.retain(|known| *known != id);
                self.known.insert(0, id);
                self.known.truncate(MOST);
            }
            None if !self.changed => return Ok(()),
            None => {}
        }
        if self.known.is_empty() {
            return fs::remove_file(&self.file);
        }
        let file = File {
            target: self.target,
            location: self.location,
            repositories: self.known.iter().map(ToString::to_string).collect(),
            stored_at: now,
        };
        let mut bytes = serde_json::to_vec_pretty(&file)
            .map_err(|error| Error::internal(format!("the memory of a target is not JSON: {error}")))?;
        bytes.push(b'\n');
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder, fs::PRIVATE_DIR)?;
        }
        fs::write_atomic(&self.file, fs::PRIVATE_FILE, &bytes)
    }
}

/// What the file says; nothing when it is not there, or not as we write it.
fn read(file: &Path) -> Option<File> {
    let len = file.symlink_metadata().ok()?.len();
    (len <= MAX_BYTES).then(|| std::fs::read(file).ok()).flatten().and_then(|bytes| serde_json::from_slice(&bytes).ok())
}
