//! `backup retain|hold|release|delete`.

use serde_json::Value;

use super::fields::fields;
use super::table::{Cell, Table};
use super::words::{clean, counted, size, time};
use super::{Tone, View, inner, list, number, text};

/// What a retention deletes, or deleted: every snapshot with its reasons, since nobody should agree to less.
pub(in crate::cli) fn retain(value: &Value, view: &View) -> String {
    let mut out = String::new();
    let planned = value.get("dry_run").and_then(Value::as_bool).unwrap_or(false);
    for target in list(value, "targets") {
        out.push_str(&of_target(value, target, planned, view));
    }
    for item in list(value, "failed") {
        let word = view.paint(Tone::Bad, "nothing is deleted in");
        let (name, why) = (clean(text(item, "target")), inner(&item["error"], "  ", view));
        out.push_str(&format!("{word} {name}: {why}"));
    }
    let known = ["targets", "failed", "deleted", "failures", "dry_run", "policy", "time"];
    out.push_str(&fields(value, &known, view));
    out
}

fn of_target(value: &Value, target: &Value, planned: bool, view: &View) -> String {
    let name = text(target, "target");
    let mut table = Table::new(["  SNAPSHOT", "TIME", "OUTCOME", "STORED", "DECISION", "WHY"], &[3]);
    for decision in list(target, "decisions") {
        let (word, tone) = verdict(value, name, decision, planned);
        let why: Vec<String> = list(decision, "reasons").iter().map(|reason| clean(text(reason, "message"))).collect();
        table.row([
            Cell::toned(format!("  {}", clean(text(decision, "snapshot_id"))), Tone::Strong),
            time(text(decision, "time")).into(),
            Cell::verdict(text(decision, "outcome")),
            number(decision, "stored_bytes").map(size).unwrap_or_default().into(),
            Cell::toned(word, tone),
            why.join("; ").into(),
        ]);
    }
    let deletions = number(target, "deletions").unwrap_or(0);
    let of_target = |name: &str, items: &'static str| {
        list(value, items).iter().filter(|item| text(item, "target") == name).cloned().collect::<Vec<Value>>()
    };
    let deleted = of_target(name, "deleted");
    let verb = if planned { "would be deleted" } else { "deleted" };
    let (goes, freed) = match planned {
        true => (deletions, number(target, "freed_bytes").unwrap_or(0)),
        false => (deleted.len() as u64, deleted.iter().filter_map(|item| number(item, "stored_bytes")).sum()),
    };
    let kept = number(target, "kept").unwrap_or(0);
    let mut out =
        format!("{}: {kept} kept, {goes} {verb}, {} free\n", view.paint(Tone::Strong, &clean(name)), size(freed));
    if !list(target, "decisions").is_empty() {
        out.push_str(&table.show(view));
    }
    for withheld in list(target, "withheld") {
        let stay = counted(
            number(withheld, "snapshots").unwrap_or(0),
            "snapshot that no rule keeps stays",
            "snapshots that no rule keeps stay",
        );
        let message = clean(text(withheld, "message"));
        out.push_str(&format!("  {} {message}\n", view.paint(Tone::Warning, &format!("{stay}:"))));
        out.push_str(&format!("  {}\n", clean(text(withheld, "hint"))));
    }
    for failure in of_target(name, "failures") {
        let why = inner(&failure["error"], "    ", view);
        let word = view.paint(Tone::Bad, "not deleted:");
        out.push_str(&format!("  {word} {}: {why}", clean(text(&failure, "snapshot_id"))));
    }
    for item in list(target, "unreadable") {
        let word = view.paint(Tone::Bad, "left alone, unreadable:");
        out.push_str(&format!("  {word} {}\n", clean(text(item, "key"))));
    }
    out
}

/// What became, or would become, of a snapshot.
fn verdict(value: &Value, target: &str, decision: &Value, planned: bool) -> (&'static str, Tone) {
    let is_it = |item: &&Value| text(item, "target") == target && text(item, "key") == text(decision, "key");
    let is_among = |name: &str| list(value, name).iter().any(|item| is_it(&item));
    match text(decision, "action") {
        "delete" if planned => ("delete", Tone::Warning),
        "delete" if is_among("deleted") => ("deleted", Tone::Warning),
        "delete" if is_among("failures") => ("not deleted", Tone::Bad),
        // It became needless after the first look; what nobody was shown is not deleted.
        "delete" => ("next time", Tone::Dim),
        "keep" => ("keep", Tone::Good),
        _ => ("", Tone::Plain),
    }
}

/// What is held now.
pub(in crate::cli) fn hold(value: &Value, view: &View) -> String {
    let hold = &value["hold"];
    let names = list(value, "targets").iter().filter_map(Value::as_str).map(clean).collect::<Vec<_>>().join(", ");
    let (id, by, reason) = (text(value, "snapshot_id"), text(hold, "by"), text(hold, "reason"));
    let mut out = format!("snapshot {} is held in {names} by {}: {}\n", clean(id), clean(by), clean(reason));
    for item in list(value, "failed") {
        let (name, why) = (clean(text(item, "target")), inner(&item["error"], "  ", view));
        out.push_str(&format!("{} in {name}: {why}", view.paint(Tone::Bad, "not held")));
    }
    out.push_str(&fields(value, &["snapshot_id", "hold", "targets", "failed"], view));
    out
}

/// What is held no more.
pub(in crate::cli) fn release(value: &Value, view: &View) -> String {
    let id = clean(text(value, "snapshot_id"));
    let mut out = match number(value, "released") {
        Some(0) => format!("snapshot {id} was not held\n"),
        released => format!("snapshot {id}: {} ended\n", counted(released.unwrap_or(0), "hold", "holds")),
    };
    out.push_str(&fields(value, &["snapshot_id", "released"], view));
    out
}

/// What was, or would be, deleted.
pub(in crate::cli) fn delete(value: &Value, view: &View) -> String {
    let deletions = list(value, "deletions");
    let id = clean(text(value, "snapshot_id"));
    let planned = !value.get("deleted").and_then(Value::as_bool).unwrap_or(false);
    let mut out = match (deletions.len(), planned) {
        (0, _) => format!("snapshot {id}: nothing to delete\n"),
        (_, true) => format!("snapshot {id} would be deleted:\n"),
        (_, false) => format!("snapshot {id} is deleted:\n"),
    };
    let mut table = Table::new(["", "", "", ""], &[2]);
    for item in deletions {
        table.row([
            Cell::from(format!("  {}", clean(text(item, "target")))),
            clean(text(item, "key")).into(),
            number(item, "stored_bytes").map(size).unwrap_or_default().into(),
            clean(text(item, "reason")).into(),
        ]);
    }
    out.push_str(&table.show(view));
    for hold in list(value, "holds") {
        let (by, reason) = (clean(text(hold, "by")), clean(text(hold, "reason")));
        out.push_str(&format!("{} by {by}: {reason}\n", view.paint(Tone::Bad, "refused, it is held")));
    }
    let refused = text(value, "refused");
    if !refused.is_empty() {
        out.push_str(&format!("{} {}\n", view.paint(Tone::Bad, "refused without --force:"), clean(refused)));
    }
    out.push_str(&fields(value, &["snapshot_id", "deletions", "refused", "holds", "deleted"], view));
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::plain;
    use super::*;

    #[test]
    fn a_deletion_says_what_goes_and_why_it_may_not() {
        let value = json!({ "snapshot_id": "1f0c", "deleted": false, "refused": "it is the only verified backup",
            "holds": [{ "by": "ann", "at": "2026-11-22T02:00:00Z", "reason": "evidence" }],
            "deletions": [{ "target": "local", "key": "u_1f0c.tar.zst", "stored_bytes": 2048, "reason": "asked for" }] });
        assert_eq!(
            delete(&value, &plain()),
            "\
snapshot 1f0c would be deleted:
  local  u_1f0c.tar.zst  2.0 KiB  asked for
refused, it is held by ann: evidence
refused without --force: it is the only verified backup
"
        );
    }
}
