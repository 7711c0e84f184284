//! Instruments over the registry of the process, and over others. Python's classes derive from these, see `metrics.py`.

mod children;
mod families;
pub(crate) mod fast;
mod instruments;

use std::sync::Arc;

use pyo3::prelude::*;
use uplifted_ops::Error;
use uplifted_ops::metrics;

pub(crate) use families::{CounterFamily, GaugeFamily, HistogramFamily, InfoFamily, Registry};
pub(crate) use instruments::{Counter, Gauge, Histogram};

use crate::errors::OrRaise;

fn texts(values: &[String]) -> Vec<&str> {
    values.iter().map(String::as_str).collect()
}

/// What the operating system says about this process, as the JSON of a snapshot.
#[pyfunction]
pub(crate) fn process_metrics(py: Python<'_>) -> PyResult<String> {
    let registry = metrics::Registry::new();
    registry.collect_from(Arc::new(metrics::ProcessCollector::new()));
    json(&registry.snapshot()).or_raise(py)
}

fn json(snapshot: &metrics::MetricsSnapshot) -> uplifted_ops::Result<String> {
    serde_json::to_string(snapshot).map_err(|error| Error::internal(format!("a snapshot is no JSON: {error}")))
}
