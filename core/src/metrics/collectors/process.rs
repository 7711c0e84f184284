//! `process`: this process beyond the standard names, and what it may use.
//!
//! | family | tells |
//! | --- | --- |
//! | `uplifted_ops_process_cpu_limit_cores` | how many cores' time it may use: those it may run on, or the quota of its control group |
//! | `uplifted_ops_process_memory_limit_bytes` | how much memory: that of the machine, or the limit of its control group |
//! | `uplifted_ops_process_proportional_memory_bytes` | its memory, with what it shares with others divided among them (PSS) |
//! | `uplifted_ops_process_swap_bytes` | its memory on disk |
//! | `uplifted_ops_process_context_switches_total{kind}` | `voluntary`: it waited; `involuntary`: it was made to |
//! | `uplifted_ops_process_page_faults_total{kind}` | `minor`; `major`: read from a disk |
//! | `uplifted_ops_process_io_bytes_total{direction}` | `read` and `write`, from and to disks |
//!
//! The first two are there so that an alert can divide by them: `rate(process_cpu_seconds_total[5m])` alone says
//! nothing about a share. The proportional memory is read at most every half minute, since for that the kernel goes
//! through all pages of the process.
//!
//! Sources: getrusage(2), proc_pid_smaps(5), proc_pid_io(5), proc_pid_status(5).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::cgroup::{memory_limit, tightest};
use super::{Collected, Collector, counter, gauge};
use crate::clock::{Clock, SystemClock};
use crate::error::Result;
use crate::metrics::kernel::Kernel;
use crate::metrics::procfs::kilobytes;
use crate::metrics::snapshot::Family;
use crate::process::Usage as Resources;

/// How long a reading of the proportional memory is good.
const PROPORTIONAL_FOR: Duration = Duration::from_secs(30);

/// Reads what this process uses.
pub(super) struct Usage {
    kernel: Kernel,
    proportional: Mutex<Option<(Duration, Proportional)>>,
}

#[derive(Debug, Clone, Copy)]
struct Proportional {
    memory: Option<u64>,
    swap: Option<u64>,
}

impl Usage {
    pub(super) fn new(kernel: Kernel) -> Self {
        Self { kernel, proportional: Mutex::new(None) }
    }

    fn proportional(&self) -> Proportional {
        let now = SystemClock.monotonic();
        let mut last = self.proportional.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, known)) = *last
            && now.saturating_sub(at) < PROPORTIONAL_FOR
        {
            return known;
        }
        let text = self.kernel.find("/proc/self/smaps_rollup").unwrap_or_default();
        let known = Proportional { memory: kilobytes(&text, "Pss:"), swap: kilobytes(&text, "SwapPss:") };
        *last = Some((now, known));
        known
    }

    /// How many cores' time this process may use.
    fn cores(&self) -> Option<f64> {
        let status = self.kernel.find("/proc/self/status").unwrap_or_default();
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).and_then(count_list);
        let all = self.kernel.cores().ok();
        let cores = allowed.into_iter().chain(all).min().map(|cores| cores as f64);
        let quota = tightest(&self.kernel.groups("cpu"), &[]).and_then(|cpu| cpu.cores);
        cores.into_iter().chain(quota).min_by(f64::total_cmp)
    }

    /// How much memory this process may use.
    fn memory(&self) -> Option<u64> {
        let all = self.kernel.find("/proc/meminfo").and_then(|text| kilobytes(&text, "MemTotal:"));
        memory_limit(&self.kernel.groups("memory")).into_iter().chain(all).min()
    }
}

/// How many numbers there are in a list such as `0-3,8`.
fn count_list(list: &str) -> Option<u64> {
    let counts = list.trim().split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
        Some(last.checked_sub(first)? + 1)
    });
    counts.sum::<Option<u64>>().filter(|count| *count > 0)
}

impl Collector for Usage {
    fn name(&self) -> &str {
        "process"
    }

    fn collect(&self, out: &mut Collected) -> Result<()> {
        let number = |family: Family, value: Option<f64>| value.into_iter().fold(family, |f, v| f.number(&[], v));
        let bytes = |value: Option<u64>| value.map(|value| value as f64);
        let Proportional { memory, swap } = self.proportional();
        let cores = gauge("uplifted_ops_process_cpu_limit_cores", "How many cores' time the process may use");
        let limit = gauge("uplifted_ops_process_memory_limit_bytes", "How much memory the process may use");
        let pss = gauge(
            "uplifted_ops_process_proportional_memory_bytes",
            "Memory of the process, with what it shares divided among those who share it",
        );
        out.push(number(cores, self.cores()))?;
        out.push(number(limit, bytes(self.memory())))?;
        out.push(number(pss, bytes(memory)))?;
        out.push(number(gauge("uplifted_ops_process_swap_bytes", "Memory of the process on disk"), bytes(swap)))?;
        if let Some(used) = Resources::of_this_process() {
            let by_kind = |name: &str, help: &str, values: [(&str, u64); 2]| {
                let family = counter(name, help);
                values.into_iter().fold(family, |family, (kind, value)| family.number(&[("kind", kind)], value as f64))
            };
            out.push(by_kind(
                "uplifted_ops_process_context_switches",
                "Times that a thread of the process stopped running, to wait or because it was made to",
                [("voluntary", used.voluntary_switches), ("involuntary", used.involuntary_switches)],
            ))?;
            out.push(by_kind(
                "uplifted_ops_process_page_faults",
                "Page faults of the process; major ones are read from a disk",
                [("minor", used.minor_faults), ("major", used.major_faults)],
            ))?;
        }
        // Another user's, or a kernel without I/O accounting: then there is no such series.
        let io = self.kernel.find("/proc/self/io").unwrap_or_default();
        let mut family =
            counter("uplifted_ops_process_io_bytes", "Bytes that the process read from and wrote to disks");
        for (direction, key) in [("read", "read_bytes: "), ("write", "write_bytes: ")] {
            let value = io.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok());
            family = value.into_iter().fold(family, |f, v| f.number(&[("direction", direction)], v as f64));
        }
        out.push(family)
    }
}

#[cfg(test)]
mod tests {
    use super::count_list;

    #[test]
    fn lists_of_cores_are_counted() {
        for (list, count) in
            [("0-3,8", Some(5)), (" 7\n", Some(1)), ("", None), ("3-1", None), ("a", None), ("0-63", Some(64))]
        {
            assert_eq!(count_list(list), count, "{list:?}");
        }
    }
}
