//! Backups: one walker, one manifest, and where they go.

pub mod manifest;
pub mod restore;
pub mod target;

pub use target::{BackupTarget, Object, TargetCapability, Upload};
