//! A folder as a place where backups go.
//!
//! ```toml
//! [[target]]
//! name = "local"
//! kind = "fs"
//! path = "/backup/uplifted"
//! ```
//!
//! An object is a file whose path below the folder is its key. While it is written it has a hidden name and
//! a lock ([`AtomicFile`]); a link gives it its own name once it is whole and durable, so that nothing that
//! exists is replaced; where the filesystem has no links, see [`AtomicFile::publish_new`]. Files have mode 0600 and folders 0700 whatever the umask. The folder itself may be a
//! symlink, and is created by the first write.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use rustix::io::Errno;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::backup::target::{BackupTarget, MAX_BLOCK, Object, TargetCapability, Upload, check_key};
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::component::{BuildContext, Kind, Placement};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, AtomicFile, PRIVATE_DIR, PRIVATE_FILE};

/// A folder on this machine.
pub const KIND: Kind<dyn BackupTarget> = Kind {
    name: "fs",
    summary: "a folder on this machine, or one mounted from another",
    placement: Placement::Worker,
    build,
    detect: None,
};

/// The most objects that one call of `list` returns.
const PAGE: usize = 1000;

/// How often the bytes of an upload are sent on to the device, so that the last `fsync` has little left.
const WRITE_OUT_EVERY: u64 = 8 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The folder. A relative one starts at the service's root.
    path: PathBuf,
}

fn build(context: &BuildContext, settings: &Map<String, Value>) -> Result<Arc<dyn BackupTarget>> {
    let config: Config = context.settings(settings)?;
    if config.path.as_os_str().is_empty() {
        return Err(Error::invalid(format!("target {:?} has an empty path", context.name))
            .with_hint("set `path` to a folder, best on another disk than the service's"));
    }
    Ok(Arc::new(FsTarget::new(context.resolve(&config.path))))
}

/// A folder on this machine, see [the module](self).
#[derive(Debug, Clone)]
pub struct FsTarget {
    folder: PathBuf,
    /// Whether it was looked, since this was made, for what dead writers left anywhere.
    swept: Arc<AtomicBool>,
}

impl FsTarget {
    /// A target in `folder`, which need not exist yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), swept: Arc::default() }
    }

    /// The path of an object, and its key checked.
    fn path_of(&self, key: &str) -> Result<PathBuf> {
        check_key(key)?;
        Ok(self.folder.join(key))
    }

    /// The path of an object about to be written, its folder made.
    fn make_room(&self, key: &str) -> Result<PathBuf> {
        let path = self.path_of(key)?;
        let parent = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(parent, PRIVATE_DIR)?;
        fs::sweep_partials(parent)?;
        if !self.swept.swap(true, Ordering::SeqCst) {
            self.sweep_everywhere();
        }
        Ok(path)
    }

    /// Removes what dead writers left, also where nothing may be written for a long time. What cannot be removed is in
    /// nobody's way.
    fn sweep_everywhere(&self) {
        let _ = fs::sweep_partials(&self.folder);
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let is_ours = entry.file_name().to_str().is_some_and(|name| check_key(name).is_ok());
            if is_ours && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let _ = fs::sweep_partials(&entry.path());
            }
        }
    }

    fn describe(&self, key: &str, path: &Path) -> Result<Option<Object>> {
        let meta = match path.symlink_metadata() {
            Ok(meta) if meta.is_file() => meta,
            Ok(_) => return Ok(None),
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(Error::io(format!("look at {path:?}"), error)),
        };
        let modified = meta.modified().map_err(|e| Error::io(format!("look at {path:?}"), e))?;
        Ok(Some(Object {
            key: key.to_owned(),
            size_bytes: meta.len(),
            modified_at: Timestamp::try_from(modified).unwrap_or(Timestamp::UNIX_EPOCH),
        }))
    }

    /// The first [`PAGE`] keys after `after` that start with `prefix`.
    fn keys(&self, scope: &Scope, prefix: &str, after: Option<&str>) -> Result<BTreeSet<String>> {
        let mut page = BTreeSet::new();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            let path = self.folder.join(&folder);
            let names = match std::fs::read_dir(&path) {
                Ok(names) => names,
                // Not written to yet. A file in its place is no empty target.
                Err(error) if is_absent(&error) && (!folder.is_empty() || !self.folder.exists()) => continue,
                Err(error) => return Err(Error::io(format!("read folder {path:?}"), error)),
            };
            for entry in names {
                scope.cancel.check()?;
                let entry = entry.map_err(|e| Error::io(format!("read folder {path:?}"), e))?;
                // A name that is no key cannot be asked for, so it is not offered: hidden and foreign files.
                let Some(name) = entry.file_name().to_str().map(|name| format!("{folder}{name}")) else { continue };
                if check_key(&name).is_err() {
                    continue;
                }
                let kind = match entry.file_type() {
                    // Deleted since it was listed. Any other error must not make the list shorter than it is.
                    Err(error) if is_absent(&error) => continue,
                    kind => kind.map_err(|e| Error::io(format!("look at {:?}", entry.path()), e))?,
                };
                if kind.is_dir() {
                    let below = format!("{name}/");
                    if below.starts_with(prefix) || prefix.starts_with(&below) {
                        folders.push(below);
                    }
                } else if kind.is_file() && name.starts_with(prefix) && after.is_none_or(|after| name.as_str() > after)
                {
                    page.insert(name);
                    if page.len() > PAGE {
                        page.pop_last();
                    }
                }
            }
        }
        Ok(page)
    }
}

/// The folder as people write it: without `..`, as far as the filesystem knows what stands before one.
fn plain(folder: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in folder.components() {
        match part {
            Component::ParentDir => match plain.canonicalize() {
                Ok(known) if known.parent().is_some() => plain = known.parent().unwrap_or(&known).to_owned(),
                _ => plain.push(part),
            },
            _ => plain.push(part),
        }
    }
    plain
}

#[async_trait]
impl BackupTarget for FsTarget {
    fn capability(&self) -> TargetCapability {
        TargetCapability {
            kind: KIND.name.to_owned(),
            folder: Some(self.folder.clone()),
            location: plain(&self.folder).display().to_string(),
            put_if_absent: true,
            read_before_finish: true,
        }
    }

    async fn put(&self, scope: &Scope, key: &str, bytes: &[u8], if_absent: bool) -> Result<bool> {
        check_block(bytes.len() as u64)?;
        scope.cancel.check()?;
        let (this, key, bytes) = (self.clone(), key.to_owned(), bytes.to_vec());
        blocking(move || {
            let path = this.make_room(&key)?;
            if if_absent && path.symlink_metadata().is_ok() {
                return Ok(false);
            }
            let mut file = AtomicFile::create(&path, PRIVATE_FILE)?;
            file.out()?.write_all(&bytes)?;
            if if_absent { file.publish_new() } else { file.publish().map(|()| true) }
        })
        .await
    }

    async fn upload(&self, scope: &Scope, key: &str, expected_bytes: Option<u64>) -> Result<Box<dyn Upload>> {
        scope.cancel.check()?;
        let (this, key) = (self.clone(), key.to_owned());
        blocking(move || {
            let path = this.make_room(&key)?;
            if path.symlink_metadata().is_ok() {
                return Err(exists(&path));
            }
            let free = fs::space(&this.folder)?.free_bytes;
            if let Some(expected) = expected_bytes.filter(|expected| *expected > free) {
                return Err(no_room(&this.folder, expected, free));
            }
            let upload = FsUpload { file: Some(AtomicFile::create(&path, PRIVATE_FILE)?), path, written: 0, sent: 0 };
            Ok(Box::new(upload) as Box<dyn Upload>)
        })
        .await
    }

    async fn get(&self, scope: &Scope, key: &str, range: Range<u64>) -> Result<Vec<u8>> {
        scope.cancel.check()?;
        let path = self.path_of(key)?;
        let key = key.to_owned();
        steadily(move || {
            let opened = std::fs::File::options()
                .read(true)
                // A FIFO that somebody put there must not hang us.
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(&path);
            let file = match opened {
                Ok(file) if file.metadata().is_ok_and(|meta| meta.is_file()) => file,
                Ok(_) => return Err(missing(&key)),
                Err(error) if is_absent(&error) => return Err(missing(&key)),
                Err(error) => return Err(Error::io(format!("open {path:?}"), error)),
            };
            read_range(&file, &path, range.clone())
        })
        .await
    }

    async fn list(&self, scope: &Scope, prefix: &str, after: Option<&str>) -> Result<Vec<Object>> {
        let (this, scope) = (self.clone(), scope.clone());
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        steadily(move || {
            let keys = this.keys(&scope, &prefix, after.as_deref())?;
            // One that was deleted since it was listed is left out.
            keys.iter().filter_map(|key| this.describe(key, &this.folder.join(key)).transpose()).collect()
        })
        .await
    }

    async fn stat(&self, scope: &Scope, key: &str) -> Result<Option<Object>> {
        scope.cancel.check()?;
        let path = self.path_of(key)?;
        let (this, key) = (self.clone(), key.to_owned());
        steadily(move || this.describe(&key, &path)).await
    }

    async fn delete(&self, scope: &Scope, key: &str) -> Result<()> {
        scope.cancel.check()?;
        let path = self.path_of(key)?;
        let (this, key) = (self.clone(), key.to_owned());
        blocking(move || {
            if this.describe(&key, &path)?.is_none() {
                return Ok(());
            }
            fs::remove_file(&path)?;
            fs::sync_dir(path.parent().unwrap_or(&this.folder))
        })
        .await
    }

    async fn free_bytes(&self, scope: &Scope) -> Result<Option<u64>> {
        scope.cancel.check()?;
        let folder = self.folder.clone();
        blocking(move || Ok(Some(fs::space(&folder)?.free_bytes))).await
    }
}

/// A file being written under its hidden name. `file` is `None` after an error, and while a call is at work.
#[derive(Debug)]
struct FsUpload {
    file: Option<AtomicFile>,
    path: PathBuf,
    written: u64,
    /// Bytes that were sent on to the device already.
    sent: u64,
}

impl FsUpload {
    fn take(&mut self) -> Result<AtomicFile> {
        self.file.take().ok_or_else(|| {
            Error::internal(format!("the upload of {:?} was used after it failed or was interrupted", self.path))
        })
    }
}

#[async_trait]
impl Upload for FsUpload {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        check_block(bytes.len() as u64)?;
        let mut file = self.take()?;
        self.written += bytes.len() as u64;
        let send = (self.written - self.sent >= WRITE_OUT_EVERY).then_some(self.sent..self.written);
        if let Some(range) = &send {
            self.sent = range.end;
        }
        let bytes = bytes.to_vec();
        // A write that fails drops the file there and then, so that no half object stays behind.
        let file = blocking(move || {
            file.out()?.write_all(&bytes)?;
            if let Some(range) = send {
                leave_page_cache(file.out()?.file(), range);
            }
            Ok(file)
        })
        .await?;
        self.file = Some(file);
        Ok(())
    }

    async fn read_back(&mut self, range: Range<u64>) -> Result<Vec<u8>> {
        let mut file = self.take()?;
        let (path, first) = (self.path.clone(), range.start == 0);
        let whole = 0..self.written;
        let (file, bytes) = blocking(move || {
            if first {
                file.sync()?;
                leave_page_cache(file.out()?.file(), whole);
            }
            let bytes = read_range(file.out()?.file(), &path, range)?;
            Ok((file, bytes))
        })
        .await?;
        self.file = Some(file);
        Ok(bytes)
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        let file = self.take()?;
        let path = self.path.clone();
        blocking(move || if file.publish_new()? { Ok(()) } else { Err(exists(&path)) }).await
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        let file = self.file.take();
        blocking(move || {
            drop(file);
            Ok(())
        })
        .await
    }
}

/// Starts writing a range out to the device, and drops what is there already from memory, so that reading it
/// again asks the device (`posix_fadvise`, Linux: `mm/fadvise.c`). Advice: a refusal costs only speed.
fn leave_page_cache(file: &std::fs::File, range: Range<u64>) {
    #[cfg(target_os = "linux")]
    {
        let len = std::num::NonZeroU64::new(range.end - range.start);
        let _ = rustix::fs::fadvise(file, range.start, len, rustix::fs::Advice::DontNeed);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, range);
}

/// Reads exactly `range`, less only where the file ends.
fn read_range(file: &std::fs::File, path: &Path, range: Range<u64>) -> Result<Vec<u8>> {
    let wanted = range.end.saturating_sub(range.start);
    check_block(wanted)?;
    let wanted = wanted as usize;
    // Not zeroed first: each byte of a backup comes through here.
    let mut bytes = Vec::with_capacity(wanted);
    while bytes.len() < wanted {
        let at = range.start + bytes.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(Error::io(format!("read {path:?}"), error)),
        }
    }
    bytes.truncate(wanted);
    Ok(bytes)
}

/// Runs what may wait for a disk on a thread that may wait.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal(format!("work on a folder did not end: {error}")))?
}

/// How often a read is begun again by its name when NFS says that what was open is gone.
const STEADY_TRIES: usize = 3;

/// [`blocking`] for reads of what may lie on NFS. ESTALE means that the server knows the handle no more: somebody
/// replaced the file or folder, or the server started again. The name leads to what is there now.
async fn steadily<T: Send + 'static>(read: impl Fn() -> Result<T> + Send + 'static) -> Result<T> {
    blocking(move || steady(read)).await
}

fn steady<T>(read: impl Fn() -> Result<T>) -> Result<T> {
    let mut tries = 1;
    loop {
        match read() {
            Err(error) if tries < STEADY_TRIES && is_stale(&error) => tries += 1,
            done => return done,
        }
    }
}

fn is_stale(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.raw_os_error() == Some(libc::ESTALE))
}

/// Refuses a block that is longer than [`MAX_BLOCK`].
pub(super) fn check_block(len: u64) -> Result<()> {
    if len <= MAX_BLOCK as u64 {
        Ok(())
    } else {
        Err(Error::invalid(format!("a block of {len} bytes is longer than {MAX_BLOCK}"))
            .with_hint("read and write in blocks of at most 8 MiB"))
    }
}

/// Whether there is no such file, which a file in the place of a folder means too.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(libc::ELOOP)
}

/// The error for an object that is not there.
pub(super) fn missing(key: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no object {key:?}"))
        .with_hint("`uplifted-ops backup list` prints what there is")
}

fn exists(path: &Path) -> Error {
    Error::new(ErrorKind::Refused, format!("{path:?} exists already, and a backup replaces nothing"))
        .with_hint("start the backup again: every run has a name of its own")
}

fn no_room(folder: &Path, needed: u64, free: u64) -> Error {
    use crate::value::ByteSize;
    let (needed, free) = (ByteSize(needed), ByteSize(free));
    Error::new(ErrorKind::NoSpace, format!("{folder:?} has {free} free, the backup may need {needed}"))
        .with_hint(format!("free space on the disk of {}, or name another [[target]]", folder.display()))
}

#[cfg(test)]
mod tests;
