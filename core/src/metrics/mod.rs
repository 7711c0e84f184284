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
//! Data flows one way through the rooms, and each knows only those before it:
//!
//! | room | what it has |
//! | --- | --- |
//! | `exemplar` | what some series have beside their cells: observations kept as examples |
//! | `slab` | cells of 8 bytes in chunks that never move: threads add to their own, readers sum |
//! | `native` | sparse buckets, each a cell |
//! | `family/series` | a series: its labels as the page shows them, and its cells |
//! | `instrument` | handles on a series, which count |
//! | `foreign` | an interpreter's own cells, in which it counts without a call |
//! | `family` | the series of a name by label values: lookup, cap and overflow, removal, expiry |
//! | `collector`, `process`, `own`, `guide` | families that somebody else keeps; families that we define |
//! | `kernel`, `procfs` | the files in which the kernel tells about the machine, control groups and processes |
//! | `collectors` | what is read from them, as families |
//! | `facade` | the recorder of the `metrics` facade, with the feature `metrics-facade` |
//! | `shared` | the sum over the processes of a service |
//! | `registry` | which families there are; asks for all of them |
//! | `snapshot` | every series as plain data, for sinks |
//! | `history` | snapshots of the last two hours, in little memory, and what can be reckoned with them |
//! | `exposition`, `number` | every series as text or protobuf, from a snapshot or straight from the cells |
//!
//! Instruments work before anything else of this crate is set up: [`global`] is there from the first call, and
//! it holds `process_*` and `uplifted_ops_build_info` from the start. [`guide`] has the six metrics that the
//! operations guide asks of a service, [`own`] has ours.

mod collector;
mod collectors;
mod exemplar;
mod exporter;
mod exposition;
#[cfg(feature = "metrics-facade")]
pub mod facade;
mod family;
mod foreign;
mod guide;
pub mod history;
mod info;
mod instrument;
pub(crate) mod kernel;
mod mode;
mod names;
mod native;
mod number;
pub mod own;
mod process;
pub(crate) mod procfs;
mod registry;
mod shared;
mod sink;
pub mod sinks;
mod slab;
mod snapshot;

pub use collector::{Collected, Collector};
pub use collectors::Collectors;
pub use exporter::{Exporter, Outlet, Source};
pub use exposition::{Encoding, Escaping, Exposition, Format, accepts_gzip, gzip, negotiate, render};
pub use family::{
    Adoptable, CounterFamily, GaugeFamily, HistogramFamily, InstrumentFamily, MAX_SERIES, OVERFLOW_LABEL,
    set_max_series,
};
pub use foreign::{ForeignCells, HostGauge, Place};
pub use guide::{Guide, guide};
pub use info::InfoFamily;
pub use instrument::{Counter, DEFAULT_BOUNDS, Gauge, Histogram, Instrument, SerialCounter};
pub use mode::GaugeMode;
pub use names::Definition;
pub use native::NativeBuckets;
pub use process::{BuildInfo, ProcessCollector};
#[cfg(any(test, feature = "testing"))]
pub(crate) use registry::set_clock;
pub use registry::{Registry, global};
pub use shared::{look_at_others, share, show};
pub use sink::MetricsSink;
pub use snapshot::{Distribution, Exemplar, Family, MetricKind, MetricsSnapshot, NativeDistribution, Series, Value};

#[cfg(test)]
mod tests;
