//! `journal`.

use serde_json::Value;

use super::fields::leaf;
use super::table::{Cell, Table};
use super::words::{clean, counted, duration, time};
use super::{Tone, View, list, number, text};

/// The records, in the order of the response.
pub(in crate::cli) fn read(value: &Value, view: &View) -> String {
    let records = list(value, "records");
    if records.is_empty() {
        return format!("nothing is recorded\n{}", lacking(value, view));
    }
    let mut table = Table::new(["TIME", "OPERATION", "OUTCOME", "TOOK", "WHAT"], &[3]);
    for item in records {
        let took = item.get("duration_seconds").and_then(Value::as_f64).map(duration).unwrap_or_default();
        table.row([
            time(text(item, "time")).into(),
            Cell::toned(clean(text(item, "operation")), Tone::Strong),
            Cell::verdict(text(item, "outcome")),
            Cell::toned(took, Tone::Dim),
            what(item, view).into(),
        ]);
    }
    format!("{}{}", table.show(view), lacking(value, view))
}

/// What the page does not show.
fn lacking(value: &Value, view: &View) -> String {
    let mut out = String::new();
    if value.get("more").and_then(Value::as_bool) == Some(true) {
        out.push_str(&format!("{}\n", view.paint(Tone::Dim, "there is more: raise --limit")));
    }
    if let Some(damaged) = number(value, "damaged_lines").filter(|damaged| *damaged > 0) {
        let word = view.paint(Tone::Warning, "warning:");
        out.push_str(&format!("{word} {} could not be read\n", counted(damaged, "line", "lines")));
    }
    for segment in list(value, "unreadable_segments").iter().filter_map(Value::as_str) {
        out.push_str(&format!("{} {}\n", view.paint(Tone::Warning, "warning:"), clean(segment)));
    }
    out
}

/// The error's message, or the facts on a line.
fn what(item: &Value, view: &View) -> String {
    let error = item.get("error").map(|error| error.as_str().unwrap_or_else(|| text(error, "message")));
    if let Some(error) = error.filter(|error| !error.is_empty()) {
        return clean(error);
    }
    // What it was about: the plain facts of the answer, or else of the request.
    let facts = ["response", "request"].iter().filter_map(|name| item.get(name)?.as_object());
    let Some(facts) = facts.into_iter().find(|facts| !facts.is_empty()) else { return String::new() };
    // Two columns say already when it was and how long it took.
    let told = |name: &str| matches!(name, "time" | "started_at" | "duration_seconds");
    let plain = |value: &Value| !value.is_null() && !value.is_object() && !value.is_array();
    let pairs = facts.iter().filter(|(name, value)| plain(value) && !told(name)).take(6);
    let pair = |(name, value): (&String, &Value)| {
        format!("{}={}", clean(name.strip_suffix("_bytes").unwrap_or(name)), leaf(name, value, view))
    };
    pairs.map(pair).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::plain;
    use super::*;

    #[test]
    fn records_line_up() {
        let value = json!({ "more": true, "damaged_lines": 1, "unreadable_segments": [], "records": [
            { "time": "2026-11-22T02:00:00Z", "operation": "backup.create", "outcome": "done", "duration_seconds": 9.6,
              "request": {}, "response": { "snapshot_id": "1f", "files": 3, "size_bytes": 2048, "duration_seconds": 9.5, "skipped": [] } },
            { "time": "2026-11-22T03:00:00Z", "operation": "restore.apply", "outcome": "failed",
              "error": { "message": "the database is open by process 7" } },
        ]});
        assert_eq!(
            read(&value, &plain()),
            "\
TIME                     OPERATION      OUTCOME    TOOK  WHAT
2026-11-22 02:00:00 UTC  backup.create  done     9.60 s  files=3 size=2.0 KiB snapshot_id=1f
2026-11-22 03:00:00 UTC  restore.apply  failed           the database is open by process 7
there is more: raise --limit
warning: 1 line could not be read
"
        );
        assert_eq!(read(&json!({}), &plain()), "nothing is recorded\n");
    }
}
