//! Who has a file open: the question before a database is replaced.
//!
//! Two sources, since neither is enough: `/proc/<pid>/fd` names every open file of the processes that this
//! user may look into, whatever the file is called by now; `/proc/locks` lists the locks of all processes,
//! and an engine that has a database open holds one most of the time. Files are compared by device and
//! inode, never by name. Nothing is opened.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::mounts::Mounts;
use super::survey::SIDE_SUFFIXES;
use crate::backup::manifest::RelPath;
use crate::error::{Error, ErrorKind, Result};
use crate::fs;

/// A process that has a database open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// The file, relative to the root.
    pub path: RelPath,
    /// The process. 0 when the system hides which one.
    pub pid: u32,
    /// Its program, as the system names it. Empty when it is hidden.
    pub program: String,
    /// Whether only its lock is visible, not the open file itself.
    pub only_lock_seen: bool,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.pid, self.program.as_str()) {
            (0, _) => write!(f, "{} by a process that the system hides", self.path),
            (pid, "") => write!(f, "{} by process {pid}", self.path),
            (pid, program) => write!(f, "{} by process {pid} ({program})", self.path),
        }
    }
}

/// Looks for processes, but those of `ignore`, that have one of the `databases` or its side files open.
/// Paths are relative to `root`. One holder for each process and database.
///
/// Sees no process of another PID namespace but through its locks, and none at all where there is no
/// `/proc`: see [`can_see`].
pub(super) fn find(root: &Path, databases: &[PathBuf], ignore: &[u32]) -> Result<Vec<Holder>> {
    let wanted = Wanted::look_up(root, databases)?;
    let mut found: BTreeMap<(u32, &Path), Holder> = BTreeMap::new();
    if wanted.nodes.is_empty() || !can_see() {
        return Ok(Vec::new());
    }
    let mut see = |pid: u32, path, only_lock_seen| {
        if !ignore.contains(&pid) {
            found.entry((pid, path)).or_insert_with(|| Holder {
                path: RelPath::new(path),
                pid,
                program: program_of(pid),
                only_lock_seen,
            });
        }
    };
    for pid in processes()? {
        // What may not be looked into, or has just ended, is left to the locks.
        let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for descriptor in descriptors.flatten() {
            // Sockets, pipes and devices are not worth a stat; on a dead network mount it could hang.
            let is_path = std::fs::read_link(descriptor.path()).is_ok_and(|target| {
                target.is_absolute() && !target.starts_with("/dev") && !target.starts_with("/proc")
            });
            if !is_path {
                continue;
            }
            let Ok(meta) = std::fs::metadata(descriptor.path()) else { continue };
            if let Some(path) = wanted.nodes.get(&(meta.dev(), meta.ino())) {
                see(pid, path, false);
            }
        }
    }
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    for (pid, device, inode) in locks.lines().filter_map(parse_lock) {
        if let Some(path) = wanted.locks.get(&(device, inode)) {
            see(pid, path, true);
        }
    }
    Ok(found.into_values().collect())
}

/// Whether this system shows who has a file open.
pub(super) fn can_see() -> bool {
    Path::new("/proc/self/fd").is_dir()
}

/// Whether some process works in the folder `path` itself: a shell that called us with `.`, say.
pub(super) fn is_working_folder(path: &Path) -> bool {
    let Ok(Some(wanted)) = fs::identity(path) else { return false };
    let works_there =
        |pid: &u32| std::fs::metadata(format!("/proc/{pid}/cwd")).is_ok_and(|meta| (meta.dev(), meta.ino()) == wanted);
    processes().is_ok_and(|pids| pids.iter().any(works_there))
}

/// The error for databases that are open elsewhere, with the repair.
pub(super) fn refusal(holders: &[Holder], told_to_stop: bool) -> Error {
    let named: Vec<String> = holders.iter().take(5).map(Holder::to_string).collect();
    let more = if holders.len() > 5 { format!(", and {} more", holders.len() - 5) } else { String::new() };
    let hint = if holders.iter().any(|holder| is_of_ours(holder.pid)) {
        "one of them is uplifted-ops itself, which follows the database: `uplifted-ops continuous stop` lets go of it, and `continuous \
         start` follows again afterwards; or stop the service, or `schedule serve`, that it belongs to"
    } else if told_to_stop {
        "service.stop ran and the database is still open: stop that process yourself, then try again"
    } else {
        "stop that process first, or set service.stop and service.start so that the restore can"
    };
    Error::new(ErrorKind::Refused, format!("databases are open: {}{more}", named.join(", "))).with_hint(hint)
}

/// Whether a process runs the program that we are: a worker.
fn is_of_ours(pid: u32) -> bool {
    let program = |pid: &str| std::fs::read_link(format!("/proc/{pid}/exe")).ok();
    program("self").is_some_and(|own| program(&pid.to_string()) == Some(own))
}

/// The files that are looked for, by the two ways the system names them.
struct Wanted<'a> {
    nodes: BTreeMap<fs::swap::NodeId, &'a Path>,
    locks: BTreeMap<((u32, u32), u64), &'a Path>,
}

impl<'a> Wanted<'a> {
    fn look_up(root: &Path, databases: &'a [PathBuf]) -> Result<Self> {
        let mounts = Mounts::read()?;
        let mut wanted = Self { nodes: BTreeMap::new(), locks: BTreeMap::new() };
        for database in databases {
            let live = root.join(database);
            let sides = SIDE_SUFFIXES.iter().map(|suffix| with_suffix(&live, suffix));
            for file in std::iter::once(live.clone()).chain(sides) {
                // A name that is a symlink stands for what it points to as well.
                let target = std::fs::metadata(&file).ok().map(|meta| (meta.dev(), meta.ino()));
                for node in fs::identity(&file)?.into_iter().chain(target) {
                    wanted.nodes.entry(node).or_insert(database);
                    // A lock is listed with the superblock's device, which differs from that of `stat` on
                    // btrfs and overlayfs.
                    if let Some(mount) = mounts.holding(&file) {
                        wanted.locks.entry((mount.device, node.1)).or_insert(database);
                    }
                }
            }
        }
        Ok(wanted)
    }
}

/// `path` with `suffix` after its last name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn processes() -> Result<Vec<u32>> {
    let entries = std::fs::read_dir("/proc").map_err(|e| Error::io("read folder \"/proc\"", e))?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

fn program_of(pid: u32) -> String {
    if pid == 0 {
        return String::new();
    }
    std::fs::read_to_string(format!("/proc/{pid}/comm")).map(|name| name.trim_end().to_owned()).unwrap_or_default()
}

/// Reads a line of `/proc/locks` (proc_locks(5)), `1: POSIX ADVISORY READ 5433 08:01:7864448 128 128`, or one
/// of a waiter, `1: -> POSIX …`. The process is -1 for a lock that belongs to an open file description.
fn parse_lock(line: &str) -> Option<(u32, (u32, u32), u64)> {
    let mut fields = line.split_ascii_whitespace().skip(1).skip_while(|field| *field == "->").skip(3);
    let pid: i64 = fields.next()?.parse().ok()?;
    let mut file = fields.next()?.split(':');
    let major = u32::from_str_radix(file.next()?, 16).ok()?;
    let minor = u32::from_str_radix(file.next()?, 16).ok()?;
    Some((u32::try_from(pid).unwrap_or(0), (major, minor), file.next()?.parse().ok()?))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_lock_table_are_read() {
        assert_eq!(
            parse_lock("3: POSIX  ADVISORY  READ  5433 08:1f:7864448 128 128"),
            Some((5433, (8, 31), 7_864_448))
        );
        assert_eq!(parse_lock("3: -> FLOCK  ADVISORY  WRITE -1 00:2d:5 0 EOF"), Some((0, (0, 45), 5)));
        assert_eq!(parse_lock("nonsense"), None);
    }

    #[test]
    fn this_process_is_found_by_its_open_file_even_after_a_rename() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let file = std::fs::File::create(&path).unwrap();
        std::fs::rename(&path, folder.path().join("new.db")).unwrap();
        let databases = [PathBuf::from("new.db")];
        let found = find(folder.path(), &databases, &[]).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].pid, std::process::id());
        assert!(!found[0].program.is_empty());
        assert!(find(folder.path(), &databases, &[std::process::id()]).unwrap().is_empty());
        drop(file);
        assert!(find(folder.path(), &databases, &[]).unwrap().is_empty());
    }

    #[test]
    fn an_open_side_file_speaks_for_its_database() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("app.db"), "").unwrap();
        let _wal = std::fs::File::create(folder.path().join("app.db-wal")).unwrap();
        let found = find(folder.path(), &[PathBuf::from("app.db")], &[]).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path.as_path(), Path::new("app.db"));
    }

    #[test]
    fn a_lock_is_recognised_by_the_mounts_device() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap().join("app.db");
        let file = std::fs::File::create(&path).unwrap();
        file.lock().unwrap();
        let databases = [PathBuf::from("app.db")];
        let wanted = Wanted::look_up(path.parent().unwrap(), &databases).unwrap();
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        if locks.is_empty() {
            eprintln!("skipped: this system lists no locks");
            return;
        }
        let seen =
            locks.lines().filter_map(parse_lock).any(|(_, device, inode)| wanted.locks.contains_key(&(device, inode)));
        assert!(seen, "{locks}");
    }
}
