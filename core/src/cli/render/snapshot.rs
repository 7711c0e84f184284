//! `backup show`.

use serde_json::Value;

use super::fields::fields;
use super::table::{Cell, Table};
use super::words::{age, clean, counted, path, size, time};
use super::{SHOWN, Tone, View, count, list, more, number, text};

/// What a snapshot says about itself: where it is, what is in it, and each database.
pub(in crate::cli) fn show(value: &Value, view: &View) -> String {
    let (snapshot, manifest) = (&value["snapshot"], &value["manifest"]);
    if text(snapshot, "snapshot_id").is_empty() {
        return fields(value, &[], view);
    }
    let said = |name| clean(text(snapshot, name));
    let moment = |at: &str| format!("{} ({})", time(at), age(at, view.now));
    let mut out = format!(
        "{} {}, {}\n",
        said("layout"),
        view.paint(Tone::Strong, &said("snapshot_id")),
        view.paint(Tone::of(text(snapshot, "outcome")), &said("outcome")),
    );
    let mut line = |name: &str, content: String| {
        if !content.is_empty() {
            out.push_str(&format!("  {} {content}\n", view.paint(Tone::Dim, &format!("{name:<10}"))));
        }
    };
    let words =
        |of: &Value, name| list(of, name).iter().filter_map(Value::as_str).map(clean).collect::<Vec<_>>().join(", ");
    line("time", moment(text(snapshot, "time")));
    let version = match text(snapshot, "service_version") {
        "" => String::new(),
        version => format!(" {}", clean(version)),
    };
    line("service", format!("{}{version} on {}", said("service"), said("host")));
    line("label", said("label"));
    line("tags", words(snapshot, "tags"));
    let holds = list(snapshot, "holds");
    line(
        "held by",
        holds
            .iter()
            .map(|h| format!("{}: {}", clean(text(h, "by")), clean(text(h, "reason"))))
            .collect::<Vec<_>>()
            .join("; "),
    );
    let bytes = |name| number(snapshot, name).map(size).unwrap_or_default();
    let files = counted(number(snapshot, "files").unwrap_or(0), "file", "files");
    line("content", format!("{files}, {}, stored as {}", bytes("size_bytes"), bytes("stored_bytes")));
    let included = list(manifest, "includes").iter().map(|item| {
        let missing = if item["present"] == Value::Bool(false) { " (missing)" } else { "" };
        format!("{}{missing}", path(item.get("path")))
    });
    line("included", included.collect::<Vec<_>>().join(", "));
    line("left out", words(manifest, "excludes"));
    let key = said("encrypted_to");
    line("encrypted", if key.is_empty() { "no".to_owned() } else { format!("to the key {key}") });
    line("in", words(value, "targets"));
    line("key", said("key"));
    let group = &manifest["group"];
    line(
        "moment",
        match (group["consistent"].as_bool(), text(group, "message")) {
            (Some(true), _) => "one for everything: the service paused".to_owned(),
            (_, "") => String::new(),
            (_, message) => clean(message),
        },
    );
    out.push_str(&databases(list(manifest, "stores"), view));
    let skipped = list(manifest, "skipped");
    if !skipped.is_empty() {
        out.push_str(&super::backup::skipped(skipped, view));
    }
    out
}

fn databases(stores: &[Value], view: &View) -> String {
    let mut table = Table::new(["DATABASE", "KIND", "PATH", "TAKEN AT", "CHECK", "ROWS"], &[5]);
    for store in stores.iter().take(SHOWN) {
        let check = match store["check"]["ok"].as_bool() {
            Some(true) => Cell::toned("sound", Tone::Good),
            Some(false) => Cell::toned("damaged", Tone::Bad),
            None => Cell::default(),
        };
        let rows = store["details"]["rows"].as_object();
        let rows = rows.map(|tables| tables.values().filter_map(Value::as_u64).sum());
        table.row([
            Cell::toned(clean(text(store, "name")), Tone::Strong),
            clean(text(store, "kind")).into(),
            path(store.get("path")).into(),
            time(text(store, "taken_at")).into(),
            check,
            rows.map(count).unwrap_or_default().into(),
        ]);
    }
    if stores.is_empty() { String::new() } else { format!("{}{}", table.show(view), more(stores.len())) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::plain;
    use super::*;

    #[test]
    fn a_snapshot_is_told_in_a_few_lines() {
        let value = json!({
            "snapshot": {
                "snapshot_id": "1f0c3a9b22de", "layout": "repository", "outcome": "partial", "service": "shop", "host": "web1",
                "time": "2026-11-22T02:00:00Z", "service_version": "2.1", "label": null, "tags": ["v2"], "files": 3,
                "size_bytes": 2048, "stored_bytes": 1024, "key": "snapshots/x", "encrypted_to": "6a4d",
            },
            "manifest": {
                "includes": [{ "path": "data", "present": true }, { "path": ".env", "present": false }], "excludes": ["logs"],
                "stores": [{ "name": "main", "kind": "sqlite", "path": "data/a.db", "taken_at": "2026-11-22T02:00:01Z",
                    "check": { "ok": true }, "details": { "rows": { "users": 20000, "orders": 7 } } }],
                "skipped": [{ "path": "data/x", "reason": "unreadable", "message": "permission denied" }],
            },
            "targets": ["local", "offsite"],
        });
        assert_eq!(
            show(&value, &plain()),
            "\
repository 1f0c3a9b22de, partial
  time       2026-11-22 02:00:00 UTC (10 h ago)
  service    shop 2.1 on web1
  tags       v2
  content    3 files, 2.0 KiB, stored as 1.0 KiB
  included   data, .env (missing)
  left out   logs
  encrypted  to the key 6a4d
  in         local, offsite
  key        snapshots/x
DATABASE  KIND    PATH       TAKEN AT                 CHECK    ROWS
main      sqlite  data/a.db  2026-11-22 02:00:01 UTC  sound  20,007
not in the backup:
  data/x  unreadable  permission denied
"
        );
    }
}
