//! What the host's own settings tell about the service: the guide's keys, understood as facts.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde_json::Value;

use super::ConfigWarning;
use super::coerce::{self, Mode};
use super::environment::{HostVariable, Variable};
use super::layers::KeyPath;
use super::schema::{Leaf, LeafType};
use crate::value::Secret;

/// A fact, and where it was read. The value is the host's: it never prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Fact<T> {
    /// The value.
    pub value: T,
    /// The variable that holds it.
    pub variable: String,
    /// Where that variable is: `.env:3 (UPLIFTED__DATABASE__PATH)`.
    pub source: String,
}

impl<T> fmt::Debug for Fact<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", Secret::MASK, self.source)
    }
}

/// What is known about the host from its own settings. All of it is optional, none of it is changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostFacts {
    /// `DATABASE__PATH`: the file of a SQLite database, relative to the root.
    pub database_path: Option<Fact<PathBuf>>,
    /// `DATABASE__URL`: where the database is.
    pub database_url: Option<Fact<Secret>>,
    /// `DATABASE__POOL_SIZE`: connections that each worker keeps.
    pub database_pool_size: Option<Fact<u64>>,
    /// `DATABASE__MAX_OVERFLOW`: connections that each worker may open beyond its pool.
    pub database_max_overflow: Option<Fact<u64>>,
    /// `LOGGING__LEVEL`.
    pub logging_level: Option<Fact<String>>,
    /// `LOGGING__FILE`: the log, relative to the root.
    pub logging_file: Option<Fact<PathBuf>>,
    /// `MONITORING__ENABLED`.
    pub monitoring_enabled: Option<Fact<bool>>,
    /// `MONITORING__PROMETHEUS_PORT`.
    pub monitoring_prometheus_port: Option<Fact<u16>>,
    /// `SERVER__HOST`: the address that the service listens on.
    pub server_host: Option<Fact<String>>,
    /// `SERVER__PORT`: the port that the service listens on.
    pub server_port: Option<Fact<u16>>,
    /// `SERVER__WORKERS`: processes that serve.
    pub server_workers: Option<Fact<u64>>,
    /// `SERVER__LOG_LEVEL`, which contradicts `LOGGING__LEVEL` when they differ.
    pub server_log_level: Option<Fact<String>>,
    /// `CACHE__ENABLED`.
    pub cache_enabled: Option<Fact<bool>>,
    /// `CACHE__TTL`, in seconds.
    pub cache_ttl_seconds: Option<Fact<u64>>,
    /// `CACHE__…` beside the two, by key.
    pub cache_other: BTreeMap<String, Fact<Secret>>,
    /// `DEBUG`.
    pub debug: Option<Fact<bool>>,
    /// `REDIS_URL`, which has no prefix.
    pub redis_url: Option<Fact<Secret>>,
}

/// The keys that have a field above, so that none is taken for a misspelling of ours.
pub(super) fn is_known(path: &[String]) -> bool {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    matches!(
        names.as_slice(),
        ["database", "path" | "url" | "pool_size" | "max_overflow"]
            | ["logging", "level" | "file"]
            | ["monitoring", "enabled" | "prometheus_port"]
            | ["server", "host" | "port" | "workers" | "log_level"]
            | ["cache", ..]
            | ["debug"]
    )
}

/// Reads the facts. Later variables win: `.env` first, then the environment. A value that is not of its type
/// is the host's business: it is a warning, and no fact.
pub(super) fn facts(variables: &[HostVariable], redis_url: Option<&Variable>) -> (HostFacts, Vec<ConfigWarning>) {
    let mut reader = Reader::default();
    for HostVariable { path, variable } in variables {
        // A section of the host may be JSON too, as pydantic allows; its nested names win.
        if let Ok(section @ Value::Object(_)) = serde_json::from_str(&variable.value)
            && matches!(path.as_slice(), [section] if section != "debug")
        {
            reader.section(path, &section, variable);
        }
    }
    for HostVariable { path, variable } in variables {
        reader.values.insert(path.clone(), (Value::String(variable.value.clone()), variable.clone()));
    }
    let mut facts = HostFacts {
        database_path: reader.text("database.path").map(|fact| map(fact, PathBuf::from)),
        database_url: reader.text("database.url").map(|fact| map(fact, Secret::new)),
        database_pool_size: reader.whole("database.pool_size"),
        database_max_overflow: reader.whole("database.max_overflow"),
        logging_level: reader.text("logging.level"),
        logging_file: reader.text("logging.file").map(|fact| map(fact, PathBuf::from)),
        monitoring_enabled: reader.truth("monitoring.enabled"),
        monitoring_prometheus_port: reader.port("monitoring.prometheus_port"),
        server_host: reader.text("server.host"),
        server_port: reader.port("server.port"),
        server_workers: reader.whole("server.workers"),
        server_log_level: reader.text("server.log_level"),
        cache_enabled: reader.truth("cache.enabled"),
        cache_ttl_seconds: reader.whole("cache.ttl"),
        cache_other: BTreeMap::new(),
        debug: reader.truth("debug"),
        redis_url: redis_url.filter(|variable| !variable.value.is_empty()).map(|variable| Fact {
            value: Secret::new(&variable.value),
            variable: variable.name.clone(),
            source: variable.origin.to_string(),
        }),
    };
    for (path, (value, variable)) in &reader.values {
        let [cache, rest @ ..] = path.as_slice() else { continue };
        let key = rest.join(".");
        if cache == "cache" && !matches!(key.as_str(), "" | "enabled" | "ttl") {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            facts.cache_other.insert(key, fact(Secret::new(text), variable));
        }
    }
    if let Some(port) = facts.monitoring_prometheus_port.as_ref().filter(|port| port.value == 9090) {
        reader.warnings.push(ConfigWarning {
            key: "monitoring.prometheus_port".to_owned(),
            message: format!(
                "{} is 9090, Prometheus' own port: a Prometheus on this machine scrapes itself and reports the \
                 service as up for ever; choose another, such as 9464",
                port.variable
            ),
            source: port.source.clone(),
        });
    }
    (facts, reader.warnings)
}

#[derive(Default)]
struct Reader {
    values: BTreeMap<KeyPath, (Value, Variable)>,
    warnings: Vec<ConfigWarning>,
}

impl Reader {
    fn section(&mut self, path: &KeyPath, value: &Value, variable: &Variable) {
        let Value::Object(fields) = value else { return };
        for (name, field) in fields {
            let mut path = path.clone();
            path.push(name.to_lowercase());
            if !field.is_null() {
                self.values.insert(path, (field.clone(), variable.clone()));
            }
        }
    }

    /// The value at `key`, when it fits the type.
    fn read(&mut self, key: &str, kind: LeafType) -> Option<Fact<Value>> {
        let path: KeyPath = key.split('.').map(str::to_owned).collect();
        let (value, variable) = self.values.get(&path)?;
        // An empty variable says nothing.
        if value.as_str().is_some_and(str::is_empty) {
            return None;
        }
        match coerce::fit(&Leaf { kind, optional: false }, value, Mode::Text) {
            Ok(value) => Some(fact(value, variable)),
            Err(misfit) => {
                self.warnings.push(ConfigWarning {
                    key: key.to_owned(),
                    message: format!("{} of the service is not understood: {}", variable.name, misfit.message),
                    source: variable.origin.to_string(),
                });
                None
            }
        }
    }

    fn text(&mut self, key: &str) -> Option<Fact<String>> {
        self.read(key, LeafType::Text).map(|fact| map(fact, |value| value.as_str().unwrap_or_default().to_owned()))
    }

    fn truth(&mut self, key: &str) -> Option<Fact<bool>> {
        self.read(key, LeafType::Boolean).map(|fact| map(fact, |value| value == Value::Bool(true)))
    }

    fn whole(&mut self, key: &str) -> Option<Fact<u64>> {
        let kind = LeafType::Integer { min: 0, max: u64::MAX.into() };
        self.read(key, kind).map(|fact| map(fact, |value| value.as_u64().unwrap_or_default()))
    }

    fn port(&mut self, key: &str) -> Option<Fact<u16>> {
        let fact = self.read(key, LeafType::Integer { min: 1, max: u16::MAX.into() })?;
        let port = fact.value.as_u64().and_then(|port| u16::try_from(port).ok())?;
        Some(map(fact, |_| port))
    }
}

fn fact<T>(value: T, variable: &Variable) -> Fact<T> {
    Fact { value, variable: variable.name.clone(), source: variable.origin.to_string() }
}

fn map<T, U>(fact: Fact<T>, change: impl FnOnce(T) -> U) -> Fact<U> {
    Fact { value: change(fact.value), variable: fact.variable, source: fact.source }
}
