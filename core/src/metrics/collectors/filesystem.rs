//! `filesystem`: how much room there is, in bytes and in inodes.
//!
//! | family | tells |
//! | --- | --- |
//! | `uplifted_ops_filesystem_size_bytes` | all of it |
//! | `uplifted_ops_filesystem_free_bytes` | what is free, with what is kept for root |
//! | `uplifted_ops_filesystem_avail_bytes` | what this user may still write |
//! | `uplifted_ops_filesystem_files`, `…_files_free` | inodes, where the filesystem counts them |
//! | `uplifted_ops_filesystem_readonly` | 1 where nothing can be written |
//! | `uplifted_ops_filesystem_device_error` | 1 where it did not answer in time; it then has no other series |
//!
//! Labels: `device`, `fstype`, `mountpoint`. A filesystem that is mounted in several places is told once, at the one with the
//! shortest path. Left out are the kinds of `metrics.filesystem_exclude_types` (those without a disk below them, and the
//! ones that are always full) and the places of `metrics.filesystem_exclude_mounts`.
//!
//! Sources: statvfs(3), proc_pid_mountinfo(5); the names are those of node_exporter's `filesystem` collector.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::patient::{Patient, Question};
use super::{Collected, Collector, gauge};
use crate::config::{MetricsSettings, excluded};
use crate::error::Result;
use crate::metrics::kernel::Kernel;
use crate::metrics::kernel::mount::Mount;

/// What a filesystem says about itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Room {
    size: f64,
    free: f64,
    avail: f64,
    files: f64,
    files_free: f64,
}

/// Asks each filesystem for its room.
pub(super) struct Filesystems {
    kernel: Kernel,
    without_types: Vec<String>,
    without_mounts: Vec<String>,
    deadline: Duration,
    patient: Patient,
    question: Question<Option<Room>>,
}

impl Filesystems {
    pub(super) fn new(kernel: Kernel, settings: &MetricsSettings) -> Result<Self> {
        let root = kernel.clone();
        Ok(Self {
            without_types: settings.filesystem_exclude_types.clone(),
            without_mounts: settings.filesystem_exclude_mounts.clone(),
            deadline: settings.collector_deadline()?,
            patient: Patient::default(),
            question: Arc::new(move |point| ask(&root, point)),
            kernel,
        })
    }

    /// With another way to ask.
    #[cfg(test)]
    pub(super) fn asking(mut self, question: Question<Option<Room>>) -> Self {
        self.question = question;
        self
    }

    /// What is told of, each filesystem once.
    fn wanted(&self) -> Result<Vec<Mount>> {
        let mut by_device: BTreeMap<String, Mount> = BTreeMap::new();
        // What is mounted later hides what was mounted at the same place before.
        let mut by_point: BTreeMap<_, Mount> = BTreeMap::new();
        for mount in self.kernel.mounts()? {
            by_point.insert(mount.point.clone(), mount);
        }
        for mount in by_point.into_values() {
            let point = mount.point.to_string_lossy();
            if excluded(&self.without_types, &mount.kind) || excluded(&self.without_mounts, &point) {
                continue;
            }
            let rank = |mount: &Mount| (mount.read_only(), mount.point.as_os_str().len());
            match by_device.get(&mount.device) {
                Some(known) if rank(known) <= rank(&mount) => {}
                _ => {
                    by_device.insert(mount.device.clone(), mount);
                }
            }
        }
        let mut wanted: Vec<Mount> = by_device.into_values().collect();
        // Who may hang is asked last, so that nobody waits behind him.
        wanted.sort_by_key(|mount| is_remote(&mount.kind));
        Ok(wanted)
    }
}

/// Whether somebody else answers for the filesystem: a server, or a program of this machine.
fn is_remote(kind: &str) -> bool {
    const KINDS: [&str; 12] =
        ["9p", "afs", "beegfs", "ceph", "cifs", "fuse", "glusterfs", "lustre", "ncpfs", "nfs", "smb", "virtiofs"];
    KINDS.iter().any(|remote| kind.starts_with(remote))
}

/// A room of 0 bytes belongs to a filesystem without a disk, which node_exporter leaves out as well.
fn ask(kernel: &Kernel, point: &str) -> Option<Room> {
    let stat = rustix::fs::statvfs(kernel.path(point)).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize) as f64;
    Some(Room {
        size: bytes(stat.f_blocks),
        free: bytes(stat.f_bfree),
        avail: bytes(stat.f_bavail),
        files: stat.f_files as f64,
        files_free: stat.f_ffree as f64,
    })
}

impl Collector for Filesystems {
    fn name(&self) -> &str {
        "filesystem"
    }

    fn collect(&self, out: &mut Collected) -> Result<()> {
        let mounts = self.wanted()?;
        let points: Vec<String> = mounts.iter().map(|mount| mount.point.to_string_lossy().into_owned()).collect();
        let rooms = self.patient.ask(&points, &self.question, self.deadline);
        let mut size = gauge("uplifted_ops_filesystem_size_bytes", "Size of the filesystem in bytes");
        let mut free = gauge("uplifted_ops_filesystem_free_bytes", "Free bytes, with those kept for root");
        let mut avail = gauge("uplifted_ops_filesystem_avail_bytes", "Bytes that this user may still write");
        let mut files = gauge("uplifted_ops_filesystem_files", "Inodes of the filesystem");
        let mut files_free = gauge("uplifted_ops_filesystem_files_free", "Free inodes of the filesystem");
        let mut readonly = gauge("uplifted_ops_filesystem_readonly", "1 where nothing can be written");
        let mut failed = gauge("uplifted_ops_filesystem_device_error", "1 where the filesystem did not answer in time");
        for ((mount, point), room) in mounts.iter().zip(&points).zip(rooms) {
            let labels = [("device", mount.source.as_str()), ("fstype", &mount.kind), ("mountpoint", point)];
            let Some(Some(room)) = room else {
                failed = failed.number(&labels, 1.0);
                continue;
            };
            if room.size <= 0.0 {
                continue;
            }
            failed = failed.number(&labels, 0.0);
            readonly = readonly.number(&labels, if mount.read_only() { 1.0 } else { 0.0 });
            size = size.number(&labels, room.size);
            free = free.number(&labels, room.free);
            avail = avail.number(&labels, room.avail);
            // btrfs and some network filesystems make inodes as they need them, and say 0.
            if room.files > 0.0 {
                files = files.number(&labels, room.files);
                files_free = files_free.number(&labels, room.files_free);
            }
        }
        [size, free, avail, files, files_free, readonly, failed].into_iter().try_for_each(|family| out.push(family))
    }
}

#[cfg(test)]
impl Room {
    /// A filesystem of which a quarter is free.
    pub(super) fn quarter(size: f64) -> Self {
        Self { size, free: size / 4.0, avail: size / 5.0, files: 100.0, files_free: 60.0 }
    }
}
