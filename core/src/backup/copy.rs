//! Copying a snapshot from one target to another: a second place for it, without the service.
//!
//! What a copy is depends on the layout. An archive is one object: a copy of it that is whole is read, sent, read back
//! where it went, and only then counts. [`copy`] decides by the layout; a further one gets an arm there.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::archive::Archive;
use super::create::NamedTarget;
use super::deposit::{Place, Seal, in_time, show};
use super::lease::{Lease, LeaseTimes};
use super::list::{Found, blocking, find};
use super::meter::Meter;
use super::nodes::ProblemKind;
use super::target::Upload;
use crate::backup::seal::{Keys, MAX_SUMMARY, SUMMARY_SUFFIX};
use crate::backup::target::BackupTarget;
use crate::backup::verify::VerifyDepth;
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::value::ByteSize;

/// How many bytes are read at once.
const READ: u64 = 4 << 20;

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
    /// Threads that verify. 0 is one for each core, at most 8.
    pub threads: usize,
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
    /// Its bytes there.
    pub stored_bytes: u64,
    /// Whether it was copied; `false` when the target had it already, whole.
    pub copied: bool,
    /// How long it took, in seconds.
    pub duration_seconds: f64,
}

/// Copies a snapshot. Every byte of it is verified before, and read back after; nothing is replaced.
///
/// # Errors
/// As [`find`] for a snapshot that is not there; [`ErrorKind::Corrupt`] when no copy of it is whole, or the one that
/// the target has already is not; [`ErrorKind::NoSpace`]; [`ErrorKind::Busy`] while another writes to the target.
pub async fn copy(scope: &Scope, job: CopyJob) -> Result<CopyReport> {
    let started = scope.clock.monotonic();
    let copies = find(scope, &job.from, &job.keys, job.service.as_deref(), &job.snapshot).await?;
    let source = first_whole(scope, copies, job.threads).await?;
    let layout = source.listed.as_ref().map_or("archive", |listed| listed.layout.as_str());
    let mut report = match layout {
        "archive" => copy_archive(scope, &job, &source).await?,
        other => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("snapshot {} has the layout {other:?}, which cannot be copied", source.snapshot_id),
            )
            .with_hint("export it to an archive and import that"));
        }
    };
    report.duration_seconds = scope.clock.monotonic().saturating_sub(started).as_secs_f64();
    Ok(report)
}

/// The first copy of which every byte is what it was when it was made: damage is not spread.
async fn first_whole(scope: &Scope, copies: Vec<Found>, threads: usize) -> Result<Found> {
    let mut first_error = None;
    for copy in copies {
        scope.cancel.check()?;
        match verify(scope, &copy, threads).await {
            Ok(()) => return Ok(copy),
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(first_error.unwrap_or_else(|| Error::internal("a snapshot was found without a copy")))
}

async fn verify(scope: &Scope, copy: &Found, threads: usize) -> Result<()> {
    if copy.in_repository() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("snapshot {} lies in a repository, whose snapshots are not copied one by one", copy.snapshot_id),
        )
        .with_hint("back up to the other target as well, or export the snapshot and import it there"));
    }
    scope.progress.stage(format!("verifying {} in {}", copy.snapshot_id, copy.target));
    let blocks = copy.blocks(scope);
    let (inner, threads) = (scope.clone(), super::verify::threads(threads));
    let problem = if copy.can_be_opened() {
        let opening = copy.clone();
        let problems = blocking(move || Archive::open(opening.open(blocks)?)?.verify_full(&inner, threads)).await?;
        let problem = problems.into_iter().find(|problem| problem.kind != ProblemKind::AttributeNotRestored);
        problem.map(|problem| problem.message)
    } else {
        let problems = super::verify::verify_sealed(scope, VerifyDepth::Data, copy).await?;
        problems.into_iter().next().map(|problem| problem.message)
    };
    match problem {
        None => Ok(()),
        Some(message) => Err(Error::new(
            ErrorKind::Corrupt,
            format!("snapshot {} in target {:?} is damaged: {message}", copy.snapshot_id, copy.target),
        )
        .with_hint("`uplifted-ops backup verify` says what is damaged in which target; copy from a whole one")),
    }
}

async fn copy_archive(scope: &Scope, job: &CopyJob, source: &Found) -> Result<CopyReport> {
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
        verify(scope, &there, job.threads).await?;
        return Ok(CopyReport { key: there.object.key, stored_bytes: there.object.size_bytes, ..report(false) });
    }
    let needed = source.object.size_bytes;
    if let Some(free) = target.free_bytes(scope).await?.filter(|free| *free < needed) {
        let (needed, free) = (ByteSize(needed), ByteSize(free));
        return Err(Error::new(
            ErrorKind::NoSpace,
            format!("target {name:?} has {free} free, the snapshot needs {needed}"),
        )
        .with_hint("free space there, or copy it to another target"));
    }
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
    sent.map(|()| report(true))
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
