//! The table of all operations, by name.

use crate::error::{Error, ErrorKind, Result};

use super::operation::Entry;
use super::status::Status;
use crate::api::{
    backup, collect, config, continuous, drill, generate, health, health_history, history, journal, keep, keys,
    metrics, portable, restore, restore_database, restore_swap, schedule, store,
};

/// Every operation of this build, sorted by name. A new one gets one line.
pub static TABLE: &[Entry] = &[
    Entry::of::<drill::Bisect>(),
    Entry::of::<collect::Collect>(),
    Entry::of::<backup::Copy>(),
    Entry::of::<backup::Create>(),
    Entry::of::<keep::Delete>(),
    Entry::of::<drill::Drill>(),
    Entry::of::<portable::Export>(),
    Entry::of::<keep::HoldSnapshot>(),
    Entry::of::<portable::Import>(),
    Entry::of::<keys::Adopt>(),
    Entry::of::<keys::Check>(),
    Entry::of::<keys::Init>(),
    Entry::of::<keys::List>(),
    Entry::of::<keys::RewrapKeys>(),
    Entry::of::<keys::Rotate>(),
    Entry::of::<backup::List>(),
    Entry::of::<keep::Release>(),
    Entry::of::<keep::Retain>(),
    Entry::of::<drill::Sample>(),
    Entry::of::<backup::Show>(),
    Entry::of::<backup::Verify>(),
    Entry::of::<config::Check>(),
    Entry::of::<config::Init>(),
    Entry::of::<config::Show>(),
    Entry::of::<continuous::Compact>(),
    Entry::of::<continuous::Start>(),
    Entry::of::<continuous::Status>(),
    Entry::of::<continuous::Stop>(),
    Entry::of::<generate::Alerts>(),
    Entry::of::<generate::Grafana>(),
    Entry::of::<generate::Prometheus>(),
    Entry::of::<health::Check>(),
    Entry::of::<health_history::History>(),
    Entry::of::<health::State>(),
    Entry::of::<journal::Read>(),
    Entry::of::<history::History>(),
    Entry::of::<metrics::Render>(),
    Entry::of::<restore::Apply>(),
    Entry::of::<restore_database::RestoreDatabase>(),
    Entry::of::<restore::Discard>(),
    Entry::of::<restore::Plan>(),
    Entry::of::<continuous::Points>(),
    Entry::of::<restore_swap::RestoreSwap>(),
    Entry::of::<restore_swap::RestoreSwapDiscard>(),
    Entry::of::<restore_swap::RestoreSwapUndo>(),
    Entry::of::<restore::Undo>(),
    Entry::of::<restore::UndoList>(),
    Entry::of::<schedule::List>(),
    Entry::of::<schedule::Run>(),
    Entry::of::<Status>(),
    Entry::of::<store::Stats>(),
    Entry::of::<store::Verify>(),
];

/// Every operation, sorted by name: for the command line, the schemas and the generated bindings.
pub fn operations() -> impl Iterator<Item = &'static Entry> {
    TABLE.iter()
}

/// The operation called `name`, looked up in `more` and then in the table.
///
/// # Errors
/// [`ErrorKind::NotFound`] with the name that was probably meant.
pub(crate) fn find_operation(name: &str, more: &'static [Entry]) -> Result<&'static Entry> {
    more.iter().chain(TABLE).find(|entry| entry.name == name).ok_or_else(|| {
        let names = more.iter().chain(TABLE).map(|entry| entry.name);
        let hint = match similar(name, names) {
            Some(meant) => format!("did you mean {meant:?}? `uplifted-ops schema` prints all of them"),
            None => "`uplifted-ops schema` prints all of them".to_owned(),
        };
        Error::new(ErrorKind::NotFound, format!("there is no operation {name:?}")).with_hint(hint)
    })
}

/// The one of `names` that was probably meant by `word`.
pub(crate) fn similar<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Above 0.8 are swapped, missing and doubled letters; below are other words.
    let scored = names.into_iter().map(|name| (strsim::jaro_winkler(&word.to_lowercase(), name), name));
    scored.filter(|(score, _)| *score > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}
