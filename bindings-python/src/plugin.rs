//! Stores, targets, checks, sinks and pauses written in Python.
//!
//! Python's methods run on threads and event loops of Python, see `_runner.py`. Here a call is handed over to it on
//! the Python thread, and its [`Reply`] awaited.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use uplifted_ops::embed::{
    Argument, Contract, Plugin, PluginCall, PluginFacts, PluginReply, Raised, Spelling, methods,
};
use uplifted_ops::{Error, ErrorKind, Result, Scope};

use crate::python::PythonThread;

/// The contract that Python calls `name`.
pub(crate) fn contract(name: &str) -> Result<Contract> {
    match name {
        "store" => Ok(Contract::Store),
        "target" => Ok(Contract::Target),
        "check" => Ok(Contract::Check),
        "sink" => Ok(Contract::Sink),
        "pause" => Ok(Contract::Pause),
        _ => Err(Error::internal(format!("there is no contract {name:?}"))),
    }
}

/// Who runs the methods of the plugins of one `Ops`.
#[derive(Clone)]
pub(crate) struct Host(Arc<HostParts>);

struct HostParts {
    python: PythonThread,
    runner: Py<PyAny>,
}

impl Host {
    /// `runner` is a `_runner.Runner`.
    pub(crate) fn new(python: PythonThread, runner: Py<PyAny>) -> Self {
        Self(Arc::new(HostParts { python, runner }))
    }
}

/// An object of Python as a plugin.
pub(crate) struct PyPlugin {
    facts: PluginFacts,
    object: Arc<Py<PyAny>>,
    host: Host,
}

impl fmt::Debug for PyPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PyPlugin").field("class", &self.facts.class).finish_non_exhaustive()
    }
}

impl PyPlugin {
    /// Looks at the object: its methods, its capability. Without a contract it may be anything that a scene of the
    /// suites makes.
    pub(crate) fn wrap(host: &Host, object: &Bound<'_, PyAny>, contract: Option<Contract>) -> PyResult<Self> {
        let py = object.py();
        let names: Vec<&str> = methods()
            .filter(|method| contract.is_none_or(|contract| method.contract == contract))
            .map(|method| method.name)
            .collect();
        let what = contract.map(|contract| contract.to_string());
        let described = py.import("uplifted_ops._runner")?.call_method1("describe", (object, what, names))?;
        let (class, found, capability): (String, Vec<String>, Option<String>) = described.extract()?;
        let mut facts = PluginFacts::collect(class, Spelling::Snake, |name| found.iter().any(|found| found == name));
        if let Some(text) = capability {
            // Written by our own encoder.
            facts = facts.capability(serde_json::from_str(&text).unwrap_or_default());
        }
        Ok(Self { facts, object: Arc::new(object.clone().unbind()), host: host.clone() })
    }
}

#[async_trait]
impl Plugin for PyPlugin {
    fn facts(&self) -> PluginFacts {
        self.facts.clone()
    }

    async fn call(&self, scope: &Scope, mut call: PluginCall) -> Result<PluginReply> {
        let name = call.method.name;
        let mut block = None;
        let arguments: Vec<Value> = call
            .positional(Spelling::Snake)
            .into_iter()
            .map(|argument| match argument {
                Argument::Json(value) => value,
                Argument::Bytes(bytes) => {
                    block = Some(bytes);
                    json!({ "block": null })
                }
            })
            .collect();
        let arguments = Value::Array(arguments).to_string();

        let (sender, mut receiver) = oneshot::channel();
        let running = Running { host: Some(self.host.clone()), run: Arc::default() };
        let reply = Reply { sender: Mutex::new(Some(sender)), host: self.host.clone(), name };
        let (host, run, object) = (self.host.clone(), Arc::clone(&running.run), Arc::clone(&self.object));
        self.host.0.python.post(move |py| {
            let block = block.map(|block| PyBytes::new(py, &block));
            let reply = Bound::new(py, reply)?;
            let started = host.0.runner.call_method1(py, "start", (&reply, &*object, name, arguments, block));
            match started {
                Ok(started) => *lock(&run) = Some(started),
                Err(error) => reply.get().settle(Err(Error::internal(format!("{name} could not be started: {error}")))),
            }
            Ok(())
        });
        let answered = tokio::select! {
            answered = &mut receiver => answered,
            () = scope.cancel.cancelled() => {
                running.cancel();
                receiver.await
            }
        };
        running.finished();
        answered.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Unavailable, format!("{name} ended without an answer, since Python is ending"))
                .with_retryable(false))
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A call that Python works at. Dropped before its end, it is cancelled there.
struct Running {
    /// `None` once it has ended.
    host: Option<Host>,
    /// The `_runner.Run`, once it is begun.
    run: Arc<Mutex<Option<Py<PyAny>>>>,
}

impl Running {
    /// Asks Python to stop.
    fn cancel(&self) {
        let Some(host) = &self.host else { return };
        let run = Arc::clone(&self.run);
        // Posted after the start, so it finds what that has begun.
        host.0.python.post(move |py| match lock(&run).take() {
            Some(run) => run.call_method0(py, "cancel").map(drop),
            None => Ok(()),
        });
    }

    /// It has ended: there is nothing to cancel.
    fn finished(mut self) {
        self.host = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Takes the answer of one call from Python to whoever waits in Rust. What comes second is thrown away.
#[pyclass(frozen, module = "uplifted_ops._native")]
pub(crate) struct Reply {
    sender: Mutex<Option<oneshot::Sender<Result<PluginReply>>>>,
    host: Host,
    name: &'static str,
}

impl Reply {
    fn settle(&self, result: Result<PluginReply>) {
        if let Some(sender) = lock(&self.sender).take() {
            // Nobody waits for the answer of a call that was given up.
            let _ = sender.send(result);
        }
    }
}

#[pymethods]
impl Reply {
    /// The method returned: JSON text, a block, or an object.
    fn answer(
        &self,
        value: &str,
        block: Option<&Bound<'_, PyBytes>>,
        object: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let value = serde_json::from_str(value)
            .map_err(|error| pyo3::exceptions::PyValueError::new_err(format!("the answer is no JSON: {error}")))?;
        let object = match object {
            Some(object) => {
                let contract = (self.name == "upload").then_some(Contract::Upload);
                Some(Arc::new(PyPlugin::wrap(&self.host, object, contract)?) as Arc<dyn Plugin>)
            }
            None => None,
        };
        self.settle(Ok(PluginReply { value, bytes: block.map(|block| block.as_bytes().to_vec()), object }));
        Ok(())
    }

    /// The method raised. `ticket` finds the exception again, see `_errors.remember`.
    #[pyo3(signature = (class_name, message, *, kind=None, errno=None, hint=None, retryable=None, ticket=None))]
    #[expect(clippy::too_many_arguments, reason = "they are the fields of an exception, given by name")]
    fn fail(
        &self,
        class_name: String,
        message: String,
        kind: Option<&str>,
        errno: Option<i32>,
        hint: Option<String>,
        retryable: Option<bool>,
        ticket: Option<&str>,
    ) {
        let kind = kind.and_then(|kind| serde_json::from_value(Value::from(kind)).ok());
        let raised = Raised { class: class_name, message, kind, errno, hint, retryable, trace: None };
        let error = Error::from(raised);
        self.settle(Err(match ticket {
            Some(ticket) => error.with_context("exception", ticket),
            None => error,
        }));
    }
}
