//! `init`, `config show|check`.

use serde_json::Value;

use super::fields::{fields, leaf};
use super::table::{Cell, Table};
use super::words::{clean, counted, path};
use super::{Tone, View, list, text};

/// What `init` wrote, and what it saw.
pub(in crate::cli) fn init(value: &Value, view: &View) -> String {
    let mut out = format!("{} {}\n", view.paint(Tone::Good, "wrote"), path(value.get("path")));
    if value.get("kept").is_some_and(Value::is_string) {
        out.push_str(&format!("  the former file: {}\n", path(value.get("kept"))));
    }
    let found = value.get("found").unwrap_or(value);
    for (name, title) in [("databases", "databases"), ("included", "backed up")] {
        let names: Vec<String> = list(found, name).iter().map(|name| path(Some(name))).collect();
        if !names.is_empty() {
            out.push_str(&format!("  {title}: {}\n", names.join(", ")));
        }
    }
    for item in list(found, "left_out") {
        out.push_str(&format!("  left out: {} ({})\n", path(item.get("name")), clean(text(item, "why"))));
    }
    for note in list(found, "notes").iter().filter_map(Value::as_str) {
        out.push_str(&format!("  {}\n", clean(note)));
    }
    out.push_str("next: `uplifted-ops config check`, `uplifted-ops backup create`\n");
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
    let name = if value.get("findings").is_some() { "findings" } else { "problems" };
    let mut out = String::new();
    let mut warnings = 0;
    for item in list(value, name) {
        let severity = if text(item, "severity").is_empty() { "error" } else { text(item, "severity") };
        warnings += u64::from(severity == "warning");
        let key = key_of(item);
        let at = if key.is_empty() { String::new() } else { format!("{key}: ") };
        let message = clean(item.as_str().unwrap_or_else(|| text(item, "message")));
        let word = view.paint(Tone::of(severity), &format!("{}:", clean(severity)));
        out.push_str(&format!("{word} {at}{message}\n"));
        for (field, tone) in [("source", Tone::Dim), ("hint", Tone::Good)] {
            let said = text(item, field);
            if !said.is_empty() {
                out.push_str(&format!("  {} {}\n", view.paint(tone, &format!("{field}:")), clean(said)));
            }
        }
    }
    let errors = list(value, name).len() as u64 - warnings;
    let ok = value.get("ok").and_then(Value::as_bool).unwrap_or(errors == 0);
    let verdict = match (ok, warnings) {
        (true, 0) => "the settings are sound".to_owned(),
        (true, n) => format!("the settings can be used, with {}", counted(n, "warning", "warnings")),
        (false, _) => counted(errors, "error", "errors"),
    };
    let word = if ok { view.paint(Tone::Good, "ok") } else { view.paint(Tone::Bad, "not ok") };
    out.push_str(&format!("{word}: {verdict}\n"));
    out.push_str(&fields(value, &["ok", name], view));
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
    fn init_says_what_it_saw() {
        let value = json!({ "path": "/srv/ops.toml", "text": "", "kept": "/srv/ops.toml.old", "found": {
            "databases": ["data/uplifted.db"], "included": ["data", ".env"],
            "left_out": [{ "name": "venv", "why": "it can be installed again" }], "notes": ["port 9090 was taken"] } });
        assert_eq!(
            init(&value, &plain()),
            "\
wrote /srv/ops.toml
  the former file: /srv/ops.toml.old
  databases: data/uplifted.db
  backed up: data, .env
  left out: venv (it can be installed again)
  port 9090 was taken
next: `uplifted-ops config check`, `uplifted-ops backup create`
"
        );
    }

    #[test]
    fn mistakes_come_with_their_repair() {
        let error = json!({ "severity": "error", "key": "backup.level", "message": "99 is no zstd level",
            "hint": "write 1 to 19", "source": "ops.toml:12" });
        let warning = json!({ "severity": "warning", "key": "metrics.listen", "message": "9090 is Prometheus' port" });
        assert_eq!(
            check(&json!({ "ok": false, "findings": [error, warning] }), &plain()),
            "\
error: backup.level: 99 is no zstd level
  source: ops.toml:12
  hint: write 1 to 19
warning: metrics.listen: 9090 is Prometheus' port
not ok: 1 error
"
        );
        let shown = check(&json!({ "ok": true, "findings": [warning] }), &plain());
        assert!(shown.ends_with("ok: the settings can be used, with 1 warning\n"), "{shown}");
        assert_eq!(check(&json!({ "ok": true, "findings": [] }), &plain()), "ok: the settings are sound\n");
    }
}
