//! `cpu`: is there CPU left, for the service's control group and for the machine.
//!
//! ```toml
//! [[check]]
//! name = "cpu"
//! kind = "cpu"
//! warn_ratio = 0.90                # of the group's quota and of the machine's cores, over the window; the default
//! fail_ratio = 0.99                # off unless set: a busy service works
//! warn_throttled_ratio = 0.25      # of the group's periods, in which it was made to wait; the default
//! window_seconds = 60              # the default
//! ```
//!
//! A share over a window, and not a counter: it falls again when the load ends. The window reaches back to the run that
//! is about that old; on the first run, and after a long pause, it is a tenth of a second.
//!
//! Source: cgroups(7), proc_stat(5); of the kernel `admin-guide/cgroup-v2.rst` (`cpu.max`, `cpu.stat`) and
//! `scheduler/sched-bwc.rst`.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kernel::{Group, GroupCpu, Kernel};
use super::{Finding, level, ratio, seconds, worst};
use crate::cancel::Scope;
use crate::component::{Kind, Placement};
use crate::error::{Error, ErrorKind, Result};
use crate::health::{Blocking, CheckOutcome, CheckStatus, HealthCheck};

/// The kind, for the registry.
pub const KIND: Kind<dyn HealthCheck> = Kind {
    name: "cpu",
    summary: "The control group and the machine have CPU left, over a window",
    placement: Placement::Anywhere,
    build: |context, settings| Ok(Arc::new(CpuCheck::new(context.settings(settings)?)?)),
    detect: None,
};

/// A share is taken over at least this.
const SHORTEST: Duration = Duration::from_millis(100);
/// No more looks than this are remembered; enough for one each second of the longest window that makes sense.
const REMEMBERED: usize = 4096;

/// Settings of [`CpuCheck`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CpuSettings {
    /// Warn when more than this share is in use.
    pub warn_ratio: f64,
    /// Fail when more than this share is in use. Off unless set.
    pub fail_ratio: Option<f64>,
    /// Warn when the group was made to wait in more than this share of its periods.
    pub warn_throttled_ratio: f64,
    /// How long a time the shares are taken over, in seconds.
    pub window_seconds: f64,
}

impl Default for CpuSettings {
    fn default() -> Self {
        Self { warn_ratio: 0.90, fail_ratio: None, warn_throttled_ratio: 0.25, window_seconds: 60.0 }
    }
}

/// Looks at the CPU time of the control group and of the machine.
#[derive(Debug)]
pub struct CpuCheck {
    settings: CpuSettings,
    window: Duration,
    kernel: Kernel,
    looks: Mutex<VecDeque<Look>>,
    reading: Blocking,
}

impl CpuCheck {
    /// A check as the settings describe it.
    ///
    /// # Errors
    /// When a share is not from 0 to 1, or the window not above 0 and at most an hour.
    pub fn new(settings: CpuSettings) -> Result<Self> {
        ratio("warn_ratio", settings.warn_ratio)?;
        settings.fail_ratio.map(|share| ratio("fail_ratio", share)).transpose()?;
        ratio("warn_throttled_ratio", settings.warn_throttled_ratio)?;
        let window = seconds("window_seconds", settings.window_seconds)?.max(SHORTEST);
        let (kernel, reading) = (Kernel::default(), Blocking::default());
        Ok(Self { settings, window, kernel, looks: Mutex::default(), reading })
    }

    /// The same, of the machine whose `proc` and `sys` are in this folder.
    #[must_use]
    pub fn below(mut self, root: impl Into<PathBuf>) -> Self {
        self.kernel = Kernel::below(root);
        self
    }

    async fn look(&self, scope: &Scope) -> Result<Look> {
        let (kernel, clock) = (self.kernel.clone(), Arc::clone(&scope.clock));
        self.reading.run(scope, move || Look::take(&kernel, clock.monotonic())).await
    }

    /// Remembers `look`, and returns the one that the window reaches back to.
    fn remember(&self, look: &Look) -> Option<Look> {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let age = |old: &Look| look.at.saturating_sub(old.at);
        // One that is at least as old as the window is the best, and the ones before it are of no more use.
        while looks.get(1).is_some_and(|second| age(second) >= self.window) || looks.len() >= REMEMBERED {
            looks.pop_front();
        }
        if looks.front().is_some_and(|first| age(first) > self.window * 2) {
            looks.pop_front();
        }
        let start = looks.front().filter(|first| age(first) >= SHORTEST).cloned();
        if looks.back().is_none_or(|last| age(last) >= SHORTEST) {
            looks.push_back(look.clone());
        }
        start
    }

    fn judge(&self, before: &Look, now: &Look) -> CheckOutcome {
        let settings = &self.settings;
        let fail = settings.fail_ratio.unwrap_or(f64::INFINITY);
        let past = now.at.saturating_sub(before.at).as_secs_f64();
        let mut findings = Vec::new();
        let mut told = |share: f64, name: &str, of: &str| {
            let status = level(share, settings.warn_ratio, fail);
            let repair = if status == CheckStatus::Pass { "" } else { ": find what is busy, or give it more" };
            let message = format!("{name} used {:.0} % of {of} in {past:.1} s{repair}", share * 100.0);
            findings.push(Finding { status, message, observed: share, unit: "ratio" });
        };
        let ticks = now.machine.total.saturating_sub(before.machine.total);
        if ticks > 0 {
            let busy = now.machine.busy.saturating_sub(before.machine.busy) as f64 / ticks as f64;
            told(busy.min(1.0), "the machine", &format!("{} cores", now.cores));
        }
        for group in &now.groups {
            let Some(old) = before.groups.iter().find(|old| old.name == group.name) else { continue };
            if past > 0.0 {
                let used = group.used_seconds - old.used_seconds;
                told((used / past / group.cores).max(0.0), &group.name, &format!("{:.2} cores", group.cores));
            }
        }
        // The fullest first: of several with the same verdict its number is told.
        findings.sort_by(|a, b| b.observed.total_cmp(&a.observed));
        for group in &now.groups {
            let Some(old) = before.groups.iter().find(|old| old.name == group.name) else { continue };
            let periods = group.periods.saturating_sub(old.periods);
            let share = group.throttled.saturating_sub(old.throttled) as f64 / periods.max(1) as f64;
            if periods > 0 && share > settings.warn_throttled_ratio {
                let message = format!(
                    "{} was made to wait in {:.0} % of its periods in {past:.1} s: raise its quota of {:.2} cores",
                    group.name,
                    share * 100.0,
                    group.cores
                );
                findings.push(Finding { status: CheckStatus::Warn, message, observed: share, unit: "ratio" });
            }
        }
        worst(findings)
            .unwrap_or_else(|| CheckOutcome::new(CheckStatus::Warn, "no CPU time has passed: nothing can be said"))
    }
}

/// The counters at one moment.
#[derive(Debug, Clone)]
struct Look {
    at: Duration,
    cores: u64,
    machine: Ticks,
    groups: Vec<Quota>,
}

impl Look {
    fn take(kernel: &Kernel, at: Duration) -> Result<Self> {
        let machine = Ticks::parse(&kernel.read("/proc/stat")?)
            .ok_or_else(|| Error::new(ErrorKind::Unsupported, "/proc/stat does not say how busy the machine is"))?;
        let used = kernel.groups("cpuacct");
        let groups = kernel.groups("cpu").into_iter().enumerate();
        let groups = groups.filter_map(|(at, group)| Quota::of(&group, used.get(at))).collect();
        Ok(Self { at, cores: kernel.cores()?, machine, groups })
    }
}

/// The machine's time, in ticks of all cores together.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ticks {
    total: u64,
    busy: u64,
}

impl Ticks {
    /// The line `cpu user nice system idle iowait irq softirq steal guest guest_nice`. Guests are counted in `user` and
    /// `nice` already, and who waits for a disk is idle.
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let fields: Vec<u64> = line.split_ascii_whitespace().take(8).map_while(|field| field.parse().ok()).collect();
        let idle = fields.get(3)? + fields.get(4).unwrap_or(&0);
        let total = fields.iter().sum::<u64>();
        Some(Self { total, busy: total - idle })
    }
}

/// A group with a quota.
#[derive(Debug, Clone, PartialEq)]
struct Quota {
    name: String,
    /// How many cores' time it may use.
    cores: f64,
    used_seconds: f64,
    periods: u64,
    throttled: u64,
}

impl Quota {
    /// `accounting` is the same group in the hierarchy that counts, which the old kind may have apart.
    fn of(group: &Group, accounting: Option<&Group>) -> Option<Self> {
        let cpu = GroupCpu::of(group, accounting);
        Some(Self {
            name: group.name(),
            cores: cpu.cores?,
            used_seconds: cpu.used_seconds?,
            periods: cpu.periods,
            throttled: cpu.throttled_periods,
        })
    }
}

#[async_trait]
impl HealthCheck for CpuCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        let now = self.look(scope).await?;
        if let Some(before) = self.remember(&now) {
            return Ok(self.judge(&before, &now));
        }
        tokio::select! {
            () = tokio::time::sleep(SHORTEST) => {}
            () = scope.cancel.cancelled() => scope.cancel.check()?,
        }
        let later = self.look(scope).await?;
        self.remember(&later);
        Ok(self.judge(&now, &later))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::kernel::fake::{NEW, OLD, machine, put};
    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    fn check(root: &Path) -> CpuCheck {
        CpuCheck::new(CpuSettings::default()).unwrap().below(root)
    }

    /// A machine of two cores that has been busy and idle for these ticks.
    fn stat(root: &Path, busy: u64, idle: u64) {
        let text = format!("cpu  {busy} 0 0 {idle} 0 0 0 0 5 5\ncpu0 1 1 1 1\ncpu1 1 1 1 1\nintr 1\n");
        put(root, &[("/proc/stat", &text)]);
    }

    fn look(root: &Path, at: u64) -> Look {
        Look::take(&Kernel::below(root), Duration::from_secs(at)).unwrap()
    }

    #[test]
    fn the_share_falls_again_when_the_load_ends() {
        // The guide's alert compared the counter itself, and fired for ever.
        let (_folder, root) = machine(&[]);
        let check = check(&root);
        let mut busy = 0;
        let mut verdicts = Vec::new();
        for minute in 0..8_u64 {
            busy += if (2..4).contains(&minute) { 6000 } else { 600 };
            stat(&root, busy, 6000 * minute + 6000 - busy.min(6000 * minute + 6000));
            let now = look(&root, minute * 60);
            if let Some(before) = check.remember(&now) {
                verdicts.push(check.judge(&before, &now).status);
            }
        }
        use CheckStatus::{Pass, Warn};
        assert_eq!(verdicts, [Pass, Warn, Warn, Pass, Pass, Pass, Pass]);
    }

    #[test]
    fn the_window_reaches_back_to_the_run_that_is_as_old() {
        let (_folder, root) = machine(&[]);
        let check = check(&root);
        stat(&root, 1, 1);
        let start = |at: f64| {
            let look = Look { at: Duration::from_secs_f64(at), ..look(&root, 0) };
            check.remember(&look).map(|look| look.at.as_secs())
        };
        assert_eq!(start(100.0), None);
        assert_eq!(start(100.05), None);
        assert_eq!(start(115.0), Some(100));
        assert_eq!(start(130.0), Some(100));
        assert_eq!(start(161.0), Some(100));
        assert_eq!(start(176.0), Some(115));
        // After a long pause an average would say nothing about now.
        assert_eq!(start(1000.0), None);
        assert_eq!(start(1015.0), Some(1000));
    }

    #[test]
    fn a_group_is_judged_by_its_quota() {
        let (_folder, root) = machine(NEW);
        let group = |used: u64, periods: u64, throttled: u64| {
            let stat = format!("usage_usec {used}\nnr_periods {periods}\nnr_throttled {throttled}\n");
            put(
                &root,
                &[("/sys/fs/cgroup/app/web/cpu.max", "50000 100000\n"), ("/sys/fs/cgroup/app/web/cpu.stat", &stat)],
            );
        };
        let check = check(&root);
        stat(&root, 0, 0);
        group(0, 0, 0);
        let before = look(&root, 0);
        stat(&root, 500, 1500);
        group(2_000_000, 100, 10);
        let outcome = check.judge(&before, &look(&root, 10));
        assert_eq!((outcome.status, outcome.observed), (CheckStatus::Pass, Some(0.4)));
        assert_eq!(
            outcome.message,
            "the control group used 40 % of 0.50 cores in 10.0 s; the machine used 25 % of 2 cores in 10.0 s"
        );
        // A half-idle machine, and a group that has used up what it may.
        group(4_800_000, 100, 26);
        let outcome = check.judge(&before, &look(&root, 10));
        assert_eq!((outcome.status, outcome.observed), (CheckStatus::Warn, Some(0.96)));
        group(2_000_000, 100, 26);
        let outcome = check.judge(&before, &look(&root, 10));
        assert_eq!((outcome.status, outcome.observed), (CheckStatus::Warn, Some(0.26)));
        // Counters that went back, as those of a group made anew, are no load.
        let after = look(&root, 10);
        group(0, 0, 0);
        assert_eq!(check.judge(&after, &look(&root, 20)).status, CheckStatus::Pass);
        let strict = CpuCheck::new(CpuSettings { fail_ratio: Some(0.95), ..CpuSettings::default() }).unwrap();
        group(4_800_000, 1, 0);
        assert_eq!(strict.judge(&before, &look(&root, 10)).status, CheckStatus::Fail);
    }

    #[test]
    fn the_old_hierarchy_says_the_same_in_other_words() {
        let (_folder, root) = machine(OLD);
        stat(&root, 1, 1);
        let file = |name: &str| format!("/sys/fs/cgroup/cpu,cpuacct/app/web/{name}");
        put(&root, &[(&file("cpu.cfs_quota_us"), "150000\n"), (&file("cpu.cfs_period_us"), "100000\n")]);
        put(&root, &[(&file("cpuacct.usage"), "2500000000\n"), (&file("cpu.stat"), "nr_periods 7\nnr_throttled 2\n")]);
        let quota = &look(&root, 0).groups[0];
        assert_eq!((quota.cores, quota.used_seconds, quota.periods, quota.throttled), (1.5, 2.5, 7, 2));
        put(&root, &[(&file("cpu.cfs_quota_us"), "-1\n")]);
        assert_eq!(look(&root, 0).groups, []);
    }

    #[test]
    fn guests_are_not_counted_twice_and_waiting_for_a_disk_is_idle() {
        assert_eq!(Ticks::parse("cpu  10 1 5 80 4 1 1 2 9 9\n"), Some(Ticks { total: 104, busy: 20 }));
        assert_eq!(Ticks::parse("cpu 1 1 1 7\n"), Some(Ticks { total: 10, busy: 3 }));
        for wrong in ["", "cpu", "cpu0 1 1 1 1", "cpu 1 1 1", "cpu a b c d"] {
            assert_eq!(Ticks::parse(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn this_machine_can_be_read() {
        let check = CpuCheck::new(CpuSettings::default()).unwrap();
        assert!(check.check(&Scope::default()).await.unwrap().observed.is_some());
        // A clock that stands still must not divide by zero.
        let still = Scope { clock: Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH)), ..Scope::default() };
        assert!(check.check(&still).await.unwrap().observed.is_none_or(f64::is_finite));
        for wrong in [
            CpuSettings { window_seconds: 0.0, ..CpuSettings::default() },
            CpuSettings { fail_ratio: Some(2.0), ..CpuSettings::default() },
        ] {
            assert!(CpuCheck::new(wrong).is_err());
        }
    }
}
