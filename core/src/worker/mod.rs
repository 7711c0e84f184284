//! The worker: a child process for the work that reads the service's files.
//!
//! POSIX file locks belong to the process: closing *any* descriptor of a database file drops every lock that
//! the process holds on it. So nothing in the host's process opens a file that may be a live database; what
//! must, runs here.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `frame`, `protocol` | what crosses the pipes: bounded frames, the greeting, the messages |
//! | `outbox`, `peer` | one end of the connection: calls in both directions, back-pressure, cancellation |
//! | `entry`, `server` | the worker process, and what it does when it is called |
//! | `spawn`, `child`, `pool` | the host's side: starting, watching, lending and ending workers |
//! | `components`, `serve`, `link` | a component that lives in the other process; its proxies are in `remote` |
//!
//! A Rust host says at the very start of `main` that it may be a worker:
//!
//! ```no_run
//! uplifted_ops::worker::run_if_worker();
//! // … the service
//! ```

mod child;
mod components;
mod entry;
mod frame;
mod link;
mod outbox;
mod panics;
mod peer;
mod pool;
mod protocol;
mod serve;
mod server;
mod spawn;

pub(crate) use components::{Components, Placed, PlacedContract};
pub use entry::{Setup, run, run_if_worker, run_if_worker_with, started_as_worker};
pub(crate) use link::PoolLink;
pub(crate) use panics::CatchPanic;
pub(crate) use pool::{Pool, Request as WorkerRequest};
pub use protocol::PROTOCOL_VERSION;
pub(crate) use protocol::{Configuration, FollowCall, RunRequest, method};
pub(crate) use spawn::Launch;

/// The hidden argument that makes a program a worker. The lane and the host's identity follow it.
pub const MARKER: &str = "__uplifted_ops_worker";

#[cfg(test)]
mod tests;
