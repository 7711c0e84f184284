//! Paths, and what is behind them.

use serde_json::{Value, json};

use crate::ops::{Effect, Entry, Ops, similar};

use super::fields::{Field, fields_of};
use super::refusal::Refusal;

/// Where the operations are.
pub(super) const API: &str = "/api/v1";

/// The paths that are no operations.
pub(super) const PLACES: [(&str, Place); 9] = [
    ("/status", Place::Status),
    ("/livez", Place::Livez),
    ("/readyz", Place::Readyz),
    ("/startupz", Place::Startupz),
    ("/health", Place::Health),
    ("/badge.svg", Place::Badge),
    ("/metrics", Place::Metrics),
    ("/api/v1/system/status", Place::System),
    (API, Place::Index),
];

/// What is at a path.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Status,
    Livez,
    Readyz,
    Startupz,
    Health,
    System,
    /// Of all checks, or of the one that the path names.
    Badge,
    Metrics,
    Index,
    /// The operation of this number.
    Operation(usize),
}

/// An operation and its path.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) entry: &'static Entry,
    pub(super) path: String,
    pub(super) fields: Vec<Field>,
}

impl Served {
    /// Whether it changes or destroys something.
    pub(super) fn writes(&self) -> bool {
        self.entry.effect != Effect::Read
    }

    fn describe(&self, mount: &str, writing: bool) -> Value {
        json!({
            "name": self.entry.name,
            "summary": self.entry.summary,
            "effect": self.entry.effect,
            "path": format!("{mount}{}", self.path),
            "methods": if self.writes() { &["POST"][..] } else { &["GET", "POST"] },
            "enabled": writing || !self.writes(),
            "fields": self.fields.iter().map(Field::describe).collect::<Vec<_>>(),
        })
    }
}

/// All paths.
#[derive(Debug)]
pub(super) struct Routes(Vec<Served>);

impl Routes {
    /// A path for each operation: `store.stats` is at `/api/v1/store/stats`.
    pub(super) fn of(ops: &Ops) -> Self {
        let served = ops.operations().map(|entry| Served {
            entry,
            path: format!("{API}/{}", entry.name.replace('.', "/")),
            fields: fields_of(&(entry.request_schema)()),
        });
        Self(served.collect())
    }

    /// What is at `path`.
    pub(super) fn find(&self, path: &str) -> Result<Place, Refusal> {
        if let Some((_, place)) = PLACES.iter().find(|(known, _)| *known == path) {
            return Ok(*place);
        }
        if badge_of(path).is_some() {
            return Ok(Place::Badge);
        }
        if let Some(number) = self.0.iter().position(|served| served.path == path) {
            return Ok(Place::Operation(number));
        }
        let known = PLACES.iter().map(|(path, _)| *path).chain(self.0.iter().map(|served| served.path.as_str()));
        let shown = cut(path);
        // Names are compared, not what stands before all of them.
        let asked = shown.strip_prefix(API).unwrap_or(&shown).trim_end_matches('/').replace('.', "/");
        let meant =
            similar(&asked, known.map(|path| path.strip_prefix(API).filter(|rest| !rest.is_empty()).unwrap_or(path)));
        let hint = match meant {
            Some(meant) if PLACES.iter().any(|(path, _)| *path == meant) => format!("did you mean {meant}?"),
            Some(meant) => format!("did you mean {API}{meant}?"),
            None => format!("{API} lists the operations"),
        };
        Err(Refusal::not_found(format!("there is nothing at {shown:?}"), hint))
    }

    pub(super) fn operation(&self, number: usize) -> &Served {
        &self.0[number]
    }

    /// The index.
    pub(super) fn describe(&self, mount: &str, writing: bool) -> Value {
        json!({
            "endpoints": PLACES.map(|(path, _)| format!("{mount}{path}")),
            "operations": self.0.iter().map(|served| served.describe(mount, writing)).collect::<Vec<_>>(),
        })
    }
}

/// The check whose badge is at `path`.
pub(super) fn badge_of(path: &str) -> Option<&str> {
    path.strip_prefix("/badge/")?.strip_suffix(".svg")
}

/// The beginning of what a caller sent, for a message.
pub(super) fn cut(text: &str) -> String {
    const SHOWN: usize = 100;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
