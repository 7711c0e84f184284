//! The components of one process that the other may call.

use serde::{Deserialize, Serialize};

use crate::backup::pause::Hooks;
use crate::backup::{BackupTarget, TargetCapability};
use crate::error::{Error, ErrorKind, Result};
use crate::health::HealthCheck;
use crate::ops::Named;
use crate::store::{Store, StoreCapability};

/// The components that live in this process and that the other may call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Components {
    pub(crate) stores: Vec<Named<dyn Store>>,
    pub(crate) targets: Vec<Named<dyn BackupTarget>>,
    pub(crate) checks: Vec<Named<dyn HealthCheck>>,
    /// What pauses the service, in its own process.
    pub(crate) pause: Option<Hooks>,
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
    /// The service can be paused.
    Pause,
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
        let pause = self.pause.iter().map(|_| ("pause".to_owned(), PlacedContract::Pause));
        stores.chain(targets).chain(checks).chain(pause).map(|(name, contract)| Placed { name, contract }).collect()
    }
}

/// The component called `name`.
pub(super) fn find<T: ?Sized>(of: &[Named<T>], what: &str, name: &str) -> Result<std::sync::Arc<T>> {
    let found = of.iter().find(|named| named.name == name).map(|named| std::sync::Arc::clone(&named.component));
    found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no {what} {name:?} in the other process")))
}
