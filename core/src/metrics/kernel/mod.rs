//! The files in which the kernel tells about the machine and the control groups of this process.
//!
//! Sources: proc(5), cgroups(7), and the kernel's `admin-guide/cgroup-v2.rst`, `admin-guide/cgroup-v1/*.rst` and
//! `accounting/psi.rst`.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

pub(crate) mod mount;

use mount::Mount;

/// Where `/proc` and `/sys` are: below `/`, or below the folder of a test.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    root: PathBuf,
}

impl Default for Kernel {
    fn default() -> Self {
        Self::below("/")
    }
}

impl Kernel {
    pub(crate) fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where an absolute path of the machine is.
    pub(crate) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// What is mounted where this process can see it.
    pub(crate) fn mounts(&self) -> Result<Vec<Mount>> {
        Ok(self.read("/proc/self/mountinfo")?.lines().filter_map(Mount::parse).collect())
    }

    /// The text of a file that every kernel has.
    pub(crate) fn read(&self, path: &str) -> Result<String> {
        read(&self.path(path)).map_err(|error| Error::io(format!("read {path}"), error))
    }

    /// The text of a file that a kernel may lack.
    pub(crate) fn find(&self, path: &str) -> Option<String> {
        read(&self.path(path)).ok()
    }

    /// The control groups of this process that `controller` (`memory`, `cpu`, …) acts on: its own first, then those
    /// above it as far as they are seen. Empty where there are none.
    ///
    /// A machine may have a controller in the old hierarchy while the new one is mounted too, so the old one is asked
    /// for first. In a container without a namespace for groups the path is that of the host, which is not there: the
    /// mount then shows the group itself.
    pub(crate) fn groups(&self, controller: &str) -> Vec<Group> {
        let found = || -> Option<Vec<Group>> {
            let lines = self.find("/proc/self/cgroup")?;
            let lines = || lines.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
            let old = lines().find(|(names, _)| has(names, controller)).map(|(_, path)| (Version::One, path));
            let new = || lines().find(|(names, _)| names.is_empty()).map(|(_, path)| (Version::Two, path));
            let (version, path) = old.or_else(new)?;
            let mounts = self.find("/proc/self/mountinfo")?;
            let mount = mounts.lines().filter_map(Mount::parse).find(|mount| is_of(mount, version, controller))?;
            let top = self.path(mount.point);
            let below = Path::new(path).strip_prefix(mount.root).unwrap_or(Path::new(""));
            let own = Some(top.join(below)).filter(|own| !path.contains("/..") && own.is_dir());
            let own = own.unwrap_or_else(|| top.clone());
            let folders = own.ancestors().take_while(|folder| folder.starts_with(&top));
            Some(folders.map(|folder| Group { version, folder: folder.to_owned(), own: folder == own }).collect())
        };
        found().unwrap_or_default()
    }

    /// How many cores the machine runs on, at least 1.
    pub(crate) fn cores(&self) -> Result<u64> {
        let stat = self.read("/proc/stat")?;
        let core =
            |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        Ok((stat.lines().filter(core).count() as u64).max(1))
    }
}

/// Which of the two hierarchies of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

/// A control group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) version: Version,
    folder: PathBuf,
    own: bool,
}

impl Group {
    /// What a message calls it.
    pub(crate) fn name(&self) -> String {
        match self.folder.file_name() {
            _ if self.own => "the control group".to_owned(),
            name => format!("the control group {:?} above", name.unwrap_or_default()),
        }
    }

    pub(crate) fn find(&self, file: &str) -> Option<String> {
        read(&self.folder.join(file)).ok()
    }

    /// The number that a file consists of; `None` for `max`, for -1, and without the file.
    pub(crate) fn number(&self, file: &str) -> Option<u64> {
        self.find(file)?.trim().parse().ok()
    }

    /// The number of a line such as `oom_kill 3`.
    pub(crate) fn field(&self, file: &str, key: &str) -> Option<u64> {
        field(&self.find(file)?, key)
    }
}

/// The old hierarchy writes "no limit" as the highest multiple of a page; nobody has that much.
const UNLIMITED: u64 = 1 << 60;

/// The memory of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupMemory {
    /// The most that it may use; `None` without a limit.
    pub(crate) limit: Option<u64>,
    /// What it uses, pages of files among it.
    pub(crate) usage: u64,
    /// Of that the pages of files that nobody has read lately, which the kernel can take back at once.
    pub(crate) inactive_file: u64,
}

impl GroupMemory {
    /// `None` in a group that does not count memory, as the root is.
    pub(crate) fn of(group: &Group) -> Option<Self> {
        let (limit, usage, inactive) = match group.version {
            Version::One => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
            Version::Two => ("memory.max", "memory.current", "inactive_file"),
        };
        Some(Self {
            limit: group.number(limit).filter(|limit| *limit < UNLIMITED),
            usage: group.number(usage)?,
            inactive_file: group.field("memory.stat", inactive).unwrap_or(0),
        })
    }

    /// What cannot be taken back at once, the way that Kubernetes counts its working set.
    pub(crate) fn working_set(&self) -> u64 {
        self.usage.saturating_sub(self.inactive_file)
    }

    /// How many processes of the group the kernel has killed for want of memory.
    pub(crate) fn kills(group: &Group) -> Option<u64> {
        match group.version {
            Version::One => group.field("memory.oom_control", "oom_kill"),
            Version::Two => group.field("memory.events", "oom_kill"),
        }
    }
}

/// The CPU time of a group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct GroupCpu {
    /// How many cores' time it may use; `None` without a quota.
    pub(crate) cores: Option<f64>,
    /// What it has used.
    pub(crate) used_seconds: Option<f64>,
    /// Periods of its quota so far.
    pub(crate) periods: u64,
    /// Those in which it was made to wait.
    pub(crate) throttled_periods: u64,
    /// How long it was made to wait.
    pub(crate) throttled_seconds: f64,
}

impl GroupCpu {
    /// `accounting` is the same group in the hierarchy that counts, which the old kind may have apart.
    pub(crate) fn of(group: &Group, accounting: Option<&Group>) -> Self {
        let stat = group.find("cpu.stat").unwrap_or_default();
        let (quota, used_seconds, waited) = match group.version {
            Version::One => {
                let used = accounting.unwrap_or(group).number("cpuacct.usage").map(|nanos| nanos as f64 / 1e9);
                let quota = group.number("cpu.cfs_quota_us").zip(group.number("cpu.cfs_period_us"));
                (quota, used, field(&stat, "throttled_time").map(|nanos| nanos as f64 / 1e9))
            }
            Version::Two => {
                let max = group.find("cpu.max").unwrap_or_default();
                let quota = max
                    .trim()
                    .split_once(' ')
                    .and_then(|(quota, period)| Some((quota.parse::<u64>().ok()?, period.parse::<u64>().ok()?)));
                let seconds = |key| field(&stat, key).map(|micros| micros as f64 / 1e6);
                (quota, seconds("usage_usec"), seconds("throttled_usec"))
            }
        };
        let cores = quota.map(|(quota, period)| quota as f64 / period as f64);
        let count = |key| field(&stat, key).unwrap_or(0);
        Self {
            cores: cores.filter(|cores| cores.is_finite() && *cores > 0.0),
            used_seconds,
            periods: count("nr_periods"),
            throttled_periods: count("nr_throttled"),
            throttled_seconds: waited.unwrap_or(0.0),
        }
    }
}

/// The number of a line such as `nr_throttled 3`.
pub(crate) fn field(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

/// The share of the last minute in which every task (`full`), or some task (`some`), waited for the resource.
pub(crate) fn pressure(text: &str, who: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(who)?.strip_prefix(' '))?;
    let percent: f64 = line.split(' ').find_map(|word| word.strip_prefix("avg60="))?.parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}

/// Whether a mount is of that hierarchy.
fn is_of(mount: &Mount, version: Version, controller: &str) -> bool {
    match version {
        Version::One => mount.kind == "cgroup" && has(&mount.super_options, controller),
        Version::Two => mount.kind == "cgroup2",
    }
}

fn has(list: &str, wanted: &str) -> bool {
    list.split(',').any(|word| word == wanted)
}

/// Names of programs and mounts may be any bytes.
fn read(path: &Path) -> std::io::Result<String> {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// A machine made of files, for tests.
#[cfg(test)]
pub(crate) mod fake {
    use super::*;

    /// Writes `files` (absolute paths and their text) below a new folder.
    pub(crate) fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        put(&root, files);
        (folder, root)
    }

    /// Replaces or adds files.
    pub(crate) fn put(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = Kernel::below(root).path(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    /// The mount of the new hierarchy, and this process in `/app/web` of it.
    pub(crate) const NEW: &[(&str, &str)] = &[
        ("/proc/self/cgroup", "0::/app/web\n"),
        ("/proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
    ];

    /// The mounts of the old hierarchies, and this process in `/app/web` of them, on a machine that has both.
    pub(crate) const OLD: &[(&str, &str)] = &[
        ("/proc/self/cgroup", "4:memory:/app/web\n2:cpu,cpuacct:/app/web\n0::/\n"),
        (
            "/proc/self/mountinfo",
            "30 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
             31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             32 23 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n",
        ),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(root: &Path, controller: &str) -> Vec<String> {
        let told = |group: Group| format!("{:?} {}", group.version, group.folder.strip_prefix(root).unwrap().display());
        Kernel::below(root).groups(controller).into_iter().map(told).collect()
    }

    #[test]
    fn groups_are_found_in_both_hierarchies() {
        let (_folder, root) = fake::machine(fake::NEW);
        fake::put(&root, &[("/sys/fs/cgroup/app/web/memory.max", "max\n")]);
        let three = ["Two sys/fs/cgroup/app/web", "Two sys/fs/cgroup/app", "Two sys/fs/cgroup"];
        assert_eq!(folders(&root, "memory"), three);
        let (_folder, root) = fake::machine(fake::OLD);
        fake::put(&root, &[("/sys/fs/cgroup/memory/app/web/x", ""), ("/sys/fs/cgroup/cpu,cpuacct/app/web/x", "")]);
        assert_eq!(folders(&root, "memory")[0], "One sys/fs/cgroup/memory/app/web");
        assert_eq!(folders(&root, "cpu")[1], "One sys/fs/cgroup/cpu,cpuacct/app");
        // A controller that only the new one has.
        assert_eq!(folders(&root, "pids"), ["Two sys/fs/cgroup/unified"]);
        assert_eq!(folders(Path::new("/nowhere"), "cpu"), Vec::<String>::new());
    }

    #[test]
    fn in_a_container_the_mount_shows_the_group_itself() {
        for (path, mounted) in [("/docker/abc", "/"), ("/docker/abc", "/docker/abc"), ("/../other", "/")] {
            let (_folder, root) = fake::machine(&[
                ("/proc/self/cgroup", &format!("0::{path}\n")),
                ("/proc/self/mountinfo", &format!("30 23 0:26 {mounted} /sys/fs/cgroup rw - cgroup2 cgroup rw\n")),
                ("/sys/fs/cgroup/memory.max", "1\n"),
            ]);
            assert_eq!(folders(&root, "memory"), ["Two sys/fs/cgroup"], "{path} of {mounted}");
        }
    }

    #[test]
    fn numbers_are_read_or_refused() {
        assert_eq!(field("oom 1\noom_kill 3\n", "oom_kill"), Some(3));
        assert_eq!(field("oom_killed 1\n", "oom_kill"), None);
        let text = "some avg10=1.00 avg60=50.50 avg300=0.00 total=1\nfull avg10=0.00 avg60=2.00 avg300=0 total=0\n";
        assert_eq!((pressure(text, "some"), pressure(text, "full")), (Some(0.505), Some(0.02)));
        for wrong in ["", "full", "full avg60=x", "full avg60=-1", "full avg60=NaN", "full avg10=1"] {
            assert_eq!(pressure(wrong, "full"), None, "{wrong}");
        }
    }
}
