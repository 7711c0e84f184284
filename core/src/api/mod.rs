//! The operations: every act that the product offers, by group, and the table of all of them.
//!
//! An operation is a type that implements [`Operation`](crate::ops::Operation), and one line in [`TABLE`]. It
//! appears with its types and its documentation on the command line, in `schema`, and in every language.

pub mod backup;
pub mod config;
pub mod health;
pub mod journal;
pub mod metrics;
pub mod restore;
mod snapshots;
pub mod store;

use crate::ops::Entry;

/// Every operation, sorted by name.
pub static TABLE: &[Entry] = &[
    Entry::of::<backup::Create>(),
    Entry::of::<backup::Delete>(),
    Entry::of::<backup::List>(),
    Entry::of::<backup::Show>(),
    Entry::of::<backup::Verify>(),
    Entry::of::<config::Check>(),
    Entry::of::<config::Init>(),
    Entry::of::<config::Show>(),
    Entry::of::<health::Check>(),
    Entry::of::<journal::Read>(),
    Entry::of::<metrics::Render>(),
    Entry::of::<restore::Apply>(),
    Entry::of::<restore::Plan>(),
    Entry::of::<restore::Undo>(),
    Entry::of::<restore::UndoList>(),
    Entry::of::<store::Stats>(),
    Entry::of::<store::Verify>(),
];
