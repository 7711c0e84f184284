//! Suites that check an implementation of a contract, clause by clause, and what they need.

#[cfg(feature = "sqlite")]
pub mod sqlite_load;
pub mod store;
