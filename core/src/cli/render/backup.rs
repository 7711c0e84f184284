//! `backup create|list|verify|copy|export`.

use serde_json::Value;

use super::fields::fields;
use super::table::{Cell, Table};
use super::words::{age, clean, counted, duration, path, size, time};
use super::{SHOWN, Tone, View, inner, list, more, number, text};

/// What `backup.create` made.
pub(in crate::cli) fn create(value: &Value, view: &View) -> String {
    let partial = text(value, "outcome") == "partial";
    let head = if partial { view.paint(Tone::Warning, "partial backup") } else { view.paint(Tone::Good, "backup") };
    let mut out = format!("{head} {}\n", view.paint(Tone::Strong, &clean(text(value, "snapshot_id"))));
    let (files, bytes, stored) =
        (number(value, "files").unwrap_or(0), number(value, "size_bytes").unwrap_or(0), number(value, "stored_bytes"));
    let seconds = value.get("duration_seconds").and_then(Value::as_f64).unwrap_or(0.0);
    out.push_str(&format!("  {}, {}", counted(files, "file", "files"), size(bytes)));
    if let Some(stored) = stored {
        out.push_str(&format!(", stored as {}", size(stored)));
        if bytes > 0 {
            out.push_str(&format!(" ({:.0} %)", stored as f64 * 100.0 / bytes as f64));
        }
    }
    out.push_str(&format!(", in {}\n", duration(seconds)));
    match text(value, "encrypted_to") {
        "" => {}
        key => out.push_str(&format!("  encrypted to the key {}\n", clean(key))),
    }
    for target in list(value, "targets") {
        let (name, place) = (clean(text(target, "target")), clean(text(target, "location")));
        match target.get("error").filter(|error| !error.is_null()) {
            None => out.push_str(&format!("  in {name}: {place}\n")),
            Some(error) => {
                let failed = view.paint(Tone::Bad, &format!("not in {name}:"));
                out.push_str(&format!("  {failed} {}", inner(error, "    ", view)));
            }
        }
    }
    out.push_str(&skipped(list(value, "skipped"), view));
    out
}

pub(super) fn skipped(items: &[Value], view: &View) -> String {
    if items.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["", "", ""], &[]);
    for item in items.iter().take(SHOWN) {
        table.row([
            Cell::from(format!("  {}", path(item.get("path")))),
            Cell::toned(clean(text(item, "reason")), Tone::Warning),
            clean(text(item, "message")).into(),
        ]);
    }
    format!("not in the backup:\n{}{}", table.show(view), more(items.len()))
}

/// The snapshots, in the order of the response.
pub(in crate::cli) fn snapshots(value: &Value, view: &View) -> String {
    let found = list(value, "snapshots");
    let mut out = String::new();
    if found.is_empty() && list(value, "failed").is_empty() && list(value, "unreadable").is_empty() {
        out.push_str("no backups yet: `uplifted-ops backup create` makes one\n");
    }
    if !found.is_empty() {
        let mut table = Table::new(
            [
                "SNAPSHOT", "TIME", "AGE", "OUTCOME", "SIZE", "STORED", "VERIFIED", "HELD", "TARGET", "LAYOUT",
                "LABEL", "TAGS",
            ],
            &[4, 5],
        );
        // Where all are of one layout, it says nothing.
        let of_one_layout = found.iter().all(|item| text(item, "layout") == text(&found[0], "layout"));
        let bytes = |item: &Value, name| number(item, name).map(size).unwrap_or_default();
        for item in found {
            let verified = match text(item, "verified_at") {
                "" => Cell::toned("never", Tone::Warning),
                at if text(item, "verified_level") == "sealed" => format!("{} (sealed)", age(at, view.now)).into(),
                at => age(at, view.now).into(),
            };
            table.row([
                Cell::toned(clean(text(item, "snapshot_id")), Tone::Strong),
                time(text(item, "time")).into(),
                age(text(item, "time"), view.now).into(),
                Cell::verdict(text(item, "outcome")),
                bytes(item, "size_bytes").into(),
                bytes(item, "stored_bytes").into(),
                verified,
                held(item).into(),
                clean(text(item, "target")).into(),
                if of_one_layout { String::new() } else { clean(text(item, "layout")) }.into(),
                clean(text(item, "label")).into(),
                tags(item).into(),
            ]);
        }
        out.push_str(&table.show(view));
    }
    // What could not be listed.
    for (name, what) in [("unreadable", "key"), ("failed", "target")] {
        for item in list(value, name) {
            let word = view.paint(Tone::Bad, &format!("{name}:"));
            out.push_str(&format!("{word} {}: {}", clean(text(item, what)), inner(&item["error"], "  ", view)));
        }
    }
    out.push_str(&fields(value, &["snapshots", "unreadable", "failed"], view));
    out
}

/// Who holds a snapshot, each once.
fn held(item: &Value) -> String {
    let mut names: Vec<String> = list(item, "holds").iter().map(|hold| clean(text(hold, "by"))).collect();
    names.sort();
    names.dedup();
    names.join(", ")
}

fn tags(item: &Value) -> String {
    let tags = list(item, "tags").iter().filter_map(Value::as_str);
    tags.map(clean).collect::<Vec<_>>().join(", ")
}

/// What a verify found.
pub(in crate::cli) fn verify(value: &Value, view: &View) -> String {
    let ok = value.get("ok").and_then(Value::as_bool).unwrap_or(false);
    let problems = list(value, "problems");
    let mut out = if ok {
        match text(value, "level") {
            "sealed" => format!(
                "{}: the encrypted bytes are intact; nobody looked into them: pass --identity-file\n",
                view.paint(Tone::Good, "sealed")
            ),
            _ => format!("{}: the backup is intact\n", view.paint(Tone::Good, "ok")),
        }
    } else {
        let found = counted(problems.len() as u64, "problem", "problems");
        format!("{}: {found}\n", view.paint(Tone::Bad, "damaged"))
    };
    if !problems.is_empty() {
        let mut table = Table::new(["", "", ""], &[]);
        for item in problems.iter().take(SHOWN) {
            table.row([
                Cell::from(format!("  {}", path(item.get("path")))),
                Cell::toned(clean(text(item, "kind")), Tone::Bad),
                clean(text(item, "message")).into(),
            ]);
        }
        out.push_str(&table.show(view));
        out.push_str(&more(problems.len()));
    }
    out.push_str(&fields(value, &["ok", "problems", "level"], view));
    out
}

/// What became of a copy.
pub(in crate::cli) fn copy(value: &Value, view: &View) -> String {
    let [id, from, to] = ["snapshot_id", "from", "to"].map(|name| clean(text(value, name)));
    let stored = number(value, "stored_bytes").map(size).unwrap_or_default();
    let mut out = if value.get("copied").and_then(Value::as_bool).unwrap_or(false) {
        format!("{} snapshot {id} from {from} to {to}: {stored}, read back\n", view.paint(Tone::Good, "copied"))
    } else {
        format!("{to} has snapshot {id} already: {stored}, verified\n")
    };
    out.push_str(&fields(value, &["snapshot_id", "from", "to", "stored_bytes", "copied"], view));
    out
}

/// What `backup.export` wrote.
pub(in crate::cli) fn export(value: &Value, view: &View) -> String {
    let (files, bytes) = (number(value, "files").unwrap_or(0), number(value, "size_bytes").unwrap_or(0));
    let stored = number(value, "stored_bytes").unwrap_or(0);
    let seconds = value.get("duration_seconds").and_then(Value::as_f64).unwrap_or(0.0);
    format!(
        "{} {} as {}\n  {}, {}, stored as {}, in {}\n",
        view.paint(Tone::Good, "exported"),
        view.paint(Tone::Strong, &clean(text(value, "snapshot_id"))),
        path(value.get("output")),
        counted(files, "file", "files"),
        size(bytes),
        size(stored),
        duration(seconds),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::plain;
    use super::*;

    #[test]
    fn a_partial_backup_names_what_it_lacks() {
        let value = json!({
            "snapshot_id": "1f0c3a9b22de", "outcome": "partial", "files": 20004, "size_bytes": 1_825_361_101_u64,
            "stored_bytes": 511_101_108, "duration_seconds": 9.6,
            "skipped": [
                { "path": "data/cache.bin", "reason": "grew", "message": "it was 10 bytes longer at the end" },
                { "path": { "bytes": "70ff" }, "reason": "unreadable", "message": "permission denied" },
            ],
        });
        assert_eq!(
            create(&value, &plain()),
            "\
partial backup 1f0c3a9b22de
  20,004 files, 1.7 GiB, stored as 487.4 MiB (28 %), in 9.60 s
not in the backup:
  data/cache.bin  grew        it was 10 bytes longer at the end
  p\\xff           unreadable  permission denied
"
        );
        let complete = json!({ "snapshot_id": "1f", "outcome": "complete", "files": 1, "skipped": [] });
        assert_eq!(create(&complete, &plain()), "backup 1f\n  1 file, 0 B, in 0.00 s\n");
    }

    #[test]
    fn a_long_list_says_how_much_is_left_out() {
        let skipped: Vec<Value> = (0..25).map(|n| json!({ "path": format!("{n}"), "reason": "vanished" })).collect();
        let shown = create(&json!({ "skipped": skipped }), &plain());
        assert!(shown.ends_with("  … and 5 more; --json has all of them\n"), "{shown}");
        assert_eq!(shown.lines().count(), 2 + 1 + 20 + 1);
    }

    #[test]
    fn the_list_shows_ages_and_what_was_never_verified() {
        let value = json!({ "snapshots": [
            { "snapshot_id": "1f0c3a9b22de", "time": "2026-11-22T02:00:00Z", "layout": "archive", "outcome": "complete",
              "size_bytes": 1_825_361_101_u64, "stored_bytes": 511_101_108, "verified_at": "2026-11-22T02:00:09Z" },
            { "snapshot_id": "aa0c3a9b22de", "time": "2026-11-21T02:00:00Z", "layout": "archive", "outcome": "partial",
              "size_bytes": 1024, "stored_bytes": 512, "verified_at": null, "label": "before-upgrade",
              "tags": ["keep", "v2"], "holds": [{ "by": "ann on web1" }, { "by": "ann on web1" }] },
        ]});
        assert_eq!(
            snapshots(&value, &plain()),
            "\
SNAPSHOT      TIME                     AGE       OUTCOME      SIZE     STORED  VERIFIED  HELD         LABEL           TAGS
1f0c3a9b22de  2026-11-22 02:00:00 UTC  10 h ago  complete  1.7 GiB  487.4 MiB  9 h ago
aa0c3a9b22de  2026-11-21 02:00:00 UTC  34 h ago  partial   1.0 KiB      512 B  never     ann on web1  before-upgrade  keep, v2
"
        );
        assert!(snapshots(&json!({ "snapshots": [] }), &plain()).starts_with("no backups yet"));
        let failed = json!({ "snapshots": [], "failed": [{ "target": "far", "error": { "message": "it is away", "hint": "mount it" } }] });
        assert_eq!(snapshots(&failed, &plain()), "failed: far: it is away\n  hint: mount it\n");
    }

    #[test]
    fn a_target_that_failed_is_named() {
        let value = json!({ "snapshot_id": "1f", "outcome": "complete", "files": 2, "targets": [
            { "target": "local", "location": "/backup/uplifted", "error": null },
            { "target": "far", "location": "/mnt/far", "error": { "kind": "no_space", "message": "it is full", "hint": "free space" } } ] });
        assert_eq!(
            create(&value, &plain()),
            "backup 1f\n  2 files, 0 B, in 0.00 s\n  in local: /backup/uplifted\n  not in far: it is full\n    hint: free space\n"
        );
    }

    #[test]
    fn a_verify_names_each_problem() {
        assert_eq!(verify(&json!({ "ok": true, "problems": [] }), &plain()), "ok: the backup is intact\n");
        let damaged = json!({ "ok": false, "problems": [
            { "path": "data/uplifted.db", "kind": "corrupt", "message": "row 7 missing from index" } ] });
        assert_eq!(
            verify(&damaged, &plain()),
            "damaged: 1 problem\n  data/uplifted.db  corrupt  row 7 missing from index\n"
        );
    }
}
