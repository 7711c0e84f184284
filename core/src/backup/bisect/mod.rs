//! Finding the last snapshot for which a check still held.
//!
//! Of each snapshot that is asked only what the check needs is restored: one database, or all of it for a program of the
//! service. Two are never there at once.

mod search;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::search::{Prober, Verdict, search};
use super::create::NamedTarget;
use super::drill::open_source;
use super::list::{Found, blocking, find_all};
use super::manifest::StoreRecord;
use super::nodes::{ExtractOptions, Limits, Selection, stored_len};
use super::pool::threads;
use super::probe::Tester;
use super::restore::Source;
use super::scratch::Scratch;
use crate::backup::seal::Keys;
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, Dir};
use crate::store::Inspection;
use crate::value::ByteSize;

/// What to ask each snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Is the database sound.
    Integrity,
    /// Does this query hold.
    Query(String),
    /// Does the program `backup.drill.command` end well.
    Command,
}

/// What to look for, and where.
#[derive(Debug, Clone)]
pub struct BisectJob {
    /// Where the snapshots are.
    pub targets: Vec<NamedTarget>,
    /// What they are opened with.
    pub keys: Keys,
    /// Whose snapshots are asked.
    pub service: String,
    /// What is asked.
    pub question: Question,
    /// The database, by its name in the snapshots. The only one when unset.
    pub store: Option<String>,
    /// What asks.
    pub tester: Tester,
    /// Where the snapshots are restored to, absolute.
    pub scratch: PathBuf,
    /// Allows `scratch` to be in memory.
    pub scratch_in_memory: bool,
    /// Bounds against hostile archives.
    pub limits: Limits,
    /// Threads that decompress. 0 is one for each core, at most 8.
    pub threads: usize,
}

/// What a bisection found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BisectReport {
    /// The newest snapshot for which the check holds. Nothing when it holds for none.
    pub good: Option<BisectedSnapshot>,
    /// The oldest snapshot after it for which the check fails. Nothing when the newest of all holds.
    pub bad: Option<BisectedSnapshot>,
    /// What the search took for granted.
    pub assumption: String,
    /// Whether the neighbours of `good` and `bad` agree with that.
    pub neighbours_agree: bool,
    /// The snapshot that contradicts it.
    pub contradicted_by: Option<BisectedSnapshot>,
    /// What was asked, in that order.
    pub probes: Vec<BisectProbe>,
    /// How many snapshots there are.
    pub snapshots: u64,
    /// How many were restored, in whole or in part.
    pub restores: u64,
    /// How long it took, in seconds.
    pub duration_seconds: f64,
}

/// A snapshot of a bisection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BisectedSnapshot {
    /// Its identifier.
    pub snapshot_id: String,
    /// When it was made.
    pub time: Timestamp,
}

/// What a snapshot answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BisectProbe {
    /// The snapshot.
    #[serde(flatten)]
    pub snapshot: BisectedSnapshot,
    /// What it answered.
    pub verdict: BisectVerdict,
    /// Why it fails, or why it could not be asked.
    pub message: Option<String>,
    /// How long that took, in seconds.
    pub duration_seconds: f64,
}

/// What a snapshot answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BisectVerdict {
    /// The check holds.
    Holds,
    /// It does not.
    Fails,
    /// The snapshot is damaged, or lacks the database: it says nothing.
    Unreadable,
}

const ASSUMPTION: &str = "what once broke stayed broken: the check holds for older snapshots and fails for newer ones";

/// Finds the last snapshot for which the check holds. A snapshot that cannot be read is passed over, and told.
///
/// # Errors
/// [`ErrorKind::NotFound`] when there is no snapshot, or the first that is asked has no such database;
/// [`ErrorKind::InvalidInput`] for a query that is none, and where the database must be named; [`ErrorKind::NoSpace`]
/// with numbers; [`ErrorKind::Cancelled`]. Nothing is left in scratch.
pub async fn bisect(scope: &Scope, job: BisectJob) -> Result<BisectReport> {
    let started = scope.clock.monotonic();
    let snapshots = snapshots(scope, &job).await?;
    let mut report = BisectReport {
        good: None,
        bad: None,
        assumption: ASSUMPTION.to_owned(),
        neighbours_agree: true,
        contradicted_by: None,
        probes: Vec::new(),
        snapshots: snapshots.len() as u64,
        restores: 0,
        duration_seconds: 0.0,
    };
    let mut asking = Asking { scope, job: &job, snapshots: &snapshots, probes: Vec::new(), restores: 0 };
    let ended = search(snapshots.len(), &mut asking).await?;
    (report.probes, report.restores) = (asking.probes, asking.restores);
    let named = |at: Option<usize>| at.map(|at| snapshots[at].snapshot.clone());
    report.good = named(ended.good);
    report.bad = named(ended.bad);
    report.contradicted_by = named(ended.contradicts);
    report.neighbours_agree = ended.contradicts.is_none();
    report.duration_seconds = scope.clock.monotonic().saturating_sub(started).as_secs_f64();
    Ok(report)
}

/// Asks snapshots, and writes down what they say.
struct Asking<'a> {
    scope: &'a Scope,
    job: &'a BisectJob,
    snapshots: &'a [Candidate],
    probes: Vec<BisectProbe>,
    restores: u64,
}

impl Prober for Asking<'_> {
    async fn probe(&mut self, at: usize) -> Result<Verdict> {
        let (scope, Candidate { snapshot, copies }) = (self.scope, &self.snapshots[at]);
        scope.cancel.check()?;
        scope.progress.stage(format!("asking the snapshot of {}", snapshot.time.strftime("%Y-%m-%d %H:%M:%SZ")));
        let began = scope.clock.monotonic();
        let (verdict, message) = probe(scope, self.job, copies, &mut self.restores).await?;
        self.probes.push(BisectProbe {
            snapshot: snapshot.clone(),
            verdict: match verdict {
                Verdict::Holds => BisectVerdict::Holds,
                Verdict::Fails => BisectVerdict::Fails,
                Verdict::Unreadable => BisectVerdict::Unreadable,
            },
            message,
            duration_seconds: scope.clock.monotonic().saturating_sub(began).as_secs_f64(),
        });
        Ok(verdict)
    }
}

/// A snapshot and its copies.
struct Candidate {
    snapshot: BisectedSnapshot,
    copies: Vec<Found>,
}

/// The service's snapshots, newest first.
async fn snapshots(scope: &Scope, job: &BisectJob) -> Result<Vec<Candidate>> {
    let (all, failed) = find_all(scope, &job.targets, &job.keys).await?;
    let mut snapshots: Vec<Candidate> = Vec::new();
    for found in all {
        // One that cannot say when it was made has no place in the order; its other copies may.
        let Some(listed) = found.listed.as_ref().filter(|listed| listed.service == job.service) else { continue };
        let snapshot = BisectedSnapshot { snapshot_id: found.snapshot_id.clone(), time: listed.time };
        match snapshots.iter_mut().find(|known| known.snapshot.snapshot_id == snapshot.snapshot_id) {
            Some(known) => known.copies.push(found),
            None => snapshots.push(Candidate { snapshot, copies: vec![found] }),
        }
    }
    snapshots.sort_by_key(|candidate| std::cmp::Reverse(candidate.snapshot.time));
    if snapshots.is_empty() {
        return Err(failed.unwrap_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no snapshot of {:?} in the targets", job.service))
                .with_hint("make one: `uplifted-ops backup create`")
        }));
    }
    Ok(snapshots)
}

/// Asks a snapshot, by the first copy that can be read.
async fn probe(
    scope: &Scope,
    job: &BisectJob,
    copies: &[Found],
    restores: &mut u64,
) -> Result<(Verdict, Option<String>)> {
    let mut why = None;
    for copy in copies {
        match probe_copy(scope, job, copy, restores).await {
            Ok(Answer::Said(None)) => return Ok((Verdict::Holds, None)),
            Ok(Answer::Said(complaint)) => return Ok((Verdict::Fails, complaint)),
            Ok(Answer::Mute(reason)) => why = why.or(Some(reason)),
            // Deleted, damaged, or in a target that is away.
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Unavailable) => {
                why = why.or(Some(error.message().to_owned()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok((Verdict::Unreadable, why))
}

/// What a copy answers.
enum Answer {
    /// What it has to complain about; nothing when the check holds.
    Said(Option<String>),
    /// Why it has nothing to say.
    Mute(String),
}

async fn probe_copy(scope: &Scope, job: &BisectJob, copy: &Found, restores: &mut u64) -> Result<Answer> {
    let source = open_source(scope, copy).await?;
    let (record, selection) = match (&job.question, job.store.as_deref()) {
        (Question::Command, _) => (None, Selection::All),
        (_, store) => match the_database(source.manifest().stores.as_slice(), store)? {
            Some(record) => (Some(record.clone()), Selection::Paths(vec![record.path.as_path().to_owned()])),
            None => return Ok(Answer::Mute("the snapshot does not have the database".to_owned())),
        },
    };
    *restores += 1;
    let (base, in_memory) = (job.scratch.clone(), job.scratch_in_memory);
    let scratch = extract(scope, source, selection, base, in_memory, job.threads, job.limits).await?;
    let answer = ask(scope, job, record.as_ref(), scratch.path()).await;
    let removed = blocking(move || {
        drop(scratch);
        Ok(())
    })
    .await;
    let answer = answer?;
    removed.map(|()| Answer::Said(answer))
}

/// The database that is asked; `None` when this snapshot does not have it.
fn the_database<'a>(stores: &'a [StoreRecord], wanted: Option<&str>) -> Result<Option<&'a StoreRecord>> {
    match (wanted, stores) {
        (Some(name), _) => Ok(stores.iter().find(|store| store.name == name)),
        (None, []) => Ok(None),
        (None, [only]) => Ok(Some(only)),
        (None, several) => {
            let names: Vec<&str> = several.iter().map(|store| store.name.as_str()).collect();
            Err(Error::invalid(format!("the snapshots have {} databases", names.len()))
                .with_hint(format!("name one as `store`: {}", names.join(", "))))
        }
    }
}

/// Extracts `selection` of a snapshot into a scratch folder of its own, which goes with what is returned.
///
/// # Errors
/// [`ErrorKind::NoSpace`] where it would not fit; what is wrong with the snapshot.
pub(crate) async fn extract(
    scope: &Scope,
    source: Arc<dyn Source>,
    selection: Selection,
    base: PathBuf,
    in_memory: bool,
    parallel: usize,
    limits: Limits,
) -> Result<Scratch> {
    let options = ExtractOptions { threads: threads(parallel), limits, ..ExtractOptions::default() };
    let scope = scope.clone();
    blocking(move || restore(&scope, &*source, &selection, &base, in_memory, &options)).await
}

/// Extracts into a scratch folder of its own. Nothing is synced: it is gone in a moment.
fn restore(
    scope: &Scope,
    source: &dyn Source,
    selection: &Selection,
    base: &Path,
    in_memory: bool,
    options: &ExtractOptions,
) -> Result<Scratch> {
    let scratch = Scratch::create(base, in_memory)?;
    let wanted = |path: &Path| match selection {
        Selection::All => true,
        Selection::Paths(paths) => paths.iter().any(|wanted| path.starts_with(wanted)),
    };
    let entries = source.entries().iter().filter(|entry| wanted(entry.path.as_path()));
    let needed = entries.fold(0_u64, |sum, entry| sum.saturating_add(stored_len(&entry.node)));
    let free = fs::space(base)?.free_bytes;
    if needed > free {
        let (needed, free) = (ByteSize(needed), ByteSize(free));
        return Err(Error::new(ErrorKind::NoSpace, format!("{base:?} has {free} free, the snapshot needs {needed}"))
            .with_hint("free space there, or set backup.scratch to a folder on another disk"));
    }
    source.extract(scope, selection, &Dir::open(scratch.path())?, options)?;
    Ok(scratch)
}

async fn ask(scope: &Scope, job: &BisectJob, record: Option<&StoreRecord>, folder: &Path) -> Result<Option<String>> {
    let tester = &job.tester;
    match (&job.question, record) {
        (Question::Integrity, Some(record)) => Ok(tester.integrity(scope, folder, record).await?.into_iter().next()),
        (Question::Query(query), Some(record)) => {
            let inspection = Inspection { rows: false, queries: vec![query.clone()] };
            match tester.facts(scope, folder, record, &inspection).await {
                Ok(Some(facts)) => {
                    let failed = facts.answers.into_iter().find(|answer| !answer.holds);
                    Ok(failed.map(|answer| answer.message))
                }
                Ok(None) => Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("a store of kind {:?} takes no queries", record.kind),
                )),
                // The snapshot is whole, as its checksums say: it is the database that is not.
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Timeout) => {
                    Ok(Some(error.message().to_owned()))
                }
                Err(error) => Err(error),
            }
        }
        _ => tester.program(scope, folder, &tester.settings.command).await,
    }
}

#[cfg(test)]
mod tests;
