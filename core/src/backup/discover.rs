//! Which of the files are databases, so that each is taken through its store and never as a file.
//!
//! Configured stores are known by device and inode, whatever name or symlink leads to them, and are never
//! opened here. Every other file is recognised by its first bytes. All of this is over, and every file
//! closed, before the first store is opened: see [`walk`](super::walk).

mod peek;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use self::peek::{Peeking, peek};
use super::kept::FoundList;
use super::manifest::{Included, RelPath, SkipReason, Skipped};
use super::walk::{Found, FoundKind, Look, WalkPlan, Walked, identity_of, look, open_beneath, open_root};
use crate::cancel::{ProgressEvent, Scope};
use crate::clock::Timestamp;
use crate::component::{BuildContext, Detect, Kind, Registry};
use crate::error::{Error, ErrorKind, Result};
use crate::store::Store;

/// A store by its name in the settings.
pub type NamedStore = (String, Arc<dyn Store>);

/// A smaller file is no database: SQLite's header alone has 100 bytes (sqlite.org/fileformat2, 1.3).
const SMALLEST: u64 = 100;

/// Why a configured database that is no file is not in a snapshot, which is *partial* by it.
const NO_FILE: &str = "its store names no file, and a snapshot holds only databases that are files of this machine; \
                       back it up with its own tools";
/// Why the copy of a database that is no file has no place in a snapshot.
const NO_NAME: &str = "its store names a copy that is no name of a file in the service's root";
/// Why a file is not in a snapshot that has the copy of a database under its name.
const IN_THE_WAY: &str = "a database's copy has this name in the snapshot: rename the file, or exclude it";

/// Where to look, and what is known already.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// The service's root folder, absolute.
    pub root: &'a Path,
    /// The state folder, absolute.
    pub state: &'a Path,
    /// The databases in the settings.
    pub configured: &'a [NamedStore],
    /// The kinds of stores that this build has.
    pub kinds: &'a Registry<dyn Store>,
}

/// What a backup will hold.
#[derive(Debug, Default)]
pub struct Contents {
    /// Everything but databases, in the order of the archive.
    pub ordinary: FoundList,
    /// The databases.
    pub databases: Vec<Database>,
    /// Further names of the files of databases, each with the database's path.
    pub database_links: Vec<(Found, RelPath)>,
    /// What is known to be missing already.
    pub skipped: Vec<Skipped>,
    /// What was asked for.
    pub includes: Vec<Included>,
}

/// A database that lies in a file, or of which a copy does.
#[derive(Debug, Clone)]
pub struct Database {
    /// Its name in the settings, or its path when nobody configured it.
    pub name: String,
    /// Whether it is in the settings.
    pub configured: bool,
    /// The store that takes care of it.
    pub store: Arc<dyn Store>,
    /// Its live file; what stands for its copy, where it is none.
    pub found: Found,
    /// Bytes of the live file and the files beside it, which a copy can need.
    pub live_bytes: u64,
    /// What the live file and those beside it looked like; `None` for one that was not there. Empty for a database that is no
    /// file, of which nobody can see whether it has changed.
    pub(crate) looks: Vec<Option<Look>>,
}

/// What the name of the shared memory of a write-ahead log ends in. Readers write to it too, and all that it says is in
/// the log (sqlite.org/walformat, 2): whether a database has changed, the other files tell.
const SHARED_MEMORY: &[u8] = b"-shm";

impl Database {
    fn new(
        root: &Path,
        name: String,
        configured: bool,
        store: Arc<dyn Store>,
        found: &Found,
        beside: &[PathBuf],
    ) -> Self {
        let sides: Vec<Option<Found>> = beside.iter().map(|path| look(root, path).ok()).collect();
        let live_bytes = found.size + sides.iter().flatten().map(|side| side.size).sum::<u64>();
        let telling =
            beside.iter().zip(&sides).filter(|(path, _)| !path.as_os_str().as_bytes().ends_with(SHARED_MEMORY));
        let looks = telling.map(|(_, side)| side.as_ref().map(Look::of));
        let looks = std::iter::once(Some(Look::of(found))).chain(looks).collect();
        Self { name, configured, store, found: found.clone(), live_bytes, looks }
    }

    /// A database of a server, whose copy is called `path` in the snapshot.
    fn of_server((name, store): &NamedStore, path: &Path, now: Timestamp) -> Self {
        let (mtime, mtime_nanos) = (now.as_second(), now.subsec_nanosecond().unsigned_abs());
        let found = Found {
            path: RelPath::new(path),
            kind: FoundKind::File,
            mode: 0o600,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            mtime,
            mtime_nanos,
            ctime: mtime,
            ctime_nanos: mtime_nanos,
            size: 0,
            disk_bytes: 0,
            identity: (0, 0),
            links: 1,
        };
        Self { name: name.clone(), configured: true, store: Arc::clone(store), found, live_bytes: 0, looks: Vec::new() }
    }

    /// Whether it is a file of this machine.
    pub(super) fn is_file(&self) -> bool {
        !self.looks.is_empty()
    }
}

impl Contents {
    /// Bytes that the files and databases take on the disk: what reading them will cost.
    pub fn disk_bytes(&self) -> u64 {
        self.ordinary.bytes() + self.database_bytes()
    }

    /// Bytes of the live databases.
    pub fn database_bytes(&self) -> u64 {
        self.databases.iter().map(|database| database.live_bytes).sum()
    }
}

/// Sorts what was walked into databases and the rest. Call it before any store is opened; it blocks.
///
/// `is_ordinary` says, in the order of the walk, of which files it is known that they are no databases: nobody opens
/// them to see.
pub fn discover(
    scope: &Scope,
    plan: &WalkPlan,
    walked: Walked,
    around: &Surroundings<'_>,
    is_ordinary: &mut dyn FnMut(&Found) -> bool,
) -> Result<Contents> {
    let root = open_root(around.root)?;
    let Walked { found: all, skipped, includes } = walked;
    let mut contents = Contents { skipped, includes, ..Contents::default() };
    let known = Configured::look(around)?;

    // First what is configured, so that nothing of it is peeked at.
    let mut by_identity: HashMap<(u64, u64), usize> = HashMap::new();
    let mut sides: HashSet<PathBuf> = HashSet::new();
    for found in all.iter() {
        let found = &found?;
        let Some(store) = known.store_of(found) else { continue };
        sides.extend(known.side_files(store, found.path.as_path()));
        match by_identity.get(&found.identity) {
            // Of several names, the one in the settings is the one that the log lies beside.
            Some(at) if known.is_called(store, found, around.root) => {
                contents.databases[*at] = known.database(store, found, around.root);
            }
            Some(_) => {}
            None => {
                by_identity.insert(found.identity, contents.databases.len());
                contents.databases.push(known.database(store, found, around.root));
            }
        }
    }
    known.take_the_rest(plan, around, &mut contents, &mut by_identity, scope.clock.now())?;
    let of_servers = known.copy_files();

    // Then what the rest looks like.
    let detectors: Vec<(&Kind<dyn Store>, Detect)> =
        around.kinds.kinds().filter_map(|kind| Some((kind, kind.detect?))).collect();
    let (mut entries, mut peeking) = (all.iter(), Peeking::start(&root)?);
    let mut asked = 0;
    loop {
        scope.cancel.check()?;
        while peeking.has_room()
            && let Some(found) = entries.next()
        {
            let found = found?;
            if asked % 4096 == 0 {
                scope.progress.report(ProgressEvent {
                    stage: "looking for databases".to_owned(),
                    done_bytes: 0,
                    total_bytes: None,
                    done_files: asked,
                    total_files: Some(all.len()),
                    uninterruptible: false,
                });
            }
            asked += 1;
            let unknown = !by_identity.contains_key(&found.identity) && !sides.contains(found.path.as_path());
            if found.kind == FoundKind::File && found.size >= SMALLEST && unknown && !is_ordinary(&found) {
                peeking.submit(found)?;
            }
        }
        let Some((found, head)) = peeking.next()? else { break };
        let found = &found;
        if of_servers.contains(found.path.as_path()) {
            continue;
        }
        // What was met meanwhile may have told what it is.
        if by_identity.contains_key(&found.identity) || sides.contains(found.path.as_path()) {
            continue;
        }
        let Some((kind, detect)) = detectors.iter().find(|(_, detect)| (detect.head)(&head)) else { continue };
        let names = names_of(found, &all)?;
        let beside = |name: &Found| -> Vec<PathBuf> {
            detect.side_suffixes.iter().map(|suffix| with_suffix(name.path.as_path(), suffix)).collect()
        };
        // Of several names, the one that the log lies beside is the one that the service uses.
        let live = names.iter().find(|name| sizes(around.root, &beside(name)) > 0).unwrap_or(found);
        let path = around.root.join(live.path.as_path());
        let context = BuildContext {
            name: live.path.to_string(),
            root: around.root.to_owned(),
            state: around.state.to_owned(),
            service: String::new(),
        };
        // Settings are text: a store for a name that is none would be one of another file.
        let of_this_file = |store: Arc<dyn Store>| match store.capability().file {
            Some(file) if identity_of(&file)? == Some(found.identity) => Ok(store),
            _ => Err(Error::new(ErrorKind::Unsupported, "its name is not plain text")),
        };
        match (kind.build)(&context, &(detect.settings)(&path)).and_then(of_this_file) {
            Ok(store) => {
                sides.extend(names.iter().flat_map(&beside));
                by_identity.insert(found.identity, contents.databases.len());
                let name = context.name;
                contents.databases.push(Database::new(around.root, name, false, store, live, &beside(live)));
            }
            // It is copied as a file, and its name says that this may be too little.
            Err(error) => contents.skipped.push(Skipped {
                path: found.path.clone(),
                reason: SkipReason::Database,
                message: format!("copied as a file, since it could not be taken as a database: {error}"),
            }),
        }
    }

    // Every file is closed when its threads have ended.
    drop((entries, peeking));

    suspect_live_logs(&root, &all, &detectors, &by_identity, &sides, &mut contents.skipped)?;
    let mut apart = Vec::new();
    for found in all.iter() {
        let found = found?;
        match by_identity.get(&found.identity).map(|at| &contents.databases[*at]) {
            Some(database) if database.found.path != found.path => {
                let target = database.found.path.clone();
                apart.push(found.clone());
                contents.database_links.push((found, target));
            }
            Some(_) => apart.push(found),
            None if of_servers.contains(found.path.as_path()) => {
                let (path, message) = (found.path.clone(), IN_THE_WAY.to_owned());
                contents.skipped.push(Skipped { path, reason: SkipReason::Database, message });
                apart.push(found);
            }
            None if found.kind == FoundKind::File && sides.contains(found.path.as_path()) => apart.push(found),
            None => {}
        }
    }
    // The list of a million files is not made twice.
    let first = missing_parents(around.root, &all, &contents.databases)?;
    contents.ordinary = all.with(first, &apart);
    Ok(contents)
}

/// The folders above the databases that no include names: a restore needs their modes and owners.
fn missing_parents(root: &Path, all: &FoundList, databases: &[Database]) -> Result<Vec<Found>> {
    let above = databases.iter().flat_map(|database| database.found.path.as_path().ancestors().skip(1));
    let mut missing: BTreeSet<RelPath> =
        above.filter(|folder| !folder.as_os_str().is_empty()).map(RelPath::new).collect();
    for found in all.iter() {
        let found = found?;
        if found.kind == FoundKind::Dir {
            missing.remove(&found.path);
        }
    }
    Ok(missing.iter().filter_map(|folder| look(root, folder.as_path()).ok()).collect())
}

/// Names the files that nobody recognises and that have a live write-ahead log beside them: a database whose
/// header is encrypted, most likely. They are copied as files, which is not known to be consistent.
fn suspect_live_logs(
    root: &OwnedFd,
    all: &FoundList,
    detectors: &[(&Kind<dyn Store>, Detect)],
    databases: &HashMap<(u64, u64), usize>,
    sides: &HashSet<PathBuf>,
    skipped: &mut Vec<Skipped>,
) -> Result<()> {
    const LOG: &str = "-wal";
    if !detectors.iter().any(|(_, detect)| detect.side_suffixes.contains(&LOG)) {
        return Ok(());
    }
    let mut logs: HashMap<Vec<u8>, Found> = HashMap::new();
    for log in all.iter() {
        let log = log?;
        if log.kind != FoundKind::File || log.size <= 32 {
            continue;
        }
        if let Some(base) = log.path.as_bytes().strip_suffix(LOG.as_bytes())
            && !sides.contains(log.path.as_path())
        {
            logs.insert(base.to_vec(), log);
        }
    }
    if logs.is_empty() {
        return Ok(());
    }
    for file in all.iter() {
        let file = file?;
        if file.kind != FoundKind::File {
            continue;
        }
        let Some(log) = logs.get(file.path.as_bytes()).filter(|_| !databases.contains_key(&file.identity)) else {
            continue;
        };
        // The magic number of a write-ahead log, in either byte order of its checksums
        // (sqlite.org/fileformat2, 4.1).
        if let [0x37, 0x7f, 0x06, 0x82 | 0x83, ..] = peek(root, log.path.as_path())[..] {
            skipped.push(Skipped {
                path: file.path.clone(),
                reason: SkipReason::Database,
                message: "copied as a file: it is no database that this build can read, and has a live log beside it"
                    .to_owned(),
            });
        }
    }
    Ok(())
}

/// Opens a file without following a link, waiting for a FIFO, or, where that is allowed, leaving a trace.
pub(super) fn open_for_reading(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    #[cfg(target_os = "linux")]
    match open_beneath(root, path, flags | OFlags::NOATIME) {
        // Only the owner may leave the access time alone.
        Err(rustix::io::Errno::PERM) => {}
        other => return other,
    }
    open_beneath(root, path, flags)
}

/// The stores in the settings, and where their files are.
struct Configured<'a> {
    stores: Vec<ConfiguredStore<'a>>,
}

struct ConfiguredStore<'a> {
    named: &'a NamedStore,
    file: Option<PathBuf>,
    copy_files: Vec<PathBuf>,
    identity: Option<(u64, u64)>,
    /// What is added to the file's name for each file beside it.
    suffixes: Vec<OsString>,
}

impl<'a> Configured<'a> {
    fn look(around: &Surroundings<'a>) -> Result<Self> {
        let mut stores = Vec::new();
        for named in around.configured {
            let capability = named.1.capability();
            let file = capability.file.map(|file| around.root.join(file));
            let identity = match &file {
                Some(file) => identity_of(file)?,
                None => None,
            };
            let suffixes = capability.side_files.iter().filter_map(|side| suffix_of(side, file.as_deref()?)).collect();
            stores.push(ConfiguredStore { named, file, copy_files: capability.copy_files, identity, suffixes });
        }
        Ok(Self { stores })
    }

    fn store_of(&self, found: &Found) -> Option<usize> {
        let is_file = found.kind == FoundKind::File;
        self.stores.iter().position(|store| is_file && store.identity == Some(found.identity))
    }

    /// Whether this name is the one in the settings.
    fn is_called(&self, store: usize, found: &Found, root: &Path) -> bool {
        let real = self.stores[store].file.as_ref().and_then(|file| file.canonicalize().ok());
        real.zip(root.canonicalize().ok()).is_some_and(|(file, root)| file == root.join(found.path.as_path()))
    }

    /// What the copies of databases that are no files are called.
    fn copy_files(&self) -> HashSet<PathBuf> {
        let servers = self.stores.iter().filter(|store| store.file.is_none());
        servers.flat_map(|store| store.copy_files.iter().cloned()).collect()
    }

    fn side_files(&self, store: usize, path: &Path) -> Vec<PathBuf> {
        self.stores[store].suffixes.iter().map(|suffix| with_suffix(path, suffix)).collect()
    }

    fn database(&self, store: usize, found: &Found, root: &Path) -> Database {
        let (name, component) = self.stores[store].named;
        let beside = self.side_files(store, found.path.as_path());
        Database::new(root, name.clone(), true, Arc::clone(component), found, &beside)
    }

    /// Takes the configured databases that the walk did not meet, or names them.
    fn take_the_rest(
        &self,
        plan: &WalkPlan,
        around: &Surroundings<'_>,
        contents: &mut Contents,
        by_identity: &mut HashMap<(u64, u64), usize>,
        now: Timestamp,
    ) -> Result<()> {
        for (number, store) in self.stores.iter().enumerate() {
            let name = &store.named.0;
            let Some(file) = &store.file else {
                match &store.copy_files[..] {
                    [copy, ..] if store.copy_files.iter().all(|file| is_name(file)) => {
                        contents.databases.push(Database::of_server(store.named, copy, now));
                        let included =
                            store.copy_files.iter().map(|file| Included { path: RelPath::new(file), present: true });
                        contents.includes.extend(included);
                    }
                    [] => contents.skipped.push(not_taken(RelPath::new(name), name, NO_FILE)),
                    _ => contents.skipped.push(not_taken(RelPath::new(name), name, NO_NAME)),
                }
                continue;
            };
            let shown = RelPath::new(file.strip_prefix(around.root).unwrap_or(file));
            let Some(identity) = store.identity else {
                contents.skipped.push(not_taken(shown, name, "there is no such file"));
                continue;
            };
            if by_identity.contains_key(&identity) {
                continue;
            }
            let below = file.canonicalize().ok().zip(around.root.canonicalize().ok());
            let Some(below) = below.and_then(|(file, root)| file.strip_prefix(root).ok().map(Path::to_owned)) else {
                contents.skipped.push(not_taken(shown, name, "it lies outside the service's root"));
                continue;
            };
            if plan.is_excluded(&below) {
                continue;
            }
            // It is under our care, so it is in the backup though no include names it.
            match super::walk::look(around.root, &below) {
                Ok(found) if found.kind == FoundKind::File => {
                    by_identity.insert(found.identity, contents.databases.len());
                    contents.databases.push(self.database(number, &found, around.root));
                    contents.includes.push(Included { path: found.path, present: true });
                }
                _ => contents.skipped.push(not_taken(shown, name, "it is not a regular file")),
            }
        }
        Ok(())
    }
}

/// Every name of a file, itself among them.
fn names_of(found: &Found, all: &FoundList) -> Result<Vec<Found>> {
    if found.links < 2 {
        return Ok(vec![found.clone()]);
    }
    let is_name = |other: &Found| other.identity == found.identity && other.kind == FoundKind::File;
    all.iter().filter(|other| other.as_ref().map_or(true, is_name)).collect()
}

/// Whether it is a name in the service's root.
fn is_name(path: &Path) -> bool {
    let mut parts = path.components();
    matches!((parts.next(), parts.next()), (Some(std::path::Component::Normal(_)), None))
}

fn not_taken(path: RelPath, name: &str, why: &str) -> Skipped {
    Skipped { path, reason: SkipReason::Database, message: format!("the database of store {name:?} is missing: {why}") }
}

fn suffix_of(side: &Path, file: &Path) -> Option<OsString> {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let suffix = side.file_name()?.as_bytes().strip_prefix(file.file_name()?.as_bytes())?;
    (!suffix.is_empty()).then(|| OsString::from_vec(suffix.to_vec()))
}

fn with_suffix(path: &Path, suffix: impl AsRef<std::ffi::OsStr>) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn sizes(root: &Path, paths: &[PathBuf]) -> u64 {
    paths.iter().filter_map(|path| root.join(path).symlink_metadata().ok()).map(|meta| meta.len()).sum()
}

#[cfg(test)]
mod tests;
