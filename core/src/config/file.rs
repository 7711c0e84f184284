//! `ops.toml`: every value with its line, every unknown key an error that names its line.

use std::ops::Range;
use std::path::Path;

use serde_json::{Map, Number, Value};
use toml_edit::{Document, Item, Key, TableLike, Value as TomlValue};

use super::coerce::{self, Mode};
use super::layers::{Found, KeyPath, Origin};
use super::schema::{LeafType, Place, Schema};
use super::small_file;
use crate::error::{Error, ErrorKind, Result};

/// The name of the file that is looked for.
pub(super) const FILE_NAME: &str = "ops.toml";

/// How many mistakes one error tells.
const TOLD: usize = 5;

/// Reads the file at `path` as a layer. `shown` is its name in messages and sources.
///
/// # Errors
/// [`ErrorKind::NotFound`] when it is missing; [`ErrorKind::InvalidInput`] for mistakes in it, with up to
/// five of them told by file and line.
pub(super) fn read(path: &Path, shown: &str) -> Result<Vec<Found>> {
    read_all(path, shown)?.finish()
}

/// The same, for who wants to hear of every mistake: what is right is there all the same.
///
/// # Errors
/// [`ErrorKind::NotFound`] when it is missing; [`ErrorKind::InvalidInput`] when it is no TOML.
pub(super) fn read_all(path: &Path, shown: &str) -> Result<FileLayer> {
    // `--config uplifted.db` must not open a database in the host.
    if path.extension().is_none_or(|extension| extension != "toml") {
        return Err(Error::invalid(format!("the configuration file {path:?} is no .toml file"))
            .with_hint("name a file that ends in .toml"));
    }
    let bytes = small_file::read(path)?.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("the configuration file {path:?} does not exist"))
            .with_hint("correct the path, or write one with `uplifted-ops init`")
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        Error::invalid(format!("{shown}:{}: the file is not UTF-8", line + 1)).with_hint("save it as UTF-8")
    })?;
    parse_all(&text, shown)
}

/// Reads the text of such a file.
pub(super) fn parse(text: &str, shown: &str) -> Result<Vec<Found>> {
    parse_all(text, shown)?.finish()
}

fn parse_all(text: &str, shown: &str) -> Result<FileLayer> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = Lines::new(text, shown);
    let document = Document::parse(text).map_err(|error| {
        // The parser's own display quotes the line, which may hold a secret.
        let line = lines.at(error.span().unwrap_or(0..0));
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        Error::invalid(format!("{shown}:{line}: {message}"))
            .with_hint("correct the TOML; https://toml.io has the rules")
    })?;
    let mut reader = Reader { lines, layer: FileLayer::default() };
    reader.table(document.as_table(), &Vec::new());
    Ok(reader.layer)
}

/// From positions to line numbers.
struct Lines<'a> {
    starts: Vec<usize>,
    shown: &'a str,
}

impl<'a> Lines<'a> {
    fn new(text: &str, shown: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { starts, shown }
    }

    fn at(&self, span: Range<usize>) -> usize {
        self.starts.partition_point(|start| *start <= span.start)
    }

    fn origin(&self, span: Option<Range<usize>>) -> Origin {
        Origin::File { name: self.shown.to_owned(), line: self.at(span.unwrap_or(0..0)) }
    }
}

/// Something in the file that is no setting, or no value of one.
#[derive(Debug)]
pub(super) struct Mistake {
    /// `backup.levle`, `store[1].path`.
    pub(super) key: String,
    pub(super) origin: Origin,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// What a file says, and what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct FileLayer {
    pub(super) found: Vec<Found>,
    pub(super) mistakes: Vec<Mistake>,
}

struct Reader<'a> {
    lines: Lines<'a>,
    layer: FileLayer,
}

impl Reader<'_> {
    fn table(&mut self, table: &dyn TableLike, path: &KeyPath) {
        for (name, item) in table.iter() {
            let mut path = path.clone();
            path.push(name.to_owned());
            let origin = self.lines.origin(key_span(table, name).or_else(|| item.span()));
            match Schema::get().place(&path) {
                Place::Section => match item.as_table_like() {
                    Some(inner) => self.table(inner, &path),
                    None => self.mistake(
                        &path,
                        origin,
                        format!("`{}` is a section, found {}", path.join("."), coerce::found(&to_json(item))),
                        Some(format!("write [{}] and its settings below", path.join("."))),
                    ),
                },
                Place::Leaf(leaf) => {
                    let mut parts = Vec::new();
                    if matches!(leaf.kind, LeafType::Components(_)) {
                        self.parts(item, &path, &mut parts);
                    }
                    if let Some(number) = not_finite(item) {
                        self.mistake(
                            &path,
                            origin,
                            format!("`{}` is {number}, which is no finite number", path.join(".")),
                            None,
                        );
                        continue;
                    }
                    match coerce::fit(leaf, &to_json(item), Mode::Typed) {
                        Ok(_) if leaf.kind == LeafType::FreeTable => self.free_table(item, path, origin),
                        Ok(value) => self.layer.found.push(Found { path, value, origin, parts }),
                        Err(misfit) => {
                            let inside: KeyPath = path.iter().cloned().chain(misfit.inside.clone()).collect();
                            let at = parts.iter().rev().find(|(part, _)| inside.starts_with(part));
                            let origin = at.map_or(origin, |(_, origin)| origin.clone());
                            let message = format!("`{}`: {}", shown_path(&inside), misfit.message);
                            self.mistake(&inside, origin, message, None);
                        }
                    }
                }
                Place::InsideFreeTable | Place::BelowLeaf(_) | Place::Unknown => {
                    let hint = match Schema::get().did_you_mean(&path) {
                        Some(known) => format!("did you mean `{known}`?"),
                        None => "remove it; `uplifted-ops config show` prints every setting".to_owned(),
                    };
                    self.mistake(&path, origin, format!("unknown key `{}`", path.join(".")), Some(hint));
                }
            }
        }
    }

    /// Takes a free table apart, each key with its own line. An empty one stays one leaf.
    fn free_table(&mut self, item: &Item, path: KeyPath, origin: Origin) {
        match item.as_table_like().filter(|table| !table.is_empty()) {
            Some(table) => {
                for (name, inner) in table.iter() {
                    let mut path = path.clone();
                    path.push(name.to_owned());
                    let origin = self.lines.origin(key_span(table, name).or_else(|| inner.span()));
                    self.free_table(inner, path, origin);
                }
            }
            None => self.layer.found.push(Found::new(path, to_json(item), origin)),
        }
    }

    /// Notes the line of each component and of each of its keys.
    fn parts(&self, item: &Item, path: &KeyPath, parts: &mut Vec<(KeyPath, Origin)>) {
        let tables: Vec<(&dyn TableLike, Option<Range<usize>>)> = match item {
            Item::ArrayOfTables(tables) => tables.iter().map(|table| (table as &dyn TableLike, table.span())).collect(),
            Item::Value(TomlValue::Array(items)) => {
                items.iter().filter_map(|item| Some((item.as_inline_table()? as &dyn TableLike, item.span()))).collect()
            }
            _ => return,
        };
        for (index, (table, span)) in tables.into_iter().enumerate() {
            let mut part = path.clone();
            part.push(index.to_string());
            parts.push((part.clone(), self.lines.origin(span)));
            for (name, value) in table.iter() {
                let mut part = part.clone();
                part.push(name.to_owned());
                parts.push((part, self.lines.origin(key_span(table, name).or_else(|| value.span()))));
            }
        }
    }

    fn mistake(&mut self, path: &[String], origin: Origin, message: String, hint: Option<String>) {
        self.layer.mistakes.push(Mistake { key: shown_path(path), origin, message, hint });
    }
}

impl FileLayer {
    /// What the file says, if nothing is wrong with it.
    fn finish(self) -> Result<Vec<Found>> {
        let Some(first) = self.mistakes.first() else { return Ok(self.found) };
        let told: Vec<String> =
            self.mistakes.iter().take(TOLD).map(|mistake| format!("{}: {}", mistake.origin, mistake.message)).collect();
        let more = self.mistakes.len().saturating_sub(TOLD);
        let more = if more == 0 { String::new() } else { format!("; and {more} more") };
        let hint = match (&first.hint, self.mistakes.as_slice()) {
            (Some(hint), [_]) => hint.clone(),
            (Some(hint), _) => format!("the first one: {hint}"),
            (None, _) => "correct the value; `uplifted-ops config show` prints every setting".to_owned(),
        };
        Err(Error::invalid(told.join("; ") + &more).with_hint(hint))
    }
}

/// `["store", "1", "path"]` as `store[1].path`.
pub(super) fn shown_path(path: &[String]) -> String {
    let mut shown = String::new();
    for step in path {
        if step.bytes().all(|byte| byte.is_ascii_digit()) {
            shown.push_str(&format!("[{step}]"));
        } else {
            if !shown.is_empty() {
                shown.push('.');
            }
            shown.push_str(step);
        }
    }
    shown
}

fn key_span(table: &dyn TableLike, name: &str) -> Option<Range<usize>> {
    table.key(name).and_then(Key::span)
}

/// The first float inside that JSON cannot say.
fn not_finite(item: &Item) -> Option<f64> {
    fn inside(value: &TomlValue) -> Option<f64> {
        match value {
            TomlValue::Float(float) => Some(*float.value()).filter(|float| !float.is_finite()),
            TomlValue::Array(items) => items.iter().find_map(inside),
            TomlValue::InlineTable(table) => table.iter().find_map(|(_, value)| inside(value)),
            _ => None,
        }
    }
    match item {
        Item::Value(value) => inside(value),
        Item::Table(table) => table.iter().find_map(|(_, inner)| not_finite(inner)),
        Item::ArrayOfTables(tables) => {
            tables.iter().find_map(|table| table.iter().find_map(|(_, inner)| not_finite(inner)))
        }
        Item::None => None,
    }
}

/// The item as JSON. Dates become their text.
fn to_json(item: &Item) -> Value {
    match item {
        Item::None => Value::Null,
        Item::Value(value) => value_to_json(value),
        Item::Table(table) => table_to_json(table),
        Item::ArrayOfTables(tables) => Value::Array(tables.iter().map(|table| table_to_json(table)).collect()),
    }
}

fn table_to_json(table: &dyn TableLike) -> Value {
    let fields: Map<String, Value> = table.iter().map(|(name, item)| (name.to_owned(), to_json(item))).collect();
    Value::Object(fields)
}

fn value_to_json(value: &TomlValue) -> Value {
    match value {
        TomlValue::String(text) => Value::String(text.value().clone()),
        TomlValue::Integer(whole) => Value::from(*whole.value()),
        TomlValue::Float(float) => Number::from_f64(*float.value()).map_or(Value::Null, Value::Number),
        TomlValue::Boolean(truth) => Value::Bool(*truth.value()),
        TomlValue::Datetime(time) => Value::String(time.value().to_string()),
        TomlValue::Array(items) => Value::Array(items.iter().map(value_to_json).collect()),
        TomlValue::InlineTable(table) => table_to_json(table),
    }
}
