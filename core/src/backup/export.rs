//! Writing a snapshot as a standard archive, whatever its layout.
//!
//! An archive is copied as it is, without its encryption. A snapshot of a repository is read entry by entry and written
//! anew. Either way the file is read back, every byte, before it appears.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::archive::{Archive, ArchiveWriter, NodeHead, Special, WriteOptions};
use super::blocks::{Blocks, FileBlocks};
use super::create::NamedTarget;
use super::list::{Found, blocking, find};
use super::manifest::{Entry, Manifest, Node, RelPath};
use super::nodes::{Limits, Roll};
use super::repository::content::ContentReader;
use super::repository::snapshot::Snapshot;
use super::seal::Keys;
use super::target::MAX_BLOCK;
use crate::cancel::{ProgressEvent, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, AtomicFile, PRIVATE_FILE};
use crate::value::ByteSize;

/// What to export, and where to.
#[derive(Debug, Clone)]
pub struct ExportJob {
    /// Where it may be.
    pub targets: Vec<NamedTarget>,
    /// What opens it when it is encrypted.
    pub keys: Keys,
    /// Whose snapshots `latest` looks among.
    pub service: Option<String>,
    /// An identifier, the beginning of one, or `latest`.
    pub snapshot: String,
    /// The file to make, absolute. Nothing is ever replaced.
    pub output: PathBuf,
    /// How it is compressed.
    pub options: WriteOptions,
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExportReport {
    /// The snapshot.
    pub snapshot_id: String,
    /// The target that it was read from.
    pub target: String,
    /// The file: a standard `.tar.zst`, in clear.
    pub output: RelPath,
    /// Its size.
    pub stored_bytes: u64,
    /// Regular files in it, hard links included.
    pub files: u64,
    /// Bytes of their content.
    pub size_bytes: u64,
    /// How long it took, in seconds.
    pub duration_seconds: f64,
}

/// Exports a snapshot from the first target whose copy is whole.
///
/// # Errors
/// [`ErrorKind::Refused`] when there is something at `output`; [`ErrorKind::NoSpace`]; [`ErrorKind::Corrupt`] when every
/// copy is damaged; those of [`find`]. After an error there is no file.
pub async fn export(scope: &Scope, job: ExportJob) -> Result<ExportReport> {
    let started = scope.clock.monotonic();
    refuse_existing(&job.output)?;
    let copies = find(scope, &job.targets, &job.keys, job.service.as_deref(), &job.snapshot).await?;
    let mut first_error = None;
    for copy in copies {
        let (opening, inner, output, options) = (copy.clone(), scope.clone(), job.output.clone(), job.options);
        let blocks = copy.blocks(scope);
        let written = blocking(move || {
            if opening.in_repository() {
                let repository = opening.repository(&inner)?;
                let (header, _) = repository.header(&opening.object.key)?;
                let snapshot = Snapshot::open(&inner, &repository, header, Limits::default().max_entries)?;
                write_archive(&inner, &snapshot, &output, options)
            } else {
                copy_archive(&inner, &*opening.open(blocks)?, &output)
            }
        });
        match written.await {
            Ok((manifest, stored_bytes)) => {
                return Ok(report(&copy, &job.output, &manifest, stored_bytes, scope, started));
            }
            Err(error) if error.kind() == ErrorKind::Corrupt => first_error = first_error.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Err(first_error.unwrap_or_else(|| Error::internal("a snapshot was found without a copy")))
}

fn report(
    copy: &Found,
    output: &Path,
    manifest: &Manifest,
    stored_bytes: u64,
    scope: &Scope,
    started: std::time::Duration,
) -> ExportReport {
    ExportReport {
        snapshot_id: copy.snapshot_id.clone(),
        target: copy.target.clone(),
        output: RelPath::new(output),
        stored_bytes,
        files: manifest.files,
        size_bytes: manifest.size_bytes,
        duration_seconds: scope.clock.monotonic().saturating_sub(started).as_secs_f64(),
    }
}

fn refuse_existing(output: &Path) -> Result<()> {
    if fs::identity(output)?.is_some() { Err(exists(output)) } else { Ok(()) }
}

fn exists(output: &Path) -> Error {
    Error::new(ErrorKind::Refused, format!("there is something at {output:?} already"))
        .with_hint("name a file that does not exist")
}

/// A file that is being written, private until its owner gives it away.
struct Output {
    file: Arc<Mutex<AtomicFile>>,
    path: PathBuf,
}

impl Output {
    fn create(output: &Path) -> Result<Self> {
        let folder = output.parent().unwrap_or(Path::new("/"));
        if !folder.is_dir() {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no folder {folder:?}"))
                .with_hint("make it, or name a file in another one"));
        }
        // An export that died has left its part of this file.
        fs::sweep_partials_of(output)?;
        let file = Arc::new(Mutex::new(AtomicFile::create(output, PRIVATE_FILE)?));
        Ok(Self { file, path: output.to_owned() })
    }

    /// Whether there is room for so many more bytes.
    fn check_room(&self, needed: u64) -> Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let free = fs::space(folder)?.free_bytes;
        if needed > free {
            let (needed, free) = (ByteSize(needed), ByteSize(free));
            return Err(Error::new(
                ErrorKind::NoSpace,
                format!("{folder:?} has {free} free, the archive needs {needed}"),
            )
            .with_hint("free space there, or name a file on another disk"));
        }
        Ok(())
    }

    #[allow(clippy::type_complexity, reason = "it is what the archive's writer takes")]
    fn sink(&self) -> Box<dyn FnMut(&[u8]) -> Result<()> + Send> {
        let file = Arc::clone(&self.file);
        Box::new(move |bytes| file.lock().unwrap_or_else(PoisonError::into_inner).out()?.write_all(bytes))
    }

    /// Reads back every byte, and makes the file appear.
    fn publish(self, scope: &Scope, threads: usize) -> Result<Manifest> {
        let hidden = {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.sync()?;
            file.out()?.path().to_owned()
        };
        let archive = Archive::open(Arc::new(FileBlocks::open(&hidden)?))?;
        if let Some(problem) = archive.verify_full(scope, threads)?.into_iter().next() {
            return Err(problem.into_error().while_doing("reading the exported archive back"));
        }
        let manifest = archive.manifest().clone();
        let file = Arc::into_inner(self.file).ok_or_else(|| Error::internal("an exported file is still written to"))?;
        if !file.into_inner().unwrap_or_else(PoisonError::into_inner).publish_new()? {
            return Err(exists(&self.path));
        }
        Ok(manifest)
    }
}

/// Copies an archive as it is.
fn copy_archive(scope: &Scope, blocks: &dyn Blocks, output: &Path) -> Result<(Manifest, u64)> {
    let out = Output::create(output)?;
    out.check_room(blocks.len())?;
    let mut sink = out.sink();
    let mut at = 0;
    while at < blocks.len() {
        scope.cancel.check()?;
        let bytes = blocks.read(at..blocks.len().min(at + MAX_BLOCK as u64))?;
        sink(&bytes)?;
        at += bytes.len() as u64;
        progress(scope, at, blocks.len());
    }
    drop(sink);
    Ok((out.publish(scope, 2)?, blocks.len()))
}

/// Writes a snapshot of a repository as an archive.
fn write_archive(scope: &Scope, snapshot: &Snapshot, output: &Path, options: WriteOptions) -> Result<(Manifest, u64)> {
    if let Some(problem) = snapshot.refusal(&Limits::default()) {
        return Err(problem.into_error());
    }
    let out = Output::create(output)?;
    // Compressed it is smaller; how much, nobody knows before.
    out.check_room(snapshot.manifest().size_bytes / 8)?;
    let mut writer = ArchiveWriter::new(scope, options, out.sink())?;
    let mut content = ContentReader::new(snapshot)?;
    let (roll, total) = (snapshot.roll(), snapshot.manifest().size_bytes);
    let mut done = 0;
    for number in 0..roll.len() {
        let entry = roll.entry(number).into_owned();
        let Entry { path, node, mode, uid, gid, mtime, mtime_nanos, xattrs, .. } = entry;
        let named = path.clone();
        let head = NodeHead { path, mode, uid, gid, mtime, mtime_nanos, xattrs };
        match node {
            Node::Dir => writer.add(head, Special::Dir)?,
            Node::Symlink { target } => writer.add(head, Special::Symlink { target })?,
            Node::HardLink { target } => writer.add(head, Special::HardLink { target })?,
            Node::Fifo => writer.add(head, Special::Fifo)?,
            Node::File { size, data, .. } => {
                writer.begin_file(head, size, data)?;
                let read = content.read(number, &mut |bytes| {
                    done += bytes.len() as u64;
                    progress(scope, done, total);
                    writer.write(bytes)
                });
                read.map_err(|error| error.while_doing(format!("{named:?}")))?;
                writer.end_file(None)?;
            }
        }
    }
    let manifest = Manifest { encrypted_to: None, ..snapshot.manifest().clone() };
    let written = writer.finish(manifest)?;
    Ok((out.publish(scope, options.threads)?, written.stored_bytes))
}

fn progress(scope: &Scope, done_bytes: u64, total: u64) {
    scope.progress.report(ProgressEvent {
        stage: "exporting".to_owned(),
        done_bytes,
        total_bytes: Some(total),
        done_files: 0,
        total_files: None,
        uninterruptible: false,
    });
}
