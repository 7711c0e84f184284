//! `backup collect`.

use serde_json::Value;

use super::fields::fields;
use super::table::{Cell, Table};
use super::words::{clean, counted, size};
use super::{SHOWN, Tone, View, inner, list, more, number, text};

/// What a target's part has that is shown in words.
const SHOWN_FIELDS: [&str; 17] = [
    "target",
    "repository_id",
    "target_time",
    "grace_hours",
    "snapshots",
    "packs",
    "dead_packs",
    "repository_bytes",
    "dead_bytes",
    "refusals",
    "decisions",
    "accepted_missing",
    "problems",
    "deferred",
    "condemned",
    "deleted",
    "failures",
];

/// What was collected, or would be.
pub(in crate::cli) fn collect(value: &Value, view: &View) -> String {
    let planned = value.get("dry_run").and_then(Value::as_bool).unwrap_or(false);
    let mut out = String::new();
    for target in list(value, "targets") {
        out.push_str(&of_target(target, planned, view));
    }
    for target in list(value, "without_repository") {
        out.push_str(&format!("{}: no repository, nothing to collect\n", clean(target.as_str().unwrap_or_default())));
    }
    for item in list(value, "failed") {
        let why = inner(&item["error"], "  ", view);
        out.push_str(&format!("{} {}: {why}", view.paint(Tone::Bad, "failed:"), clean(text(item, "target"))));
    }
    out.push_str(&fields(value, &["targets", "without_repository", "failed", "dry_run"], view));
    out
}

fn of_target(target: &Value, planned: bool, view: &View) -> String {
    let count = |name: &str| number(target, name).unwrap_or(0);
    let mut out = format!(
        "{}: {}, {} in {}, {} of it dead in {}\n",
        view.paint(Tone::Strong, &clean(text(target, "target"))),
        counted(count("snapshots"), "snapshot", "snapshots"),
        size(count("repository_bytes")),
        counted(count("packs"), "pack", "packs"),
        size(count("dead_bytes")),
        counted(count("dead_packs"), "pack", "packs"),
    );
    let refusals = list(target, "refusals");
    for refusal in refusals {
        let (message, hint) = (clean(text(refusal, "message")), clean(text(refusal, "hint")));
        out.push_str(&format!("  {} {message}\n    {hint}\n", view.paint(Tone::Bad, "nothing is done:")));
    }
    let decisions = list(target, "decisions");
    let mut table = Table::new(["", "", "", "", ""], &[3]);
    for decision in decisions.iter().take(SHOWN) {
        let action = text(decision, "action");
        let tone = match action {
            "delete" => Tone::Warning,
            "condemn" => Tone::Plain,
            _ => Tone::Dim,
        };
        table.row([
            Cell::toned(format!("  {}", clean(action)), if refusals.is_empty() { tone } else { Tone::Dim }),
            clean(text(decision, "kind")).into(),
            short(text(decision, "key")).into(),
            number(decision, "stored_bytes").map(size).unwrap_or_default().into(),
            clean(text(decision, "reason")).into(),
        ]);
    }
    out.push_str(&table.show(view));
    out.push_str(&more(decisions.len()));
    for snapshot in list(target, "accepted_missing") {
        let snapshot = clean(snapshot.as_str().unwrap_or_default());
        out.push_str(&format!("  snapshot {snapshot} is lost, and recorded as removed\n"));
    }
    for problem in list(target, "problems") {
        let problem = clean(problem.as_str().unwrap_or_default());
        out.push_str(&format!("  {} {problem}\n", view.paint(Tone::Warning, "problem:")));
    }
    if !text(target, "deferred").is_empty() {
        let deferred = view.paint(Tone::Warning, "left for the next time:");
        out.push_str(&format!("  {deferred} {}\n", clean(text(target, "deferred"))));
    }
    for failure in list(target, "failures") {
        let (key, why) = (clean(text(failure, "key")), inner(&failure["error"], "    ", view));
        out.push_str(&format!("  {} {key}: {why}", view.paint(Tone::Bad, "not deleted:")));
    }
    if !planned && refusals.is_empty() {
        out.push_str(&format!(
            "  {} condemned, {} deleted, {} free\n",
            counted(count("condemned"), "pack", "packs"),
            counted(list(target, "deleted").len() as u64, "object", "objects"),
            size(count("freed_bytes")),
        ));
    }
    let known: Vec<&str> = SHOWN_FIELDS.into_iter().chain(["freed_bytes"]).collect();
    out.push_str(&fields(target, &known, view));
    out
}

/// The last part of a key, without the long endings.
fn short(key: &str) -> String {
    let name = key.rsplit('/').next().unwrap_or(key);
    clean(name.split('.').next().unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::plain;
    use super::*;

    #[test]
    fn a_collection_says_what_goes_what_waits_and_why() {
        let decision = |action: &str, key: &str, reason: &str| json!({ "key": key, "kind": "pack", "stored_bytes": 2048, "action": action, "reason": reason });
        let value = json!({ "dry_run": false, "without_repository": ["usb"], "targets": [{
            "target": "local", "repository_id": "ab", "target_time": "2026-11-22T02:00:00Z", "grace_hours": 24.0,
            "snapshots": 3, "packs": 7, "dead_packs": 2, "repository_bytes": 70_000, "dead_bytes": 4096,
            "refusals": [], "problems": [], "deferred": null, "accepted_missing": [],
            "decisions": [
                decision("delete", "packs/0102.tar.zst.age", "no snapshot needs it"),
                decision("wait", "packs/0304.tar.zst", "it was condemned 2 hours ago"),
            ],
            "condemned": 0, "deleted": [{ "key": "packs/0102.tar.zst.age", "stored_bytes": 2048 }], "freed_bytes": 2048,
            "failures": []
        }], "failed": [] });
        assert_eq!(
            collect(&value, &plain()),
            "\
local: 3 snapshots, 68.4 KiB in 7 packs, 4.0 KiB of it dead in 2 packs
  delete  pack  0102  2.0 KiB  no snapshot needs it
  wait    pack  0304  2.0 KiB  it was condemned 2 hours ago
  0 packs condemned, 1 object deleted, 2.0 KiB free
usb: no repository, nothing to collect
"
        );
        let refused = json!({ "dry_run": false, "targets": [{ "target": "local",
            "refusals": [{ "message": "the header cannot be read", "hint": "verify it" }] }] });
        let shown = collect(&refused, &plain());
        assert!(shown.contains("  nothing is done: the header cannot be read\n    verify it\n"), "{shown}");
        assert!(!shown.contains("condemned"), "{shown}");
    }
}
