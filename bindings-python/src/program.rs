//! The command line and the worker.

use std::ffi::OsString;

use pyo3::prelude::*;
use uplifted_ops::testing;
use uplifted_ops::worker::{self, Setup};

/// What host and worker have. For tests of the binding a panic can be asked for, in a debug build alone.
pub(crate) fn setup() -> Setup {
    if cfg!(debug_assertions) { testing::setup() } else { Setup::new() }
}

/// Becomes a worker and never returns. `arguments` are those that the host appended, the marker among them.
#[pyfunction]
pub(crate) fn run_worker(arguments: Vec<OsString>) {
    let after = arguments.into_iter().skip_while(|argument| argument != worker::MARKER).skip(1);
    worker::run(after, setup());
}

/// Runs the command line; returns its exit status. `arguments` begin with the program's name. `worker` is the
/// program and arguments of the worker.
#[pyfunction]
pub(crate) fn run_cli(py: Python<'_>, arguments: Vec<OsString>, worker: Vec<OsString>) -> u8 {
    if arguments.get(1).is_some_and(|argument| argument == worker::MARKER) {
        worker::run(arguments.into_iter().skip(2), setup());
    }
    py.detach(|| uplifted_ops::cli::run_with(arguments, move |builder| builder.worker_command(worker.clone())))
}
