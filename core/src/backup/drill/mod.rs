//! Drills: restoring a snapshot for no other reason than to know that it can be done, and how long it takes.
//!
//! A drill goes the way of a restore, `restore::plan` and `restore::apply`, into a folder that is removed afterwards. It
//! touches neither the service nor the snapshot. The folder is one of [`Scratch`], so that a drill that was killed
//! leaves nothing for longer than until the next run.
//!
//! Rows are held against the count that the backup took of its copy. A snapshot without one is held against the drill
//! before: then a loss is a warning, since the service may have deleted its rows.
//!
//! Where stores are followed the databases then go on to a moment behind the snapshot, which nobody knows before: what is stored
//! of that time is proven by the checksum of the whole database that was noted then. What the service tests comes after it.

mod onward;
mod report;
mod rows;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::create::NamedTarget;
use super::list::{Found, blocking, find};
use super::manifest::{Manifest, Outcome, RelPath};
use super::nodes::{Limits, Problem, ProblemKind};
use super::probe::Tester;
use super::restore::{self, RestoreJob, RestoreReport, Site, Source};
use super::scratch::Scratch;
use crate::backup::seal::Keys;
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Inspection, IntegrityReport};

pub use onward::{Onward, OnwardWay};
pub use report::{
    DrillPhase, DrillProblem, DrillReport, DrillStep, DrilledDatabase, DrilledMoment, DrilledTable, ProofLevel,
};
pub use rows::EarlierRows;

/// What a drill does beside restoring and checking integrity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DrillCheck {
    /// Counts the rows of every table.
    Rows,
    /// Runs `backup.drill.migrate`.
    Migrate,
    /// Asks `backup.drill.queries`.
    Queries,
    /// Runs `backup.drill.command`.
    Command,
}

impl DrillCheck {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rows, Self::Migrate, Self::Queries, Self::Command];
}

/// What to restore, and how to test it.
#[derive(Debug, Clone)]
pub struct DrillJob {
    /// Where it may be.
    pub targets: Vec<NamedTarget>,
    /// What it is opened with.
    pub keys: Keys,
    /// Whose snapshots `latest` looks among.
    pub service: Option<String>,
    /// An identifier, the beginning of one, or `latest`.
    pub snapshot: String,
    /// The folder that receives and keeps the files, missing or empty. In scratch, and removed, when unset.
    pub into: Option<PathBuf>,
    /// What is done beside restoring and checking integrity.
    pub checks: BTreeSet<DrillCheck>,
    /// What tests the restored copy.
    pub tester: Tester,
    /// Where the drill works, absolute.
    pub scratch: PathBuf,
    /// Allows `scratch` to be in memory.
    pub scratch_in_memory: bool,
    /// Bounds against hostile archives.
    pub limits: Limits,
    /// Threads that decompress. 0 is one for each core.
    pub threads: usize,
    /// When each target was last drilled: of several copies the one that waited longest has its turn.
    pub drilled: Vec<(String, Timestamp)>,
    /// What the last drill that went well counted.
    pub earlier: EarlierRows,
    /// What knows the moments behind the snapshot.
    pub onward: Option<Arc<dyn Onward>>,
}

/// Restores a snapshot and puts it to the test. What is wrong with the snapshot is in the report.
///
/// # Errors
/// When the snapshot could not be found or its target not read, see [`find`]; [`ErrorKind::NoSpace`], with numbers,
/// before anything is written; [`ErrorKind::Refused`] when `into` is not empty; [`ErrorKind::InvalidInput`] for a query
/// of the settings that is none; [`ErrorKind::Cancelled`]. After an error nothing is left behind.
pub async fn drill(scope: &Scope, job: DrillJob) -> Result<DrillReport> {
    let mut run = Run::start(scope, &job);
    let found = run.step(DrillPhase::Find, find_copy(scope, &job)).await?;
    let Some(copy) = found else { return Ok(run.end()) };
    run.report.snapshot_id.clone_from(&copy.snapshot_id);
    run.report.target.clone_from(&copy.target);
    run.report.snapshot_time = copy.listed.as_ref().map(|listed| listed.time);
    if let Some(source) = run.step(DrillPhase::Open, open(scope, &copy)).await? {
        run.report.snapshot_time = Some(source.manifest().time);
        rehearse(&mut run, &job, source).await?;
    }
    Ok(run.end())
}

/// Restores the opened snapshot, tests it and removes it.
async fn rehearse(run: &mut Run<'_>, job: &DrillJob, source: Arc<dyn Source>) -> Result<()> {
    let (base, in_memory) = (job.scratch.clone(), job.scratch_in_memory);
    let scratch = blocking(move || Scratch::create(&base, in_memory)).await?;
    let manifest = source.manifest().clone();
    let restored = run.step(DrillPhase::Restore, restore_into(run.scope, job, source, scratch.path())).await;
    let tested = match restored {
        Ok(Some(folder)) => test(run, job, &manifest, &folder).await,
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    // In any case, and before anybody hears of it.
    let removed = blocking(move || {
        drop(scratch);
        Ok(())
    })
    .await;
    tested.and(removed)
}

/// Puts the restored copy in `folder` to the test.
async fn test(run: &mut Run<'_>, job: &DrillJob, manifest: &Manifest, restored: &Restored) -> Result<()> {
    let (scope, tester, folder) = (run.scope, &job.tester, restored.folder.as_path());
    run.report.restored_files = restored.report.restored_files;
    run.report.size_bytes = manifest.size_bytes;
    run.report.into = job.into.as_ref().map(|_| restored.report.into.clone());
    run.report.warnings.extend(restored.report.warnings.iter().cloned());
    if manifest.outcome == Outcome::Partial {
        run.report.warnings.push("the snapshot was partial when it was made: see `backup show`".to_owned());
    }
    run.report.databases = manifest.stores.iter().map(rows::database).collect();

    let sound = run.step(DrillPhase::Integrity, integrity(scope, tester, manifest, folder)).await?.unwrap_or_default();
    for (database, sound) in run.report.databases.iter_mut().zip(sound) {
        database.sound = sound;
    }
    if job.checks.contains(&DrillCheck::Rows) {
        let counted = run.step(DrillPhase::Rows, rows::count(scope, tester, manifest, folder, &job.earlier)).await?;
        let counted = counted.unwrap_or_default();
        for (database, tables) in run.report.databases.iter_mut().zip(counted.tables) {
            database.tables = tables;
        }
        run.report.warnings.extend(counted.warnings);
    }
    if let Some(onward) = &job.onward
        && let Some(way) = onward.way(scope, manifest).await?
    {
        let went = onward::go_on(scope, tester, way.as_ref(), manifest, folder);
        run.report.moment = run.step(DrillPhase::Moment, went).await?;
        if run.report.steps.last().is_some_and(|step| !step.ok) {
            run.report.warnings.push("nothing else was tested: the databases are between two moments".to_owned());
            return Ok(());
        }
    }
    let settings = &tester.settings;
    if job.checks.contains(&DrillCheck::Migrate) && !settings.migrate.is_empty() {
        run.step(DrillPhase::Migrate, program(scope, tester, folder, DrillPhase::Migrate, &settings.migrate)).await?;
    }
    if job.checks.contains(&DrillCheck::Queries) && !settings.queries.is_empty() {
        run.step(DrillPhase::Queries, queries(scope, tester, manifest, folder)).await?;
    }
    if job.checks.contains(&DrillCheck::Command) && !settings.command.is_empty() {
        run.step(DrillPhase::Command, program(scope, tester, folder, DrillPhase::Command, &settings.command)).await?;
    }
    Ok(())
}

/// What a step found: its result, and what was wrong.
struct Done<T> {
    value: T,
    problems: Vec<DrillProblem>,
}

impl<T> Done<T> {
    fn well(value: T) -> Self {
        Self { value, problems: Vec::new() }
    }
}

/// A drill under way.
struct Run<'a> {
    scope: &'a Scope,
    started: std::time::Duration,
    report: DrillReport,
}

impl<'a> Run<'a> {
    fn start(scope: &'a Scope, job: &DrillJob) -> Self {
        let report = DrillReport {
            snapshot_id: job.snapshot.clone(),
            snapshot_time: None,
            target: String::new(),
            level: ProofLevel::Proven,
            ok: true,
            recovery_seconds: 0.0,
            steps: Vec::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
            databases: Vec::new(),
            moment: None,
            restored_files: 0,
            size_bytes: 0,
            into: None,
            duration_seconds: 0.0,
        };
        Self { scope, started: scope.clock.monotonic(), report }
    }

    /// Does a step and writes it down. Damage ends the step, not the drill.
    async fn step<T>(&mut self, step: DrillPhase, work: impl Future<Output = Result<Done<T>>>) -> Result<Option<T>> {
        self.scope.cancel.check()?;
        self.scope.progress.stage(step.doing());
        let began = self.scope.clock.monotonic();
        let done = work.await;
        let duration_seconds = self.scope.clock.monotonic().saturating_sub(began).as_secs_f64();
        let (value, problems) = match done {
            Ok(Done { value, problems }) => (Some(value), problems),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                (None, vec![DrillProblem { step, path: None, message: error.message().to_owned() }])
            }
            Err(error) => return Err(error),
        };
        self.report.steps.push(DrillStep { step, ok: problems.is_empty(), duration_seconds });
        self.report.problems.extend(problems);
        Ok(value)
    }

    fn end(mut self) -> DrillReport {
        let recovery = self.report.steps.iter().filter(|step| step.step.is_recovery());
        self.report.recovery_seconds = recovery.map(|step| step.duration_seconds).sum();
        self.report.ok = self.report.problems.is_empty();
        self.report.duration_seconds = self.scope.clock.monotonic().saturating_sub(self.started).as_secs_f64();
        self.report
    }
}

/// The copy whose target waited longest for a drill.
async fn find_copy(scope: &Scope, job: &DrillJob) -> Result<Done<Found>> {
    let copies = find(scope, &job.targets, &job.keys, job.service.as_deref(), &job.snapshot).await?;
    let last = |target: &str| job.drilled.iter().find(|(name, _)| name == target).map(|(_, time)| *time);
    // The first of equals: the order is that of the settings.
    let copy = copies.into_iter().min_by_key(|copy| last(&copy.target));
    copy.map(Done::well).ok_or_else(|| Error::internal("a snapshot was found without a copy"))
}

async fn open(scope: &Scope, copy: &Found) -> Result<Done<Arc<dyn Source>>> {
    open_source(scope, copy).await.map(Done::well)
}

/// Opens a copy of a snapshot, whatever its layout.
pub(super) async fn open_source(scope: &Scope, copy: &Found) -> Result<Arc<dyn Source>> {
    copy.source(scope, Limits::default().max_entries, false).await
}

/// A restored copy.
struct Restored {
    folder: PathBuf,
    report: RestoreReport,
}

/// Restores as `restore.apply` does. What cannot be restored is named, and the rest is.
async fn restore_into(
    scope: &Scope,
    job: &DrillJob,
    source: Arc<dyn Source>,
    scratch: &Path,
) -> Result<Done<Restored>> {
    let into = job.into.clone().unwrap_or_else(|| scratch.join("restored"));
    // The record of this restore lies in scratch too: whatever becomes of the drill, the service never meets it.
    let site = Site { root: job.tester.root.clone(), state: scratch.join("state"), ..Site::default() };
    let (scope, limits, threads, kept) = (scope.clone(), job.limits, job.threads, job.into.is_some());
    let report = blocking(move || {
        crate::fs::create_dir_all(&site.state, crate::fs::PRIVATE_DIR)?;
        let unchecked = |_: &super::manifest::StoreRecord, _: &Path| {
            // That is a step of its own, so that its time is known.
            Ok(IntegrityReport { ok: true, problems: Vec::new() })
        };
        let job = RestoreJob {
            site,
            source: &*source,
            into: Some(into),
            paths: Vec::new(),
            threads,
            limits,
            salvage: true,
            check: &unchecked,
        };
        let plan = restore::plan(&scope, &job).map_err(|error| for_drill(error, kept))?;
        restore::apply(&scope, &job, &plan).map_err(|error| for_drill(error, kept))
    })
    .await?;
    let (attributes, lost): (Vec<_>, Vec<_>) =
        report.lost.iter().cloned().partition(|problem| problem.kind == ProblemKind::AttributeNotRestored);
    let problem = |lost: Problem| {
        let path = lost.path.map(|path| RelPath::new(path.as_path()));
        DrillProblem { step: DrillPhase::Restore, path, message: lost.message }
    };
    let mut report = report;
    if !attributes.is_empty() {
        let count = attributes.len();
        report.warnings.push(format!("attributes of {count} files could not be restored here"));
    }
    let folder = report.into.as_path().to_owned();
    Ok(Done { value: Restored { folder, report }, problems: lost.into_iter().map(problem).collect() })
}

/// The repair of a full disk is another one when nothing is to be kept.
fn for_drill(error: Error, kept: bool) -> Error {
    if error.kind() == ErrorKind::NoSpace && !kept {
        return error.with_hint("free space there, or set backup.scratch to a folder on another disk");
    }
    error
}

/// Checks every database; says of each whether it is sound.
async fn integrity(scope: &Scope, tester: &Tester, manifest: &Manifest, folder: &Path) -> Result<Done<Vec<bool>>> {
    let mut done = Done::well(Vec::new());
    for record in &manifest.stores {
        scope.cancel.check()?;
        let found = tester.integrity(scope, folder, record).await?;
        done.value.push(found.is_empty());
        let path = Some(record.path.clone());
        let problem = |message| DrillProblem { step: DrillPhase::Integrity, path: path.clone(), message };
        done.problems.extend(found.into_iter().map(problem));
    }
    Ok(done)
}

async fn queries(scope: &Scope, tester: &Tester, manifest: &Manifest, folder: &Path) -> Result<Done<()>> {
    let mut done = Done::well(());
    for (name, queries) in &tester.settings.queries {
        scope.cancel.check()?;
        let mut complain = |path: Option<&RelPath>, message: String| {
            done.problems.push(DrillProblem { step: DrillPhase::Queries, path: path.cloned(), message });
        };
        let Some(record) = manifest.stores.iter().find(|record| record.name == *name) else {
            complain(None, format!("the snapshot has no database {name:?} to ask"));
            continue;
        };
        let path = Some(&record.path);
        let inspection = Inspection { rows: false, queries: queries.clone() };
        match tester.facts(scope, folder, record, &inspection).await {
            Ok(Some(facts)) => {
                let asked = queries.iter().zip(facts.answers).filter(|(_, answer)| !answer.holds);
                asked
                    .for_each(|(query, answer)| complain(path, format!("{query:?} does not hold: {}", answer.message)));
            }
            Ok(None) => complain(path, format!("a store of kind {:?} takes no queries", record.kind)),
            Err(error) if matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Corrupt | ErrorKind::NotFound) => {
                complain(path, error.message().to_owned());
            }
            Err(error) => return Err(error.while_doing(format!("asking backup.drill.queries of {name:?}"))),
        }
    }
    Ok(done)
}

async fn program(scope: &Scope, tester: &Tester, folder: &Path, step: DrillPhase, argv: &[String]) -> Result<Done<()>> {
    let complaint = tester.program(scope, folder, argv).await?;
    let problems = complaint.map(|message| DrillProblem { step, path: None, message });
    Ok(Done { value: (), problems: problems.into_iter().collect() })
}

#[cfg(test)]
mod tests;
