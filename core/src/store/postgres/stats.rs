//! The numbers of a server in the shape that all stores share.

use serde_json::Value;

use super::StoreStats;
use super::numbers::Numbers;
use crate::error::{Error, Result};

/// Sizes on top, everything else below `details`.
pub(super) fn of(numbers: &Numbers) -> Result<StoreStats> {
    let details = serde_json::to_value(numbers)
        .map_err(|error| Error::internal(format!("the numbers of PostgreSQL cannot be written down: {error}")))?;
    let mut details = match details {
        Value::Object(details) => details,
        _ => serde_json::Map::new(),
    };
    details.insert("log_target_bytes".to_owned(), numbers.wal.target_bytes.into());
    Ok(StoreStats { size_bytes: numbers.size_bytes, log_bytes: numbers.wal.folder_bytes, details })
}
