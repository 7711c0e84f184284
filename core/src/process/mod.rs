//! Every program that is started, and what is known of a running one.
//!
//! A [`Program`] is an argument vector, never a shell line: it has a deadline, its output is bounded, and it
//! runs in a process group of its own that is killed as a whole. [`start_detached`] starts what shall outlive
//! us. A [`ProcessIdentity`] names a process so that a reused process id is not mistaken for it.

#![allow(clippy::disallowed_methods, reason = "this room is where programs are started")]

mod capture;
mod exit;
mod family;
mod identity;
pub mod priority;
mod program;
mod stat;
mod watch;

pub(crate) use capture::Capture;
pub use exit::Exit;
pub(crate) use family::kill_family;
pub use identity::{Liveness, ProcessIdentity};
pub use program::{OUTPUT_LIMIT, Program, ProgramOutput, start_detached};
pub(crate) use program::{cannot_start, command};
pub use stat::is_ancestor;
pub use watch::end_with;

#[cfg(test)]
mod tests;
