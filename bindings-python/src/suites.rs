//! The public contract suites.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use uplifted_ops::Error;
use uplifted_ops::embed::suites;

use crate::call;
use crate::errors::OrRaise;
use crate::plugin::{self, Host, PyPlugin};
use crate::python::PythonThread;

/// Runs the suite of a contract with plugins that `scene` makes; gives what became of every case, as JSON text.
#[pyfunction]
pub(crate) fn run_suite(
    py: Python<'_>,
    contract: &str,
    scene: &Bound<'_, PyAny>,
    runner: Py<PyAny>,
    deadline: f64,
) -> PyResult<String> {
    let contract = plugin::contract(contract).or_raise(py)?;
    let deadline = Duration::try_from_secs_f64(deadline)
        .map_err(|_| Error::invalid(format!("deadline = {deadline} is not a number of seconds")))
        .or_raise(py)?;
    let python = PythonThread::start().or_raise(py)?;
    let scene = PyPlugin::wrap(&Host::new(python.clone(), runner), scene, None)?;
    let outcomes = call::wait(py, suites::run(contract, Arc::new(scene), deadline), || Ok(()));
    python.stop(py);
    let outcomes = outcomes?.or_raise(py)?;
    // Names, clauses and texts: always JSON.
    Ok(serde_json::to_string(&outcomes).unwrap_or_default())
}
