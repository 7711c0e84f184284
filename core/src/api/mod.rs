//! The operations: every act that the product offers, by group.
//!
//! An operation is a type that implements [`Operation`](crate::ops::Operation), and one line in
//! [`TABLE`](crate::ops::TABLE). It appears with its types and its documentation on the command line, in `schema`, and in every language.

pub mod backup;
pub mod collect;
pub mod config;
pub mod continuous;
pub mod drill;
pub mod generate;
pub mod health;
pub mod health_history;
pub mod history;
pub mod journal;
pub mod keep;
mod keyring;
pub mod keys;
pub mod metrics;
mod moment;
pub mod portable;
pub mod restore;
pub mod restore_database;
pub mod restore_swap;
pub mod schedule;
mod snapshots;
pub mod store;
