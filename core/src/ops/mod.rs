//! The front door: [`Operation`]s, the table of all of them, and who runs them.

mod context;
mod operation;

pub use context::{Context, Kinds, Named, RunMode};
pub use operation::{Answer, Effect, Entry, Lane, Operation, Place};
