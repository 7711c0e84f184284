//! The entries of a snapshot as a tree.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use crate::backup::manifest::{Entry, Node};
use crate::error::{Error, Result};

/// The entries of a snapshot by path. Paths compare by component, so what is below a folder follows it.
pub(super) struct Catalog<'a>(BTreeMap<PathBuf, &'a Entry>);

impl<'a> Catalog<'a> {
    pub(super) fn new(entries: &'a [Entry]) -> Self {
        Self(entries.iter().map(|entry| (plain(entry.path.as_path()), entry)).collect())
    }

    /// The entry at `path`.
    pub(super) fn entry(&self, path: &Path) -> Option<&'a Entry> {
        self.0.get(path).copied()
    }

    /// The entry at `path` and those below it; all for the empty path.
    pub(super) fn below<'s>(&'s self, path: &'s Path) -> impl Iterator<Item = (&'s Path, &'a Entry)> + 's {
        let from = self.0.range(path.to_owned()..);
        from.map(|(name, entry)| (name.as_path(), *entry)).take_while(move |(name, _)| name.starts_with(path))
    }

    /// Whether there is anything at `path`, if only as the folder of something else.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.below(path).next().is_some()
    }

    /// Whether what is at `path` is a folder.
    pub(super) fn is_folder(&self, path: &Path) -> bool {
        self.entry(path).map_or_else(|| self.has(path), |entry| matches!(entry.node, Node::Dir))
    }

    /// The names directly below `path`.
    pub(super) fn children(&self, path: &Path) -> BTreeSet<OsString> {
        let depth = path.components().count();
        self.below(path).filter_map(|(name, _)| Some(name.components().nth(depth)?.as_os_str().to_owned())).collect()
    }

    /// Regular files at and below `path`, and the bytes that their content takes on a disk.
    pub(super) fn size(&self, path: &Path) -> (u64, u64) {
        self.below(path).fold((0, 0), |(files, bytes), (_, entry)| match &entry.node {
            Node::File { size, data, .. } => {
                let stored = data.as_ref().map_or(*size, |data| data.iter().map(|(_, length)| length).sum());
                (files + 1, bytes + stored)
            }
            Node::HardLink { .. } => (files + 1, bytes),
            _ => (files, bytes),
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
    fn nested_requests_collapse() {
        let paths = ["data/x", "data", "config", "data-old", "data/y/z"].map(PathBuf::from);
        let kept: Vec<_> = topmost(paths).into_iter().collect();
        assert_eq!(kept, ["config", "data", "data-old"].map(PathBuf::from));
    }
}
