//! What is known about this process without anybody counting: `process_*` and `uplifted_ops_build_info`.

use std::sync::OnceLock;

use crate::error::Result;

use super::collector::{Collected, Collector};
use super::procfs::ProcessFiles;
use super::snapshot::{Family, MetricKind};

/// The metrics of the process by the names that all Prometheus clients use
/// ("Writing client libraries", Prometheus documentation). Gives nothing where there is no `/proc`.
#[derive(Debug)]
pub struct ProcessCollector {
    files: ProcessFiles,
    started: OnceLock<Option<f64>>,
}

impl ProcessCollector {
    /// For the process that it runs in.
    pub fn new() -> Self {
        Self { files: ProcessFiles::own(), started: OnceLock::new() }
    }
}

impl Default for ProcessCollector {
    fn default() -> Self {
        Self::new()
    }
}

impl Collector for ProcessCollector {
    fn name(&self) -> &str {
        "process"
    }

    fn collect(&self, out: &mut Collected) -> Result<()> {
        if !cfg!(target_os = "linux") {
            return Ok(());
        }
        let sample = self.files.sample()?;
        let counter =
            |name, help, value| Family::new(name, MetricKind::Counter, help).unit("seconds").number(&[], value);
        let gauge = |name, help, value: f64| Family::new(name, MetricKind::Gauge, help).number(&[], value);
        out.push(counter("process_cpu_seconds", "CPU time, user and system, in seconds", sample.cpu_seconds))?;
        out.push(
            gauge("process_resident_memory_bytes", "Resident memory in bytes", sample.resident_bytes as f64)
                .unit("bytes"),
        )?;
        out.push(
            gauge("process_virtual_memory_bytes", "Virtual memory in bytes", sample.virtual_bytes as f64).unit("bytes"),
        )?;
        out.push(gauge("process_threads", "Threads of the process", sample.threads as f64))?;
        if let Some(open) = sample.open_fds {
            out.push(gauge("process_open_fds", "Open file descriptors", open as f64))?;
        }
        let max = sample.max_fds.map_or(f64::INFINITY, |max| max as f64);
        out.push(gauge("process_max_fds", "The most file descriptors that may be open", max))?;
        // Computed once: the kernel's boot time moves with the wall clock, and a start must not.
        if let Some(started) = *self.started.get_or_init(|| self.files.start_time_seconds(sample.start_ticks)) {
            out.push(
                gauge("process_start_time_seconds", "Start of the process, in seconds since the epoch", started)
                    .unit("seconds"),
            )?;
        }
        Ok(())
    }
}

/// `uplifted_ops_build_info`: always 1, the facts are in the labels.
#[derive(Debug, Clone, Copy, Default)]
pub struct BuildInfo;

impl Collector for BuildInfo {
    fn name(&self) -> &str {
        "build_info"
    }

    fn collect(&self, out: &mut Collected) -> Result<()> {
        let labels =
            [("version", env!("CARGO_PKG_VERSION")), ("os", std::env::consts::OS), ("arch", std::env::consts::ARCH)];
        out.push(
            Family::new("uplifted_ops_build_info", MetricKind::Gauge, "The build of uplifted-ops, in the labels")
                .number(&labels, 1.0),
        )
    }
}
