//! Keys, wrapping and streams, against the real `age` where it matters.

mod archives;
mod keys;
mod missing;
mod plain_age;
mod recovering;
mod repository;
mod streams;

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use super::*;
use crate::backup::blocks::Blocks;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::testing::random::{self, Rng, noise};

/// Bytes in memory that count what is read of them.
struct Bytes {
    bytes: Vec<u8>,
    read: Mutex<u64>,
}

impl Bytes {
    fn new(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self { bytes, read: Mutex::new(0) })
    }

    /// How much was read since the last time.
    fn taken(&self) -> u64 {
        std::mem::take(&mut self.read.lock().unwrap())
    }
}

impl Blocks for Bytes {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, range: std::ops::Range<u64>) -> Result<Vec<u8>> {
        let end = (range.end as usize).min(self.bytes.len());
        *self.read.lock().unwrap() += end as u64 - range.start;
        Ok(self.bytes[range.start as usize..end].to_vec())
    }
}

fn key() -> RepositoryKey {
    RepositoryKey::generate("2026-11-22T18:16:21Z".parse::<Timestamp>().unwrap()).unwrap()
}

/// Encrypts `plain` as a run of `ring` does, in pieces of uneven sizes.
fn sealed(ring: &KeyRing, plain: &[u8]) -> Vec<u8> {
    let out = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&out);
    let mut sealer = ring
        .sealer(Box::new(move |bytes| {
            sink.lock().unwrap().extend_from_slice(bytes);
            Ok(())
        }))
        .unwrap();
    for piece in plain.chunks(50_001) {
        sealer.write(piece).unwrap();
    }
    let done = sealer.finish().unwrap();
    let bytes = out.lock().unwrap().clone();
    assert_eq!((done.stored_bytes, done.plain_bytes), (bytes.len() as u64, plain.len() as u64));
    assert_eq!(done.blake3, crate::backup::manifest::Digest::of(&bytes));
    bytes
}

/// A program of the system, which the test cannot do without.
fn program(name: &str) -> Command {
    let found = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|paths| std::env::split_paths(&paths).collect::<Vec<PathBuf>>())
        .any(|folder| folder.join(name).is_file());
    assert!(found, "{name} is missing: run `make setup`, or install its Debian package");
    Command::new(name)
}
