//! `status`.

use serde_json::Value;

use super::View;
use super::fields::fields;

/// What is running and how it is set up.
pub(in crate::cli) fn status(value: &Value, view: &View) -> String {
    fields(value, &[], view)
}
