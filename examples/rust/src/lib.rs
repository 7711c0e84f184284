//! The service's own code: a ledger in SQLite with a writer that keeps it busy, and plugins with their tools.
//!
//! It stands for any service that `uplifted-ops` is built into, so it knows nothing about backups. `main.rs`
//! and `serve.rs` show the embedding, [`adapter`] the operations in axum; the demo, the stress tests and the benches
//! use [`writer`] as their load and [`ledger::verify`] as their proof.

#![allow(clippy::disallowed_methods, reason = "a host has its own clocks, files and programs")]

pub mod adapter;
pub mod latency;
pub mod ledger;
pub mod plugins;
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
