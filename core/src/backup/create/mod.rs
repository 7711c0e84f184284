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
mod moments;
mod parts;
mod plan;
mod ready;
mod secrets;

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use self::assemble::{Assembly, assemble};
use self::files::Hook;
use self::moments::Moments;
use self::parts::NO_TARGET_LEFT;
use self::plan::Plan;
use self::ready::{Ready, Started, TargetTask, start};
use super::discover::{Contents, NamedStore, Surroundings, discover};
use super::layout::Finished;
use super::lease::LeaseTimes;
use super::list::blocking;
use super::manifest::{ConsistencyGroup, FORMAT, Manifest, Outcome, Skipped, StoreRecord};
use super::pause::Pauser;
use super::repository::cache::files::FileTablePlace;
use super::repository::packs::GONE;
use super::seal::{Fingerprint, Keys};
use super::target::BackupTarget;
use super::walk::{Found, walk};
use crate::cancel::{Cancel, Scope};
use crate::clock::Timestamp;
use crate::component::Registry;
use crate::config::BackupSettings;
use crate::error::{Error, ErrorBody, Result};
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
    /// Who pauses the service while its databases are copied.
    pub pause: Option<Arc<dyn Pauser>>,
    /// The time of the snapshot; now when unset.
    pub time: Option<Timestamp>,
    /// What it is encrypted to. Stored in clear without.
    pub keys: Keys,
    /// Whether a target may have lost the repository that this host stored into, or have another one: it goes on with what
    /// is there, and begins a repository where there is none.
    pub anew: bool,
}

impl CreateJob {
    /// A backup of a folder with the settings' defaults, to no target yet.
    pub fn new(root: PathBuf, state: PathBuf, kinds: Registry<dyn Store>) -> Self {
        Self {
            service: "service".to_owned(),
            service_version: None,
            host: "localhost".to_owned(),
            root,
            state,
            settings: BackupSettings::default(),
            label: None,
            tags: Vec::new(),
            stores: Vec::new(),
            kinds,
            targets: Vec::new(),
            leave_out: Vec::new(),
            check: CheckDepth::Quick,
            lease: LeaseTimes::default(),
            pause: None,
            time: None,
            keys: None,
            anew: false,
        }
    }
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
    /// Bytes of the archive, or what this run added to the repository.
    pub stored_bytes: u64,
    /// How long it took, in seconds.
    pub duration_seconds: f64,
    /// The key of the archive, or of the snapshot's header, in every target.
    pub key: String,
    /// What became of it in each target.
    pub targets: Vec<TargetResult>,
    /// The databases in it.
    pub stores: Vec<StoreRecord>,
    /// Which moments it is of.
    pub group: Option<ConsistencyGroup>,
    /// The fingerprint of the key that it is encrypted to. Nothing when it is stored in clear.
    pub encrypted_to: Option<Fingerprint>,
}

impl CreateReport {
    /// Whether everything was read, of one moment where that was asked, and every target has it.
    pub fn is_healthy(&self) -> bool {
        self.outcome == Outcome::Complete
            && self.targets.iter().all(|target| target.error.is_none())
            && self.group.as_ref().is_none_or(|group| group.consistent || !group.asked)
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
/// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for settings that make no sense; what the first target says when none of them
/// took the backup: [`ErrorKind::Busy`](crate::ErrorKind::Busy) where another backup runs, [`ErrorKind::NoSpace`](crate::ErrorKind::NoSpace); and
/// [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled). After an error nothing new is visible in any target, with one exception: a
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
    let mut plan = Plan::new(scope, &job)?;
    // Repositories first: what they know from the last run, nobody opens.
    let mut results: Vec<Option<Error>> = Vec::new();
    let mut opened: Vec<Ready> = Vec::new();
    for (number, target) in job.targets.iter().enumerate() {
        match Ready::open(scope, &job, plan.layout, number, target).await {
            Ok(ready) => {
                opened.push(ready);
                results.push(None);
            }
            Err(error) => results.push(Some(error)),
        }
        scope.cancel.check()?;
    }
    if opened.is_empty() {
        return Err(first_error(results));
    }
    plan.look_again(&job)?;
    let (moments, hold) = Moments::begin(scope, job.pause.as_ref()).await?;
    let contents = {
        let (scope, job, walk_plan) = (scope.clone(), job.clone(), plan.walk.clone());
        let prepared = opened.iter().filter_map(|ready| ready.prepared.as_ref());
        let tables: Vec<_> = prepared.map(|prepared| prepared.files.clone()).collect();
        blocking(move || {
            let walked = walk(&scope, &walk_plan)?;
            let around =
                Surroundings { root: &job.root, state: &job.state, configured: &job.stores, kinds: &job.kinds };
            let mut tables: Vec<_> = tables.iter().map(FileTablePlace::open).collect();
            // What is no database in one of them is none.
            let mut is_ordinary = |found: &Found| tables.iter_mut().filter_map(|table| table.find(found)).count() > 0;
            let contents = discover(&scope, &walk_plan, walked, &around, &mut is_ordinary)?;
            secrets::refuse_in_clear(&job, &contents)?;
            Ok(contents)
        })
        .await?
    };

    let mut ready: Vec<Ready> = Vec::new();
    for mut opened in opened {
        let (number, (name, target)) = (opened.number, &job.targets[opened.number]);
        let prepared = async {
            plan.check_room(scope, &job, name, target, &contents, opened.has_snapshots()).await?;
            opened.take_lease(scope, &job, name, target).await
        };
        match prepared.await {
            Ok(()) => ready.push(opened),
            Err(error) => results[number] = Some(error),
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

    let memories: Vec<_> = ready.iter().map(Ready::to_remember).collect();
    let Started { mut tee, deliveries } = start(scope, &job, &plan, ready)?;
    let known: Vec<Option<StoreRecord>> =
        contents.databases.iter().map(|database| tee.knows_database(database)).collect();
    let known: Vec<_> =
        known.into_iter().map(|record| record.map(|record| StoreRecord { taken_at: plan.time, ..record })).collect();
    let to_copy = contents.databases.iter().zip(&known).filter(|(_, known)| known.is_none());
    let to_copy = to_copy.map(|(database, _)| database.clone()).collect();
    let (copies_sender, copies) = mpsc::unbounded_channel();
    let scratch = Arc::new(scratch);
    let copying =
        tokio::spawn(databases::copy_all(scope.clone(), to_copy, Arc::clone(&scratch), job.check, copies_sender, hold));
    let assembly = Assembly {
        root: job.root.clone(),
        manifest: plan.manifest(&job, &contents),
        moments,
        contents,
        known,
        copies,
        hook,
    };
    // With the writers go the targets' tasks: those that have everything show it, the others give up.
    let assembled = {
        let scope = scope.clone();
        blocking(move || {
            let assembled = assemble(&scope, assembly, &mut tee);
            Ok((assembled, tee.into_results()))
        })
        .await
    };
    let (assembled, parts) = match assembled {
        Ok((assembled, parts)) => (assembled, parts),
        Err(error) => (Err(error), Vec::new()),
    };
    if assembled.is_err() {
        stop.now();
    }
    // Everybody is waited for, so that nothing works on behind the caller's back.
    let _ = copying.await;
    let clearing = tokio::task::spawn_blocking(move || drop(scratch));
    let mut part_of = vec![None; job.targets.len()];
    for TargetTask { number, part, task } in deliveries {
        part_of[number] = Some(part);
        let delivered = task.await.map_err(|error| Error::internal(format!("a delivery did not end: {error}")));
        results[number] = delivered.and_then(|delivered| delivered).err();
    }
    let _ = clearing.await;
    if let Err(error) = assembled
        && (results.iter().any(Option::is_none) || stop.by_caller() || error.message() != NO_TARGET_LEFT)
    {
        // A cancel reaches the parts in any order: the first to stop may blame another that stopped too.
        stop.caller.check()?;
        return Err(error);
    }
    let mut done = Vec::new();
    for (number, part) in parts.into_iter().enumerate() {
        let mut feeds = results.iter_mut().zip(&part_of).filter(|(_, part)| **part == Some(number));
        match part {
            Ok(finished) if feeds.any(|(result, _)| result.is_none()) => done.push(finished),
            Ok(_) => {}
            // A part that failed because its targets had left: why, they know. Otherwise they only followed it.
            Err(error) if error.message() == deliver::NO_TARGET_LEFT || error.message() == GONE => {}
            Err(error) => feeds.for_each(|(result, _)| *result = Some(copy_of(&error))),
        }
    }
    if results.iter().all(Option::is_some) {
        return Err(first_error(results));
    }
    let mut done = done.into_iter();
    let Some(first) = done.next() else { return Err(first_error(results)) };
    let Finished { manifest, stored_bytes, keep } = first;
    let keep: Vec<_> = keep.into_iter().chain(done.filter_map(|finished| finished.keep)).collect();
    let stored = memories.into_iter().filter(|(number, ..)| results[*number].is_none());
    let (stored, now): (Vec<_>, _) = (stored.collect(), scope.clock.now());
    blocking(move || {
        // What makes the next run safer, and faster; this one has succeeded without.
        stored.into_iter().for_each(|(_, memory, stored_in)| drop(memory.keep(stored_in, now)));
        keep.into_iter().for_each(|keep| drop(keep()));
        Ok(())
    })
    .await?;
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
        stored_bytes,
        duration_seconds: scope.clock.monotonic().saturating_sub(started).as_secs_f64(),
        key: plan.key,
        targets: targets.collect(),
        stores: manifest.stores,
        group: manifest.group,
        encrypted_to: manifest.encrypted_to,
    })
}

fn first_error(results: Vec<Option<Error>>) -> Error {
    results.into_iter().flatten().next().unwrap_or_else(|| Error::internal("a backup failed without an error"))
}

/// The same error, for another target.
fn copy_of(error: &Error) -> Error {
    Error::from(error.to_body())
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
            group: None,
            skipped: Vec::new(),
            files: 0,
            entries: 0,
            size_bytes: 0,
            encrypted_to: job.keys.as_ref().map(|keys| keys.fingerprint()),
        }
    }
}

#[cfg(test)]
mod tests;
