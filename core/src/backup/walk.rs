//! The walker: what lies under the folders of a backup, in the order of the archive.
//!
//! It looks (`lstat`) and never opens a file: to open and close a live database here would end the locks
//! that this process holds on it. Folders are opened beneath the root without following a symlink. Mount
//! points are crossed. Whatever cannot be looked at has its name in `skipped`.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{self as sys, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::kept::FoundList;
use super::manifest::{Included, RelPath, SkipReason, Skipped};
use super::scout::Scout;
use crate::cancel::{ProgressEvent, Scope};
use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// What to walk.
#[derive(Debug, Clone)]
pub struct WalkPlan {
    root: PathBuf,
    includes: Vec<PathBuf>,
    excludes: Vec<Exclude>,
    /// Device and inode of what is left out, whatever name leads to it.
    leave_out: Vec<(u64, u64)>,
}

#[derive(Debug, Clone)]
struct Exclude {
    glob: String,
    folders_only: bool,
}

/// Something that the walker met.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its path, relative to the root.
    pub path: RelPath,
    /// What it is.
    pub kind: FoundKind,
    /// Permission bits, with set-id and sticky bits: 0 to 0o7777.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Modification time, seconds since the epoch.
    pub mtime: i64,
    /// Its nanoseconds.
    pub mtime_nanos: u32,
    /// When its content, its name or anything else about it last changed, by the kernel: seconds since the epoch.
    pub ctime: i64,
    /// Its nanoseconds.
    pub ctime_nanos: u32,
    /// Its length in bytes.
    pub size: u64,
    /// Bytes that it takes on the disk; fewer than `size` where it has holes.
    pub disk_bytes: u64,
    /// Device and inode: two names with the same are one file.
    pub identity: (u64, u64),
    /// How many names it has.
    pub links: u64,
}

/// What something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the kind of file of that name")]
pub enum FoundKind {
    Dir,
    File,
    Symlink,
    Fifo,
    Socket,
    Device,
}

/// What changed so shortly before a run may change again without a trace, within one tick of the clock that the
/// filesystem stamps with: 2 s on FAT, and room for a server's clock (the rule of git's index for racy entries).
const RACY_SECONDS: i64 = 2;

/// What a file looked like: when nothing of it differs, its content is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Look {
    pub(super) size: u64,
    pub(super) mtime: (i64, u32),
    pub(super) ctime: (i64, u32),
    pub(super) identity: (u64, u64),
}

impl Look {
    pub(crate) fn of(found: &Found) -> Self {
        Self {
            size: found.size,
            mtime: (found.mtime, found.mtime_nanos),
            ctime: (found.ctime, found.ctime_nanos),
            identity: found.identity,
        }
    }

    /// Whether the file last changed long enough before `begin` that a later change cannot look the same.
    pub(crate) fn is_settled(&self, begin: Timestamp) -> bool {
        self.mtime.0.max(self.ctime.0) < begin.as_second() - RACY_SECONDS
    }
}

/// All that the walker met.
#[derive(Debug, Default)]
pub struct Walked {
    /// Each folder before what is in it, names in byte order.
    pub found: FoundList,
    /// What could not be looked at, and sockets and devices.
    pub skipped: Vec<Skipped>,
    /// What was asked for.
    pub includes: Vec<Included>,
}

impl WalkPlan {
    /// Checks what is asked for.
    ///
    /// `includes` and the globs `excludes` are relative to `root`; `leave_out` are absolute paths, or relative
    /// to `root`, of folders and files that are left out under whatever name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a path that leads outside, a glob that is none, or an include that is
    /// left out.
    pub fn new(root: &Path, includes: &[PathBuf], excludes: &[String], leave_out: &[PathBuf]) -> Result<Self> {
        let root_meta = sys::stat(root)
            .map_err(|e| Error::io(format!("look at the root {root:?}"), e).with_hint("set service.root"))?;
        if FileType::from_raw_mode(root_meta.st_mode) != FileType::Directory {
            return Err(Error::invalid(format!("the root {root:?} is not a folder")).with_hint("set service.root"));
        }
        if includes.is_empty() {
            return Err(Error::invalid("backup.include names nothing").with_hint("name a folder, or \".\" for all"));
        }
        let mut includes: Vec<PathBuf> =
            includes.iter().map(|include| normal(root, include)).collect::<Result<Vec<PathBuf>>>()?;
        // By components, so that whatever covers another comes right before what it covers.
        includes.sort();
        includes.dedup();
        let excludes = excludes.iter().map(|glob| Exclude::new(glob)).collect::<Result<Vec<Exclude>>>()?;
        let leave_out = leave_out.iter().filter_map(|path| identity_of(&root.join(path)).transpose());
        let plan = Self { root: root.to_owned(), includes, excludes, leave_out: leave_out.collect::<Result<_>>()? };
        for include in &plan.includes {
            plan.check_include(include)?;
        }
        Ok(plan)
    }

    /// The paths asked for, relative to the root, sorted; the root itself is the empty path.
    pub fn includes(&self) -> &[PathBuf] {
        &self.includes
    }

    fn check_include(&self, include: &Path) -> Result<()> {
        let full = self.root.join(include);
        if identity_of(&full)?.is_some_and(|identity| self.leave_out.contains(&identity)) {
            return Err(Error::invalid(format!("{full:?} is both in backup.include and a place of the product's own"))
                .with_hint("give the target, the scratch and the state folder places of their own"));
        }
        for parent in include.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
            if is_symlink(&self.root.join(parent)) {
                return Err(Error::invalid(format!("backup.include names {include:?}, which lies behind a symlink"))
                    .with_hint(format!("name the folder that {parent:?} leads to, below the service's root")));
            }
        }
        if is_symlink(&full) && full.is_dir() && !self.leads_to_something_included(&full) {
            return Err(Error::invalid(format!("backup.include names {include:?}, a symlink to a folder elsewhere"))
                .with_hint("a backup holds links, not what they lead to: name the folder itself, below the root"));
        }
        Ok(())
    }

    fn leads_to_something_included(&self, link: &Path) -> bool {
        let (Ok(to), Ok(root)) = (link.canonicalize(), self.root.canonicalize()) else { return false };
        let Ok(below) = to.strip_prefix(root) else { return false };
        self.includes.iter().any(|include| below.starts_with(include))
    }

    /// Whether `path`, relative to the root, is left out by a glob, or lies in a folder that is.
    pub fn is_excluded(&self, path: &Path) -> bool {
        path.ancestors()
            .filter(|part| !part.as_os_str().is_empty())
            .enumerate()
            .any(|(height, part)| self.matches(part.as_os_str().as_bytes(), height > 0))
    }

    /// Whether one of the includes covers `path`, relative to the root.
    pub fn covers(&self, path: &Path) -> bool {
        self.includes.iter().any(|include| path.starts_with(include))
    }

    fn matches(&self, path: &[u8], is_folder: bool) -> bool {
        self.excludes
            .iter()
            .any(|exclude| (is_folder || !exclude.folders_only) && fast_glob::glob_match(&exclude.glob, path))
    }
}

impl Exclude {
    fn new(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Error::invalid(format!("backup.exclude has {text:?}, which {why}"))
                .with_hint("write globs relative to the root, such as \"data/cache\" or \"**/__pycache__\"")
        };
        let glob = text.strip_prefix("./").unwrap_or(text);
        let (glob, folders_only) = match glob.strip_suffix('/') {
            Some(glob) => (glob, true),
            None => (glob, false),
        };
        if glob.is_empty() {
            return Err(wrong("would leave out everything or nothing"));
        }
        if glob.starts_with('!') {
            return Err(wrong("begins with !: it would leave out all but what it names"));
        }
        if glob.starts_with('/') || glob.split('/').any(|part| part == "..") {
            return Err(wrong("does not stay below the root"));
        }
        fast_glob::validate(glob).map_err(|error| wrong(&format!("is not a glob: {error}")))?;
        Ok(Self { glob: glob.to_owned(), folders_only })
    }
}

/// Walks. Call it before any store is opened; it blocks.
pub fn walk(scope: &Scope, plan: &WalkPlan) -> Result<Walked> {
    let root = open_root(&plan.root)?;
    let scout = Scout::start();
    let mut walker = Walker { scope, plan, root, out: Walked::default(), way: HashSet::new(), scout };
    let mut last: Option<&Path> = None;
    for include in &plan.includes {
        // Sorted, so whatever covers this one came before it.
        let covered = last.is_some_and(|last| include.starts_with(last));
        let present = walker.include(include, covered)?;
        let shown = if include.as_os_str().is_empty() { Path::new(".") } else { include };
        walker.out.includes.push(Included { path: RelPath::new(shown), present });
        if !covered {
            last = Some(include);
        }
    }
    walker.report();
    Ok(walker.out)
}

/// Looks at one path below the root.
pub(super) fn look(root: &Path, path: &Path) -> Result<Found> {
    let stat = sys::lstat(root.join(path)).map_err(|e| Error::io(format!("look at {path:?}"), e))?;
    Ok(Found::new(RelPath::new(path), &stat))
}

/// Opens the root folder, for [`open_beneath`].
pub fn open_root(root: &Path) -> Result<OwnedFd> {
    sys::open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Error::io(format!("open the root {root:?}"), e))
}

/// Opens `path` below the folder `root`, with no symlink anywhere in it: `ELOOP` is the answer to one.
pub fn open_beneath(root: &OwnedFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    #[cfg(target_os = "linux")]
    {
        let how = sys::ResolveFlags::BENEATH | sys::ResolveFlags::NO_SYMLINKS | sys::ResolveFlags::NO_MAGICLINKS;
        loop {
            match sys::openat2(root, path, flags, Mode::empty(), how) {
                // A rename elsewhere made the kernel give up: openat2(2) says to try again.
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    }
    #[cfg(not(target_os = "linux"))]
    sys::openat(root, path, flags, Mode::empty())
}

struct Walker<'a> {
    scope: &'a Scope,
    plan: &'a WalkPlan,
    root: OwnedFd,
    out: Walked,
    /// The folders above includes that are listed already.
    way: HashSet<PathBuf>,
    /// Looks at names before we come to them.
    scout: Scout,
}

/// A folder that is being walked.
struct Folder {
    path: RelPath,
    /// Closed while folders far below are walked.
    fd: Option<Arc<OwnedFd>>,
    names: Arc<Names>,
    /// The next of the names.
    next: usize,
}

/// The names in a folder, in byte order: a folder may have a million.
#[derive(Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    /// Where each begins and ends.
    sorted: Vec<(u32, u32)>,
}

/// How many folders are held open on the way down.
const HELD_OPEN: usize = 32;

impl Walker<'_> {
    /// Walks one include; says whether there was anything.
    fn include(&mut self, include: &Path, covered: bool) -> Result<bool> {
        let top = match sys::statat(&self.root, or_dot(include), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
            Err(error) => {
                self.skip(RelPath::new(include), SkipReason::Unreadable, error);
                return Ok(true);
            }
        };
        if covered {
            return Ok(true);
        }
        // The folders on the way carry modes and owners that a restore needs.
        let mut way: Vec<&Path> = include.ancestors().skip(1).filter(|part| !part.as_os_str().is_empty()).collect();
        way.reverse();
        for part in way {
            if !self.way.insert(part.to_owned()) {
                continue;
            }
            if let Ok(stat) = sys::statat(&self.root, part, AtFlags::SYMLINK_NOFOLLOW) {
                self.out.found.push(Found::new(RelPath::new(part), &stat))?;
            }
        }
        let top = Found::new(RelPath::new(include), &top);
        if !include.as_os_str().is_empty() && self.plan.is_excluded(include) {
            return Ok(true);
        }
        // Depth first without recursion: a tree as deep as it likes takes no stack.
        let mut open: Vec<Folder> = self.enter(top)?.into_iter().collect();
        while let Some(folder) = open.last_mut() {
            self.scope.cancel.check()?;
            let Some(name) = folder.names.get(folder.next) else {
                open.pop();
                continue;
            };
            folder.next += 1;
            let path = RelPath::new(folder.path.as_path().join(OsStr::from_bytes(name)));
            let fd = match folder.fd.take() {
                Some(fd) => Ok(fd),
                None => {
                    open_beneath(&self.root, folder.path.as_path(), OFlags::RDONLY | OFlags::DIRECTORY).map(Arc::new)
                }
            };
            let stat = fd.and_then(|fd| {
                let stat = sys::statat(&fd, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW);
                folder.fd = Some(fd);
                stat
            });
            match stat {
                Ok(stat) => {
                    let found = Found::new(path, &stat);
                    let is_folder = found.kind == FoundKind::Dir;
                    if self.plan.leave_out.contains(&found.identity)
                        || self.plan.matches(found.path.as_bytes(), is_folder)
                    {
                        continue;
                    }
                    open.extend(self.enter(found)?);
                    // A tree may be deeper than a process may have files open.
                    if let Some(above) = open.len().checked_sub(HELD_OPEN) {
                        open[above].fd = None;
                    }
                }
                Err(_) if self.plan.matches(path.as_bytes(), false) => {}
                Err(error) => self.skip(path, reason_of(error), error),
            }
        }
        Ok(true)
    }

    /// Lists an entry, and opens it when it is a folder.
    fn enter(&mut self, found: Found) -> Result<Option<Folder>> {
        let path = (found.kind == FoundKind::Dir).then(|| found.path.clone());
        if !found.path.as_bytes().is_empty() {
            self.meet(found)?;
        }
        Ok(path.and_then(|path| self.open(path)))
    }

    fn meet(&mut self, found: Found) -> Result<()> {
        let unstorable = match found.kind {
            FoundKind::Socket => Some((SkipReason::Socket, "a socket has no content")),
            FoundKind::Device => Some((SkipReason::Device, "a device is never stored")),
            _ => None,
        };
        match unstorable {
            Some((reason, message)) => {
                self.out.skipped.push(Skipped { path: found.path, reason, message: message.to_owned() });
            }
            None => self.out.found.push(found)?,
        }
        if self.out.found.len().is_multiple_of(4096) {
            self.report();
        }
        Ok(())
    }

    /// Opens a folder and lists the names in it. One that cannot be read is skipped by name.
    fn open(&mut self, path: RelPath) -> Option<Folder> {
        let opened = open_beneath(&self.root, path.as_path(), OFlags::RDONLY | OFlags::DIRECTORY);
        match opened.and_then(|fd| Names::of(&fd).map(|names| (fd, names))) {
            Ok((fd, names)) => {
                let (fd, names) = (Arc::new(fd), Arc::new(names));
                self.scout.send(&fd, &names);
                Some(Folder { path, fd: Some(fd), names, next: 0 })
            }
            Err(error) => {
                self.skip(path, reason_of(error), error);
                None
            }
        }
    }

    fn skip(&mut self, path: RelPath, reason: SkipReason, error: Errno) {
        let path = if path.as_bytes().is_empty() { RelPath::new(".") } else { path };
        let message = Error::io(format!("look at {path:?}"), error).message().to_owned();
        self.out.skipped.push(Skipped { path, reason, message });
    }

    fn report(&self) {
        self.scope.progress.report(ProgressEvent {
            stage: "looking at files".to_owned(),
            done_bytes: 0,
            total_bytes: None,
            done_files: self.out.found.len(),
            total_files: None,
            uninterruptible: false,
        });
    }
}

impl Found {
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "the fields' types differ between systems")]
    fn new(path: RelPath, stat: &sys::Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => FoundKind::Dir,
            FileType::RegularFile => FoundKind::File,
            FileType::Symlink => FoundKind::Symlink,
            FileType::Fifo => FoundKind::Fifo,
            FileType::Socket => FoundKind::Socket,
            _ => FoundKind::Device,
        };
        Self {
            path,
            kind,
            mode: u32::from(stat.st_mode) & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: stat.st_mtime as i64,
            mtime_nanos: stat.st_mtime_nsec as u32,
            ctime: stat.st_ctime as i64,
            ctime_nanos: stat.st_ctime_nsec as u32,
            size: stat.st_size as u64,
            disk_bytes: stat.st_blocks as u64 * 512,
            identity: (stat.st_dev as u64, stat.st_ino as u64),
            links: stat.st_nlink as u64,
        }
    }

    /// Takes what an open file says about itself.
    pub fn refreshed(&self, stat: &sys::Stat) -> Self {
        Self::new(self.path.clone(), stat)
    }
}

impl Names {
    fn of(folder: &OwnedFd) -> rustix::io::Result<Self> {
        let mut names = Self::default();
        for entry in sys::Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                let start = names.bytes.len() as u32;
                names.bytes.extend_from_slice(name);
                names.sorted.push((start, names.bytes.len() as u32));
            }
        }
        let Self { bytes, sorted } = &mut names;
        let name = |(start, end): (u32, u32)| &bytes[start as usize..end as usize];
        sorted.sort_unstable_by(|a, b| name(*a).cmp(name(*b)));
        Ok(names)
    }

    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }

    pub(super) fn get(&self, number: usize) -> Option<&[u8]> {
        let (start, end) = *self.sorted.get(number)?;
        Some(&self.bytes[start as usize..end as usize])
    }
}

fn or_dot(path: &Path) -> &OsStr {
    if path.as_os_str().is_empty() { OsStr::new(".") } else { path.as_os_str() }
}

/// An include relative to the root and free of `.`; the root itself is empty.
fn normal(root: &Path, include: &Path) -> Result<PathBuf> {
    let relative = if include.is_absolute() { include.strip_prefix(root).ok() } else { Some(include) };
    let inside =
        relative.filter(|path| path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)));
    let Some(inside) = inside else {
        return Err(Error::invalid(format!("backup.include names {include:?}, which is not below the root {root:?}"))
            .with_hint("name paths below the service's root, or set service.root to a folder that holds them all"));
    };
    if include.as_os_str().is_empty() {
        return Err(Error::invalid("backup.include has an empty path").with_hint("write \".\" for the whole root"));
    }
    Ok(inside.components().filter(|part| matches!(part, Component::Normal(_))).collect())
}

fn is_symlink(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.is_symlink())
}

/// Device and inode of what `path` leads to, `None` when there is nothing.
pub(super) fn identity_of(path: &Path) -> Result<Option<(u64, u64)>> {
    use std::os::unix::fs::MetadataExt;
    match path.metadata() {
        Ok(meta) => Ok(Some((meta.dev(), meta.ino()))),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(Error::io(format!("look at {path:?}"), error)),
    }
}

/// How an error while reading an entry is listed.
pub(super) fn reason_of(error: Errno) -> SkipReason {
    match error {
        Errno::NOENT | Errno::STALE => SkipReason::Vanished,
        // A symlink, a socket or a folder is in its place now.
        Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::NXIO => SkipReason::Changed,
        _ => SkipReason::Unreadable,
    }
}

#[cfg(test)]
mod tests;
