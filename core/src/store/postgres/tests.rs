//! The store against real servers, each of its own.

mod backing;
mod checking;
mod connecting;
mod looking;
mod physical;
mod restoring;
mod suite;
mod swapping;

use super::*;
use crate::testing::postgres::{PostgresOptions, PostgresServer};

/// A port that nobody listens on.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn server_at(url: impl Into<String>, root: &Path) -> Server {
    let settings = PostgresSettings::new(url);
    Server::new(settings, root).unwrap()
}

fn server(url: impl Into<String>) -> Server {
    server_at(url, Path::new("/nonexistent"))
}

/// Why a connection is refused: the message, the hint, and the kind.
async fn refused(url: impl Into<String>) -> Error {
    let error = server(url).connect(&Scope::default()).await.unwrap_err();
    let told = format!("{error:?} {:?}", error.to_body());
    assert!(!told.contains("hunter2") && error.hint().is_some(), "{told}");
    error
}
