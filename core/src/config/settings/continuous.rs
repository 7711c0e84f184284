//! `[continuous]`: databases that are followed, so that the service goes back to any second.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::value::ByteSize;

/// Databases that are followed: what is committed goes into the repository as it is committed, so that `restore.apply` with
/// `at` goes back to any second. Off without `stores`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ContinuousSettings {
    /// The stores that are followed, by name. None are when empty.
    pub stores: Vec<String>,
    /// The targets that receive it, by name; each needs a repository, which the first backup makes. All when empty.
    pub targets: Vec<String>,
    /// How often what was committed is stored, in seconds: what a crash of the machine can lose.
    pub ship_seconds: f64,
    /// For how many days back each second can be restored. What is older goes, unless it is needed within.
    pub keep_days: f64,
    /// What is older than this is put together into larger objects, one for each hour, in hours.
    pub compact_after_hours: f64,
    /// Past this much log a database is no longer held back for us: its continuity is then proven in another way, or a new
    /// backup is needed.
    pub log_limit_bytes: ByteSize,
    /// How much waits on this disk for a target that does not take it. What is beyond that is a gap in that target.
    pub spool_limit_bytes: ByteSize,
}

impl Default for ContinuousSettings {
    fn default() -> Self {
        Self {
            stores: Vec::new(),
            targets: Vec::new(),
            ship_seconds: 0.5,
            keep_days: 7.0,
            compact_after_hours: 1.0,
            log_limit_bytes: ByteSize(256 << 20),
            spool_limit_bytes: ByteSize(1 << 30),
        }
    }
}

impl ContinuousSettings {
    /// [`Self::ship_seconds`], within 50 ms and an hour.
    pub fn ship_every(&self) -> Duration {
        Duration::try_from_secs_f64(self.ship_seconds.clamp(0.05, 3600.0)).unwrap_or(Duration::from_millis(500))
    }
}
