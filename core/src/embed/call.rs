//! Operations as a binding calls them: text in, text out.

use std::time::Duration;

use serde_json::Value;

use crate::cancel::Scope;
use crate::error::{Error, Result};
use crate::ops::Ops;

/// The answer of an operation, as it crosses into another language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The response as JSON text.
    pub response: String,
    /// See [`Operation::healthy`](crate::ops::Operation::healthy): a value, never an exception.
    pub healthy: bool,
}

/// Runs the operation `name` with a request in JSON text; empty text is `{}`. The future may be awaited on any
/// executor; dropped, it cancels the operation. When `timeout` has passed the operation is cancelled, and the error is
/// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout).
///
/// # Errors
/// Those of [`Ops::call`]; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for what is not JSON.
pub fn call(
    ops: &Ops,
    scope: Scope,
    name: &str,
    request: &str,
    timeout: Option<Duration>,
) -> impl Future<Output = Result<Answered>> + Send + 'static {
    let request = match request.trim() {
        "" => Ok(Value::Null),
        text => serde_json::from_str(text).map_err(|error| {
            Error::invalid(format!("the request is not JSON: {error}"))
                .with_hint("this is a defect of the binding: please report it with this message")
                .in_operation(name)
        }),
    };
    let (ops, name) = (ops.clone(), name.to_owned());
    async move {
        let answer = match timeout {
            Some(timeout) => ops.call_within(scope, &name, request?, timeout).await?,
            None => ops.call(scope, &name, request?).await?,
        };
        Ok(Answered { response: answer.response.to_string(), healthy: answer.healthy })
    }
}
