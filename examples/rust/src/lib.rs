//! The service's own code: a ledger in SQLite, and a writer that keeps it busy.
//!
//! It stands for any service that `uplifted-ops` is built into, so it knows nothing about backups. `main.rs`
//! shows the embedding; the demo, the stress tests and the benches use [`writer`] as their load and
//! [`ledger::verify`] as their proof.

#![allow(clippy::disallowed_methods, reason = "a host has its own clocks, files and programs")]

pub mod latency;
pub mod ledger;
pub mod stop;
pub mod writer;

/// What the service answers when something fails. It only ever prints it.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Prints a line to stdout; `?` ends the program when nobody reads it any more.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {
        std::io::Write::write_all(&mut std::io::stdout(), format!("{}\n", format_args!($($text)*)).as_bytes())
    };
}
