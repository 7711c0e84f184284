//! Metrics of several processes: real ones, which are killed, fork, and come and go.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod expiry;
mod faults;
mod native;
mod process;
mod sums;
