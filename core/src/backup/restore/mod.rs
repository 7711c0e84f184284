//! Restore: plan, stage beside, verify, swap, health gate, commit or undo.
//!
//! A restore never writes into the live tree until all that comes in lies beside it, verified and durable.
//! Then it trades names: each step is one rename, and a record on disk lets any later process carry the rest
//! out or take it back. What went out stays in the undo area, and an undo is the same trade once more.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `plan`, `units`, `catalog`, `survey`, `mounts` | what will be done, and why |
//! | `stage` | filling the second tree |
//! | `record` | what survives the process |
//! | `swap` | the trades |
//! | `apply`, `undo`, `recover` | the three ways to begin or go on |
//! | `moment` | what is said of a restore to a moment |
//! | `holders`, `service` | who has a database open, and how the service is stopped |
//!
//! Everything is synchronous and belongs on a blocking thread of the worker.

mod apply;
mod catalog;
mod holders;
mod moment;
mod mounts;
mod plan;
mod record;
mod recover;
mod service;
mod source;
mod stage;
mod survey;
mod swap;
mod undo;
mod units;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::backup::manifest::StoreRecord;
use crate::backup::nodes::Limits;
use crate::error::{Error, Result};
use crate::store::IntegrityReport;

pub use apply::{RestoreReport, apply};
pub use holders::Holder;
pub use moment::{AtPlan, ReachedStore, StoreAt};
pub use plan::{RestoreMode, RestorePlan, SpaceNeed, plan};
pub use record::AREA_PREFIX;
pub use recover::{Outcome, Recovered, recover};
pub use service::{Act, Ask, Service, ServiceReport};
pub use source::{Notes, Source};
pub use undo::{DiscardPlan, UndoArea, UndoPlan, discard, list_undo, plan_discard, plan_undo, undo};
pub use units::{Action, Unit};

/// The service that is restored, and what surrounds it.
#[derive(Debug, Clone, Default)]
pub struct Site<'a> {
    /// The service's root folder.
    pub root: PathBuf,
    /// The state folder.
    pub state: PathBuf,
    /// Files and folders that a restore never moves beside the state folder: targets below the root.
    pub protect: Vec<PathBuf>,
    /// The files of the databases that are configured or discovered.
    pub databases: Vec<PathBuf>,
    /// Whether this runs for the service itself. It cannot be replaced under its own feet: a restore in place
    /// is staged and happens at the next start.
    pub embedded: bool,
    /// Processes that may have a database open.
    pub ignore_pids: Vec<u32>,
    /// How the service is stopped and started.
    pub service: Service<'a>,
}

impl Site<'_> {
    /// The same with absolute paths whose symlinks are resolved; a state folder or protected path that does
    /// not exist yet is resolved as far as it does.
    fn resolved(&self) -> Result<Self> {
        let resolve = |path: &Path| -> Result<PathBuf> {
            let failed = |error| Error::io(format!("find the folder {path:?}"), error);
            let absolute = std::path::absolute(path).map_err(failed)?;
            let existing = crate::fs::nearest_existing(&absolute);
            let rest = absolute.strip_prefix(&existing).unwrap_or(Path::new("")).to_owned();
            Ok(plain_join(existing.canonicalize().map_err(failed)?, &rest))
        };
        Ok(Self {
            root: self.root.canonicalize().map_err(|e| Error::io(format!("find the folder {:?}", self.root), e))?,
            state: resolve(&self.state)?,
            protect: self.protect.iter().map(|path| resolve(&self.root.join(path))).collect::<Result<_>>()?,
            ..self.clone()
        })
    }

    /// What never moves: of the state folder and the protected paths those that lie below the root.
    fn fixed(&self) -> Vec<PathBuf> {
        let all = std::iter::once(&self.state).chain(&self.protect);
        all.filter(|path| **path != self.root && path.starts_with(&self.root)).cloned().collect()
    }

    /// The databases below the root, relative to it.
    fn databases_below_root(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.databases.iter().filter_map(|path| {
            // The folder is resolved, not the name: a database that is a symlink is called by the symlink.
            let path = self.root.join(path);
            let folder = path.parent()?.canonicalize().ok()?;
            Some(folder.join(path.file_name()?).strip_prefix(&self.root).ok()?.to_owned())
        })
    }
}

/// `base` joined with `rest`, without a trailing slash when there is nothing to join.
fn plain_join(base: PathBuf, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { base } else { base.join(rest) }
}

/// A restore that is asked for.
#[derive(Clone)]
pub struct RestoreJob<'a> {
    /// The service.
    pub site: Site<'a>,
    /// The snapshot.
    pub source: &'a dyn Source,
    /// A folder, missing or empty, that receives the files. In place when unset.
    pub into: Option<PathBuf>,
    /// What to restore, relative to the root. All when empty.
    pub paths: Vec<PathBuf>,
    /// Threads that decompress. 0 is one for each core.
    pub threads: usize,
    /// Bounds against hostile archives.
    pub limits: Limits,
    /// Whether to restore what is undamaged and name the rest, instead of failing.
    pub salvage: bool,
    /// Checks a staged database: the file at the absolute path.
    pub check: &'a Check<'a>,
}

/// Checks a staged database.
pub type Check<'a> = dyn Fn(&StoreRecord, &Path) -> Result<IntegrityReport> + Sync + 'a;

impl fmt::Debug for RestoreJob<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestoreJob")
            .field("snapshot", &self.source.manifest().snapshot_id)
            .field("site", &self.site)
            .field("into", &self.into)
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}
