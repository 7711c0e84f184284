//! The built-in places where backups go: one file each, ending in its `KIND`.

pub mod fs;
#[cfg(feature = "s3")]
pub mod s3;
#[cfg(feature = "sftp")]
pub mod sftp;
