//! Targets made ready for a run, and the two ends that each of them gets: a writer here, a task there.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::super::blocks::{Objects, list_all};
use super::super::layout::Layout;
use super::super::lease::Lease;
use super::super::list::{SEALED_SUFFIX, blocking};
use super::super::memory::Memory;
use super::super::repository::cache::CacheOf;
use super::super::repository::deliver::RepositoryDelivery;
use super::super::repository::id::RepositoryId;
use super::super::repository::prepare::Prepared;
use super::super::repository::write::{RepositoryWriter, WriteJob};
use super::super::seal::SUMMARY_SUFFIX;
use super::super::target::BackupTarget;
use super::deliver::{Delivery, Fan, deliver};
use super::parts::{ArchivePart, Tee};
use super::plan::{Plan, parse_id};
use super::{CreateJob, NamedTarget};
use crate::cancel::Scope;
use crate::error::Result;

/// How many blocks of a pack wait for a target.
const QUEUE: usize = 4;

/// A target that is ready to take a backup.
pub(super) struct Ready {
    /// Its number among the targets of the job.
    pub(super) number: usize,
    pub(super) lease: Option<Lease>,
    /// The repository in it, where that is the layout.
    pub(super) prepared: Option<Prepared>,
    /// What was known of it, to be noted anew when the backup is stored.
    pub(super) memory: Memory,
}

impl Ready {
    /// Opens the repository in a target, if that is the layout.
    pub(super) async fn open(
        scope: &Scope,
        job: &CreateJob,
        layout: Layout,
        number: usize,
        (name, target): &NamedTarget,
    ) -> Result<Self> {
        let objects = Objects::new(scope, Arc::clone(target));
        let (state, named, asked, anew) = (job.state.clone(), name.clone(), objects.clone(), job.anew);
        // Who only opens the repository looks by that. Otherwise it comes before the first byte goes there, be it a key or a lease.
        let looks_later = layout == Layout::Repository && job.keys.is_none() && target.capability().put_if_absent;
        let mut memory = blocking(move || {
            let mut memory = Memory::load(&state, &named, asked.target(), anew);
            if !looks_later {
                memory.look(&asked)?;
            }
            Ok(memory)
        })
        .await?;
        if let Some(keys) = &job.keys {
            let named = (name.clone(), Arc::clone(target));
            keys.provide(scope, &keys.fingerprint(), &named, &job.targets).await?;
        }
        if layout == Layout::Archive {
            return Ok(Self { number, lease: None, prepared: None, memory });
        }
        // Objects that are created only if they are absent need nobody to stand in line.
        let lease = match target.capability().put_if_absent {
            true => None,
            false => Some(Lease::acquire(scope, name, Arc::clone(target), &job.host, job.lease).await?),
        };
        let (state, made_for, keys) = (job.state.clone(), made_for(job), job.keys.clone());
        let prepared = blocking(move || {
            let prepared = Prepared::open(&objects, &keys, (&state, CacheOf::Backups), &mut memory, &made_for)?;
            Ok((prepared, memory))
        });
        match prepared.await {
            Ok((prepared, memory)) => Ok(Self { number, lease, prepared: Some(prepared), memory }),
            Err(error) => {
                if let Some(lease) = lease {
                    let _ = lease.release().await;
                }
                Err(error)
            }
        }
    }

    /// Takes the lease, where it is not needed before.
    pub(super) async fn take_lease(
        &mut self,
        scope: &Scope,
        job: &CreateJob,
        name: &str,
        target: &Arc<dyn BackupTarget>,
    ) -> Result<()> {
        if self.prepared.is_none() {
            self.lease = Some(Lease::acquire(scope, name, Arc::clone(target), &job.host, job.lease).await?);
            if job.keys.is_some() {
                sweep_summaries(scope, &**target).await?;
            }
        }
        Ok(())
    }

    /// What is known of the target: its number, and the repository that the backup is stored into.
    pub(super) fn to_remember(&self) -> (usize, Memory, Option<RepositoryId>) {
        let stored_in = self.prepared.as_ref().map(|prepared| prepared.repository.id);
        (self.number, self.memory.clone(), stored_in)
    }

    /// Whether the target has snapshots of this layout's kind that share what they have.
    pub(super) fn has_snapshots(&self) -> bool {
        self.prepared.as_ref().is_some_and(|prepared| prepared.previous.is_some())
    }
}

/// Removes the summaries of archives that a run was putting when it ended. Whoever holds the lease is alone.
async fn sweep_summaries(scope: &Scope, target: &dyn BackupTarget) -> Result<()> {
    let objects = list_all(scope, target, "").await?;
    for object in &objects {
        let of_archive = object.key.strip_suffix(SUMMARY_SUFFIX).filter(|key| key.ends_with(SEALED_SUFFIX));
        if of_archive.is_some_and(|key| objects.iter().all(|object| object.key != key)) {
            target.delete(scope, &object.key).await?;
        }
    }
    Ok(())
}

/// What a file table must have been made by, so that its files are known to be no databases.
fn made_for(job: &CreateJob) -> String {
    let mut kinds: Vec<&str> = job.kinds.kinds().filter(|kind| kind.detect.is_some()).map(|kind| kind.name).collect();
    kinds.sort_unstable();
    format!("{} {}", env!("CARGO_PKG_VERSION"), kinds.join(","))
}

/// The writers of a run, and the tasks of its targets.
pub(super) struct Started {
    pub(super) tee: Tee,
    pub(super) deliveries: Vec<TargetTask>,
}

/// The task of a target.
pub(super) struct TargetTask {
    /// Its number among the targets of the job.
    pub(super) number: usize,
    /// The number of the part that feeds it.
    pub(super) part: usize,
    pub(super) task: JoinHandle<Result<()>>,
}

/// Starts a task for each target, and makes the writers that feed them.
pub(super) fn start(scope: &Scope, job: &CreateJob, plan: &Plan, ready: Vec<Ready>) -> Result<Started> {
    let (repositories, archives): (Vec<Ready>, Vec<Ready>) =
        ready.into_iter().partition(|ready| ready.prepared.is_some());
    let mut started = Started { tee: Tee::default(), deliveries: Vec::new() };
    let mut parts = 0;
    for Ready { number, lease, prepared, .. } in repositories {
        let Some(prepared) = prepared else { continue };
        let (name, target) = job.targets[number].clone();
        let (sender, steps) = mpsc::channel(QUEUE);
        let write = WriteJob {
            snapshot: parse_id(&plan.snapshot_id)?,
            time: plan.time,
            tags: plan.tags.clone(),
            compression: (plan.options.level, plan.options.threads),
        };
        started.tee.push(Box::new(RepositoryWriter::new(scope, prepared, write, sender)?));
        let task =
            tokio::spawn(RepositoryDelivery { name, target, lease, steps, keys: job.keys.clone() }.run(scope.clone()));
        started.deliveries.push(TargetTask { number, part: parts, task });
        parts += 1;
    }
    let (fan, queues) = Fan::new(archives.len());
    let mut seals = Vec::new();
    let any = !archives.is_empty();
    for (Ready { number, lease, .. }, blocks) in archives.into_iter().zip(queues) {
        let Some(lease) = lease else { continue };
        let (name, target) = job.targets[number].clone();
        let (sender, seal) = oneshot::channel();
        seals.push(sender);
        let delivery = Delivery { name, target, lease, key: plan.key.clone(), keys: job.keys.clone(), blocks, seal };
        started.deliveries.push(TargetTask {
            number,
            part: parts,
            task: tokio::spawn(deliver(scope.clone(), delivery)),
        });
    }
    if any {
        started.tee.push(Box::new(ArchivePart::new(scope, plan, &job.keys, fan, seals)?));
    }
    Ok(started)
}
