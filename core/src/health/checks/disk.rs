//! `disk`: is there room, in bytes and in inodes, where the service writes, and for how long.
//!
//! ```toml
//! [[check]]
//! name = "disk"
//! kind = "disk"
//! paths = ["data", "/backup/uplifted"]   # all that the service uses unless set
//! warn_free_ratio = 0.10                 # the defaults
//! fail_free_ratio = 0.05
//! enough_free_bytes = "100GiB"           # with this much free, no share is too small
//! warn_free_bytes = "1GiB"
//! fail_free_bytes = "256MiB"
//! warn_full_hours = 24                   # warn when it is full so soon, at the present pace; 0 never
//! after_hours = 1                        # how long it is to be watched before that is said
//! confidence = 0.99                      # how sure the growth has to be
//! ```
//!
//! What the service uses: its root and all that is mounted below, the state folder, the databases, the targets of kind `fs`, the log,
//! and where temporary files and copies of databases are made.
//!
//! The pace is that since the last drop, by more than a hundredth of the disk: the median of the slopes between all pairs of
//! samples, and how sure it is by the test of Mann and Kendall, as `leak` has them. The samples are in the check's own memory.
//!
//! Each filesystem that holds one of the paths is judged once. Those in memory (tmpfs, ramfs) are left out unless
//! a path names them, and those that cannot be written are left out, since their fill never changes. An overlay
//! is judged: its numbers are those of the disk that the service's container writes to. A filesystem that the
//! kernel has turned read-only after an error is a failure.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kernel::mount::Mount;
use super::trend::{Samples, Trend};
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
    // It remembers, and a worker that is not needed ends.
    placement: Placement::Host,
    build: |context, settings| {
        let settings: DiskSettings = context.settings(settings)?;
        let resolved = |paths: &[PathBuf]| paths.iter().map(|path| context.resolve(path)).collect::<Vec<_>>();
        let mut used = resolved(&settings.used);
        used.extend([context.root.clone(), context.state.clone()]);
        Ok(Arc::new(DiskCheck::new(resolved(&settings.paths), used, settings)?))
    },
    detect: None,
};

const HOUR: f64 = 3600.0;
/// A year: nobody watches, or looks ahead, for longer.
const MOST_HOURS: f64 = 8784.0;

/// Settings of [`DiskCheck`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DiskSettings {
    /// The files or folders whose filesystems are judged. The service's own ones when empty.
    pub paths: Vec<PathBuf>,
    /// The service's own files and folders beside root and state, which the service fills in. Of no effect beside `paths`.
    pub used: Vec<PathBuf>,
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
    /// Warn when the filesystem is full within so many hours, at the pace since the last drop. 0 never does.
    pub warn_full_hours: f64,
    /// How many hours it is watched before that is said.
    pub after_hours: f64,
    /// How sure the growth has to be, 0 to 1.
    pub confidence: f64,
}

impl Default for DiskSettings {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            used: Vec::new(),
            warn_free_ratio: 0.10,
            fail_free_ratio: 0.05,
            enough_free_bytes: ByteSize(100 << 30),
            warn_free_bytes: ByteSize(1 << 30),
            fail_free_bytes: ByteSize(256 << 20),
            warn_free_inode_ratio: 0.10,
            fail_free_inode_ratio: 0.02,
            warn_full_hours: 24.0,
            after_hours: 1.0,
            confidence: 0.99,
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
    /// How full each filesystem was, by its device.
    seen: Mutex<BTreeMap<u64, Samples>>,
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
        ratio("confidence", settings.confidence)?;
        for (name, hours) in [("warn_full_hours", settings.warn_full_hours), ("after_hours", settings.after_hours)] {
            if !(0.0..=MOST_HOURS).contains(&hours) {
                return Err(Error::invalid(format!("{name} is {hours}"))
                    .with_hint(format!("set {name} to hours from 0 to {MOST_HOURS}")));
            }
        }
        Ok(Self { named, used, settings: Arc::new(settings), asking: Blocking::default(), seen: Mutex::default() })
    }
}

#[async_trait]
impl HealthCheck for DiskCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        let explicit = !self.named.is_empty();
        let paths = if explicit { self.named.clone() } else { self.used.clone() };
        let settings = &self.settings;
        // A network mount whose server is gone blocks here for as long as it likes.
        let call = move || {
            let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            let mut found = paths.iter().map(|path| Filesystem::of(path, &mounts)).collect::<Result<Vec<_>>>()?;
            if !explicit {
                // What of them this user may not look at is somebody else's.
                found.extend(
                    mounted_below(&paths, &mounts).iter().filter_map(|path| Filesystem::of(path, &mounts).ok()),
                );
            }
            Ok(found)
        };
        let found = self.asking.run(scope, call).await.map_err(|error| error.while_doing("free space"))?;
        let found = distinct(found);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|device, _| found.iter().any(|filesystem| filesystem.device == *device));
        for filesystem in &found {
            let samples = seen.entry(filesystem.device).or_default();
            filesystem.note(samples, scope.clock.monotonic().as_secs_f64());
        }
        Ok(judge(&found, &seen, explicit, settings))
    }
}

/// What is mounted below one of these folders: the service uses it, too.
fn mounted_below(folders: &[PathBuf], mounts: &str) -> Vec<PathBuf> {
    let folders: Vec<PathBuf> = folders.iter().filter_map(|folder| folder.canonicalize().ok()).collect();
    let points = mounts.lines().filter_map(Mount::parse).map(|mount| mount.point);
    // Below `/` is everything, and most of it nobody's business.
    let is_below =
        |point: &PathBuf| folders.iter().any(|folder| folder.parent().is_some() && point.starts_with(folder));
    points.filter(is_below).collect()
}

/// Each filesystem once, the fullest first.
fn distinct(mut filesystems: Vec<Filesystem>) -> Vec<Filesystem> {
    filesystems.sort_by(|a, b| a.free_ratio().total_cmp(&b.free_ratio()));
    let mut seen = Vec::new();
    filesystems.retain(|filesystem| {
        let new = !seen.contains(&filesystem.device);
        seen.push(filesystem.device);
        new
    });
    filesystems
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
            failed: read_only && mount.failed(),
            mount: mount.point,
            kind: mount.kind,
            read_only,
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

    /// Notes how full it is now.
    fn note(&self, samples: &mut Samples, now: f64) {
        let used = self.usable_bytes.saturating_sub(self.free_bytes) as f64;
        // Another size is another disk: what was written before says nothing about it.
        samples.take(now, used, self.total_bytes, |last| last - self.usable_bytes as f64 / 100.0);
    }

    /// That it is full soon, if it is.
    fn filling(&self, samples: &Samples, settings: &DiskSettings) -> Option<Finding> {
        let watched = samples.span() / HOUR;
        let Trend { slope, confidence } = samples.trend().filter(|_| watched >= settings.after_hours)?;
        if slope <= 0.0 || confidence < settings.confidence {
            return None;
        }
        let left = self.free_bytes as f64 / slope / HOUR;
        let message = format!(
            "{} is full in {left:.1} h: {} are free, and it takes {} an hour, as {watched:.1} h show ({:.1} % sure): find what \
             grows, or enlarge it",
            self.mount.display(),
            ByteSize(self.free_bytes),
            ByteSize((slope * HOUR) as u64),
            confidence * 100.0
        );
        (left < settings.warn_full_hours).then_some(Finding {
            status: CheckStatus::Warn,
            message,
            observed: left,
            unit: "hours",
        })
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

/// The verdict over filesystems that are [`distinct`].
fn judge(
    filesystems: &[Filesystem],
    seen: &BTreeMap<u64, Samples>,
    explicit: bool,
    settings: &DiskSettings,
) -> CheckOutcome {
    let skipped =
        |filesystem: &Filesystem| (filesystem.read_only && !filesystem.failed) || (filesystem.in_memory() && !explicit);
    let judged = filesystems.iter().filter(|filesystem| !skipped(filesystem));
    let of_one = |filesystem: &Filesystem| {
        let mut findings = filesystem.judge(settings);
        // One that is full, or nearly, has been told.
        if findings.iter().all(|finding| finding.status == CheckStatus::Pass) {
            findings.extend(seen.get(&filesystem.device).and_then(|samples| filesystem.filling(samples, settings)));
        }
        findings
    };
    worst(judged.flat_map(of_one).collect()).unwrap_or_else(|| {
        let left_out: Vec<String> = filesystems.iter().map(|f| format!("{} ({})", f.mount.display(), f.kind)).collect();
        let message = format!(
            "nothing to judge: {} cannot be written or is in memory: name the folders in `paths`",
            left_out.join(", ")
        );
        // A check that looked at nothing must not pass.
        CheckOutcome::new(CheckStatus::Warn, message)
    })
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

    fn look(filesystems: Vec<Filesystem>, explicit: bool) -> CheckOutcome {
        judge(&distinct(filesystems), &BTreeMap::new(), explicit, &DiskSettings::default())
    }

    fn verdict(filesystem: Filesystem) -> CheckStatus {
        look(vec![filesystem], false).status
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
        let outcome = look(vec![some(0)], false);
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
        assert_eq!(look(all, false).status, CheckStatus::Pass);
        // Named by hand, memory counts; and with nothing left, the check does not pass.
        assert_eq!(look(vec![full("tmpfs", false)], true).status, CheckStatus::Fail);
        assert_eq!(verdict(full("squashfs", true)), CheckStatus::Warn);
        assert_eq!(verdict(full("overlay", false)), CheckStatus::Fail);
    }

    #[test]
    fn every_filesystem_is_judged_once_and_the_worst_is_told() {
        // The guide's script looked at `/` alone.
        let other = Filesystem { device: 2, mount: PathBuf::from("/backup"), ..filesystem(GIB, 100 * GIB) };
        let fine = filesystem(50 * GIB, 100 * GIB);
        let twice = look(vec![fine.clone(), fine.clone()], false);
        assert_eq!(twice.message, "/data has 50.0 GiB free (50.0 %)");
        let outcome = look(vec![fine.clone(), other, fine], false);
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
        assert!(find("/data two/x").failed() && !find("/ro").failed() && !find("/").failed());
        assert_eq!(Mount::find("", Path::new("/")), None);
    }

    /// What is said after so many hours, one sample each half a minute; `used` in GiB of 100.
    fn after(hours: f64, used: impl Fn(f64) -> f64) -> CheckOutcome {
        let mut seen = BTreeMap::<u64, Samples>::new();
        let at = |hour: f64| filesystem(((100.0 - used(hour)) * GIB as f64) as u64, 100 * GIB);
        for turn in 0..=(hours * 120.0) as u32 {
            let hour = f64::from(turn) / 120.0;
            at(hour).note(seen.entry(1).or_default(), hour * HOUR);
        }
        judge(&[at(hours)], &seen, false, &DiskSettings::default())
    }

    #[test]
    fn one_that_is_full_soon_is_told_before() {
        use CheckStatus::{Fail, Pass, Warn};
        // 2 GiB an hour from 20: full after 40 h, and 16 h are left to be surprised in the first place.
        let grows = |hour: f64| 20.0 + 2.0 * hour;
        for (hours, status) in [(0.5, Pass), (12.0, Pass), (17.0, Warn), (39.0, Fail)] {
            assert_eq!(after(hours, grows).status, status, "{hours}");
        }
        let soon = after(20.0, grows);
        assert_eq!(soon.unit.as_deref(), Some("hours"));
        assert!((soon.observed.unwrap() - 20.0).abs() < 0.1, "{soon:?}");
        assert!(soon.message.contains("/data is full in 20.0 h") && soon.message.contains("100.0 % sure"), "{soon:?}");
        // Logs that are thrown away each night: from then on it begins anew.
        let nightly = |hour: f64| 20.0 + 2.0 * (hour % 24.0);
        assert_eq!(after(24.5, nightly).status, Pass);
        assert!(!after(25.5, nightly).message.contains("full in"), "73 GiB at 2 GiB an hour take longer than a day");
        // What comes and goes is no growth, and what was written once stays.
        for harmless in
            [|hour: f64| 80.0 + (hour * 60.0).sin() / 4.0, |_: f64| 85.0, |hour: f64| 40.0 + 40.0 * hour.min(1.0)]
        {
            let outcome = after(30.0, harmless);
            assert_eq!(outcome.status, Pass, "{outcome:?}");
        }
    }

    #[test]
    fn what_is_mounted_below_the_root_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let line = |point: &str| format!("30 22 8:1 / {point} rw - xfs /dev/sda1 rw\n");
        let below = root.join("data/big");
        let mounts = ["/", "/proc", below.to_str().unwrap(), &format!("{}x", root.display())].map(line).concat();
        assert_eq!(mounted_below(&[root, PathBuf::from("/"), PathBuf::from("/no/such")], &mounts), [below]);
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
        assert!(DiskCheck::new(vec![], vec![], DiskSettings { warn_full_hours: -1.0, ..Default::default() }).is_err());
    }
}
