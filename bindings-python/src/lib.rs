//! The native half of the Python package `uplifted_ops`: private, see `python/uplifted_ops/_native.pyi`.
//!
//! What crosses is small: an operation's name and its request as JSON text, and its answer the same way. Types,
//! names and documentation are Python's, generated from the table of operations.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `ops` | `NativeOps`: building, calling, closing |
//! | `call` | one running operation: waited for by a thread, or told to an event loop |
//! | `python` | the one thread on which Rust calls Python |
//! | `plugin` | stores, targets, checks and sinks written in Python |
//! | `metrics` | instruments over the registry of the process |
//! | `http` | requests of ASGI and WSGI servers |
//! | `errors` | errors as Python exceptions |
//! | `program` | the command line and the worker |
//! | `suites` | the public contract suites |

#![allow(unsafe_code, reason = "the macros of pyo3 write the C side of the module")]

mod call;
mod errors;
mod http;
mod metrics;
mod ops;
mod plugin;
mod program;
mod python;
mod suites;

use pyo3::prelude::*;

/// The native half of `uplifted_ops`. Private: use the package.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::call::Call;
    #[pymodule_export]
    use super::http::Responder;
    #[pymodule_export]
    use super::metrics::fast::quick;
    #[pymodule_export]
    use super::metrics::{
        Counter, CounterFamily, Gauge, GaugeFamily, Histogram, HistogramFamily, InfoFamily, Registry, process_metrics,
    };
    #[pymodule_export]
    use super::ops::{NativeOps, Pulse};
    #[pymodule_export]
    use super::plugin::Reply;
    #[pymodule_export]
    use super::program::{run_cli, run_worker};
    #[pymodule_export]
    use super::suites::run_suite;

    /// Adds what the macros of pyo3 cannot write.
    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        super::metrics::fast::install(module.py())
    }

    /// The version of the core.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    /// The longest body that a request may have, in bytes.
    #[pymodule_export]
    const MAX_BODY: usize = uplifted_ops::http::MAX_BODY;
    /// The hidden argument that makes a program a worker.
    #[pymodule_export]
    const WORKER_MARKER: &str = uplifted_ops::worker::MARKER;
}
