//! Numbers that nobody counts: of this process beyond the standard ones, of its control group, and of the machine.
//!
//! `[metrics] collect` in `ops.toml` says which are asked; unless set, all are. Each is asked whenever a page or a
//! snapshot is made, by [`Collectors::families`].
//!
//! | collector | tells |
//! | --- | --- |
//! | `process` | `uplifted_ops_process_*`: proportional memory, swap, context switches, page faults, I/O, and what the process may use |
//! | `cgroup` | `uplifted_ops_cgroup_*`: memory, CPU and processes of the control group, their limits, and what hitting them did |
//! | `filesystem` | `uplifted_ops_filesystem_*`: room and inodes of each filesystem |
//! | `network` | `uplifted_ops_network_*`: bytes, packets, errors and drops of each interface |
//!
//! `process_*`, the standard names of all clients, come from [`ProcessCollector`](super::ProcessCollector) and are always there.
//!
//! # Why not `node_…`
//!
//! What these names end in is what node_exporter calls the same thing, and so are the labels: whoever knows
//! `node_filesystem_avail_bytes{device,fstype,mountpoint}` can read ours. They begin otherwise, because a node_exporter may run
//! beside the service. Under one name the same disk would then be in every sum twice, each alert on it would fire twice,
//! and what the container sees of the machine would pass for what the machine is.

mod cgroup;
mod filesystem;
mod network;
mod patient;
mod process;

use std::panic::AssertUnwindSafe;

use super::collector::{Collected, Collector};
use super::kernel::Kernel;
use super::snapshot::{Family, MetricKind};
use crate::clock::{Clock, SystemClock};
use crate::config::MetricsSettings;
use crate::error::Result;

/// Those of the settings, in a fixed order.
#[derive(Default)]
pub struct Collectors(Vec<Box<dyn Collector>>);

impl std::fmt::Debug for Collectors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|collector| collector.name())).finish()
    }
}

impl Collectors {
    /// Those that the settings name.
    ///
    /// # Errors
    /// When a filter is not a glob, or a number is out of bounds.
    pub fn new(settings: &MetricsSettings) -> Result<Self> {
        Self::below(settings, &Kernel::default())
    }

    fn below(settings: &MetricsSettings, kernel: &Kernel) -> Result<Self> {
        settings.check()?;
        let wanted = |name: &str| settings.collects(name);
        let mut all: Vec<Box<dyn Collector>> = Vec::new();
        if wanted("process") {
            all.push(Box::new(process::Usage::new(kernel.clone())));
        }
        if wanted("cgroup") {
            all.push(Box::new(cgroup::ControlGroup::new(kernel.clone())));
        }
        if wanted("filesystem") {
            all.push(Box::new(filesystem::Filesystems::new(kernel.clone(), settings)?));
        }
        if wanted("network") {
            all.push(Box::new(network::Network::new(kernel.clone(), settings)?));
        }
        Ok(Self(all))
    }

    /// Asks each. One that fails or panics gives nothing, and `uplifted_ops_collector_success` of it is 0.
    ///
    /// Reads files of the kernel, and waits for filesystems that do not answer no longer than
    /// `metrics.collector_deadline_seconds`: not for a thread that must not wait.
    pub fn families(&self) -> Vec<Family> {
        let clock = SystemClock;
        let mut success =
            Family::new("uplifted_ops_collector_success", MetricKind::Gauge, "1 when the collector gave its numbers");
        let mut took =
            Family::new("uplifted_ops_collector_duration_seconds", MetricKind::Gauge, "How long the collector took")
                .unit("seconds");
        let mut families = Vec::new();
        for collector in &self.0 {
            let began = clock.monotonic();
            let given = std::panic::catch_unwind(AssertUnwindSafe(|| {
                let mut out = Collected::default();
                collector.collect(&mut out).map(|()| out.0)
            }));
            let name = [("collector", collector.name())];
            let well = matches!(given, Ok(Ok(_)));
            success = success.number(&name, if well { 1.0 } else { 0.0 });
            took = took.number(&name, clock.monotonic().saturating_sub(began).as_secs_f64());
            if let Ok(Ok(given)) = given {
                families.extend(given.into_iter().filter(|family| !family.series.is_empty()));
            }
        }
        if !self.0.is_empty() {
            families.extend([success, took]);
        }
        for family in &mut families {
            family.series.sort_by(|a, b| a.labels.cmp(&b.labels));
            family.series.dedup_by(|a, b| a.labels == b.labels);
        }
        families
    }
}

/// A gauge.
fn gauge(name: &str, help: &str) -> Family {
    with_unit(Family::new(name, MetricKind::Gauge, help))
}

/// A counter; `name` without `_total`.
fn counter(name: &str, help: &str) -> Family {
    with_unit(Family::new(name, MetricKind::Counter, help))
}

fn with_unit(family: Family) -> Family {
    let unit = ["bytes", "seconds"].into_iter().find(|unit| family.name.rsplit('_').next() == Some(unit));
    match unit {
        Some(unit) => family.unit(unit),
        None => family,
    }
}

#[cfg(test)]
mod tests;
