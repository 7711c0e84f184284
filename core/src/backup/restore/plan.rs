//! The plan of a restore: every decision with its reason. Making it writes nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::catalog::{Catalog, requested, topmost};
use super::holders::{self, Holder};
use super::moment::AtPlan;
use super::mounts::Mounts;
use super::survey::{Spared, names_in};
use super::units::{Action, Ground, Show, Unit, Units};
use super::{RestoreJob, Site};
use crate::backup::manifest::{Outcome, RelPath};
use crate::backup::nodes::{Roll, Selection};
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::fs;
use crate::value::ByteSize;

/// What a restore will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestorePlan {
    /// The snapshot.
    pub snapshot_id: String,
    /// Whether it goes into a folder of its own, or over the service.
    pub mode: RestoreMode,
    /// The folder that receives it; the service's root in place.
    pub into: RelPath,
    /// The paths that were asked for; all when empty.
    pub paths: Vec<RelPath>,
    /// What becomes of each name, in place. Empty for a restore into a folder.
    pub units: Vec<Unit>,
    /// Regular files that come in.
    pub files: u64,
    /// Room that is needed and there, for each filesystem.
    pub space: Vec<SpaceNeed>,
    /// Live databases that are replaced or moved, relative to the root.
    pub databases: Vec<RelPath>,
    /// Processes that have one of them open.
    pub holders: Vec<Holder>,
    /// Whether the service can be stopped (`service.stop` is set).
    pub can_stop: bool,
    /// Whether the service must be restarted for the restore to happen: it is asked from inside.
    pub restart_required: bool,
    /// Why it cannot be applied as things are. Empty when it can.
    pub blockers: Vec<String>,
    /// What to know before applying it.
    pub warnings: Vec<String>,
    /// How it gets to the moment that was asked for.
    #[serde(default)]
    pub at: Option<AtPlan>,
}

/// Where a restore goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestoreMode {
    /// Into a folder that is missing or empty.
    Into,
    /// Over the service.
    InPlace,
}

/// Room on one filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SpaceNeed {
    /// A folder on it.
    pub folder: RelPath,
    /// Bytes that the restore writes to it.
    pub needed_bytes: u64,
    /// Bytes that this user can still write to it.
    pub free_bytes: u64,
}

/// What a file, folder or link takes besides its content, roughly: the rest of its last block and its inode.
const OVERHEAD_BYTES: u64 = 4096;

/// Plans a restore. Reads the live tree and writes nothing.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] for a path that leads outside; [`ErrorKind::NotFound`] when the snapshot has
/// nothing at a path; [`ErrorKind::Refused`] when `into` is not empty.
pub fn plan(scope: &Scope, job: &RestoreJob<'_>) -> Result<RestorePlan> {
    plan_on(scope, job, &Mounts::read()?)
}

/// [`plan`], with the mounts given.
pub(super) fn plan_on(scope: &Scope, job: &RestoreJob<'_>, mounts: &Mounts) -> Result<RestorePlan> {
    scope.progress.stage("planning the restore");
    let job = &RestoreJob { site: job.site.resolved()?, ..job.clone() };
    let catalog = Catalog::new(job.source.entries());
    let paths = wanted_paths(job, &catalog)?;
    let mut plan = match &job.into {
        Some(into) => plan_into(job, &catalog, &paths, into)?,
        None => plan_in_place(job, &catalog, &paths, mounts)?,
    };
    warn_of_the_snapshot(job, &mut plan);
    let owners = owners(job.source.entries());
    if let OwnersNeed::Root(count) = owners {
        plan.warnings.push(format!("{count} entries belong to other users and will belong to this one: run as root"));
    }
    for need in plan.space.iter().filter(|need| need.needed_bytes > need.free_bytes) {
        plan.blockers.push(too_little(need));
    }
    Ok(plan)
}

/// The paths of the request; empty for all.
fn wanted_paths(job: &RestoreJob<'_>, catalog: &Catalog<'_>) -> Result<BTreeSet<PathBuf>> {
    let manifest = job.source.manifest();
    let paths = topmost(job.paths.iter().map(|path| requested(path)).collect::<Result<Vec<_>>>()?);
    if paths.contains(Path::new("")) {
        return Ok(BTreeSet::new());
    }
    for path in &paths {
        // What was backed up when it did not exist is restored to not existing, in place.
        let absent = job.into.is_none() && manifest.includes.iter().any(|i| !i.present && i.path.as_path() == path);
        if !absent && !catalog.has(path) {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("snapshot {} has nothing at {}", manifest.snapshot_id, Show(path)),
            )
            .with_hint("`uplifted-ops backup show` lists what is in it"));
        }
    }
    Ok(paths)
}

fn plan_into(
    job: &RestoreJob<'_>,
    catalog: &Catalog<'_>,
    paths: &BTreeSet<PathBuf>,
    into: &Path,
) -> Result<RestorePlan> {
    let into = resolve_into(into)?;
    if into.starts_with(&job.site.state) {
        return Err(Error::invalid(format!("{into:?} lies in the state folder")).with_hint("name a folder outside it"));
    }
    if into.is_dir() && !names_in(&into)?.is_empty() {
        return Err(Error::new(ErrorKind::Refused, format!("{into:?} is not empty"))
            .with_hint("name a folder that is missing or empty, or leave out `into` to restore in place"));
    }
    let mut plan = blank(job, RestoreMode::Into, &into, paths);
    let tops: Vec<&Path> = if paths.is_empty() { vec![Path::new("")] } else { paths.iter().map(|p| &**p).collect() };
    let mut needed = 0_u64;
    for top in tops {
        let (files, bytes) = catalog.size(top);
        plan.files += files;
        needed = needed.saturating_add(with_overhead(bytes, catalog.count(top)));
    }
    plan.space.push(space_need(&into, needed)?);
    Ok(plan)
}

fn plan_in_place(
    job: &RestoreJob<'_>,
    catalog: &Catalog<'_>,
    paths: &BTreeSet<PathBuf>,
    mounts: &Mounts,
) -> Result<RestorePlan> {
    let Site { root, state, .. } = &job.site;
    let manifest = job.source.manifest();
    let spared = Spared::of(manifest);
    let known = known_databases(job);
    let fixed = job.site.fixed();
    let ground = Ground { root, state, fixed, manifest, catalog, mounts, spared: &spared, known: &known };
    let Units { units, databases, blockers, warnings } = ground.units(paths)?;
    let mut plan = blank(job, RestoreMode::InPlace, root, paths);
    plan.files = units.iter().map(|unit| unit.files).sum();
    let mounts_used: BTreeSet<Option<&RelPath>> = moving(&units).map(|unit| unit.mount.as_ref()).collect();
    for mount in mounts_used {
        let folder = mount.map_or_else(|| state.clone(), |mount| root.join(mount.as_path()));
        let here = moving(&units).filter(|unit| unit.mount.as_ref() == mount);
        let needed = here.map(|unit| with_overhead(unit.size_bytes, catalog.count(unit.path.as_path())));
        plan.space.push(space_need(&folder, needed.fold(0, u64::saturating_add))?);
    }
    let databases: Vec<PathBuf> = databases.into_iter().collect();
    plan.holders = holders::find(root, &databases, &job.site.ignore_pids)?;
    plan.databases = databases.into_iter().map(RelPath::new).collect();
    plan.restart_required = job.site.embedded;
    plan.units = units;
    plan.blockers = blockers;
    plan.warnings = warnings;
    if !holders::can_see() && !plan.databases.is_empty() {
        plan.warnings.push("this system does not show who has a database open: stop the service first".to_owned());
    }
    Ok(plan)
}

fn blank(job: &RestoreJob<'_>, mode: RestoreMode, into: &Path, paths: &BTreeSet<PathBuf>) -> RestorePlan {
    RestorePlan {
        snapshot_id: job.source.manifest().snapshot_id.clone(),
        mode,
        into: RelPath::new(into),
        paths: paths.iter().map(RelPath::new).collect(),
        units: Vec::new(),
        files: 0,
        space: Vec::new(),
        databases: Vec::new(),
        holders: Vec::new(),
        can_stop: job.site.service.stop.is_some(),
        restart_required: false,
        blockers: Vec::new(),
        warnings: Vec::new(),
        at: None,
    }
}

fn warn_of_the_snapshot(job: &RestoreJob<'_>, plan: &mut RestorePlan) {
    let manifest = job.source.manifest();
    let notes = job.source.notes();
    plan.warnings.extend(notes.warnings);
    match job.salvage {
        true => plan.warnings.extend(notes.faults),
        false => plan.blockers.extend(notes.faults),
    }
    if manifest.outcome == Outcome::Partial {
        let lacking = manifest.skipped.iter().filter(|skipped| skipped.reason.makes_partial()).count();
        plan.warnings.push(format!("the snapshot is partial: {lacking} paths are missing from it or incomplete"));
    }
    for store in manifest.stores.iter().filter(|store| !store.check.ok) {
        plan.warnings.push(format!("the database {} was damaged when the snapshot was made", store.path));
    }
}

impl RestorePlan {
    /// Which part of the snapshot comes in.
    pub(super) fn selection(&self) -> Selection {
        if self.paths.is_empty() {
            return Selection::All;
        }
        Selection::Paths(self.paths.iter().map(|path| path.as_path().to_owned()).collect())
    }

    /// The error for what stands in the way; a full disk has its own kind.
    pub(super) fn check_blockers(&self) -> Result<()> {
        if let Some(need) = self.space.iter().find(|need| need.needed_bytes > need.free_bytes) {
            return Err(Error::new(ErrorKind::NoSpace, too_little(need))
                .with_hint("free space there; what is replaced stays in the undo area until it is removed"));
        }
        if self.blockers.is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Refused, format!("the restore cannot be applied: {}", self.blockers.join("; ")))
            .with_hint("repair that, or restore `into` another folder"))
    }
}

/// The units that a swap trades.
pub(super) fn moving(units: &[Unit]) -> impl Iterator<Item = &Unit> {
    units.iter().filter(|unit| unit.action != Action::Keep)
}

/// The live databases that settings and snapshot know of, relative to the root.
pub(super) fn known_databases(job: &RestoreJob<'_>) -> BTreeSet<PathBuf> {
    let stores = job.source.manifest().stores.iter().map(|store| store.path.as_path().to_owned());
    stores.chain(job.site.databases_below_root()).collect()
}

/// `into` as an absolute path, with the symlinks of its parents resolved: what is called by a symlink itself
/// is what it points to.
fn resolve_into(into: &Path) -> Result<PathBuf> {
    let failed = |error| Error::io(format!("find the folder {into:?}"), error);
    let absolute = std::path::absolute(into).map_err(failed)?;
    let existing = fs::nearest_existing(&absolute);
    let rest = absolute.strip_prefix(&existing).unwrap_or(Path::new("")).to_owned();
    let resolved = existing.canonicalize().map_err(failed)?;
    if !resolved.is_dir() {
        return Err(Error::new(ErrorKind::Refused, format!("{resolved:?} is not a folder"))
            .with_hint("name a folder that is missing or empty"));
    }
    if rest.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
        return Err(Error::invalid(format!("{into:?} has .. below a folder that does not exist")));
    }
    Ok(if rest.as_os_str().is_empty() { resolved } else { resolved.join(rest) })
}

/// What entries with so many bytes of content take.
fn with_overhead(bytes: u64, entries: usize) -> u64 {
    bytes.saturating_add(OVERHEAD_BYTES * entries as u64)
}

fn space_need(folder: &Path, needed_bytes: u64) -> Result<SpaceNeed> {
    Ok(SpaceNeed { folder: RelPath::new(folder), needed_bytes, free_bytes: fs::space(folder)?.free_bytes })
}

fn too_little(need: &SpaceNeed) -> String {
    let (needed, free) = (ByteSize(need.needed_bytes), ByteSize(need.free_bytes));
    format!("the restore needs {needed} on the filesystem of {}, which has {free} free", need.folder)
}

/// Whether the owners of a snapshot can be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OwnersNeed {
    /// They can: this is root.
    Set,
    /// All of it belongs to this user anyway.
    Nothing,
    /// So many entries belong to others, which only root can restore.
    Root(usize),
}

pub(super) fn owners(entries: &dyn Roll) -> OwnersNeed {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    if user.is_root() {
        return OwnersNeed::Set;
    }
    match entries.iter().filter(|e| e.uid != user.as_raw() || e.gid != group.as_raw()).count() {
        0 => OwnersNeed::Nothing,
        count => OwnersNeed::Root(count),
    }
}
