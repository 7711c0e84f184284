//! An archive's way to its targets, when it is made and when it is copied: one stream, copied to one upload each, read back, and only then shown.
//!
//! Each target has a task of its own and a short queue, so that compressing and storing overlap and memory
//! stays bounded by the slowest. A target that fails leaves; the others go on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::super::lease::Lease;
use super::super::meter::Meter;
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
pub(in crate::backup) const NO_TARGET_LEFT: &str = "no target takes the backup any more";

/// What the whole archive must be, known once its last byte was sent.
#[derive(Debug, Clone, Copy)]
pub(in crate::backup) struct Seal {
    pub(in crate::backup) stored_bytes: u64,
    pub(in crate::backup) blake3: [u8; 32],
}

/// The sending end: takes the archive's bytes in order.
pub(in crate::backup) struct Fan {
    pending: Vec<u8>,
    queues: Vec<mpsc::Sender<Arc<[u8]>>>,
}

/// The receiving end, for one target.
pub(in crate::backup) struct Delivery {
    pub(in crate::backup) name: String,
    pub(in crate::backup) target: Arc<dyn BackupTarget>,
    pub(in crate::backup) lease: Lease,
    pub(in crate::backup) key: String,
    /// How many bytes it will be, where that is known.
    pub(in crate::backup) expected_bytes: Option<u64>,
    pub(in crate::backup) blocks: mpsc::Receiver<Arc<[u8]>>,
    /// Comes when the archive is complete; dropped when it never will be.
    pub(in crate::backup) seal: oneshot::Receiver<Seal>,
}

impl Fan {
    /// A sender, and as many queues as there are targets.
    pub(in crate::backup) fn new(targets: usize) -> (Self, Vec<mpsc::Receiver<Arc<[u8]>>>) {
        let (queues, receivers) = (0..targets).map(|_| mpsc::channel(QUEUE)).unzip();
        (Self { pending: Vec::with_capacity(BLOCK), queues }, receivers)
    }

    /// Takes the next bytes. Waits for the slowest target, so it belongs on a thread that may wait.
    pub(in crate::backup) fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
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
    pub(in crate::backup) fn flush(&mut self) -> Result<()> {
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
pub(in crate::backup) async fn deliver(scope: Scope, mut delivery: Delivery) -> Result<()> {
    let result = transfer(&scope, &mut delivery).await;
    // A lease that could not be released ends by itself; the backup is no worse for it.
    let _ = delivery.lease.release().await;
    result
}

async fn transfer(scope: &Scope, delivery: &mut Delivery) -> Result<()> {
    let Delivery { name, target, lease, key, expected_bytes, blocks, seal } = delivery;
    let mut upload = in_time(scope, target.upload(scope, key, *expected_bytes)).await?;
    match write_and_check(scope, name, target, blocks, seal, &mut upload).await {
        Ok(seal) => {
            // From here on it is not interrupted: it becomes visible, or it fails.
            if let Err(error) = lease.confirm().await {
                let _ = upload.abort().await;
                return Err(error);
            }
            upload.finish().await?;
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
        Ok(()) => Err(error),
        Err(stuck) => Err(error.with_context("left_behind", key).with_context("delete", stuck)),
    }
}

/// Hashes what is read back, while the next block is on its way.
struct Hasher {
    meter: Meter,
    at: u64,
    len: u64,
    scope: Scope,
    hashing: tokio::task::JoinHandle<blake3::Hasher>,
}

impl Hasher {
    fn start(scope: &Scope, name: &str, seal: &Seal) -> Self {
        let meter = Meter::start(scope, format!("reading back from {name}"), Some(seal.stored_bytes), None);
        let hashing = tokio::task::spawn_blocking(blake3::Hasher::new);
        Self { meter, at: 0, len: seal.stored_bytes, scope: scope.clone(), hashing }
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
        let mut hasher = joined((&mut self.hashing).await)?;
        self.hashing = tokio::task::spawn_blocking(move || {
            hasher.update(&block);
            hasher
        });
        Ok(())
    }

    async fn finish(self, name: &str, seal: &Seal) -> Result<()> {
        let hasher = joined(self.hashing.await)?;
        if self.at == seal.stored_bytes && hasher.finalize().as_bytes() == &seal.blake3 {
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
