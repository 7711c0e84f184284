//! Who answers: the seam between the command line and the operations.

use async_trait::async_trait;
use serde_json::Value;

use super::args::GlobalOptions;
use crate::cancel::Scope;
use crate::error::{Error, Result};
use crate::ops::{Answer, Entry};

/// Whoever runs operations: this process with its worker, or the running service.
#[async_trait]
pub(super) trait Caller: Send + Sync {
    /// Runs the operation `name`.
    async fn call(&self, name: &str, request: Value, scope: Scope) -> Result<Answer>;
}

/// Connects to whoever answers, as the options say.
///
/// # Errors
/// The settings are wrong, or the folder does not exist.
pub(super) fn connect(_options: &GlobalOptions) -> Result<Box<dyn Caller>> {
    Err(Error::new(crate::ErrorKind::Unsupported, "this build has no operations"))
}

/// Every operation.
pub(super) fn table() -> &'static [Entry] {
    &[]
}
