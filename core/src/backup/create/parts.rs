//! One reading of the service for all targets: an archive that several of them get, repositories of their own, or both.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::super::archive::{ArchiveWriter, NodeHead, Special, Summary, Written};
use super::super::deposit::Seal;
use super::super::discover::Database;
use super::super::layout::{DatabaseCopy, Finished, SnapshotWriter};
use super::super::manifest::{Manifest, StoreRecord};
use super::super::seal::{KeyRing, Keys, SealedSummary, Sealer, Sink};
use super::super::walk::Found;
use super::deliver::{Fan, Sent};
use super::plan::Plan;
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};

/// What is said when every part has failed. Why, their results say.
pub(super) const NO_TARGET_LEFT: &str = "no part of the backup goes on";

/// An archive, and the targets that it goes to.
pub(super) struct ArchivePart {
    writer: ArchiveWriter,
    way: Way,
    /// The archive's key in every target.
    key: String,
    /// Without a seal the targets give up.
    seals: Vec<oneshot::Sender<Sent>>,
}

impl ArchivePart {
    pub(super) fn new(
        scope: &Scope,
        plan: &Plan,
        keys: &Keys,
        fan: Fan,
        seals: Vec<oneshot::Sender<Sent>>,
    ) -> Result<Self> {
        let way = Way::new(fan, keys)?;
        Ok(Self { writer: ArchiveWriter::new(scope, plan.options, way.sink())?, way, key: plan.key.clone(), seals })
    }
}

/// The keys of an encrypted archive, and what encrypts it while it is written.
type Encryption = (Arc<KeyRing>, Arc<Mutex<Option<Sealer>>>);

/// The archive's way to the fan: straight, or encrypted.
struct Way {
    fan: Arc<Mutex<Fan>>,
    encryption: Option<Encryption>,
}

impl Way {
    fn new(fan: Fan, keys: &Keys) -> Result<Self> {
        let fan = Arc::new(Mutex::new(fan));
        let encryption = match keys {
            None => None,
            Some(keys) => {
                let sealer = keys.sealer(push_to(&fan))?;
                Some((Arc::clone(keys), Arc::new(Mutex::new(Some(sealer)))))
            }
        };
        Ok(Self { fan, encryption })
    }

    /// Takes the archive's bytes.
    fn sink(&self) -> Sink {
        let Some((_, sealer)) = &self.encryption else { return push_to(&self.fan) };
        let sealer = Arc::clone(sealer);
        Box::new(move |bytes| match &mut *sealer.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(sealer) => sealer.write(bytes),
            None => Err(Error::internal("an archive was written to after its end")),
        })
    }

    /// Ends the stream: what the object under `key` must be, and what lies beside it.
    fn finish(self, key: &str, written: &Written) -> Result<Sent> {
        let mut sent =
            Sent { seal: Seal { stored_bytes: written.stored_bytes, blake3: written.blake3 }, summary: None };
        if let Some((keys, sealer)) = self.encryption {
            let sealer = sealer.lock().unwrap_or_else(PoisonError::into_inner).take();
            let sealed = sealer.ok_or_else(|| Error::internal("an archive was ended twice"))?.finish()?;
            let summary = SealedSummary {
                summary: Summary::from(&written.manifest),
                encrypted_to: keys.fingerprint(),
                stored_bytes: sealed.stored_bytes,
                blake3: sealed.blake3,
            };
            sent.seal = Seal { stored_bytes: sealed.stored_bytes, blake3: sealed.blake3.0 };
            sent.summary = Some(summary.write(&keys, key)?.into());
        }
        self.fan.lock().unwrap_or_else(PoisonError::into_inner).flush()?;
        Ok(sent)
    }
}

fn push_to(fan: &Arc<Mutex<Fan>>) -> Sink {
    let fan = Arc::clone(fan);
    Box::new(move |bytes| fan.lock().unwrap_or_else(PoisonError::into_inner).push(bytes))
}

impl SnapshotWriter for ArchivePart {
    fn add(&mut self, head: NodeHead, special: Special) -> Result<()> {
        self.writer.add(head, special)
    }

    fn begin_file(&mut self, head: NodeHead, size: u64, data: Option<Vec<(u64, u64)>>) -> Result<()> {
        self.writer.begin_file(head, size, data)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write(bytes)
    }

    fn end_file(&mut self, valid: Option<u64>, _steady: Option<&Found>) -> Result<()> {
        self.writer.end_file(valid)
    }

    fn finish(self: Box<Self>, manifest: Manifest) -> Result<Finished> {
        let Self { writer, way, key, seals } = *self;
        let written = writer.finish(manifest)?;
        let sent = way.finish(&key, &written)?;
        for sender in seals {
            // A target that has left already does not want it.
            let _ = sender.send(sent.clone());
        }
        Ok(Finished { manifest: written.manifest, stored_bytes: sent.seal.stored_bytes, keep: None })
    }
}

/// Several writers that get the same entries. One that fails leaves; the others go on.
#[derive(Default)]
pub(super) struct Tee {
    parts: Vec<Part>,
}

/// What became of a part.
#[allow(clippy::large_enum_variant, reason = "there are as many as targets")]
enum Part {
    Writing(Box<dyn SnapshotWriter>),
    Finished(Finished),
    Failed(Error),
}

impl Tee {
    pub(super) fn push(&mut self, writer: Box<dyn SnapshotWriter>) {
        self.parts.push(Part::Writing(writer));
    }

    /// What each part has made, in their order.
    pub(super) fn into_results(self) -> Vec<Result<Finished>> {
        let unfinished = || Error::new(ErrorKind::Cancelled, "the backup ended before it was complete");
        self.parts
            .into_iter()
            .map(|part| match part {
                Part::Writing(_) => Err(unfinished()),
                Part::Finished(finished) => Ok(finished),
                Part::Failed(error) => Err(error),
            })
            .collect()
    }

    /// Has every part do the same.
    ///
    /// # Errors
    /// A cancel, and an end of all parts: what that is about is in their results.
    fn each(&mut self, mut act: impl FnMut(&mut dyn SnapshotWriter) -> Result<()>) -> Result<()> {
        for part in &mut self.parts {
            if let Part::Writing(writer) = part
                && let Err(error) = act(&mut **writer)
            {
                if error.kind() == ErrorKind::Cancelled {
                    return Err(error);
                }
                *part = Part::Failed(error);
            }
        }
        self.check()
    }

    fn check(&self) -> Result<()> {
        if self.parts.iter().all(|part| matches!(part, Part::Failed(_))) {
            return Err(Error::new(ErrorKind::Unavailable, NO_TARGET_LEFT));
        }
        Ok(())
    }

    fn writing(&mut self) -> impl Iterator<Item = &mut Box<dyn SnapshotWriter>> {
        self.parts.iter_mut().filter_map(|part| match part {
            Part::Writing(writer) => Some(writer),
            _ => None,
        })
    }

    /// Ends the snapshot in every part. Counts are those of the first one.
    ///
    /// # Errors
    /// As in [`Tee::each`].
    pub(super) fn finish(&mut self, manifest: &Manifest) -> Result<()> {
        for part in &mut self.parts {
            let writing = std::mem::replace(part, Part::Failed(Error::internal("a part of a backup was lost")));
            *part = match writing {
                Part::Writing(writer) => match writer.finish(manifest.clone()) {
                    Ok(finished) => Part::Finished(finished),
                    Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                    Err(error) => Part::Failed(error),
                },
                other => other,
            };
        }
        self.check()
    }

    pub(super) fn knows(&mut self, found: &Found) -> bool {
        // Everybody is asked: whoever knows remembers what was asked.
        self.writing().map(|writer| writer.knows(found)).filter(|known| !known).count() == 0
    }

    pub(super) fn add_known(&mut self, found: &Found) -> Result<()> {
        self.each(|writer| writer.add_known(found))
    }

    pub(super) fn knows_database(&mut self, database: &Database) -> Option<StoreRecord> {
        let mut record = None;
        for writer in self.writing() {
            let known = writer.knows_database(database)?;
            record.get_or_insert(known);
        }
        record
    }

    pub(super) fn add_known_database(&mut self, head: &NodeHead, database: &Database) -> Result<()> {
        self.each(|writer| writer.add_known_database(head.clone(), database))
    }

    pub(super) fn add(&mut self, head: &NodeHead, special: &Special) -> Result<()> {
        self.each(|writer| writer.add(head.clone(), special.clone()))
    }

    pub(super) fn begin_file(&mut self, head: &NodeHead, size: u64, data: Option<&[(u64, u64)]>) -> Result<()> {
        self.each(|writer| writer.begin_file(head.clone(), size, data.map(<[_]>::to_vec)))
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.each(|writer| writer.write(bytes))
    }

    pub(super) fn end_file(&mut self, valid: Option<u64>, steady: Option<&Found>) -> Result<()> {
        self.each(|writer| writer.end_file(valid, steady))
    }

    pub(super) fn add_database(&mut self, head: &NodeHead, copy: &DatabaseCopy<'_>) -> Result<()> {
        self.each(|writer| writer.add_database(head.clone(), copy))
    }

    pub(super) fn remember_database(&mut self, database: &Database, record: &StoreRecord) {
        self.writing().for_each(|writer| writer.remember_database(database, record));
    }
}
