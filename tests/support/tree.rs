//! Fingerprints of folders: whether two trees are equal in every name, kind, byte, mode and time.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// One line for each name below a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree(pub BTreeMap<PathBuf, String>);

impl Tree {
    /// Reads `root` without the names in `without` (top-level names). A missing folder is an empty tree.
    pub fn of(root: &Path, without: &[&str]) -> Self {
        let mut lines = BTreeMap::new();
        walk(root, root, &mut lines);
        let skipped: Vec<OsString> = without.iter().map(OsString::from).collect();
        lines.retain(|path, _| !skipped.iter().any(|name| path.starts_with(name)));
        Self(lines)
    }

    /// What differs from `other`, for a failing assertion.
    pub fn difference(&self, other: &Self) -> Vec<String> {
        let mut names: Vec<&PathBuf> = self.0.keys().chain(other.0.keys()).collect();
        names.sort();
        names.dedup();
        names
            .into_iter()
            .filter(|name| self.0.get(*name) != other.0.get(*name))
            .map(|name| format!("{name:?}: {:?} / {:?}", self.0.get(name), other.0.get(name)))
            .collect()
    }
}

fn walk(root: &Path, folder: &Path, lines: &mut BTreeMap<PathBuf, String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        let kind = meta.file_type();
        let head = format!("{:o} {}:{} ", meta.mode() & 0o7777, meta.uid(), meta.gid());
        let time = format!("{}.{:09}", meta.mtime(), meta.mtime_nsec());
        let line = if kind.is_symlink() {
            format!("link {time} -> {:?}", fs::read_link(&path).unwrap())
        } else if kind.is_dir() {
            format!("dir {head}{time}")
        } else if kind.is_fifo() {
            format!("fifo {head}{time}")
        } else {
            let bytes = fs::read(&path).unwrap();
            let sum = bytes
                .iter()
                .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
            format!("file {head}{time} {} {sum:016x}", bytes.len())
        };
        lines.insert(path.strip_prefix(root).unwrap().to_owned(), line);
        if kind.is_dir() {
            walk(root, &path, lines);
        }
    }
}
