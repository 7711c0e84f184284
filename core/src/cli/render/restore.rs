//! `restore plan|apply|undo`.

use serde_json::Value;

use super::fields::fields;
use super::words::{clean, counted, path, size};
use super::{Tone, View, number, text};

/// What a restore would do.
pub(in crate::cli) fn plan(value: &Value, view: &View) -> String {
    fields(value, &[], view)
}

/// What a restore did.
pub(in crate::cli) fn apply(value: &Value, view: &View) -> String {
    let restart = value.get("restart_required").and_then(Value::as_bool).unwrap_or(false);
    let files = counted(number(value, "restored_files").unwrap_or(0), "file", "files");
    let bytes = number(value, "restored_bytes").or_else(|| number(value, "size_bytes"));
    let bytes = bytes.map(|bytes| format!(", {}", size(bytes))).unwrap_or_default();
    let into = path(value.get("into"));
    let into = if into.is_empty() { String::new() } else { format!(" into {into}") };
    let mut out = if restart {
        format!("{} {files}{bytes}: restart the service to swap them in\n", view.paint(Tone::Warning, "staged"))
    } else {
        format!("{} {files}{bytes}{into}\n", view.paint(Tone::Good, "restored"))
    };
    let undo = clean(text(value, "undo_id"));
    if !undo.is_empty() {
        out.push_str(&format!("what was there before is kept: `uplifted-ops restore undo {undo}` brings it back\n"));
    }
    let known = ["restored_files", "restored_bytes", "size_bytes", "into", "undo_id", "restart_required"];
    out.push_str(&fields(value, &known, view));
    out
}

/// What an undo put back.
pub(in crate::cli) fn undo(value: &Value, view: &View) -> String {
    format!("{}\n{}", view.paint(Tone::Good, "undone"), fields(value, &[], view))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::plain;
    use super::*;

    #[test]
    fn a_restore_says_where_and_how_to_go_back() {
        let beside = json!({ "restored_files": 20004, "into": "/tmp/look", "undo_id": null });
        assert_eq!(apply(&beside, &plain()), "restored 20,004 files into /tmp/look\n");
        let over = json!({ "restored_files": 1, "restored_bytes": 2048, "into": "/opt/uplifted", "undo_id": "u1" });
        assert_eq!(
            apply(&over, &plain()),
            "\
restored 1 file, 2.0 KiB into /opt/uplifted
what was there before is kept: `uplifted-ops restore undo u1` brings it back
"
        );
        let staged = json!({ "restored_files": 2, "restart_required": true });
        assert_eq!(apply(&staged, &plain()), "staged 2 files: restart the service to swap them in\n");
    }
}
