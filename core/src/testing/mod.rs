//! Public contract suites: what every implementation of a contract must do, as cases that can be run.
//!
//! Each clause in the documentation of a contract has a `Case` here. A suite takes a way to make a fresh
//! component and returns what became of every case, so that any test framework can report it:
//!
//! ```
//! # use std::sync::Arc;
//! # use uplifted_ops::backup::BackupTarget;
//! use uplifted_ops::testing::{MemoryTarget, assert_all, target};
//!
//! # #[tokio::main(flavor = "multi_thread")] async fn main() {
//! let outcomes = target::run(|| Arc::new(MemoryTarget::default()) as Arc<dyn BackupTarget>).await;
//! assert_all(&outcomes);
//! # }
//! ```

mod case;
pub mod check;
#[doc(hidden)]
pub mod disk;
mod faulty;
#[doc(hidden)]
pub mod ledger;
mod memory;
mod panics;
#[doc(hidden)]
pub mod parsers;
#[cfg(feature = "postgres")]
#[doc(hidden)]
pub mod postgres;
#[doc(hidden)]
pub mod random;
pub mod sink;
#[cfg(feature = "sqlite")]
pub mod sqlite_load;
pub mod store;
pub mod target;

pub use case::{Case, CaseOutcome};
pub use faulty::{Call, FaultyTarget};
pub use memory::MemoryTarget;
pub use panics::setup;

/// Lets the registry of this process go by this clock, by which its series expire; says whether it does, which it cannot once it
/// was used.
#[doc(hidden)]
pub fn set_clock_of_metrics(clock: std::sync::Arc<dyn crate::clock::Clock>) -> bool {
    crate::metrics::set_clock(clock)
}

/// Panics with every failure of a suite. For tests.
///
/// # Panics
/// When a case failed, or when there are no cases at all.
pub fn assert_all(outcomes: &[CaseOutcome]) {
    let failures: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| {
            let failure = outcome.failure.as_ref()?;
            Some(format!("{}: {failure} (the contract says: {})", outcome.name, outcome.clause))
        })
        .collect();
    assert!(!outcomes.is_empty(), "the suite has no cases");
    assert!(failures.is_empty(), "{} of {} cases failed\n{}", failures.len(), outcomes.len(), failures.join("\n"));
}
