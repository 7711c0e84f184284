//! `backup.drill`, `backup.bisect`, `backup.sample` for people.

use serde_json::Value;

use super::fields::fields;
use super::table::{Cell, Table};
use super::words::{age, clean, count, counted, duration, path, size, time};
use super::{SHOWN, Tone, View, inner, list, more, number, text};

fn seconds(value: &Value, name: &str) -> String {
    duration(value.get(name).and_then(Value::as_f64).unwrap_or(0.0))
}

fn flag(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or(false)
}

/// The moment that a drill went on to.
fn went_on(moment: &Value) -> String {
    let of = |store: &Value| {
        let name = clean(text(store, "store"));
        if flag(store, "proven") { format!("{name} is what it was then") } else { format!("{name} came there") }
    };
    let stores: Vec<String> = list(moment, "stores").iter().map(of).collect();
    let stores =
        if stores.is_empty() { "nothing was committed since the backup".to_owned() } else { stores.join(", ") };
    format!("  went on to {}: {stores}\n", time(text(moment, "at")))
}

/// What a drill did, step by step.
pub(in crate::cli) fn drill(value: &Value, view: &View) -> String {
    let id = view.paint(Tone::Strong, &clean(text(value, "snapshot_id")));
    let place = clean(text(value, "target"));
    let mut out = if flag(value, "ok") {
        let recovery = seconds(value, "recovery_seconds");
        format!("{}: {id} in {place} can be restored, in {recovery}\n", view.paint(Tone::Good, "ok"))
    } else {
        format!("{}: {id} in {place} did not stand the drill\n", view.paint(Tone::Bad, "failed"))
    };
    let made = text(value, "snapshot_time");
    if !made.is_empty() {
        let files = counted(number(value, "restored_files").unwrap_or(0), "file", "files");
        let bytes = size(number(value, "size_bytes").unwrap_or(0));
        out.push_str(&format!("  of {}, {}; {files}, {bytes}\n", time(made), age(made, view.now)));
    }
    let mut table = Table::new(["", "", ""], &[1]);
    for step in list(value, "steps") {
        let verdict = if flag(step, "ok") { ("ok", Tone::Good) } else { ("failed", Tone::Bad) };
        table.row([
            Cell::from(format!("  {}", clean(text(step, "step")))),
            seconds(step, "duration_seconds").into(),
            Cell::toned(verdict.0, verdict.1),
        ]);
    }
    out.push_str(&table.show(view));
    for database in list(value, "databases") {
        let tables = list(database, "tables");
        let rows = tables.iter().filter_map(|table| number(table, "rows")).sum();
        let sound = if flag(database, "sound") { "sound" } else { "not sound" };
        let known = tables.iter().filter(|table| number(table, "rows_at_backup").is_some()).count();
        let known = if known == tables.len() && known > 0 { ", as many as when it was backed up" } else { "" };
        let name = clean(text(database, "name"));
        let (tables, rows) = (counted(tables.len() as u64, "table", "tables"), counted(rows, "row", "rows"));
        let known = if flag(value, "ok") { known } else { "" };
        out.push_str(&format!("  database {name}: {sound}, {rows} in {tables}{known}\n"));
    }
    if let Some(moment) = value.get("moment").filter(|moment| !moment.is_null()) {
        out.push_str(&went_on(moment));
    }
    out.push_str(&problems(list(value, "problems"), "step", view));
    for warning in list(value, "warnings").iter().filter_map(Value::as_str).take(SHOWN) {
        out.push_str(&format!("{} {}\n", view.paint(Tone::Warning, "note:"), clean(warning)));
    }
    if let Some(into) = value.get("into").filter(|into| !into.is_null()) {
        out.push_str(&format!("the restored copy is kept in {}\n", path(Some(into))));
    }
    out
}

fn problems(items: &[Value], word: &str, view: &View) -> String {
    if items.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["", "", ""], &[]);
    for item in items.iter().take(SHOWN) {
        table.row([
            Cell::toned(format!("  {}", clean(text(item, word))), Tone::Bad),
            path(item.get("path").filter(|path| !path.is_null())).into(),
            clean(text(item, "message")).into(),
        ]);
    }
    format!("what was wrong:\n{}{}", table.show(view), more(items.len()))
}

/// The last good snapshot, and how it was found.
pub(in crate::cli) fn bisect(value: &Value, view: &View) -> String {
    let snapshot = |name: &str| {
        let found = value.get(name).filter(|found| !found.is_null())?;
        let id = view.paint(Tone::Strong, &clean(text(found, "snapshot_id")));
        Some(format!("{id} of {}, {}", time(text(found, "time")), age(text(found, "time"), view.now)))
    };
    let mut out = match (snapshot("good"), snapshot("bad")) {
        (Some(good), None) => format!("{} it holds for the newest one: {good}\n", view.paint(Tone::Good, "good:")),
        (Some(good), Some(bad)) => format!(
            "{} it holds for the last time in {good}\n{}  it fails first in {bad}\n",
            view.paint(Tone::Good, "good:"),
            view.paint(Tone::Bad, "bad:")
        ),
        (None, _) => format!("{} it holds for no snapshot that can be read\n", view.paint(Tone::Bad, "none:")),
    };
    let mut table = Table::new(["", "", "", ""], &[]);
    for probe in list(value, "probes").iter().take(SHOWN) {
        let (verdict, tone) = match text(probe, "verdict") {
            "holds" => ("holds", Tone::Good),
            "fails" => ("fails", Tone::Bad),
            _ => ("unreadable", Tone::Warning),
        };
        table.row([
            Cell::from(format!("  {}", clean(text(probe, "snapshot_id")))),
            time(text(probe, "time")).into(),
            Cell::toned(verdict, tone),
            clean(text(probe, "message")).into(),
        ]);
    }
    out.push_str(&table.show(view));
    out.push_str(&more(list(value, "probes").len()));
    let restores = number(value, "restores").unwrap_or(0);
    let all = counted(number(value, "snapshots").unwrap_or(0), "snapshot", "snapshots");
    out.push_str(&format!("  {} of {all} restored, in {}\n", count(restores), seconds(value, "duration_seconds")));
    out.push_str(&format!("  taken for granted: {}\n", clean(text(value, "assumption"))));
    if let Some(other) = snapshot("contradicted_by") {
        let word = view.paint(Tone::Warning, "contradicted by");
        out.push_str(&format!("  {word} {other}: look at each snapshot\n"));
    }
    out
}

/// What a sampled verification read.
pub(in crate::cli) fn sample(value: &Value, view: &View) -> String {
    let mut out = String::new();
    for target in list(value, "targets") {
        let bytes = |name| size(number(target, name).unwrap_or(0));
        let name = clean(text(target, "target"));
        out.push_str(&format!("{name}: {} of {} read", bytes("read_bytes"), bytes("stored_bytes")));
        if number(target, "left_bytes").unwrap_or(0) > 0 {
            out.push_str(&format!(", {} are due and wait for the next run", bytes("left_bytes")));
        } else if number(target, "read_bytes") == Some(0) && number(target, "stored_bytes") > Some(0) {
            out.push_str(": nothing is due yet");
        }
        out.push('\n');
    }
    for failed in list(value, "failed") {
        let word = view.paint(Tone::Bad, "failed:");
        let why = inner(&failed["error"], "  ", view);
        out.push_str(&format!("{word} {}: {why}", clean(text(failed, "target"))));
    }
    out.push_str(&problems(list(value, "problems"), "kind", view));
    out.push_str(&fields(value, &["ok", "problems", "targets", "failed"], view));
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::plain;
    use super::*;

    #[test]
    fn a_drill_says_each_step_and_its_time() {
        let mut value = json!({
            "snapshot_id": "1f0c3a9b22de", "snapshot_time": "2026-11-22T02:00:00Z", "target": "local", "ok": true,
            "recovery_seconds": 10.25, "restored_files": 20004, "size_bytes": 1_825_361_101_u64,
            "steps": [
                { "step": "find", "ok": true, "duration_seconds": 0.01 },
                { "step": "restore", "ok": true, "duration_seconds": 8.2 },
                { "step": "queries", "ok": true, "duration_seconds": 0.4 },
            ],
            "databases": [{ "name": "main", "sound": true, "tables": [
                { "table": "users", "rows": 1200, "rows_at_backup": 1200 },
                { "table": "orders", "rows": 34, "rows_at_backup": 34 } ] }],
            "moment": { "at": "2026-11-22T09:14:02.5Z", "stores": [
                { "store": "main", "time": "2026-11-22T09:14:01Z", "position": "7", "proven": true } ] },
            "problems": [], "warnings": ["the snapshot was partial"], "into": null,
        });
        assert_eq!(
            drill(&value, &plain()),
            "\
ok: 1f0c3a9b22de in local can be restored, in 10.2 s
  of 2026-11-22 02:00:00 UTC, 10 h ago; 20,004 files, 1.7 GiB
  find     0.01 s  ok
  restore  8.20 s  ok
  queries  0.40 s  ok
  database main: sound, 1,234 rows in 2 tables, as many as when it was backed up
  went on to 2026-11-22 09:14:02 UTC: main is what it was then
note: the snapshot was partial
"
        );
        value["ok"] = false.into();
        value["steps"][2]["ok"] = false.into();
        value["problems"] =
            json!([{ "step": "queries", "path": "data/main.db", "message": "\"SELECT 0\" does not hold: 0" }]);
        value["into"] = "/tmp/look".into();
        let shown = drill(&value, &plain());
        assert!(shown.starts_with("failed: 1f0c3a9b22de in local did not stand the drill\n"), "{shown}");
        assert!(shown.contains("  queries  data/main.db  \"SELECT 0\" does not hold: 0\n"), "{shown}");
        assert!(shown.ends_with("the restored copy is kept in /tmp/look\n"), "{shown}");
    }

    #[test]
    fn a_bisection_names_both_sides() {
        let value = json!({
            "good": { "snapshot_id": "aa", "time": "2026-11-20T02:00:00Z" },
            "bad": { "snapshot_id": "bb", "time": "2026-11-21T02:00:00Z" },
            "assumption": "what once broke stayed broken", "neighbours_agree": false,
            "contradicted_by": { "snapshot_id": "cc", "time": "2026-11-01T02:00:00Z" },
            "snapshots": 30, "restores": 2, "duration_seconds": 3.5,
            "probes": [
                { "snapshot_id": "bb", "time": "2026-11-21T02:00:00Z", "verdict": "fails", "message": "it returned 0" },
                { "snapshot_id": "aa", "time": "2026-11-20T02:00:00Z", "verdict": "holds", "message": null },
            ],
        });
        assert_eq!(
            bisect(&value, &plain()),
            "\
good: it holds for the last time in aa of 2026-11-20 02:00:00 UTC, 2 d ago
bad:  it fails first in bb of 2026-11-21 02:00:00 UTC, 34 h ago
  bb  2026-11-21 02:00:00 UTC  fails  it returned 0
  aa  2026-11-20 02:00:00 UTC  holds
  2 of 30 snapshots restored, in 3.50 s
  taken for granted: what once broke stayed broken
  contradicted by cc of 2026-11-01 02:00:00 UTC, 21 d ago: look at each snapshot
"
        );
        assert!(bisect(&json!({ "good": null, "bad": null }), &plain()).starts_with("none: it holds for no snapshot"));
    }

    #[test]
    fn a_sample_says_what_waits() {
        let value = json!({ "ok": true, "problems": [], "failed": [], "targets": [
            { "target": "local", "read_bytes": 1_048_576, "stored_bytes": 10_485_760, "left_bytes": 2048 } ] });
        assert_eq!(
            sample(&value, &plain()),
            "local: 1.0 MiB of 10.0 MiB read, 2.0 KiB are due and wait for the next run\n"
        );
    }
}
