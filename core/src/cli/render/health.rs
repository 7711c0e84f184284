//! `health` and `metrics`.

use serde_json::Value;

use super::fields::fields;
use super::table::{Cell, Table};
use super::words::{clean, counted, duration, size};
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
