//! The archive's way to its targets: one stream, copied to one upload each, read back, and only then shown.
//!
//! Each target has a task of its own and a short queue, so that compressing and storing overlap and memory
//! stays bounded by the slowest. A target that fails leaves; the others go on.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::super::deposit::{Place, Seal, in_time, put, show};
use super::super::lease::Lease;
use super::super::seal::{Keys, SUMMARY_SUFFIX};
use super::super::target::BackupTarget;
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};

/// How many bytes travel together.
const BLOCK: usize = 1 << 20;
/// How many blocks wait for a target.
const QUEUE: usize = 4;

/// What the stream says when every target has left. Why, the targets know.
pub(super) const NO_TARGET_LEFT: &str = "no target takes the backup any more";

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
    /// What the archive is encrypted to.
    pub(super) keys: Keys,
    pub(super) blocks: mpsc::Receiver<Arc<[u8]>>,
    /// Comes when the archive is complete; dropped when it never will be.
    pub(super) seal: oneshot::Receiver<Sent>,
}

/// What was sent, once all of it was.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) seal: Seal,
    /// What a list shows of an encrypted archive: it is put beside it, before there is an archive to list.
    pub(super) summary: Option<Arc<[u8]>>,
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
    let Delivery { name, target, lease, key, keys, blocks, seal } = delivery;
    let mut upload = in_time(scope, target.upload(scope, key, None)).await?;
    let written = async {
        while let Some(block) = blocks.recv().await {
            scope.cancel.check()?;
            in_time(scope, upload.write(&block)).await?;
        }
        scope.cancel.check()?;
        seal.await.map_err(|_| Error::new(ErrorKind::Cancelled, "the backup ended before it was complete"))
    };
    match written.await {
        Ok(sent) => {
            let Sent { seal, summary } = sent;
            let place = Place { name: name.clone(), target: Arc::clone(target), key: key.clone(), keys: keys.clone() };
            let may_show = async {
                lease.confirm().await?;
                match &summary {
                    Some(summary) => put(scope, &summary_place(&place), summary).await,
                    None => Ok(()),
                }
            };
            let shown = show(scope, &place, upload, seal, may_show).await;
            if shown.is_err() && summary.is_some() {
                remove_summary(scope, &place).await;
            }
            shown
        }
        Err(error) => {
            // What is wrong matters more than whether the rest could be cleared away: the next run does.
            let _ = upload.abort().await;
            Err(error)
        }
    }
}

fn summary_place(place: &Place) -> Place {
    Place { key: format!("{}{SUMMARY_SUFFIX}", place.key), keys: None, ..place.clone() }
}

/// Takes the summary away again when its archive did not come. A target that failed may have the archive all the
/// same; where this cannot be told or done, the next backup removes what belongs to no archive.
async fn remove_summary(scope: &Scope, place: &Place) {
    let uncancelled = scope.uncancelled();
    if matches!(place.target.stat(&uncancelled, &place.key).await, Ok(None)) {
        let _ = place.target.delete(&uncancelled, &summary_place(place).key).await;
    }
}
