//! `restore plan|apply|database|swap|undo|discard`.

use serde_json::Value;

use super::fields::fields;
use super::table::{Cell, Table};
use super::words::{age, clean, counted, path, size, time};
use super::{SHOWN, Tone, View, list, more, number, text};

/// What a restore would do: each name with its reason, the room, who is in the way.
pub(in crate::cli) fn plan(value: &Value, view: &View) -> String {
    if value.get("units").is_none() {
        return fields(value, &[], view);
    }
    let files = counted(number(value, "files").unwrap_or(0), "file", "files");
    let over = if text(value, "mode") == "in_place" { "over the service in" } else { "into" };
    let id = clean(text(value, "snapshot_id"));
    let mut out = format!("restore {id}: {files} {over} {}\n", path(value.get("into")));
    let units = list(value, "units");
    let mut table = Table::new(["ACTION", "PATH", "FILES", "SIZE", "WHY"], &[2, 3]);
    for unit in units.iter().take(SHOWN) {
        let action = text(unit, "action");
        let tone = if matches!(action, "replace" | "remove") { Tone::Warning } else { Tone::Plain };
        table.row([
            Cell::toned(clean(action), tone),
            path(unit.get("path")).into(),
            number(unit, "files").map(super::count).unwrap_or_default().into(),
            number(unit, "size_bytes").map(size).unwrap_or_default().into(),
            clean(text(unit, "reason")).into(),
        ]);
    }
    if !units.is_empty() {
        out.push_str(&table.show(view));
        out.push_str(&more(units.len()));
    }
    for need in list(value, "space") {
        let bytes = |name| number(need, name).map(size).unwrap_or_default();
        let (needed, free, folder) = (bytes("needed_bytes"), bytes("free_bytes"), path(need.get("folder")));
        out.push_str(&format!("room: {needed} needed, {free} free at {folder}\n"));
    }
    out.push_str(&holders(value));
    out.push_str(&sentences(value, "warnings", Tone::Warning, "warning:", view));
    out.push_str(&sentences(value, "blockers", Tone::Bad, "cannot be applied:", view));
    if value.get("restart_required").and_then(Value::as_bool) == Some(true) {
        out.push_str("the service must be restarted for it to happen\n");
    }
    out
}

fn sentences(value: &Value, name: &str, tone: Tone, word: &str, view: &View) -> String {
    let lines = list(value, name).iter().filter_map(Value::as_str);
    lines.map(|line| format!("{} {}\n", view.paint(tone, word), clean(line))).collect()
}

/// A database beside the live one: what it has, and what is not as the snapshot has it.
pub(in crate::cli) fn database(value: &Value, view: &View) -> String {
    let ok = value.get("ok").and_then(Value::as_bool).unwrap_or(false);
    let verdict =
        if ok { view.paint(Tone::Good, "restored") } else { view.paint(Tone::Bad, "not as the backup has it") };
    let tables = counted(number(value, "tables").unwrap_or(0), "table", "tables");
    let rows = counted(number(value, "rows").unwrap_or(0), "row", "rows");
    let [name, store, id] = ["database", "store", "snapshot_id"].map(|name| clean(text(value, name)));
    let mut out = format!("{verdict}: {name} from {store} of {id}, {tables}, {rows}\n");
    if let Some(reached) = value.get("reached").filter(|reached| reached.is_object()) {
        out.push_str(&format!("  as it was at its commit of {}\n", clean(text(reached, "time"))));
    }
    for line in list(value, "problems").iter().chain(list(value, "notes")).filter_map(Value::as_str) {
        out.push_str(&format!("  {}\n", clean(line)));
    }
    out
}

/// What a swap of databases did, or would do: names, who is connected, what is in the way.
pub(in crate::cli) fn swap(value: &Value, view: &View) -> String {
    let done = value.get("done").and_then(Value::as_bool).unwrap_or(false);
    let verdict = if done { view.paint(Tone::Good, "done") } else { "plan".to_owned() };
    let [store, live, new, old, dropped] =
        ["store", "live", "comes_in", "goes_out", "dropped"].map(|name| clean(text(value, name)));
    let mut out = format!("{verdict}: database {live} of store {store}\n");
    for (word, name) in [("becomes it:", new), ("is called afterwards:", old), ("is dropped:", dropped)] {
        if !name.is_empty() {
            out.push_str(&format!("  {word} {name}\n"));
        }
    }
    let sessions = list(value, "sessions");
    if !sessions.is_empty() {
        let mut table = Table::new(["SESSIONS", "DATABASE", "PROGRAM", "USER", "FROM"], &[0]);
        for one in sessions.iter().take(SHOWN) {
            table.row([
                number(one, "sessions").map(super::count).unwrap_or_default().into(),
                clean(text(one, "database")).into(),
                clean(text(one, "application_name")).into(),
                clean(text(one, "user")).into(),
                clean(text(one, "address")).into(),
            ]);
        }
        out.push_str(&table.show(view));
        out.push_str(&more(sessions.len()));
    }
    out.push_str(&sentences(value, "carried", Tone::Plain, "carried over:", view));
    out.push_str(&sentences(value, "notes", Tone::Plain, "note:", view));
    out.push_str(&sentences(value, "obstacles", Tone::Bad, "in the way:", view));
    out
}

/// What a restore did.
pub(in crate::cli) fn apply(value: &Value, view: &View) -> String {
    let restart = value.get("restart_required").and_then(Value::as_bool).unwrap_or(false);
    let files = counted(number(value, "restored_files").unwrap_or(0), "file", "files");
    let into = path(value.get("into"));
    let into = if into.is_empty() { String::new() } else { format!(" into {into}") };
    let mut out = if restart {
        format!("{} {files}: restart the service to swap them in\n", view.paint(Tone::Warning, "staged"))
    } else {
        format!("{} {files}{into}\n", view.paint(Tone::Good, "restored"))
    };
    let lost = list(value, "lost");
    if !lost.is_empty() {
        out.push_str(&format!("{}\n", view.paint(Tone::Bad, "lost:")));
        for item in lost.iter().take(SHOWN) {
            out.push_str(&format!("  {}  {}\n", path(item.get("path")), clean(text(item, "message"))));
        }
        out.push_str(&more(lost.len()));
    }
    out.push_str(&sentences(value, "warnings", Tone::Warning, "warning:", view));
    let undo = clean(text(value, "undo_id"));
    if !undo.is_empty() {
        out.push_str(&format!("what was there before is kept: `uplifted-ops restore undo {undo}` brings it back\n"));
    }
    let mut known = vec!["snapshot_id", "restored_files", "into", "undo_id", "restart_required", "lost", "warnings"];
    // A service that nobody stopped needs no word.
    if !says_something(value.get("service")) {
        known.push("service");
    }
    out.push_str(&fields(value, &known, view));
    out
}

/// Whether anything in an object is neither null nor `false`.
fn says_something(value: Option<&Value>) -> bool {
    let fields = value.and_then(Value::as_object);
    fields.is_some_and(|fields| fields.values().any(|value| !value.is_null() && value != &Value::Bool(false)))
}

/// What an undo put back: the same report as a restore's, and an undo of its own. Or its plan.
pub(in crate::cli) fn undo(value: &Value, view: &View) -> String {
    let plan = &value["plan"];
    if value.get("undone").and_then(Value::as_bool) != Some(false) {
        let mut done = value.clone();
        if let Some(fields) = done.as_object_mut() {
            fields.retain(|name, _| name != "plan" && name != "undone");
        }
        return apply(&done, view);
    }
    let area = &plan["area"];
    let files = counted(number(area, "files").unwrap_or(0), "file", "files");
    let bytes = size(number(area, "size_bytes").unwrap_or(0));
    let mut out = format!(
        "undo {}: {files} ({bytes}) of {} come back over the service in {}\n",
        clean(text(area, "undo_id")),
        time(text(area, "time")),
        path(value.get("into"))
    );
    let paths = list(area, "paths");
    for name in paths.iter().take(SHOWN) {
        out.push_str(&format!("  {}\n", path(Some(name))));
    }
    out.push_str(&more(paths.len()));
    out.push_str(&holders(plan));
    out.push_str("what is there now goes to an undo of its own\n");
    if plan.get("restart_required").and_then(Value::as_bool) == Some(true) {
        out.push_str("the service must be restarted for it to happen\n");
    }
    out
}

/// Who has a database open.
fn holders(plan: &Value) -> String {
    let lines = list(plan, "holders").iter().map(|holder| {
        let program = clean(text(holder, "program"));
        let pid = number(holder, "pid").filter(|pid| *pid > 0).map(|pid| format!(" (process {pid})"));
        let who = if program.is_empty() { "a process" } else { &program };
        format!("open: {} by {who}{}\n", path(holder.get("path")), pid.unwrap_or_default())
    });
    lines.collect()
}

/// What was removed for good, or would be.
pub(in crate::cli) fn discard(value: &Value, view: &View) -> String {
    let freed = size(number(value, "freed_bytes").unwrap_or(0));
    let head = match value.get("discarded").and_then(Value::as_bool) {
        Some(true) => format!("{}, {freed} free\n", view.paint(Tone::Good, "removed for good")),
        _ => format!("{}, {freed}:\n", view.paint(Tone::Warning, "would be removed for good")),
    };
    format!("{head}{}", undo_list(value, view))
}

/// What can be put back.
pub(in crate::cli) fn undo_list(value: &Value, view: &View) -> String {
    let areas = list(value, "areas");
    if areas.is_empty() {
        return "there is nothing to undo\n".to_owned();
    }
    let mut table = Table::new(["UNDO", "TIME", "AGE", "SNAPSHOT", "FILES", "SIZE", "PATHS"], &[4, 5]);
    for area in areas {
        let paths: Vec<String> = list(area, "paths").iter().map(|name| path(Some(name))).collect();
        table.row([
            Cell::toned(clean(text(area, "undo_id")), Tone::Strong),
            time(text(area, "time")).into(),
            age(text(area, "time"), view.now).into(),
            clean(text(area, "snapshot_id")).into(),
            number(area, "files").map(super::count).unwrap_or_default().into(),
            number(area, "size_bytes").map(size).unwrap_or_default().into(),
            paths.join(", ").into(),
        ]);
    }
    table.show(view)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::plain;
    use super::*;

    #[test]
    fn a_database_beside_says_what_it_has_and_what_is_wrong() {
        let mut value = json!({ "ok": true, "database": "yesterday", "store": "main", "snapshot_id": "1f0c3a", "tables": 1,
            "rows": 2500, "problems": [], "notes": ["the constraint a is NOT VALID, as it is in the archive"] });
        assert_eq!(
            database(&value, &plain()),
            "restored: yesterday from main of 1f0c3a, 1 table, 2,500 rows\n  the constraint a is NOT VALID, as it is in the archive\n"
        );
        value["ok"] = json!(false);
        value["problems"] = json!(["public.t has 1 rows, the archive has 2"]);
        assert!(database(&value, &plain()).starts_with("not as the backup has it: yesterday"));
    }

    #[test]
    fn a_restore_says_where_and_how_to_go_back() {
        let beside = json!({ "restored_files": 20004, "into": "/tmp/look", "undo_id": null,
            "service": { "stopped": false, "started": false, "healthy": null } });
        assert_eq!(apply(&beside, &plain()), "restored 20,004 files into /tmp/look\n");
        let over = json!({ "restored_files": 1, "into": "/opt/uplifted", "undo_id": "u1", "lost": [],
            "warnings": ["the snapshot is 9 days old"], "service": { "stopped": true } });
        assert_eq!(
            apply(&over, &plain()),
            "\
restored 1 file into /opt/uplifted
warning: the snapshot is 9 days old
what was there before is kept: `uplifted-ops restore undo u1` brings it back
service
  stopped  yes
"
        );
        let staged = json!({ "restored_files": 2, "restart_required": true });
        assert_eq!(apply(&staged, &plain()), "staged 2 files: restart the service to swap them in\n");
    }

    #[test]
    fn what_a_salvage_lost_is_named() {
        let value = json!({ "restored_files": 2, "into": "/x", "lost": [
            { "path": "a/b", "kind": "corrupt", "message": "a frame is damaged" } ] });
        assert_eq!(apply(&value, &plain()), "restored 2 files into /x\nlost:\n  a/b  a frame is damaged\n");
    }

    #[test]
    fn a_plan_says_what_becomes_of_each_name_and_what_is_in_the_way() {
        let value = json!({
            "snapshot_id": "1f0c", "mode": "in_place", "into": "/opt/uplifted", "files": 12, "paths": [],
            "units": [
                { "path": "config", "action": "replace", "reason": "it is in the snapshot", "files": 2, "size_bytes": 2048 },
                { "path": "logs", "action": "keep", "reason": "the backup left it out", "files": 0, "size_bytes": 0 },
            ],
            "space": [{ "folder": "/opt", "needed_bytes": 4096, "free_bytes": 1_073_741_824_u64 }],
            "holders": [{ "path": "data/uplifted.db", "pid": 77, "program": "python3" }],
            "warnings": ["3 entries belong to other users"], "blockers": ["the service is running"],
            "restart_required": false,
        });
        assert_eq!(
            plan(&value, &plain()),
            "\
restore 1f0c: 12 files over the service in /opt/uplifted
ACTION   PATH    FILES     SIZE  WHY
replace  config      2  2.0 KiB  it is in the snapshot
keep     logs        0      0 B  the backup left it out
room: 4.0 KiB needed, 1.0 GiB free at /opt
open: data/uplifted.db by python3 (process 77)
warning: 3 entries belong to other users
cannot be applied: the service is running
"
        );
    }

    #[test]
    fn an_undo_says_what_comes_back_before_it_does() {
        let plan = json!({ "snapshot_id": "1f0c", "restored_files": 3, "into": "/opt/uplifted", "undone": false, "plan": {
            "area": { "undo_id": "u1", "time": "2026-11-22T11:00:00Z", "paths": ["config", ".env"], "files": 3,
                      "size_bytes": 2048 },
            "holders": [{ "path": "data/uplifted.db", "pid": 77, "program": "python3" }], "restart_required": false } });
        assert_eq!(
            undo(&plan, &plain()),
            "\
undo u1: 3 files (2.0 KiB) of 2026-11-22 11:00:00 UTC come back over the service in /opt/uplifted
  config
  .env
open: data/uplifted.db by python3 (process 77)
what is there now goes to an undo of its own
"
        );
        let done = json!({ "restored_files": 3, "into": "/x", "undo_id": "u2", "undone": true, "plan": plan["plan"] });
        assert_eq!(
            undo(&done, &plain()),
            "restored 3 files into /x\nwhat was there before is kept: `uplifted-ops restore undo u2` brings it back\n"
        );
    }

    #[test]
    fn what_can_be_undone_is_listed() {
        let value = json!({ "areas": [{ "undo_id": "u1", "snapshot_id": "1f0c", "time": "2026-11-22T11:00:00Z",
            "paths": ["config", ".env"], "files": 3, "size_bytes": 2048 }] });
        assert_eq!(
            undo_list(&value, &plain()),
            "\
UNDO  TIME                     AGE      SNAPSHOT  FILES     SIZE  PATHS
u1    2026-11-22 11:00:00 UTC  1 h ago  1f0c          3  2.0 KiB  config, .env
"
        );
        assert_eq!(undo_list(&json!({ "areas": [] }), &plain()), "there is nothing to undo\n");
        let gone = json!({ "areas": value["areas"], "freed_bytes": 2048, "discarded": true });
        assert!(discard(&gone, &plain()).starts_with("removed for good, 2.0 KiB free\nUNDO  TIME"));
        let plan = json!({ "areas": value["areas"], "freed_bytes": 2048, "discarded": false });
        assert!(discard(&plan, &plain()).starts_with("would be removed for good, 2.0 KiB:\nUNDO"));
    }
}
