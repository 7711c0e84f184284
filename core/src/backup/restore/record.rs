//! The durable record of a restore: what a later process needs to finish it, or to undo it.
//!
//! A restore is a trade. Beside the live tree lies a second one, `tree/`, with the same relative names; each
//! step trades the nodes of one name between the two. Before the swap `tree/` holds what comes in, after it
//! what went out: so the undo area is nothing but the staging area afterwards, and an undo is the same trade
//! once more.
//!
//! The folder of a record is born whole: made under a hidden name with its lock held and its record in it,
//! then renamed. It is `<state>/restore/<id>` while something is to be done and `<state>/undo/<id>` when it
//! can be undone. Whoever cannot take its lock leaves it alone: its process lives.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::survey::{Spared, names_in};
use crate::backup::manifest::RelPath;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::swap::{NodeId, remove_tree};
use crate::fs::{self, FileLock};
use crate::value::random_hex;

/// Hidden folders of ours outside the state folder begin with this. The backup's walker leaves them out.
pub const AREA_PREFIX: &str = ".uplifted-ops-restore-";

/// The version of [`Record`] that this code writes.
const FORMAT: u32 = 1;
const RECORD: &str = "record.json";
const LOCK: &str = "lock";
const NEW_PREFIX: &str = ".new-";
/// The second tree, in each area.
pub(super) const TREE: &str = "tree";

/// How far a restore is. The only field that decides what a later process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// The other tree is being filled. Left behind: removed.
    Staging,
    /// All is verified and waits for the service to be down. Left behind: swapped when nobody holds a database.
    Staged,
    /// The steps are being carried out. Left behind: carried out to the end.
    Swapping,
    /// The live tree is the new one; the service is being asked. Left behind: committed.
    Swapped,
    /// Done, and can be undone.
    Committed,
    /// The steps are being taken back. Left behind: taken back to the end.
    Undoing,
    /// Nothing of it remains but the area. Left behind: removed.
    Undone,
}

/// What a restore is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Name {
    /// 12 hexadecimal digits: the `undo_id`.
    pub(super) id: String,
    /// When it was asked for.
    pub(super) time: Timestamp,
    /// The restore that it undoes.
    pub(super) undoes: Option<String>,
}

impl Name {
    pub(super) fn new(time: Timestamp, undoes: Option<String>) -> Result<Self> {
        Ok(Self { id: random_hex(12)?, time, undoes })
    }
}

/// A name that is traded, and the area where its other node lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TradedUnit {
    /// The name, relative to the base.
    pub(super) path: RelPath,
    /// Index into [`Record::areas`].
    pub(super) area: usize,
}

/// Where a second tree is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Area {
    /// In the folder of the record.
    Own,
    /// In this hidden folder, relative to the base: the unit lies on another filesystem than the state folder.
    At(RelPath),
}

/// One trade, with the nodes it began from, so that after a crash it is known whether it was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Step {
    /// The name, in both trees.
    pub(super) path: RelPath,
    /// Index into [`Record::areas`].
    pub(super) area: usize,
    /// The live node before the swap.
    pub(super) live: Option<NodeId>,
    /// The node in the other tree before the swap.
    pub(super) other: Option<NodeId>,
    /// For what is carried over into a unit that comes in: the index of that unit's own step.
    pub(super) unit: Option<usize>,
}

/// The record itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// See [`FORMAT`].
    format: u32,
    pub(super) phase: Phase,
    pub(super) name: Name,
    /// While an undo is under way: what the area is called if that comes to nothing.
    pub(super) former: Option<Name>,
    pub(super) snapshot_id: String,
    /// The folder that the paths are relative to, when it is not the service's root: a restore `into`, which
    /// leaves nothing to undo.
    pub(super) base: Option<RelPath>,
    pub(super) areas: Vec<Area>,
    pub(super) units: Vec<TradedUnit>,
    pub(super) spared: Spared,
    /// Databases that are known by settings or snapshot, relative to the base.
    pub(super) databases: BTreeSet<RelPath>,
    /// Made when the swap begins.
    pub(super) steps: Vec<Step>,
}

impl Record {
    /// A record at [`Phase::Staging`], without areas and units.
    pub(super) fn new(name: Name, snapshot_id: String) -> Self {
        Self {
            format: FORMAT,
            phase: Phase::Staging,
            name,
            former: None,
            snapshot_id,
            base: None,
            areas: Vec::new(),
            units: Vec::new(),
            spared: Spared::default(),
            databases: BTreeSet::new(),
            steps: Vec::new(),
        }
    }

    /// The folder that the paths are relative to.
    pub(super) fn base(&self, root: &Path) -> PathBuf {
        self.base.as_ref().map_or_else(|| root.to_owned(), |base| base.as_path().to_owned())
    }

    /// Where the areas are, given the folder of this record and the service's root.
    pub(super) fn area_paths(&self, folder: &Path, root: &Path) -> Vec<PathBuf> {
        let base = self.base(root);
        let path = |area: &Area| match area {
            Area::Own => folder.to_owned(),
            Area::At(path) => base.join(path.as_path()),
        };
        self.areas.iter().map(path).collect()
    }

    /// The name of a new area outside the state folder.
    pub(super) fn area_name(&self) -> String {
        format!("{AREA_PREFIX}{}", self.name.id)
    }
}

/// `<state>/restore`: what is under way.
pub(super) fn pending_folder(state: &Path) -> PathBuf {
    state.join("restore")
}

/// `<state>/undo`: what can be undone.
pub(super) fn undo_folder(state: &Path) -> PathBuf {
    state.join("undo")
}

/// The one restore in place that may be under way in a service.
#[derive(Debug)]
pub(super) struct Turn {
    _lock: FileLock,
}

impl Turn {
    /// Takes the turn; `None` when another process has it. A dead one has not.
    pub(super) fn try_take(state: &Path) -> Result<Option<Self>> {
        fs::create_dir_all(state, fs::PRIVATE_DIR)?;
        Ok(FileLock::try_acquire(&state.join("restore.lock"))?.map(|lock| Self { _lock: lock }))
    }

    /// Takes the turn.
    pub(super) fn take(state: &Path) -> Result<Self> {
        Self::try_take(state)?.ok_or_else(|| {
            Error::new(ErrorKind::Busy, "another restore of this service is under way")
                .with_hint("wait until it has ended, then try again")
        })
    }
}

/// The folder of a record, locked by this process.
#[derive(Debug)]
pub(super) struct Work {
    folder: PathBuf,
    _lock: FileLock,
    pub(super) record: Record,
}

impl Work {
    /// Makes the folder of a new record in `<state>/restore`.
    pub(super) fn create(state: &Path, record: Record) -> Result<Self> {
        let home = pending_folder(state);
        fs::create_dir_all(&home, fs::PRIVATE_DIR)?;
        let hidden = home.join(format!("{NEW_PREFIX}{}", record.name.id));
        fs::create_dir_all(&hidden, fs::PRIVATE_DIR)?;
        let lock = FileLock::try_acquire(&hidden.join(LOCK))?.ok_or_else(swept)?;
        let mut work = Self { folder: hidden, _lock: lock, record };
        work.save()?;
        work.move_to(home)?;
        Ok(work)
    }

    /// Takes over the folder `folder`; `None` when its process lives, or there is no record in it.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a record of a newer version, [`ErrorKind::Corrupt`] for one that cannot
    /// be read.
    pub(super) fn adopt(folder: &Path) -> Result<Option<Self>> {
        let file = folder.join(RECORD);
        if fs::identity(&file)?.is_none() {
            return Ok(None);
        }
        let Some(lock) = FileLock::try_acquire(&folder.join(LOCK))? else { return Ok(None) };
        // Read under the lock: until then another process may have been at work on it, or moved it away.
        if fs::identity(&file)?.is_none() {
            return Ok(None);
        }
        fs::sweep_partials(folder)?;
        let record = read_record(&file)?;
        Ok(Some(Self { folder: folder.to_owned(), _lock: lock, record }))
    }

    /// Where the areas are, given the service's root.
    pub(super) fn area_paths(&self, root: &Path) -> Vec<PathBuf> {
        self.record.area_paths(&self.folder, root)
    }

    /// Writes the record, whole or not at all.
    pub(super) fn save(&mut self) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(&self.record)
            .map_err(|error| Error::internal(format!("the record of a restore is not JSON: {error}")))?;
        fs::write_atomic(&self.folder.join(RECORD), fs::PRIVATE_FILE, &bytes)
    }

    /// Writes the record in another phase. When that fails, the phase is the former one.
    pub(super) fn enter(&mut self, phase: Phase) -> Result<()> {
        let before = std::mem::replace(&mut self.record.phase, phase);
        self.save().inspect_err(|_| self.record.phase = before)
    }

    /// Moves the folder into `home`, under the name of its record.
    pub(super) fn move_to(&mut self, home: PathBuf) -> Result<()> {
        let target = home.join(&self.record.name.id);
        if target == self.folder {
            return Ok(());
        }
        fs::create_dir_all(&home, fs::PRIVATE_DIR)?;
        fs::rename(&self.folder, &target)?;
        let from = std::mem::replace(&mut self.folder, target);
        fs::sync_dir(&home)?;
        match from.parent() {
            Some(parent) if parent != home => fs::sync_dir(parent),
            _ => Ok(()),
        }
    }

    /// Whether it restores the service in place, which only who has the [`Turn`] may do.
    pub(super) fn is_in_place(&self) -> bool {
        self.record.base.is_none()
    }

    /// Ends a swap: the record is [`Phase::Committed`] and can be undone. One of a restore `into` is removed.
    pub(super) fn commit(mut self, root: &Path, state: &Path) -> Result<()> {
        self.record.former = None;
        self.record.steps.clear();
        self.enter(Phase::Committed)?;
        if self.is_in_place() { self.move_to(undo_folder(state)) } else { self.remove(root) }
    }

    /// Ends what came to nothing, with the live tree as it was before: an undo area gets its former name back,
    /// anything else is removed.
    pub(super) fn abandon(mut self, root: &Path, state: &Path) -> Result<()> {
        match self.record.former.take() {
            Some(former) => {
                self.record.name = former;
                self.commit(root, state)
            }
            None => {
                self.enter(Phase::Undone)?;
                self.remove(root)
            }
        }
    }

    /// Removes the areas and the record for good. The record's folder goes last: while it is there, a later
    /// process knows about the rest.
    pub(super) fn remove(self, root: &Path) -> Result<()> {
        for area in self.area_paths(root).iter().filter(|area| **area != self.folder) {
            remove_tree(area)?;
        }
        remove_tree(&self.folder)
    }
}

fn swept() -> Error {
    Error::new(ErrorKind::Busy, "another process is tidying up after a restore").with_hint("try again")
}

/// Reads a record without taking it over.
pub(super) fn read_record(file: &Path) -> Result<Record> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let damaged = |error: serde_json::Error| {
        Error::new(ErrorKind::Corrupt, format!("the record of a restore {file:?} cannot be read"))
            .with_hint("look at the folder beside it: `tree` holds what came in or went out; move it by hand")
            .with_source(error)
    };
    let bytes = std::fs::read(file).map_err(|e| Error::io(format!("read {file:?}"), e))?;
    let version: Version = serde_json::from_slice(&bytes).map_err(damaged)?;
    if version.format > FORMAT {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("{file:?} was written by a newer version of uplifted-ops (format {})", version.format),
        )
        .with_hint("use that version to finish or undo the restore"));
    }
    serde_json::from_slice(&bytes).map_err(damaged)
}

/// The folders of records in `home`, by name.
pub(super) fn folders_in(home: &Path) -> Result<Vec<PathBuf>> {
    let folders = names_in(home)?.into_iter().map(|name| home.join(name));
    let has_record = |folder: &PathBuf| {
        let name = folder.file_name().unwrap_or_default();
        !name.to_string_lossy().starts_with(NEW_PREFIX) && folder.join(RECORD).symlink_metadata().is_ok()
    };
    Ok(folders.filter(has_record).collect())
}

/// Clears `<state>/restore` of what processes left that died while they made or removed a record.
pub(super) fn sweep(state: &Path) -> Result<()> {
    let home = pending_folder(state);
    let whole = folders_in(&home)?;
    for name in names_in(&home)? {
        let folder = home.join(&name);
        if whole.contains(&folder) || !folder.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            continue;
        }
        match FileLock::try_acquire(&folder.join(LOCK)) {
            Ok(Some(_)) => remove_tree(&folder)?,
            Ok(None) => {}
            // Its maker has renamed it meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
