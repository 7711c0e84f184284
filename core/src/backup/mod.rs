//! Backups: one walker, one manifest, and where they go.

pub mod archive;
pub mod bisect;
pub mod blocks;
pub mod checkers;
pub mod collect;
pub mod copy;
pub mod create;
pub mod decorate;
pub mod delete;
mod deposit;
pub mod discover;
pub mod drill;
pub mod export;
#[cfg(test)]
pub(crate) mod fake_snapshot;
#[cfg(test)]
mod fake_store;
pub(crate) mod frames;
pub mod import;
mod kept;
pub mod layout;
pub mod lease;
pub mod list;
pub mod manifest;
pub(crate) mod memory;
mod meter;
pub mod nodes;
mod opens;
mod packing;
pub mod pause;
mod pool;
pub mod probe;
pub(crate) mod repository;
pub mod restore;
pub mod retention;
pub mod sample;
mod scout;
pub mod scratch;
pub mod seal;
mod spool;
pub mod tags;
pub mod target;
mod target_clock;
pub mod targets;
pub mod verify;
pub mod walk;

pub use target::{BackupTarget, Object, TargetCapability, Upload};
