//! Numbers: instruments that count, the registry that holds them, the texts that Prometheus reads, and the
//! contract of where they go.
//!
//! ```
//! use uplifted_ops::metrics::{Definition, Format, Registry, render};
//!
//! let registry = Registry::new();
//! let requests = registry.counters(Definition::new("shop_requests_total", "Requests answered").labels(&["status"]))?;
//! requests.with(&["200"])?.inc();
//!
//! let text = render(&registry.snapshot(), Format::Text);
//! assert!(text.contains("shop_requests_total{status=\"200\"} 1\n"));
//! # Ok::<(), uplifted_ops::Error>(())
//! ```
//!
//! | word | meaning |
//! | --- | --- |
//! | family | one name with its help, unit and label names |
//! | series | a family at one set of label values |
//! | handle | a [`Counter`], [`Gauge`] or [`Histogram`]: one series, a cheap clone, no lookup |
//! | collector | code that is asked for numbers when a snapshot is taken |
//! | snapshot | every series at one moment: what [`render`] and a [`MetricsSink`] take |
//!
//! Instruments work before anything else of this crate is set up: [`global`] is there from the first call, and
//! it holds `process_*` and `uplifted_ops_build_info` from the start. [`guide`] has the six metrics that the
//! operations guide asks of a service, [`own`] has ours.

mod collector;
mod exporter;
mod exposition;
mod family;
mod guide;
mod info;
mod instrument;
mod names;
pub mod own;
mod process;
pub(crate) mod procfs;
mod registry;
mod sink;
pub mod sinks;
mod snapshot;

pub use collector::{Collected, Collector};
pub use exporter::{Exporter, Outlet, Source};
pub use exposition::{Format, negotiate, render};
pub use family::{CounterFamily, GaugeFamily, HistogramFamily, InstrumentFamily, MAX_SERIES, OVERFLOW_LABEL};
pub use guide::{Guide, guide};
pub use info::InfoFamily;
pub use instrument::{Counter, DEFAULT_BOUNDS, Gauge, Histogram, Instrument};
pub use names::Definition;
pub use process::{BuildInfo, ProcessCollector};
pub use registry::{Registry, global};
pub use sink::MetricsSink;
pub use snapshot::{Distribution, Family, MetricKind, MetricsSnapshot, Series, Value};

#[cfg(test)]
mod tests;
