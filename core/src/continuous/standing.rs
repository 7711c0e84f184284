//! How the following of a store stands, as its worker writes it down.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::ErrorBody;

/// How the following of a store stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StoreStanding {
    /// The store's name.
    pub store: String,
    /// Its kind.
    pub kind: String,
    /// Whether a worker follows it at this moment.
    pub following: bool,
    /// When its worker last wrote this.
    pub written_at: Option<Timestamp>,
    /// The stream that is being written, 12 hexadecimal digits.
    pub stream: Option<String>,
    /// When that stream began.
    pub since: Option<Timestamp>,
    /// Up to where it was read, in the driver's words.
    pub position: String,
    /// Everything committed before this moment was read.
    pub seen_until: Option<Timestamp>,
    /// Bytes of log that the database keeps.
    pub log_bytes: u64,
    /// What keeps it from being followed.
    pub waits_for: Option<String>,
    /// Since when a backup is needed as a base, because nothing before it can be added to: until there is one, that time
    /// cannot be gone back to.
    pub base_wanted_since: Option<Timestamp>,
    /// Why.
    pub base_wanted_because: Option<String>,
    /// How often a new base was needed.
    pub gaps_total: u64,
    /// What waits on this disk for some target.
    pub spool_segments: u64,
    /// Its bytes.
    pub spool_bytes: u64,
    /// The targets, in the order of the settings.
    pub targets: Vec<TargetStanding>,
    /// Why the last worker ended.
    pub trouble: Option<ErrorBody>,
}

/// How a target stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TargetStanding {
    /// The target's name.
    pub target: String,
    /// Everything committed before this moment is stored there, and was read back.
    pub stored_until: Option<Timestamp>,
    /// Segments that were stored there.
    pub segments_total: u64,
    /// Their bytes.
    pub bytes_total: u64,
    /// Segments that wait for it.
    pub waiting_segments: u64,
    /// Segments that it will never have: more waited for it than may.
    pub lost_segments: u64,
    /// Why segments could not be put together, or old ones removed.
    pub tidy_error: Option<ErrorBody>,
    /// What it said when it last failed; nothing once it goes on.
    pub error: Option<ErrorBody>,
}

impl StoreStanding {
    /// Everything committed before this moment is stored in some target.
    pub fn stored_until(&self) -> Option<Timestamp> {
        self.targets.iter().filter_map(|target| target.stored_until).max()
    }

    /// How far behind what is stored is, in seconds: what would be lost if this machine were gone now.
    pub fn lag_seconds(&self, now: Timestamp) -> Option<f64> {
        Some(now.duration_since(self.stored_until()?).as_secs_f64().max(0.0))
    }
}
