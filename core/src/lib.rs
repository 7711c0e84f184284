//! Operations built into your service.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests set up their own scenes"))]

pub mod alerts;
pub mod api;
pub mod backup;
pub mod cancel;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
pub mod component;
pub mod config;
pub mod continuous;
pub mod embed;
pub mod error;
pub mod fs;
pub mod health;
pub mod http;
pub mod journal;
pub mod metrics;
pub mod ops;
pub mod process;
mod remote;
pub mod schedule;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(any(feature = "postgres", feature = "s3", feature = "tls"))]
mod tls;
pub mod value;
pub mod worker;

pub use cancel::{Cancel, Progress, ProgressEvent, Scope};
pub use error::{Error, ErrorBody, ErrorKind, Result};
