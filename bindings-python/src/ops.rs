//! [`NativeOps`]: building, calling, closing.

use std::path::PathBuf;
use std::time::Duration;

use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use uplifted_ops::ops::{Ops, OpsBuilder};
use uplifted_ops::{Error, ErrorKind, Result};

use crate::call::{self, Call};
use crate::errors::OrRaise;
use crate::python::PythonThread;

/// What Python's constructors collect.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    root: Option<PathBuf>,
    config_file: Option<PathBuf>,
    settings: Value,
    callback_seconds: Option<f64>,
    worker: WorkerProgram,
}

/// How a worker is started from this interpreter.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum WorkerProgram {
    Command(Vec<String>),
    /// It cannot be: the reason.
    None(String),
}

impl Options {
    fn builder(self) -> Result<OpsBuilder> {
        let mut builder = Ops::builder();
        if let Some(root) = self.root {
            builder = builder.root(root);
        }
        if let Some(path) = self.config_file {
            builder = builder.config_file(path);
        }
        if !self.settings.is_null() {
            builder = builder.overrides(&self.settings);
        }
        if let Some(seconds) = self.callback_seconds {
            builder = builder.callback_deadline(duration("callback_timeout", seconds)?);
        }
        Ok(match self.worker {
            WorkerProgram::Command(command) => builder.worker_command(command),
            WorkerProgram::None(why) => builder.no_worker(
                Error::new(ErrorKind::Unsupported, why).with_hint(
                    "set worker.command to a program that can be the worker, such as \
                     [\"/usr/bin/python3\", \"-m\", \"uplifted_ops\"]",
                ),
            ),
        })
    }
}

/// Seconds as a duration.
fn duration(name: &str, seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        Error::invalid(format!("{name} = {seconds} is not a number of seconds")).with_hint("give 0 or more")
    })
}

/// One `Ops`, under the two Python classes.
#[pyclass(frozen, weakref, name = "Ops", module = "uplifted_ops._native")]
pub(crate) struct NativeOps {
    ops: Ops,
    python: PythonThread,
}

#[pymethods]
impl NativeOps {
    /// Builds it from JSON text.
    #[new]
    fn new(py: Python<'_>, options: &str) -> PyResult<Self> {
        let build = || {
            let options: Options = serde_json::from_str(options)
                .map_err(|error| Error::invalid(format!("the options are wrong: {error}")))?;
            let builder = options.builder()?;
            Ok(Self { ops: builder.build()?, python: PythonThread::start()? })
        };
        py.detach(build).or_raise(py)
    }

    /// Runs an operation and waits for it: whether the answer is a good one, and the answer as JSON text.
    #[pyo3(signature = (name, request, timeout=None, on_progress=None))]
    fn call(
        &self,
        py: Python<'_>,
        name: &str,
        request: &str,
        timeout: Option<f64>,
        on_progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<(bool, String)> {
        let (request, timeout) = prepare(request, timeout).or_raise(py)?;
        let answer = call::run(py, &self.ops, name, request, timeout, on_progress)?.or_raise(py)?;
        Ok((answer.healthy, answer.response.to_string()))
    }

    /// Starts an operation; the listener is told its end, see `call::start`.
    #[pyo3(signature = (name, request, listener, timeout=None, wants_progress=false))]
    fn start(
        &self,
        py: Python<'_>,
        name: &str,
        request: &str,
        listener: Py<PyAny>,
        timeout: Option<f64>,
        wants_progress: bool,
    ) -> PyResult<Call> {
        prepare(request, timeout)
            .and_then(|(request, timeout)| {
                call::start(&self.ops, &self.python, name, request, timeout, listener, wants_progress)
            })
            .or_raise(py)
    }

    /// Cancels what runs, ends the workers, and tells the listener when none is left.
    fn start_close(&self, py: Python<'_>, listener: Py<PyAny>) -> PyResult<()> {
        let (closed, python) = (self.ops.close(), self.python.clone());
        let work = async move {
            closed.await;
            python.post(move |py| listener.call_method1(py, "settle", (true, true, "null")).map(drop));
        };
        self.ops.spawn(work).or_raise(py)
    }

    /// Cancels what runs and ends the workers; says whether none is left after `patience` seconds.
    fn close(&self, py: Python<'_>, patience: f64) -> PyResult<bool> {
        let patience = duration("patience", patience).or_raise(py)?;
        let (closed, sleep) = (self.ops.close(), async move { tokio::time::sleep(patience).await });
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let started = self.ops.spawn(async move {
            let done = tokio::select! {
                () = closed => true,
                () = sleep => false,
            };
            let _ = sender.send(done);
        });
        if started.is_err() {
            // A forked child: nothing of it is ours.
            return Ok(true);
        }
        Ok(call::wait(py, receiver, || Ok(()))?.unwrap_or(true))
    }

    /// Ends the thread that calls Python. Nothing is told to a listener afterwards.
    fn stop(&self, py: Python<'_>) {
        self.python.stop(py);
    }
}

/// The arguments of a call, parsed.
fn prepare(request: &str, timeout: Option<f64>) -> Result<(Value, Option<Duration>)> {
    let request = serde_json::from_str(request)
        .map_err(|error| Error::invalid(format!("the request is not JSON: {error}")))?;
    Ok((request, timeout.map(|seconds| duration("timeout", seconds)).transpose()?))
}
