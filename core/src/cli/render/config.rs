//! `init`, `config show|check`.

use serde_json::Value;

use super::fields::{fields, leaf};
use super::table::{Cell, Table};
use super::words::{clean, counted, path};
use super::{Tone, View, list, text};

/// What `init` wrote.
pub(in crate::cli) fn init(value: &Value, view: &View) -> String {
    let mut out = format!("{} {}\n", view.paint(Tone::Good, "wrote"), path(value.get("path")));
    for note in list(value, "notes").iter().filter_map(Value::as_str) {
        out.push_str(&format!("  {}\n", clean(note)));
    }
    out.push_str("next: uplifted-ops config check, uplifted-ops backup create\n");
    out
}

/// What `init` would write, and nothing else, so that it can be redirected into a file.
pub(in crate::cli) fn preview(value: &Value, view: &View) -> String {
    for name in ["text", "content", "toml"] {
        let found = text(value, name);
        if !found.is_empty() {
            return found.to_owned();
        }
    }
    fields(value, &[], view)
}

/// Every setting with its value and its source.
pub(in crate::cli) fn show(value: &Value, view: &View) -> String {
    let mut table = Table::new(["SETTING", "VALUE", "SOURCE"], &[]);
    let settings: Vec<(String, &Value)> = match value.get("settings") {
        Some(Value::Array(items)) => items.iter().map(|item| (key_of(item), item)).collect(),
        Some(Value::Object(items)) => items.iter().map(|(key, item)| (clean(key), item)).collect(),
        _ => return fields(value, &[], view),
    };
    for (key, item) in &settings {
        let source = text(item, "source");
        let tone = if source.starts_with("default") { Tone::Dim } else { Tone::Plain };
        table.row([
            Cell::toned(key.as_str(), tone),
            Cell::toned(compact(key, item.get("value").unwrap_or(&Value::Null), view), tone),
            Cell::toned(clean(source), tone),
        ]);
    }
    format!("{}{}", table.show(view), fields(value, &["settings"], view))
}

fn key_of(item: &Value) -> String {
    ["key", "name", "path"]
        .iter()
        .map(|name| text(item, name))
        .find(|key| !key.is_empty())
        .map(clean)
        .unwrap_or_default()
}

/// A setting's value as `ops.toml` would have it, shortened to a line.
fn compact(key: &str, value: &Value, view: &View) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(yes) => yes.to_string(),
        Value::String(text) => clean(text),
        Value::Number(_) => leaf(key, value, view),
        Value::Array(_) | Value::Object(_) => clean(&value.to_string()),
    }
}

/// What is wrong with the settings.
pub(in crate::cli) fn check(value: &Value, view: &View) -> String {
    let problems = list(value, "problems");
    let warnings = list(value, "warnings");
    let mut out = String::new();
    for (items, tone, word) in [(problems, Tone::Bad, "error:"), (warnings, Tone::Warning, "warning:")] {
        for item in items {
            let word = match text(item, "severity") {
                "" => view.paint(tone, word),
                severity => view.paint(Tone::of(severity), &format!("{}:", clean(severity))),
            };
            let key = key_of(item);
            let at = if key.is_empty() { String::new() } else { format!("{key}: ") };
            let message = item.as_str().unwrap_or_else(|| text(item, "message"));
            out.push_str(&format!("{word} {at}{}\n", clean(message)));
            if let hint @ [_, ..] = text(item, "hint").as_bytes() {
                let hint = clean(&String::from_utf8_lossy(hint));
                out.push_str(&format!("  {} {hint}\n", view.paint(Tone::Good, "hint:")));
            }
        }
    }
    let ok = value.get("ok").and_then(Value::as_bool).unwrap_or(problems.is_empty());
    match (ok, warnings.len()) {
        (true, 0) => out.push_str(&format!("{}: the settings are sound\n", view.paint(Tone::Good, "ok"))),
        (true, n) => out.push_str(&format!(
            "{}: the settings can be used, with {}\n",
            view.paint(Tone::Good, "ok"),
            counted(n as u64, "warning", "warnings")
        )),
        (false, _) => {}
    }
    out.push_str(&fields(value, &["ok", "problems", "warnings"], view));
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::plain;
    use super::*;

    #[test]
    fn settings_show_where_they_come_from() {
        let value = json!({ "settings": [
            { "key": "backup.level", "value": 9, "source": "environment UPLIFTED__BACKUP__LEVEL" },
            { "key": "backup.include", "value": ["data", ".env"], "source": "ops.toml:12" },
            { "key": "backup.keep_free_bytes", "value": 268_435_456, "source": "default" },
            { "key": "service.version", "value": null, "source": "default" },
        ]});
        assert_eq!(
            show(&value, &plain()),
            "\
SETTING                 VALUE            SOURCE
backup.level            9                environment UPLIFTED__BACKUP__LEVEL
backup.include          [\"data\",\".env\"]  ops.toml:12
backup.keep_free_bytes  256.0 MiB        default
service.version         -                default
"
        );
    }

    #[test]
    fn a_preview_is_the_file_alone() {
        assert_eq!(preview(&json!({ "text": "[service]\n", "path": "x" }), &plain()), "[service]\n");
    }

    #[test]
    fn mistakes_come_with_their_repair() {
        let value = json!({ "ok": false, "problems": [
            { "key": "backup.levle", "message": "no such setting", "hint": "write backup.level" } ] });
        assert_eq!(check(&value, &plain()), "error: backup.levle: no such setting\n  hint: write backup.level\n");
        assert_eq!(check(&json!({ "ok": true, "problems": [] }), &plain()), "ok: the settings are sound\n");
    }
}
