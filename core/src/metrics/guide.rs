//! The six metrics that the operations guide asks of a service, with the labels that its alerts assume.

use std::sync::{Mutex, OnceLock, PoisonError};

use crate::error::Result;

use super::family::{CounterFamily, GaugeFamily, HistogramFamily};
use super::instrument::Gauge;
use super::mode::GaugeMode;
use super::names::Definition;
use super::registry::{Registry, global};

/// The guide's six metrics. The names are fixed, whatever the service is called: dashboards and alerts that
/// follow the guide know them by these.
///
/// ```
/// let metrics = uplifted_ops::metrics::guide()?;
/// metrics.requests.with(&["GET", "/status", "200"])?.inc();
/// metrics.request_duration.with(&["GET", "/status"])?.observe(0.012);
/// # Ok::<(), uplifted_ops::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Guide {
    /// `uplifted_requests_total{method,path,status}`. Give the route's pattern as `path`, not the path with its
    /// identifiers; the family's cap guards against what slips through.
    pub requests: CounterFamily,
    /// `uplifted_requests_duration_seconds{method,path}`.
    pub request_duration: HistogramFamily,
    /// `uplifted_active_plugins`.
    pub active_plugins: Gauge,
    /// `uplifted_tool_calls_total{tool}`.
    pub tool_calls: CounterFamily,
    /// `uplifted_tool_errors_total{tool}`.
    pub tool_errors: CounterFamily,
    /// `uplifted_db_connections{state}`; `state` is `active`, `idle`, ….
    pub db_connections: GaugeFamily,
}

impl Guide {
    /// Registers the six in `registry`.
    ///
    /// # Errors
    /// When one of the names is taken.
    pub fn register(registry: &Registry) -> Result<Self> {
        let define = Definition::new;
        Ok(Self {
            requests: registry.counters(
                define("uplifted_requests_total", "Requests answered, by method, route and status code")
                    .labels(&["method", "path", "status"]),
            )?,
            request_duration: registry.histograms(
                define("uplifted_requests_duration_seconds", "Time taken to answer requests, by method and route")
                    .unit("seconds")
                    .labels(&["method", "path"]),
            )?,
            active_plugins: registry
                // Each process of a service has the same.
                .gauges(define("uplifted_active_plugins", "Plugins that are active").mode(GaugeMode::LiveMax))?
                .with(&[])?,
            tool_calls: registry
                .counters(define("uplifted_tool_calls_total", "Calls of tools, by tool").labels(&["tool"]))?,
            tool_errors: registry.counters(
                define("uplifted_tool_errors_total", "Calls of tools that failed, by tool").labels(&["tool"]),
            )?,
            db_connections: registry
                .gauges(define("uplifted_db_connections", "Database connections, by state").labels(&["state"]))?,
        })
    }
}

/// The guide's six metrics in the [`global`] registry. The first call registers them: a service that never
/// calls this does not show them.
///
/// # Errors
/// When the host registered one of the names itself.
pub fn guide() -> Result<&'static Guide> {
    static GUIDE: OnceLock<Guide> = OnceLock::new();
    static FIRST: Mutex<()> = Mutex::new(());
    // Held so that two first callers do not register twice.
    let _first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
    match GUIDE.get() {
        Some(guide) => Ok(guide),
        None => Guide::register(global()).map(|guide| GUIDE.get_or_init(|| guide)),
    }
}
