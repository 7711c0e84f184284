//! Sampled verification: a little in each run, and every stored byte within so many days.
//!
//! `cycle` says what is due; here it is read and held against its checksums. A run may be bounded; what it leaves is
//! what the next one begins with.

mod cycle;
mod stored;

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::cycle::{Cycle, Due};
use self::stored::Stored;
use super::create::NamedTarget;
use super::list::{FailedTarget, blocking};
use super::memory::look_for;
use super::meter::Meter;
use super::seal::Keys;
use super::target::BackupTarget;
use super::target_clock::target_now;
use super::verify::FoundProblem;
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, FileLock, PRIVATE_DIR};

/// What to read, and how much of it.
#[derive(Debug, Clone)]
pub struct SampleJob {
    /// The targets to read from.
    pub targets: Vec<NamedTarget>,
    /// What the records of encrypted backups are proven with.
    pub keys: Keys,
    /// Every stored byte is read within so many days, see `backup.verify_days`.
    pub days: f64,
    /// Not more than about so many bytes in this run; what is due and not read is left to the next.
    pub max_bytes: Option<u64>,
    /// How far the last run came, by target; what is not there is unknown.
    pub reached: BTreeMap<String, Timestamp>,
    /// What the last run said as [`SampledTarget::clean_since`], by target.
    pub clean_since: BTreeMap<String, Timestamp>,
    /// The state folder, absolute: two runs at once would read the same.
    pub state: PathBuf,
}

/// What a sampled verification read and found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SampleReport {
    /// Whether nothing was wrong with what was read.
    pub ok: bool,
    /// What was wrong.
    pub problems: Vec<FoundProblem>,
    /// What was read, by target.
    pub targets: Vec<SampledTarget>,
    /// The targets that could not be read. Their next run catches up.
    pub failed: Vec<FailedTarget>,
    /// Every stored byte is read within so many days, as long as runs are at most a quarter of that apart.
    pub within_days: f64,
    /// How long it took, in seconds.
    pub duration_seconds: f64,
}

/// What was read from a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SampledTarget {
    /// The target.
    pub target: String,
    /// What became due after this moment was to be read.
    pub since: Timestamp,
    /// All that became due until this moment is read. The next run goes on here.
    pub reached: Timestamp,
    /// Objects in the target that hold backups.
    pub objects: u64,
    /// Their bytes.
    pub stored_bytes: u64,
    /// Bytes that were read and held against their checksums.
    pub read_bytes: u64,
    /// Bytes that are due and wait for the next run.
    pub left_bytes: u64,
    /// Since this moment everything that became due was read, and nothing was wrong.
    pub clean_since: Timestamp,
    /// The snapshots of which every stored byte was read and found whole since then, by samples or by the backups that
    /// stored it.
    pub whole: Vec<String>,
    /// Whether any of it is encrypted: of that the stored bytes alone were compared.
    pub sealed: bool,
}

/// Reads what is due. Damage is in the report, and so is a target that fails.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] for a number of days that is none; [`ErrorKind::Busy`] while another process does the
/// same; [`ErrorKind::Cancelled`], after which nothing counts as read.
pub async fn sample(scope: &Scope, job: SampleJob) -> Result<SampleReport> {
    let started = scope.clock.monotonic();
    let cycle = Cycle::of(job.days)?;
    let state = job.state.clone();
    let _turn = blocking(move || turn(&state)).await?;
    let mut report = SampleReport {
        ok: true,
        problems: Vec::new(),
        targets: Vec::new(),
        failed: Vec::new(),
        within_days: job.days,
        duration_seconds: 0.0,
    };
    let mut left = job.max_bytes.unwrap_or(u64::MAX);
    for (name, target) in &job.targets {
        let earlier = (job.reached.get(name).copied(), job.clean_since.get(name).copied());
        let sampled = async {
            // Where nothing is, nothing is wrong: what became due meanwhile would count as read.
            look_for(scope, &job.state, &(name.clone(), Arc::clone(target))).await?;
            sample_target(scope, cycle, (name, target), (&job.state, &job.keys), earlier, left).await
        };
        match sampled.await {
            Ok((sampled, problems)) => {
                left = left.saturating_sub(sampled.read_bytes);
                report.targets.push(sampled);
                report.problems.extend(problems);
            }
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => report.failed.push(FailedTarget { target: name.clone(), error: error.to_body() }),
        }
    }
    report.ok = report.problems.is_empty();
    report.duration_seconds = scope.clock.monotonic().saturating_sub(started).as_secs_f64();
    Ok(report)
}

fn turn(state: &std::path::Path) -> Result<FileLock> {
    fs::create_dir_all(state, PRIVATE_DIR)?;
    FileLock::try_acquire(&state.join("sample.lock"))?.ok_or_else(|| {
        Error::new(ErrorKind::Busy, "another process samples the backups of this service")
            .with_hint("try again when it is done")
    })
}

async fn sample_target(
    scope: &Scope,
    cycle: Cycle,
    (name, target): (&str, &Arc<dyn BackupTarget>),
    (state, keys): (&Path, &Keys),
    (earlier, clean_since): (Option<Timestamp>, Option<Timestamp>),
    max_bytes: u64,
) -> Result<(SampledTarget, Vec<FoundProblem>)> {
    let now = scope.clock.now();
    let since = cycle.start(earlier, now);
    let mut stored = Stored::look(scope, name, target, state, keys).await?;
    let mut due = cycle.due(stored.slices(), since, now);
    let (fits, reached) = bounded(&due, max_bytes, since, now);
    let left_bytes = due.drain(fits..).map(|due| length(&due.slice.range)).sum();

    // By object: each is opened once.
    let mut parts: BTreeMap<usize, Vec<Range<u64>>> = BTreeMap::new();
    for Due { slice, .. } in due {
        parts.entry(slice.object).or_default().push(slice.range);
    }
    let total = parts.values().flatten().map(length).sum();
    let mut meter = Meter::start(scope, format!("reading samples of {name}"), Some(total), None);
    let mut problems = std::mem::take(&mut stored.problems);
    for (number, ranges) in parts {
        let bytes = ranges.iter().map(length).sum();
        problems.extend(stored.read(number, ranges).await?);
        meter.bytes(bytes);
    }
    let clean_since = match problems.is_empty() {
        true => cycle.clean_since(earlier, clean_since, since),
        // What is damaged may be needed by anybody, and is not read again for a while.
        false => reached,
    };
    let whole = match problems.is_empty() {
        true if cycle.is_round(clean_since, reached) => stored.all(),
        true => match by_the_target(scope, &**target, clean_since).await? {
            Some(span) => stored.stored_within(&span),
            None => Vec::new(),
        },
        false => Vec::new(),
    };
    let sampled = SampledTarget {
        target: name.to_owned(),
        since,
        reached,
        clean_since,
        whole,
        sealed: stored.is_sealed(),
        objects: stored.objects(),
        stored_bytes: stored.bytes(),
        read_bytes: total,
        left_bytes,
    };
    Ok((sampled, problems))
}

/// From `since` until now by the target's clock, whose times its objects have; `None` where it does not say.
async fn by_the_target(
    scope: &Scope,
    target: &dyn BackupTarget,
    since: Timestamp,
) -> Result<Option<RangeInclusive<Timestamp>>> {
    // Ours first: whatever the question takes makes the span shorter, and a snapshot no more proven than it is.
    let ours = scope.clock.now();
    match target_now(scope, target).await {
        Ok(theirs) => Ok(Some(since + theirs.duration_since(ours)..=theirs)),
        Err(error) if error.kind() == ErrorKind::Cancelled => Err(error),
        // A target that is only read proves by whole rounds.
        Err(_) => Ok(None),
    }
}

/// How many of the due slices fit into a bounded run, at least one, and how far it comes with them.
fn bounded(due: &[Due], max_bytes: u64, since: Timestamp, now: Timestamp) -> (usize, Timestamp) {
    let mut bytes = 0_u64;
    let mut fits = 0;
    for Due { slice, .. } in due {
        bytes = bytes.saturating_add(length(&slice.range));
        if bytes > max_bytes && fits > 0 {
            break;
        }
        fits += 1;
        if bytes > max_bytes {
            break;
        }
    }
    if max_bytes == 0 {
        return (0, since);
    }
    // Slices of the same moment are read together: how far a run came is a moment.
    while fits > 0 && fits < due.len() && due[fits].at == due[fits - 1].at {
        fits += 1;
    }
    (fits, if fits == due.len() { now } else { due[fits - 1].at })
}

fn length(range: &Range<u64>) -> u64 {
    range.end - range.start
}

#[cfg(test)]
mod tests;
