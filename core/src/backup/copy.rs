//! Copying a snapshot from one target to another: a second place for it, without the service.
//!
//! What a copy is depends on the layout. An archive is one object: a copy of it that is whole is read, sent, read back
//! where it went, and only then counts. [`copy`] decides by the layout; a further one gets an arm there.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::archive::Archive;
use super::blocks::Blocks;
use super::create::NamedTarget;
use super::create::deliver::{Delivery, Fan, NO_TARGET_LEFT, Seal, deliver};
use super::lease::{Lease, LeaseTimes};
use super::list::{Found, blocking, find};
use super::nodes::ProblemKind;
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
    let copies = find(scope, &job.from, job.service.as_deref(), &job.snapshot).await?;
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
    scope.progress.stage(format!("verifying {} in {}", copy.snapshot_id, copy.target));
    let blocks = copy.blocks(scope);
    let (inner, threads) = (scope.clone(), super::verify::threads(threads));
    let problems = blocking(move || Archive::open(Arc::new(blocks))?.verify_full(&inner, threads)).await?;
    match problems.into_iter().find(|problem| problem.kind != ProblemKind::AttributeNotRestored) {
        None => Ok(()),
        Some(problem) => Err(Error::new(
            ErrorKind::Corrupt,
            format!("snapshot {} in target {:?} is damaged: {}", copy.snapshot_id, copy.target, problem.message),
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
    let (fan, mut queues) = Fan::new(1);
    let blocks = queues.pop().ok_or_else(|| Error::internal("a copy has no queue"))?;
    let (seal_sender, seal) = oneshot::channel();
    let delivery = Delivery {
        name: name.clone(),
        target: Arc::clone(target),
        lease,
        key: source.object.key.clone(),
        expected_bytes: Some(needed),
        blocks,
        seal,
    };
    let delivering = tokio::spawn(deliver(scope.clone(), delivery));
    let reading = {
        let (scope, blocks) = (scope.clone(), source.blocks(scope));
        scope.progress.stage(format!("copying {} from {} to {name}", source.snapshot_id, source.target));
        blocking(move || read_all(&scope, &blocks, fan)).await
    };
    match &reading {
        Ok(seal) => drop(seal_sender.send(*seal)),
        Err(_) => drop(seal_sender),
    }
    let delivered = delivering.await.map_err(|error| Error::internal(format!("a delivery did not end: {error}")))?;
    match (reading, delivered) {
        (Ok(_), Ok(())) => Ok(report(true)),
        // The reader stops when there is nobody left to read for: why, the delivery knows.
        (Err(error), Err(why)) if error.message() == NO_TARGET_LEFT => Err(why),
        (Err(error), _) | (Ok(_), Err(error)) => Err(error),
    }
}

/// The snapshot in the target that it is to be copied to.
async fn already_there(scope: &Scope, job: &CopyJob, source: &Found) -> Result<Option<Found>> {
    match find(scope, std::slice::from_ref(&job.to), None, &source.snapshot_id).await {
        Ok(copies) => Ok(copies.into_iter().next()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sends the whole archive on, and says what it must be on the other side.
fn read_all(scope: &Scope, blocks: &dyn Blocks, mut fan: Fan) -> Result<Seal> {
    let mut hasher = blake3::Hasher::new();
    let (mut at, len) = (0, blocks.len());
    while at < len {
        scope.cancel.check()?;
        let block = blocks.read(at..len.min(at + READ))?;
        hasher.update(&block);
        fan.push(&block)?;
        at += block.len() as u64;
    }
    fan.flush()?;
    Ok(Seal { stored_bytes: len, blake3: *hasher.finalize().as_bytes() })
}

#[cfg(test)]
mod tests;
