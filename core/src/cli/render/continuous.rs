//! `continuous.*` and `restore.points` as text.

use serde_json::Value;

use super::fields::fields;
use super::words::{clean, duration};
use super::{Tone, View, list, text};

/// How the stores that are followed stand.
pub(in crate::cli) fn status(value: &Value, view: &View) -> String {
    let stores = list(value, "stores");
    if stores.is_empty() {
        return "no database is followed\n".to_owned();
    }
    let mut out = String::new();
    for store in stores {
        let follows = store["following"].as_bool().unwrap_or(false);
        let wanted = store["wanted"].as_bool().unwrap_or(false);
        let (tone, word) = match (follows, wanted) {
            (true, _) => (Tone::Good, "followed"),
            (false, true) => (Tone::Bad, "not followed"),
            (false, false) => (Tone::Dim, "stopped"),
        };
        out.push_str(&format!("{}: {}", clean(text(store, "name")), view.paint(tone, word)));
        if let Some(lag) = store["lag_seconds"].as_f64().filter(|_| follows) {
            out.push_str(&format!(", {} behind", duration(lag)));
        }
        out.push('\n');
        let standing = &store["standing"];
        if let Some(waits) = standing["waits_for"].as_str() {
            out.push_str(&format!("  {}: {}\n", view.paint(Tone::Warning, "waits"), clean(waits)));
        }
        if let Some(because) = standing["base_wanted_because"].as_str() {
            out.push_str(&format!("  {}: {}\n", view.paint(Tone::Warning, "needs a backup"), clean(because)));
        }
        if let Some(trouble) = standing["trouble"]["message"].as_str() {
            out.push_str(&format!("  {}: {}\n", view.paint(Tone::Bad, "trouble"), clean(trouble)));
        }
        for target in list(standing, "targets") {
            let until = target["stored_until"].as_str().unwrap_or("nothing yet");
            out.push_str(&format!("  {}: stored until {}", clean(text(target, "target")), clean(until)));
            if let Some(error) = target["error"]["message"].as_str() {
                out.push_str(&format!("; {}", view.paint(Tone::Bad, &clean(error))));
            }
            out.push('\n');
        }
    }
    if let Some(trouble) = value["trouble"]["message"].as_str() {
        out.push_str(&format!("{}: {}\n", view.paint(Tone::Bad, "trouble"), clean(trouble)));
    }
    out
}

/// The seconds that can be gone back to.
pub(in crate::cli) fn points(value: &Value, view: &View) -> String {
    let mut out = String::new();
    for store in list(value, "stores") {
        let (bases, coverage) = (list(store, "bases").len(), list(store, "coverage"));
        out.push_str(&format!("{}: {bases} bases\n", view.paint(Tone::Strong, &clean(text(store, "store")))));
        if coverage.is_empty() {
            out.push_str("  no second of it can be gone back to\n");
        }
        for span in coverage {
            let line = format!("from {} until {}", clean(text(span, "from")), clean(text(span, "until")));
            out.push_str(&format!("  {}\n", view.paint(Tone::Good, &line)));
        }
        for gap in list(store, "gaps") {
            let until = gap["until"].as_str().unwrap_or("now");
            let line = format!("gap from {} until {}", clean(text(gap, "from")), clean(until));
            out.push_str(&format!("  {}: {}\n", view.paint(Tone::Warning, &line), clean(text(gap, "reason"))));
        }
    }
    for failed in list(value, "failed") {
        let line = format!("target {} could not be asked", clean(text(failed, "target")));
        out.push_str(&format!("{}: {}\n", view.paint(Tone::Bad, &line), clean(text(&failed["error"], "message"))));
    }
    out
}

/// What else the operations answer.
pub(in crate::cli) fn change(value: &Value, view: &View) -> String {
    fields(value, &[], view)
}
