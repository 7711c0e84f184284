//! The components of one process, and the words in which the other process calls them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::backup::{BackupTarget, TargetCapability};
use crate::error::{Error, ErrorKind, Result};
use crate::health::HealthCheck;
use crate::ops::Named;
use crate::store::{CheckDepth, MaintenanceTask, Store, StoreCapability};

use super::protocol::WirePath;

/// The components that live in this process and that the other may call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Components {
    pub(crate) stores: Vec<Named<dyn Store>>,
    pub(crate) targets: Vec<Named<dyn BackupTarget>>,
    pub(crate) checks: Vec<Named<dyn HealthCheck>>,
}

/// A component that lives in the host, as the worker is told of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Placed {
    pub(crate) name: String,
    pub(crate) contract: PlacedContract,
}

/// Its contract, and what it can do: asking needs no call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PlacedContract {
    Store(StoreCapability),
    Target(TargetCapability),
    Check,
}

impl Components {
    /// All of them, as the other process is told.
    pub(crate) fn placed(&self) -> Vec<Placed> {
        let stores =
            self.stores.iter().map(|store| (store.name.clone(), PlacedContract::Store(store.component.capability())));
        let targets = self
            .targets
            .iter()
            .map(|target| (target.name.clone(), PlacedContract::Target(target.component.capability())));
        let checks = self.checks.iter().map(|check| (check.name.clone(), PlacedContract::Check));
        stores.chain(targets).chain(checks).map(|(name, contract)| Placed { name, contract }).collect()
    }
}

/// The component called `name`.
pub(super) fn find<T: ?Sized>(of: &[Named<T>], what: &str, name: &str) -> Result<std::sync::Arc<T>> {
    let found = of.iter().find(|named| named.name == name).map(|named| std::sync::Arc::clone(&named.component));
    found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no {what} {name:?} in the other process")))
}

/// A call of a component's method. Blocks travel as the body, here and in the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "contract", rename_all = "snake_case")]
pub(crate) enum ComponentCall {
    Store { name: String, act: StoreAct },
    Target { name: String, act: TargetAct },
    Upload { name: String, handle: u64, act: UploadAct },
    Check { name: String },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoreAct {
    Stats,
    Verify { depth: CheckDepth },
    SnapshotTo { dir: WirePath },
    CheckCopy { dir: WirePath, depth: CheckDepth },
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

impl ComponentCall {
    /// Whether it reads or writes a whole database, and so may be silent for long.
    pub(super) fn is_long(&self) -> bool {
        matches!(self, Self::Store { act, .. } if !matches!(act, StoreAct::Stats))
    }
}

/// `target "offsite".put`, for errors.
impl fmt::Display for ComponentCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store { name, act } => {
                let act = match act {
                    StoreAct::Stats => "stats",
                    StoreAct::Verify { .. } => "verify",
                    StoreAct::SnapshotTo { .. } => "snapshot_to",
                    StoreAct::CheckCopy { .. } => "check_copy",
                    StoreAct::RestoreFrom { .. } => "restore_from",
                    StoreAct::Maintain { .. } => "maintain",
                };
                write!(f, "store {name:?}.{act}")
            }
            Self::Target { name, act } => {
                let act = match act {
                    TargetAct::Put { .. } => "put",
                    TargetAct::Upload { .. } => "upload",
                    TargetAct::Get { .. } => "get",
                    TargetAct::List { .. } => "list",
                    TargetAct::Stat { .. } => "stat",
                    TargetAct::Delete { .. } => "delete",
                    TargetAct::FreeBytes => "free_bytes",
                };
                write!(f, "target {name:?}.{act}")
            }
            Self::Upload { name, act, .. } => {
                let act = match act {
                    UploadAct::Write => "write",
                    UploadAct::ReadBack { .. } => "read_back",
                    UploadAct::Finish => "finish",
                    UploadAct::Abort => "abort",
                };
                write!(f, "target {name:?}.upload.{act}")
            }
            Self::Check { name } => write!(f, "check {name:?}"),
        }
    }
}
