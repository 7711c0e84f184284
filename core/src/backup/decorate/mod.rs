//! Decorators: targets that do something for every target, and leave the driver to its own trade.
//!
//! Each implements [`BackupTarget`] over another one and passes the public suite. Settings of any `[[target]]`,
//! whatever its kind, ask for them:
//!
//! ```toml
//! [[target]]
//! name = "offsite"
//! kind = "s3"
//! url = "s3://backups"
//! prefix = "uplifted/eu"           # a sub-folder of keys
//! limit_upload = "10MB"            # a second
//! limit_download = "20MB"
//! retries = 3                      # of whole calls, on top of what the kind does by itself
//! ```
//!
//! From the inside: the kind, [`Retry`], [`Throttle`], [`Prefix`]. So a try that failed is not charged twice, and
//! everything above sees short keys.

mod prefix;
mod retry;
mod throttle;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

pub use prefix::Prefix;
pub use retry::{Retry, RetryPolicy};
pub use throttle::Throttle;

use super::target::BackupTarget;
use crate::component::{BuildContext, Kind};
use crate::error::{Error, Result};
use crate::value::ByteSize;

/// The settings that every kind of target takes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Common {
    /// The sub-folder of the target that the keys are in.
    prefix: Option<String>,
    /// Bytes a second that this process sends, at most.
    limit_upload: Option<ByteSize>,
    /// Bytes a second that this process reads, at most.
    limit_download: Option<ByteSize>,
    /// How often a call that failed for a passing reason is tried again.
    retries: Option<u32>,
}

/// The names of [`Common`]'s fields, which the kinds do not see.
const KEYS: [&str; 4] = ["prefix", "limit_upload", "limit_download", "retries"];

/// Makes a target of `kind`, decorated as its settings say.
///
/// # Errors
/// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for settings that make no sense.
pub fn build(
    kind: &Kind<dyn BackupTarget>,
    context: &BuildContext,
    settings: &Map<String, Value>,
) -> Result<Arc<dyn BackupTarget>> {
    let (common, own): (Map<String, Value>, Map<String, Value>) =
        settings.clone().into_iter().partition(|(name, _)| KEYS.contains(&name.as_str()));
    let common: Common = context.settings(&common)?;
    let mut target = (kind.build)(context, &own)?;
    if let Some(retries) = common.retries.filter(|retries| *retries > 0) {
        target = Arc::new(Retry::new(target, RetryPolicy { retries, ..RetryPolicy::default() }));
    }
    let rate = |name: &str, limit: Option<ByteSize>| match limit {
        Some(ByteSize(0)) => Err(Error::invalid(format!("{name} of target {:?} lets no byte through", context.name))
            .with_hint(format!("leave {name} out, or allow some bytes a second: {name} = \"1MB\""))),
        limit => Ok(limit.map(|ByteSize(bytes)| bytes)),
    };
    let (up, down) = (rate("limit_upload", common.limit_upload)?, rate("limit_download", common.limit_download)?);
    if up.is_some() || down.is_some() {
        target = Arc::new(Throttle::new(target, up, down));
    }
    if let Some(prefix) = common.prefix {
        let prefixed = Prefix::new(target, &prefix);
        target = Arc::new(prefixed.map_err(|error| error.while_doing(format!("target {:?}", context.name)))?);
    }
    Ok(target)
}

#[cfg(test)]
mod tests;
