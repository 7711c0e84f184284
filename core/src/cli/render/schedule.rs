//! `schedule`.

use serde_json::Value;

use super::table::{Cell, Table};
use super::words::{age, clean, duration, time};
use super::{Tone, View, list as items, number, text};

/// The jobs, and who runs them.
pub(in crate::cli) fn list(value: &Value, view: &View) -> String {
    let jobs = items(value, "jobs");
    if jobs.is_empty() {
        return "nothing runs by itself: set backup.schedule, or add a [[job]] to ops.toml\n".to_owned();
    }
    let mut table = Table::new(["JOB", "WHEN", "NEXT", "LAST", "OUTCOME", "TOOK", "WHAT"], &[5]);
    for job in jobs {
        let last = &job["last_run"];
        let took = last.get("duration_seconds").and_then(Value::as_f64).map(duration).unwrap_or_default();
        table.row([
            Cell::toned(clean(text(job, "name")), Tone::Strong),
            when(job).into(),
            next(job, view),
            age(text(last, "started_at"), view.now).into(),
            Cell::verdict(text(last, "outcome")),
            Cell::toned(took, Tone::Dim),
            what(job).into(),
        ]);
    }
    let mut out = table.show(view);
    let zones: std::collections::BTreeSet<&str> = jobs.iter().map(|job| text(job, "timezone")).collect();
    let zones: Vec<String> = zones.into_iter().filter(|zone| !zone.is_empty()).map(clean).collect();
    if !zones.is_empty() {
        out.push_str(&format!("{}\n", view.paint(Tone::Dim, &format!("times of WHEN: {}", zones.join(", ")))));
    }
    match number(&value["leader"], "pid") {
        Some(pid) => out.push_str(&format!("run by process {pid} since {}\n", time(text(&value["leader"], "since")))),
        None => {
            let word = view.paint(Tone::Warning, "warning:");
            out.push_str(&format!("{word} no process runs them: start the service with uplifted-ops in it, or `uplifted-ops schedule serve`\n"));
        }
    }
    if let trouble @ Value::Object(_) = &value["trouble"] {
        out.push_str(&format!("{} {}\n", view.paint(Tone::Warning, "warning:"), clean(text(trouble, "message"))));
    }
    out
}

fn when(job: &Value) -> String {
    let words = clean(text(job, "words"));
    if job.get("enabled").and_then(Value::as_bool) == Some(false) { format!("off: {words}") } else { words }
}

fn next(job: &Value, view: &View) -> Cell {
    if let running @ Value::Object(_) = &job["running"] {
        let pid = number(running, "pid").map(|pid| format!(" in process {pid}")).unwrap_or_default();
        return Cell::toned(format!("runs{pid}"), Tone::Good);
    }
    let at = text(job, "next_run_at");
    if at.parse::<crate::clock::Timestamp>().is_ok_and(|at| at <= view.now) {
        return Cell::toned("due", Tone::Warning);
    }
    age(at, view.now).into()
}

/// Why the last run did not end well, or else what runs.
fn what(job: &Value) -> String {
    let last = &job["last_run"];
    let error = text(&last["error"], "message");
    let told = text(last, "ping_error");
    match (error, told) {
        ("", "") => clean(text(job, "operation")),
        ("", told) => clean(told),
        (error, _) => clean(error),
    }
}

/// How a run went, and those that followed.
pub(in crate::cli) fn run(value: &Value, view: &View) -> String {
    let mut out = one(value, view);
    for next in items(value, "then") {
        out.push_str(&one(next, view));
    }
    out
}

fn one(run: &Value, view: &View) -> String {
    let outcome = text(run, "outcome");
    let took = run.get("duration_seconds").and_then(Value::as_f64).map(duration).unwrap_or_default();
    let (job, operation) = (clean(text(run, "job")), clean(text(run, "operation")));
    let mut out = format!(
        "{}: {} ({operation}, {took})\n",
        view.paint(Tone::Strong, &job),
        view.paint(Tone::of(outcome), &clean(outcome))
    );
    for (name, tone) in [("message", Tone::Bad), ("hint", Tone::Plain)] {
        let line = text(&run["error"], name);
        if !line.is_empty() {
            out.push_str(&format!("  {}\n", view.paint(tone, &clean(line))));
        }
    }
    let told = text(run, "ping_error");
    if !told.is_empty() {
        out.push_str(&format!("  {} {}\n", view.paint(Tone::Warning, "warning:"), clean(told)));
    }
    if run["response"].is_object() {
        let answer = super::of_operation(text(run, "operation"))(&run["response"], view);
        answer.lines().for_each(|line| out.push_str(&format!("  {line}\n")));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::plain;
    use super::*;

    #[test]
    fn jobs_line_up() {
        let value = json!({ "role": "off", "leader": { "pid": 7, "since": "2026-11-01T00:00:00Z" }, "jobs": [
            { "name": "backup", "operation": "backup.create", "words": "every day at 02:00", "timezone": "UTC",
              "enabled": true, "next_run_at": "2026-11-23T02:00:00Z",
              "last_run": { "started_at": "2026-11-22T02:00:00Z", "duration_seconds": 9.6, "outcome": "done" } },
            { "name": "retain", "operation": "backup.retain", "words": "after backup", "enabled": true,
              "last_run": { "started_at": "2026-11-22T02:00:10Z", "duration_seconds": 0.5, "outcome": "failed",
                            "error": { "message": "the policy is empty" } } },
            { "name": "drill", "operation": "backup.drill", "words": "on day 1 of the month at 05:00",
              "timezone": "UTC", "enabled": false, "running": { "pid": 12 } },
            { "name": "verify", "operation": "backup.sample", "words": "every day at 04:00", "timezone": "UTC",
              "enabled": true, "next_run_at": "2026-11-22T04:00:00Z" },
        ]});
        assert_eq!(
            list(&value, &plain()),
            "\
JOB     WHEN                                 NEXT                LAST      OUTCOME    TOOK  WHAT
backup  every day at 02:00                   in 14 h             10 h ago  done     9.60 s  backup.create
retain  after backup                                             9 h ago   failed   0.50 s  the policy is empty
drill   off: on day 1 of the month at 05:00  runs in process 12                             backup.drill
verify  every day at 04:00                   due                                            backup.sample
times of WHEN: UTC
run by process 7 since 2026-11-01 00:00:00 UTC
"
        );
        assert!(list(&json!({ "jobs": [{}] }), &plain()).contains("no process runs them"));
        assert!(list(&json!({}), &plain()).starts_with("nothing runs by itself"));
    }

    #[test]
    fn a_run_is_shown_as_the_command_of_its_operation_shows_it() {
        let response = json!({
            "ok": false, "problems": [{ "path": "a/b", "kind": "corrupt", "message": "a frame is damaged" }],
        });
        let value = json!({
            "job": "verify", "operation": "backup.verify", "outcome": "unhealthy", "duration_seconds": 2.0, "error": null,
            "response": response, "ping_error": "it answers 500",
            "then": [{ "job": "retain", "operation": "backup.retain", "outcome": "failed", "duration_seconds": 0.5,
                       "error": { "message": "the policy is empty", "hint": "keep something" }, "response": null }],
        });
        let own: String =
            super::super::backup::verify(&response, &plain()).lines().map(|line| format!("  {line}\n")).collect();
        assert!(own.contains("a frame is damaged"), "{own}");
        assert_eq!(
            run(&value, &plain()),
            format!(
                "\
verify: unhealthy (backup.verify, 2.00 s)
  warning: it answers 500
{own}retain: failed (backup.retain, 0.50 s)
  the policy is empty
  keep something
"
            )
        );
        // Of what has no command of its own there are words and no names of fields.
        let value = json!({ "job": "x", "operation": "own.thing", "outcome": "done", "duration_seconds": 1.0,
                            "response": { "size_bytes": 2048, "nothing": null } });
        assert_eq!(run(&value, &plain()), "x: done (own.thing, 1.00 s)\n  size  2.0 KiB\n");
    }
}
