//! Taking in an archive that lies in a file: one of ours, or one that `tar` made, such as the guide's
//! `uplifted_*.tar.gz`.
//!
//! What is in it goes the way of a backup: it is put into scratch, its databases are recognised and copied by their engines
//! (which plays a write-ahead log that was copied beside one into the copy, and checks it), and the result becomes a
//! snapshot in the targets, in the layout and with the encryption of the settings. Its time is that of what is in it, so that it
//! takes its place among the others.

mod open;

use std::cell::Cell;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::open::{is_file, open_file};
use super::archive::{Archive, ArchiveWriter, NodeHead, Special, WriteOptions};
use super::blocks::FileBlocks;
use super::create::{CreateJob, CreateReport, create};
use super::list::blocking;
use super::manifest::{Included, Manifest, Node, Outcome, RelPath};
use super::nodes::{ExtractOptions, Limits, Selection, check_limits, totals};
use super::scratch::Scratch;
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, Dir, OutFile, PRIVATE_FILE};
use crate::store::CheckDepth;
use crate::value::ByteSize;

/// What to import, and how it is stored.
#[derive(Debug, Clone)]
pub struct ImportJob {
    /// The file.
    pub path: PathBuf,
    /// How the snapshot is made. Its root, what it includes, its databases and its time are those of the file.
    pub create: CreateJob,
    /// Where the file is unpacked, absolute.
    pub scratch: PathBuf,
    /// Allows `scratch` to be in memory.
    pub scratch_in_memory: bool,
    /// What the file may at most hold.
    pub limits: Limits,
}

/// What was imported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ImportReport {
    /// The snapshot that was made of it.
    #[serde(flatten)]
    pub created: CreateReport,
    /// The time of the snapshot: that of the imported one, or of the newest file in it.
    pub time: Timestamp,
    /// What of the file was left out, since no snapshot holds such things.
    pub ignored: Vec<RelPath>,
}

/// How many names of what was left out are worth keeping.
const MAX_IGNORED: usize = 1_000;
/// The most bytes that come between the contents of two members.
const MAX_BETWEEN: u64 = 4 << 20;

/// Imports a file.
///
/// # Errors
/// [`ErrorKind::NotFound`] without the file; [`ErrorKind::InvalidInput`] when it is no archive;
/// [`ErrorKind::Corrupt`] when it is damaged; [`ErrorKind::Refused`] for names that lead elsewhere and passed limits;
/// [`ErrorKind::NoSpace`] in scratch; those of [`create`]. After an error nothing is left in scratch or visible in a target.
pub async fn import(scope: &Scope, job: ImportJob) -> Result<ImportReport> {
    let (inner, path, limits) = (scope.clone(), job.path.clone(), job.limits);
    let (base, in_memory) = (job.scratch.clone(), job.scratch_in_memory);
    let unpacked = blocking(move || {
        let scratch = Scratch::create(&base, in_memory)?;
        let unpacked = unpack(&inner, &path, &scratch, &limits)?;
        Ok((scratch, unpacked))
    });
    let (scratch, unpacked) = unpacked.await?;
    let name = job.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut settings = job.create.settings.clone();
    settings.include = vec![PathBuf::from(".")];
    settings.exclude = Vec::new();
    // Relative to the service's root, which is another folder now.
    settings.scratch = Some(job.scratch.clone());
    let create_job = CreateJob {
        root: unpacked.root,
        label: job.create.label.clone().or(unpacked.label).or(Some(format!("imported from {name}"))),
        service_version: unpacked.service_version,
        settings,
        stores: Vec::new(),
        time: Some(unpacked.time),
        // Nobody knows how it was copied. Pages of two moments may each be well-formed, and an index of one not go with the
        // table of the other: only the full check compares them.
        check: CheckDepth::Full,
        ..job.create
    };
    let created = create(scope, create_job).await;
    blocking(move || {
        drop(scratch);
        Ok(())
    })
    .await?;
    Ok(ImportReport { created: created?, time: unpacked.time, ignored: unpacked.ignored })
}

/// What a file had in it.
pub(crate) struct Unpacked {
    /// The folder that stands for the service's root.
    root: PathBuf,
    time: Timestamp,
    label: Option<String>,
    service_version: Option<String>,
    ignored: Vec<RelPath>,
}

pub(crate) fn unpack(scope: &Scope, path: &Path, scratch: &Scratch, limits: &Limits) -> Result<Unpacked> {
    let blocks = FileBlocks::open(path)?;
    let first = read_start(path)?;
    let mut ignored = Vec::new();
    let ours = if first.starts_with(&ZSTD) { Archive::open(Arc::new(blocks)).ok() } else { None };
    let is_ours = ours.is_some();
    let archive = match ours {
        Some(archive) => archive,
        None => {
            scope.progress.stage("reading the archive");
            let again = scratch.path().join("archive.tar.zst");
            ignored = rewrite(scope, path, &first, &again, limits)?;
            Archive::open(Arc::new(FileBlocks::open(&again)?))?
        }
    };
    let needed = totals(archive.roll()).map_or(u64::MAX, |sum| sum.stored);
    let free = fs::space(scratch.path())?.free_bytes;
    if needed > free {
        let (needed, free) = (ByteSize(needed), ByteSize(free));
        return Err(Error::new(
            ErrorKind::NoSpace,
            format!("scratch has {free} free, the archive unpacks to {needed}"),
        )
        .with_hint("free space there, or set backup.scratch to a folder on another disk"));
    }
    let root = scratch.folder("tree")?;
    let options =
        ExtractOptions { owners: rustix::process::geteuid().is_root(), limits: *limits, ..ExtractOptions::default() };
    archive.extract(scope, &Selection::All, &Dir::open(&root)?, &options)?;
    let manifest = archive.manifest();
    Ok(Unpacked {
        root: if is_ours { root } else { inner_root(&root)? },
        time: if is_ours { manifest.time } else { newest(&archive) },
        label: manifest.label.clone(),
        service_version: manifest.service_version.clone(),
        ignored,
    })
}

/// What every zstd frame begins with (RFC 8878, 3.1.1), and every gzip member (RFC 1952, 2.3.1).
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// What an encrypted file begins with.
const AGE: &[u8] = b"age-encryption.org/";

fn read_start(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(|error| Error::io(format!("open {path:?}"), error))?;
    let mut first = Vec::new();
    file.take(512).read_to_end(&mut first).map_err(|error| Error::io(format!("read {path:?}"), error))?;
    Ok(first)
}

/// Writes what `tar` made as an archive of ours, so that one reader with one set of rules unpacks either.
fn rewrite(scope: &Scope, path: &Path, first: &[u8], again: &Path, limits: &Limits) -> Result<Vec<RelPath>> {
    let file = File::open(path).map_err(|error| Error::io(format!("open {path:?}"), error))?;
    let stored = file.metadata().map_err(|error| Error::io(format!("look at {path:?}"), error))?.len();
    let file = BufReader::with_capacity(1 << 20, file);
    let plain: Box<dyn Read> = if first.starts_with(&GZIP) {
        Box::new(flate2::bufread::MultiGzDecoder::new(file))
    } else if first.starts_with(&ZSTD) {
        let opened = zstd::stream::read::Decoder::with_buffer(file);
        Box::new(opened.map_err(|error| Error::io(format!("read {path:?}"), error))?)
    } else if first.get(257..262) == Some(b"ustar") {
        Box::new(file)
    } else if first.starts_with(AGE) {
        return Err(
            Error::invalid(format!("{path:?} is encrypted")).with_hint("decrypt it first: `age -d -i IDENTITY FILE`")
        );
    } else {
        return Err(Error::invalid(format!("{path:?} is no archive"))
            .with_hint("import a .tar.zst of uplifted-ops, or a .tar, .tar.gz or .tar.zst that tar made"));
    };
    let out = Arc::new(Mutex::new(OutFile::create_new(again, PRIVATE_FILE)?));
    let sink = {
        let out = Arc::clone(&out);
        Box::new(move |bytes: &[u8]| out.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes))
    };
    let mut writer = ArchiveWriter::new(scope, WriteOptions { level: 1, ..WriteOptions::default() }, sink)?;
    let between = Rc::new(Cell::new(u64::MAX));
    let mut members = tar::Archive::new(Between { inner: plain, left: Rc::clone(&between) });
    let damaged = |error: std::io::Error| {
        Error::new(ErrorKind::Corrupt, format!("{path:?} is damaged: {error}"))
            .with_hint("use another backup; `tar -xf` recovers what comes before the damage")
    };
    let (mut ignored, mut buffer) = (Vec::new(), vec![0; 256 << 10]);
    let (mut count, mut bytes) = (0, 0_u64);
    let mut members = members.entries().map_err(damaged)?;
    loop {
        scope.cancel.check()?;
        // What comes between the contents of two members is read into memory.
        between.set(MAX_BETWEEN);
        let Some(member) = members.next() else { break };
        let mut member = member.map_err(damaged)?;
        between.set(u64::MAX);
        let name = member.path_bytes().into_owned();
        let name = plain_name(&name);
        if name.is_empty() {
            continue;
        }
        let header = member.header();
        let number = |value: std::io::Result<u64>| value.ok().and_then(|value| u32::try_from(value).ok());
        let head = NodeHead {
            path: RelPath::from(name),
            mode: header.mode().map_err(damaged)? & 0o7777,
            uid: number(header.uid()).unwrap_or(0),
            gid: number(header.gid()).unwrap_or(0),
            mtime: i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0),
            mtime_nanos: 0,
            xattrs: Vec::new(),
        };
        let kind = header.entry_type();
        let link = member.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default();
        if kind.is_dir() {
            writer.add(head, Special::Dir)?;
        } else if kind.is_symlink() {
            writer.add(head, Special::Symlink { target: RelPath::from(&link[..]) })?;
        } else if kind.is_hard_link() {
            writer.add(head, Special::HardLink { target: RelPath::from(plain_name(&link)) })?;
        } else if kind.is_fifo() {
            writer.add(head, Special::Fifo)?;
        } else if kind.is_file() || kind.is_gnu_sparse() || kind == tar::EntryType::Continuous {
            let size = member.size();
            // Before it is written: a few bytes can claim to be a file of any length.
            (count, bytes) = (count + 1, bytes.saturating_add(size));
            let mut exceeded = Vec::new();
            check_limits(limits, count, bytes, stored, &mut exceeded);
            if let Some(problem) = exceeded.pop() {
                return Err(problem.into_error());
            }
            writer.begin_file(head, size, None)?;
            let mut left = size;
            while left > 0 {
                scope.cancel.check()?;
                let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let read = member.read(&mut buffer[..most]).map_err(damaged)?;
                if read == 0 {
                    return Err(damaged(std::io::ErrorKind::UnexpectedEof.into()));
                }
                writer.write(&buffer[..read])?;
                left -= read as u64;
            }
            writer.end_file(None)?;
        } else {
            std::io::copy(&mut member, &mut std::io::sink()).map_err(damaged)?;
            if ignored.len() < MAX_IGNORED {
                ignored.push(head.path);
            }
        }
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    writer.finish(blank_manifest(&name))?;
    Ok(ignored)
}

/// Lets only so many bytes through until it is set anew: the names and attributes before a member, which the parser of
/// `tar` holds in memory, expand from a little to anything in a compressed file.
struct Between<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Between<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(out)?;
        let left = self.left.get().checked_sub(read as u64).ok_or_else(|| {
            let most = MAX_BETWEEN >> 20;
            std::io::Error::other(format!("the names and attributes of a member are longer than {most} MiB"))
        })?;
        // Without a limit it stays so.
        if self.left.get() != u64::MAX {
            self.left.set(left);
        }
        Ok(read)
    }
}

/// A member's name without `./` before it and slashes behind it.
fn plain_name(name: &[u8]) -> &[u8] {
    let mut name = name;
    while let Some(rest) = name.strip_prefix(b"./") {
        name = rest;
    }
    while let Some(rest) = name.strip_suffix(b"/") {
        name = rest;
    }
    if name == b"." { b"" } else { name }
}

/// The folder that stands for the service's root: the only one at the top, when there is nothing beside it. The guide's
/// archives have everything in a folder that is called like them.
fn inner_root(tree: &Path) -> Result<PathBuf> {
    let reading = |error| Error::io(format!("read folder {tree:?}"), error);
    let mut names = std::fs::read_dir(tree).map_err(reading)?;
    match (names.next().transpose().map_err(reading)?, names.next()) {
        (Some(only), None) if only.file_type().map_err(reading)?.is_dir() && is_wrapper(&only.file_name()) => {
            Ok(only.path())
        }
        _ => Ok(tree.to_owned()),
    }
}

/// Whether a folder is called like an archive, `<name>_<date>…`, and not like a part of a service.
fn is_wrapper(name: &std::ffi::OsStr) -> bool {
    let name = name.to_string_lossy();
    let digits = name.rsplit(['_', '-']).next().unwrap_or_default();
    digits.len() >= 4 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The time of the newest file.
fn newest(archive: &Archive) -> Timestamp {
    let files = archive.roll().iter().filter(|entry| matches!(entry.node, Node::File { .. }));
    let newest = files.map(|entry| (entry.mtime, entry.mtime_nanos)).max().unwrap_or((0, 0));
    let nanos = i32::try_from(newest.1).unwrap_or(0);
    Timestamp::new(newest.0, nanos).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn blank_manifest(name: &str) -> Manifest {
    Manifest {
        format: super::manifest::FORMAT,
        snapshot_id: String::new(),
        service: String::new(),
        service_version: None,
        host: String::new(),
        made_by: name.to_owned(),
        label: None,
        tags: Vec::new(),
        time: Timestamp::UNIX_EPOCH,
        outcome: Outcome::Complete,
        includes: vec![Included { path: RelPath::new("."), present: true }],
        excludes: Vec::new(),
        stores: Vec::new(),
        skipped: Vec::new(),
        files: 0,
        entries: 0,
        size_bytes: 0,
        encrypted_to: None,
        group: None,
    }
}

#[cfg(test)]
mod tests;
