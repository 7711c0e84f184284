//! `cgroup`: what the control group of this process uses, what it may use, and how often it hit that.
//!
//! Both hierarchies of Linux, under the same names. A limit is the lowest of the group and of those above it that can be
//! seen; without a limit there is no series of it. A group that does not count a thing has none of it.
//!
//! | family | tells |
//! | --- | --- |
//! | `uplifted_ops_cgroup_memory_usage_bytes`, `…_working_set_bytes` | all memory; without what the kernel can take back at once |
//! | `uplifted_ops_cgroup_memory_limit_bytes` | the most that it may be |
//! | `uplifted_ops_cgroup_memory_events_total{event}` | times that a bound was hit: `high`, `max`, `oom`, `oom_kill`, … |
//! | `uplifted_ops_cgroup_cpu_usage_seconds_total` | CPU time of all its processes |
//! | `uplifted_ops_cgroup_cpu_limit_cores` | how many cores' time it may use |
//! | `uplifted_ops_cgroup_cpu_periods_total`, `…_throttled_periods_total`, `…_throttled_seconds_total` | periods of the quota, and those in which it was made to wait |
//! | `uplifted_ops_cgroup_pids`, `…_pids_limit` | processes and threads |
//!
//! Sources: the kernel's `admin-guide/cgroup-v2.rst` and `admin-guide/cgroup-v1/*.rst`.

use super::{Collected, Collector, counter, gauge};
use crate::error::Result;
use crate::metrics::kernel::{Group, GroupCpu, GroupMemory, Kernel, Version};
use crate::metrics::snapshot::Family;

/// Reads the files of the control group.
pub(super) struct ControlGroup {
    kernel: Kernel,
}

impl ControlGroup {
    pub(super) fn new(kernel: Kernel) -> Self {
        Self { kernel }
    }
}

impl Collector for ControlGroup {
    fn name(&self) -> &str {
        "cgroup"
    }

    fn collect(&self, out: &mut Collected) -> Result<()> {
        let mut families = memory(&self.kernel.groups("memory"));
        families.extend(cpu(&self.kernel.groups("cpu"), &self.kernel.groups("cpuacct")));
        families.extend(pids(&self.kernel.groups("pids")));
        families.into_iter().filter(|family| !family.series.is_empty()).try_for_each(|family| out.push(family))
    }
}

/// The lowest limit of the memory of these groups.
pub(super) fn memory_limit(groups: &[Group]) -> Option<u64> {
    groups.iter().filter_map(|group| GroupMemory::of(group)?.limit).min()
}

/// The lowest quota of these groups, in cores, and the group that has it.
pub(super) fn tightest(groups: &[Group], accounting: &[Group]) -> Option<GroupCpu> {
    let all = groups.iter().enumerate().map(|(at, group)| GroupCpu::of(group, accounting.get(at)));
    let bound = all.filter(|cpu| cpu.cores.is_some());
    bound.min_by(|a, b| a.cores.unwrap_or(f64::MAX).total_cmp(&b.cores.unwrap_or(f64::MAX)))
}

fn memory(groups: &[Group]) -> Vec<Family> {
    let Some((own, memory)) = groups.first().and_then(|own| Some((own, GroupMemory::of(own)?))) else {
        return Vec::new();
    };
    let mut events = counter(
        "uplifted_ops_cgroup_memory_events",
        "Times that the group's memory hit a bound, by what came of it; oom_kill counts processes that were killed",
    );
    match own.version {
        Version::One => {
            let kills = GroupMemory::kills(own);
            for (event, count) in [("max", own.number("memory.failcnt")), ("oom_kill", kills)] {
                events =
                    count.into_iter().fold(events, |events, count| events.number(&[("event", event)], count as f64));
            }
        }
        Version::Two => {
            for line in own.find("memory.events").unwrap_or_default().lines() {
                if let Some((event, count)) = line.split_once(' ')
                    && let Ok(count) = count.trim().parse::<u64>()
                {
                    events = events.number(&[("event", event)], count as f64);
                }
            }
        }
    }
    let limit = gauge("uplifted_ops_cgroup_memory_limit_bytes", "The most memory that the group may use");
    vec![
        gauge("uplifted_ops_cgroup_memory_usage_bytes", "Memory of the group, pages of files among it")
            .number(&[], memory.usage as f64),
        gauge(
            "uplifted_ops_cgroup_memory_working_set_bytes",
            "Memory of the group without pages of files that nobody has read lately",
        )
        .number(&[], memory.working_set() as f64),
        memory_limit(groups).into_iter().fold(limit, |family, limit| family.number(&[], limit as f64)),
        events,
    ]
}

fn cpu(groups: &[Group], accounting: &[Group]) -> Vec<Family> {
    let Some(own) = groups.first() else { return Vec::new() };
    let own = GroupCpu::of(own, accounting.first());
    let mut families = Vec::new();
    if let Some(used) = own.used_seconds {
        let family = counter("uplifted_ops_cgroup_cpu_usage_seconds", "CPU time of all processes of the group");
        families.push(family.number(&[], used));
    }
    let Some(bound) = tightest(groups, accounting) else { return families };
    let number = |family: Family, value: f64| family.number(&[], value);
    families.extend([
        number(
            gauge("uplifted_ops_cgroup_cpu_limit_cores", "How many cores' time the group may use"),
            bound.cores.unwrap_or_default(),
        ),
        number(
            counter("uplifted_ops_cgroup_cpu_periods", "Periods of the quota in which the group ran"),
            bound.periods as f64,
        ),
        number(
            counter("uplifted_ops_cgroup_cpu_throttled_periods", "Periods of the quota in which the group had to wait"),
            bound.throttled_periods as f64,
        ),
        number(
            counter("uplifted_ops_cgroup_cpu_throttled_seconds", "How long the group had to wait for its quota"),
            bound.throttled_seconds,
        ),
    ]);
    families
}

fn pids(groups: &[Group]) -> Vec<Family> {
    let current = groups.first().and_then(|own| own.number("pids.current"));
    let limit = groups.iter().filter_map(|group| group.number("pids.max")).min();
    let known = |family: Family, value: Option<u64>| value.into_iter().fold(family, |f, v| f.number(&[], v as f64));
    vec![
        known(gauge("uplifted_ops_cgroup_pids", "Processes and threads in the group"), current),
        known(gauge("uplifted_ops_cgroup_pids_limit", "The most processes and threads in the group"), limit),
    ]
}
