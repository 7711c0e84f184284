//! The front door: [`Operation`]s, the table of all of them, and [`Ops`], who runs them.
//!
//! An operation is one file with a type that implements [`Operation`], and one line in `table.rs`. Where it
//! runs, in the host or in a worker, is its [`Place`]; what it works with is a [`Context`].
//!
//! ```no_run
//! # async fn example() -> uplifted_ops::Result<()> {
//! use uplifted_ops::Scope;
//! use uplifted_ops::ops::{Ops, status::{Status, StatusRequest}};
//!
//! let ops = Ops::builder().root("/opt/uplifted").build()?;
//! let status = ops.run::<Status>(Scope::default(), StatusRequest {}).await?;
//! println!("{} is up for {} s", status.service.name, status.uptime_seconds);
//! # Ok(()) }
//! ```

mod assemble;
mod blocking;
mod builder;
mod builtin;
mod checks;
mod context;
mod exports;
mod front;
pub(crate) mod history;
mod job_host;
mod jobs;
mod operation;
mod recovery;
pub mod status;
mod table;

pub(crate) use assemble::worker_context;
pub use blocking::Blocking;
pub use builder::OpsBuilder;
pub use builtin::builtin_kinds;
pub use context::{Context, Kinds, Named, ProcessFacts, RunMode};
pub use front::Ops;
pub use jobs::JobRoom;
pub(crate) use jobs::findings as job_findings;
pub use operation::{Answer, Effect, Entry, Lane, Operation, Place};
pub(crate) use recovery::site;
pub use table::{TABLE, operations};
pub(crate) use table::{find_operation, similar};

#[cfg(test)]
mod tests;
