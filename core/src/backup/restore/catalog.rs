//! The entries of a snapshot as a tree.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::backup::manifest::{Entry, Node};
use crate::backup::nodes::{Roll, compare, is_below, stored_len};
use crate::error::{Error, Result};

/// The entries of a snapshot by path. What is below a folder follows it.
pub(super) struct Catalog<'a> {
    roll: &'a dyn Roll,
    order: Vec<u32>,
}

impl<'a> Catalog<'a> {
    pub(super) fn new(roll: &'a dyn Roll) -> Self {
        let mut order: Vec<u32> = (0..roll.len()).collect();
        // Mostly sorted as it is.
        order.sort_by(|a, b| compare(&roll.path(*a), &roll.path(*b)));
        Self { roll, order }
    }

    /// The entry at `path`.
    pub(super) fn entry(&self, path: &Path) -> Option<Cow<'a, Entry>> {
        let number = *self.numbers_below(path).first()?;
        (*self.roll.path(number) == *path.as_os_str().as_bytes()).then(|| self.roll.entry(number))
    }

    /// How many entries are at `path` and below it.
    pub(super) fn count(&self, path: &Path) -> usize {
        self.numbers_below(path).len()
    }

    /// The numbers of the entry at `path` and of those below it; all for the empty path.
    fn numbers_below(&self, path: &Path) -> &[u32] {
        let path = path.as_os_str().as_bytes();
        if path.is_empty() {
            return &self.order;
        }
        let first = self.order.partition_point(|number| compare(&self.roll.path(*number), path).is_lt());
        let is_there = |number: &u32| {
            let name = self.roll.path(*number);
            *name == *path || is_below(&name, path)
        };
        let len = self.order[first..].partition_point(is_there);
        &self.order[first..first + len]
    }

    /// Whether there is anything at `path`, if only as the folder of something else.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.count(path) > 0
    }

    /// Whether what is at `path` is a folder.
    pub(super) fn is_folder(&self, path: &Path) -> bool {
        self.entry(path).map_or_else(|| self.has(path), |entry| matches!(entry.node, Node::Dir))
    }

    /// The names directly below `path`.
    pub(super) fn children(&self, path: &Path) -> BTreeSet<OsString> {
        let skip = match path.as_os_str().len() {
            0 => 0,
            len => len + 1,
        };
        let mut names = BTreeSet::new();
        for number in self.numbers_below(path) {
            let name = self.roll.path(*number);
            let below = name.get(skip..).unwrap_or_default();
            let first = below.split(|byte| *byte == b'/').next().unwrap_or_default();
            if !first.is_empty() && !names.contains(OsStr::from_bytes(first)) {
                names.insert(OsStr::from_bytes(first).to_owned());
            }
        }
        names
    }

    /// Regular files at and below `path`, and the bytes that their content takes on a disk. Nobody has looked yet whether they
    /// can be true.
    pub(super) fn size(&self, path: &Path) -> (u64, u64) {
        self.numbers_below(path).iter().fold((0, 0_u64), |(files, bytes), number| {
            match &self.roll.entry(*number).node {
                node @ Node::File { .. } => (files + 1, bytes.saturating_add(stored_len(node))),
                Node::HardLink { .. } => (files + 1, bytes),
                _ => (files, bytes),
            }
        })
    }
}

/// A path without `.` and doubled or trailing slashes; the root is empty.
pub(super) fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| !matches!(part, Component::CurDir)).collect()
}

/// A path of a request, relative to the root, in its plain form.
///
/// # Errors
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) when it leads outside.
pub(super) fn requested(path: &Path) -> Result<PathBuf> {
    let path = plain(path);
    if path.components().all(|part| matches!(part, Component::Normal(_))) {
        Ok(path)
    } else {
        Err(Error::invalid(format!("{path:?} is not a path below the service's root"))
            .with_hint("name it relative to the root, as the snapshot lists it"))
    }
}

/// Without those that lie below another one of them.
pub(super) fn topmost(paths: impl IntoIterator<Item = PathBuf>) -> BTreeSet<PathBuf> {
    let sorted: BTreeSet<PathBuf> = paths.into_iter().collect();
    let mut kept: BTreeSet<PathBuf> = BTreeSet::new();
    for path in sorted {
        // What is above a path comes before it, directly but for its own descendants, which are dropped.
        if !kept.last().is_some_and(|last| path.starts_with(last)) {
            kept.insert(path);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_request_stay_inside() {
        assert_eq!(requested(Path::new("./data//x/")).unwrap(), Path::new("data/x"));
        assert_eq!(requested(Path::new(".")).unwrap(), Path::new(""));
        for bad in ["/etc", "..", "data/../../x"] {
            assert!(requested(Path::new(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_that_nothing_has_do_not_overflow() {
        let entry = |name: &str| {
            let node = Node::File { size: i64::MAX as u64 - 512, blake3: None, data: None, valid_size: None };
            let path = crate::backup::manifest::RelPath::new(name);
            Entry { path, node, mode: 0, uid: 0, gid: 0, mtime: 0, mtime_nanos: 0, xattrs: Vec::new(), offset: 0 }
        };
        let entries: Vec<Entry> = ["a", "b", "c"].map(entry).into();
        assert_eq!(Catalog::new(&entries).size(Path::new("")), (3, u64::MAX));
    }

    #[test]
    fn nested_requests_collapse() {
        let paths = ["data/x", "data", "config", "data-old", "data/y/z"].map(PathBuf::from);
        let kept: Vec<_> = topmost(paths).into_iter().collect();
        assert_eq!(kept, ["config", "data", "data-old"].map(PathBuf::from));
    }
}
