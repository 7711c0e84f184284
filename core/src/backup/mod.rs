//! Backups: one walker, one manifest, and where they go.

pub mod manifest;
pub mod target;
pub mod targets;

pub use target::{BackupTarget, Object, TargetCapability, Upload};
