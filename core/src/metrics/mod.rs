//! Numbers: the registry of instruments, and the contract of where they go.

mod sink;

pub use sink::MetricsSink;

/// Every series at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetricsSnapshot {}
