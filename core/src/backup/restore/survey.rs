//! Looking over what is live: its size, its databases, and what must outlive the swap.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::holders::with_suffix;
use crate::backup::manifest::{Manifest, RelPath, SkipReason};
use crate::error::{Error, ErrorKind, Result};

/// What SQLite puts beside a database: the write-ahead log, its index, the rollback journal.
pub(super) const SIDE_SUFFIXES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// How databases are usually called. A guess that only ever makes a restore more careful.
const DATABASE_EXTENSIONS: [&str; 4] = ["db", "db3", "sqlite", "sqlite3"];

/// Live paths that a snapshot does not have on purpose, so that a restore leaves them where they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spared {
    /// The globs that the backup left out.
    pub(super) excludes: Vec<String>,
    /// What the backup wanted and could not read: better the live one than none.
    pub(super) unread: BTreeSet<RelPath>,
}

impl Spared {
    /// The rules of a snapshot.
    pub(super) fn of(manifest: &Manifest) -> Self {
        let unread = manifest.skipped.iter().filter(|skipped| {
            matches!(
                skipped.reason,
                SkipReason::Unreadable | SkipReason::Database | SkipReason::Socket | SkipReason::Device
            )
        });
        Self {
            excludes: manifest.excludes.clone(),
            unread: unread.map(|skipped| RelPath::new(skipped.path.as_path())).collect(),
        }
    }

    /// Why the restore leaves `path` where it is; `None` when it does not. Globs mean what they mean to the
    /// backup's walker: relative to the root, with a `/` at the end for folders alone.
    pub(super) fn reason(&self, path: &Path, is_folder: bool) -> Option<String> {
        let bytes = path.as_os_str().as_bytes();
        let matches = |glob: &&String| {
            let plain = glob.strip_prefix("./").unwrap_or(glob);
            let (plain, folders_only) = plain.strip_suffix('/').map_or((plain, false), |plain| (plain, true));
            (is_folder || !folders_only) && fast_glob::glob_match(plain.as_bytes(), bytes)
        };
        if let Some(glob) = self.excludes.iter().find(matches) {
            return Some(format!("the backup leaves out {glob}"));
        }
        self.unread.contains(&RelPath::new(path)).then(|| "the backup could not read it".to_owned())
    }

    /// The same for what lies beside a database: one that stays keeps its log and its journal, without which
    /// it loses what was committed. `stays` says whether the file of a name is there and nothing comes for it.
    pub(super) fn reason_beside(&self, path: &Path, stays: impl Fn(&Path) -> bool) -> Option<String> {
        let main = main_file(path).filter(|main| stays(main))?;
        self.reason(&main, false).map(|_| format!("it belongs to {}, which is left alone", main.display()))
    }

    fn is_empty(&self) -> bool {
        self.excludes.is_empty() && self.unread.is_empty()
    }
}

/// What is below one live path.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Regular files.
    pub(super) files: u64,
    /// Bytes of their content.
    pub(super) bytes: u64,
    /// Files that are, or by their names and neighbours seem to be, databases; relative to the root.
    pub(super) databases: Vec<PathBuf>,
    /// What is spared and missing on the other side: the topmost paths, relative to the root.
    pub(super) carry: Vec<PathBuf>,
}

/// Who looks, and for what.
pub(super) struct Surveyor<'a> {
    /// The folder that all paths are relative to.
    pub(super) root: &'a Path,
    /// What a restore leaves where it is.
    pub(super) spared: &'a Spared,
    /// Databases that are known, relative to the root.
    pub(super) known: &'a BTreeSet<PathBuf>,
    /// Whether the side that comes in has something at a path.
    pub(super) incoming: &'a dyn Fn(&Path) -> bool,
}

impl Surveyor<'_> {
    /// Looks over `path` and all that is below it. What vanishes meanwhile is passed over; symlinks are not
    /// followed. A missing path is an empty survey.
    pub(super) fn look(&self, path: &Path) -> Result<Survey> {
        let mut survey = Survey::default();
        if let Some(kind) = self.node(path, &mut survey)? {
            self.note_database(path, kind, &BTreeSet::new(), &mut survey);
            if kind.is_dir() {
                self.descend(path, &mut survey)?;
            }
        }
        Ok(survey)
    }

    fn descend(&self, top: &Path, survey: &mut Survey) -> Result<()> {
        let mut waiting = vec![top.to_owned()];
        while let Some(folder) = waiting.pop() {
            let names = names_in(&self.root.join(&folder))?;
            for name in &names {
                let path = folder.join(name);
                let Some(kind) = self.node(&path, survey)? else { continue };
                self.note_database(&path, kind, &names, survey);
                if self.is_carried(&path, kind.is_dir(), &names) {
                    survey.carry.push(path.clone());
                    // What is carried as a whole is looked into for its databases alone.
                    if kind.is_dir() {
                        let inner = Surveyor { spared: &Spared::default(), ..*self }.look(&path)?;
                        survey.databases.extend(inner.databases);
                    }
                } else if kind.is_dir() {
                    waiting.push(path);
                }
            }
        }
        Ok(())
    }

    /// Counts a node and tells its kind.
    fn node(&self, path: &Path, survey: &mut Survey) -> Result<Option<std::fs::FileType>> {
        let full = self.root.join(path);
        match full.symlink_metadata() {
            Ok(meta) => {
                if meta.is_file() {
                    survey.files += 1;
                    survey.bytes += meta.size();
                }
                Ok(Some(meta.file_type()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(format!("look at {full:?}"), error)),
        }
    }

    fn is_carried(&self, path: &Path, is_folder: bool, siblings: &BTreeSet<OsString>) -> bool {
        if self.spared.is_empty() || (self.incoming)(path) {
            return false;
        }
        let stays = |main: &Path| main.file_name().is_some_and(|n| siblings.contains(n)) && !(self.incoming)(main);
        self.spared.reason(path, is_folder).or_else(|| self.spared.reason_beside(path, stays)).is_some()
    }

    fn note_database(&self, path: &Path, kind: std::fs::FileType, siblings: &BTreeSet<OsString>, survey: &mut Survey) {
        if kind.is_dir() || main_file(path).is_some() {
            return;
        }
        let named = path
            .extension()
            .and_then(OsStr::to_str)
            .is_some_and(|extension| DATABASE_EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known)));
        let has_side = || {
            SIDE_SUFFIXES.iter().any(|suffix| {
                with_suffix(path, suffix).file_name().is_some_and(|name| siblings.contains(name))
                    || (siblings.is_empty() && self.root.join(with_suffix(path, suffix)).symlink_metadata().is_ok())
            })
        };
        if named || self.known.contains(path) || has_side() {
            survey.databases.push(path.to_owned());
        }
    }
}

/// The database that a side file belongs to, by its name.
fn main_file(path: &Path) -> Option<PathBuf> {
    let bytes = path.as_os_str().as_bytes();
    SIDE_SUFFIXES.iter().find_map(|suffix| {
        let main = bytes.strip_suffix(suffix.as_bytes())?;
        (!main.is_empty() && !main.ends_with(b"/")).then(|| PathBuf::from(OsStr::from_bytes(main)))
    })
}

/// The names in a folder, sorted; none when it is missing.
pub(super) fn names_in(folder: &Path) -> Result<BTreeSet<OsString>> {
    let doing = || format!("read folder {folder:?}");
    match std::fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry.map_err(|e| Error::io(doing(), e))?.file_name())).collect(),
        Err(error) => match Error::io(doing(), error) {
            missing if missing.kind() == ErrorKind::NotFound => Ok(BTreeSet::new()),
            error => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(excludes: &[&str], files: &[&str], incoming: &dyn Fn(&Path) -> bool) -> Survey {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "1234").unwrap();
        }
        let spared = Spared { excludes: excludes.iter().map(|glob| glob.to_string()).collect(), ..Spared::default() };
        let known = BTreeSet::from([PathBuf::from("data/known")]);
        let mut survey =
            Surveyor { root: root.path(), spared: &spared, known: &known, incoming }.look(Path::new("data")).unwrap();
        survey.carry.sort();
        survey.databases.sort();
        survey
    }

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn what_the_backup_left_out_is_carried_by_its_topmost_path() {
        let files = ["data/a", "data/cache/x/y", "data/b/__pycache__/c", "data/b/c"];
        let found = survey(&["./data/cache/", "**/__pycache__", "data/a/"], &files, &|_| false);
        assert_eq!(found.carry, paths(&["data/b/__pycache__", "data/cache"]));
        let found = survey(&["data/cache", "**/__pycache__"], &files, &|path| path == Path::new("data/cache"));
        assert_eq!(found.carry, paths(&["data/b/__pycache__"]));
    }

    #[test]
    fn a_carried_database_keeps_its_side_files() {
        let found = survey(&["data/c.db"], &["data/c.db", "data/c.db-wal", "data/d.db", "data/d.db-wal"], &|_| false);
        assert_eq!(found.carry, paths(&["data/c.db", "data/c.db-wal"]));
        assert_eq!(found.databases, paths(&["data/c.db", "data/d.db"]));
    }

    #[test]
    fn databases_are_known_by_settings_names_and_neighbours() {
        let found =
            survey(&[], &["data/known", "data/x", "data/x-journal", "data/y.SQLite3", "data/plain"], &|_| false);
        assert_eq!(found.databases, paths(&["data/known", "data/x", "data/y.SQLite3"]));
        assert_eq!((found.files, found.bytes), (5, 20));
    }

    #[test]
    fn a_missing_path_is_empty() {
        assert_eq!(survey(&[], &[], &|_| true).files, 0);
    }
}
