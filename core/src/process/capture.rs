//! The bounded tail of what a program prints.

use std::collections::VecDeque;
use std::io;
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use crate::error::{Error, Result};

/// Reads a pipe to its end and keeps the last bytes of it.
pub(crate) struct Capture {
    pipe: Receiver,
    kept: VecDeque<u8>,
    limit: usize,
    dropped: u64,
    watcher: Option<Watcher>,
}

impl std::fmt::Debug for Capture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capture").field("pipe", &self.pipe).field("dropped", &self.dropped).finish_non_exhaustive()
    }
}

/// Sees every byte in its order.
pub type Watcher = Arc<dyn Fn(&[u8]) + Send + Sync>;

impl Capture {
    /// A capture, and the end that the program is given. Needs a tokio runtime.
    pub(crate) fn pipe(limit: usize) -> Result<(Self, Stdio)> {
        let (reader, writer) = io::pipe().map_err(|e| Error::io("make a pipe", e))?;
        let pipe = Receiver::from_owned_fd(reader.into()).map_err(|e| Error::io("watch a pipe", e))?;
        Ok((Self { pipe, kept: VecDeque::new(), limit, dropped: 0, watcher: None }, writer.into()))
    }

    /// Shows every byte to `watcher`, too.
    pub(crate) fn watch(&mut self, watcher: Option<Watcher>) {
        self.watcher = watcher;
    }

    /// Reads until every holder of the other end has closed it. May be dropped and called again.
    pub(crate) async fn fill(&mut self) {
        // Who watches has much to see.
        let mut buffer = vec![0_u8; if self.watcher.is_some() { 1 << 16 } else { 8192 }];
        // An error of a pipe can only mean that there is no more to read.
        while let Ok(count @ 1..) = self.pipe.read(&mut buffer).await {
            self.keep(&buffer[..count]);
        }
    }

    /// Takes what is in the pipe now. After the program's end that is all it printed, even when something it
    /// left behind still holds the other end.
    pub(crate) fn drain(&mut self) {
        let mut buffer = [0_u8; 8192];
        // Bounded: whoever is left behind may print faster than this reads.
        for _ in 0..1024 {
            match self.pipe.try_read(&mut buffer) {
                Ok(count @ 1..) => self.keep(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    }

    /// What was kept, oldest byte first.
    pub(crate) fn tail(&self) -> Vec<u8> {
        self.kept.iter().copied().collect()
    }

    /// How many bytes came before the tail.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    fn keep(&mut self, bytes: &[u8]) {
        if let Some(watcher) = &self.watcher {
            watcher(bytes);
        }
        let start = bytes.len().saturating_sub(self.limit);
        let room = self.limit - (bytes.len() - start);
        let excess = self.kept.len().saturating_sub(room);
        self.kept.drain(..excess);
        self.kept.extend(&bytes[start..]);
        self.dropped += (start + excess) as u64;
    }
}
