//! What is in a folder, and whether a restored one is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use uplifted_example::Failure;

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// File type and permission bits.
    pub(crate) mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    size: u64,
    inode: u64,
    link: Option<PathBuf>,
    /// A file that begins like an SQLite database.
    pub(crate) database: bool,
}

/// Everything below a folder, by relative name.
pub(crate) type Listing = BTreeMap<PathBuf, Item>;

/// Lists everything below `root` but what is called `without` at its top. What vanishes meanwhile is left
/// out, what cannot be read counts as no database.
pub(crate) fn list(root: &Path, without: &[&str]) -> Result<Listing, Failure> {
    let mut found = Listing::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(root.join(&folder)) {
            Ok(entries) => entries,
            Err(_) if !folder.as_os_str().is_empty() => continue,
            Err(error) => return Err(format!("{}: {error}", root.display()).into()),
        };
        for entry in entries {
            let Ok(entry) = entry else { continue };
            let name = folder.join(entry.file_name());
            if without.iter().any(|without| name == Path::new(without)) {
                continue;
            }
            let Ok(meta) = fs::symlink_metadata(root.join(&name)) else { continue };
            if meta.is_dir() {
                folders.push(name.clone());
            }
            let item = Item {
                mode: meta.mode(),
                owner: (meta.uid(), meta.gid()),
                mtime: (meta.mtime(), meta.mtime_nsec()),
                // The size of a folder is the filesystem's own affair.
                size: if meta.is_dir() { 0 } else { meta.len() },
                inode: meta.ino(),
                link: if meta.is_symlink() { fs::read_link(root.join(&name)).ok() } else { None },
                database: meta.is_file() && is_database(&root.join(&name)),
            };
            found.insert(name, item);
        }
    }
    Ok(found)
}

fn is_database(path: &Path) -> bool {
    let mut head = [0; 16];
    File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && &head == b"SQLite format 3\0"
}

/// Whether a name is a part of a database that stands beside it, such as `app.db-wal`.
fn is_side_file(name: &Path, listing: &Listing) -> bool {
    let Some(text) = name.to_str() else { return false };
    ["-wal", "-shm", "-journal"].iter().any(|suffix| {
        text.strip_suffix(suffix).is_some_and(|main| listing.get(Path::new(main)).is_some_and(|item| item.database))
    })
}

/// What a comparison found.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// Files whose content, mode, owner and time are equal.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Folders, links and pipes that are equal.
    pub(crate) others: u64,
    /// Names of one file that are names of one file again.
    pub(crate) hard_links: u64,
    /// Databases, which are compared in their own way.
    pub(crate) databases: Vec<PathBuf>,
    /// What changed while the backup was made, and so cannot be compared.
    pub(crate) changed: Vec<PathBuf>,
    /// What differs.
    pub(crate) different: Vec<String>,
}

/// Compares the folder `root`, listed before and after the backup, with what was `restored` to `copy`. What
/// the backup itself says it `skipped` cannot be there.
pub(crate) fn compare(
    root: &Path,
    [before, after]: &[&Listing; 2],
    skipped: &[PathBuf],
    copy: &Path,
    restored: &Listing,
) -> Result<Comparison, Failure> {
    let mut result = Comparison::default();
    for (name, item) in *before {
        if is_side_file(name, before) || skipped.contains(name) {
            continue;
        }
        if item.database {
            result.databases.push(name.clone());
            continue;
        }
        if after.get(name) != Some(item) {
            result.changed.push(name.clone());
            continue;
        }
        // Sockets and devices cannot be stored.
        if matches!(item.mode & 0o170_000, 0o140_000 | 0o060_000 | 0o020_000) {
            continue;
        }
        let Some(again) = restored.get(name) else {
            result.different.push(format!("{} is missing", name.display()));
            continue;
        };
        let mut wrong = differences(item, again);
        let is_file = item.mode & 0o170_000 == 0o100_000;
        if is_file && wrong.is_empty() && !same_bytes(&root.join(name), &copy.join(name))? {
            wrong.push("content".to_owned());
        }
        if !wrong.is_empty() {
            result.different.push(format!("{}: {}", name.display(), wrong.join(", ")));
        } else if is_file {
            result.files += 1;
            result.bytes += item.size;
        } else {
            result.others += 1;
        }
    }
    for name in restored.keys().filter(|name| !before.contains_key(*name) && !after.contains_key(*name)) {
        result.different.push(format!("{} was not there", name.display()));
    }
    hard_links(before, restored, &mut result);
    Ok(result)
}

fn differences(one: &Item, other: &Item) -> Vec<String> {
    let mut wrong = Vec::new();
    if one.mode != other.mode {
        wrong.push(format!("mode {:o} instead of {:o}", other.mode & 0o7777, one.mode & 0o7777));
    }
    // Only root can give a file to somebody.
    if one.owner != other.owner && is_root() {
        wrong.push(format!("owner {:?} instead of {:?}", other.owner, one.owner));
    }
    if one.mtime != other.mtime {
        wrong
            .push(format!("time {}.{:09} instead of {}.{:09}", other.mtime.0, other.mtime.1, one.mtime.0, one.mtime.1));
    }
    if one.size != other.size {
        wrong.push(format!("{} bytes instead of {}", other.size, one.size));
    }
    if one.link != other.link {
        wrong.push("another link target".to_owned());
    }
    wrong
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// Names that shared an inode must share one again.
fn hard_links(before: &Listing, restored: &Listing, result: &mut Comparison) {
    let mut names: BTreeMap<u64, Vec<&PathBuf>> = BTreeMap::new();
    for (name, item) in before.iter().filter(|(_, item)| item.mode & 0o170_000 == 0o100_000) {
        names.entry(item.inode).or_default().push(name);
    }
    for group in names.values().filter(|group| group.len() > 1) {
        let inodes: BTreeSet<_> = group.iter().filter_map(|name| restored.get(*name)).map(|item| item.inode).collect();
        if inodes.len() > 1 {
            result.different.push(format!("{} is no hard link any more", group[0].display()));
        } else {
            result.hard_links += group.len() as u64;
        }
    }
}

fn same_bytes(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (BufReader::new(File::open(one)?), File::open(other)?);
    let (mut a, mut b) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let read = one.read(&mut a)?;
        if read == 0 {
            return Ok(other.read(&mut b)? == 0);
        }
        match other.read_exact(&mut b[..read]) {
            Ok(()) if a[..read] == b[..read] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A folder and its perfect copy.
    fn twins() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        fs::create_dir_all(one.join("d")).unwrap();
        fs::write(one.join("d/a"), "aaaa").unwrap();
        fs::hard_link(one.join("d/a"), one.join("d/b")).unwrap();
        symlink("d/a", one.join("l")).unwrap();
        fs::write(one.join("x.db"), b"SQLite format 3\0rest").unwrap();
        let status = std::process::Command::new("cp").arg("-a").arg(&one).arg(&two).status();
        assert!(status.unwrap().success());
        fs::write(one.join("x.db-wal"), "log").unwrap();
        (folder, one, two)
    }

    fn differs(change: impl FnOnce(&Path)) -> Vec<String> {
        let (_keep, one, two) = twins();
        let listing = list(&one, &[]).unwrap();
        change(&two);
        compare(&one, &[&listing, &listing], &[], &two, &list(&two, &[]).unwrap()).unwrap().different
    }

    #[test]
    fn equal_folders_are_equal() {
        let (_keep, one, two) = twins();
        let listing = list(&one, &[]).unwrap();
        let found = compare(&one, &[&listing, &listing], &[], &two, &list(&two, &[]).unwrap()).unwrap();
        assert!(found.different.is_empty(), "{:?}", found.different);
        assert_eq!((found.files, found.bytes, found.others, found.hard_links), (2, 8, 2, 2));
        assert_eq!(found.databases, [PathBuf::from("x.db")]);
    }

    #[test]
    fn each_difference_is_seen() {
        let mode = differs(|copy| fs::set_permissions(copy.join("d/a"), fs::Permissions::from_mode(0o600)).unwrap());
        assert!(mode.iter().any(|what| what.contains("mode 600")), "{mode:?}");
        let gone = differs(|copy| fs::remove_file(copy.join("l")).unwrap());
        assert_eq!(gone, ["l is missing"]);
        let more = differs(|copy| fs::write(copy.join("new"), "").unwrap());
        assert_eq!(more, ["new was not there"]);
        let unlinked = differs(|copy| {
            fs::remove_file(copy.join("d/b")).unwrap();
            fs::copy(copy.join("d/a"), copy.join("d/b")).unwrap();
        });
        assert!(unlinked.iter().any(|what| what.ends_with("is no hard link any more")), "{unlinked:?}");
        let bytes = differs(|copy| {
            let time = fs::metadata(copy.join("d/a")).unwrap().modified().unwrap();
            fs::write(copy.join("d/a"), "aaab").unwrap();
            File::options().write(true).open(copy.join("d/a")).unwrap().set_modified(time).unwrap();
        });
        assert_eq!(bytes, ["d/a: content", "d/b: content"]);
        let time = differs(|copy| {
            let file = File::options().write(true).open(copy.join("d/a")).unwrap();
            let time = file.metadata().unwrap().modified().unwrap();
            file.set_modified(time + std::time::Duration::from_nanos(1)).unwrap();
        });
        assert!(time.iter().all(|what| what.contains("time")) && time.len() == 2, "{time:?}");
    }
}
