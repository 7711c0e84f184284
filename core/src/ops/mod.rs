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

mod asking;
mod assemble;
mod blocking;
mod builder;
mod builtin;
pub(crate) mod check_history;
mod checks;
mod context;
mod drain;
mod exports;
mod follow_host;
mod follow_numbers;
mod front;
pub(crate) mod history;
mod job_host;
mod jobs;
mod operation;
mod pulse;
mod recorder;
mod recovery;
mod redis_numbers;
mod restore_kind;
mod sharing;
pub mod status;
mod store_facts;
mod store_numbers;
mod table;
mod told;

pub(crate) use assemble::worker_context;
pub use blocking::Blocking;
pub use builder::OpsBuilder;
pub use builtin::builtin_kinds;
pub use context::{Context, Kinds, Named, ProcessFacts, RunMode};
pub use front::Ops;
#[cfg(feature = "http")]
pub(crate) use front::WeakOps;
pub use history::KnownBackups;
pub use jobs::JobRoom;
pub(crate) use jobs::findings as job_findings;
pub use operation::{Answer, Effect, Entry, Lane, Operation, Place};
pub(crate) use recovery::site;
pub use redis_numbers::RedisNumbers;
pub use store_numbers::StoreNumbers;
pub use table::{TABLE, operations};
pub(crate) use table::{find_operation, similar};
pub(crate) use told::told;

#[cfg(test)]
mod tests;
