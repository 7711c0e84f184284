//! The target's end of a run: stores packs and their indexes as they come, and the header last.
//!
//! A pack is read back and followed by its index while the next one is being stored already. A run that ends early
//! leaves packs with an index, which the next run uses, and nothing that looks like a snapshot.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::collecting::guard::Marks;
use super::header::Header;
use super::id::IdKey;
use super::names;
use super::packs::{PackEnd, Step};
use crate::backup::deposit::{Place, in_time, put, put_blocks, show};
use crate::backup::lease::Lease;
use crate::backup::seal::Keys;
use crate::backup::target::{BackupTarget, Upload};
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};

/// How many packs are being read back at once.
const FINISHING: usize = 2;

/// The last step: the snapshot becomes visible.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) header: Header,
    pub(crate) key: IdKey,
    /// What the collect records said when the run began.
    pub(crate) marks: Marks,
}

/// The receiving end, for one target.
#[derive(Debug)]
pub(crate) struct RepositoryDelivery {
    pub(crate) name: String,
    pub(crate) target: Arc<dyn BackupTarget>,
    /// The right to write, where the target cannot create an object only if it is absent.
    pub(crate) lease: Option<Lease>,
    pub(crate) steps: mpsc::Receiver<Step>,
    /// What packs are encrypted to; none in clear.
    pub(crate) keys: Keys,
}

impl RepositoryDelivery {
    /// Stores everything. The snapshot is visible when this succeeds, and not otherwise.
    pub(crate) async fn run(mut self, scope: Scope) -> Result<()> {
        let result = self.transfer(&scope).await;
        if let Some(lease) = self.lease.take() {
            // A lease that could not be released ends by itself; the backup is no worse for it.
            let _ = lease.release().await;
        }
        result
    }

    async fn transfer(&mut self, scope: &Scope) -> Result<()> {
        let mut finishing: JoinSet<Result<()>> = JoinSet::new();
        let mut current: Option<(Place, Box<dyn Upload>)> = None;
        let stored = self.store(scope, &mut current, &mut finishing).await;
        if let Some((_, upload)) = current {
            // What is wrong matters more than whether the rest could be cleared away: the next run does.
            let _ = upload.abort().await;
        }
        // Whatever is under way ends by itself, also after a cancel: nothing works on behind the caller's back.
        let mut ended = Ok(());
        while let Some(pack) = finishing.join_next().await {
            ended = ended.and(joined(pack));
        }
        match stored.and_then(|commit| ended.map(|()| commit))? {
            Some(commit) => self.show(scope, *commit).await,
            None => Err(Error::new(ErrorKind::Cancelled, "the backup ended before it was complete")),
        }
    }

    /// Stores the packs, up to the commit.
    async fn store(
        &mut self,
        scope: &Scope,
        current: &mut Option<(Place, Box<dyn Upload>)>,
        finishing: &mut JoinSet<Result<()>>,
    ) -> Result<Option<Box<Commit>>> {
        while let Some(step) = self.steps.recv().await {
            scope.cancel.check()?;
            while let Some(pack) = finishing.try_join_next() {
                joined(pack)?;
            }
            match (step, current.take()) {
                (Step::Begin(key), None) => {
                    self.is_still_there(scope).await?;
                    let place = Place { keys: self.keys.clone(), ..self.place(key) };
                    let upload = in_time(scope, self.target.upload(scope, &place.key, None)).await?;
                    *current = Some((place, upload));
                }
                (Step::Bytes(bytes), Some((place, upload))) => {
                    let (_, upload) = current.insert((place, upload));
                    in_time(scope, upload.write(&bytes)).await?;
                }
                (Step::End(end), Some((place, upload))) => {
                    while finishing.len() >= FINISHING
                        && let Some(pack) = finishing.join_next().await
                    {
                        if let Err(error) = joined(pack) {
                            *current = Some((place, upload));
                            return Err(error);
                        }
                    }
                    finishing.spawn(finish(scope.clone(), place, upload, end));
                }
                (Step::Index(key, index), None) => put_blocks(scope, &self.place(key), Arc::new(index)).await?,
                (Step::Commit(commit), None) => return Ok(Some(commit)),
                (_, before) => {
                    *current = before;
                    return Err(Error::internal("the steps of a backup came out of order"));
                }
            }
        }
        Ok(None)
    }

    /// Puts the header, when everything that it needs is there, and nobody collects it.
    async fn show(&self, scope: &Scope, commit: Commit) -> Result<()> {
        let Commit { header, key, marks } = commit;
        let packs = header.packs.iter().map(|pack| pack.id);
        let cleared = in_time(scope, marks.confirm(scope, &*self.target, packs)).await?;
        if let Some(lease) = &self.lease {
            lease.confirm().await?;
        }
        let place = self.place(names::snapshot(header.time, header.snapshot));
        let (bytes, mac) = header.write(&key);
        scope.cancel.check()?;
        // From here on it is not interrupted: the snapshot becomes visible and is safe, or this fails.
        let uncancelled = scope.uncancelled();
        put(&uncancelled, &place, &bytes).await?;
        if let Err(error) = self.is_still_there(&uncancelled).await {
            // Put where nothing else is, it is no snapshot. A target that does not answer has it, read back.
            if error.kind() == ErrorKind::NotFound {
                let _ = self.target.delete(&uncancelled, &place.key).await;
                return Err(error);
            }
        }
        let shown = cleared.shown(&uncancelled, &*self.target, &place.key, (header.snapshot, mac)).await;
        shown.map_err(|error| error.with_context("target", &self.name))
    }

    /// Whether the repository is where it was when the run began. Where a disk was unmounted meanwhile, the empty folder that
    /// was below it takes every pack, on a disk that is not meant for them.
    async fn is_still_there(&self, scope: &Scope) -> Result<()> {
        match in_time(scope, self.target.stat(scope, names::RECOVER_TEXT)).await? {
            Some(_) => Ok(()),
            None => Err(Error::new(
                ErrorKind::NotFound,
                format!(
                    "target {:?} has no repository any more: its disk was unmounted, or somebody emptied it",
                    self.name
                ),
            )
            .with_hint("mount the disk again and look at the target, then run the backup again")),
        }
    }

    fn place(&self, key: String) -> Place {
        Place { name: self.name.clone(), target: Arc::clone(&self.target), key, keys: None }
    }
}

/// Shows a pack, and at once its index.
async fn finish(scope: Scope, place: Place, upload: Box<dyn Upload>, end: PackEnd) -> Result<()> {
    show(&scope, &place, upload, end.seal, async { Ok(()) }).await?;
    put_blocks(&scope, &Place { key: end.index_key, keys: None, ..place }, Arc::new(end.index)).await
}

fn joined(result: std::result::Result<Result<()>, tokio::task::JoinError>) -> Result<()> {
    result.map_err(|error| Error::internal(format!("storing a pack did not end: {error}")))?
}
