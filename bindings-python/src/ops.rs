//! `NativeOps`: building, calling, closing.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use uplifted_ops::ops::{Ops, OpsBuilder};
use uplifted_ops::{Error, ErrorKind, Result};

use crate::call::{self, Call};
use crate::errors::OrRaise;
use crate::http::Responder;
use crate::plugin::{self, Host, PyPlugin};
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
        let mut builder = Ops::builder().setup(crate::program::setup());
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
            WorkerProgram::None(why) => builder.no_worker(Error::new(ErrorKind::Unsupported, why).with_hint(
                "set worker.command to a program that can be the worker, such as \
                     [\"/usr/bin/python3\", \"-m\", \"uplifted_ops\"]",
            )),
        })
    }
}

/// Seconds as a duration.
fn duration(name: &str, seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        Error::invalid(format!("{name} = {seconds} is not a number of seconds")).with_hint("give 0 or more")
    })
}

/// A sign of life.
#[pyclass(frozen, module = "uplifted_ops._native")]
pub(crate) struct Pulse(uplifted_ops::health::Pulse);

#[pymethods]
impl Pulse {
    /// It goes on.
    fn beat(&self) {
        self.0.beat();
    }

    /// It stops, as it should.
    fn rest(&self) {
        self.0.rest();
    }
}

/// One `Ops`, under the two Python classes.
#[pyclass(frozen, name = "Ops", module = "uplifted_ops._native")]
pub(crate) struct NativeOps {
    /// `None` once closed: then nothing holds the plugins any more, and what they hold can be collected.
    ops: RwLock<Option<Ops>>,
    python: PythonThread,
}

#[pymethods]
impl NativeOps {
    /// Builds it from JSON text and plugins, each with its contract and name. `runner` runs their methods.
    #[new]
    fn new(
        py: Python<'_>,
        options: &str,
        plugins: Vec<(String, String, Bound<'_, PyAny>)>,
        runner: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let options: Options = serde_json::from_str(options)
            .map_err(|error| Error::invalid(format!("the options are wrong: {error}")))
            .or_raise(py)?;
        let mut builder = options.builder().or_raise(py)?;
        let python = PythonThread::start().or_raise(py)?;
        if let Some(runner) = runner {
            let host = Host::new(python.clone(), runner);
            for (contract, name, object) in plugins {
                let contract = plugin::contract(&contract).or_raise(py)?;
                let plugin = PyPlugin::wrap(&host, &object, Some(contract))?;
                builder = builder.plugin(contract, &name, Arc::new(plugin)).or_raise(py)?;
            }
        }
        let ops = py.detach(|| builder.build()).or_raise(py)?;
        Ok(Self { ops: RwLock::new(Some(ops)), python })
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
        let (ops, timeout) = self.prepare(timeout).or_raise(py)?;
        let answer = call::run(py, &ops, name, request, timeout, on_progress)?.or_raise(py)?;
        Ok((answer.healthy, answer.response))
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
        self.prepare(timeout)
            .and_then(|(ops, timeout)| {
                call::start(&ops, &self.python, name, request, timeout, listener, wants_progress)
            })
            .or_raise(py)
    }

    /// Whether it listens on an address of its own, or stands by to.
    #[getter]
    fn listens(&self) -> bool {
        self.open().is_some_and(|ops| ops.context().listener().is_some())
    }

    /// How often what goes on is to beat, in seconds.
    #[getter]
    fn beat_seconds(&self, py: Python<'_>) -> PyResult<f64> {
        self.prepare(None).map(|(ops, _)| ops.beat_period().as_secs_f64()).or_raise(py)
    }

    /// Something of the host that will beat.
    fn pulse(&self, py: Python<'_>, name: &str) -> PyResult<Pulse> {
        self.prepare(None).map(|(ops, _)| Pulse(ops.pulse(name))).or_raise(py)
    }

    /// Says that the service is about to stop, and gives the time that it goes on for, in seconds.
    fn drain(&self, py: Python<'_>) -> PyResult<f64> {
        let (ops, _) = self.prepare(None).or_raise(py)?;
        drop(ops.drain(Duration::ZERO));
        Ok(ops.drain_delay().as_secs_f64())
    }

    /// What answers requests of HTTP.
    fn responder(&self, py: Python<'_>) -> PyResult<Responder> {
        self.prepare(None).and_then(|(ops, _)| Responder::new(ops, self.python.clone())).or_raise(py)
    }

    /// Cancels what runs and ends the workers; raises `TimedOutError` when something is left after `patience` seconds.
    fn close(&self, py: Python<'_>, patience: f64) -> PyResult<()> {
        let patience = duration("timeout", patience).or_raise(py)?;
        let Some(ops) = self.open() else { return Ok(()) };
        let closed = call::wait(py, ops.close(patience), || Ok(()))?;
        py.detach(|| drop(self.ops.write().unwrap_or_else(PoisonError::into_inner).take()));
        closed.or_raise(py)
    }

    /// Ends the thread that calls Python. Nothing is told to a listener afterwards.
    fn stop(&self, py: Python<'_>) {
        self.python.stop(py);
    }
}

impl NativeOps {
    fn open(&self) -> Option<Ops> {
        self.ops.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn prepare(&self, timeout: Option<f64>) -> Result<(Ops, Option<Duration>)> {
        let ops = self.open().ok_or_else(|| {
            Error::new(ErrorKind::Refused, "this Ops is closed")
                .with_hint("build another one; close it when the service ends, and not before")
        })?;
        Ok((ops, timeout.map(|seconds| duration("timeout", seconds)).transpose()?))
    }
}
