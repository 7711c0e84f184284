//! Objects as components.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::backup::pause::PauseHook;
use crate::backup::{BackupTarget, TargetCapability};
use crate::cancel::Scope;
use crate::error::{Error, Result};
use crate::health::HealthCheck;
use crate::metrics::{MetricsSink, MetricsSnapshot};
use crate::remote::{Link, Payload, RemoteCheck, RemoteStore, RemoteTarget};
use crate::store::{Store, StoreCapability};

use super::answer::{fill, shortened};
use super::caller::Caller;
use super::contract::{Contract, Method};
use super::link::PluginLink;
use super::plugin::{Plugin, PluginFacts};

/// The object as a [`Store`]. `deadline` is that of a short call; work on a whole database has ten times as long.
///
/// # Errors
/// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) that names what the object lacks, as do the three below.
pub fn store(name: &str, plugin: Arc<dyn Plugin>, deadline: Duration) -> Result<Arc<dyn Store>> {
    match Registered::new(Contract::Store, name, plugin)?.component(deadline) {
        Component::Store(store) => Ok(store),
        _ => Err(other(Contract::Store)),
    }
}

/// The object as a [`BackupTarget`].
///
/// # Errors
/// As [`store`].
pub fn target(name: &str, plugin: Arc<dyn Plugin>, deadline: Duration) -> Result<Arc<dyn BackupTarget>> {
    match Registered::new(Contract::Target, name, plugin)?.component(deadline) {
        Component::Target(target) => Ok(target),
        _ => Err(other(Contract::Target)),
    }
}

/// The object as a [`HealthCheck`].
///
/// # Errors
/// As [`store`].
pub fn check(name: &str, plugin: Arc<dyn Plugin>, deadline: Duration) -> Result<Arc<dyn HealthCheck>> {
    match Registered::new(Contract::Check, name, plugin)?.component(deadline) {
        Component::Check(check) => Ok(check),
        _ => Err(other(Contract::Check)),
    }
}

/// The object as a [`MetricsSink`].
///
/// # Errors
/// As [`store`].
pub fn sink(name: &str, plugin: Arc<dyn Plugin>, deadline: Duration) -> Result<Arc<dyn MetricsSink>> {
    match Registered::new(Contract::Sink, name, plugin)?.component(deadline) {
        Component::Sink(sink) => Ok(sink),
        _ => Err(other(Contract::Sink)),
    }
}

fn other(contract: Contract) -> Error {
    Error::internal(format!("a plugin registered as a {contract} became something else"))
}

/// An object that has what its contract wants.
#[derive(Debug, Clone)]
pub(crate) struct Registered {
    pub(crate) name: String,
    contract: Contract,
    plugin: Arc<dyn Plugin>,
    facts: PluginFacts,
    can: Can,
}

/// What it can do, by contract.
#[derive(Debug, Clone)]
enum Can {
    Store(StoreCapability),
    Target(TargetCapability),
    Check,
    Sink,
    Pause,
}

/// What became of it.
pub(crate) enum Component {
    Store(Arc<dyn Store>),
    Target(Arc<dyn BackupTarget>),
    Check(Arc<dyn HealthCheck>),
    Sink(Arc<dyn MetricsSink>),
    Pause(Arc<dyn PauseHook>),
}

impl Registered {
    /// Checks the object.
    pub(crate) fn new(contract: Contract, name: &str, plugin: Arc<dyn Plugin>) -> Result<Self> {
        let facts = plugin.facts();
        contract.check(name, &facts)?;
        let can = match contract {
            Contract::Store => Can::Store(store_capability(name, &facts)?),
            Contract::Target => Can::Target(target_capability(name, &facts)?),
            Contract::Check => Can::Check,
            Contract::Sink => Can::Sink,
            Contract::Pause => Can::Pause,
            Contract::Upload | Contract::Scene => {
                return Err(Error::invalid(format!("{contract} {name:?} cannot be registered"))
                    .with_hint("register a store, a target, a check, a sink or a pause"));
            }
        };
        Ok(Self { name: name.to_owned(), contract, plugin, facts, can })
    }

    /// Makes the component.
    pub(crate) fn component(self, deadline: Duration) -> Component {
        let Self { name, contract, plugin, facts, can } = self;
        let caller = Caller::new(contract, &name, plugin, facts, deadline);
        let link = |caller, read_before_finish| -> Arc<dyn Link> {
            Arc::new(PluginLink::new(caller, &name, read_before_finish))
        };
        match can {
            Can::Store(capability) => {
                let link = link(caller, false);
                Component::Store(Arc::new(RemoteStore { name, capability, link }))
            }
            Can::Target(capability) => {
                let link = link(caller, capability.read_before_finish);
                Component::Target(Arc::new(RemoteTarget { name, capability, link }))
            }
            Can::Check => {
                let link = link(caller, false);
                Component::Check(Arc::new(RemoteCheck { name, link }))
            }
            Can::Sink => Component::Sink(Arc::new(PluginSink(caller))),
            Can::Pause => Component::Pause(Arc::new(PluginPause(caller))),
        }
    }
}

fn store_capability(name: &str, facts: &PluginFacts) -> Result<StoreCapability> {
    let spelling = facts.spelling;
    let wrong = |why: &str| {
        let (side_files, class) = (spelling.write("side_files"), &facts.class);
        Error::invalid(format!("the capability of store {name:?} (class {class}) is wrong: {why}")).with_hint(format!(
            "give {class} a capability {{kind, file, {side_files}, maintenance}}: file is the absolute path of the \
             live database, null when it is no file of this machine"
        ))
    };
    let Some(given) = &facts.capability else { return Err(wrong("it has none")) };
    let mut fields = fields(given, facts).ok_or_else(|| wrong(&shortened(&given.to_string())))?;
    if !fields.contains_key("file") {
        return Err(wrong("it does not say which file is the live database"));
    }
    fill(&mut fields, [("side_files", json!([])), ("maintenance", json!([]))]);
    let capability: StoreCapability = read(fields).map_err(|why| wrong(&why))?;
    if let Some(file) = capability.file.iter().chain(&capability.side_files).find(|file| !file.is_absolute()) {
        return Err(wrong(&format!("{file:?} is not absolute")));
    }
    let maintain: Vec<&Method> =
        Contract::Store.methods().filter(|method| method.name == "maintain" && !facts.has(method.name)).collect();
    if !capability.maintenance.is_empty() {
        Contract::Store.refuse(name, facts, &maintain)?;
    }
    Ok(capability)
}

fn target_capability(name: &str, facts: &PluginFacts) -> Result<TargetCapability> {
    let spelling = facts.spelling;
    let wrong = |why: &str| {
        let (class, absent, read) =
            (&facts.class, spelling.write("put_if_absent"), spelling.write("read_before_finish"));
        Error::invalid(format!("the capability of target {name:?} (class {class}) is wrong: {why}"))
            .with_hint(format!("give {class} a capability {{kind, location, folder, {absent}, {read}}}"))
    };
    let given = facts.capability.clone().unwrap_or_else(|| json!({}));
    let mut fields = fields(&given, facts).ok_or_else(|| wrong(&shortened(&given.to_string())))?;
    let no = json!(false);
    let defaults = [("kind", json!(facts.class)), ("location", json!(name)), ("put_if_absent", no.clone())];
    fill(&mut fields, defaults.into_iter().chain([("read_before_finish", no)]));
    let capability: TargetCapability = read(fields).map_err(|why| wrong(&why))?;
    match &capability.folder {
        Some(folder) if !folder.is_absolute() => Err(wrong(&format!("{folder:?} is not absolute"))),
        _ => Ok(capability),
    }
}

/// The fields of a capability, in wire names.
fn fields(given: &Value, facts: &PluginFacts) -> Option<Map<String, Value>> {
    let fields = given.as_object()?.iter();
    Some(fields.map(|(name, value)| (facts.spelling.read(name), value.clone())).collect())
}

fn read<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T, String> {
    serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| error.to_string())
}

/// A place where numbers go that is an object. Sinks are called in the host alone, so no proxy is between.
#[derive(Debug)]
struct PluginSink(Caller);

#[async_trait]
impl MetricsSink for PluginSink {
    async fn export(&self, scope: &Scope, snapshot: &MetricsSnapshot) -> Result<()> {
        let arguments = Map::from_iter([("snapshot".to_owned(), Payload::of(snapshot)?.value)]);
        self.0.call(scope, Contract::Sink.method("export")?, arguments, None).await.map(drop)
    }
}

/// What pauses the service that is an object. It is called in the host alone.
#[derive(Debug)]
struct PluginPause(Caller);

impl PluginPause {
    async fn call(&self, scope: &Scope, method: &str) -> Result<()> {
        self.0.call(scope, Contract::Pause.method(method)?, Map::new(), None).await.map(drop)
    }
}

#[async_trait]
impl PauseHook for PluginPause {
    async fn before(&self, scope: &Scope) -> Result<()> {
        self.call(scope, "before").await
    }

    async fn after(&self, scope: &Scope) -> Result<()> {
        self.call(scope, "after").await
    }
}
