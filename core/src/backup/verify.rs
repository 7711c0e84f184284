//! Verifying a snapshot in every target that has it.
//!
//! *Quick* reads the end of the archive. *Data* reads every byte. *Full* does so too, and then restores each
//! database into scratch and lets its store check it.

pub(super) mod sealed;

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::archive::Archive;
use super::checkers::Checkers;
use super::create::NamedTarget;
use super::list::{Found, blocking, find};
use super::manifest::{RelPath, StoreRecord};
use super::nodes::{ExtractOptions, Limits, Problem, ProblemKind, Selection, restored_len};
use super::pool::threads;
use super::repository::cache::damaged::DamagedPacks;
use super::repository::cache::{CacheFolder, CacheOf, last::LastHeader};
use super::repository::{self, verify::Depth};
use super::restore::Source;
use super::scratch::Scratch;
use super::seal::{Fingerprint, Keys};
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, Dir};
use crate::store::CheckDepth;
use crate::value::ByteSize;

/// How much of a snapshot to verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerifyDepth {
    /// The index, the names, the sizes: a moment.
    Quick,
    /// Every byte against its checksum. The databases hold the bytes that were backed up; they are not opened.
    Data,
    /// Every byte, and the integrity of every database.
    Full,
}

/// What to verify.
#[derive(Debug, Clone)]
pub struct VerifyJob {
    /// Where it may be.
    pub targets: Vec<NamedTarget>,
    /// Whose snapshots `latest` looks among.
    pub service: Option<String>,
    /// An identifier, the beginning of one, or `latest`.
    pub snapshot: String,
    /// How much.
    pub depth: VerifyDepth,
    /// Where the databases are restored to, absolute.
    pub scratch: PathBuf,
    /// Allows `scratch` to be in memory.
    pub scratch_in_memory: bool,
    /// What checks the databases.
    pub checkers: Checkers,
    /// Threads that decompress. 0 is one for each core, at most 8.
    pub threads: usize,
    /// What opens encrypted snapshots, or at least knows their summaries.
    pub keys: Keys,
    /// The state folder, absolute: it remembers which snapshot this host put last into a repository.
    pub state: PathBuf,
}

/// Whether a verification looked into the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerifyLevel {
    /// A copy is encrypted and no identity was given: its stored bytes are those that the backup read back, and
    /// nobody looked into them. `quick` compared their number, `data` and `full` every one.
    Sealed,
    /// It was looked into, as far as the depth says.
    Proven,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VerifyReport {
    /// The snapshot.
    pub snapshot_id: String,
    /// How much was verified.
    pub depth: VerifyDepth,
    /// Whether the snapshot was looked into.
    pub level: VerifyLevel,
    /// The fingerprint of the key that it is encrypted to, which looking into it takes. Nothing for one in clear.
    pub encrypted_to: Option<Fingerprint>,
    /// Whether nothing was wrong anywhere.
    pub ok: bool,
    /// What was wrong.
    pub problems: Vec<FoundProblem>,
    /// The targets whose copies were verified.
    pub targets: Vec<String>,
    /// The databases that were restored into scratch and checked, by name, once for each target.
    pub databases: Vec<String>,
    /// Bytes of the archives that were verified.
    pub stored_bytes: u64,
    /// How long it took, in seconds.
    pub duration_seconds: f64,
}

/// Something wrong with a snapshot in a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FoundProblem {
    /// The target whose copy it is.
    pub target: String,
    /// The entry concerned, when it is one.
    pub path: Option<RelPath>,
    /// What is wrong: a word of the archive's, or `corrupt_database`.
    pub kind: String,
    /// The detail, for a person.
    pub message: String,
}

impl FoundProblem {
    /// A problem of an object that may be of any snapshot.
    pub(super) fn in_object(target: &str, key: &str, problem: Problem) -> Self {
        let Problem { path, kind, message } = problem;
        Self { target: target.to_owned(), path, kind: word(kind), message: format!("{key}: {message}") }
    }
}

/// The word of a kind.
fn word(kind: ProblemKind) -> String {
    let kind = serde_json::to_value(kind).ok();
    kind.as_ref().and_then(serde_json::Value::as_str).unwrap_or("damaged").to_owned()
}

/// Verifies a snapshot. Damage is in the report.
///
/// # Errors
/// When the snapshot could not be found or read: see [`find`]; and when a database could not be checked for a
/// reason that is not its own, such as [`ErrorKind::NoSpace`] in scratch.
pub async fn verify(scope: &Scope, job: VerifyJob) -> Result<VerifyReport> {
    let started = scope.clock.monotonic();
    let copies = find(scope, &job.targets, &job.keys, job.service.as_deref(), &job.snapshot).await?;
    let mut report = VerifyReport {
        snapshot_id: copies.first().map(|copy| copy.snapshot_id.clone()).unwrap_or_default(),
        depth: job.depth,
        level: VerifyLevel::Proven,
        encrypted_to: copies.iter().find_map(|copy| copy.listed.as_ref()?.encrypted_to.clone()),
        ok: true,
        problems: Vec::new(),
        targets: Vec::new(),
        databases: Vec::new(),
        stored_bytes: 0,
        duration_seconds: 0.0,
    };
    for copy in &copies {
        scope.cancel.check()?;
        if copy.in_repository() {
            verify_in_repository(scope, &job, copy, &mut report).await?;
        } else if copy.can_be_opened() {
            report.stored_bytes += copy.object.size_bytes;
            verify_copy(scope, &job, copy, &mut report).await?;
        } else {
            report.level = VerifyLevel::Sealed;
            report.stored_bytes += copy.object.size_bytes;
            report.problems.extend(verify_sealed(scope, job.depth, copy).await?);
        }
        report.targets.push(copy.target.clone());
    }
    report.ok = report.problems.is_empty();
    report.duration_seconds = scope.clock.monotonic().saturating_sub(started).as_secs_f64();
    Ok(report)
}

async fn verify_copy(scope: &Scope, job: &VerifyJob, copy: &Found, report: &mut VerifyReport) -> Result<()> {
    let blocks = copy.blocks(scope);
    let threads = threads(job.threads);
    let (inner, depth, opening) = (scope.clone(), job.depth, copy.clone());
    let checked = blocking(move || {
        let archive = Archive::open(opening.open(blocks)?)?;
        let problems = match depth {
            VerifyDepth::Quick => archive.verify_quick(&inner)?,
            VerifyDepth::Data | VerifyDepth::Full => archive.verify_full(&inner, threads)?,
        };
        Ok((archive, problems))
    })
    .await;
    let (archive, problems) = match checked {
        Ok(checked) => checked,
        // An archive that has lost its index is damaged: that is the answer, not a failure to ask.
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            report.problems.push(of_archive(copy, "damaged_archive", error.message()));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let found: Vec<FoundProblem> = problems.into_iter().map(|problem| of_entry(copy, problem)).collect();
    check_databases(scope, job, copy, Arc::new(archive), found, report).await
}

/// The same for a snapshot in a repository.
async fn verify_in_repository(scope: &Scope, job: &VerifyJob, copy: &Found, report: &mut VerifyReport) -> Result<()> {
    let (inner, opening, threads, state) = (scope.clone(), copy.clone(), threads(job.threads), job.state.clone());
    let depth = match job.depth {
        VerifyDepth::Quick => Depth::Quick,
        VerifyDepth::Data => Depth::Data,
        VerifyDepth::Full => Depth::Full,
    };
    let verified = blocking(move || {
        let repository = opening.repository(&inner)?;
        let most = Limits::default().max_entries;
        let mut verified = repository::verify::verify(&inner, &repository, &opening.object.key, depth, threads, most)?;
        let caches = CacheFolder::at(&state, CacheOf::Backups, repository.id);
        let damaged: Vec<_> = verified.damaged.keys().copied().collect();
        // A run sees by itself what is missing or too short. What cannot be noted is in the report all the same.
        if !verified.read.is_empty() {
            let noted = DamagedPacks::load(&caches.damaged(&opening.target), &repository.key);
            let _ = noted.note(&verified.read, &damaged);
        }
        if let Some(last) = LastHeader::load(&caches.last(&opening.target), &repository.key)
            && last.is_missing(&repository)?
        {
            verified.problems.push(Problem::of_snapshot(ProblemKind::BrokenChain, last.message()));
        }
        Ok(verified)
    })
    .await?;
    report.stored_bytes += verified.stored_bytes;
    if verified.sealed {
        report.level = VerifyLevel::Sealed;
    }
    let found: Vec<FoundProblem> = verified.problems.into_iter().map(|problem| of_entry(copy, problem)).collect();
    match verified.snapshot {
        Some(snapshot) => check_databases(scope, job, copy, Arc::new(snapshot), found, report).await,
        None => {
            report.problems.extend(found);
            Ok(())
        }
    }
}

/// Has the stores check the databases of a copy in which `found` was found, when the job asks for that.
async fn check_databases(
    scope: &Scope,
    job: &VerifyJob,
    copy: &Found,
    source: Arc<dyn Source>,
    found: Vec<FoundProblem>,
    report: &mut VerifyReport,
) -> Result<()> {
    let damaged: Vec<Option<RelPath>> = found.iter().map(|problem| problem.path.clone()).collect();
    report.problems.extend(found);
    if job.depth != VerifyDepth::Full {
        return Ok(());
    }
    for record in source.manifest().stores.clone() {
        scope.cancel.check()?;
        // What is known to be damaged needs no second opinion, and is refused by the extraction.
        if damaged.contains(&Some(record.path.clone())) {
            continue;
        }
        match check_database(scope, job, &source, &record).await {
            Ok(problems) => {
                report.databases.push(record.name.clone());
                report.problems.extend(problems.into_iter().map(|message| FoundProblem {
                    target: copy.target.clone(),
                    path: Some(record.path.clone()),
                    kind: "corrupt_database".to_owned(),
                    message,
                }));
            }
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                let problem = of_archive(copy, "corrupt_database", error.message());
                report.problems.push(FoundProblem { path: Some(record.path), ..problem });
            }
            Err(error) => return Err(error.while_doing(format!("checking database {:?}", record.name))),
        }
    }
    Ok(())
}

/// Compares the stored bytes of an encrypted copy with what its summary says: the problems that were found.
pub(super) async fn verify_sealed(scope: &Scope, depth: VerifyDepth, copy: &Found) -> Result<Vec<FoundProblem>> {
    let whole = depth != VerifyDepth::Quick;
    let problem = sealed::problem(scope, &copy.component, &copy.object, &copy.keys, whole).await?;
    Ok(problem.map(|(kind, message)| of_archive(copy, kind, &message)).into_iter().collect())
}

/// Restores one database into scratch and lets its store check it: the problems that were found.
async fn check_database(
    scope: &Scope,
    job: &VerifyJob,
    source: &Arc<dyn Source>,
    record: &StoreRecord,
) -> Result<Vec<String>> {
    scope.progress.stage(format!("checking database {}", record.name));
    let files = job.checkers.files_of(record);
    let its = source.entries().iter().filter(|entry| files.iter().any(|file| file == entry.path.as_path()));
    let size: u64 = its.map(|entry| restored_len(&entry.node)).sum();
    let (base, in_memory, threads) = (job.scratch.clone(), job.scratch_in_memory, threads(job.threads));
    let scratch = blocking(move || {
        let scratch = Scratch::create(&base, in_memory)?;
        let free = fs::space(&base)?.free_bytes;
        if size > free {
            let (size, free) = (ByteSize(size), ByteSize(free));
            return Err(Error::new(ErrorKind::NoSpace, format!("{base:?} has {free} free, the database needs {size}"))
                .with_hint("free space there, or set backup.scratch to a folder on another disk"));
        }
        Ok(Arc::new(scratch))
    })
    .await?;
    let (inner, source, held) = (scope.clone(), Arc::clone(source), Arc::clone(&scratch));
    blocking(move || {
        let into = Dir::open(held.path())?;
        // It was verified whole a moment ago, and its size was compared with the free space.
        let limits = Limits { max_entries: u64::MAX, max_bytes: u64::MAX, max_ratio: u64::MAX };
        let options = ExtractOptions { threads, limits, ..ExtractOptions::default() };
        source.extract(&inner, &Selection::Paths(files), &into, &options).map(drop)
    })
    .await?;
    let file = scratch.path().join(record.path.as_path());
    let folder = file.parent().unwrap_or(scratch.path()).to_owned();
    let store = job.checkers.store_for(record, &file)?;
    let report = store.check_copy(scope, &folder, CheckDepth::Full).await;
    blocking(move || {
        drop(scratch);
        Ok(())
    })
    .await?;
    let report = report?;
    Ok(match (report.ok, report.problems.is_empty()) {
        (true, _) => Vec::new(),
        (false, false) => report.problems,
        (false, true) => vec!["its store says that it is damaged".to_owned()],
    })
}

fn of_archive(copy: &Found, kind: &str, message: &str) -> FoundProblem {
    FoundProblem { target: copy.target.clone(), path: None, kind: kind.to_owned(), message: message.to_owned() }
}

fn of_entry(copy: &Found, problem: Problem) -> FoundProblem {
    let kind = word(problem.kind);
    FoundProblem { target: copy.target.clone(), path: problem.path, kind, message: problem.message }
}

#[cfg(test)]
mod tests;
