//! Errors as Python exceptions.

use pyo3::prelude::*;
use pyo3::types::PyString;
use uplifted_ops::Error;

/// The wire form of an error, as JSON text.
pub(crate) fn to_json(error: &Error) -> String {
    // A body is made of strings, a flag and maps of strings: it is always JSON.
    serde_json::to_string(&error.to_body()).unwrap_or_default()
}

/// The exception of an error: a subclass of `OpsError`, with its causes.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    let made = py
        .import("uplifted_ops._errors")
        .and_then(|module| module.call_method1("from_json", (PyString::new(py, &to_json(error)),)));
    match made {
        Ok(exception) => PyErr::from_value(exception),
        Err(failure) => failure,
    }
}

/// Turns the error of a result into an exception.
pub(crate) trait OrRaise<T> {
    /// See [`raise`].
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for Result<T, Error> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| raise(py, &error))
    }
}
