//! Backups: one walker, one manifest, and where they go.

pub mod archive;
pub mod manifest;
pub mod target;

pub use target::{BackupTarget, Object, TargetCapability, Upload};
