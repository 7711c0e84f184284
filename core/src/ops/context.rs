//! What operations work with.

use std::path::PathBuf;
use std::sync::Arc;

use crate::backup::BackupTarget;
use crate::backup::pause::Pauser;
use crate::backup::restore::Recovered;
use crate::component::Registry;
use crate::config::{Config, Settings};
use crate::continuous::EngineStanding;
use crate::error::{Error, ErrorKind, Result};
use crate::health::{HealthCheck, Pulses, Runner, Watch};
use crate::http::{ListenerView, Standing};
use crate::journal::Journal;
use crate::metrics::history::History;
use crate::metrics::{Collectors, MetricsSink};
use crate::process::ProcessIdentity;
use crate::store::Store;
use crate::worker::Pool;

use super::history::KnownBackups;
use super::jobs::JobRoom;
use super::redis_numbers::RedisNumbers;
use super::store_numbers::StoreNumbers;

/// What operations work with: the settings, and the components built from them. The same type in the host
/// and in the worker; a component that lives in the other process is a proxy. Prints without the environment,
/// which is full of secrets.
pub struct Context {
    /// The merged settings, see [`Context::settings`].
    pub settings: Settings,
    /// Where they came from. In the host only, and only when they were read from files, see [`Context::config`].
    pub config: Option<Config>,
    /// The environment that settings are read from.
    pub environment: Vec<(String, String)>,
    /// The record of what was done.
    pub journal: Journal,
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
    /// The health checks of the settings and of the host's code; the built-in ones are not among them.
    pub checks: Vec<Named<dyn HealthCheck>>,
    /// What asks them, and the built-in ones.
    pub health: Arc<Runner>,
    /// What asks them in the background, and knows what they last answered. In a worker it never begins.
    pub watch: Arc<Watch>,
    /// Where numbers go. In the host only.
    pub sinks: Vec<Named<dyn MetricsSink>>,
    /// What reads the numbers of the machine. In the host only.
    pub collectors: Collectors,
    /// What the databases last said about themselves. In the host only.
    pub store_numbers: Arc<StoreNumbers>,
    /// What each Redis last said about itself. In the host only.
    pub redis_numbers: Arc<RedisNumbers>,
    /// How the backups stood when the journal was last read.
    pub known_backups: KnownBackups,
    /// The recent past of the numbers. In an embedded host only.
    pub history: Option<History>,
    /// Who pauses the service for a backup. In a worker only, where backups are made.
    pub pause: Option<Arc<dyn Pauser>>,
    /// What became of restores that a dead process left, or that waited for this start. In the host only.
    pub recovered: Vec<Recovered>,
    /// What runs by itself. In the host only.
    pub jobs: JobRoom,
    /// Whether this process follows stores, and what keeps it from that. In the host only.
    pub continuous: Arc<EngineStanding>,
    /// The host's process. In a worker: the worker's.
    pub process: ProcessFacts,
    /// What of the host beats, see [`Ops::pulse`](crate::ops::Ops::pulse). In a worker nothing does.
    pub pulses: Arc<Pulses>,
    /// How the listener of `metrics.listen` stands. In the host only.
    pub(crate) listener: Arc<Standing>,
    /// How the socket of the command line stands. In the host only.
    pub(crate) socket: Arc<Standing>,
    /// What the settings make impossible, by its setting, where the builder was
    /// [`tolerant`](crate::ops::OpsBuilder::tolerant). In the host only.
    pub unbuildable: Vec<(String, Error)>,
}

impl Context {
    /// The merged settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes over who asks the checks.
    ///
    /// # Errors
    /// Where a check depends on one that there is not, or on itself.
    pub(super) fn set_health(&mut self, runner: Runner) -> Result<()> {
        let runner = Arc::new(runner);
        self.watch = Arc::new(Watch::new(Arc::clone(&runner))?);
        self.health = runner;
        Ok(())
    }

    /// Who answers on the address of `metrics.listen`; `None` where none is set, or this build cannot listen.
    pub fn listener(&self) -> Option<ListenerView> {
        self.listener.get()
    }

    /// Who answers the command line on `ops.sock` in the state folder; `None` where nobody is to, and where this is no running
    /// service.
    pub fn socket(&self) -> Option<ListenerView> {
        self.socket.get()
    }

    /// Where consistent copies of databases are made.
    pub fn scratch(&self) -> PathBuf {
        let own = || self.state.join("scratch");
        self.settings.backup.scratch.as_ref().map_or_else(own, |folder| self.root.join(folder))
    }

    /// The folders of targets on this machine, absolute.
    pub fn target_folders(&self) -> Vec<PathBuf> {
        self.targets.iter().filter_map(|target| target.component.capability().folder).collect()
    }

    /// The files of databases on this machine, absolute.
    pub fn database_files(&self) -> Vec<PathBuf> {
        self.stores.iter().filter_map(|store| store.component.capability().file).collect()
    }

    /// The settings with where each came from.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] in a worker, and for settings that code gave as they are.
    pub fn config(&self) -> Result<&Config> {
        self.config.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "where the settings came from is not known here")
                .with_hint("build the Ops from a root and its ops.toml rather than from finished settings")
        })
    }

    /// The store called `name`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] with the names that exist, and so for the two below.
    pub fn store(&self, name: &str) -> Result<&Named<dyn Store>> {
        find(&self.stores, "store", name)
    }

    /// The target called `name`.
    pub fn target(&self, name: &str) -> Result<&Named<dyn BackupTarget>> {
        find(&self.targets, "target", name)
    }

    /// The service's name: `service.name`, else that of the root folder.
    pub fn service_name(&self) -> String {
        match self.settings.service.name.as_str() {
            "" => self.root.file_name().map_or_else(|| "service".into(), |name| name.to_string_lossy().into_owned()),
            name => name.to_owned(),
        }
    }

    /// The check called `name`.
    pub fn check(&self, name: &str) -> Result<&Named<dyn HealthCheck>> {
        find(&self.checks, "check", name)
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("settings", &self.settings)
            .field("environment", &format_args!("{} variables", self.environment.len()))
            .field("root", &self.root)
            .field("state", &self.state)
            .field("mode", &self.mode)
            .field("stores", &self.stores)
            .field("targets", &self.targets)
            .field("health", &self.health)
            .field("sinks", &self.sinks)
            .field("recovered", &self.recovered)
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

fn find<'a, T: ?Sized>(of: &'a [Named<T>], what: &str, name: &str) -> Result<&'a Named<T>> {
    of.iter().find(|named| named.name == name).ok_or_else(|| {
        let error = Error::new(ErrorKind::NotFound, format!("there is no {what} {name:?}"));
        let names: Vec<&str> = of.iter().map(|named| named.name.as_str()).collect();
        match (super::table::similar(name, names.iter().copied()), names.is_empty()) {
            (_, true) => error.with_hint(format!("add a [[{what}]] to ops.toml")),
            (Some(meant), _) => error.with_hint(format!("did you mean {meant:?}?")),
            (None, _) => error.with_hint(format!("name one of: {}", names.join(", "))),
        }
    })
}

/// What an operation may say about the process that it runs in.
#[derive(Clone)]
pub struct ProcessFacts {
    /// Which process.
    pub identity: ProcessIdentity,
    workers: Option<Pool>,
}

impl ProcessFacts {
    pub(crate) fn of_this_process(workers: Option<Pool>) -> Self {
        Self { identity: ProcessIdentity::current(), workers }
    }

    /// How many worker processes this one has.
    pub fn workers(&self) -> usize {
        self.workers.as_ref().map_or(0, Pool::alive)
    }
}

impl std::fmt::Debug for ProcessFacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessFacts").field("identity", &self.identity).field("workers", &self.workers()).finish()
    }
}

/// Who is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
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
