//! A snapshot on its way from one repository to another.
//!
//! Nothing of the one repository means anything to the other: their keys differ, and with them ids, chunks and packs. So
//! what goes across is content. It is read, every blob proven by its id and every file by its digest, and written as a
//! backup is: cut, named and compressed anew, and only what the other repository lacks is sent, whoever brought what it has.
//! A database is read page by page, and stored over the newest state of it that is there. What stays the same is what the
//! snapshot says of itself: its id, its time, label, tags, host and outcome, its manifest, and every entry.
//!
//! Its header is chained to the newest one of its new repository. The chain is about a repository, and says which headers
//! somebody took away from it; it does not say from what a backup was made.

use super::content::ContentReader;
use super::fetch::Reader;
use super::snapshot::{Snapshot, walk_tree};
use super::tree::{Content, TreeEntry};
use super::write::{RepositoryWriter, Units};
use crate::backup::archive::{NodeHead, Special};
use crate::backup::layout::{Finished, SnapshotWriter};
use crate::backup::manifest::{Entry, Manifest, Node};
use crate::backup::meter::Meter;
use crate::backup::nodes::{ContentHasher, Limits};
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};

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
    let walked = walk_tree(scope, &snapshot.header, &mut reader, |entry| {
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
