//! A snapshot on its way from one repository to another.
//!
//! Nothing of the one repository means anything to the other: their keys differ, and with them ids, chunks and packs. So
//! what goes across is content. It is read, every blob proven by its id and every file by its digest, and written as a
//! backup is: cut, named and compressed anew, and only what the other repository lacks is sent, whoever brought what it has.
//! A database is read page by page, and stored over the newest state of it that is there. What stays the same is what the
//! snapshot says of itself: its id, its time, label, tags, host and outcome, its manifest, and every entry.
//!
//! What is sealed has to be opened for that. Without the identity there is another way, between two repositories of one
//! identity: their ids are made with the same key, so the packs that a snapshot needs mean the same there, and go across as
//! they are, each once. Their bytes are proven by the digests of the header, and what is in them by nobody. It shares what was
//! sent before, and not what the other repository was given by backups of its own, whose packs are other ones.
//!
//! Its header is chained to the newest one of its new repository. The chain is about a repository, and says which headers
//! somebody took away from it; it does not say from what a backup was made.

use std::collections::HashMap;

use tokio::sync::mpsc;

use super::content::ContentReader;
use super::deliver::Commit;
use super::fetch::Reader;
use super::header::{Counts, Header, NeededPack};
use super::id::PackId;
use super::index::{self, Lines};
use super::names;
use super::open::Repository;
use super::packs::{GONE, PackEnd, Step};
use super::prepare::{MAX_INDEX, Prepared};
use super::snapshot::{Snapshot, walk_tree};
use super::tree::{Content, TreeEntry};
use super::write::{RepositoryWriter, Units};
use crate::backup::archive::{NodeHead, Special};
use crate::backup::blocks::read_exact;
use crate::backup::deposit::Seal;
use crate::backup::layout::{Finished, SnapshotWriter};
use crate::backup::manifest::{Digest, Entry, Manifest, Node};
use crate::backup::meter::Meter;
use crate::backup::nodes::{ContentHasher, Limits};
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};

/// How much of a pack travels at once.
const BLOCK: u64 = 1 << 20;

/// Writes all of `snapshot` into another repository, under `manifest`. It blocks.
///
/// # Errors
/// [`ErrorKind::Corrupt`] at the first damage, with what is hit named: nothing of it becomes visible then. Those of reading
/// and of writing.
pub(in crate::backup) fn transfer(
    scope: &Scope,
    snapshot: &Snapshot,
    manifest: Manifest,
    writer: RepositoryWriter,
) -> Result<Finished> {
    if let Some(problem) = snapshot.problems().first().cloned().or_else(|| snapshot.refusal(&Limits::default())) {
        return Err(problem.into_error());
    }
    let mut reader = Reader::new(&snapshot.packs)?;
    let mut across = Across {
        scope: scope.clone(),
        content: ContentReader::new(snapshot)?,
        writer: Box::new(writer),
        meter: Meter::start(
            scope,
            format!("copying {}", manifest.snapshot_id),
            Some(manifest.size_bytes),
            Some(manifest.files),
        ),
        number: 0,
    };
    // Damage of the tree is for the walk to tell; what the entries have to say is kept apart.
    let mut failed = None;
    let walked = walk_tree(scope, &snapshot.header, &mut reader, None, |entry| {
        let name = entry.entry.path.clone();
        across.take(entry).map_err(|error| {
            failed = Some(error.while_doing(format!("{name:?}")));
            Error::new(ErrorKind::Cancelled, "an entry could not be copied")
        })
    });
    if let Some(error) = failed {
        return Err(error);
    }
    if let Some(problem) = walked?.into_iter().next() {
        return Err(problem.into_error());
    }
    across.writer.finish(manifest)
}

/// Sends the packs that a sealed snapshot needs, as they are, to another repository of the same identity. Returns how many
/// bytes were missing there. It blocks.
///
/// # Errors
/// [`ErrorKind::Denied`] when the identity is another one; [`ErrorKind::Corrupt`] for a pack that is damaged;
/// [`ErrorKind::Busy`] for one that the other repository has condemned, and is about to delete.
pub(in crate::backup) fn forward(
    scope: &Scope,
    source: &Repository,
    header: Header,
    prepared: Prepared,
    out: &mpsc::Sender<Step>,
) -> Result<u64> {
    let Prepared { repository, known, previous, marks, .. } = prepared;
    if repository.id != source.id {
        return Err(Error::new(
            ErrorKind::Denied,
            format!(
                "snapshot {} is sealed to the keys of another repository, and no identity was given",
                header.snapshot
            ),
        )
        .with_hint("pass identity_file (--identity-file FILE): it is opened on its way"));
    }
    let send = |step| out.blocking_send(step).map_err(|_| Error::new(ErrorKind::Unavailable, GONE));
    let here: HashMap<PackId, bool> = known.packs().iter().map(|known| (known.pack.id, known.usable)).collect();
    let total = header.packs.iter().filter(|pack| !here.contains_key(&pack.id)).map(|pack| pack.stored_bytes).sum();
    let mut meter = Meter::start(scope, format!("copying {}", header.snapshot), Some(total), None);
    let mut stored = 0;
    for pack in &header.packs {
        scope.cancel.check()?;
        match here.get(&pack.id) {
            Some(true) => continue,
            Some(false) => {
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!("pack {} is condemned in the repository that it would go to", pack.id),
                )
                .with_hint("copy the snapshot when it is collected there (`uplifted-ops backup collect`), or with the identity"));
            }
            None => {}
        }
        let index_key = names::index(pack.id);
        let index = source.objects.read(&index_key, MAX_INDEX)?;
        index::read(&index, source.id, pack.id, &source.key, Lines::Blobs, |_| Ok(()))?;
        let key = names::pack(pack.id, pack.fingerprint.is_some());
        if repository.objects.exists(&key)? {
            // A copy ended between the two.
            read_pack(scope, &repository, pack, |_| Ok(()))?;
            send(Step::Index(index_key, index.into()))?;
            continue;
        }
        stored += pack.stored_bytes + index.len() as u64;
        send(Step::Begin(key))?;
        read_pack(scope, source, pack, |bytes| {
            meter.bytes(bytes.len() as u64);
            send(Step::Bytes(bytes.into()))
        })?;
        let seal = Seal { stored_bytes: pack.stored_bytes, blake3: pack.digest.0 };
        send(Step::End(PackEnd { seal, index_key, index: index.into() }))?;
    }
    let header = Header { previous, counts: Counts { stored, ..header.counts }, ..header };
    send(Step::Commit(Box::new(Commit { header, key: repository.key.clone(), marks })))?;
    Ok(stored)
}

/// Reads what is stored of a pack, and holds it against its digest when it has come to its end.
fn read_pack(
    scope: &Scope,
    repository: &Repository,
    pack: &NeededPack,
    mut each: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let blocks = repository.stored_pack(pack);
    let (mut hasher, mut at) = (blake3::Hasher::new(), 0);
    while at < pack.stored_bytes {
        scope.cancel.check()?;
        let bytes = read_exact(blocks.as_ref(), at..pack.stored_bytes.min(at + BLOCK))?;
        hasher.update(&bytes);
        each(&bytes)?;
        at += bytes.len() as u64;
    }
    if Digest(*hasher.finalize().as_bytes()) == pack.digest {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Corrupt, format!("pack {} is damaged: it is not what it was", pack.id))
        .with_hint("use another snapshot, or another copy of this one"))
}

/// What lies between two repositories.
struct Across<'a> {
    scope: Scope,
    content: ContentReader<'a>,
    writer: Box<RepositoryWriter>,
    meter: Meter,
    /// The number of the next entry.
    number: u32,
}

impl Across<'_> {
    fn take(&mut self, entry: TreeEntry) -> Result<()> {
        let TreeEntry { entry, content } = entry;
        let Entry { path, node, mode, uid, gid, mtime, mtime_nanos, xattrs, .. } = entry;
        let head = NodeHead { path, mode, uid, gid, mtime, mtime_nanos, xattrs };
        let number = self.number;
        self.number += 1;
        match (node, content) {
            (Node::Dir, _) => self.writer.add(head, Special::Dir),
            (Node::Symlink { target }, _) => self.writer.add(head, Special::Symlink { target }),
            (Node::HardLink { target }, _) => self.writer.add(head, Special::HardLink { target }),
            (Node::Fifo, _) => self.writer.add(head, Special::Fifo),
            (Node::File { size, .. }, Content::Pages { map, .. }) => {
                self.meter.file();
                let mut source = self.content.database(&map, size)?;
                let unit = source.unit();
                let meter = Meter::start(&self.scope, format!("copying database {}", head.path), Some(size), Some(1));
                let unreadable = |error: std::io::Error| match error.downcast::<Error>() {
                    Ok(error) => error,
                    Err(error) => Error::new(ErrorKind::Corrupt, format!("it ends early: {error}")),
                };
                let units = Units { source: &mut source, length: size, unit, meter, unreadable: &unreadable };
                self.writer.add_units(head, units)?;
                self.writer.keep_pages();
                Ok(())
            }
            (Node::File { size, blake3, data, .. }, _) => {
                self.meter.file();
                let Self { scope, content, writer, meter, .. } = self;
                let mut hasher = ContentHasher::default();
                writer.begin_file(head, size, data.clone())?;
                content.read(number, &mut |bytes| {
                    hasher.update(data.as_deref(), u64::MAX, bytes, &scope.cancel)?;
                    meter.bytes(bytes.len() as u64);
                    writer.write(bytes)
                })?;
                let found = hasher.finish(size, &scope.cancel)?;
                if blake3.is_some_and(|digest| digest != found) {
                    return Err(Error::new(ErrorKind::Corrupt, "its content is not what its checksum says")
                        .with_hint("use another snapshot, or another copy of this one"));
                }
                writer.end_file(None, None)
            }
        }
    }
}
