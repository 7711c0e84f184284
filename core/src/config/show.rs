//! `config.show`: every setting, its value as it may be shown, and where it came from.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::layers::{KeyPath, Origin};
use super::load::Config;
use super::redact;
use super::schema::{LeafType, Schema};
use super::settings::Listed;
use crate::value::Secret;

/// One setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShownSetting {
    /// Its key: `backup.level`, `store.main.path`; or the name of a variable that belongs to the host.
    pub key: String,
    /// Its value. Secrets, and all values of the host's own, are `***`.
    pub value: Value,
    /// Where it comes from: `default`, `ops.toml:12`, `.env:3 (UPLIFTED__BACKUP__LEVEL)`,
    /// `environment (UPLIFTED__BACKUP__LEVEL)`, `code`.
    pub source: String,
}

impl Config {
    /// Every setting by key, defaults included; then the host's own variables under the prefix.
    pub fn show(&self) -> Vec<ShownSetting> {
        let all = serde_json::to_value(&self.settings).unwrap_or_default();
        let mut shown = Vec::new();
        for (path, leaf) in &Schema::get().leaves {
            let key = path.join(".");
            let value = path.iter().fold(&all, |node, name| node.get(name).unwrap_or(&Value::Null));
            match (&leaf.kind, value) {
                (LeafType::Components(_), Value::Array(items)) if !items.is_empty() => {
                    items.iter().enumerate().for_each(|(index, item)| self.component(path, index, item, &mut shown));
                }
                (LeafType::FreeTable, Value::Object(fields)) if !fields.is_empty() => {
                    for (name, value) in fields {
                        let mut path = path.clone();
                        path.push(name.clone());
                        shown.push(ShownSetting {
                            key: path.join("."),
                            value: redact::value(name, value),
                            source: self.layers.origin(&path).to_string(),
                        });
                    }
                }
                _ => shown.push(self.leaf(key, path, value)),
            }
        }
        shown.extend(self.host_variables.iter().map(|host| ShownSetting {
            key: host.variable.name.clone(),
            value: Value::String(Secret::MASK.to_owned()),
            source: host.variable.origin.to_string(),
        }));
        shown
    }

    fn leaf(&self, key: String, path: &KeyPath, value: &Value) -> ShownSetting {
        let name = path.last().map_or("", String::as_str);
        let from_host = self
            .host
            .logging_file
            .as_ref()
            .filter(|_| key == "service.log" && self.layers.get(&["service", "log"]).is_none());
        let value = match from_host {
            Some(_) => Value::String(Secret::MASK.to_owned()),
            None => redact::value(name, value),
        };
        let source = self.source_of(&key);
        ShownSetting { key, value, source }
    }

    fn component(&self, path: &KeyPath, index: usize, item: &Value, shown: &mut Vec<ShownSetting>) {
        let name = item.get("name").and_then(Value::as_str).unwrap_or_default();
        for (field, value) in item.as_object().into_iter().flatten().filter(|(field, _)| *field != "name") {
            let part: KeyPath = path.iter().cloned().chain([index.to_string(), field.clone()]).collect();
            // What a component leaves out is a default, wherever the component stands.
            let source = match self.layers.value_at(&part) {
                Some(_) => self.layers.origin(&part),
                None => Origin::Default,
            };
            shown.push(ShownSetting {
                key: format!("{}.{name}.{field}", path.join(".")),
                value: redact::value(field, value),
                source: source.to_string(),
            });
        }
    }

    /// Where the value of `key` comes from: `default`, `ops.toml:12`, `code`, …. Components go by name
    /// (`store.main.path`) or index (`store.0.path`).
    pub fn source_of(&self, key: &str) -> String {
        let path = self.path_of(key);
        let origin = match self.layers.origin(&path) {
            Origin::Default => self.derived(key),
            set => set,
        };
        match (key, origin, &self.host.logging_file) {
            ("service.log", Origin::Default, Some(fact)) => fact.source.clone(),
            (_, origin, _) => origin.to_string(),
        }
    }

    /// Whether the value of `key` stands in the configuration file.
    pub(super) fn is_from_file(&self, key: &str) -> bool {
        matches!(self.layers.origin(&self.path_of(key)), Origin::File { .. })
    }

    fn derived(&self, key: &str) -> Origin {
        match key {
            "service.name" => Origin::Derived("the folder's name"),
            "service.root" => match self.file {
                Some(_) => Origin::Derived("the folder of the configuration file, or as named"),
                None => Origin::Derived("the working folder, or as named"),
            },
            _ => Origin::Default,
        }
    }

    /// `store.main.path` as `["store", "0", "path"]`. A component's name may have dots in it.
    fn path_of(&self, key: &str) -> KeyPath {
        // The longest name: one may be the beginning of another.
        let longest = self.settings.listed().filter_map(|listed| {
            let rest = key.strip_prefix(listed.list)?.strip_prefix('.')?.strip_prefix(listed.name)?;
            (rest.is_empty() || rest.starts_with('.')).then_some((listed, rest))
        });
        if let Some((Listed { list, index, .. }, rest)) = longest.max_by_key(|(listed, _)| listed.name.len()) {
            let tail = rest.split('.').filter(|step| !step.is_empty()).map(str::to_owned);
            return [list.to_owned(), index.to_string()].into_iter().chain(tail).collect();
        }
        key.split('.').map(str::to_owned).collect()
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("root", &self.root)
            .field("state", &self.state)
            .field("file", &self.file)
            .field("settings", &self.show())
            .field("host", &self.host)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}
