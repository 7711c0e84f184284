//! Undoing a restore, and giving up the possibility.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Site;
use super::apply::{RestoreReport, put_in_place, superseded};
use super::holders::{self, Holder};
use super::record::{Name, Phase, Record, TREE, Turn, Work, folders_in, pending_folder, read_record, undo_folder};
use super::service::{Hold, ServiceReport};
use super::survey::{Spared, Surveyor};
use super::swap;
use crate::backup::manifest::RelPath;
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// What a restore replaced, kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UndoArea {
    /// What `restore.undo` takes.
    pub undo_id: String,
    /// The snapshot that was restored.
    pub snapshot_id: String,
    /// When the restore, or the undo, was asked for.
    pub time: Timestamp,
    /// For the area of an undo: the restore that it undid.
    pub undoes: Option<String>,
    /// The names that an undo trades, relative to the root.
    pub paths: Vec<RelPath>,
    /// Regular files that it holds.
    pub files: u64,
    /// Bytes of their content.
    pub size_bytes: u64,
}

/// What an undo will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UndoPlan {
    /// What comes back. What is live under these names goes to an undo area of its own.
    pub area: UndoArea,
    /// Live databases that are replaced or moved, relative to the root.
    pub databases: Vec<RelPath>,
    /// Processes that have one of them open.
    pub holders: Vec<Holder>,
    /// Whether the service can be stopped (`service.stop` is set).
    pub can_stop: bool,
    /// Whether it happens only when the service is started again.
    pub restart_required: bool,
}

/// Plans to bring back what a restore replaced. Writes nothing.
///
/// # Errors
/// [`ErrorKind::NotFound`] when there is no such area.
pub fn plan_undo(site: &Site<'_>, undo_id: &str) -> Result<UndoPlan> {
    let site = &site.resolved()?;
    let folder = area_folder(site, undo_id)?;
    let record = read_record(&folder.join("record.json"))?;
    if record.phase != Phase::Committed {
        return Err(unknown(undo_id));
    }
    let areas = record.area_paths(&folder, &site.root);
    let mut databases = Vec::new();
    for unit in &record.units {
        let tree = areas[unit.area].join(TREE);
        databases.extend(swap::survey(&record, &site.root, &tree, unit.path.as_path())?.databases);
    }
    Ok(UndoPlan {
        area: describe(site, &folder)?,
        holders: holders::find(&site.root, &databases, &site.ignore_pids)?,
        databases: databases.into_iter().map(RelPath::new).collect(),
        can_stop: site.service.stop.is_some(),
        restart_required: site.embedded,
    })
}

/// Undo areas that will be removed for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiscardPlan {
    /// What goes, and what is lost with it.
    pub areas: Vec<UndoArea>,
    /// Bytes that become free.
    pub freed_bytes: u64,
}

/// Brings back what a restore replaced. What is live goes to an undo area of its own, whose identifier is in
/// the report; the former one is used up. Guards and stops the service as a restore does.
///
/// # Errors
/// [`ErrorKind::NotFound`] when there is no such area; otherwise those of [`apply`](super::apply()).
pub fn undo(scope: &Scope, site: &Site<'_>, undo_id: &str) -> Result<RestoreReport> {
    let site = &site.resolved()?;
    let folder = area_folder(site, undo_id)?;
    let _turn = Turn::take(&site.state)?;
    let warnings = superseded(scope, site)?;
    let mut work = Work::adopt(&folder)?.ok_or_else(|| unknown(undo_id))?;
    if work.record.phase != Phase::Committed {
        return Err(unknown(undo_id));
    }
    let (files, _) = content(&work.record, &work.area_paths(&site.root))?;
    let former = work.record.name.clone();
    work.record.name = Name::new(scope.clock.now(), Some(former.id.clone()))?;
    work.record.former = Some(former);
    // The record on disk still has its former name: a later process moves the folder back.
    work.move_to(pending_folder(&site.state))?;
    let mut report = RestoreReport {
        snapshot_id: work.record.snapshot_id.clone(),
        restored_files: files,
        into: RelPath::new(&site.root),
        undo_id: Some(work.record.name.id.clone()),
        restart_required: site.embedded,
        lost: Vec::new(),
        warnings,
        service: ServiceReport::default(),
        reached: Vec::new(),
    };
    if site.embedded {
        work.enter(Phase::Staged)?;
    } else {
        let mut hold = Hold::new(site.service);
        put_in_place(scope, site, work, &mut hold)?;
        report.restart_required = hold.needs_start();
        report.service = hold.report;
    }
    Ok(report)
}

/// What can be undone, the latest first.
pub fn list_undo(site: &Site<'_>) -> Result<Vec<UndoArea>> {
    let site = &site.resolved()?;
    let mut areas = Vec::new();
    for folder in folders_in(&undo_folder(&site.state))? {
        areas.push(describe(site, &folder)?);
    }
    areas.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| a.undo_id.cmp(&b.undo_id)));
    Ok(areas)
}

/// Plans the removal of undo areas. Writes nothing.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] when none is named; [`ErrorKind::NotFound`] when one does not exist.
pub fn plan_discard(site: &Site<'_>, undo_ids: &[String]) -> Result<DiscardPlan> {
    if undo_ids.is_empty() {
        return Err(Error::invalid("no undo area is named").with_hint("name those to remove"));
    }
    let site = &site.resolved()?;
    let areas = undo_ids.iter().map(|id| describe(site, &area_folder(site, id)?)).collect::<Result<Vec<_>>>()?;
    let freed_bytes = areas.iter().map(|area| area.size_bytes).sum();
    Ok(DiscardPlan { areas, freed_bytes })
}

/// Removes the undo areas of a plan for good. One that is gone already is passed over.
pub fn discard(scope: &Scope, site: &Site<'_>, plan: &DiscardPlan) -> Result<()> {
    let site = &site.resolved()?;
    let _turn = Turn::take(&site.state)?;
    for area in &plan.areas {
        scope.cancel.check()?;
        let folder = match area_folder(site, &area.undo_id) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other?,
        };
        let Some(mut work) = Work::adopt(&folder)? else { continue };
        // A later process moves it back until the phase is written, and goes on with the removal after.
        work.move_to(pending_folder(&site.state))?;
        work.enter(Phase::Undone)?;
        work.remove(&site.root)?;
    }
    Ok(())
}

/// The folder of an undo area. The identifier is checked: it becomes a file name.
fn area_folder(site: &Site<'_>, undo_id: &str) -> Result<PathBuf> {
    let well_formed = !undo_id.is_empty() && undo_id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let folder = undo_folder(&site.state).join(undo_id);
    if well_formed && folder.is_dir() { Ok(folder) } else { Err(unknown(undo_id)) }
}

fn unknown(undo_id: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is nothing to undo under {undo_id:?}"))
        .with_hint("`uplifted-ops restore undo` lists what can be put back")
}

fn describe(site: &Site<'_>, folder: &Path) -> Result<UndoArea> {
    let record = read_record(&folder.join("record.json"))?;
    let areas = record.area_paths(folder, &site.root);
    let (files, size_bytes) = content(&record, &areas)?;
    Ok(UndoArea {
        undo_id: record.name.id,
        snapshot_id: record.snapshot_id,
        time: record.name.time,
        undoes: record.name.undoes,
        paths: record.units.into_iter().map(|unit| unit.path).collect(),
        files,
        size_bytes,
    })
}

/// Files and bytes that lie in the second trees.
fn content(record: &Record, areas: &[PathBuf]) -> Result<(u64, u64)> {
    let (spared, known, incoming) = (Spared::default(), Default::default(), |_: &Path| true);
    let mut sum = (0, 0);
    for unit in &record.units {
        let tree = areas[unit.area].join(TREE);
        let surveyor = Surveyor { root: &tree, spared: &spared, known: &known, incoming: &incoming };
        let found = surveyor.look(unit.path.as_path())?;
        sum = (sum.0 + found.files, sum.1 + found.bytes);
    }
    Ok(sum)
}
