//! Numbers that somebody else keeps, read when a snapshot is taken.

use crate::error::Result;

use super::names::check_family;
use super::snapshot::{Family, MetricKind};

/// Code that is asked for numbers whenever a snapshot is taken.
///
/// It is called on the thread that takes the snapshot, so it must be quick and must not take a snapshot of the
/// same registry. When it fails or panics, nothing of what it gave is used, the rest of the snapshot is
/// complete, and `uplifted_ops_collector_failures_total` counts it under its name.
pub trait Collector: Send + Sync {
    /// The name under which failures are counted.
    fn name(&self) -> &str;

    /// Adds families to `out`.
    fn collect(&self, out: &mut Collected) -> Result<()>;
}

/// The families that a collector gives.
#[derive(Debug, Default)]
pub struct Collected(pub(super) Vec<Family>);

impl Collected {
    /// Adds a family.
    ///
    /// # Errors
    /// When a name is not one, a label is reserved, or the name does not end in its unit.
    pub fn push(&mut self, family: Family) -> Result<()> {
        check_family(&family)?;
        self.0.push(family);
        Ok(())
    }

    /// Adds a gauge without labels.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) -> Result<()> {
        self.push(Family::new(name, MetricKind::Gauge, help).number(&[], value))
    }

    /// Adds a counter without labels; `name` without `_total`.
    pub fn counter(&mut self, name: &str, help: &str, value: f64) -> Result<()> {
        self.push(Family::new(name, MetricKind::Counter, help).number(&[], value))
    }
}
