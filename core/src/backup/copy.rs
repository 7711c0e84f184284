//! Copying a snapshot from one target to another: a second place for it, without the service.
//!
//! What a copy is depends on the layout. An archive is one object: one that is whole is read, sent, read back where it went,
//! and only then counts; an encrypted one stays encrypted, and nobody needs its key. It lies beside the repository that a target
//! may have: whoever wants it in there exports and imports it, which makes another snapshot. A snapshot of a repository is written
//! into the repository of the other target, as a backup is: what that one has already is not sent, whatever brought it
//! there, and an interrupted copy leaves packs that the next one uses.
//!
//! The two repositories have nothing in common but content, so what is sealed is opened on the way, and that takes the
//! identity; it is sealed again to the key of this host, or, on a machine without one, to that of the identity. Without it a
//! snapshot goes to another repository of the same identity, such as that of a second target of the same service: its packs
//! as they are. It never goes from a sealed repository into one in clear.

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::archive::Archive;
use super::blocks::Objects;
use super::create::NamedTarget;
use super::deposit::{Place, Seal, in_time, show};
use super::lease::{Lease, LeaseTimes};
use super::list::{Found, blocking, find};
use super::manifest::Manifest;
use super::memory::Memory;
use super::meter::Meter;
use super::nodes::{Limits, ProblemKind};
use super::repository::cache::CacheOf;
use super::repository::deliver::RepositoryDelivery;
use super::repository::header::Header;
use super::repository::open::Repository;
use super::repository::packs::{GONE, Step};
use super::repository::prepare::Prepared;
use super::repository::snapshot::Snapshot;
use super::repository::transfer::{forward, transfer};
use super::repository::verify::Depth;
use super::repository::write::{RepositoryWriter, WriteJob};
use super::repository::{self, names};
use super::target::Upload;
use crate::backup::seal::{Keys, MAX_SUMMARY, SUMMARY_SUFFIX};
use crate::backup::target::BackupTarget;
use crate::backup::verify::VerifyDepth;
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::value::ByteSize;

/// How many bytes are read at once.
const READ: u64 = 4 << 20;
/// How many blocks of a pack wait for the target.
const QUEUE: usize = 4;

/// What to copy, and where to.
#[derive(Debug, Clone)]
pub struct CopyJob {
    /// Where it may be, in the order in which copies are preferred.
    pub from: Vec<NamedTarget>,
    /// Where it goes.
    pub to: NamedTarget,
    /// What is opened to be verified; an encrypted archive is copied as it is.
    pub keys: Keys,
    /// Whose snapshots `latest` looks among.
    pub service: Option<String>,
    /// An identifier, the beginning of one, or `latest`.
    pub snapshot: String,
    /// The name of this machine, for the lease.
    pub host: String,
    /// How the target's lease is kept.
    pub lease: LeaseTimes,
    /// Threads that verify and compress. 0 is one for each core, at most 8.
    pub threads: usize,
    /// How what goes into a repository is compressed: a zstd level, 1 to 19.
    pub level: i32,
    /// The state folder, absolute: what is known of the repository that it goes to.
    pub state: PathBuf,
}

/// What became of a copy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CopyReport {
    /// The snapshot.
    pub snapshot_id: String,
    /// The target that it was read from.
    pub from: String,
    /// The target that has it now.
    pub to: String,
    /// Its key there.
    pub key: String,
    /// Its bytes there; of a snapshot in a repository those that were added for it.
    pub stored_bytes: u64,
    /// Whether it was copied; `false` when the target had it already, whole.
    pub copied: bool,
    /// How long it took, in seconds.
    pub duration_seconds: f64,
}

/// Copies a snapshot from the first target whose copy is whole. Every byte of it is verified on the way, and read back
/// after; nothing is replaced.
///
/// # Errors
/// As [`find`] for a snapshot that is not there; [`ErrorKind::Corrupt`] when no copy of it is whole, or the one that
/// the target has already is not; [`ErrorKind::Denied`] for one that has to be opened on the way, without the identity;
/// [`ErrorKind::Refused`] for a repository in clear that it would have to go to; [`ErrorKind::NoSpace`];
/// [`ErrorKind::Busy`] while another writes to the target.
pub async fn copy(scope: &Scope, job: CopyJob) -> Result<CopyReport> {
    let started = scope.clock.monotonic();
    let copies = find(scope, &job.from, &job.keys, job.service.as_deref(), &job.snapshot).await?;
    let mut first_error = None;
    for source in copies {
        scope.cancel.check()?;
        // Damage is not spread.
        match verify(scope, &source, Reading::Source, job.threads).await {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => {
                first_error = first_error.or(Some(error));
                continue;
            }
        }
        let copied = if source.in_repository() {
            copy_across(scope, &job, &source).await
        } else {
            copy_archive(scope, &job, &source).await
        };
        match copied {
            Ok(mut report) => {
                report.duration_seconds = scope.clock.monotonic().saturating_sub(started).as_secs_f64();
                return Ok(report);
            }
            Err(Stopped { error, by_the_source: true }) => first_error = first_error.or(Some(error)),
            Err(Stopped { error, .. }) => return Err(error),
        }
    }
    Err(first_error.unwrap_or_else(|| Error::internal("a snapshot was found without a copy")))
}

/// Why a copy was not made, and whether another source may do.
struct Stopped {
    error: Error,
    by_the_source: bool,
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self { error, by_the_source: false }
    }
}

/// What a verification is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// It is read next: what is read then anyway is proven then.
    Source,
    /// It is there already, and taken as it is.
    Existing,
}

async fn verify(scope: &Scope, copy: &Found, reading: Reading, threads: usize) -> Result<()> {
    if copy.in_repository() {
        return verify_in_repository(scope, copy, reading, threads).await;
    }
    scope.progress.stage(format!("verifying {} in {}", copy.snapshot_id, copy.target));
    let blocks = copy.blocks(scope);
    let (inner, threads) = (scope.clone(), super::pool::threads(threads));
    let problem = if copy.can_be_opened() {
        let opening = copy.clone();
        let problems = blocking(move || Archive::open(opening.open(blocks)?)?.verify_full(&inner, threads)).await?;
        let problem = problems.into_iter().find(|problem| problem.kind != ProblemKind::AttributeNotRestored);
        problem.map(|problem| problem.message)
    } else {
        let problems = super::verify::verify_sealed(scope, VerifyDepth::Data, copy).await?;
        problems.into_iter().next().map(|problem| problem.message)
    };
    problem.map_or(Ok(()), |message| Err(damaged(copy, &message)))
}

async fn verify_in_repository(scope: &Scope, copy: &Found, reading: Reading, threads: usize) -> Result<()> {
    scope.progress.stage(format!("verifying {} in {}", copy.snapshot_id, copy.target));
    let depth = match reading {
        Reading::Source => Depth::Quick,
        Reading::Existing => Depth::Full,
    };
    let (inner, opening, threads) = (scope.clone(), copy.clone(), super::pool::threads(threads));
    let verified = blocking(move || {
        let repository = opening.repository(&inner)?;
        let most = Limits::default().max_entries;
        repository::verify::verify(&inner, &repository, &opening.object.key, depth, threads, most)
    });
    let verified = verified.await?;
    match verified.problems.first() {
        Some(problem) => Err(damaged(copy, &problem.message)),
        None => Ok(()),
    }
}

fn damaged(copy: &Found, message: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("snapshot {} in target {:?} is damaged: {message}", copy.snapshot_id, copy.target),
    )
    .with_hint("`uplifted-ops backup verify` says what is damaged in which target; copy from a whole one")
}

/// Copies a snapshot of a repository into that of another target.
async fn copy_across(scope: &Scope, job: &CopyJob, source: &Found) -> std::result::Result<CopyReport, Stopped> {
    let (name, target) = &job.to;
    let report = |key: &str, stored_bytes, copied| CopyReport {
        snapshot_id: source.snapshot_id.clone(),
        from: source.target.clone(),
        to: name.clone(),
        key: key.to_owned(),
        stored_bytes,
        copied,
        duration_seconds: 0.0,
    };
    if let Some(there) = already_there(scope, job, source).await? {
        verify(scope, &there, Reading::Existing, job.threads).await?;
        let stored = there.listed.as_ref().map_or(there.object.size_bytes, |listed| listed.stored_bytes);
        return Ok(report(&there.object.key, stored, false));
    }
    let (inner, opening) = (scope.clone(), source.clone());
    let (repository, header) = blocking(move || {
        let repository = opening.repository(&inner)?;
        let (header, _) = repository.header(&opening.object.key)?;
        Ok((repository, header))
    })
    .await?;
    let mut fingerprints: Vec<&str> = header.packs.iter().filter_map(|pack| pack.fingerprint.as_deref()).collect();
    fingerprints.sort_unstable();
    fingerprints.dedup();
    let way = match fingerprints.iter().all(|fingerprint| repository.keys.opens(fingerprint)) {
        true => Way::Opened,
        false => Way::Sealed,
    };
    let objects = Objects::new(scope, Arc::clone(target));
    let mut memory = known_of(job, &objects).await?;
    if let Some(keys) = &job.keys {
        // Without the wrapped keys nobody could open it from there alone.
        let needed = match way {
            Way::Opened => vec![keys.fingerprint()],
            Way::Sealed => fingerprints.iter().map(|text| text.parse()).collect::<Result<_>>()?,
        };
        for fingerprint in needed {
            keys.provide(scope, &fingerprint, &job.to, &job.from).await?;
        }
    }
    // Objects that are created only if they are absent need nobody to stand in line.
    let lease = match target.capability().put_if_absent {
        true => None,
        false => Some(Lease::acquire(scope, name, Arc::clone(target), &job.host, job.lease).await?),
    };
    let (state, keys) = (job.state.clone(), job.keys.clone());
    let prepared = blocking(move || {
        let prepared = Prepared::open(&objects, &keys, (&state, CacheOf::Copies), &mut memory, "copies")?;
        Ok((prepared, memory))
    });
    let (prepared, memory) = match prepared.await {
        Ok(prepared) => prepared,
        Err(error) => {
            if let Some(lease) = lease {
                // A lease that could not be released ends by itself.
                let _ = lease.release().await;
            }
            return Err(error.into());
        }
    };
    let stored_in = prepared.repository.id;
    let (sender, steps) = mpsc::channel(QUEUE);
    // What this run has not sealed it cannot open to prove it.
    let sealed_here = job.keys.clone().filter(|_| way == Way::Opened);
    let delivery =
        RepositoryDelivery { name: name.clone(), target: Arc::clone(target), lease, steps, keys: sealed_here };
    let (inner, keys) = (scope.clone(), job.keys.clone());
    let key = names::snapshot(header.time, header.snapshot);
    let compression = (job.level, super::pool::threads(job.threads));
    // Who stops waiting for this stops both: without the one end the other has nothing to do.
    let writing = blocking(move || {
        Ok(match way {
            Way::Opened => write_across(&inner, &repository, header, &keys, prepared, compression, sender),
            Way::Sealed => forward(&inner, &repository, header, prepared, &sender).map(|stored| (stored, None)),
        })
    });
    let (delivered, written) = tokio::join!(delivery.run(scope.clone()), writing);
    // A cancel reaches the two in any order, and one may blame the other.
    scope.cancel.check()?;
    let (stored_bytes, keep) = match (written?, delivered) {
        (Err(error), Err(delivery)) if error.message() == GONE => return Err(delivery.into()),
        (Err(error), _) => {
            let by_the_source = error.kind() == ErrorKind::Corrupt;
            let error = match by_the_source {
                true => damaged(source, error.message()),
                false => error,
            };
            return Err(Stopped { error, by_the_source });
        }
        (Ok(_), Err(error)) => return Err(error.into()),
        (Ok(written), Ok(())) => written,
    };
    let now = scope.clock.now();
    blocking(move || {
        // What makes the next copy safer, and faster; this one has succeeded without.
        drop(memory.keep(Some(stored_in), now));
        if let Some(keep) = keep {
            drop(keep());
        }
        Ok(())
    })
    .await?;
    Ok(report(&key, stored_bytes, true))
}

/// How a snapshot goes from one repository to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Its content is read and written anew.
    Opened,
    /// Its packs go as they are, since nobody here can open them.
    Sealed,
}

/// What makes the next copy faster.
type Keep = Box<dyn FnOnce() -> Result<()> + Send>;

/// Reads the one repository and writes to the other: how many bytes were added. It blocks.
fn write_across(
    scope: &Scope,
    repository: &Repository,
    header: Header,
    keys: &Keys,
    prepared: Prepared,
    compression: (i32, usize),
    out: mpsc::Sender<Step>,
) -> Result<(u64, Option<Keep>)> {
    let write = WriteJob { snapshot: header.snapshot, time: header.time, tags: header.tags.clone(), compression };
    let snapshot = Snapshot::open(scope, repository, header, Limits::default().max_entries)?;
    let encrypted_to = keys.as_ref().map(|keys| keys.fingerprint());
    let manifest = Manifest { encrypted_to, ..snapshot.manifest().clone() };
    let writer = RepositoryWriter::new(scope, prepared, write, out)?;
    let finished = transfer(scope, &snapshot, manifest, writer)?;
    Ok((finished.stored_bytes, finished.keep))
}

async fn copy_archive(scope: &Scope, job: &CopyJob, source: &Found) -> std::result::Result<CopyReport, Stopped> {
    let (name, target) = &job.to;
    let report = |copied| CopyReport {
        snapshot_id: source.snapshot_id.clone(),
        from: source.target.clone(),
        to: name.clone(),
        key: source.object.key.clone(),
        stored_bytes: source.object.size_bytes,
        copied,
        duration_seconds: 0.0,
    };
    if let Some(there) = already_there(scope, job, source).await? {
        verify(scope, &there, Reading::Existing, job.threads).await?;
        return Ok(CopyReport { key: there.object.key, stored_bytes: there.object.size_bytes, ..report(false) });
    }
    let needed = source.object.size_bytes;
    if let Some(free) = target.free_bytes(scope).await?.filter(|free| *free < needed) {
        let (needed, free) = (ByteSize(needed), ByteSize(free));
        return Err(Error::new(
            ErrorKind::NoSpace,
            format!("target {name:?} has {free} free, the snapshot needs {needed}"),
        )
        .with_hint("free space there, or copy it to another target")
        .into());
    }
    known_of(job, &Objects::new(scope, Arc::clone(target))).await?;
    let lease = Lease::acquire(scope, name, Arc::clone(target), &job.host, job.lease).await?;
    let place = Place { name: name.clone(), target: Arc::clone(target), key: source.object.key.clone(), keys: None };
    // Without the wrapped key nobody could open the copy from there alone.
    let encrypted_to = source.listed.as_ref().and_then(|listed| listed.encrypted_to.as_ref());
    if let (Some(keys), Some(fingerprint)) = (&job.keys, encrypted_to) {
        keys.provide(scope, fingerprint, &job.to, &job.from).await?;
    }
    copy_summary(scope, source, target).await?;
    let sent = send(scope, source, &place, &lease).await;
    // A lease that could not be released ends by itself; the copy is no worse for it.
    let _ = lease.release().await;
    sent?;
    Ok(report(true))
}

/// Copies the summary beside an encrypted archive, before the archive itself becomes visible.
async fn copy_summary(scope: &Scope, source: &Found, target: &Arc<dyn BackupTarget>) -> Result<()> {
    let key = format!("{}{SUMMARY_SUFFIX}", source.object.key);
    match source.component.get(scope, &key, 0..MAX_SUMMARY).await {
        Ok(bytes) => target.put(scope, &key, &bytes, false).await.map(drop),
        // An archive in clear has none, and no restore needs it.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Sends an archive to its place, where it is read back before it counts.
async fn send(scope: &Scope, source: &Found, place: &Place, lease: &Lease) -> Result<()> {
    let expected = Some(source.object.size_bytes);
    let mut upload = in_time(scope, place.target.upload(scope, &place.key, expected)).await?;
    match pour(scope, source, place, &mut upload).await {
        Ok(seal) => show(scope, place, upload, seal, lease.confirm()).await,
        Err(error) => {
            // What is wrong matters more than whether the rest could be cleared away.
            let _ = upload.abort().await;
            Err(error)
        }
    }
}

/// Reads an archive and writes it, one block read while the one before is written. Says what it must be.
async fn pour(scope: &Scope, source: &Found, place: &Place, upload: &mut Box<dyn Upload>) -> Result<Seal> {
    let (from, len) = (&source.component, source.object.size_bytes);
    let stage = format!("copying {} from {} to {}", source.snapshot_id, source.target, place.name);
    let mut meter = Meter::start(scope, stage, Some(len), None);
    let mut hasher = blake3::Hasher::new();
    let mut at = 0;
    let mut block = Vec::new();
    loop {
        scope.cancel.check()?;
        let next = async {
            if at == len {
                return Ok(Vec::new());
            }
            in_time(scope, from.get(scope, &source.object.key, at..len.min(at + READ))).await
        };
        let write = async { if block.is_empty() { Ok(()) } else { in_time(scope, upload.write(&block)).await } };
        let (read, written) = tokio::join!(next, write);
        written?;
        block = read?;
        if block.is_empty() && at < len {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("{:?} in target {:?} became shorter while it was copied", source.object.key, source.target),
            )
            .with_hint("let nobody else write to the folder of the backups"));
        }
        if block.is_empty() {
            return Ok(Seal { stored_bytes: len, blake3: *hasher.finalize().as_bytes() });
        }
        hasher.update(&block);
        at += block.len() as u64;
        meter.bytes(block.len() as u64);
    }
}

/// What this host knows of the target that it goes to, which has not lost its repository.
async fn known_of(job: &CopyJob, objects: &Objects) -> Result<Memory> {
    let (state, name, objects) = (job.state.clone(), job.to.0.clone(), objects.clone());
    blocking(move || {
        let mut memory = Memory::load(&state, &name, objects.target(), false);
        memory.look(&objects)?;
        Ok(memory)
    })
    .await
}

/// The snapshot in the target that it is to be copied to.
async fn already_there(scope: &Scope, job: &CopyJob, source: &Found) -> Result<Option<Found>> {
    match find(scope, std::slice::from_ref(&job.to), &job.keys, None, &source.snapshot_id).await {
        Ok(copies) => Ok(copies.into_iter().next()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
