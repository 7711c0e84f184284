//! The words in which a component that lives elsewhere is called.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::store::{CheckDepth, MaintenanceTask};

use super::path::WirePath;

/// A call of a component's method. Blocks travel as the body, here and in the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "contract", rename_all = "snake_case")]
pub(crate) enum ComponentCall {
    Store { name: String, act: StoreAct },
    Target { name: String, act: TargetAct },
    Upload { name: String, handle: u64, act: UploadAct },
    Check { name: String },
    Pause { act: PauseAct },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoreAct {
    Stats,
    Verify { depth: CheckDepth },
    SnapshotTo { dir: WirePath },
    CheckCopy { dir: WirePath, depth: CheckDepth },
    InspectCopy { dir: WirePath, rows: bool, queries: Vec<String> },
    RestoreFrom { dir: WirePath },
    Maintain { tasks: Vec<MaintenanceTask> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TargetAct {
    Put { key: String, if_absent: bool },
    Upload { key: String, expected_bytes: Option<u64> },
    Get { key: String, start: u64, end: u64 },
    List { prefix: String, after: Option<String> },
    Stat { key: String },
    Delete { key: String },
    FreeBytes,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UploadAct {
    Write,
    ReadBack { start: u64, end: u64 },
    Finish,
    Abort,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PauseAct {
    Begin,
    End { handle: u64 },
}

impl StoreAct {
    /// The contract's method.
    pub(crate) fn method(&self) -> &'static str {
        match self {
            Self::Stats => "stats",
            Self::Verify { .. } => "verify",
            Self::SnapshotTo { .. } => "snapshot_to",
            Self::CheckCopy { .. } => "check_copy",
            Self::InspectCopy { .. } => "inspect_copy",
            Self::RestoreFrom { .. } => "restore_from",
            Self::Maintain { .. } => "maintain",
        }
    }
}

impl TargetAct {
    /// The contract's method.
    pub(crate) fn method(&self) -> &'static str {
        match self {
            Self::Put { .. } => "put",
            Self::Upload { .. } => "upload",
            Self::Get { .. } => "get",
            Self::List { .. } => "list",
            Self::Stat { .. } => "stat",
            Self::Delete { .. } => "delete",
            Self::FreeBytes => "free_bytes",
        }
    }
}

impl UploadAct {
    /// The contract's method.
    pub(crate) fn method(&self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::ReadBack { .. } => "read_back",
            Self::Finish => "finish",
            Self::Abort => "abort",
        }
    }
}

impl ComponentCall {
    /// Whether it reads or writes a whole database, or waits for the service, and so may be silent for long.
    pub(crate) fn is_long(&self) -> bool {
        match self {
            Self::Store { act, .. } => !matches!(act, StoreAct::Stats),
            Self::Pause { .. } => true,
            _ => false,
        }
    }
}

/// `target "offsite".put`, for errors.
impl fmt::Display for ComponentCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store { name, act } => write!(f, "store {name:?}.{}", act.method()),
            Self::Target { name, act } => write!(f, "target {name:?}.{}", act.method()),
            Self::Upload { name, act, .. } => write!(f, "target {name:?}.upload.{}", act.method()),
            Self::Check { name } => write!(f, "check {name:?}"),
            Self::Pause { act: PauseAct::Begin } => f.write_str("the pause of the service"),
            Self::Pause { act: PauseAct::End { .. } } => f.write_str("the end of the pause of the service"),
        }
    }
}
