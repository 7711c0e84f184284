//! The layers and their sum: for each leaf the value that won, and where it came from.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

/// A path of keys: `["backup", "level"]`.
pub(super) type KeyPath = Vec<String>;

/// Where a value comes from. Prints as `config.show` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Default,
    /// Not set, and worked out: `service.name` from the folder.
    Derived(&'static str),
    File {
        name: String,
        line: usize,
    },
    DotEnv {
        line: usize,
        variable: String,
    },
    Environment {
        variable: String,
    },
    Code,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Derived(from) => write!(f, "default ({from})"),
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::DotEnv { line, variable } => write!(f, ".env:{line} ({variable})"),
            Self::Environment { variable } => write!(f, "environment ({variable})"),
            Self::Code => f.write_str("code"),
        }
    }
}

/// A value that one layer sets.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) path: KeyPath,
    pub(super) value: Value,
    pub(super) origin: Origin,
    /// Where the parts of a list of components stand, by their path.
    pub(super) parts: Vec<(KeyPath, Origin)>,
}

impl Found {
    pub(super) fn new(path: KeyPath, value: Value, origin: Origin) -> Self {
        Self { path, value, origin, parts: Vec::new() }
    }
}

/// The sum of the layers so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Layers {
    leaves: BTreeMap<KeyPath, (Value, Origin)>,
    parts: BTreeMap<KeyPath, Origin>,
}

impl Layers {
    /// Puts a layer on top. A leaf replaces the leaf below it; a list replaces the whole list.
    pub(super) fn add(&mut self, layer: Vec<Found>) {
        for found in layer {
            // A free table's key that becomes a table, or the other way round, replaces what was there.
            self.leaves.retain(|path, _| !(path.starts_with(&found.path) || found.path.starts_with(path)));
            self.parts.retain(|path, _| !path.starts_with(&found.path));
            self.parts.extend(found.parts);
            self.leaves.insert(found.path, (found.value, found.origin));
        }
    }

    /// Where the value at `path`, or the nearest thing around it, comes from.
    pub(super) fn origin(&self, path: &[String]) -> Origin {
        if let Some(origin) = self.parts.get(path) {
            return origin.clone();
        }
        for len in (1..=path.len()).rev() {
            if let Some((_, origin)) = self.leaves.get(&path[..len]) {
                return self.parts.get(&path[..len]).unwrap_or(origin).clone();
            }
            if let Some(origin) = self.parts.get(&path[..len]) {
                return origin.clone();
            }
        }
        // A free table: its first key speaks for it.
        let inside = self.leaves.iter().find(|(leaf, _)| leaf.starts_with(path) && !path.is_empty());
        inside.map_or(Origin::Default, |(_, (_, origin))| origin.clone())
    }

    pub(super) fn get(&self, path: &[&str]) -> Option<&Value> {
        let path: KeyPath = path.iter().map(|key| (*key).to_owned()).collect();
        self.leaves.get(&path).map(|(value, _)| value).filter(|value| !value.is_null())
    }

    /// The value at `path`, which may lead into a list of components.
    pub(super) fn value_at(&self, path: &[String]) -> Option<&Value> {
        (1..=path.len()).rev().find_map(|len| {
            let (value, _) = self.leaves.get(&path[..len])?;
            path[len..].iter().try_fold(value, |node, step| match node {
                Value::Array(items) => items.get(step.parse::<usize>().ok()?),
                other => other.get(step),
            })
        })
    }

    /// The nested object that the settings are read from.
    pub(super) fn to_value(&self) -> Value {
        fn insert(table: &mut Map<String, Value>, path: &[String], value: &Value) {
            match path {
                [] => {}
                [last] => drop(table.insert(last.clone(), value.clone())),
                [section, rest @ ..] => {
                    let entry = table.entry(section.clone()).or_insert_with(|| Value::Object(Map::new()));
                    if let Value::Object(inner) = entry {
                        insert(inner, rest, value);
                    }
                }
            }
        }
        let mut root = Map::new();
        for (path, (value, _)) in &self.leaves {
            insert(&mut root, path, value);
        }
        Value::Object(root)
    }
}

/// Takes a free table apart, so that its keys merge one by one. An empty table stays one leaf.
pub(super) fn flatten(path: KeyPath, value: &Value, origin: &Origin, into: &mut Vec<Found>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, field) in fields {
                let mut path = path.clone();
                path.push(name.clone());
                flatten(path, field, origin, into);
            }
        }
        _ => into.push(Found::new(path, value.clone(), origin.clone())),
    }
}
