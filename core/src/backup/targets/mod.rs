//! The built-in places where backups go: one file each, ending in its `KIND`.

pub mod fs;
