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
pub mod port;
pub mod priority;
mod program;
mod stat;
#[cfg(feature = "http")]
mod unforked;
mod usage;
mod watch;

pub(crate) use capture::Capture;
pub use capture::Watcher;
pub use exit::Exit;
pub(crate) use family::kill_family;
pub use identity::{Liveness, ProcessIdentity};
#[cfg(any(feature = "postgres", feature = "sftp"))]
pub(crate) use program::last_words;
pub use program::{OUTPUT_LIMIT, Program, ProgramOutput, start_detached};
pub(crate) use program::{cannot_start, command};
pub use stat::is_ancestor;
#[cfg(feature = "http")]
pub(crate) use unforked::Unforked;
pub use usage::Usage;
pub use watch::end_with;

#[cfg(test)]
mod tests;
