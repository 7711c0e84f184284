//! An S3 server on loopback, and a proxy in front of it that breaks what passes.

#![allow(missing_docs, reason = "read the tests")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests set up their own scenes")]

pub mod proxy;
pub mod server;
pub mod tls;

pub use proxy::{Proxy, Request, Trick};
pub use server::Server;
pub use tls::{Authority, TlsProxy};
