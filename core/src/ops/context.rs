//! What operations work with.

use std::path::PathBuf;
use std::sync::Arc;

use crate::backup::BackupTarget;
use crate::component::Registry;
use crate::config::Settings;
use crate::health::HealthCheck;
use crate::metrics::MetricsSink;
use crate::store::Store;

/// What operations work with: the settings, and the components built from them. The same type in the host
/// and in the worker; a component that lives in the other process is a proxy.
#[derive(Debug)]
pub struct Context {
    /// The merged settings.
    pub settings: Settings,
    /// The service's root folder, absolute.
    pub root: PathBuf,
    /// The state folder, absolute.
    pub state: PathBuf,
    /// Who is running.
    pub mode: RunMode,
    /// The kinds that this build has.
    pub kinds: Kinds,
    /// The databases, in the order of the settings.
    pub stores: Vec<Named<dyn Store>>,
    /// Where backups go, in the order of the settings.
    pub targets: Vec<Named<dyn BackupTarget>>,
}

/// Who is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunMode {
    /// Inside the service's own process: it cannot be replaced under its own feet.
    Embedded,
    /// On the command line, beside the service.
    CommandLine,
}

/// A component under its name.
#[derive(Debug)]
pub struct Named<T: ?Sized> {
    /// The name in the settings.
    pub name: String,
    /// The component.
    pub component: Arc<T>,
}

impl<T: ?Sized> Clone for Named<T> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), component: Arc::clone(&self.component) }
    }
}

/// The kinds of the four contracts.
#[derive(Debug, Clone)]
pub struct Kinds {
    /// Databases.
    pub stores: Registry<dyn Store>,
    /// Places where backups go.
    pub targets: Registry<dyn BackupTarget>,
    /// Health checks.
    pub checks: Registry<dyn HealthCheck>,
    /// Places where numbers go.
    pub sinks: Registry<dyn MetricsSink>,
}
