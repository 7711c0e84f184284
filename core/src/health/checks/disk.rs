//! `disk`: is there room, in bytes and in inodes, where the service writes.
//!
//! ```toml
//! [[check]]
//! name = "disk"
//! kind = "disk"
//! paths = ["data", "/backup/uplifted"]   # the root and the state folder unless set
//! warn_free_ratio = 0.10                 # the defaults
//! fail_free_ratio = 0.05
//! enough_free_bytes = "100GiB"           # with this much free, no share is too small
//! warn_free_bytes = "1GiB"
//! fail_free_bytes = "256MiB"
//! ```
//!
//! Each filesystem that holds one of the paths is judged once. Those in memory (tmpfs, ramfs) are left out unless
//! a path names them, and those that cannot be written are left out, since their fill never changes. An overlay
//! is judged: its numbers are those of the disk that the service's container writes to. A filesystem that the
//! kernel has turned read-only after an error is a failure.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Finding, ratio, worst};
use crate::cancel::Scope;
use crate::component::{Kind, Placement};
use crate::error::{Error, Result};
use crate::fs::nearest_existing;
use crate::health::{Blocking, CheckOutcome, CheckStatus, HealthCheck};
use crate::value::ByteSize;

/// The kind, for the registry.
pub const KIND: Kind<dyn HealthCheck> = Kind {
    name: "disk",
    summary: "There is room, in bytes and in inodes, where the service writes",
    placement: Placement::Anywhere,
    build: |context, settings| {
        let settings: DiskSettings = context.settings(settings)?;
        let named = settings.paths.iter().map(|path| context.resolve(path)).collect();
        Ok(Arc::new(DiskCheck::new(named, vec![context.root.clone(), context.state.clone()], settings)?))
    },
    detect: None,
};

/// Settings of [`DiskCheck`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DiskSettings {
    /// The files or folders whose filesystems are judged. The service's own ones when empty.
    pub paths: Vec<PathBuf>,
    /// Warn when less than this share is free.
    pub warn_free_ratio: f64,
    /// Fail when less than this share is free.
    pub fail_free_ratio: f64,
    /// With this much free, no share is too small: a tenth of a large disk is a lot.
    pub enough_free_bytes: ByteSize,
    /// Warn when less than this is free, on filesystems at least ten times as large.
    pub warn_free_bytes: ByteSize,
    /// Fail when less than this is free, on filesystems at least ten times as large.
    pub fail_free_bytes: ByteSize,
    /// Warn when less than this share of the inodes is free, where the filesystem counts them.
    pub warn_free_inode_ratio: f64,
    /// Fail when less than this share of the inodes is free.
    pub fail_free_inode_ratio: f64,
}

impl Default for DiskSettings {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            warn_free_ratio: 0.10,
            fail_free_ratio: 0.05,
            enough_free_bytes: ByteSize(100 << 30),
            warn_free_bytes: ByteSize(1 << 30),
            fail_free_bytes: ByteSize(256 << 20),
            warn_free_inode_ratio: 0.10,
            fail_free_inode_ratio: 0.02,
        }
    }
}

/// Asks the filesystems of some paths for their room.
#[derive(Debug)]
pub struct DiskCheck {
    named: Vec<PathBuf>,
    used: Vec<PathBuf>,
    settings: Arc<DiskSettings>,
    asking: Blocking,
}

impl DiskCheck {
    /// A check of the paths that somebody `named`, or else of those that the service `used`s by itself: root,
    /// state, and the folders of databases and targets. All absolute; a missing one stands for its nearest parent.
    ///
    /// # Errors
    /// When a share is not from 0 to 1.
    pub fn new(named: Vec<PathBuf>, used: Vec<PathBuf>, settings: DiskSettings) -> Result<Self> {
        ratio("warn_free_ratio", settings.warn_free_ratio)?;
        ratio("fail_free_ratio", settings.fail_free_ratio)?;
        ratio("warn_free_inode_ratio", settings.warn_free_inode_ratio)?;
        ratio("fail_free_inode_ratio", settings.fail_free_inode_ratio)?;
        Ok(Self { named, used, settings: Arc::new(settings), asking: Blocking::default() })
    }
}

#[async_trait]
impl HealthCheck for DiskCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        let explicit = !self.named.is_empty();
        let paths = if explicit { self.named.clone() } else { self.used.clone() };
        let settings = Arc::clone(&self.settings);
        // A network mount whose server is gone blocks here for as long as it likes.
        let call = move || {
            let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            let filesystems = paths.iter().map(|path| Filesystem::of(path, &mounts)).collect::<Result<Vec<_>>>()?;
            Ok(judge(filesystems, explicit, &settings))
        };
        self.asking.run(scope, call).await.map_err(|error| error.while_doing("free space"))
    }
}

/// A filesystem, as far as its room matters.
#[derive(Debug, Clone, PartialEq)]
struct Filesystem {
    device: u64,
    mount: PathBuf,
    kind: String,
    read_only: bool,
    /// Turned read-only by the kernel, not by whoever mounted it.
    failed: bool,
    free_bytes: u64,
    /// What this user could write if the filesystem were empty: without the blocks kept for root.
    usable_bytes: u64,
    total_bytes: u64,
    free_inodes: u64,
    total_inodes: u64,
}

impl Filesystem {
    fn of(path: &Path, mounts: &str) -> Result<Self> {
        let existing = nearest_existing(path);
        let real = existing.canonicalize().map_err(|error| Error::io(format!("look at {existing:?}"), error))?;
        let meta = real.metadata().map_err(|error| Error::io(format!("look at {real:?}"), error))?;
        let stat = rustix::fs::statvfs(&real)
            .map_err(|error| Error::io(format!("ask for the free space of {real:?}"), error))?;
        let mount = Mount::find(mounts, &real).unwrap_or_else(|| Mount { point: real, ..Mount::default() });
        let read_only = stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
        Ok(Self {
            device: meta.dev(),
            mount: mount.point,
            kind: mount.kind,
            read_only,
            failed: read_only && mount.failed,
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            usable_bytes: usable(stat.f_blocks, stat.f_bfree, stat.f_bavail).saturating_mul(stat.f_frsize),
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_inodes: stat.f_favail,
            total_inodes: stat.f_files,
        })
    }

    fn in_memory(&self) -> bool {
        matches!(self.kind.as_str(), "tmpfs" | "ramfs" | "devtmpfs")
    }

    fn free_ratio(&self) -> f64 {
        if self.usable_bytes == 0 { 1.0 } else { self.free_bytes as f64 / self.usable_bytes as f64 }
    }

    fn judge(&self, settings: &DiskSettings) -> Vec<Finding> {
        let mount = self.mount.display();
        if self.failed {
            return vec![Finding {
                status: CheckStatus::Fail,
                message: format!("{mount} was turned read-only after an error: look at the kernel's log"),
                observed: self.free_ratio(),
                unit: "ratio",
            }];
        }
        let share = self.free_ratio();
        let scarce = |limit: f64| share < limit && self.free_bytes < settings.enough_free_bytes.0;
        // On a small filesystem an absolute bound would never be met.
        let little = |limit: ByteSize| self.free_bytes < limit.0 && self.total_bytes / 10 >= limit.0;
        let status = if scarce(settings.fail_free_ratio) || little(settings.fail_free_bytes) {
            CheckStatus::Fail
        } else if scarce(settings.warn_free_ratio) || little(settings.warn_free_bytes) {
            CheckStatus::Warn
        } else {
            CheckStatus::Pass
        };
        let mut message = format!("{mount} has {} free ({:.1} %)", ByteSize(self.free_bytes), share * 100.0);
        if status != CheckStatus::Pass {
            message.push_str(": free space or enlarge it");
        }
        let mut findings = vec![Finding { status, message, observed: share, unit: "ratio" }];
        // btrfs and some network filesystems make inodes as they need them, and say 0.
        if self.total_inodes > 0 {
            let share = self.free_inodes as f64 / self.total_inodes as f64;
            let status = match share {
                share if share < settings.fail_free_inode_ratio => CheckStatus::Fail,
                share if share < settings.warn_free_inode_ratio => CheckStatus::Warn,
                _ => CheckStatus::Pass,
            };
            if status != CheckStatus::Pass {
                let message = format!(
                    "{mount} has {} inodes free ({:.1} %): remove small files, or make the filesystem anew with more",
                    self.free_inodes,
                    share * 100.0
                );
                findings.push(Finding { status, message, observed: share, unit: "ratio" });
            }
        }
        findings
    }
}

/// The blocks that this user could have if the filesystem were empty. Those kept for root are neither used nor
/// free, so a full disk is one with 0 % free; `df` counts the same way.
fn usable(all: u64, free: u64, available: u64) -> u64 {
    all.saturating_sub(free).saturating_add(available)
}

fn judge(mut filesystems: Vec<Filesystem>, explicit: bool, settings: &DiskSettings) -> CheckOutcome {
    filesystems.sort_by(|a, b| a.free_ratio().total_cmp(&b.free_ratio()));
    let mut seen = Vec::new();
    filesystems.retain(|filesystem| {
        let new = !seen.contains(&filesystem.device);
        seen.push(filesystem.device);
        new
    });
    let skipped =
        |filesystem: &Filesystem| (filesystem.read_only && !filesystem.failed) || (filesystem.in_memory() && !explicit);
    let findings =
        filesystems.iter().filter(|filesystem| !skipped(filesystem)).flat_map(|f| f.judge(settings)).collect();
    worst(findings).unwrap_or_else(|| {
        let left_out: Vec<String> = filesystems.iter().map(|f| format!("{} ({})", f.mount.display(), f.kind)).collect();
        let message = format!(
            "nothing to judge: {} cannot be written or is in memory: name the folders in `paths`",
            left_out.join(", ")
        );
        // A check that looked at nothing must not pass.
        CheckOutcome::new(CheckStatus::Warn, message)
    })
}

/// A line of `/proc/self/mountinfo` (proc(5)).
#[derive(Debug, Default, PartialEq)]
struct Mount {
    point: PathBuf,
    kind: String,
    failed: bool,
}

impl Mount {
    /// The mount that holds `path`, which is absolute and without symlinks. Of several on one point the last hides
    /// the others.
    fn find(mounts: &str, path: &Path) -> Option<Self> {
        let holding = mounts.lines().filter_map(Self::parse).filter(|mount| path.starts_with(&mount.point));
        holding.max_by_key(|mount| mount.point.components().count())
    }

    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let before: Vec<&str> = before.split(' ').collect();
        let mut after = after.split(' ');
        let (point, options) = (before.get(4)?, before.get(5)?);
        let kind = after.next()?.to_owned();
        let super_options = after.nth(1).unwrap_or_default();
        let has = |options: &str, wanted: &str| options.split(',').any(|option| option == wanted);
        // Whoever mounts or remounts read-only sets both; the kernel, on an error, only the filesystem's.
        let failed = has(options, "rw") && has(super_options, "ro");
        Some(Self { point: PathBuf::from(unescape(point)), kind, failed })
    }
}

/// Space, tab, line feed and backslash are written as three octal digits.
pub(super) fn unescape(text: &str) -> OsString {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).filter(|_| bytes[at] == b'\\');
        let value = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match value {
            Some(value) => {
                out.push(value);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn filesystem(free: u64, total: u64) -> Filesystem {
        Filesystem {
            device: 1,
            mount: PathBuf::from("/data"),
            kind: "ext4".to_owned(),
            read_only: false,
            failed: false,
            free_bytes: free,
            usable_bytes: total,
            total_bytes: total,
            free_inodes: 50,
            total_inodes: 100,
        }
    }

    fn verdict(filesystem: Filesystem) -> CheckStatus {
        judge(vec![filesystem], false, &DiskSettings::default()).status
    }

    #[test]
    fn space_is_judged_by_share_and_by_amount() {
        use CheckStatus::{Fail, Pass, Warn};
        for (free, total, status) in [
            (50 * GIB, 100 * GIB, Pass),
            (10 * GIB, 100 * GIB, Pass),
            (9 * GIB, 100 * GIB, Warn),
            (4 * GIB, 100 * GIB, Fail),
            // A twentieth of 4 TiB is plenty; the guide's bare share would alarm.
            (160 * GIB, 4096 * GIB, Pass),
            (99 * GIB, 4096 * GIB, Fail),
            // Little is little, whatever the share says; but not on a small filesystem.
            (GIB / 2, 10 * GIB, Warn),
            (GIB / 2, GIB, Pass),
            (GIB / 8, 3 * GIB, Fail),
            (0, 0, Pass),
        ] {
            assert_eq!(verdict(filesystem(free, total)), status, "{free} of {total}");
        }
    }

    #[test]
    fn blocks_kept_for_root_count_for_nobody() {
        assert_eq!(usable(100, 50, 45), 95);
        assert_eq!(usable(100, 5, 0), 95);
        assert_eq!(usable(0, 0, 0), 0);
        assert_eq!(usable(10, 20, u64::MAX), u64::MAX);
    }

    #[test]
    fn inodes_run_out_before_bytes() {
        let some = |free| Filesystem { free_inodes: free, total_inodes: 1000, ..filesystem(50 * GIB, 100 * GIB) };
        assert_eq!(verdict(some(100)), CheckStatus::Pass);
        assert_eq!(verdict(some(99)), CheckStatus::Warn);
        assert_eq!(verdict(some(19)), CheckStatus::Fail);
        let outcome = judge(vec![some(0)], false, &DiskSettings::default());
        assert!(outcome.message.contains("inodes"), "{}", outcome.message);
        let uncounted = Filesystem { free_inodes: 0, total_inodes: 0, ..filesystem(50 * GIB, 100 * GIB) };
        assert_eq!(verdict(uncounted), CheckStatus::Pass);
    }

    #[test]
    fn what_never_changes_or_is_in_memory_does_not_alarm() {
        // Guide row 23: tmpfs and squashfs fired.
        let full = |kind: &str, read_only| Filesystem {
            device: if read_only { 2 } else { 3 },
            kind: kind.to_owned(),
            read_only,
            ..filesystem(0, 100 * GIB)
        };
        let fine = filesystem(50 * GIB, 100 * GIB);
        let all = vec![full("squashfs", true), full("tmpfs", false), fine];
        assert_eq!(judge(all, false, &DiskSettings::default()).status, CheckStatus::Pass);
        // Named by hand, memory counts; and with nothing left, the check does not pass.
        assert_eq!(judge(vec![full("tmpfs", false)], true, &DiskSettings::default()).status, CheckStatus::Fail);
        assert_eq!(verdict(full("squashfs", true)), CheckStatus::Warn);
        assert_eq!(verdict(full("overlay", false)), CheckStatus::Fail);
    }

    #[test]
    fn every_filesystem_is_judged_once_and_the_worst_is_told() {
        // The guide's script looked at `/` alone.
        let other = Filesystem { device: 2, mount: PathBuf::from("/backup"), ..filesystem(GIB, 100 * GIB) };
        let fine = filesystem(50 * GIB, 100 * GIB);
        let twice = judge(vec![fine.clone(), fine.clone()], false, &DiskSettings::default());
        assert_eq!(twice.message, "/data has 50.0 GiB free (50.0 %)");
        let outcome = judge(vec![fine.clone(), other, fine], false, &DiskSettings::default());
        assert_eq!(outcome.status, CheckStatus::Fail);
        assert_eq!(outcome.message, "/backup has 1.0 GiB free (1.0 %): free space or enlarge it");
        assert_eq!((outcome.observed, outcome.unit.as_deref()), (Some(0.01), Some("ratio")));
    }

    #[test]
    fn mounts_are_found_by_their_longest_prefix() {
        let mounts = "\
            22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
            30 22 8:1 / /data rw,relatime - xfs /dev/sda1 rw\n\
            31 22 8:2 / /data\\040two rw - ext4 /dev/sda2 ro,errors=remount-ro\n\
            32 22 0:50 / /data rw shared:2 master:3 - tmpfs tmpfs rw\n\
            garbage\n\
            33 22 0:51 / /ro ro - squashfs /dev/loop0 ro\n";
        let find = |path: &str| Mount::find(mounts, Path::new(path)).unwrap();
        assert_eq!(find("/etc").point, Path::new("/"));
        assert_eq!((find("/data/x").point, find("/data/x").kind), (PathBuf::from("/data"), "tmpfs".to_owned()));
        assert_eq!(find("/database").point, Path::new("/"));
        assert!(find("/data two/x").failed && !find("/ro").failed && !find("/").failed);
        assert_eq!(Mount::find("", Path::new("/")), None);
    }

    #[test]
    fn a_filesystem_that_failed_is_a_failure() {
        let broken = Filesystem { read_only: true, failed: true, ..filesystem(50 * GIB, 100 * GIB) };
        assert_eq!(verdict(broken), CheckStatus::Fail);
    }

    #[tokio::test]
    async fn a_missing_folder_stands_for_its_parent() {
        let folder = tempfile::tempdir().unwrap();
        let settings = DiskSettings { warn_free_ratio: 0.0, fail_free_ratio: 0.0, ..DiskSettings::default() };
        let check = DiskCheck::new(vec![folder.path().join("not/yet")], Vec::new(), settings).unwrap();
        let outcome = check.check(&Scope::default()).await.unwrap();
        assert!((0.0..=1.0).contains(&outcome.observed.unwrap()), "{outcome:?}");
        assert!(DiskCheck::new(vec![], vec![], DiskSettings { warn_free_ratio: 1.1, ..Default::default() }).is_err());
    }
}
