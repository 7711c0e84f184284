//! `memory`: is there memory left, for the service's control group and for the machine.
//!
//! ```toml
//! [[check]]
//! name = "memory"
//! kind = "memory"
//! warn_ratio = 0.90                # in use, of the group's limit and of the machine's memory; the defaults
//! fail_ratio = 0.97
//! warn_stalled_ratio = 0.10        # of the last minute, in which all work waited for memory
//! fail_stalled_ratio = 0.50
//! ```
//!
//! Of a group, what the kernel can take back at once is not in use: pages of files that nobody has read lately
//! (`inactive_file`), the way that Kubernetes counts its working set. Of the machine, what is not `MemAvailable` is in
//! use. Every group above with a limit is judged too, and the fullest is told. A process of the group that the kernel
//! killed since the check last ran is a warning.
//!
//! Source: cgroups(7), proc_meminfo(5); of the kernel `admin-guide/cgroup-v2.rst` (`memory.current`, `memory.max`,
//! `memory.events`, `memory.pressure`), `admin-guide/cgroup-v1/memory.rst` and `accounting/psi.rst`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kernel::{Group, GroupMemory, Kernel, pressure};
use super::{Finding, level, ratio, worst};
use crate::cancel::Scope;
use crate::component::{Kind, Placement};
use crate::error::{Error, ErrorKind, Result};
use crate::health::{Blocking, CheckOutcome, CheckStatus, HealthCheck};
use crate::value::ByteSize;

/// The kind, for the registry.
pub const KIND: Kind<dyn HealthCheck> = Kind {
    name: "memory",
    summary: "The control group and the machine have memory left, and nobody waits for it",
    placement: Placement::Anywhere,
    build: |context, settings| Ok(Arc::new(MemoryCheck::new(context.settings(settings)?)?)),
    detect: None,
};

/// Settings of [`MemoryCheck`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MemorySettings {
    /// Warn when more than this share is in use.
    pub warn_ratio: f64,
    /// Fail when more than this share is in use.
    pub fail_ratio: f64,
    /// Warn when all work waited for memory for more than this share of the last minute.
    pub warn_stalled_ratio: f64,
    /// Fail when all work waited for memory for more than this share of the last minute.
    pub fail_stalled_ratio: f64,
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self { warn_ratio: 0.90, fail_ratio: 0.97, warn_stalled_ratio: 0.10, fail_stalled_ratio: 0.50 }
    }
}

/// Looks at the memory of the control group and of the machine.
#[derive(Debug)]
pub struct MemoryCheck {
    settings: MemorySettings,
    kernel: Kernel,
    kills: Mutex<Option<u64>>,
    reading: Blocking,
}

impl MemoryCheck {
    /// A check as the settings describe it.
    ///
    /// # Errors
    /// When a share is not from 0 to 1.
    pub fn new(settings: MemorySettings) -> Result<Self> {
        ratio("warn_ratio", settings.warn_ratio)?;
        ratio("fail_ratio", settings.fail_ratio)?;
        ratio("warn_stalled_ratio", settings.warn_stalled_ratio)?;
        ratio("fail_stalled_ratio", settings.fail_stalled_ratio)?;
        Ok(Self { settings, kernel: Kernel::default(), kills: Mutex::new(None), reading: Blocking::default() })
    }

    /// The same, of the machine whose `proc` and `sys` are in this folder.
    #[must_use]
    pub fn below(mut self, root: impl Into<PathBuf>) -> Self {
        self.kernel = Kernel::below(root);
        self
    }

    fn judge(&self, picture: &Picture) -> CheckOutcome {
        let settings = &self.settings;
        let mut findings: Vec<Finding> = picture.rooms.iter().map(|room| room.judge(settings)).collect();
        // The fullest first: of several with the same verdict its number is told.
        findings.sort_by(|a, b| b.observed.total_cmp(&a.observed));
        if findings.iter().all(|finding| finding.status == CheckStatus::Pass) {
            findings.truncate(1);
        }
        if let Some(share) = picture.stalled {
            let status = level(share, settings.warn_stalled_ratio, settings.fail_stalled_ratio);
            if status != CheckStatus::Pass {
                let message = format!(
                    "for {:.0} % of the last minute all work waited for memory: give the service more, or less to do",
                    share * 100.0
                );
                findings.push(Finding { status, message, observed: share, unit: "ratio" });
            }
        }
        let killed = picture.kills.map_or(0, |kills| {
            let last = self.kills.lock().unwrap_or_else(PoisonError::into_inner).replace(kills);
            // A group that was made anew counts from 0.
            last.map_or(0, |last| kills.saturating_sub(last))
        });
        if killed > 0 {
            let message =
                format!("the kernel killed {killed} of the group's processes for want of memory: raise its limit");
            findings.push(Finding { status: CheckStatus::Warn, message, observed: killed as f64, unit: "processes" });
        }
        worst(findings).unwrap_or_else(|| CheckOutcome::new(CheckStatus::Warn, "nothing is known of the memory"))
    }
}

/// What the kernel tells.
#[derive(Debug)]
struct Picture {
    rooms: Vec<Room>,
    stalled: Option<f64>,
    kills: Option<u64>,
}

impl Picture {
    fn take(kernel: &Kernel) -> Result<Self> {
        let groups = kernel.groups("memory");
        let mut rooms: Vec<Room> = groups.iter().filter_map(Room::of).collect();
        rooms.push(Room::machine(&kernel.read("/proc/meminfo")?)?);
        let own = groups.first();
        let of_group = own.and_then(|group| group.find("memory.pressure"));
        let stalled = of_group.or_else(|| kernel.find("/proc/pressure/memory"));
        let kills = own.and_then(GroupMemory::kills);
        Ok(Self { rooms, stalled: stalled.and_then(|text| pressure(&text, "full")), kills })
    }
}

/// A limit, and what is in use of it.
#[derive(Debug)]
struct Room {
    name: String,
    used: u64,
    limit: u64,
}

impl Room {
    /// A group, when it has a limit.
    fn of(group: &Group) -> Option<Self> {
        let memory = GroupMemory::of(group)?;
        Some(Self { name: group.name(), used: memory.working_set(), limit: memory.limit? })
    }

    fn machine(meminfo: &str) -> Result<Self> {
        let amount = |key: &str| {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        let (Some(limit), Some(free)) = (amount("MemTotal:"), amount("MemAvailable:")) else {
            return Err(Error::new(ErrorKind::Unsupported, "/proc/meminfo does not say what memory is available"));
        };
        Ok(Self { name: "the machine".to_owned(), used: limit.saturating_sub(free), limit })
    }

    fn judge(&self, settings: &MemorySettings) -> Finding {
        // A limit of 0 is full.
        let share = if self.limit == 0 { 1.0 } else { self.used as f64 / self.limit as f64 };
        let status = level(share, settings.warn_ratio, settings.fail_ratio);
        let (used, limit) = (ByteSize(self.used), ByteSize(self.limit));
        let repair = if status == CheckStatus::Pass { "" } else { ": find what grows, or allow it more" };
        let message = format!("{} uses {used} of {limit} of memory ({:.1} %){repair}", self.name, share * 100.0);
        Finding { status, message, observed: share, unit: "ratio" }
    }
}

#[async_trait]
impl HealthCheck for MemoryCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        let kernel = self.kernel.clone();
        let picture = self.reading.run(scope, move || Picture::take(&kernel)).await?;
        Ok(self.judge(&picture))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::kernel::fake::{NEW, OLD, machine, put};
    use super::*;

    const MEMINFO: (&str, &str) =
        ("/proc/meminfo", "MemTotal:       1000 kB\nMemFree:          10 kB\nMemAvailable:    500 kB\n");
    const GROUP: &str = "/sys/fs/cgroup/app/web";

    fn check(root: &Path) -> MemoryCheck {
        MemoryCheck::new(MemorySettings::default()).unwrap().below(root)
    }

    async fn told(check: &MemoryCheck) -> CheckOutcome {
        check.check(&Scope::default()).await.unwrap()
    }

    #[tokio::test]
    async fn without_groups_the_machine_is_judged_by_what_is_available() {
        let (_folder, root) = machine(&[MEMINFO]);
        let outcome = told(&check(&root)).await;
        assert_eq!((outcome.status, outcome.observed), (CheckStatus::Pass, Some(0.5)));
        assert_eq!(outcome.message, "the machine uses 500.0 KiB of 1000.0 KiB of memory (50.0 %)");
        put(&root, &[("/proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 99 kB\n")]);
        assert_eq!(told(&check(&root)).await.status, CheckStatus::Warn);
        put(&root, &[("/proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 29 kB\n")]);
        assert_eq!(told(&check(&root)).await.status, CheckStatus::Fail);
        put(&root, &[("/proc/meminfo", "MemTotal: 1000 kB\n")]);
        assert_eq!(check(&root).check(&Scope::default()).await.unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[tokio::test]
    async fn a_group_is_judged_by_its_working_set() {
        let (_folder, root) = machine(NEW);
        let file = |name: &str| format!("{GROUP}/{name}");
        put(&root, &[MEMINFO, (&file("memory.max"), "1000\n"), (&file("memory.current"), "990\n")]);
        assert_eq!(told(&check(&root)).await.status, CheckStatus::Fail);
        // The cache of files is not in use.
        put(&root, &[(&file("memory.stat"), "anon 1\ninactive_file 300\n")]);
        let outcome = told(&check(&root)).await;
        assert_eq!((outcome.status, outcome.observed), (CheckStatus::Pass, Some(0.69)));
        // A group above is tighter.
        put(&root, &[("/sys/fs/cgroup/app/memory.max", "100"), ("/sys/fs/cgroup/app/memory.current", "95")]);
        let outcome = told(&check(&root)).await;
        assert_eq!(outcome.status, CheckStatus::Warn);
        assert!(outcome.message.starts_with("the control group \"app\" above uses"), "{}", outcome.message);
    }

    #[tokio::test]
    async fn the_old_hierarchy_says_the_same_in_other_words() {
        let (_folder, root) = machine(OLD);
        let file = |name: &str| format!("/sys/fs/cgroup/memory/app/web/{name}");
        put(&root, &[MEMINFO, (&file("memory.usage_in_bytes"), "990\n")]);
        put(&root, &[(&file("memory.limit_in_bytes"), "9223372036854771712\n")]);
        assert_eq!(told(&check(&root)).await.observed, Some(0.5));
        put(&root, &[(&file("memory.limit_in_bytes"), "1000\n"), (&file("memory.stat"), "total_inactive_file 50\n")]);
        assert_eq!(told(&check(&root)).await.status, CheckStatus::Warn);
    }

    #[tokio::test]
    async fn stalls_and_kills_are_told() {
        let (_folder, root) = machine(NEW);
        let stalled = |share: u32| format!("some avg10=0 avg60=90.0 avg300=0 total=1\nfull avg60={share}.00\n");
        put(&root, &[MEMINFO, ("/proc/pressure/memory", &stalled(11))]);
        assert_eq!(told(&check(&root)).await.status, CheckStatus::Warn);
        // That of the group goes before that of the machine.
        put(&root, &[(&format!("{GROUP}/memory.pressure"), &stalled(51))]);
        let outcome = told(&check(&root)).await;
        assert_eq!((outcome.status, outcome.observed), (CheckStatus::Fail, Some(0.51)));
        put(&root, &[(&format!("{GROUP}/memory.pressure"), &stalled(0))]);

        let check = check(&root);
        let kills =
            |count: u32| put(&root, &[(&format!("{GROUP}/memory.events"), &format!("oom 9\noom_kill {count}\n"))]);
        for (count, status) in [(7, CheckStatus::Pass), (7, CheckStatus::Pass), (9, CheckStatus::Warn)] {
            kills(count);
            assert_eq!(told(&check).await.status, status);
        }
        // Told once; and a group that was made anew counts from 0.
        assert_eq!(told(&check).await.status, CheckStatus::Pass);
        kills(0);
        assert_eq!(told(&check).await.status, CheckStatus::Pass);
        kills(1);
        assert_eq!(told(&check).await.observed, Some(1.0));
    }

    #[tokio::test]
    async fn this_machine_can_be_read() {
        let outcome = told(&MemoryCheck::new(MemorySettings::default()).unwrap()).await;
        assert!((0.0..=1.1).contains(&outcome.observed.unwrap()), "{outcome:?}");
        assert!(MemoryCheck::new(MemorySettings { warn_ratio: 90.0, ..MemorySettings::default() }).is_err());
    }
}
