//! Any object as `name  value` lines, the unit taken from the field's name.

use serde_json::{Map, Value};
use unicode_width::UnicodeWidthStr;

use super::words::{age, clean, count, duration, path, size, time};
use super::{Tone, View};

/// Every field of an object but those in `without`, nested ones indented below their name.
pub(super) fn fields(value: &Value, without: &[&str], view: &View) -> String {
    let mut text = String::new();
    if let Value::Object(object) = value {
        write(object, without, 0, view, &mut text);
    }
    text
}

fn write(object: &Map<String, Value>, without: &[&str], depth: usize, view: &View, out: &mut String) {
    let indent = "  ".repeat(depth);
    let shown: Vec<(&String, &Value)> =
        object.iter().filter(|(name, value)| !without.contains(&name.as_str()) && !is_empty(value)).collect();
    let widest =
        shown.iter().filter(|(_, value)| is_leaf(value)).map(|(name, _)| title(name).width()).max().unwrap_or(0);
    for (name, value) in shown {
        let title = title(name);
        if is_leaf(value) {
            let pad = " ".repeat(widest - title.width());
            out.push_str(&format!("{indent}{}{pad}  {}\n", view.paint(Tone::Dim, &title), leaf(name, value, view)));
            continue;
        }
        out.push_str(&format!("{indent}{}\n", view.paint(Tone::Strong, &title)));
        match value {
            Value::Object(inner) => write(inner, &[], depth + 1, view, out),
            Value::Array(items) => {
                for item in items {
                    match item {
                        Value::Object(inner) => {
                            let mut block = String::new();
                            write(inner, &[], depth + 2, view, &mut block);
                            // The first line of an entry carries its mark.
                            let at = 2 * (depth + 1);
                            if block.len() > at + 2 {
                                block.replace_range(at..at + 2, "- ");
                            }
                            out.push_str(&block);
                        }
                        other => out.push_str(&format!("{indent}  - {}\n", leaf(name, other, view))),
                    }
                }
            }
            _ => {}
        }
    }
}

/// Whether the value takes one line: scalars, names that are not UTF-8, short lists of scalars.
fn is_leaf(value: &Value) -> bool {
    match value {
        Value::Object(object) => object.len() == 1 && object.get("bytes").is_some_and(Value::is_string),
        Value::Array(items) => items.len() <= 4 && items.iter().all(|item| !item.is_object() && !item.is_array()),
        _ => true,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(object) => object.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// `size_bytes` is `size`, `journal_mode` is `journal mode`.
fn title(name: &str) -> String {
    let short = ["_bytes", "_seconds"].iter().find_map(|unit| name.strip_suffix(unit)).unwrap_or(name);
    clean(&short.replace('_', " "))
}

/// A value on one line.
pub(super) fn leaf(name: &str, value: &Value, view: &View) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => {
            if let (true, Some(bytes)) = (name.ends_with("_bytes"), number.as_u64()) {
                size(bytes)
            } else if let (true, Some(seconds)) = (name.ends_with("_seconds"), number.as_f64()) {
                duration(seconds)
            } else if let (false, Some(whole)) = (is_identifier(name), number.as_u64()) {
                count(whole)
            } else {
                number.to_string()
            }
        }
        Value::String(text) => match age(text, view.now).as_str() {
            "" if matches!(name, "status" | "outcome") => view.paint(Tone::of(text), &clean(text)),
            "" => clean(text),
            age => format!("{} ({age})", time(text)),
        },
        Value::Array(items) => items.iter().map(|item| leaf(name, item, view)).collect::<Vec<_>>().join(", "),
        Value::Object(_) => path(Some(value)),
    }
}

/// Numbers that are names and not amounts get no thousands separators.
fn is_identifier(name: &str) -> bool {
    matches!(name, "pid" | "ppid" | "uid" | "gid" | "port" | "format" | "version" | "mode" | "page_size")
        || name.ends_with("_id")
        || name.ends_with("_pid")
        || name.ends_with("_version")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::plain;
    use super::*;

    #[test]
    fn units_come_from_the_names() {
        let value = json!({
            "service": "uplifted", "pid": 12345, "uptime_seconds": 125.0, "log_bytes": 4096, "rows": 12000,
            "started_at": "2026-11-22T11:00:00Z", "leader": true, "version": null, "labels": [],
            "path": { "bytes": "ff" },
            "last_backup": { "snapshot_id": "1f", "size_bytes": 1_073_741_824_u64 },
            "stores": [{ "kind": "sqlite", "name": "main" }, { "name": "other" }],
            "notes": ["a", "b", "c", "d", "e\n"],
        });
        assert_eq!(
            fields(&value, &["service"], &plain()),
            "\
last backup
  size         1.0 GiB
  snapshot id  1f
leader      yes
log         4.0 KiB
notes
  - a
  - b
  - c
  - d
  - e\\n
path        \\xff
pid         12345
rows        12,000
started at  2026-11-22 11:00:00 UTC (1 h ago)
stores
  - kind  sqlite
    name  main
  - name  other
uptime      2 min 5 s
"
        );
    }
}
