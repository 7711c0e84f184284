//! Components written in another language, played by Rust objects that speak JSON.

#![allow(clippy::disallowed_methods, reason = "tests set up their own scenes")]

mod hazards;
mod operations;
mod registering;
mod shapes;
mod suites;

use std::time::Duration;

use tempfile::TempDir;
use uplifted_ops::config::Settings;
use uplifted_ops::ops::{Ops, OpsBuilder};
use uplifted_ops_tests::puppet;

/// The program that is a worker.
const FIXTURE: &str = env!("CARGO_BIN_EXE_worker-fixture");

/// Longer than anything here takes: only a hang meets it.
const HANG: Duration = Duration::from_secs(60);

async fn no_hang<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, future).await.expect("hangs")
}

/// A root folder with nothing in it, and a builder for it.
fn builder() -> (TempDir, OpsBuilder) {
    let folder = tempfile::tempdir().unwrap();
    let builder = Ops::builder()
        .root(folder.path())
        .settings(Settings::default())
        .setup(puppet::setup())
        .worker_command([FIXTURE]);
    (folder, builder)
}
