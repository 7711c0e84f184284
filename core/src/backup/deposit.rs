//! The last steps of every object that a backup stores: read back what the target has, then show it.
//!
//! What was not read back is not stored. A target that can read before an object is visible shows nothing that is
//! wrong; with another one the object is read when it is visible, and removed when it is not what was sent.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::blocks::{Blocks, read_exact};
use super::meter::Meter;
use super::seal::{Keys, Unsealer};
use super::spool::Spooled;
use super::target::{BackupTarget, MAX_BLOCK, Upload};
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::value::ByteSize;

/// How many bytes are read back at once.
const READ_BACK: u64 = 1 << 20;
/// How long a call that is under way may take after a cancel before it is given up.
const GRACE: Duration = Duration::from_secs(2);

/// What an object must be, known once its last byte was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) stored_bytes: u64,
    pub(crate) blake3: [u8; 32],
}

/// Where an object goes.
#[derive(Debug, Clone)]
pub(in crate::backup) struct Place {
    /// The target's name.
    pub(in crate::backup) name: String,
    pub(in crate::backup) target: Arc<dyn BackupTarget>,
    pub(in crate::backup) key: String,
    /// What the object is encrypted to: it is decrypted when it is read back. None for one in clear.
    pub(in crate::backup) keys: Keys,
}

/// Reads an upload back, asks `may_show`, and makes it visible. After an error nothing is.
pub(super) async fn show(
    scope: &Scope,
    place: &Place,
    mut upload: Box<dyn Upload>,
    seal: Seal,
    may_show: impl Future<Output = Result<()>>,
) -> Result<()> {
    let before = place.target.capability().read_before_finish;
    let checked = async {
        if before {
            let mut hasher = Hasher::start(scope, place, &seal);
            while let Some(range) = hasher.next() {
                let block = in_time(scope, upload.read_back(range)).await?;
                hasher.take(block).await?;
            }
            hasher.finish(&place.name, &seal).await?;
        }
        // From here on it is not interrupted: it becomes visible, or it fails.
        may_show.await
    };
    if let Err(error) = checked.await {
        // What is wrong matters more than whether the rest could be cleared away: the next run does.
        let _ = upload.abort().await;
        return Err(error);
    }
    upload.finish().await?;
    if before { Ok(()) } else { check_visible(scope, place, &seal).await }
}

/// Stores what was gathered under a key that nobody else uses, and reads it back.
pub(super) async fn put_blocks(scope: &Scope, place: &Place, blocks: Arc<dyn Blocks>) -> Result<()> {
    if blocks.len() <= MAX_BLOCK as u64 {
        let all = blocks.len();
        return put_at_once(scope, place, &read_range(&blocks, 0..all).await?).await;
    }
    let mut upload = in_time(scope, place.target.upload(scope, &place.key, Some(blocks.len()))).await?;
    let (mut hasher, mut at) = (blake3::Hasher::new(), 0);
    let sent = async {
        while at < blocks.len() {
            let block = read_range(&blocks, at..blocks.len().min(at + READ_BACK)).await?;
            hasher.update(&block);
            at += block.len() as u64;
            in_time(scope, upload.write(&block)).await?;
        }
        Ok(())
    };
    if let Err(error) = sent.await {
        let _ = upload.abort().await;
        return Err(error);
    }
    let seal = Seal { stored_bytes: at, blake3: *hasher.finalize().as_bytes() };
    show(scope, place, upload, seal, async { Ok(()) }).await
}

/// Exactly `range`, read by a thread that may wait.
async fn read_range(blocks: &Arc<dyn Blocks>, range: Range<u64>) -> Result<Vec<u8>> {
    let blocks = Arc::clone(blocks);
    let read = tokio::task::spawn_blocking(move || read_exact(&*blocks, range));
    read.await.map_err(|error| Error::internal(format!("reading what was gathered did not end: {error}")))?
}

/// Stores a small or not so small object that is at hand, under a key that nobody else uses, and reads it back.
pub(in crate::backup) async fn put(scope: &Scope, place: &Place, bytes: &[u8]) -> Result<()> {
    if bytes.len() > MAX_BLOCK {
        return put_blocks(scope, place, Arc::new(Spooled::from(bytes.to_vec()))).await;
    }
    put_at_once(scope, place, bytes).await
}

async fn put_at_once(scope: &Scope, place: &Place, bytes: &[u8]) -> Result<()> {
    let fresh = in_time(scope, place.target.put(scope, &place.key, bytes, true)).await?;
    let back = in_time(scope, place.target.get(scope, &place.key, 0..MAX_BLOCK as u64)).await?;
    if back == bytes {
        // Ours, or ours from an attempt whose answer was lost.
        return Ok(());
    }
    if !fresh {
        return Err(Error::new(
            ErrorKind::Refused,
            format!("target {:?} has something else as {:?} already", place.name, place.key),
        )
        .with_hint("let nobody else write to the folder of the backups"));
    }
    Err(remove(scope, place, not_kept(&place.name, bytes.len() as u64)).await)
}

/// Reads back what is visible already, and removes it when it is not what was sent.
async fn check_visible(scope: &Scope, place: &Place, seal: &Seal) -> Result<()> {
    let read = async {
        let mut hasher = Hasher::start(scope, place, seal);
        while let Some(range) = hasher.next() {
            let block = in_time(scope, place.target.get(scope, &place.key, range)).await?;
            hasher.take(block).await?;
        }
        hasher.finish(&place.name, seal).await
    };
    match read.await {
        Ok(()) => Ok(()),
        Err(error) => Err(remove(scope, place, error).await),
    }
}

/// Removes an object that is wrong, whatever the caller wants by now; returns what to say.
async fn remove(scope: &Scope, place: &Place, error: Error) -> Error {
    let uncancelled = scope.uncancelled();
    match place.target.delete(&uncancelled, &place.key).await {
        Ok(()) => error,
        Err(stuck) => error.with_context("left_behind", &place.key).with_context("delete", stuck),
    }
}

fn not_kept(name: &str, stored_bytes: u64) -> Error {
    let size = ByteSize(stored_bytes);
    Error::new(ErrorKind::Corrupt, format!("target {name:?} did not keep the {size} that it was given"))
        .with_hint("look at the disk and the memory of the target; the older backups are untouched")
}

/// Hashes what is read back, while the next block is on its way.
struct Hasher {
    meter: Meter,
    at: u64,
    len: u64,
    scope: Scope,
    reading: tokio::task::JoinHandle<Result<Reading>>,
}

/// What was read back so far.
struct Reading {
    hasher: blake3::Hasher,
    /// Decrypts the same with a key that only this run has. What lies in a target is proven to open, although this host
    /// has no key for it in an hour.
    unsealer: Option<Unsealer>,
}

impl Reading {
    fn take(&mut self, block: &[u8]) -> Result<()> {
        self.hasher.update(block);
        self.unsealer.as_mut().map_or(Ok(()), |unsealer| unsealer.push(block, |_| {}))
    }

    /// Whether it is what `seal` says.
    fn is(self, seal: &Seal) -> bool {
        let opened = self.unsealer.is_none_or(|unsealer| unsealer.finish().is_ok());
        opened && self.hasher.finalize().as_bytes() == &seal.blake3
    }
}

impl Hasher {
    fn start(scope: &Scope, place: &Place, seal: &Seal) -> Self {
        let meter = Meter::start(scope, format!("reading back from {}", place.name), Some(seal.stored_bytes), None);
        let (keys, len) = (place.keys.clone(), seal.stored_bytes);
        let reading = tokio::task::spawn_blocking(move || {
            Ok(Reading { hasher: blake3::Hasher::new(), unsealer: keys.map(|keys| keys.unsealer(len)) })
        });
        Self { meter, at: 0, len, scope: scope.clone(), reading }
    }

    /// The range to read next.
    fn next(&self) -> Option<Range<u64>> {
        (self.at < self.len).then(|| self.at..self.len.min(self.at + READ_BACK))
    }

    async fn take(&mut self, block: Vec<u8>) -> Result<()> {
        self.scope.cancel.check()?;
        if block.is_empty() {
            // The length is wrong: there is nothing more to read.
            self.len = self.at;
            return Ok(());
        }
        self.at += block.len() as u64;
        self.meter.bytes(block.len() as u64);
        let reading = joined((&mut self.reading).await)?;
        self.reading = tokio::task::spawn_blocking(move || {
            let mut reading = reading?;
            reading.take(&block)?;
            Ok(reading)
        });
        Ok(())
    }

    async fn finish(self, name: &str, seal: &Seal) -> Result<()> {
        let (at, reading) = (self.at, joined(self.reading.await)?);
        // What cannot be decrypted is not what was sent either: the target is at fault.
        if at == seal.stored_bytes && reading.is_ok_and(|reading| reading.is(seal)) {
            return Ok(());
        }
        Err(not_kept(name, seal.stored_bytes))
    }
}

fn joined<T>(result: std::result::Result<T, tokio::task::JoinError>) -> Result<T> {
    result.map_err(|error| Error::internal(format!("hashing did not end: {error}")))
}

/// Waits for a call of a target. After a cancel it has a little time to end by itself.
pub(in crate::backup) async fn in_time<T>(scope: &Scope, call: impl Future<Output = Result<T>>) -> Result<T> {
    let too_late = async {
        scope.cancel.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        result = call => result,
        () = too_late => Err(Error::new(ErrorKind::Cancelled, "cancelled while waiting for a target")),
    }
}
