//! The environment's layer, and `.env`'s: `UPLIFTED__SECTION__KEY` by the rules of pydantic-settings 2.
//!
//! Names are case-insensitive and nest by `__`. A list, a table and a whole section are JSON; a nested name
//! wins over its section's JSON. What is under the prefix and is no setting of ours belongs to the host and
//! is left alone; but a name that can only be a misspelling of ours is reported.
//! `tests/conformance/config/environment.json` holds the cases.

use serde_json::{Map, Value};

use super::ConfigWarning;
use super::coerce::{self, Mode};
use super::layers::{Found, KeyPath, Origin, flatten};
use super::schema::{Leaf, LeafType, Place, Schema};
use crate::error::{Error, Result};

/// A variable with its place.
#[derive(Debug, Clone)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) origin: Origin,
}

/// A variable under the prefix that is the host's own.
#[derive(Clone)]
pub(super) struct HostVariable {
    pub(super) path: KeyPath,
    pub(super) variable: Variable,
}

/// What one source of variables adds up to.
#[derive(Default)]
pub(super) struct Layer {
    pub(super) found: Vec<Found>,
    pub(super) host: Vec<HostVariable>,
    pub(super) warnings: Vec<ConfigWarning>,
    /// Variables of ours that do not hold what their settings take, each with where it is.
    pub(super) mistakes: Vec<(KeyPath, Origin, Error)>,
}

/// Sorts out the variables of one source.
///
/// # Errors
/// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) when a variable of ours does not hold what its
/// setting takes; the error names the variable and never its value.
pub(super) fn read(variables: impl IntoIterator<Item = Variable>, prefix: &str) -> Result<Layer> {
    let mut layer = read_all(variables, prefix);
    match layer.mistakes.is_empty() {
        true => Ok(layer),
        false => Err(layer.mistakes.swap_remove(0).2),
    }
}

/// The same, for who wants to hear of every mistake: what is right is there all the same.
pub(super) fn read_all(variables: impl IntoIterator<Item = Variable>, prefix: &str) -> Layer {
    let schema = Schema::get();
    let mut layer = Layer::default();
    for variable in variables {
        let Some(path) = path_of(&variable.name, prefix) else {
            layer.warnings.extend(too_few_underscores(schema, &variable, prefix));
            continue;
        };
        let taken = match schema.place(&path) {
            Place::Section => layer.section(&variable, path.clone()),
            Place::Leaf(leaf) => layer.leaf(&variable, leaf, path.clone()),
            Place::InsideFreeTable => {
                // As pydantic does for a table of anything: JSON where it is JSON, text where it is not.
                let value =
                    serde_json::from_str(&variable.value).unwrap_or_else(|_| Value::String(variable.value.clone()));
                flatten(path.clone(), &value, &variable.origin, &mut layer.found);
                Ok(())
            }
            Place::BelowLeaf(_) | Place::Unknown => {
                layer.warnings.extend(suspicion(schema, &variable, &path, prefix));
                layer.host.push(HostVariable { path, variable });
                continue;
            }
        };
        if let Err(error) = taken {
            layer.mistakes.push((path, variable.origin, error));
        }
    }
    // Deeper names win over the JSON above them, whatever the order of the environment. The sort is stable:
    // of two spellings of one name (`UPLIFTED__A`, `uplifted__a`) the later one wins, as in pydantic.
    layer.found.sort_by_key(|found| specificity(found, prefix));
    layer
}

/// How many names the variable itself spells out, as opposed to what its JSON says.
fn specificity(found: &Found, prefix: &str) -> usize {
    match &found.origin {
        Origin::DotEnv { variable, .. } | Origin::Environment { variable } => {
            path_of(variable, prefix).map_or(0, |path| path.len())
        }
        _ => 0,
    }
}

/// `UPLIFTED__BACKUP__LEVEL` as `["backup", "level"]`; `None` when it is not under the prefix.
pub(super) fn path_of(name: &str, prefix: &str) -> Option<KeyPath> {
    let (start, rest) = name.split_at_checked(prefix.len())?;
    let rest = start.eq_ignore_ascii_case(prefix).then_some(rest)?.strip_prefix("__")?;
    (!rest.is_empty()).then(|| rest.to_lowercase().split("__").map(str::to_owned).collect())
}

/// `["backup", "level"]` as `UPLIFTED__BACKUP__LEVEL`.
pub(super) fn variable_of<'a>(path: impl IntoIterator<Item = &'a str>, prefix: &str) -> String {
    path.into_iter().fold(prefix.to_owned(), |name, key| format!("{name}__{}", key.to_ascii_uppercase()))
}

impl Layer {
    fn section(&mut self, variable: &Variable, path: KeyPath) -> Result<()> {
        let fields = match parse_json(variable)? {
            Value::Object(fields) => fields,
            // pydantic: the section's defaults, which is what lies below anyway.
            Value::Null => return Ok(()),
            other => {
                return Err(refuse(variable, &format!("expected a JSON object, found {}", coerce::found(&other))));
            }
        };
        self.fields(variable, &path, &fields)
    }

    fn fields(&mut self, variable: &Variable, path: &KeyPath, fields: &Map<String, Value>) -> Result<()> {
        let schema = Schema::get();
        for (name, value) in fields {
            let mut path = path.clone();
            path.push(name.to_lowercase());
            match (schema.place(&path), value) {
                (Place::Leaf(leaf), _) => self.value(variable, leaf, path, value)?,
                (Place::Section, Value::Object(inner)) => self.fields(variable, &path, inner)?,
                _ => self.warnings.push(ConfigWarning {
                    key: path.join("."),
                    message: match schema.did_you_mean(&path) {
                        Some(known) => format!(
                            "{} has the key {name:?}, which is no setting and is ignored; did you mean `{known}`?",
                            variable.name
                        ),
                        None => format!("{} has the key {name:?}, which is no setting and is ignored", variable.name),
                    },
                    source: variable.origin.to_string(),
                }),
            }
        }
        Ok(())
    }

    fn leaf(&mut self, variable: &Variable, leaf: &Leaf, path: KeyPath) -> Result<()> {
        let value = match leaf.kind {
            LeafType::TextList | LeafType::Components(_) | LeafType::FreeTable => parse_json(variable)?,
            // `UPLIFTED__BACKUP__SCRATCH=` cannot mean the empty path: it is how a deployment says "unset".
            LeafType::Text if leaf.optional && variable.value.is_empty() => Value::Null,
            _ => Value::String(variable.value.clone()),
        };
        self.value(variable, leaf, path, &value)
    }

    fn value(&mut self, variable: &Variable, leaf: &Leaf, path: KeyPath, value: &Value) -> Result<()> {
        let fitted = coerce::fit(leaf, value, Mode::Text).map_err(|misfit| {
            let inside: KeyPath = path.iter().cloned().chain(misfit.inside).collect();
            refuse(variable, &format!("`{}`: {}", super::file::shown_path(&inside), misfit.message))
        })?;
        if leaf.kind == LeafType::FreeTable {
            flatten(path, &fitted, &variable.origin, &mut self.found);
        } else {
            self.found.push(Found::new(path, fitted, variable.origin.clone()));
        }
        Ok(())
    }
}

fn parse_json(variable: &Variable) -> Result<Value> {
    // The parser's message is left out but for its place: it may quote what it met.
    serde_json::from_str(&variable.value).map_err(|error| {
        let place = if variable.value.trim().is_empty() {
            "it is empty".to_owned()
        } else {
            format!("it is not JSON at line {} column {}", error.line(), error.column())
        };
        refuse(variable, &place)
    })
}

fn refuse(variable: &Variable, what: &str) -> Error {
    let place = match &variable.origin {
        Origin::DotEnv { line, .. } => format!(" (.env line {line})"),
        _ => String::new(),
    };
    Error::invalid(format!("the variable {}{place} does not hold what its setting takes: {what}", variable.name))
        .with_hint(
            "correct the variable; lists, tables and whole sections are JSON. Is it the service's own? Then give \
             our settings another prefix with service.env_prefix in ops.toml",
        )
}

/// A warning when `path` can only be meant for us.
fn suspicion(schema: &Schema, variable: &Variable, path: &KeyPath, prefix: &str) -> Option<ConfigWarning> {
    if super::host::is_known(path) {
        return None;
    }
    let warning = |message| ConfigWarning { key: path.join("."), message, source: variable.origin.to_string() };
    if let Place::BelowLeaf(leaf) = schema.place(path)
        && matches!(leaf.kind, LeafType::Components(_) | LeafType::TextList)
        && path.iter().any(|key| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit()))
    {
        let list = path.iter().take_while(|key| !key.bytes().all(|byte| byte.is_ascii_digit()));
        let whole = variable_of(list.map(String::as_str), prefix);
        return Some(warning(format!("{} is ignored: a list is set whole, as JSON in {whole}", variable.name)));
    }
    if let Some(warning) = too_few_underscores(schema, variable, prefix) {
        return Some(warning);
    }
    let known = schema.misspelled(path, variable.value.trim_start().starts_with(['{', '[']))?;
    let meant = variable_of(known.split('.'), prefix);
    Some(warning(format!("{} is no setting and is ignored; did you mean {meant}?", variable.name)))
}

/// `UPLIFTED_BACKUP_LEVEL` or `UPLIFTED__BACKUP_LEVEL` for `UPLIFTED__BACKUP__LEVEL`.
fn too_few_underscores(schema: &Schema, variable: &Variable, prefix: &str) -> Option<ConfigWarning> {
    let (start, rest) = variable.name.split_at_checked(prefix.len())?;
    if !start.eq_ignore_ascii_case(prefix) || !rest.starts_with('_') {
        return None;
    }
    let words = |name: &str| name.split('_').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_");
    let written = words(&rest.to_lowercase());
    let known = schema.leaves.keys().find(|key| key.len() > 1 && words(&key.join("_")) == written)?;
    let meant = variable_of(known.iter().map(String::as_str), prefix);
    Some(ConfigWarning {
        key: known.join("."),
        message: format!("{} is no setting and is ignored; did you mean {meant}?", variable.name),
        source: variable.origin.to_string(),
    })
}
