//! `store stats|verify`.

use serde_json::Value;

use super::fields::leaf;
use super::table::{Cell, Table};
use super::words::{clean, size};
use super::{Tone, View, list, number, text};

const NONE: &str = "no databases are configured: `uplifted-ops init` finds them\n";

/// Sizes and facts of each database.
pub(in crate::cli) fn stats(value: &Value, view: &View) -> String {
    let mut table = Table::new(["STORE", "KIND", "SIZE", "LOG", "DETAILS"], &[2, 3]);
    for item in list(value, "stores") {
        // The numbers stand in the entry itself or below `stats`.
        let numbers = item.get("stats").unwrap_or(item);
        let bytes = |name| number(numbers, name).map(size).unwrap_or_default();
        let details: Vec<String> = numbers
            .get("details")
            .and_then(Value::as_object)
            .map(|details| {
                let shown = details.iter().filter(|(_, value)| !value.is_null());
                shown.map(|(name, value)| format!("{}={}", clean(name), leaf(name, value, view))).collect()
            })
            .unwrap_or_default();
        let failed = error_of(item);
        table.row([
            Cell::toned(clean(text(item, "name")), Tone::Strong),
            clean(text(item, "kind")).into(),
            bytes("size_bytes").into(),
            bytes("log_bytes").into(),
            if failed.is_empty() { details.join(" ").into() } else { Cell::toned(failed, Tone::Bad) },
        ]);
    }
    if list(value, "stores").is_empty() { NONE.to_owned() } else { table.show(view) }
}

/// Whether each database is sound, and what is wrong.
pub(in crate::cli) fn verify(value: &Value, view: &View) -> String {
    let stores = list(value, "stores");
    if stores.is_empty() {
        return NONE.to_owned();
    }
    let mut out = String::new();
    for item in stores {
        let ok = item.get("ok").and_then(Value::as_bool).unwrap_or(false);
        let verdict = if ok { view.paint(Tone::Good, "ok") } else { view.paint(Tone::Bad, "damaged") };
        let (name, kind) = (clean(text(item, "name")), clean(text(item, "kind")));
        out.push_str(&format!("{verdict}: {name} ({kind})\n"));
        let problems = list(item, "problems").iter().filter_map(|p| p.as_str().or_else(|| p.get("message")?.as_str()));
        for problem in problems.map(clean).chain(Some(error_of(item)).filter(|error| !error.is_empty())) {
            out.push_str(&format!("  {problem}\n"));
        }
    }
    out
}

fn error_of(item: &Value) -> String {
    item.get("error").map(|error| clean(error.as_str().unwrap_or_else(|| text(error, "message")))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::plain;
    use super::*;

    #[test]
    fn sizes_and_facts() {
        let value = json!({ "stores": [
            { "name": "main", "kind": "sqlite", "ok": true, "size_bytes": 1_288_490_188_u64, "log_bytes": 4_194_304,
              "details": { "journal_mode": "wal", "page_size": 4096, "freelist_bytes": 8192 } },
            { "name": "other", "kind": "sqlite", "ok": false, "error": { "message": "it is not a database" } },
        ]});
        assert_eq!(
            stats(&value, &plain()),
            "\
STORE  KIND       SIZE      LOG  DETAILS
main   sqlite  1.2 GiB  4.0 MiB  freelist_bytes=8.0 KiB journal_mode=wal page_size=4096
other  sqlite                    it is not a database
"
        );
    }

    #[test]
    fn damage_is_named() {
        let value = json!({ "stores": [
            { "name": "main", "kind": "sqlite", "ok": true, "problems": [] },
            { "name": "bad", "kind": "sqlite", "ok": false, "problems": ["row 7 missing from index i"] },
        ]});
        assert_eq!(
            verify(&value, &plain()),
            "ok: main (sqlite)\ndamaged: bad (sqlite)\n  row 7 missing from index i\n"
        );
    }
}
