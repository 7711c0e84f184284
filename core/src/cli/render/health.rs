//! `health` and `metrics`.

use serde_json::Value;

use super::fields::fields;
use super::table::{Cell, Table};
use super::words::{age, clean, counted, duration, size, time};
use super::{Tone, View, list, text};

/// The checks, and the verdict below them.
pub(in crate::cli) fn check(value: &Value, view: &View) -> String {
    let checks = list(value, "checks");
    let mut table = Table::new(["STATUS", "CHECK", "OBSERVED", "TIME", "MESSAGE"], &[2, 3]);
    for item in checks {
        let seconds = item.get("duration_seconds").and_then(Value::as_f64).map(duration).unwrap_or_default();
        table.row([
            Cell::verdict(text(item, "status")),
            clean(text(item, "name")).into(),
            observed(item).into(),
            Cell::toned(seconds, Tone::Dim),
            clean(text(item, "message")).into(),
        ]);
    }
    let mut out = table.show(view);
    let status = text(value, "status");
    let verdict = view.paint(Tone::of(status), &clean(status));
    out.push_str(&format!("{verdict}: {}\n", counted(checks.len() as u64, "check", "checks")));
    out.push_str(&fields(value, &["status", "checks"], view));
    out
}

/// How the checks were, and below them the last changes of all: one screen.
pub(in crate::cli) fn history(value: &Value, view: &View) -> String {
    const TOLD: usize = 10;
    let checks = list(value, "checks");
    if checks.is_empty() {
        return "nothing is remembered yet: a service remembers while it asks its checks in the background\n"
            .to_owned();
    }
    let number = |item: &Value, name: &str| item.get(name).and_then(Value::as_f64).unwrap_or(0.0);
    let mut table = Table::new(["STATUS", "CHECK", "UPTIME", "DOWN", "FAILURES", "CHANGES", "SINCE"], &[2, 3, 4, 5]);
    let mut changes: Vec<(&str, &str, &Value)> = Vec::new();
    for item in checks {
        let uptime = item.get("uptime_ratio").and_then(Value::as_f64);
        let down = number(item, "down_seconds");
        table.row([
            Cell::verdict(text(item, "status")),
            clean(text(item, "name")).into(),
            uptime.map_or_else(|| "?".to_owned(), |ratio| format!("{:.3} %", ratio * 100.0)).into(),
            if down > 0.0 { duration(down) } else { String::new() }.into(),
            format!("{:.0}", number(item, "failures")).into(),
            format!("{:.0}", number(item, "changes")).into(),
            Cell::toned(age(text(item, "since"), view.now), Tone::Dim),
        ]);
        changes
            .extend(list(item, "last_changes").iter().map(|change| (text(change, "time"), text(item, "name"), change)));
    }
    let mut out = table.show(view);
    changes.sort_by(|a, b| b.0.cmp(a.0));
    if !changes.is_empty() {
        let mut table = Table::new(["TIME", "CHECK", "FROM", "TO", "MESSAGE"], &[]);
        for (at, name, change) in changes.iter().take(TOLD) {
            let count = number(change, "changes");
            let flapped = if count > 1.0 { format!(" (and {:.0} changes before)", count - 1.0) } else { String::new() };
            table.row([
                time(at).into(),
                clean(name).into(),
                clean(text(change, "from")).into(),
                Cell::verdict(text(change, "to")),
                format!("{}{flapped}", clean(text(change, "message"))).into(),
            ]);
        }
        out.push('\n');
        out.push_str(&table.show(view));
    }
    out
}

/// The number behind a verdict in its unit.
fn observed(item: &Value) -> String {
    let Some(value) = item.get("observed").and_then(Value::as_f64) else { return String::new() };
    match text(item, "unit") {
        "bytes" if value >= 0.0 => size(value as u64),
        "seconds" => duration(value),
        "ratio" => format!("{:.1} %", value * 100.0),
        unit => {
            let number = if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") };
            format!("{number} {}", clean(unit)).trim_end().to_owned()
        }
    }
}

/// The exposition as it is.
pub(in crate::cli) fn metrics(value: &Value, _view: &View) -> String {
    text(value, "body").to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::plain;
    use super::*;

    #[test]
    fn a_history_is_one_screen() {
        let change = |time: &str, to: &str, changes: u64| json!({ "time": time, "from": "pass", "to": to, "message": "connection refused", "changes": changes });
        let checks = json!([
            { "name": "api", "status": "fail", "uptime_ratio": 0.99, "down_seconds": 6048.0, "failures": 3, "changes": 5,
              "since": "2025-10-28T10:00:00Z",
              "last_changes": [change("2025-10-28T10:00:00Z", "fail", 1), change("2025-10-27T10:00:00Z", "pass", 4)] },
            { "name": "disk", "status": "pass", "uptime_ratio": null, "down_seconds": 0.0, "failures": 0, "changes": 0,
              "since": "2025-10-01T10:00:00Z", "last_changes": [] },
        ]);
        let shown = history(&json!({ "checks": checks }), &plain());
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 7, "{shown}");
        assert!(lines[1].starts_with("fail    api") && lines[1].contains("99.000 %"), "{shown}");
        assert!(lines[2].starts_with("pass    disk") && lines[2].contains('?'), "{shown}");
        assert!(lines[5].contains("connection refused") && lines[6].ends_with("(and 3 changes before)"), "{shown}");
        assert!(history(&json!({ "checks": [] }), &plain()).starts_with("nothing is remembered yet"));
    }

    #[test]
    fn checks_and_verdict() {
        let value = json!({ "status": "fail", "checks": [
            { "name": "disk", "status": "pass", "message": "/opt has room", "observed": 0.42, "unit": "ratio",
              "duration_seconds": 0.0001 },
            { "name": "api", "status": "fail", "message": "nobody answers on 127.0.0.1:7541", "observed": null,
              "unit": null, "duration_seconds": 0.2 },
            { "name": "process", "status": "warn", "message": "grows", "observed": 104857600.0, "unit": "bytes",
              "duration_seconds": 0.0 },
            { "name": "fds", "status": "pass", "message": "", "observed": 12.0, "unit": "files" },
        ]});
        assert_eq!(
            check(&value, &plain()),
            "\
STATUS  CHECK     OBSERVED     TIME  MESSAGE
pass    disk        42.0 %  0.10 ms  /opt has room
fail    api                  0.20 s  nobody answers on 127.0.0.1:7541
warn    process  100.0 MiB   0.00 s  grows
pass    fds       12 files
fail: 4 checks
"
        );
    }
}
