//! A restore to a moment: what a plan and a report say of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// How a restore gets to a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AtPlan {
    /// The moment.
    pub at: Timestamp,
    /// The stores that go on from their copies.
    pub stores: Vec<StoreAt>,
}

/// How a store gets there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreAt {
    /// The store's name.
    pub store: String,
    /// The target that its changes are read from.
    pub target: String,
    /// The moment of the copy that it goes on from.
    pub base_taken_at: Timestamp,
    /// How many segments are added to it.
    pub segments: u64,
    /// Their bytes.
    pub stored_bytes: u64,
    /// The last commit that is not after the moment. Nothing when there was none since the copy.
    pub reaches: Option<Timestamp>,
}

/// Where a store has come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReachedStore {
    /// The store's name.
    pub store: String,
    /// The moment of the last commit in it.
    pub time: Timestamp,
    /// Its place, in the driver's words.
    pub position: String,
    /// Whether the checksum of the whole database is the one that was noted then; nothing where none was.
    pub proven: Option<bool>,
}
