//! What the tests share: service folders, the command line under test, fingerprints of folders.

#![allow(missing_docs, reason = "read the tests")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "tests set up their own scenes"
)]

pub mod held;
pub mod keys;
pub mod plugins;
pub mod prometheus;
pub mod puppet;
pub mod scene;
pub mod strace;
pub mod tree;
