//! What is settled before a byte is read: the settings, the names, the room.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::archive::WriteOptions;
use super::super::discover::Contents;
use super::super::layout::Layout;
use super::super::list::{archive_key, last_ratio};
use super::super::pool::threads;
use super::super::repository::id::SnapshotId;
use super::super::repository::names::snapshot as snapshot_key;
use super::super::scratch::Scratch;
use super::super::tags;
use super::super::target::BackupTarget;
use super::super::walk::WalkPlan;
use super::CreateJob;
use crate::backup::restore::AREA_PREFIX;
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::fs;
use crate::value::{ByteSize, random_hex};

/// What the archive needs beside the content: headers, indexes, and room for being wrong.
const MARGIN: u64 = 1 << 20;

/// What is settled before a byte is read.
pub(super) struct Plan {
    pub(super) layout: Layout,
    pub(super) walk: WalkPlan,
    pub(super) snapshot_id: String,
    pub(super) time: Timestamp,
    pub(super) tags: Vec<String>,
    pub(super) key: String,
    pub(super) scratch: PathBuf,
    pub(super) options: WriteOptions,
}

impl Plan {
    pub(super) fn new(scope: &Scope, job: &CreateJob) -> Result<Self> {
        let settings = &job.settings;
        if job.targets.is_empty() {
            return Err(Error::invalid("there is no target to back up to")
                .with_hint("add a [[target]] to ops.toml: kind = \"fs\", path = \"/backup/…\""));
        }
        let layout = match settings.layout.as_deref() {
            None => Layout::default(),
            Some(name) => Layout::named(name).ok_or_else(|| {
                Error::invalid(format!("backup.layout is {name:?}, which is no layout"))
                    .with_hint("use \"repository\" or \"archive\"")
            })?,
        };
        let level = settings.level.unwrap_or(layout.level());
        if !(1..=19).contains(&level) {
            return Err(Error::invalid(format!("backup.level is {level}, not a level from 1 to 19"))
                .with_hint("use 3; 19 takes ten times as long for a few percent"));
        }
        let scratch = match &settings.scratch {
            Some(scratch) => job.root.join(scratch),
            None => job.state.join("scratch"),
        };
        if !settings.scratch_in_memory && fs::is_in_memory(&scratch)? {
            return Err(Scratch::in_memory(&scratch));
        }
        let walk = walk_plan(job, &scratch)?;
        let threads = threads(settings.threads).min(64);
        let (snapshot_id, time) = (random_hex(12)?, job.time.unwrap_or_else(|| scope.clock.now()));
        let key = match layout {
            Layout::Archive => archive_key(&job.service, time, &snapshot_id, job.keys.is_some()),
            Layout::Repository => snapshot_key(time, parse_id(&snapshot_id)?),
        };
        Ok(Self {
            layout,
            key,
            walk,
            snapshot_id,
            time,
            tags: tags::tidy(&job.tags)?,
            scratch,
            options: WriteOptions { level, threads, ..WriteOptions::default() },
        })
    }

    /// Looks again for what is left out: folders of the product's own that were made since.
    pub(super) fn look_again(&mut self, job: &CreateJob) -> Result<()> {
        self.walk = walk_plan(job, &self.scratch)?;
        Ok(())
    }

    /// Refuses a target that has too little room for what was found. The last backup there says how well the
    /// service compresses; without one it counts as if it did not.
    pub(super) async fn check_room(
        &self,
        scope: &Scope,
        job: &CreateJob,
        name: &str,
        target: &Arc<dyn BackupTarget>,
        contents: &Contents,
        has_snapshots: bool,
    ) -> Result<()> {
        let Some(free) = target.free_bytes(scope).await? else { return Ok(()) };
        // A repository that has snapshots grows by what changed, which nobody knows before.
        let content = if has_snapshots { 0 } else { contents.disk_bytes() };
        let mut needed = content + MARGIN;
        if needed > free
            && let Some(ratio) = last_ratio(scope, target, &job.keys, &job.service).await?
        {
            needed = (content as f64 * (ratio * 1.25).min(1.0)) as u64 + MARGIN;
        }
        let capability = target.capability();
        if capability.kind == "fs" && same_device(Path::new(&capability.location), &self.scratch)? {
            needed += contents.database_bytes();
        }
        if needed <= free {
            return Ok(());
        }
        let (needed, free) = (ByteSize(needed), ByteSize(free));
        Err(Error::new(ErrorKind::NoSpace, format!("target {name:?} has {free} free, the backup may need {needed}"))
            .with_context("target", name)
            .with_hint(format!("free space in {}, or name another [[target]]", capability.location)))
    }
}

/// What to walk: all that is asked for, but not the product's own places.
fn walk_plan(job: &CreateJob, scratch: &Path) -> Result<WalkPlan> {
    let mut leave_out = job.leave_out.clone();
    leave_out.extend([job.state.clone(), scratch.to_owned()]);
    leave_out.extend(job.targets.iter().filter_map(|(_, target)| target.capability().folder));
    // What restores replaced is no part of the service, wherever it had to be kept.
    let mut exclude = job.settings.exclude.clone();
    exclude.push(format!("**/{AREA_PREFIX}*"));
    WalkPlan::new(&job.root, &job.settings.include, &exclude, &leave_out)
}

/// The snapshot's id as a repository has it.
pub(super) fn parse_id(snapshot_id: &str) -> Result<SnapshotId> {
    SnapshotId::parse(snapshot_id.as_bytes())
        .ok_or_else(|| Error::internal(format!("{snapshot_id:?} is no id of a snapshot")))
}

/// Makes the scratch folder of this run, where the databases' copies have room.
pub(super) fn make_scratch(base: &Path, allow_in_memory: bool, needed: u64, snapshot_id: &str) -> Result<Scratch> {
    let scratch = Scratch::create(base, allow_in_memory)?;
    let free = fs::space(base)?.free_bytes;
    if needed > 0 && needed.saturating_add(MARGIN) > free {
        let (needed, free) = (ByteSize(needed), ByteSize(free));
        return Err(Error::new(
            ErrorKind::NoSpace,
            format!("the scratch folder {base:?} has {free} free, the copies of the databases need {needed}"),
        )
        .with_context("snapshot", snapshot_id)
        .with_hint("free space there, or set backup.scratch to a folder on another disk"));
    }
    Ok(scratch)
}

fn same_device(a: &Path, b: &Path) -> Result<bool> {
    let device = |path: &Path| fs::identity(&fs::nearest_existing(path)).map(|id| id.map(|(device, _)| device));
    Ok(device(a)?.is_some() && device(a)? == device(b)?)
}
