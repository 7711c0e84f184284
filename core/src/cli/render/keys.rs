//! `backup keys …`.

use serde_json::Value;

use super::fields::fields;
use super::table::{Cell, Table};
use super::words::{age, clean, counted};
use super::{Tone, View, list as items, number, text};

/// What `backup.keys_init` or `backup.keys_rotate` made.
pub(in crate::cli) fn made(value: &Value, view: &View) -> String {
    let key = view.paint(Tone::Strong, &clean(text(value, "fingerprint")));
    let mut out = format!("{} {key}: backups are encrypted to it from now on\n", view.paint(Tone::Good, "key"));
    out.push_str(&stored(items(value, "stored")));
    out.push_str(&opened_by(value));
    if value["proven"] != true {
        let warning = view.paint(Tone::Warning, "not proven:");
        out.push_str(&format!(
            "{warning} run `uplifted-ops backup keys check --identity-file FILE` once where the secret key is\n"
        ));
    }
    out.push_str(&fields(value, &["fingerprint", "stored", "recipients", "proven"], view));
    out
}

fn stored(keys: &[Value]) -> String {
    keys.iter().map(|key| format!("  in {}: {}\n", clean(text(key, "target")), clean(text(key, "key")))).collect()
}

fn opened_by(value: &Value) -> String {
    let recipients: Vec<String> = items(value, "recipients").iter().filter_map(Value::as_str).map(clean).collect();
    match recipients.is_empty() {
        true => "  opened by whoever knows the passphrase\n".to_owned(),
        false => recipients.iter().map(|recipient| format!("  opened by {recipient}\n")).collect(),
    }
}

/// The wrapped keys.
pub(in crate::cli) fn list(value: &Value, view: &View) -> String {
    let found = items(value, "keys");
    let mut out = String::new();
    if found.is_empty() {
        out.push_str("no keys: backups are not encrypted; `uplifted-ops backup keys init` makes one\n");
    } else {
        let mut table = Table::new(["KEY", "STATUS", "OPENED BY", "AGE", "TARGET", "OBJECT"], &[]);
        for item in found {
            let tone = if text(item, "status") == "unknown" { Tone::Warning } else { Tone::Plain };
            let by = match number(item, "recipients") {
                Some(recipients) => counted(recipients, "recipient", "recipients"),
                None => "passphrase".to_owned(),
            };
            table.row([
                Cell::toned(clean(text(item, "fingerprint")), Tone::Strong),
                Cell::toned(clean(text(item, "status")), tone),
                by.into(),
                age(text(item, "stored_at"), view.now).into(),
                clean(text(item, "target")).into(),
                clean(text(item, "key")).into(),
            ]);
        }
        out.push_str(&table.show(view));
    }
    for item in items(value, "failed") {
        let word = view.paint(Tone::Bad, "failed:");
        let message = clean(text(&item["error"], "message"));
        out.push_str(&format!("{word} {} {}: {message}\n", clean(text(item, "target")), clean(text(item, "key"))));
    }
    out.push_str(&fields(value, &["keys", "failed", "current"], view));
    out
}

/// What an identity opens.
pub(in crate::cli) fn check(value: &Value, view: &View) -> String {
    let opens: Vec<String> = items(value, "opens").iter().filter_map(Value::as_str).map(clean).collect();
    let mut out = format!("the identity opens {}\n", opens.join(", "));
    for target in items(value, "targets") {
        let name = clean(text(target, "target"));
        out.push_str(&match (target.get("error").filter(|it| !it.is_null()), text(target, "snapshot_id")) {
            (Some(error), _) => {
                format!("  {} {name}: {}\n", view.paint(Tone::Bad, "not opened"), clean(text(error, "message")))
            }
            (None, "") => format!("  {name}: no encrypted backup yet\n"),
            (None, id) => format!("  {} {name}: snapshot {}\n", view.paint(Tone::Good, "opened"), clean(id)),
        });
    }
    out.push_str(&fields(value, &["ok", "opens", "targets"], view));
    out
}

/// What was, or would be, wrapped anew.
pub(in crate::cli) fn rewrap(value: &Value, view: &View) -> String {
    let done = value["rewrapped"] == true;
    let mut out = format!("{}:\n", if done { "wrapped anew" } else { "would be wrapped anew" });
    for item in items(value, "rewraps") {
        let new = match text(item, "stored") {
            "" => String::new(),
            key => format!(" as {}", clean(key)),
        };
        out.push_str(&format!(
            "  {} in {}{new}\n",
            view.paint(Tone::Strong, &clean(text(item, "fingerprint"))),
            clean(text(item, "target"))
        ));
        for old in items(item, "replaces").iter().filter_map(Value::as_str) {
            out.push_str(&format!("    {} {}\n", if done { "removed" } else { "removes" }, clean(old)));
        }
    }
    for item in items(value, "untouched") {
        out.push_str(&format!("  stays as it is: {} in {}\n", clean(text(item, "key")), clean(text(item, "target"))));
    }
    out.push_str(&opened_by(value));
    if value["proven"] != true {
        out.push_str(&format!("{} that the new ones can be opened\n", view.paint(Tone::Warning, "nobody proved")));
    }
    out.push_str(&format!("note: {}\n", clean(text(value, "note"))));
    out.push_str(&fields(value, &["rewraps", "untouched", "recipients", "proven", "rewrapped", "note"], view));
    out
}

/// What the host knows again.
pub(in crate::cli) fn adopt(value: &Value, view: &View) -> String {
    let key = view.paint(Tone::Strong, &clean(text(value, "fingerprint")));
    let mut out = format!("{}: backups are encrypted to the key {key} again\n", view.paint(Tone::Good, "adopted"));
    out.push_str(&fields(value, &["fingerprint"], view));
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view() -> View {
        View { colour: false, now: "2026-11-23T00:00:00Z".parse().unwrap() }
    }

    #[test]
    fn a_key_that_was_made_says_who_opens_it_and_what_is_not_proven() {
        let shown = made(
            &json!({
                "repository_id": "0123", "fingerprint": "00112233aabbccdd", "public_key": "age1repo", "proven": false,
                "stored": [{"target": "local", "key": "keys/00112233aabbccdd-1.age"}], "recipients": ["age1op"],
            }),
            &view(),
        );
        assert!(shown.starts_with("key 00112233aabbccdd: backups are encrypted to it from now on\n"), "{shown}");
        assert!(shown.contains("  in local: keys/00112233aabbccdd-1.age\n  opened by age1op\nnot proven: "), "{shown}");
        assert!(shown.contains("public key") && shown.contains("age1repo"), "{shown}");
    }

    #[test]
    fn keys_are_listed_with_what_they_are() {
        let shown = list(
            &json!({"keys": [{"target": "local", "key": "keys/a-1.age", "fingerprint": "a", "status": "current",
                "recipients": 2, "stored_at": "2026-11-22T00:00:00Z"},
                {"target": "local", "key": "keys/b-1.age", "fingerprint": "b", "status": "unknown", "recipients": null,
                "stored_at": "2026-11-22T00:00:00Z"}],
                "failed": [{"target": "off", "key": null, "error": {"message": "down"}}]}),
            &view(),
        );
        assert!(shown.contains("2 recipients") && shown.contains("passphrase"), "{shown}");
        assert!(shown.contains("failed: off : down"), "{shown}");
        assert!(list(&json!({"keys": []}), &view()).starts_with("no keys: "));
    }

    #[test]
    fn a_check_names_each_target() {
        let shown = check(
            &json!({"ok": false, "opens": ["a", "b"], "targets": [
                {"target": "one", "snapshot_id": "1f0c", "error": null}, {"target": "two", "snapshot_id": null, "error": null},
                {"target": "three", "snapshot_id": "2f", "error": {"message": "it is encrypted to the key c"}}]}),
            &view(),
        );
        assert_eq!(
            shown,
            "the identity opens a, b\n  opened one: snapshot 1f0c\n  two: no encrypted backup yet\n  not opened three: it is \
             encrypted to the key c\n"
        );
    }

    #[test]
    fn a_rewrap_says_what_goes_and_what_it_does_not_do() {
        let shown = rewrap(
            &json!({"rewraps": [{"target": "one", "fingerprint": "a", "stored": "keys/a-2.age", "replaces": ["keys/a-1.age"]}],
                "untouched": [], "recipients": [], "proven": true, "rewrapped": true, "note": "it does not revoke"}),
            &view(),
        );
        assert_eq!(
            shown,
            "wrapped anew:\n  a in one as keys/a-2.age\n    removed keys/a-1.age\n  opened by whoever knows the passphrase\n\
             note: it does not revoke\n"
        );
    }
}
