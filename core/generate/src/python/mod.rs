//! Writes Python: frozen dataclasses, and the groups of methods that answer with them.
//!
//! The runtime that both need is `_codec.py`, by hand. Lines are filled to 88 columns, as formatters do.

mod operations;
mod types;

pub use operations::operations;
pub use types::types;

use serde_json::Value;

use crate::ir::{Shape, Type};
use crate::words::{Page, wrapped};

/// The width that formatters of Python agree on.
const WIDTH: usize = 88;

/// Words of the language, which no field, method or parameter can be called.
const KEYWORDS: [&str; 35] = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del",
    "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal",
    "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

/// `from` as `from_`, by PEP 8.
fn identifier(name: &str) -> String {
    if KEYWORDS.contains(&name) || name == "self" { format!("{name}_") } else { name.to_owned() }
}

/// The type as an annotation; wider in a request, where whatever can be read as the type will do.
fn annotation(ty: &Type, request: bool) -> String {
    match ty {
        Type::Text => "str".to_owned(),
        Type::Boolean => "bool".to_owned(),
        Type::Integer | Type::WideInteger => "int".to_owned(),
        Type::Float => "float".to_owned(),
        Type::Time => "datetime".to_owned(),
        Type::Path if request => "str | os.PathLike[str]".to_owned(),
        Type::Path => "str".to_owned(),
        Type::Json => "Any".to_owned(),
        Type::Object if request => "Mapping[str, Any]".to_owned(),
        Type::Object => "dict[str, Any]".to_owned(),
        // A method takes any sequence and promises a list.
        Type::List(item) if request => format!("Sequence[{}]", annotation(item, request)),
        Type::List(item) => format!("list[{}]", annotation(item, request)),
        Type::Map(value) if request => format!("Mapping[str, {}]", annotation(value, request)),
        Type::Map(value) => format!("dict[str, {}]", annotation(value, request)),
        Type::Nullable(inner) => match annotation(inner, request) {
            any if any == "Any" => any,
            inner => format!("{inner} | None"),
        },
        Type::Named(name) => name.clone(),
    }
}

/// A JSON value in Python's notation.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Array(items) => format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| format!("{}: {}", quoted(key), literal(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
    }
}

/// A string of Python: JSON's notation is one.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Writes a docstring. Paragraphs are filled.
fn docstring(page: &mut Page, docs: &str) {
    let escaped = docs.replace('\\', "\\\\").replace("\"\"\"", "\\\"\\\"\\\"");
    let escaped = match escaped.strip_suffix('"') {
        Some(rest) => format!("{rest}\\\""),
        None => escaped,
    };
    let lines = wrapped(&escaped, WIDTH - page.column());
    let room = WIDTH - page.column() - 6;
    match &lines[..] {
        [] => {}
        [one] if one.chars().count() <= room => page.line(format!("\"\"\"{one}\"\"\"")),
        _ => {
            // The quotes take room on the first line.
            let lines = match lines[0].chars().count() + 3 > WIDTH - page.column() {
                true => wrapped(&format!("\u{1}\u{1}\u{1}{escaped}"), WIDTH - page.column()),
                false => lines,
            };
            page.line(format!("\"\"\"{}", lines[0].trim_start_matches('\u{1}')));
            lines[1..].iter().for_each(|line| page.line(line));
            page.line("\"\"\"");
        }
    }
}

/// Whether values of `ty` are more than plain JSON, and so need a codec.
fn needs_codec(ty: &Type, shape: &impl Fn(&str) -> Option<Shape>) -> bool {
    match ty {
        Type::Time | Type::Path => true,
        Type::List(inner) | Type::Map(inner) | Type::Nullable(inner) => needs_codec(inner, shape),
        Type::Named(name) => !matches!(shape(name), Some(Shape::Words(_))),
        _ => false,
    }
}

/// Writes a call, one argument a line where it is too long for one line.
fn call(page: &mut Page, open: &str, arguments: &[String]) {
    let line = format!("{open}{})", arguments.join(", "));
    if page.column() + line.len() <= WIDTH {
        return page.line(line);
    }
    page.line(open);
    page.indented(4, |page| arguments.iter().for_each(|argument| page.line(format!("{argument},"))));
    page.line(")");
}
