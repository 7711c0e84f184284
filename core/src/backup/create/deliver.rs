//! The archive's way to its targets: one stream, copied to one upload each, read back, and only then shown.
//!
//! Each target has a task of its own and a short queue, so that compressing and storing overlap and memory
//! stays bounded by the slowest. A target that fails leaves; the others go on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::super::lease::Lease;
use super::super::meter::Meter;
use super::super::seal::{KeyRing, MAX_SUMMARY, SUMMARY_SUFFIX, Unsealer};
use super::super::target::{BackupTarget, Upload};
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::value::ByteSize;

/// How many bytes travel together.
const BLOCK: usize = 1 << 20;
/// How many blocks wait for a target.
const QUEUE: usize = 4;
/// How many bytes are read back at once.
const READ_BACK: u64 = 4 << 20;
/// How long a call that is under way may take after a cancel before it is given up.
const GRACE: Duration = Duration::from_secs(2);

/// What the stream says when every target has left. Why, the targets know.
pub(super) const NO_TARGET_LEFT: &str = "no target takes the backup any more";

/// What the whole archive must be, known once its last byte was sent.
#[derive(Debug, Clone)]
pub(super) struct Seal {
    pub(super) stored_bytes: u64,
    pub(super) blake3: [u8; 32],
    /// What else is known of an encrypted one.
    pub(super) encrypted: Option<Arc<Encrypted>>,
}

/// What is known of an encrypted archive.
#[derive(Debug)]
pub(super) struct Encrypted {
    /// What opens it: this run's throw-away key.
    pub(super) keys: Arc<KeyRing>,
    /// The BLAKE3 of the archive before encryption.
    pub(super) plain: [u8; 32],
    /// The object to put beside it.
    pub(super) summary: Vec<u8>,
}

/// The sending end: takes the archive's bytes in order.
pub(super) struct Fan {
    pending: Vec<u8>,
    queues: Vec<mpsc::Sender<Arc<[u8]>>>,
}

/// The receiving end, for one target.
pub(super) struct Delivery {
    pub(super) name: String,
    pub(super) target: Arc<dyn BackupTarget>,
    pub(super) lease: Lease,
    pub(super) key: String,
    pub(super) blocks: mpsc::Receiver<Arc<[u8]>>,
    /// Comes when the archive is complete; dropped when it never will be.
    pub(super) seal: oneshot::Receiver<Seal>,
}

impl Fan {
    /// A sender, and as many queues as there are targets.
    pub(super) fn new(targets: usize) -> (Self, Vec<mpsc::Receiver<Arc<[u8]>>>) {
        let (queues, receivers) = (0..targets).map(|_| mpsc::channel(QUEUE)).unzip();
        (Self { pending: Vec::with_capacity(BLOCK), queues }, receivers)
    }

    /// Takes the next bytes. Waits for the slowest target, so it belongs on a thread that may wait.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let step = bytes.len().min(BLOCK - self.pending.len());
            self.pending.extend_from_slice(&bytes[..step]);
            bytes = &bytes[step..];
            if self.pending.len() == BLOCK {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Sends what has gathered.
    pub(super) fn flush(&mut self) -> Result<()> {
        if !self.pending.is_empty() {
            let block: Arc<[u8]> = self.pending.as_slice().into();
            self.pending.clear();
            self.queues.retain(|queue| queue.blocking_send(Arc::clone(&block)).is_ok());
        }
        if self.queues.is_empty() {
            return Err(Error::new(ErrorKind::Unavailable, NO_TARGET_LEFT));
        }
        Ok(())
    }
}

/// Stores the stream in one target. Nothing is visible there unless this succeeds. The lease is released in
/// any case.
pub(super) async fn deliver(scope: Scope, mut delivery: Delivery) -> Result<()> {
    let result = transfer(&scope, &mut delivery).await;
    // A lease that could not be released ends by itself; the backup is no worse for it.
    let _ = delivery.lease.release().await;
    result
}

async fn transfer(scope: &Scope, delivery: &mut Delivery) -> Result<()> {
    let Delivery { name, target, lease, key, blocks, seal } = delivery;
    let mut upload = in_time(scope, target.upload(scope, key, None)).await?;
    match write_and_check(scope, name, target, blocks, seal, &mut upload).await {
        Ok(seal) => {
            // From here on it is not interrupted: it becomes visible, or it fails.
            if let Err(error) = lease.confirm().await {
                let _ = upload.abort().await;
                return Err(error);
            }
            if let Err(error) = put_summary(scope, target, key, &seal).await {
                let _ = upload.abort().await;
                return Err(error);
            }
            if let Err(error) = upload.finish().await {
                return Err(without_summary(scope, target, key, &seal, error).await);
            }
            if !target.capability().read_before_finish {
                return check_finished(scope, name, target, key, &seal).await;
            }
            Ok(())
        }
        Err(error) => {
            // What is wrong matters more than whether the rest could be cleared away: the next run does.
            let _ = upload.abort().await;
            Err(error)
        }
    }
}

/// Puts what a list shows of an encrypted archive, before there is an archive to list.
async fn put_summary(scope: &Scope, target: &Arc<dyn BackupTarget>, key: &str, seal: &Seal) -> Result<()> {
    let Some(encrypted) = &seal.encrypted else { return Ok(()) };
    let summary = format!("{key}{SUMMARY_SUFFIX}");
    target.put(scope, &summary, &encrypted.summary, false).await?;
    let stored = target.get(scope, &summary, 0..MAX_SUMMARY).await?;
    if stored == encrypted.summary {
        return Ok(());
    }
    let error = Error::new(ErrorKind::Corrupt, format!("{:?} was not kept as it was stored", summary))
        .with_hint("look at the disk and the memory of the target; the older backups are untouched");
    Err(without_summary(scope, target, key, seal, error).await)
}

/// Takes the summary away again, when its archive does not come.
async fn without_summary(scope: &Scope, target: &Arc<dyn BackupTarget>, key: &str, seal: &Seal, error: Error) -> Error {
    if seal.encrypted.is_none() {
        return error;
    }
    let uncancelled = Scope { cancel: crate::cancel::Cancel::new(), ..scope.clone() };
    // A target that failed may have the archive all the same. Where this cannot be told or done, the next backup
    // removes what belongs to no archive.
    if matches!(target.stat(&uncancelled, key).await, Ok(None)) {
        let _ = target.delete(&uncancelled, &format!("{key}{SUMMARY_SUFFIX}")).await;
    }
    error
}

async fn write_and_check(
    scope: &Scope,
    name: &str,
    target: &Arc<dyn BackupTarget>,
    blocks: &mut mpsc::Receiver<Arc<[u8]>>,
    seal: &mut oneshot::Receiver<Seal>,
    upload: &mut Box<dyn Upload>,
) -> Result<Seal> {
    while let Some(block) = blocks.recv().await {
        scope.cancel.check()?;
        in_time(scope, upload.write(&block)).await?;
    }
    scope.cancel.check()?;
    let seal = seal.await.map_err(|_| Error::new(ErrorKind::Cancelled, "the backup ended before it was complete"))?;
    if target.capability().read_before_finish {
        let mut hasher = Hasher::start(scope, name, &seal);
        while let Some(range) = hasher.next() {
            let block = in_time(scope, upload.read_back(range)).await?;
            hasher.take(block).await?;
        }
        hasher.finish(name, &seal).await?;
    }
    Ok(seal)
}

/// Reads back what is visible already, and removes it when it is not what was sent.
async fn check_finished(
    scope: &Scope,
    name: &str,
    target: &Arc<dyn BackupTarget>,
    key: &str,
    seal: &Seal,
) -> Result<()> {
    let read = async {
        let mut hasher = Hasher::start(scope, name, seal);
        while let Some(range) = hasher.next() {
            let block = in_time(scope, target.get(scope, key, range)).await?;
            hasher.take(block).await?;
        }
        hasher.finish(name, seal).await
    };
    let Err(error) = read.await else { return Ok(()) };
    let uncancelled = Scope { cancel: crate::cancel::Cancel::new(), ..scope.clone() };
    match target.delete(&uncancelled, key).await {
        Ok(()) => Err(without_summary(scope, target, key, seal, error).await),
        Err(stuck) => Err(error.with_context("left_behind", key).with_context("delete", stuck)),
    }
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
    stored: blake3::Hasher,
    /// The same decrypted.
    opened: Option<(Unsealer, blake3::Hasher)>,
}

impl Reading {
    fn take(&mut self, block: &[u8]) -> Result<()> {
        self.stored.update(block);
        match &mut self.opened {
            Some((unsealer, plain)) => unsealer.push(block, |bytes| {
                plain.update(bytes);
            }),
            None => Ok(()),
        }
    }

    /// Whether it is what `seal` says.
    fn is(self, seal: &Seal) -> bool {
        let stored = self.stored.finalize().as_bytes() == &seal.blake3;
        let opened = self.opened.is_none_or(|(unsealer, plain)| {
            let expected = seal.encrypted.as_ref().map(|encrypted| encrypted.plain);
            unsealer.finish().is_ok() && Some(*plain.finalize().as_bytes()) == expected
        });
        stored && opened
    }
}

impl Hasher {
    fn start(scope: &Scope, name: &str, seal: &Seal) -> Self {
        let meter = Meter::start(scope, format!("reading back from {name}"), Some(seal.stored_bytes), None);
        let keys = seal.encrypted.as_ref().map(|encrypted| Arc::clone(&encrypted.keys));
        let len = seal.stored_bytes;
        let reading = tokio::task::spawn_blocking(move || {
            let opened = keys.map(|keys| (keys.unsealer(len), blake3::Hasher::new()));
            Ok(Reading { stored: blake3::Hasher::new(), opened })
        });
        Self { meter, at: 0, len, scope: scope.clone(), reading }
    }

    /// The range to read next.
    fn next(&self) -> Option<std::ops::Range<u64>> {
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
        let (at, seal_of) = (self.at, seal.clone());
        let reading = joined(self.reading.await)?;
        // What cannot be decrypted is not what was sent either: the target is at fault.
        if at == seal.stored_bytes && reading.is_ok_and(|reading| reading.is(&seal_of)) {
            return Ok(());
        }
        let size = ByteSize(seal.stored_bytes);
        Err(Error::new(ErrorKind::Corrupt, format!("target {name:?} did not keep the {size} that it was given"))
            .with_hint("look at the disk and the memory of the target; the older backups are untouched"))
    }
}

fn joined<T>(result: std::result::Result<T, tokio::task::JoinError>) -> Result<T> {
    result.map_err(|error| Error::internal(format!("hashing did not end: {error}")))
}

/// Waits for a call of a target. After a cancel it has a little time to end by itself.
async fn in_time<T>(scope: &Scope, call: impl Future<Output = Result<T>>) -> Result<T> {
    let too_late = async {
        scope.cancel.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        result = call => result,
        () = too_late => Err(Error::new(ErrorKind::Cancelled, "cancelled while waiting for a target")),
    }
}
