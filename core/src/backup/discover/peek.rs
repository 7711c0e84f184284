//! The first bytes of files, read by a few threads: on a cold disk each is a wait, and one after the other they took a
//! sixth of a first backup.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::super::pool::Pool;
use super::super::walk::Found;
use super::open_for_reading;
use crate::error::{Error, Result};

/// The most that a store needs to see of a file to recognise it.
const HEAD: usize = 512;
/// They wait for the disk, so there are more than processors.
const THREADS: usize = 8;
/// How many files are being looked at, or wait for the one before.
const AHEAD: u64 = 64;

/// Files on their way to their first bytes, and back in the same order.
pub(super) struct Peeking(Pool<Found, (Found, Vec<u8>)>);

impl Peeking {
    /// Starts the threads. Every file is closed when it is dropped.
    pub(super) fn start(root: &OwnedFd) -> Result<Self> {
        let worker = |_| {
            let root = root.try_clone().map_err(|error| Error::io("look into the service's folder", error))?;
            Ok(move |found: Found| {
                let head = peek(&root, found.path.as_path());
                (found, head)
            })
        };
        let workers: Vec<_> = (0..THREADS).map(worker).collect::<Result<_>>()?;
        Pool::new(workers).map(Self)
    }

    pub(super) fn has_room(&self) -> bool {
        self.0.in_flight() < AHEAD
    }

    pub(super) fn submit(&mut self, found: Found) -> Result<()> {
        self.0.submit(found)
    }

    /// The oldest file under way, and its first bytes.
    pub(super) fn next(&mut self) -> Result<Option<(Found, Vec<u8>)>> {
        if self.0.in_flight() == 0 {
            return Ok(None);
        }
        self.0.next().map(Some)
    }
}

/// The first bytes of a file, fewer or none when it cannot be read: storing it will say why.
pub(super) fn peek(root: &OwnedFd, path: &Path) -> Vec<u8> {
    let mut head = vec![0; HEAD];
    let mut have = 0;
    if let Ok(file) = open_for_reading(root, path) {
        while have < HEAD {
            match rustix::io::pread(file.as_fd(), &mut head[have..], have as u64) {
                Ok(0) => break,
                Ok(read) => have += read,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
        }
    }
    head.truncate(have);
    head
}
