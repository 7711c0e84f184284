//! Errors on their way to JavaScript.

use std::fmt::Display;

use uplifted_ops::{Error, ErrorBody};

/// The JSON text in which an error crosses.
pub(crate) fn text(error: &Error) -> String {
    body_text(&error.to_body())
}

fn body_text(body: &ErrorBody) -> String {
    // Strings, a flag and a map of strings: it is always JSON.
    serde_json::to_string(body).unwrap_or_default()
}

/// An error to throw, whose message is the text above.
pub(crate) fn thrown(error: &Error) -> napi::Error {
    napi::Error::from_reason(text(error))
}

/// The error of text that TypeScript wrote and that should have been JSON.
pub(crate) fn not_json(what: &str, error: impl Display) -> Error {
    Error::invalid(format!("{what} is not JSON: {error}")).with_hint("give plain data: objects, lists, text, numbers")
}
