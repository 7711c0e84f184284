//! Tests without a process: both ends of a connection are here.

mod calls;
mod connection;

use std::time::Duration;

use tokio::io::{DuplexStream, ReadHalf, WriteHalf, duplex, split};

use crate::cancel::ProgressEvent;

/// Longer than anything here takes: only a hang meets it.
const HANG: Duration = Duration::from_secs(60);

async fn no_hang<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, future).await.expect("hangs")
}

fn event(stage: &str, done_bytes: u64) -> ProgressEvent {
    ProgressEvent {
        stage: stage.into(),
        done_bytes,
        total_bytes: None,
        done_files: 0,
        total_files: None,
        uninterruptible: false,
    }
}

type Wire = (ReadHalf<DuplexStream>, WriteHalf<DuplexStream>);

fn wires(capacity: usize) -> (Wire, Wire) {
    let (a, b) = duplex(capacity);
    (split(a), split(b))
}
