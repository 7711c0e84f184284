//! Responses as text for people: pure functions from JSON to a string.
//!
//! They read the JSON and not the types, so that one field more or less in a response never hides the rest:
//! what a renderer does not know is shown by [`fields`], which takes the unit from the field's name, as the
//! wire rules have it (`size_bytes`, `duration_seconds`, RFC 3339 times).

pub(super) mod backup;
pub(super) mod collect;
pub(super) mod config;
pub(super) mod continuous;
pub(super) mod drill;
mod error;
mod fields;
pub(super) mod generate;
pub(super) mod health;
pub(super) mod history;
pub(super) mod journal;
pub(super) mod keep;
pub(super) mod keys;
pub(super) mod restore;
pub(super) mod schedule;
pub(super) mod snapshot;
pub(super) mod status;
pub(super) mod store;
mod table;
mod words;

use serde_json::Value;

use crate::clock::Timestamp;

use error::inner;

pub(super) use error::error;
pub(super) use words::{clean, count, duration};

/// Shows a response.
pub(super) type Renderer = fn(&Value, &View) -> String;

/// What shows the answer of an operation wherever it was asked for: that of its own command, or the fields as they are.
pub(super) fn of_operation(name: &str) -> Renderer {
    match name {
        "backup.create" | "backup.import" => backup::create,
        "backup.list" => backup::snapshots,
        "backup.show" => snapshot::show,
        "backup.verify" => backup::verify,
        "backup.copy" => backup::copy,
        "backup.export" => backup::export,
        "backup.drill" => drill::drill,
        "backup.bisect" => drill::bisect,
        "backup.sample" => drill::sample,
        "backup.retain" => keep::retain,
        "backup.delete" => keep::delete,
        "backup.hold" => keep::hold,
        "backup.release" => keep::release,
        "backup.collect" => collect::collect,
        "config.check" => config::check,
        "continuous.status" => continuous::status,
        "restore.points" => continuous::points,
        "generate.alerts" | "generate.grafana" | "generate.prometheus" => generate::files,
        "health.check" => health::check,
        "health.history" => health::history,
        "metrics.history" => history::history,
        "restore.database" => restore::database,
        "restore.swap" | "restore.swap_discard" | "restore.swap_undo" => restore::swap,
        "store.stats" => store::stats,
        "store.verify" => store::verify,
        _ => |value, view| fields::fields(value, &[], view),
    }
}

/// Where the text goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    /// Whether it may hold colours.
    pub(super) colour: bool,
    /// What ages are measured from.
    pub(super) now: Timestamp,
}

/// How a piece of text is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    Good,
    Warning,
    Bad,
    Dim,
    Strong,
}

impl Tone {
    /// The tone of a verdict, an outcome or an effect.
    fn of(word: &str) -> Self {
        match word {
            "pass" | "ok" | "complete" | "done" | "yes" | "succeeded" | "alive" => Self::Good,
            "warn" | "warning" | "partial" | "unhealthy" | "cancelled" | "interrupted" | "skipped" => Self::Warning,
            "fail" | "failed" | "timed_out" | "error" | "damaged" | "no" | "unknown" => Self::Bad,
            _ => Self::Plain,
        }
    }
}

impl View {
    /// `text` in its tone: select graphic rendition (ECMA-48) where colours are wanted.
    pub(super) fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Dim => "2",
            Tone::Strong => "1",
        };
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// How many lines of a long list a person gets; `--json` has all of it.
const SHOWN: usize = 20;

/// The line below a list of `found` entries that says how many are left out.
fn more(found: usize) -> String {
    match found.checked_sub(SHOWN) {
        None | Some(0) => String::new(),
        Some(rest) => format!("  … and {} more; --json has all of them\n", count(rest as u64)),
    }
}

/// The text of a field; empty when it is missing or no text.
fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The number of a field.
fn number(value: &Value, name: &str) -> Option<u64> {
    value.get(name).and_then(Value::as_u64)
}

/// The entries of a field; none when it is missing or no list.
fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noon, no colours.
    pub(super) fn plain() -> View {
        View { colour: false, now: "2026-11-22T12:00:00Z".parse().unwrap() }
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        assert_eq!(plain().paint(Tone::Bad, "x"), "x");
        assert_eq!(View { colour: true, ..plain() }.paint(Tone::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
    }

    #[test]
    fn no_renderer_panics_on_an_answer_it_does_not_expect() {
        let all: [Renderer; 35] = [
            collect::collect,
            backup::create,
            backup::snapshots,
            backup::verify,
            backup::copy,
            drill::drill,
            drill::bisect,
            drill::sample,
            config::init,
            config::preview,
            config::show,
            config::check,
            continuous::status,
            continuous::points,
            continuous::change,
            generate::files,
            health::check,
            health::history,
            health::metrics,
            history::history,
            journal::read,
            keep::delete,
            keep::retain,
            keep::hold,
            keep::release,
            restore::plan,
            restore::apply,
            restore::undo,
            restore::undo_list,
            restore::discard,
            schedule::list,
            schedule::run,
            snapshot::show,
            store::stats,
            store::verify,
        ];
        let odd = [
            "null",
            "[]",
            "7",
            "\"\"",
            "{}",
            r#"{"snapshots":[1,null,{}],"checks":"x","stores":[{}],"skipped":[null],"problems":[[]],"settings":{"a":1}}"#,
            r#"{"targets":[1,{},{"decisions":[null,{"reasons":[1,{}]}],"withheld":[2]}],"deleted":[{}],"failures":[null]}"#,
            r#"{"series":[1,{"samples":[null,{"value":"x"}]}],"kept":{"span_seconds":-1},"left_out":9,"files":[2,{}],"warnings":[[]]}"#,
            r#"{"jobs":[1,{"last_run":[]},{"running":7}],"then":[null],"leader":"x","outcome":1}"#,
            r#"{"size_bytes":-1,"stored_bytes":0,"duration_seconds":1e300,"time":"never","files":"x","body":3}"#,
        ];
        for render in all {
            for text in odd {
                let _ = render(&serde_json::from_str(text).unwrap(), &plain());
            }
        }
    }
}
