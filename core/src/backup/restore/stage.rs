//! Filling the other tree: extracting, checking the databases, and making it all durable.

use std::path::Path;

use super::RestoreJob;
use super::catalog::Catalog;
use super::holders::with_suffix;
use super::plan::{OwnersNeed, owners};
use super::survey::SIDE_SUFFIXES;
use crate::backup::manifest::{Entry, StoreRecord};
use crate::backup::nodes::{ExtractOptions, Extracted, Problem, ProblemKind, Selection};
use crate::backup::pool::threads;
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, Dir, FilesystemSync, NodeTimes};

/// Puts `selection` beneath the existing folder `tree`, checks the databases in it, and returns when the
/// device has it all.
pub(super) fn fill(scope: &Scope, job: &RestoreJob<'_>, selection: &Selection, tree: &Path) -> Result<Extracted> {
    let written = FilesystemSync::open(tree)?;
    let dir = Dir::open(tree)?;
    let options = ExtractOptions {
        // One more works while another waits for its turn at a large file.
        threads: threads(job.threads) + usize::from(job.threads == 0),
        owners: !matches!(owners(job.source.entries()), OwnersNeed::Root(_)),
        limits: job.limits,
        salvage: job.salvage,
    };
    scope.progress.stage("extracting");
    let mut extracted = job.source.extract(scope, selection, &dir, &options)?;
    let catalog = Catalog::new(job.source.entries());
    // The device works while the databases are checked; what the checks leave is little, and synced after them.
    std::thread::scope(|threads| {
        let early = threads.spawn(|| written.sync());
        for record in &job.source.manifest().stores {
            if is_selected(selection, record.path.as_path()) {
                scope.cancel.check()?;
                check(scope, job, &dir, &catalog, record, &mut extracted)?;
            }
        }
        early.join().map_err(|_| Error::internal("the thread that syncs the filesystem panicked"))?
    })?;
    scope.progress.stage("making it durable");
    written.sync()?;
    Ok(extracted)
}

fn is_selected(selection: &Selection, path: &Path) -> bool {
    match selection {
        Selection::All => true,
        Selection::Paths(paths) => paths.iter().any(|selected| path.starts_with(selected)),
    }
}

fn stamp(dir: &Dir, path: &Path, entry: &Entry) -> Result<()> {
    dir.set_times(path, NodeTimes { mtime_seconds: entry.mtime, mtime_nanos: entry.mtime_nanos })
}

/// Checks one staged database, then removes every trace of the check.
fn check(
    scope: &Scope,
    job: &RestoreJob<'_>,
    dir: &Dir,
    catalog: &Catalog<'_>,
    record: &StoreRecord,
    extracted: &mut Extracted,
) -> Result<()> {
    let path = record.path.as_path();
    let full = dir.path().join(path);
    // Once is enough: what was lost on the way says why.
    let is_lost = extracted.lost.iter().any(|lost| lost.path.as_ref() == Some(&record.path));
    let in_part = extracted.lost.iter().any(|lost| lost.path.is_none());
    let mut lose = |message: String| {
        let kind = ProblemKind::DamagedDatabase;
        if !is_lost {
            extracted.lost.push(Problem { path: Some(record.path.clone()), kind, message });
        }
    };
    if dir.node(path)?.is_none() {
        if !job.salvage {
            return Err(Error::new(ErrorKind::Corrupt, format!("the snapshot lacks its database {}", record.path))
                .with_hint("use another snapshot, or ask for what can be salvaged of this one"));
        }
        lose(match in_part {
            true => "the database is lost with a part of the list of files".to_owned(),
            false => "the database is not in the snapshot".to_owned(),
        });
        return Ok(());
    }
    scope.progress.stage(format!("checking database {}", record.name));
    let found = (job.check)(record, &full);
    for suffix in SIDE_SUFFIXES {
        let side = with_suffix(path, suffix);
        if catalog.entry(&side).is_none() {
            fs::remove_file(&dir.path().join(side))?;
        }
    }
    // An engine that opens a database may touch it and its folder.
    for path in [Some(path), path.parent()].into_iter().flatten() {
        // What was brought to a moment may be called otherwise then.
        if let Some(entry) = catalog.entry(path)
            && dir.node(path)?.is_some()
        {
            stamp(dir, path, &entry)?;
        }
    }
    let wrong = match found {
        Ok(report) if report.ok => return Ok(()),
        Ok(report) => report.problems.first().cloned().unwrap_or_else(|| "its integrity check failed".to_owned()),
        Err(error) if job.salvage && error.kind() == ErrorKind::Corrupt => error.message().to_owned(),
        Err(error) => return Err(error.while_doing(format!("checking the restored database {}", record.path))),
    };
    if job.salvage {
        lose(wrong);
        return Ok(());
    }
    Err(Error::new(ErrorKind::Corrupt, format!("the restored database {} is damaged: {wrong}", record.path))
        .with_hint("use another snapshot, or ask for what can be salvaged of this one"))
}
