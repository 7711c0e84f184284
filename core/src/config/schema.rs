//! The keys that exist, read from the schema of [`Settings`], so that a new field needs no second list.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::Settings;

/// What kind of value a setting takes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum LeafType {
    /// Text, paths included.
    Text,
    Boolean,
    /// A whole number within bounds, both included.
    Integer {
        min: i128,
        max: i128,
    },
    Number,
    /// A [`ByteSize`](crate::value::ByteSize): a number of bytes, or text such as `64MiB`.
    Size,
    TextList,
    /// A table with keys of its own that this room does not know.
    FreeTable,
    /// An array of tables: stores, targets, checks, jobs.
    Components(Fields),
}

/// The keys of one table of an array of tables.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fields {
    pub(super) known: BTreeMap<String, Leaf>,
    /// Whether there are no others. The other keys of a store are its kind's.
    pub(super) closed: bool,
}

impl Fields {
    /// The key that was probably meant by `written`.
    pub(super) fn did_you_mean(&self, written: &str) -> Option<&str> {
        let near = self.known.keys().map(|known| (likeness(known, written), known));
        let best = near.filter(|(likeness, _)| *likeness >= 0.6).max_by(|a, b| a.0.total_cmp(&b.0));
        best.map(|(_, known)| known.as_str())
    }
}

/// One setting that has a value, as opposed to a section that has settings.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Leaf {
    pub(super) kind: LeafType,
    /// Whether it may be absent without a default.
    pub(super) optional: bool,
}

/// All keys: `backup.level` is the path `["backup", "level"]`.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) leaves: BTreeMap<Vec<String>, Leaf>,
    pub(super) sections: Vec<Vec<String>>,
}

/// Where a path leads.
#[derive(Debug, PartialEq)]
pub(super) enum Place<'a> {
    Section,
    Leaf(&'a Leaf),
    /// A key inside a free table.
    InsideFreeTable,
    /// A key below a setting that has none.
    BelowLeaf(&'a Leaf),
    Unknown,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let root = schemars::schema_for!(Settings).to_value();
    let mut schema = Schema { leaves: BTreeMap::new(), sections: Vec::new() };
    schema.collect(&root, &root, &mut Vec::new());
    schema
});

impl Schema {
    /// The schema of [`Settings`].
    pub(super) fn get() -> &'static Self {
        &SCHEMA
    }

    fn collect(&mut self, root: &Value, node: &Value, path: &mut Vec<String>) {
        for (name, property) in properties(node) {
            path.push(name.clone());
            let (node, optional) = resolve(root, property);
            match leaf_type(root, node) {
                Some(kind) => {
                    self.leaves.insert(path.clone(), Leaf { kind, optional });
                }
                None => {
                    self.sections.push(path.clone());
                    self.collect(root, node, path);
                }
            }
            path.pop();
        }
    }

    pub(super) fn place(&self, path: &[String]) -> Place<'_> {
        if let Some(leaf) = self.leaves.get(path) {
            return Place::Leaf(leaf);
        }
        if self.sections.iter().any(|section| section == path) {
            return Place::Section;
        }
        for len in (1..path.len()).rev() {
            if let Some(leaf) = self.leaves.get(&path[..len]) {
                return match leaf.kind {
                    LeafType::FreeTable => Place::InsideFreeTable,
                    _ => Place::BelowLeaf(leaf),
                };
            }
        }
        Place::Unknown
    }

    /// The known key that somebody who wrote `path` probably meant. Generous: for a place where an unknown
    /// key is an error anyway.
    pub(super) fn did_you_mean(&self, path: &[String]) -> Option<String> {
        let (last, section) = path.split_last()?;
        let known = || self.leaves.keys().chain(&self.sections);
        // A sibling that looks like it, then the same name in another section, then a whole key like it.
        let sibling = known()
            .filter(|key| key.len() == path.len() && key[..section.len()] == *section)
            .filter_map(|key| Some((likeness(key.last()?, last), key)))
            .filter(|(likeness, _)| *likeness >= 0.6)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((_, key)) = sibling {
            return Some(key.join("."));
        }
        if let Some(key) = known().find(|key| key.last() == Some(last)) {
            return Some(key.join("."));
        }
        let whole = path.join(".");
        known()
            .map(|key| (strsim::normalized_damerau_levenshtein(&key.join("."), &whole), key))
            .filter(|(likeness, _)| *likeness >= 0.75)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, key)| key.join("."))
    }

    /// The known key that `path` misspells, beyond reasonable doubt: for a place where a foreign key is
    /// normal, and a false alarm a nuisance.
    pub(super) fn misspelled(&self, path: &[String], looks_like_json: bool) -> Option<String> {
        let mut best: Option<(usize, String)> = None;
        for key in self.leaves.keys().chain(&self.sections) {
            // `UPLIFTED__WORKERS=4` is the host's; only JSON can be meant for a section or a list.
            if key.len() != path.len() || (key.len() == 1 && !looks_like_json) {
                continue;
            }
            let distances: Option<Vec<usize>> =
                key.iter().zip(path).map(|(known, written)| slip(known, written)).collect();
            if let Some(distances) = distances {
                let total = distances.iter().sum();
                if best.as_ref().is_none_or(|(least, _)| total < *least) {
                    best = Some((total, key.join(".")));
                }
            }
        }
        best.map(|(_, key)| key)
    }
}

/// How much `written` looks like `known`, 0 to 1. The name without its unit counts as nearly equal.
fn likeness(known: &str, written: &str) -> f64 {
    if unit_forgotten(known, written) { 0.95 } else { strsim::normalized_damerau_levenshtein(known, written) }
}

/// `deadline` for `deadline_seconds`.
fn unit_forgotten(known: &str, written: &str) -> bool {
    written.len() >= 4 && known.strip_prefix(written).is_some_and(|rest| matches!(rest, "_seconds" | "_bytes"))
}

/// The number of slips of the pen between two words, when there are few for their length.
fn slip(known: &str, written: &str) -> Option<usize> {
    if unit_forgotten(known, written) {
        return Some(1);
    }
    let allowed = match known.chars().count() {
        0..=3 => 0,
        4..=7 => 1,
        _ => 2,
    };
    let distance = strsim::osa_distance(known, written);
    (distance <= allowed).then_some(distance)
}

fn properties(node: &Value) -> impl Iterator<Item = (&String, &Value)> {
    node.get("properties").and_then(Value::as_object).into_iter().flatten()
}

/// Follows `$ref`, and takes the `null` out of a union; says whether there was one.
fn resolve<'a>(root: &'a Value, node: &'a Value) -> (&'a Value, bool) {
    if let Some(target) = node.get("$ref").and_then(Value::as_str) {
        let found = root.pointer(target.trim_start_matches('#')).unwrap_or(node);
        return (found, false);
    }
    if let Some(choices) = node.get("anyOf").and_then(Value::as_array) {
        let is_null = |choice: &Value| choice.get("type").is_some_and(|t| t == "null");
        if let [one, other] = choices.as_slice() {
            match (is_null(one), is_null(other)) {
                (false, true) => return (resolve(root, one).0, true),
                (true, false) => return (resolve(root, other).0, true),
                _ => {}
            }
        }
    }
    let optional = types(node).contains(&"null");
    (node, optional)
}

fn types(node: &Value) -> Vec<&str> {
    match node.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// `None` for a section.
fn leaf_type(root: &Value, node: &Value) -> Option<LeafType> {
    let types = types(node);
    let has = |name| types.contains(&name);
    if has("integer") && has("string") {
        return Some(LeafType::Size);
    }
    if has("string") {
        return Some(LeafType::Text);
    }
    if has("boolean") {
        return Some(LeafType::Boolean);
    }
    if has("integer") {
        let (min, max) = match node.get("format").and_then(Value::as_str) {
            Some("int32") => (i32::MIN.into(), i32::MAX.into()),
            Some("uint32") => (0, u32::MAX.into()),
            Some("uint16") => (0, u16::MAX.into()),
            Some("uint8") => (0, u8::MAX.into()),
            Some("uint" | "uint64") => (0, u64::MAX.into()),
            _ => (i64::MIN.into(), i64::MAX.into()),
        };
        return Some(LeafType::Integer { min, max });
    }
    if has("number") {
        return Some(LeafType::Number);
    }
    if has("array") {
        let (item, _) = resolve(root, node.get("items").unwrap_or(&Value::Null));
        let fields: BTreeMap<String, Leaf> = properties(item)
            .filter_map(|(name, property)| {
                let (node, optional) = resolve(root, property);
                let required = item
                    .get("required")
                    .and_then(Value::as_array)
                    .is_some_and(|names| names.iter().any(|required| required == name));
                Some((name.clone(), Leaf { kind: leaf_type(root, node)?, optional: optional || !required }))
            })
            .collect();
        if fields.is_empty() {
            return Some(LeafType::TextList);
        }
        let closed = item.get("additionalProperties") == Some(&Value::Bool(false));
        return Some(LeafType::Components(Fields { known: fields, closed }));
    }
    let empty = node.get("properties").and_then(Value::as_object).is_none_or(Map::is_empty);
    empty.then_some(LeafType::FreeTable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(key: &str) -> Vec<String> {
        key.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn every_setting_has_the_type_of_its_field() {
        let schema = Schema::get();
        let kind = |key: &str| match schema.place(&path(key)) {
            Place::Leaf(leaf) => (leaf.kind.clone(), leaf.optional),
            other => panic!("{key}: {other:?}"),
        };
        assert_eq!(kind("backup.level"), (LeafType::Integer { min: i32::MIN.into(), max: i32::MAX.into() }, true));
        assert_eq!(kind("backup.threads"), (LeafType::Integer { min: 0, max: u64::MAX.into() }, false));
        assert_eq!(kind("backup.include"), (LeafType::TextList, false));
        assert_eq!(kind("backup.keep_free_bytes"), (LeafType::Size, false));
        assert_eq!(kind("restore.max_bytes"), (LeafType::Size, true));
        assert_eq!(kind("backup.retention.daily"), (LeafType::Integer { min: 0, max: u32::MAX.into() }, false));
        assert_eq!(kind("backup.retention.per_host"), (LeafType::Boolean, true));
        assert_eq!(kind("backup.scratch"), (LeafType::Text, true));
        assert_eq!(kind("backup.clear_secrets"), (LeafType::Boolean, true));
        assert_eq!(kind("health.deadline_seconds"), (LeafType::Number, false));
        let (LeafType::Components(fields), _) = kind("check") else { panic!("check is no list of components") };
        assert_eq!(fields.known["critical"], Leaf { kind: LeafType::Boolean, optional: true });
        assert_eq!(fields.known["name"], Leaf { kind: LeafType::Text, optional: false });
        assert!(!fields.closed);
        let (LeafType::Components(fields), _) = kind("job") else { panic!("job is no list of components") };
        assert_eq!(fields.known["request"], Leaf { kind: LeafType::FreeTable, optional: true });
        assert!(fields.closed);
        assert_eq!(schema.place(&path("backup")), Place::Section);
        assert_eq!(schema.place(&path("backup.retention")), Place::Section);
        assert_eq!(schema.place(&path("logging.level")), Place::Unknown);
        // Nothing of the settings is missing: the defaults, as JSON, have no key that the schema lacks.
        fn known(schema: &Schema, at: &[String], value: &Value) {
            match (schema.place(at), value) {
                (Place::Section, Value::Object(fields)) => {
                    for (name, value) in fields {
                        known(schema, &[at, std::slice::from_ref(name)].concat(), value);
                    }
                }
                // A section that may be absent is null then.
                (Place::Leaf(_), _) | (Place::Section, Value::Null) => {}
                (other, _) => panic!("{at:?}: {other:?}"),
            }
        }
        let Value::Object(all) = serde_json::to_value(Settings::default()).unwrap() else { unreachable!() };
        all.iter().for_each(|(section, value)| known(schema, std::slice::from_ref(section), value));
        assert_eq!(kind("backup.drill.command"), (LeafType::TextList, false));
        assert_eq!(kind("backup.drill.queries"), (LeafType::FreeTable, false));
    }

    #[test]
    fn suggestions() {
        let schema = Schema::get();
        for (written, meant) in [
            ("backup.levle", Some("backup.level")),
            ("backup.includes", Some("backup.include")),
            ("stores", Some("store")),
            ("checks", Some("check")),
            ("bakcup", Some("backup")),
            ("service.include", Some("backup.include")),
            ("level", Some("backup.level")),
            ("health.deadline", Some("health.deadline_seconds")),
            ("backup.colour", None),
            ("kubernetes", None),
        ] {
            assert_eq!(schema.did_you_mean(&path(written)).as_deref(), meant, "{written}");
        }
    }

    #[test]
    fn a_hosts_key_is_not_taken_for_a_misspelling() {
        let schema = Schema::get();
        for (written, json, meant) in [
            ("backup.levle", false, Some("backup.level")),
            ("bakup.level", false, Some("backup.level")),
            ("backups.include", false, Some("backup.include")),
            ("health.deadline", false, Some("health.deadline_seconds")),
            ("stores", true, Some("store")),
            ("stores", false, None),
            ("workers", false, None),
            ("status.path", false, None),
            ("storage.path", false, None),
            ("cache.path", false, None),
            ("server.workers", false, None),
            ("server.name", false, None),
            ("logging.level", false, None),
            ("database.path", false, None),
            ("metrics.enabled", false, None),
            ("debug", false, None),
        ] {
            assert_eq!(schema.misspelled(&path(written), json).as_deref(), meant, "{written}");
        }
    }
}
