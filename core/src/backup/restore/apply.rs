//! Carrying out a plan.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::catalog::Catalog;
use super::holders;
use super::moment::ReachedStore;
use super::mounts::Mounts;
use super::plan::{RestoreMode, RestorePlan, known_databases, moving};
use super::record::{Area, Name, Phase, Record, TREE, TradedUnit, Turn, Work};
use super::recover::{Pending, clear_up};
use super::service::{Hold, ServiceReport};
use super::survey::{Spared, names_in};
use super::{RestoreJob, Site, stage, swap};
use crate::backup::manifest::RelPath;
use crate::backup::nodes::{Extracted, Problem, Selection};
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, Dir};

/// What a restore or an undo did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestoreReport {
    /// The snapshot.
    pub snapshot_id: String,
    /// Regular files that came in, or wait to come in.
    pub restored_files: u64,
    /// The folder that received them.
    pub into: RelPath,
    /// What `restore.undo` takes to bring back what was replaced. Unset for a restore into a folder.
    pub undo_id: Option<String>,
    /// Whether the restore happens only when the service is started again.
    pub restart_required: bool,
    /// What could not be restored, when salvaging.
    pub lost: Vec<Problem>,
    /// What to know.
    pub warnings: Vec<String>,
    /// What was done to the service.
    pub service: ServiceReport,
    /// Where the stores have come to, in a restore to a moment.
    #[serde(default)]
    pub reached: Vec<ReachedStore>,
}

/// Carries out a plan. On an error or a cancel the service's folder is as it was, or the error says what is
/// left to do and the next [`recover`](super::recover()) does it.
///
/// # Errors
/// [`ErrorKind::Busy`] while another restore in place is under way; [`ErrorKind::Refused`] when a database is
/// open and the service cannot be stopped, or for what the plan calls a blocker; [`ErrorKind::NoSpace`];
/// [`ErrorKind::Corrupt`] for a damaged snapshot or database; [`ErrorKind::Unavailable`] when the service did
/// not become healthy and the restore was taken back.
pub fn apply(scope: &Scope, job: &RestoreJob<'_>, plan: &RestorePlan) -> Result<RestoreReport> {
    let manifest = job.source.manifest();
    if plan.snapshot_id != manifest.snapshot_id {
        let (planned, given) = (&plan.snapshot_id, &manifest.snapshot_id);
        return Err(Error::invalid(format!("the plan is for snapshot {planned}, not for {given}"))
            .with_hint("make the plan again"));
    }
    plan.check_blockers()?;
    let job = RestoreJob { site: job.site.resolved()?, ..job.clone() };
    let mut report = match plan.mode {
        RestoreMode::Into => into_folder(scope, &job, plan)?,
        RestoreMode::InPlace => in_place(scope, &job, plan)?,
    };
    report.warnings.splice(0..0, plan.warnings.iter().cloned());
    Ok(report)
}

fn report(plan: &RestorePlan, extracted: Extracted) -> RestoreReport {
    RestoreReport {
        snapshot_id: plan.snapshot_id.clone(),
        restored_files: extracted.files,
        into: plan.into.clone(),
        undo_id: None,
        restart_required: false,
        lost: extracted.lost,
        warnings: Vec::new(),
        service: ServiceReport::default(),
        reached: Vec::new(),
    }
}

/// Extracts beside the folder and puts it in place by one rename. A folder that cannot give way, since it is a
/// mount point, its parent is not ours, or somebody works in it, is filled from a hidden folder inside it, name
/// by name.
fn into_folder(scope: &Scope, job: &RestoreJob<'_>, plan: &RestorePlan) -> Result<RestoreReport> {
    let into = plan.into.as_path();
    if !names_in(into)?.is_empty() {
        return Err(Error::new(ErrorKind::Refused, format!("{into:?} is not empty"))
            .with_hint("name a folder that is missing or empty"));
    }
    let beside = into.parent().zip(into.file_name()).filter(|(parent, _)| !into.exists() || can_rename(into, parent));
    let mut record = Record::new(Name::new(scope.clock.now(), None)?, plan.snapshot_id.clone());
    let base = beside.map_or(into, |(parent, _)| parent);
    record.base = Some(RelPath::new(base));
    record.areas.push(Area::At(RelPath::new(record.area_name())));
    if let Some((parent, name)) = beside {
        fs::create_dir_all(parent, 0o755)?;
        record.units.push(TradedUnit { path: RelPath::new(name), area: 0 });
    }
    let root = &job.site.root;
    let mut work = Work::create(&job.site.state, record)?;
    let filled = (|| {
        let tree = swap::make_area(&work.area_paths(root)[0])?;
        let Some((_, name)) = beside else {
            let extracted = stage::fill(scope, job, &plan.selection(), &tree)?;
            let names = names_in(&tree)?.into_iter();
            work.record.units = names.map(|name| TradedUnit { path: RelPath::new(name), area: 0 }).collect();
            return Ok(extracted);
        };
        let like = if into.exists() { into } else { root };
        let folder = like_folder(&tree, Path::new(name), like)?;
        stage::fill(scope, job, &plan.selection(), &folder)
    })()
    .and_then(|extracted| scope.cancel.check().map(|()| extracted));
    let extracted = match filled {
        Ok(extracted) => extracted,
        Err(error) => return Err(give_up(work, &job.site, error)),
    };
    match swap::run(scope, &mut work, root) {
        Ok(()) => work.commit(root, &job.site.state)?,
        Err(failure) if failure.taken_back => return Err(give_up(work, &job.site, failure.error)),
        Err(failure) => return Err(failure.error),
    }
    Ok(report(plan, extracted))
}

/// Whether the existing folder `into` can give way to another one.
fn can_rename(into: &Path, parent: &Path) -> bool {
    let writable = rustix::fs::access(parent, rustix::fs::Access::WRITE_OK).is_ok();
    writable && !holders::is_working_folder(into) && Mounts::read().is_ok_and(|mounts| !mounts.is_mount(into))
}

/// Makes the folder `name` in `tree` with the mode of `like`, and its owner where this user may set it.
fn like_folder(tree: &Path, name: &Path, like: &Path) -> Result<PathBuf> {
    let meta = like.metadata().map_err(|e| Error::io(format!("look at {like:?}"), e))?;
    let dir = Dir::open(tree)?;
    dir.make_dir_all(name)?;
    if rustix::process::geteuid().is_root() {
        dir.set_owner(name, meta.uid(), meta.gid())?;
    }
    dir.set_mode(name, meta.mode() & 0o7777 | fs::PRIVATE_DIR)?;
    Ok(tree.join(name))
}

/// Removes what was staged; the error is the one that led here.
fn give_up(work: Work, site: &Site<'_>, error: Error) -> Error {
    match work.abandon(&site.root, &site.state) {
        Ok(()) => error,
        Err(second) => error.with_context("tidying up", second),
    }
}

fn in_place(scope: &Scope, job: &RestoreJob<'_>, plan: &RestorePlan) -> Result<RestoreReport> {
    let site = &job.site;
    if !site.embedded && site.service.stop.is_none() {
        let databases: Vec<PathBuf> = plan.databases.iter().map(|path| path.as_path().to_owned()).collect();
        let holders = holders::find(&site.root, &databases, &site.ignore_pids)?;
        if !holders.is_empty() {
            return Err(holders::refusal(&holders, false));
        }
    }
    let _turn = Turn::take(&site.state)?;
    let mut warnings = superseded(scope, site)?;
    let mut work = Work::create(&site.state, record_of(scope, job, plan)?)?;
    let extracted = match stage_areas(scope, job, plan, &work).and_then(|done| scope.cancel.check().map(|()| done)) {
        Ok(extracted) => extracted,
        Err(error) => return Err(give_up(work, site, error)),
    };
    let mut report = report(plan, extracted);
    report.undo_id = Some(work.record.name.id.clone());
    if site.embedded {
        if let Err(error) = work.enter(Phase::Staged) {
            return Err(give_up(work, site, error));
        }
        report.restart_required = true;
    } else {
        let mut hold = Hold::new(site.service);
        put_in_place(scope, site, work, &mut hold)?;
        report.restart_required = hold.needs_start();
        report.service = hold.report;
    }
    report.warnings.append(&mut warnings);
    Ok(report)
}

fn record_of(scope: &Scope, job: &RestoreJob<'_>, plan: &RestorePlan) -> Result<Record> {
    let mut record = Record::new(Name::new(scope.clock.now(), None)?, plan.snapshot_id.clone());
    record.spared = Spared::of(job.source.manifest());
    record.databases = known_databases(job).into_iter().map(RelPath::new).collect();
    for unit in moving(&plan.units) {
        let area = match &unit.mount {
            None => Area::Own,
            Some(mount) => Area::At(RelPath::new(mount.as_path().join(record.area_name()))),
        };
        let known = record.areas.iter().position(|other| *other == area);
        let index = known.unwrap_or(record.areas.len());
        if known.is_none() {
            record.areas.push(area);
        }
        record.units.push(TradedUnit { path: unit.path.clone(), area: index });
    }
    if record.units.is_empty() {
        return Err(Error::new(ErrorKind::Refused, "there is nothing to restore: the plan keeps everything")
            .with_hint("look at the reasons in the plan"));
    }
    Ok(record)
}

fn stage_areas(scope: &Scope, job: &RestoreJob<'_>, plan: &RestorePlan, work: &Work) -> Result<Extracted> {
    let catalog = Catalog::new(job.source.entries());
    let areas = work.area_paths(&job.site.root);
    let mut sum = Extracted { files: 0, entries: 0, bytes: 0, lost: Vec::new() };
    for (index, area) in areas.iter().enumerate() {
        let tree = swap::make_area(area)?;
        let selection = match plan.selection() {
            Selection::All if areas.len() == 1 => Selection::All,
            asked => part_of(&asked, work.record.units.iter().filter(|unit| unit.area == index), &catalog),
        };
        // A file that the snapshot knows to be absent comes in by going out: there is nothing to extract.
        if selection == Selection::Paths(Vec::new()) {
            continue;
        }
        let done = stage::fill(scope, job, &selection, &tree)?;
        sum.files += done.files;
        sum.entries += done.entries;
        sum.bytes += done.bytes;
        sum.lost.extend(done.lost);
    }
    Ok(sum)
}

/// What of a selection belongs to some units. A unit that is the folder of a selected path brings only that.
fn part_of<'u>(asked: &Selection, units: impl Iterator<Item = &'u TradedUnit>, catalog: &Catalog<'_>) -> Selection {
    let paths = units.flat_map(|unit| {
        let unit = unit.path.as_path();
        let below: Vec<PathBuf> = match asked {
            Selection::Paths(asked) => asked.iter().filter(|asked| asked.starts_with(unit)).cloned().collect(),
            Selection::All => Vec::new(),
        };
        if below.is_empty() { vec![unit.to_owned()] } else { below }
    });
    Selection::Paths(paths.filter(|path| catalog.has(path)).collect())
}

/// Finishes what a dead process left and drops a restore that waits for a restart: the later wish counts.
pub(super) fn superseded(scope: &Scope, site: &Site<'_>) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for recovered in clear_up(scope, site, Pending::Drop)? {
        if let Some(error) = recovered.error {
            return Err(Error::from(error).while_doing("an earlier restore must be finished first"));
        }
        warnings.push(recovered.message);
    }
    Ok(warnings)
}

/// Refuses when somebody has a database open that `units` hold. `told` says that the service was told to stop.
pub(super) fn check_free(work: &Work, site: &Site<'_>, units: &[PathBuf], told: bool) -> Result<()> {
    let base = work.record.base(&site.root);
    let areas = work.area_paths(&site.root);
    let mut databases = Vec::new();
    for unit in work.record.units.iter().filter(|unit| units.iter().any(|path| path == unit.path.as_path())) {
        let tree = areas[unit.area].join(TREE);
        databases.extend(swap::survey(&work.record, &base, &tree, unit.path.as_path())?.databases);
    }
    let holders = holders::find(&base, &databases, &site.ignore_pids)?;
    if holders.is_empty() { Ok(()) } else { Err(holders::refusal(&holders, told)) }
}

/// The units of a record.
pub(super) fn all_units(work: &Work) -> Vec<PathBuf> {
    work.record.units.iter().map(|unit| unit.path.as_path().to_owned()).collect()
}

/// Stops the service, swaps, starts it, asks whether it is well, and commits; or takes all of it back.
pub(super) fn put_in_place(scope: &Scope, site: &Site<'_>, mut work: Work, hold: &mut Hold<'_>) -> Result<()> {
    let units = all_units(&work);
    let told = site.service.stop.is_some();
    if let Err(error) = hold.stop(scope, &|| check_free(&work, site, &units, told)).and_then(|()| scope.cancel.check())
    {
        return Err(start_again(scope, hold, give_up(work, site, error)));
    }
    if let Err(failure) = swap::run(scope, &mut work, &site.root) {
        if !failure.taken_back {
            // Half of it is in place: a service must not start on that.
            return Err(failure.error);
        }
        return Err(start_again(scope, hold, give_up(work, site, failure.error)));
    }
    let error = match hold.start(scope).and_then(|()| hold.gate(scope)) {
        Ok(true) => return work.commit(&site.root, &site.state),
        Ok(false) => Error::new(ErrorKind::Unavailable, "the service did not become healthy after the restore"),
        Err(error) => error.while_doing("after the restore"),
    };
    let error = error.with_retryable(false);
    let stopped = hold.stop(scope, &|| check_free(&work, site, &units, told));
    if let Err(held) = stopped {
        let id = work.record.name.id.clone();
        work.commit(&site.root, &site.state)?;
        return Err(error
            .with_context("stopping it again", held)
            .with_hint(format!("stop the service, then undo the restore: its undo_id is {id}")));
    }
    swap::back(scope, &mut work, &site.root)
        .map_err(|second| second.while_doing(format!("{}, and the restore is not taken back yet", error.message())))?;
    let error = give_up(work, site, error.while_doing("the restore was taken back"));
    let error = start_again(scope, hold, error);
    Err(if error.hint().is_some() { error } else { error.with_hint("look at the service's log of that moment") })
}

fn start_again(scope: &Scope, hold: &mut Hold<'_>, error: Error) -> Error {
    // What was cancelled must still leave the service running.
    let scope = Scope { cancel: crate::cancel::Cancel::new(), ..scope.clone() };
    match hold.start(&scope) {
        Ok(()) => error,
        Err(second) => error.with_context("starting the service", second),
    }
}
