//! Backups: one walker, one manifest, and where they go.

pub mod archive;
pub mod blocks;
pub mod lease;
pub mod manifest;
pub mod target;
pub mod targets;
pub mod walk;

pub use target::{BackupTarget, Object, TargetCapability, Upload};
