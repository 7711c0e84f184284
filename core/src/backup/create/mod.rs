//! Making a backup.
//!
//! The order matters, because POSIX locks end when this process closes any descriptor of a file: first the
//! walk and every peek at a file, then the stores, which open the databases; the files are stored meanwhile,
//! and no database, nor a file beside one, is among them. The databases' copies come last in the archive, and
//! after them the folders that they are in.
//! A target shows the archive when all of it was stored and read back, and not before.

mod assemble;
mod databases;
mod deliver;
mod files;
mod plan;

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use self::assemble::{Assembly, assemble};
use self::deliver::{Delivery, Fan, deliver};
use self::files::Hook;
use self::plan::Plan;
use super::discover::{Contents, NamedStore, Surroundings, discover};
use super::lease::{Lease, LeaseTimes};
use super::list::blocking;
use super::manifest::{FORMAT, Manifest, Outcome, Skipped, StoreRecord};
use super::target::BackupTarget;
use super::walk::walk;
use crate::cancel::{Cancel, Scope};
use crate::component::Registry;
use crate::config::BackupSettings;
use crate::error::{Error, ErrorBody, ErrorKind, Result};
use crate::store::{CheckDepth, Store};

/// A target by its name in the settings.
pub type NamedTarget = (String, Arc<dyn BackupTarget>);

/// What to back up, how, and where to.
#[derive(Debug, Clone)]
pub struct CreateJob {
    /// The service's name; it begins the archive's.
    pub service: String,
    /// The service's version, when it is known.
    pub service_version: Option<String>,
    /// The name of this machine.
    pub host: String,
    /// The service's root folder, absolute.
    pub root: PathBuf,
    /// The state folder, absolute; always left out.
    pub state: PathBuf,
    /// What a backup holds and how it is made.
    pub settings: BackupSettings,
    /// What the caller calls it.
    pub label: Option<String>,
    /// Words to find it by, and that retention may keep it by, see [`super::tags`].
    pub tags: Vec<String>,
    /// The databases in the settings.
    pub stores: Vec<NamedStore>,
    /// The kinds of stores that this build has, to recognise the databases that nobody configured.
    pub kinds: Registry<dyn Store>,
    /// Where it goes. Folders of targets that lie below the root are left out.
    pub targets: Vec<NamedTarget>,
    /// What else is left out: absolute paths, or relative to the root.
    pub leave_out: Vec<PathBuf>,
    /// How much of each database's copy is checked.
    pub check: CheckDepth,
    /// How the targets' leases are kept.
    pub lease: LeaseTimes,
}

/// What became of a backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CreateReport {
    /// The snapshot's identifier: 12 hexadecimal digits.
    pub snapshot_id: String,
    /// Whether everything was read completely.
    pub outcome: Outcome,
    /// What was not read, or not completely, or cannot be stored.
    pub skipped: Vec<Skipped>,
    /// Regular files, hard links included.
    pub files: u64,
    /// Bytes of the files' content.
    pub size_bytes: u64,
    /// Bytes of the archive.
    pub stored_bytes: u64,
    /// How long it took, in seconds.
    pub duration_seconds: f64,
    /// The archive's key in every target.
    pub key: String,
    /// What became of it in each target.
    pub targets: Vec<TargetResult>,
    /// The databases in it.
    pub stores: Vec<StoreRecord>,
}

impl CreateReport {
    /// Whether everything was read, and every target has it.
    pub fn is_healthy(&self) -> bool {
        self.outcome == Outcome::Complete && self.targets.iter().all(|target| target.error.is_none())
    }
}

/// What became of a backup in one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TargetResult {
    /// The target's name.
    pub target: String,
    /// Where it is, for people.
    pub location: String,
    /// Why the target does not have it; nothing when it has, read back.
    pub error: Option<ErrorBody>,
}

/// Makes a backup.
///
/// What could not be read is in the report, which is *partial* then. A target that fails is in the report
/// while another one has the backup.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] for settings that make no sense; what the first target says when none of them
/// took the backup: [`ErrorKind::Busy`] where another backup runs, [`ErrorKind::NoSpace`]; and
/// [`ErrorKind::Cancelled`]. After an error nothing new is visible in any target, with one exception: a
/// cancel that comes when a first target has the whole backup already leaves it there.
pub async fn create(scope: &Scope, job: CreateJob) -> Result<CreateReport> {
    create_with(scope, job, None).await
}

/// [`create`], with a hook for tests.
async fn create_with(scope: &Scope, job: CreateJob, hook: Option<Hook>) -> Result<CreateReport> {
    let started = scope.clock.monotonic();
    // Everything below stops when the caller cancels, when the caller's future is dropped, and when a part fails.
    let stop = StopOnDrop::of(scope);
    let scope = &stop.scope;
    let plan = Plan::new(scope, &job)?;
    let contents = {
        let (scope, job, walk_plan) = (scope.clone(), job.clone(), plan.walk.clone());
        blocking(move || {
            let walked = walk(&scope, &walk_plan)?;
            let around =
                Surroundings { root: &job.root, state: &job.state, configured: &job.stores, kinds: &job.kinds };
            discover(&scope, &walk_plan, walked, &around)
        })
        .await?
    };

    let mut results: Vec<Option<Error>> = Vec::new();
    let mut ready: Vec<(usize, Lease)> = Vec::new();
    for (number, (name, target)) in job.targets.iter().enumerate() {
        match prepare(scope, &job, name, target, &plan, &contents).await {
            Ok(lease) => {
                ready.push((number, lease));
                results.push(None);
            }
            Err(error) => results.push(Some(error)),
        }
        scope.cancel.check()?;
    }
    if ready.is_empty() {
        return Err(first_error(results));
    }
    let scratch = {
        let (base, allowed) = (plan.scratch.clone(), job.settings.scratch_in_memory);
        let (needed, key) = (contents.database_bytes(), plan.snapshot_id.clone());
        blocking(move || plan::make_scratch(&base, allowed, needed, &key)).await?
    };

    let (fan, queues) = Fan::new(ready.len());
    let mut seals = Vec::new();
    let mut deliveries = Vec::new();
    for ((number, lease), blocks) in ready.into_iter().zip(queues) {
        let (name, target) = job.targets[number].clone();
        let (sender, seal) = oneshot::channel();
        seals.push(sender);
        let delivery = Delivery { name, target, lease, key: plan.key.clone(), blocks, seal };
        deliveries.push((number, tokio::spawn(deliver(scope.clone(), delivery))));
    }
    let (copies_sender, copies) = mpsc::unbounded_channel();
    let scratch = Arc::new(scratch);
    let copying = tokio::spawn(databases::copy_all(
        scope.clone(),
        contents.databases.clone(),
        Arc::clone(&scratch),
        job.check,
        copies_sender,
    ));
    let assembly = Assembly {
        root: job.root.clone(),
        manifest: plan.manifest(&job, &contents),
        contents,
        options: plan.options,
        copies,
        fan,
        hook,
    };
    let assembled = {
        let scope = scope.clone();
        blocking(move || assemble(&scope, assembly)).await
    };

    // The seal lets the targets go on; without it they give up. Either way everybody is waited for, so that
    // nothing works on behind the caller's back.
    match &assembled {
        Ok((_, seal)) => {
            for sender in seals {
                // A target that has left already does not want it.
                let _ = sender.send(*seal);
            }
        }
        Err(_) => {
            drop(seals);
            stop.now();
        }
    }
    for (number, delivery) in deliveries {
        let delivered = delivery.await.map_err(|error| Error::internal(format!("a delivery did not end: {error}")));
        results[number] = delivered.and_then(|delivered| delivered).err();
    }
    let _ = copying.await;
    blocking(move || {
        drop(scratch);
        Ok(())
    })
    .await?;
    let (manifest, seal) = match assembled {
        Ok(assembled) => assembled,
        // When every target failed the stream had nowhere to go, and they know why.
        Err(error) if results.iter().all(Option::is_some) && !stop.by_caller() => {
            return Err(first_cause(results, error));
        }
        Err(error) => {
            // A cancel reaches the parts in any order: the first to stop may blame another that stopped too.
            stop.caller.check()?;
            return Err(error);
        }
    };
    if results.iter().all(Option::is_some) {
        return Err(first_error(results));
    }
    let targets = job.targets.iter().zip(&results).map(|((name, target), error)| TargetResult {
        target: name.clone(),
        location: target.capability().location,
        error: error.as_ref().map(Error::to_body),
    });
    Ok(CreateReport {
        snapshot_id: manifest.snapshot_id,
        outcome: manifest.outcome,
        skipped: manifest.skipped,
        files: manifest.files,
        size_bytes: manifest.size_bytes,
        stored_bytes: seal.stored_bytes,
        duration_seconds: scope.clock.monotonic().saturating_sub(started).as_secs_f64(),
        key: plan.key,
        targets: targets.collect(),
        stores: manifest.stores,
    })
}

/// Takes a target's lease and asks for its room.
async fn prepare(
    scope: &Scope,
    job: &CreateJob,
    name: &str,
    target: &Arc<dyn BackupTarget>,
    plan: &Plan,
    contents: &Contents,
) -> Result<Lease> {
    plan.check_room(scope, job, name, target, contents).await?;
    Lease::acquire(scope, name, Arc::clone(target), &job.host, job.lease).await
}

fn first_error(results: Vec<Option<Error>>) -> Error {
    results.into_iter().flatten().next().unwrap_or_else(|| Error::internal("a backup failed without an error"))
}

/// Why the assembly failed: what a target said, unless the targets only followed it.
fn first_cause(results: Vec<Option<Error>>, assembly: Error) -> Error {
    let said = results.into_iter().flatten().find(|error| error.kind() != ErrorKind::Cancelled);
    match said {
        Some(error) if assembly.message() == deliver::NO_TARGET_LEFT => error,
        _ => assembly,
    }
}

/// A scope of our own under the caller's: cancelled with it, when something fails, and when dropped.
struct StopOnDrop {
    scope: Scope,
    caller: Cancel,
    watcher: tokio::task::JoinHandle<()>,
}

impl StopOnDrop {
    fn of(scope: &Scope) -> Self {
        let caller = scope.cancel.clone();
        let inner = Cancel::new();
        let watcher = tokio::spawn({
            let (caller, inner) = (caller.clone(), inner.clone());
            async move {
                caller.cancelled().await;
                inner.cancel();
            }
        });
        if caller.is_cancelled() {
            inner.cancel();
        }
        Self { scope: Scope { cancel: inner, ..scope.clone() }, caller, watcher }
    }

    fn now(&self) {
        self.scope.cancel.cancel();
    }

    fn by_caller(&self) -> bool {
        self.caller.is_cancelled()
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.watcher.abort();
        self.scope.cancel.cancel();
    }
}

impl Plan {
    fn manifest(&self, job: &CreateJob, contents: &Contents) -> Manifest {
        Manifest {
            format: FORMAT,
            snapshot_id: self.snapshot_id.clone(),
            service: job.service.clone(),
            service_version: job.service_version.clone(),
            host: job.host.clone(),
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            label: job.label.clone(),
            tags: self.tags.clone(),
            time: self.time,
            outcome: Outcome::Complete,
            includes: contents.includes.clone(),
            excludes: job.settings.exclude.clone(),
            stores: Vec::new(),
            skipped: Vec::new(),
            files: 0,
            entries: 0,
            size_bytes: 0,
        }
    }
}

#[cfg(test)]
mod tests;
